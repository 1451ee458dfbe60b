//! Events of a client's connection, whichever machine has the client.

use crate::rate_limits::ProtocolViolation;
use bytes::Bytes;
use pelago_model::Origin;

/// Something that happened on the connection of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientEvent {
    /// It was opened.
    Connected {
        /// Where it comes from.
        origin: Origin,
    },
    /// A message came.
    Received {
        /// Its kind.
        kind: u8,
        /// Its payload.
        payload: Bytes,
    },
    /// Its bytes did what no message may do. Nothing more is read of them.
    Violated(ProtocolViolation),
    /// It takes no more bytes for now.
    Blocked,
    /// It takes bytes again.
    Writable,
    /// It is gone.
    Disconnected,
}
