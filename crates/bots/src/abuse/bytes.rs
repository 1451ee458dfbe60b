//! Guests whose bytes are wrong.

use super::guest::{Guest, VisitError, encode, hello, ping};
use super::{Answer, Host};
use bytes::{BufMut, Bytes, BytesMut};
use pelago_model::limits::{MAX_CLIENT_MESSAGE_BYTES, MAX_NAME_BYTES};
use pelago_wire::client::{Act, Arrival, client_message};
use pelago_wire::message::{Kind, put_message};

/// A kind of message that does not exist.
const UNKNOWN_KIND: u8 = 77;
/// A version of the protocol that does not exist.
const UNKNOWN_VERSION: u32 = 9999;
/// A field of protobuf that no message has: number 1000, five bytes.
const UNKNOWN_FIELD: &[u8] = &[0xc2, 0x3e, 5, b'h', b'e', b'l', b'l', b'o'];

pub(super) async fn garbage(host: Host<'_>) -> Result<Answer, VisitError> {
    let mut guest = Guest::connect(host).await?;
    guest.send(Bytes::from_static(&[0xff; 64])).await?;
    guest.end().await
}

pub(super) async fn garbage_later(host: Host<'_>, name: &str) -> Result<Answer, VisitError> {
    after_welcome(host, name, Bytes::from_static(&[0xff; 64])).await
}

pub(super) async fn too_long(host: Host<'_>, name: &str) -> Result<Answer, VisitError> {
    let mut bytes = BytesMut::new();
    put_message(&mut bytes, Kind::Control, &vec![0; MAX_CLIENT_MESSAGE_BYTES]);
    after_welcome(host, name, bytes.freeze()).await
}

pub(super) async fn truncated(host: Host<'_>, name: &str) -> Result<Answer, VisitError> {
    // A message of protobuf that says it has 100 bytes and has one.
    let mut bytes = BytesMut::new();
    put_message(&mut bytes, Kind::Control, &[0x12, 100, 1]);
    after_welcome(host, name, bytes.freeze()).await
}

pub(super) async fn unknown_kind(host: Host<'_>, name: &str) -> Result<Answer, VisitError> {
    after_welcome(host, name, Bytes::from_static(&[4, UNKNOWN_KIND, 1, 2, 3])).await
}

pub(super) async fn unknown_field(host: Host<'_>, name: &str) -> Result<Answer, VisitError> {
    let known = encode(ping(1));
    // Without its head of length and kind.
    let mut payload = BytesMut::from(&known[2..]);
    payload.put_slice(UNKNOWN_FIELD);
    let mut bytes = BytesMut::new();
    put_message(&mut bytes, Kind::Control, &payload);
    still_served(host, name, bytes.freeze()).await
}

pub(super) async fn unknown_body(host: Host<'_>, name: &str) -> Result<Answer, VisitError> {
    let mut bytes = BytesMut::new();
    put_message(&mut bytes, Kind::Control, UNKNOWN_FIELD);
    still_served(host, name, bytes.freeze()).await
}

pub(super) async fn another_version(host: Host<'_>, name: &str) -> Result<Answer, VisitError> {
    let mut guest = Guest::connect(host).await?;
    let mut greeting = hello(name, Arrival::Home);
    if let client_message::Body::Hello(hello) = &mut greeting {
        (hello.oldest_version, hello.newest_version) = (UNKNOWN_VERSION, UNKNOWN_VERSION);
    }
    guest.say(greeting).await?;
    guest.end().await
}

pub(super) async fn long_name(host: Host<'_>) -> Result<Answer, VisitError> {
    let mut guest = Guest::connect(host).await?;
    guest.say(hello(&"n".repeat(MAX_NAME_BYTES + 1), Arrival::Home)).await?;
    guest.end().await
}

pub(super) async fn anothers_name(host: Host<'_>, name: &str) -> Result<Answer, VisitError> {
    let (owner, _) = Guest::arrive(host, name, Arrival::Home).await?;
    let mut guest = Guest::connect(host).await?;
    let mut greeting = hello(name, Arrival::Home);
    if let client_message::Body::Hello(hello) = &mut greeting {
        hello.token = Bytes::from_static(&[7; 32]);
    }
    guest.say(greeting).await?;
    let answer = guest.end().await;
    owner.vanish();
    answer
}

pub(super) async fn acts_early(host: Host<'_>) -> Result<Answer, VisitError> {
    let mut guest = Guest::connect(host).await?;
    let act = Act { sequence: 1, payload: Bytes::from_static(b"{}"), number: 0 };
    guest.say(client_message::Body::Act(act)).await?;
    guest.end().await
}

pub(super) async fn greets_twice(host: Host<'_>, name: &str) -> Result<Answer, VisitError> {
    after_welcome(host, name, encode(hello(name, Arrival::Home))).await
}

async fn after_welcome(host: Host<'_>, name: &str, bytes: Bytes) -> Result<Answer, VisitError> {
    let (mut guest, _) = Guest::arrive(host, name, Arrival::Home).await?;
    guest.send(bytes).await?;
    guest.end().await
}

async fn still_served(host: Host<'_>, name: &str, bytes: Bytes) -> Result<Answer, VisitError> {
    let (mut guest, _) = Guest::arrive(host, name, Arrival::Home).await?;
    guest.send(bytes).await?;
    guest.is_served().await
}
