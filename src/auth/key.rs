//! API keys and their digests.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// The key that the documentation shows. It is refused wherever a key is taken.
pub const SAMPLE_KEY: &str = "adit_sample_key_do_not_use_anywhere_0000000";

/// A key that somebody chose must have this many bytes. A key is stored under an unsalted digest,
/// which is only safe for keys that cannot be guessed.
pub const KEY_BYTES_MIN: usize = 32;

/// What a generated key starts with, so that secret scanners can tell what they found.
const PREFIX: &str = "adit_";

/// Random bytes of a generated key: as many as its digest has.
const RANDOM_BYTES: usize = 32;

const DIGEST_BYTES: usize = 32;

/// A key in plain text. It has no `Display`, so that it cannot end up in a message by accident.
#[derive(Clone)]
pub struct ApiKey(String);

/// The SHA-256 of a key. Comparing two takes the same time wherever they differ.
#[derive(Clone, Copy)]
pub struct KeyDigest([u8; DIGEST_BYTES]);

/// Why there is no key or no digest. None of them quotes the text it is about.
#[derive(Debug)]
pub enum KeyError {
    /// The operating system gave no random bytes.
    Random(getrandom::Error),
    /// The key has fewer than [`KEY_BYTES_MIN`] bytes.
    TooShort {
        /// How many it has.
        bytes: usize,
    },
    /// The key has a character that cannot travel in a header.
    NotVisible,
    /// The key is [`SAMPLE_KEY`].
    Sample,
    /// The text is not a SHA-256 in hex.
    NotADigest,
}

impl ApiKey {
    /// Makes a new key: `adit_` and 43 characters of base64url.
    ///
    /// # Errors
    ///
    /// Fails if the operating system has no random bytes to give.
    pub fn generate() -> Result<Self, KeyError> {
        let mut bytes = [0; RANDOM_BYTES];
        getrandom::fill(&mut bytes).map_err(KeyError::Random)?;
        Ok(Self(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))))
    }

    /// Takes a key that somebody chose.
    ///
    /// # Errors
    ///
    /// Refuses a short key, the sample key, and one with spaces, line ends or anything else that
    /// is not visible ASCII.
    pub fn from_plain(text: &str) -> Result<Self, KeyError> {
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(KeyError::NotVisible);
        }
        if text.len() < KEY_BYTES_MIN {
            return Err(KeyError::TooShort { bytes: text.len() });
        }
        if text == SAMPLE_KEY {
            return Err(KeyError::Sample);
        }
        Ok(Self(text.to_owned()))
    }

    /// The key itself, to be shown to its owner once.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What the gateway keeps of the key.
    pub fn digest(&self) -> KeyDigest {
        KeyDigest::of(self.0.as_bytes())
    }
}

impl KeyDigest {
    /// The digest of these bytes, whatever they are.
    pub fn of(key: &[u8]) -> Self {
        Self(Sha256::digest(key).into())
    }
}

impl FromStr for KeyDigest {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let digits = text.as_bytes();
        if digits.len() != 2 * DIGEST_BYTES {
            return Err(KeyError::NotADigest);
        }
        let mut digest = [0; DIGEST_BYTES];
        for (byte, pair) in digest.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = 16 * hex_digit(pair[0])? + hex_digit(pair[1])?;
        }
        Ok(Self(digest))
    }
}

fn hex_digit(digit: u8) -> Result<u8, KeyError> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        b'A'..=b'F' => Ok(digit - b'A' + 10),
        _ => Err(KeyError::NotADigest),
    }
}

impl PartialEq for KeyDigest {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for KeyDigest {}

impl Hash for KeyDigest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(***)")
    }
}

impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyDigest({self})")
    }
}

/// In hex, the way the configuration has it.
impl fmt::Display for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Random(_) => f.write_str("the operating system gave no random bytes"),
            Self::TooShort { bytes } => {
                write!(f, "the key has {bytes} bytes and needs at least {KEY_BYTES_MIN}")
            }
            Self::NotVisible => f.write_str(
                "the key has a space, a line end or another character not visible ASCII",
            ),
            Self::Sample => f.write_str(
                "the key is the sample key from the documentation, which everyone knows; \
                 run `adit key new` for one of your own",
            ),
            Self::NotADigest => f.write_str(
                "must be the 64 hex digits of the key's SHA-256, as `adit key new` prints them",
            ),
        }
    }
}

impl std::error::Error for KeyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Random(source) => Some(source),
            Self::TooShort { .. } | Self::NotVisible | Self::Sample | Self::NotADigest => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_key_is_long_new_and_takes_its_own_rules() {
        let (one, two) = (ApiKey::generate().unwrap(), ApiKey::generate().unwrap());
        assert!(one.reveal().starts_with(PREFIX));
        assert_eq!(one.reveal().len(), PREFIX.len() + 43);
        assert_ne!(one.reveal(), two.reveal());
        assert!(ApiKey::from_plain(one.reveal()).is_ok());
    }

    #[test]
    fn debug_does_not_show_the_key() {
        let key = ApiKey::generate().unwrap();
        assert_eq!(format!("{key:?}"), "ApiKey(***)");
    }

    #[test]
    fn a_digest_is_sha_256_and_survives_hex_in_either_case() {
        let digest = KeyDigest::of(b"abc");
        let hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest.to_string(), hex);
        assert_eq!(hex.parse::<KeyDigest>().unwrap(), digest);
        assert_eq!(hex.to_uppercase().parse::<KeyDigest>().unwrap(), digest);
    }

    /// What is compared are digests, and they have no more in common the more of a key is right. So
    /// there is nothing for a clock to find out; measuring one would only measure the machine.
    #[test]
    fn how_much_of_a_key_is_right_does_not_show_in_its_digest() {
        let key = ApiKey::generate().unwrap();
        let bytes = key.reveal().as_bytes();
        for place in 0..bytes.len() {
            let mut wrong = bytes.to_vec();
            wrong[place] ^= 1;
            let (right, wrong) = (key.digest(), KeyDigest::of(&wrong));
            assert_ne!(right, wrong);
            let in_common = right.0.iter().zip(&wrong.0).take_while(|(a, b)| a == b).count();
            assert!(in_common < 8, "{in_common} bytes of 32 by chance");
        }
    }

    #[test]
    fn what_is_not_64_hex_digits_is_no_digest() {
        let hex = KeyDigest::of(b"abc").to_string();
        for text in [&hex[1..], &format!("{hex}0"), &format!("+{}", &hex[1..]), "", &"é".repeat(32)]
        {
            assert!(matches!(text.parse::<KeyDigest>(), Err(KeyError::NotADigest)), "{text}");
        }
    }

    #[test]
    fn a_chosen_key_must_be_long_visible_and_not_the_sample() {
        let refusal = |text: &str| ApiKey::from_plain(text).unwrap_err().to_string();
        assert!(refusal(&"k".repeat(31)).contains("31 bytes"));
        assert!(refusal("").contains("0 bytes"));
        assert!(refusal(&format!("{}\n", "k".repeat(40))).contains("line end"));
        assert!(refusal(&"k ".repeat(20)).contains("space"));
        assert!(refusal(SAMPLE_KEY).contains("sample"));
        assert!(ApiKey::from_plain(&"k".repeat(32)).is_ok());
    }
}
