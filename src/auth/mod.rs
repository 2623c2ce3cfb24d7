//! Which keys exist and what each of them allows.
//!
//! The ring knows digests, never keys. A key is long and random, so its unsalted SHA-256 gives
//! nothing away and can be looked up in one step.

pub mod guesses;
pub mod key;
pub mod network;
pub mod pattern;

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use key::{KeyDigest, SAMPLE_KEY};
use pattern::NamePattern;

/// The keys that open the gateway, by digest.
#[derive(Clone, Default)]
pub struct Keyring {
    grants: HashMap<KeyDigest, Arc<KeyGrant>>,
    ids: HashSet<String>,
}

/// What the holder of a key may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyGrant {
    /// The key's name in the log. Not a secret.
    pub id: String,
    /// The service names the key is good for.
    pub services: Vec<NamePattern>,
    /// Its programs get the `stream` feature without asking for it.
    pub stream: bool,
}

/// Why a key was not put on the ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyRefused {
    /// Another key has this id.
    DuplicateId,
    /// The same key is on the ring already.
    DuplicateKey {
        /// The id it has there.
        id: String,
    },
    /// It is the key that the documentation shows, which everyone knows.
    Sample,
    /// It is the digest of no text at all: a peer that sends no key would pass.
    Empty,
}

impl Keyring {
    /// A ring without keys: nobody gets in.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a key on the ring.
    ///
    /// # Errors
    ///
    /// Refuses a second key with the same id, the same key twice, the documentation's sample key
    /// and the empty key.
    pub fn add(&mut self, digest: KeyDigest, grant: KeyGrant) -> Result<(), KeyRefused> {
        if digest == KeyDigest::of(SAMPLE_KEY.as_bytes()) {
            return Err(KeyRefused::Sample);
        }
        if digest == KeyDigest::of(b"") {
            return Err(KeyRefused::Empty);
        }
        match self.grants.entry(digest) {
            Entry::Occupied(other) => Err(KeyRefused::DuplicateKey { id: other.get().id.clone() }),
            Entry::Vacant(_) if self.ids.contains(&grant.id) => Err(KeyRefused::DuplicateId),
            Entry::Vacant(place) => {
                self.ids.insert(grant.id.clone());
                place.insert(Arc::new(grant));
                Ok(())
            }
        }
    }

    /// What the presented key allows. `None` if the ring does not have it.
    ///
    /// The presented bytes are hashed before anything is compared, and digests compare in constant
    /// time, so how long this takes says nothing about the keys on the ring.
    pub fn check(&self, presented: &[u8]) -> Option<Arc<KeyGrant>> {
        self.grants.get(&KeyDigest::of(presented)).cloned()
    }

    /// Every grant, in no order.
    pub fn grants(&self) -> impl Iterator<Item = &KeyGrant> {
        self.grants.values().map(Arc::as_ref)
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.grants.len()
    }

    /// Whether nobody can get in.
    pub fn is_empty(&self) -> bool {
        self.grants.is_empty()
    }
}

impl KeyGrant {
    /// Whether the key is good for this service name.
    pub fn allows(&self, name: &str) -> bool {
        self.services.iter().any(|pattern| pattern.matches(name))
    }

    /// The names written out in full. They count as known before any tunnel serves them.
    pub fn exact_names(&self) -> impl Iterator<Item = &str> {
        self.services.iter().filter_map(NamePattern::exact)
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ids: Vec<&String> = self.ids.iter().collect();
        ids.sort_unstable();
        f.debug_tuple("Keyring").field(&ids).finish()
    }
}

impl fmt::Display for KeyRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DuplicateId => f.write_str("another key has this id"),
            Self::DuplicateKey { id } => write!(f, "is the same key as `{id}`"),
            Self::Sample => f.write_str(
                "is the sample key from the documentation, which everyone knows; \
                 run `adit key new` for one of your own",
            ),
            Self::Empty => f.write_str("is the digest of an empty text, not of a key"),
        }
    }
}

impl std::error::Error for KeyRefused {}

#[cfg(test)]
mod tests {
    use super::key::ApiKey;
    use super::*;

    #[test]
    fn a_key_opens_with_its_own_grant_and_nothing_else_does() {
        let (bots, edge) = (ApiKey::generate().unwrap(), ApiKey::generate().unwrap());
        let mut ring = Keyring::new();
        ring.add(bots.digest(), grant("bots", &["demo.*"])).unwrap();
        ring.add(edge.digest(), grant("edge", &["*"])).unwrap();

        let found = ring.check(bots.reveal().as_bytes()).unwrap();
        assert_eq!(found.id, "bots");
        assert!(found.allows("demo.Echo"));
        assert!(!found.allows("chat.Room"));

        assert!(ring.check(b"").is_none());
        assert!(ring.check(&bots.reveal().as_bytes()[1..]).is_none());
        assert!(ring.check(bots.digest().to_string().as_bytes()).is_none(), "a digest is no key");
    }

    #[test]
    fn an_id_and_a_key_are_taken_once() {
        let mut ring = Keyring::new();
        let key = ApiKey::generate().unwrap();
        ring.add(key.digest(), grant("bots", &["*"])).unwrap();

        let again = ring.add(key.digest(), grant("edge", &["*"]));
        assert_eq!(again, Err(KeyRefused::DuplicateKey { id: "bots".into() }));
        let other = ApiKey::generate().unwrap();
        assert_eq!(ring.add(other.digest(), grant("bots", &["*"])), Err(KeyRefused::DuplicateId));
        assert_eq!(ring.len(), 1);
        assert!(ring.check(other.reveal().as_bytes()).is_none());
    }

    #[test]
    fn the_sample_key_and_the_empty_key_are_refused() {
        let mut ring = Keyring::new();
        let sample = KeyDigest::of(SAMPLE_KEY.as_bytes());
        assert_eq!(ring.add(sample, grant("bots", &["*"])), Err(KeyRefused::Sample));
        let empty = KeyDigest::of(b"");
        assert_eq!(ring.add(empty, grant("bots", &["*"])), Err(KeyRefused::Empty));
        assert!(ring.is_empty());
    }

    #[test]
    fn debug_shows_ids_and_no_digest() {
        let mut ring = Keyring::new();
        let key = ApiKey::generate().unwrap();
        ring.add(key.digest(), grant("bots", &["*"])).unwrap();
        assert_eq!(format!("{ring:?}"), r#"Keyring(["bots"])"#);
    }

    #[test]
    fn only_names_written_out_in_full_count_as_known() {
        let grant = grant("bots", &["demo.*", "chat.Room", "*", "Echo"]);
        assert_eq!(grant.exact_names().collect::<Vec<_>>(), ["chat.Room", "Echo"]);
    }

    fn grant(id: &str, services: &[&str]) -> KeyGrant {
        let services = services.iter().map(|text| text.parse().unwrap()).collect();
        KeyGrant { id: id.to_owned(), services, stream: false }
    }
}
