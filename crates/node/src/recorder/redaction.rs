//! What is not written down: the tokens of players.
//!
//! The token of a `Hello` is replaced by the hash that the document of its name holds anyway, as 64 hexadecimal
//! digits. A replay takes it for what it is, so that whoever was let in is let in again, and equal tokens of a name
//! stay equal.

use super::coding::put_bytes;
use crate::documents::token::TokenHash;
use bytes::{Bytes, BytesMut};
use pelago_model::Secret;
use pelago_wire::client::{ClientMessage, Hello, client_message};
use pelago_wire::message::{Kind, decode_control, encode_body};
use pelago_wire::varint::Reader;

/// The number of the field of a client's message that holds a `Hello`.
const HELLO_FIELD: u64 = 1;
/// Stands for a message that is malformed and might hold a token: it is malformed, too.
const MALFORMED: &[u8] = &[0xff];

/// Appends the payload of a client's message without what nobody else may know.
pub(super) fn put_payload(out: &mut BytesMut, kind: u8, payload: &Bytes) {
    if kind != Kind::Control as u8 {
        // Clients send nothing else: every machine refuses it by its kind.
        return put_bytes(out, &[]);
    }
    if !may_hold_hello(payload) {
        return put_bytes(out, payload);
    }
    match decode_control::<ClientMessage>(payload).map(|message| message.body) {
        Ok(Some(client_message::Body::Hello(hello))) => {
            let body = Some(client_message::Body::Hello(without_token(hello)));
            put_bytes(out, &encode_body(&ClientMessage { body }));
        }
        // What is encoded anew has lost a hello that another field came after.
        Ok(body) => put_bytes(out, &encode_body(&ClientMessage { body })),
        Err(_) => put_bytes(out, MALFORMED),
    }
}

/// Whether a field of the message is a `Hello`, or whether that cannot be told. This passes over the fields of a
/// message without decoding them: most messages are moves.
fn may_hold_hello(payload: &Bytes) -> bool {
    let mut reader = Reader::new(payload);
    while !reader.is_empty() {
        let Ok(tag) = reader.varint() else { return true };
        // All fields of a client's message are messages themselves: bytes with their length.
        if tag >> 3 == HELLO_FIELD || tag & 7 != 2 || reader.prefixed(usize::MAX).is_err() {
            return true;
        }
    }
    false
}

fn without_token(hello: Hello) -> Hello {
    let hash = TokenHash::of(&hello.name, &Secret::new(hello.token.clone()));
    // A token that is too short or too long has no hash, and neither has an empty one.
    let token = hash.map(|hash| Bytes::from(hash.to_text())).unwrap_or_default();
    Hello { token, ..hello }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pelago_model::IslandClock;
    use pelago_wire::client::{Move, Ping};

    const TOKEN: &[u8] = b"a token that nobody may see";

    fn hello(name: &str, token: &'static [u8]) -> Bytes {
        let (name, token) = (name.to_owned(), Bytes::from_static(token));
        let hello = Hello { oldest_version: 1, newest_version: 1, name, token, ..Hello::default() };
        encode_body(&ClientMessage { body: Some(client_message::Body::Hello(hello)) })
    }

    fn written(payload: &Bytes) -> Bytes {
        let mut out = BytesMut::new();
        put_payload(&mut out, Kind::Control as u8, payload);
        let bytes = out.freeze();
        super::super::coding::Code::take(&mut Reader::new(&bytes), &IslandClock::IDENTITY).unwrap()
    }

    fn shows_token(bytes: &[u8]) -> bool {
        bytes.windows(8).any(|window| TOKEN.windows(8).any(|part| part == window))
    }

    fn token_of(payload: &Bytes) -> Bytes {
        match decode_control::<ClientMessage>(payload).unwrap().body {
            Some(client_message::Body::Hello(hello)) => hello.token,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_token_is_written_as_the_hash_that_its_name_is_bound_to() {
        let anna = written(&hello("Anna", TOKEN));
        assert!(!shows_token(&anna));
        assert_eq!(anna, written(&hello("Anna", TOKEN)));
        let hash = TokenHash::of("Anna", &Secret::new(TOKEN)).unwrap();
        assert_eq!(token_of(&anna), hash.to_text());
        assert_ne!(
            token_of(&anna),
            token_of(&written(&hello("Anna", b"another token of a player")))
        );
        assert_eq!(token_of(&written(&hello("Anna", b"short"))), "");
    }

    #[test]
    fn a_token_is_found_wherever_it_stands() {
        let ping = ClientMessage { body: Some(client_message::Body::Ping(Ping::default())) };
        let ping = encode_body(&ping);
        let hello = hello("Anna", TOKEN);
        let joined = |parts: &[&[u8]]| Bytes::from(parts.concat());
        // The last field counts, fields that are unknown are passed over, and what is cut off is malformed.
        for payload in [
            joined(&[&ping, &hello]),
            joined(&[&hello, &ping]),
            joined(&[&[0x7d, 1, 2, 3, 4], &hello]),
            joined(&[&hello[..hello.len() - 1]]),
            joined(&[&[0xff], &hello]),
            joined(&[&hello, &[0xff]]),
        ] {
            let written = written(&payload);
            assert!(!shows_token(&written), "{payload:?}");
            let (one, other) = (
                decode_control::<ClientMessage>(&payload),
                decode_control::<ClientMessage>(&written),
            );
            assert_eq!(format!("{one:?}"), format!("{other:?}"));
        }
    }

    #[test]
    fn other_messages_are_written_as_they_are() {
        let body = Some(client_message::Body::Move(Move { number: 3, ..Move::default() }));
        let payload = encode_body(&ClientMessage { body });
        assert_eq!(written(&payload), payload);
    }
}
