//! Why links end: what everything that reads from a link may conclude.

/// Why a link is hung up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HangupReason {
    /// Bytes that are not what the protocol says.
    #[error("malformed bytes")]
    Malformed,
    /// No version in common.
    #[error("no protocol version in common")]
    Version,
    /// Nothing was heard for too long.
    #[error("silence")]
    Silent,
    /// A newer link to the same node, or a newer life of it.
    #[error("replaced by a newer link")]
    Replaced,
    /// The node is not in the address book, or not any more.
    #[error("not in the address book")]
    Gone,
    /// The other side counts subscriptions otherwise.
    #[error("subscriptions out of step")]
    OutOfStep,
    /// Too much waits for it.
    #[error("too slow")]
    TooSlow,
    /// More subscriptions, or more links without a greeting, than allowed.
    #[error("too many")]
    TooMany,
}
