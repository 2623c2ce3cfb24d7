//! Reads the configuration file's bytes, and says what is wrong with them if they are no text.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// A file with more bytes is not a configuration: this has room for thousands of keys.
const FILE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What Windows puts in front of text in UTF-16.
const MARKS_OF_UTF_16: [[u8; 2]; 2] = [[0xFF, 0xFE], [0xFE, 0xFF]];

/// Why bytes are no text of a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TextError {
    /// There are more than a configuration has.
    TooLong,
    /// They are UTF-16.
    Utf16,
    /// They are not UTF-8.
    NotUtf8 {
        /// The line of the first byte that is wrong, from 1.
        line: usize,
        /// The bytes of the line up to it, from 1.
        column: usize,
    },
}

/// Reads the file. At most one byte more than allowed is read, so that a device in its place does
/// no harm.
///
/// # Errors
///
/// Fails if the operating system does. What is wrong with the bytes is the inner result.
pub(super) fn read(path: &Path) -> io::Result<Result<String, TextError>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(decode(bytes))
}

fn decode(bytes: Vec<u8>) -> Result<String, TextError> {
    if bytes.len() > FILE_BYTES_MAX {
        return Err(TextError::TooLong);
    }
    if MARKS_OF_UTF_16.iter().any(|mark| bytes.starts_with(mark)) {
        return Err(TextError::Utf16);
    }
    String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let mut lines = before.split(|byte| *byte == b'\n');
        TextError::NotUtf8 {
            line: lines.clone().count(),
            column: lines.next_back().map_or(0, <[u8]>::len) + 1,
        }
    })
}

impl fmt::Display for TextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(
                f,
                "is longer than {} MiB, which no configuration is",
                FILE_BYTES_MAX / (1024 * 1024)
            ),
            Self::Utf16 => f.write_str("is UTF-16: save it as UTF-8"),
            Self::NotUtf8 { line, column } => {
                write!(f, "is not UTF-8: the first wrong byte is at line {line} column {column}")
            }
        }
    }
}

impl std::error::Error for TextError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_utf_8_and_its_first_wrong_byte_is_found() {
        assert_eq!(decode("{\"ü\": 1}".into()), Ok("{\"ü\": 1}".to_owned()));
        let at = |line, column| Err(TextError::NotUtf8 { line, column });
        assert_eq!(decode(b"\xFC".into()), at(1, 1));
        assert_eq!(decode(b"{\n  \"id\": \"M\xFCller\"\n}".into()), at(2, 11));
        assert_eq!(decode(b"{\n".iter().chain(b"\xE2\x82").copied().collect()), at(2, 1));
    }

    #[test]
    fn utf_16_is_told_what_it_is() {
        assert_eq!(decode(b"\xFF\xFE{\0}\0".into()), Err(TextError::Utf16));
        assert_eq!(decode(b"\xFE\xFF\0{\0}".into()), Err(TextError::Utf16));
    }

    #[test]
    fn four_mebibytes_are_read_and_no_more() {
        let spaces = |length: usize| decode(vec![b' '; length]).map(|text| text.len());
        assert_eq!(spaces(FILE_BYTES_MAX), Ok(FILE_BYTES_MAX));
        assert_eq!(spaces(FILE_BYTES_MAX + 1), Err(TextError::TooLong));
    }

    #[test]
    fn a_file_without_an_end_is_not_read_to_it() {
        assert_eq!(read(Path::new("/dev/zero")).unwrap(), Err(TextError::TooLong));
    }
}
