//! Messages of a stream: kinds, headers, control messages.

use crate::Malformed;
use crate::varint::{Reader, put_varint};
use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;

/// The kinds of messages on client and peer links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A protobuf message.
    Control = 1,
    /// The frames of a tick.
    Frames = 2,
    /// Everything of a stream.
    Snapshot = 3,
    /// Aliases that end.
    Close = 4,
}

impl Kind {
    /// The kind with this number.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Control),
            2 => Some(Self::Frames),
            3 => Some(Self::Snapshot),
            4 => Some(Self::Close),
            _ => None,
        }
    }
}

/// Appends the header of a message whose payload has this many bytes.
pub fn put_header(out: &mut BytesMut, kind: Kind, payload_len: usize) {
    put_numbered_header(out, kind as u8, payload_len);
}

/// The same of a kind by its number.
pub(crate) fn put_numbered_header(out: &mut BytesMut, kind: u8, payload_len: usize) {
    put_varint(out, payload_len as u64 + 1);
    out.put_u8(kind);
}

/// Appends a whole message.
pub fn put_message(out: &mut BytesMut, kind: Kind, payload: &[u8]) {
    put_header(out, kind, payload.len());
    out.put_slice(payload);
}

/// Appends a control message.
pub fn put_control(out: &mut BytesMut, message: &impl Message) {
    let len = message.encoded_len();
    put_header(out, Kind::Control, len);
    out.reserve(len);
    // A BytesMut grows, so that encoding cannot run out of room.
    message.encode_raw(out);
}

/// Takes bytes apart that are whole messages: the number of each one's kind, and its payload.
///
/// # Errors
/// [`Malformed`] if they are anything else, or end within a message.
pub fn whole_messages(bytes: &Bytes) -> Result<Vec<(u8, Bytes)>, Malformed> {
    let (mut reader, mut messages) = (Reader::new(bytes), Vec::new());
    while !reader.is_empty() {
        let length = reader.number::<usize>()?.checked_sub(1).ok_or(Malformed::Truncated)?;
        messages.push((reader.u8()?, reader.bytes(length)?));
    }
    Ok(messages)
}

/// Reads the payload of a control message.
///
/// # Errors
/// [`Malformed::Control`].
pub fn decode_control<M: Message + Default>(payload: &Bytes) -> Result<M, Malformed> {
    M::decode(payload.clone()).map_err(|_| Malformed::Control)
}

/// Encodes the body of a call or of an answer.
pub fn encode_body(message: &impl Message) -> Bytes {
    // A BytesMut grows, so that encoding cannot run out of room.
    let mut out = BytesMut::with_capacity(message.encoded_len());
    message.encode_raw(&mut out);
    out.freeze()
}

/// Decodes the body of a call or of an answer.
///
/// # Errors
/// [`Malformed`] if the bytes are not the message.
pub fn decode_body<M: Message + Default>(body: &Bytes) -> Result<M, Malformed> {
    decode_control(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_messages_are_taken_apart_and_nothing_else_is() {
        let mut out = BytesMut::new();
        put_message(&mut out, Kind::Close, &[]);
        put_message(&mut out, Kind::Frames, &[7; 200]);
        let bytes = out.freeze();
        let whole = whole_messages(&bytes).unwrap();
        let expected = [(4, Bytes::new()), (2, Bytes::from_static(&[7; 200]))];
        assert_eq!(whole, expected);
        for cut in 1..bytes.len() {
            // The first message has two bytes.
            assert_eq!(whole_messages(&bytes.slice(..cut)).is_ok(), cut == 2, "{cut}");
        }
        assert_eq!(whole_messages(&Bytes::from_static(&[0])), Err(Malformed::Truncated));
    }
}
