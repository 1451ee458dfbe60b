//! Messages out of a stream of bytes: `length varint (of kind and payload) | kind u8 | payload`.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Bytes of a length at most: enough for 2^35.
const MAX_LENGTH_BYTES: usize = 5;

/// Messages of at most this size are read by way of the stack.
pub(crate) const SHORT_BYTES: usize = 4096;

/// A message: its kind and its payload.
pub type Message = (u8, Bytes);

/// Bytes that are no stream of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A length that is not in its shortest form.
    #[error("a message's length is not in its shortest form")]
    Length,
    /// A message without a kind.
    #[error("a message is empty")]
    Empty,
    /// A message beyond the limit.
    #[error("a message is too long")]
    TooLong,
}

/// Puts what comes before a payload: its length and kind.
pub fn put_header(out: &mut BytesMut, kind: u8, payload_len: usize) {
    let mut length = payload_len + 1;
    while length >= 0x80 {
        out.put_u8(length as u8 | 0x80);
        length >>= 7;
    }
    out.put_u8(length as u8);
    out.put_u8(kind);
}

/// Takes bytes as they come and gives messages, sharing one buffer.
#[derive(Debug)]
pub struct Deframer {
    buffer: BytesMut,
    limit: usize,
}

impl Deframer {
    /// For messages of at most `limit` bytes of kind and payload.
    pub fn new(limit: usize) -> Self {
        Self { buffer: BytesMut::new(), limit }
    }

    /// Where received bytes are to be appended.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Whether all messages are short: see [`SHORT_BYTES`].
    pub(crate) fn is_short(&self) -> bool {
        self.limit <= SHORT_BYTES
    }

    /// The next message, once it is complete.
    ///
    /// # Errors
    /// [`Malformed`]; nothing that follows can be read.
    pub fn next_message(&mut self) -> Result<Option<Message>, Malformed> {
        let mut length = 0usize;
        let mut header = None;
        for (index, byte) in self.buffer.iter().take(MAX_LENGTH_BYTES).enumerate() {
            length |= usize::from(byte & 0x7f) << (7 * index);
            if *byte < 0x80 {
                if *byte == 0 && index > 0 {
                    return Err(Malformed::Length);
                }
                header = Some(index + 1);
                break;
            }
        }
        let Some(header) = header else {
            let complete = self.buffer.len() >= MAX_LENGTH_BYTES;
            return if complete { Err(Malformed::Length) } else { Ok(None) };
        };
        if length == 0 {
            return Err(Malformed::Empty);
        }
        if length > self.limit {
            return Err(Malformed::TooLong);
        }
        if self.buffer.len() < header + length {
            self.buffer.reserve(header + length - self.buffer.len());
            return Ok(None);
        }
        self.buffer.advance(header);
        let mut message = self.buffer.split_to(length).freeze();
        let kind = message.get_u8();
        if self.buffer.is_empty() {
            // Most connections are silent most of the time: they keep no memory meanwhile.
            self.buffer = BytesMut::new();
        }
        Ok(Some((kind, message)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn malformed_lengths_are_refused() {
        for (bytes, error) in [
            (&[0u8][..], Malformed::Empty),
            (&[0x81, 0x00], Malformed::Length),
            (&[0xff; 5], Malformed::Length),
            (&[0x81, 0x01], Malformed::TooLong),
        ] {
            let mut deframer = Deframer::new(128);
            deframer.buffer().extend_from_slice(bytes);
            assert_eq!(deframer.next_message(), Err(error), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn messages_come_whole_however_the_stream_is_cut(
            messages in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..300)), 0..10),
            cuts in prop::collection::vec(0usize..400, 1..20),
        ) {
            let mut stream = BytesMut::new();
            for (kind, payload) in &messages {
                put_header(&mut stream, *kind, payload.len());
                stream.put_slice(payload);
            }
            let mut deframer = Deframer::new(1000);
            let mut found = Vec::new();
            // What the cuts leave comes in one piece.
            for cut in cuts.into_iter().chain([usize::MAX]) {
                let part = stream.split_to(cut.min(stream.len()));
                deframer.buffer().extend_from_slice(&part);
                while let Some((kind, payload)) = deframer.next_message().unwrap() {
                    found.push((kind, payload.to_vec()));
                }
            }
            prop_assert_eq!(found, messages);
        }

        #[test]
        fn garbage_neither_panics_nor_allocates(bytes: Vec<u8>) {
            let mut deframer = Deframer::new(64);
            deframer.buffer().extend_from_slice(&bytes);
            while let Ok(Some(_)) = deframer.next_message() {}
            prop_assert!(deframer.buffer().capacity() <= bytes.len().max(64) + 128);
        }
    }
}
