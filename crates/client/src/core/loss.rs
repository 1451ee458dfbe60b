//! Why a connection ended, and whether another attempt makes sense.

use pelago_wire::Malformed;

/// Codes of refusals after which another attempt may succeed. Any other one, known or not, is final.
const RETRIED_REFUSALS: [&str; 8] =
    ["busy", "full", "unavailable", "slow_down", "shutdown", "idle", "stalled", "flood"];
/// Codes of closings after which no attempt would succeed, or one would throw out somebody else. After any other one,
/// known or not, the client comes again.
const FINAL_CLOSINGS: [&str; 4] = ["superseded", "token", "name", "version"];

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loss {
    /// It could not be opened.
    Unreachable(String),
    /// It broke, or the node ended it without a word.
    Broken(String),
    /// The node did not answer the hello in time.
    NoAnswer,
    /// The node did not answer a ping in time.
    Silent,
    /// The node's bytes are not the protocol.
    Malformed(Malformed),
    /// The avatar has done things that this session has not heard of; the next welcome tells how far it is.
    OutOfStep,
    /// The node refused the session.
    Refused {
        /// The public code.
        code: String,
        /// For the player.
        sentence: String,
    },
    /// The node closed the session.
    Closed {
        /// The public code.
        code: String,
        /// For the player.
        sentence: String,
    },
    /// The application said goodbye.
    Left,
    /// The settings name no address.
    NoAddress,
}

impl Loss {
    /// A code for programs: the node's own, or one of `unreachable`, `lost`, `no_answer`, `silent`, `malformed`,
    /// `out_of_step`, `left` and `no_address`.
    pub fn code(&self) -> &str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::Broken(_) => "lost",
            Self::NoAnswer => "no_answer",
            Self::Silent => "silent",
            Self::Malformed(_) => "malformed",
            Self::OutOfStep => "out_of_step",
            Self::Refused { code, .. } | Self::Closed { code, .. } => code,
            Self::Left => "left",
            Self::NoAddress => "no_address",
        }
    }

    /// Whether the client tries no more.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Refused { code, .. } => !RETRIED_REFUSALS.contains(&code.as_str()),
            Self::Closed { code, .. } => FINAL_CLOSINGS.contains(&code.as_str()),
            Self::Left | Self::NoAddress => true,
            Self::Unreachable(_)
            | Self::Broken(_)
            | Self::NoAnswer
            | Self::Silent
            | Self::Malformed(_)
            | Self::OutOfStep => false,
        }
    }
}

impl std::fmt::Display for Loss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreachable(reason) => write!(f, "the node cannot be reached: {reason}"),
            Self::Broken(reason) => write!(f, "the connection was lost: {reason}"),
            Self::NoAnswer => write!(f, "the node gave no answer"),
            Self::Silent => write!(f, "the node does not answer pings"),
            Self::Malformed(malformed) => {
                write!(f, "the node does not speak the protocol: {malformed}")
            }
            Self::OutOfStep => write!(f, "the avatar has done more than this session knows"),
            Self::Refused { code, sentence } => write!(f, "refused: {code}: {sentence}"),
            Self::Closed { code, sentence } => write!(f, "closed: {code}: {sentence}"),
            Self::Left => write!(f, "left"),
            Self::NoAddress => write!(f, "there is no address to connect to"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_is_tried_again_and_what_cannot_is_not() {
        let refused = |code: &str| Loss::Refused { code: code.into(), sentence: String::new() };
        let closed = |code: &str| Loss::Closed { code: code.into(), sentence: String::new() };
        for (loss, is_final) in [
            (refused("busy"), false),
            (refused("full"), false),
            (refused("unavailable"), false),
            (refused("shutdown"), false),
            (refused("token"), true),
            (refused("name"), true),
            (refused("version"), true),
            (refused("malformed"), true),
            (refused("a code of the future"), true),
            (closed("superseded"), true),
            (closed("shutdown"), false),
            (closed("slow"), false),
            (closed("idle"), false),
            (closed("a code of the future"), false),
            (Loss::Broken(String::new()), false),
            (Loss::Silent, false),
            (Loss::Malformed(Malformed::Control), false),
            (Loss::Left, true),
        ] {
            assert_eq!(loss.is_final(), is_final, "{loss}");
        }
    }
}
