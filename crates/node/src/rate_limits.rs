//! What clients may do, how often, and for how long they may do nothing.

use pelago_game::Refusal;
use pelago_model::{Allowance, Bucket, ByOrigin, WorldTime};

/// The limits on each client that operators may choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientLimits {
    /// How long a client may take to say hello, in ms; then it is refused as `idle`.
    pub hello_ms: i64,
    /// How long a client may say nothing, in ms; then its session is closed as `idle`.
    pub idle_ms: i64,
    /// How long a client may be blocked without a pause, in ms; then its session is closed as `slow`.
    pub blocked_ms: i64,
    /// Logins of one avatar; more are refused as `slow_down`.
    pub account_logins: Allowance,
    /// What the clients of one address may do before they play.
    pub of_address: ByOrigin<AddressLimits>,
    /// Durable commands; more are refused as `slow_down`.
    pub durable: Allowance,
    /// Live commands; more are refused as `slow_down`.
    pub live: Allowance,
    /// Utterances; more are refused as `slow_down`.
    pub speech: Allowance,
    /// Moves; of more, the last one counts at the next tick.
    pub moves: Allowance,
    /// Pings; more are not answered.
    pub pings: Allowance,
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self {
            hello_ms: 10_000,
            idle_ms: 120_000,
            blocked_ms: 60_000,
            account_logins: Allowance::new(1, 10),
            of_address: ByOrigin {
                loopback: AddressLimits::LOOPBACK,
                others: AddressLimits::OTHERS,
            },
            durable: Allowance::new(10, 20),
            live: Allowance::new(10, 20),
            speech: Allowance::new(2, 5),
            moves: Allowance::new(10, 10),
            pings: Allowance::new(2, 10),
        }
    }
}

/// The limits on what the clients of one address may do before they play.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressLimits {
    /// Logins; more are refused as `slow_down`.
    pub logins: Allowance,
    /// New names, by the minute: [`Allowance::per_minute`]. More are refused as `new_names`.
    pub names: Allowance,
    /// Wrong tokens, by the minute. Once they are used up, logins are refused as `slow_down`.
    pub wrong_tokens: Allowance,
}

impl AddressLimits {
    /// For an address that may be a household, a school or a village.
    pub const OTHERS: Self = Self {
        logins: Allowance::new(5, 200),
        names: Allowance::per_minute(2, 30),
        wrong_tokens: Allowance::per_minute(10, 30),
    };

    /// For addresses of this machine: bots and benchmarks come from there.
    pub const LOOPBACK: Self = Self {
        logins: Allowance::new(10_000, 100_000),
        names: Allowance::per_minute(60_000, 100_000),
        wrong_tokens: Allowance::per_minute(6000, 10_000),
    };
}

/// What a client has left of its allowances.
#[derive(Clone, Debug)]
pub(crate) struct RateLimits {
    pub(crate) durable: Bucket,
    pub(crate) live: Bucket,
    pub(crate) speech: Bucket,
    pub(crate) moves: Bucket,
    pub(crate) pings: Bucket,
}

impl RateLimits {
    /// Of an avatar that has used nothing for so many ms: no more than has come together meanwhile, and one thing of each
    /// kind, so that a session begins without a pause.
    pub(crate) fn new(limits: &ClientLimits, now: WorldTime, quiet_ms: i64) -> Self {
        let filled = |allowance: Allowance| {
            let one_ms = 1000_u32.div_ceil(allowance.per_second.max(1));
            Bucket::filled_for(allowance, now, quiet_ms.max(one_ms.into()))
        };
        Self {
            durable: filled(limits.durable),
            live: filled(limits.live),
            speech: filled(limits.speech),
            moves: filled(limits.moves),
            pings: filled(limits.pings),
        }
    }
}

/// What the bytes of a connection did that no message may do: the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolViolation {
    /// Far too many messages.
    Flood,
    /// Far too many frames of a WebSocket without data.
    EmptyFrames,
    /// A message did not come to its end.
    Stalled,
    /// A message is too long.
    TooLong,
    /// The bytes are no messages.
    Malformed,
}

impl ProtocolViolation {
    /// What the client is told.
    pub(crate) const fn refusal(self) -> Refusal {
        match self {
            Self::Flood | Self::EmptyFrames => Refusal::new("flood", "That was far too much."),
            Self::Stalled => Refusal::new("stalled", "A message did not come to its end."),
            Self::TooLong | Self::Malformed => not_understood(),
        }
    }
}

pub(crate) const fn not_understood() -> Refusal {
    Refusal::new("malformed", "The server did not understand.")
}

/// The bytes of a piece of content as an allowance counts them.
pub(crate) fn kibibytes(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX).max(1)
}

pub(crate) const fn slow_down() -> Refusal {
    Refusal::new("slow_down", "Not so fast.")
}
