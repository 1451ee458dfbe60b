//! Every byte that passes between processes, as laid down in `docs/protocol.md`.
//!
//! Decoding is total: any bytes become a value or [`Malformed`], without panic and without
//! allocation beyond what the bytes themselves hold. This crate knows no sockets and no game.

pub mod client_stream;
pub mod content;
mod convert;
pub mod frame;
pub mod message;
pub mod peer_stream;
pub mod record;
mod redaction;
pub mod tick_stamp;
pub mod varint;

/// Control messages between a client and its node.
#[allow(missing_docs, clippy::all, reason = "generated; the documentation is in the .proto file")]
pub mod client {
    include!(concat!(env!("OUT_DIR"), "/pelago.client.v1.rs"));
}

/// Control messages between nodes.
#[allow(missing_docs, clippy::all, reason = "generated; the documentation is in the .proto file")]
pub mod peer {
    include!(concat!(env!("OUT_DIR"), "/pelago.peer.v1.rs"));
}

/// The oldest version of the protocol that this code speaks.
pub const PROTOCOL_OLDEST: u32 = 1;
/// The newest version of the protocol that this code speaks.
pub const PROTOCOL_NEWEST: u32 = 1;

/// The version that two sides speak, given each side's oldest and newest: the newest in common.
pub fn negotiate(one: (u32, u32), other: (u32, u32)) -> Option<u32> {
    let newest = one.1.min(other.1);
    (newest >= one.0.max(other.0)).then_some(newest)
}

/// Bytes that are not what the protocol says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// They end too early.
    #[error("the bytes end too early")]
    Truncated,
    /// A varint is longer than needed, or beyond 64 bits.
    #[error("a varint is not in its shortest form")]
    Varint,
    /// A number is beyond its limit.
    #[error("a number is beyond its limit")]
    OutOfRange,
    /// A text is not UTF-8.
    #[error("a text is not utf-8")]
    Text,
    /// A text or payload is longer than allowed.
    #[error("a text or payload is too long")]
    TooLong,
    /// A kind of record that this version does not have and that cannot be skipped.
    #[error("unknown kind of record")]
    UnknownRecord,
    /// A path that is no trajectory.
    #[error("a path is no trajectory")]
    Trajectory,
    /// Not a message of the expected protobuf type.
    #[error("not a control message")]
    Control,
}

#[cfg(test)]
mod tests;
