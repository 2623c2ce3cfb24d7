//! gRPC's length-prefixed messages, cut out of a stream of DATA frames.
//!
//! Message boundaries are not DATA boundaries (gRPC over HTTP/2, "Data frame boundaries").

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// One byte of flags and four of length.
pub const PREFIX_BYTES: usize = 5;

/// Puts messages together from the chunks in which they come.
#[derive(Debug)]
pub struct Deframer {
    /// What has come and belongs to no finished message. One chunk is kept as it is, so that a
    /// message that lies in one chunk is a slice of it.
    chunk: Bytes,
    /// Chunks of a message that lies in several.
    gathered: BytesMut,
    message_bytes_max: usize,
}

/// One message as it stood on the wire.
#[derive(Debug, PartialEq, Eq)]
pub struct RawMessage {
    /// The flag byte: 0 plain, 1 compressed, anything else is not gRPC.
    pub flag: u8,
    /// The message.
    pub payload: Bytes,
}

/// A message announces more bytes than it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge;

impl Deframer {
    /// A deframer for messages of up to `message_bytes_max` bytes.
    pub fn new(message_bytes_max: usize) -> Self {
        Self { chunk: Bytes::new(), gathered: BytesMut::new(), message_bytes_max }
    }

    /// From now on messages may have up to `message_bytes_max` bytes.
    pub fn admit(&mut self, message_bytes_max: usize) {
        self.message_bytes_max = message_bytes_max;
    }

    /// Adds the next chunk. [`Self::next_message`] must have been asked until it had nothing.
    pub fn push(&mut self, chunk: Bytes) {
        if self.is_empty() {
            self.chunk = chunk;
        } else {
            // The announced length is never reserved: it costs a caller nothing to announce.
            if self.gathered.is_empty() {
                self.gathered.extend_from_slice(&self.chunk);
                self.chunk = Bytes::new();
            }
            self.gathered.extend_from_slice(&chunk);
        }
    }

    /// The next whole message, if it is there.
    ///
    /// # Errors
    ///
    /// As soon as its prefix is there, when a message is over the limit.
    pub fn next_message(&mut self) -> Result<Option<RawMessage>, TooLarge> {
        let seen = if self.gathered.is_empty() { &self.chunk[..] } else { &self.gathered[..] };
        let Some((mut prefix, rest)) = seen.split_at_checked(PREFIX_BYTES) else {
            return Ok(None);
        };
        let flag = prefix.get_u8();
        let length = prefix.get_u32() as usize;
        if length > self.message_bytes_max {
            return Err(TooLarge);
        }
        if rest.len() < length {
            return Ok(None);
        }
        if !self.gathered.is_empty() {
            self.chunk = self.gathered.split().freeze();
        }
        self.chunk.advance(PREFIX_BYTES);
        Ok(Some(RawMessage { flag, payload: self.chunk.split_to(length) }))
    }

    /// Bytes of an unfinished message that lies in several chunks.
    pub fn gathered_bytes(&self) -> usize {
        self.gathered.len()
    }

    /// Whether no part of a message is waiting for the rest.
    pub fn is_empty(&self) -> bool {
        self.chunk.is_empty() && self.gathered.is_empty()
    }
}

/// The prefix of a message of `length` bytes.
///
/// Messages are limited to far less than 4 GiB, so the length always fits.
pub fn put_prefix(compressed: bool, length: usize, out: &mut BytesMut) {
    out.put_u8(u8::from(compressed));
    out.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_message_in_one_chunk_is_not_copied() {
        let wire = wire(&[b"hello"]);
        let mut deframer = Deframer::new(10);
        deframer.push(wire.clone());
        let message = deframer.next_message().unwrap().unwrap();
        assert_eq!(message.payload.as_ptr(), wire[PREFIX_BYTES..].as_ptr());
        assert_eq!(deframer.next_message(), Ok(None));
        assert!(deframer.is_empty());
    }

    #[test]
    fn the_limit_is_checked_at_the_prefix_and_nothing_is_reserved() {
        let mut deframer = Deframer::new(10);
        deframer.push(Bytes::from_static(&[0, 0xff, 0xff, 0xff, 0xff]));
        assert_eq!(deframer.next_message(), Err(TooLarge));
        assert_eq!(deframer.gathered.capacity(), 0);
    }

    #[test]
    fn a_cut_off_message_is_noticed() {
        let mut deframer = Deframer::new(10);
        deframer.push(wire(&[b"hello"]).slice(..7));
        assert_eq!(deframer.next_message(), Ok(None));
        assert!(!deframer.is_empty());
    }

    proptest! {
        #[test]
        fn messages_come_out_as_they_went_in_however_they_are_cut(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8),
            cuts in prop::collection::vec(1..20usize, 1..60),
        ) {
            let parts: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
            let mut wire = wire(&parts);
            let mut deframer = Deframer::new(40);
            let mut out = Vec::new();
            let mut cuts = cuts.into_iter().cycle();
            while !wire.is_empty() {
                let cut = cuts.next().unwrap().min(wire.len());
                deframer.push(wire.split_to(cut));
                while let Some(message) = deframer.next_message().unwrap() {
                    out.push(message.payload.to_vec());
                }
            }
            prop_assert!(deframer.is_empty());
            prop_assert_eq!(out, messages);
        }
    }

    fn wire(messages: &[&[u8]]) -> Bytes {
        let mut out = BytesMut::new();
        for message in messages {
            put_prefix(false, message.len(), &mut out);
            out.extend_from_slice(message);
        }
        out.freeze()
    }
}
