//! Content, fetched by its hash: whoever owns a client's connection answers this by itself, without copying the content.

use crate::Malformed;
use crate::client::{Content, FetchContent, ServerMessage, server_message};
use crate::message::{Kind, put_header};
use bytes::{Bytes, BytesMut};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

/// The field of `ServerMessage` that is `Content`.
const CONTENT_FIELD: u32 = 6;
/// The field of `Content` that is its data.
const DATA_FIELD: u32 = 2;

/// What of a `ClientMessage` concerns content. Everything else is skipped.
#[derive(Clone, PartialEq, Message)]
struct OnlyFetch {
    #[prost(message, optional, tag = "6")]
    fetch: Option<FetchContent>,
}

/// The hash that a client's message asks for, if that is what it does.
///
/// # Errors
/// [`Malformed::Control`] if the message cannot be read.
pub fn fetched_hash(kind: u8, payload: &Bytes) -> Result<Option<Bytes>, Malformed> {
    if kind != Kind::Control as u8 {
        return Ok(None);
    }
    let message = OnlyFetch::decode(payload.clone()).map_err(|_| Malformed::Control)?;
    Ok(message.fetch.map(|fetch| fetch.hash))
}

/// The message that answers a fetch, without its data: that follows as it is, `data_bytes` long.
pub fn content_head(hash: Bytes, code: &str, data_bytes: usize) -> BytesMut {
    let content = Content { hash, data: Bytes::new(), code: code.to_owned() };
    if data_bytes == 0 {
        let mut out = BytesMut::new();
        let body = Some(server_message::Body::Content(content));
        crate::message::put_control(&mut out, &ServerMessage { body });
        return out;
    }
    // The order of fields is free, so that the data can come last.
    let data_field = key_len(DATA_FIELD) + encoded_len_varint(data_bytes as u64) + data_bytes;
    let content_bytes = content.encoded_len() + data_field;
    let prefix = key_len(CONTENT_FIELD) + encoded_len_varint(content_bytes as u64);
    let mut out = BytesMut::new();
    put_header(&mut out, Kind::Control, prefix + content_bytes);
    encode_key(CONTENT_FIELD, WireType::LengthDelimited, &mut out);
    encode_varint(content_bytes as u64, &mut out);
    // A BytesMut grows, so that encoding cannot run out of room.
    content.encode_raw(&mut out);
    encode_key(DATA_FIELD, WireType::LengthDelimited, &mut out);
    encode_varint(data_bytes as u64, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{ClientMessage, Ping, client_message};
    use crate::message::{encode_body, put_control};

    #[test]
    fn a_head_and_its_data_are_the_message() {
        for (hash, code, length) in
            [(32, "", 20_000), (32, "", 1), (0, "", 127), (32, "slow_down", 0), (32, "", 1 << 20)]
        {
            let (hash, data) = (Bytes::from(vec![7; hash]), Bytes::from(vec![9; length]));
            let mut message = content_head(hash.clone(), code, data.len());
            message.extend_from_slice(&data);
            let content = Content { hash, data, code: code.to_owned() };
            let body = Some(server_message::Body::Content(content));
            let mut expected = BytesMut::new();
            put_control(&mut expected, &ServerMessage { body });
            assert_eq!(message, expected, "{code} {length}");
        }
    }

    #[test]
    fn only_a_fetch_is_one() {
        let encoded = |body| encode_body(&ClientMessage { body: Some(body) });
        let hash = Bytes::from_static(b"hash");
        let fetch = encoded(client_message::Body::Fetch(FetchContent { hash: hash.clone() }));
        let ping = encoded(client_message::Body::Ping(Ping { client_ms: 6 }));
        let control = Kind::Control as u8;
        assert_eq!(fetched_hash(control, &fetch), Ok(Some(hash.clone())));
        assert_eq!(fetched_hash(control, &ping), Ok(None));
        assert_eq!(fetched_hash(Kind::Frames as u8, &fetch), Ok(None));
        assert_eq!(fetched_hash(control, &Bytes::from_static(&[0xff])), Err(Malformed::Control));
        // A field that this version does not know may come before it.
        let mut newer = BytesMut::new();
        encode_key(900, WireType::Varint, &mut newer);
        encode_varint(1, &mut newer);
        newer.extend_from_slice(&fetch);
        assert_eq!(fetched_hash(control, &newer.freeze()), Ok(Some(hash)));
    }
}
