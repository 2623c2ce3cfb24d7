//! Inflates messages for peers that did not ask for compression.

use std::io::Read;

use bytes::Bytes;
use flate2::read::{MultiGzDecoder, ZlibDecoder};

use crate::tunnel::failure::Failure;

/// Inflates a message that is flagged as compressed with `encoding` (gRPC `doc/compression.md`).
///
/// # Errors
///
/// A flag without an encoding or broken data is `Protocol`, an encoding that is neither gzip nor
/// deflate `UnsupportedEncoding`, and a result of more than `bytes_max` bytes `MessageTooLarge`.
pub fn inflate(
    encoding: Option<&[u8]>,
    payload: &Bytes,
    bytes_max: usize,
) -> Result<Bytes, Failure> {
    match encoding {
        Some(b"gzip") => read(MultiGzDecoder::new(&payload[..]), bytes_max),
        Some(b"deflate") => read(ZlibDecoder::new(&payload[..]), bytes_max),
        None | Some(b"identity") => Err(Failure::Protocol),
        Some(_) => Err(Failure::UnsupportedEncoding),
    }
}

fn read(decoder: impl Read, bytes_max: usize) -> Result<Bytes, Failure> {
    let mut inflated = Vec::new();
    // One byte more than allowed tells a bomb from a message at the limit.
    let mut bounded = decoder.take(bytes_max as u64 + 1);
    bounded.read_to_end(&mut inflated).map_err(|_| Failure::Protocol)?;
    if inflated.len() > bytes_max {
        return Err(Failure::MessageTooLarge);
    }
    Ok(inflated.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};
    use std::io::Write;

    #[test]
    fn gzip_and_deflate_are_undone_up_to_the_limit() {
        let message = vec![7; 1000];
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(&message).unwrap();
        let gzip = Bytes::from(gzip.finish().unwrap());
        let mut deflate = ZlibEncoder::new(Vec::new(), Compression::default());
        deflate.write_all(&message).unwrap();
        let deflate = Bytes::from(deflate.finish().unwrap());

        assert_eq!(inflate(Some(b"gzip"), &gzip, 1000), Ok(message.clone().into()));
        assert_eq!(inflate(Some(b"deflate"), &deflate, 1000), Ok(message.into()));
        assert_eq!(inflate(Some(b"gzip"), &gzip, 999), Err(Failure::MessageTooLarge));
        assert_eq!(inflate(Some(b"gzip"), &deflate, 1000), Err(Failure::Protocol));
    }

    #[test]
    fn a_flag_without_an_encoding_is_broken_and_an_unknown_encoding_is_not_supported() {
        let payload = Bytes::from_static(b"x");
        assert_eq!(inflate(None, &payload, 10), Err(Failure::Protocol));
        assert_eq!(inflate(Some(b"identity"), &payload, 10), Err(Failure::Protocol));
        assert_eq!(inflate(Some(b"snappy"), &payload, 10), Err(Failure::UnsupportedEncoding));
    }
}
