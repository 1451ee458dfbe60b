//! Durable turns as lanes ask for them and stewards answer: commands, grants, results.

use crate::grant::Grant;
use bytes::Bytes;
use pelago_game::{Actor, Refusal};
use pelago_model::{EntityId, Epoch, GrantKey, IslandId, IslandTime, Key, Position, Sequence};
use pelago_wire::message::{decode_body, encode_body};
use pelago_wire::peer::{self, DurableAnswer, DurableCall, GrantCall, steward_call};

/// A durable command, stamped by its avatar's lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DurableCommand {
    /// The key that chose the steward.
    pub key: Key,
    /// The avatar that acts, its position and the time.
    pub actor: Actor,
    /// The game's.
    pub payload: Bytes,
    /// To be found in the logs.
    pub trace: u64,
}

/// What became of a durable command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DurableResult {
    /// It is on disk.
    Done {
        /// What the player is told (JSON).
        effects: Bytes,
        /// The avatar's hash chain after it.
        chain: [u8; 32],
    },
    /// Nothing changed; after `unavailable` nobody knows.
    Refused(Refusal),
    /// The rule is broken, and that is on disk: nothing else changed, and the rule is not run for this turn again.
    Failed {
        /// The avatar's hash chain after it.
        chain: [u8; 32],
    },
}

/// What stewards are asked to decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StewardCall {
    /// A command of a session.
    Command(DurableCommand),
    /// Something that an operator or the platform gives.
    Grant(Grant),
}

/// The answer when the platform cannot say what became of something.
pub const fn unavailable() -> Refusal {
    Refusal::new("unavailable", "The world is busy. Try again in a moment.")
}

impl StewardCall {
    /// The key that chooses the steward.
    pub fn key(&self) -> Key {
        match self {
            Self::Command(command) => command.key.clone(),
            Self::Grant(grant) => Key::avatar(grant.avatar),
        }
    }

    /// To be found in the logs.
    pub fn trace(&self) -> u64 {
        match self {
            Self::Command(command) => command.trace,
            Self::Grant(grant) => grant.trace,
        }
    }

    /// Its form between machines. The key and the trace travel beside it.
    pub fn encode(self) -> Bytes {
        let body = match self {
            Self::Command(command) => {
                let actor = command.actor;
                steward_call::Body::Durable(DurableCall {
                    key: String::new(),
                    avatar: actor.avatar.0,
                    epoch: actor.epoch.0,
                    sequence: actor.sequence.0,
                    payload: command.payload,
                    island: actor.island.0,
                    x: actor.position.x,
                    y: actor.position.y,
                    received_ms: actor.received.0,
                })
            }
            Self::Grant(grant) => steward_call::Body::Grant(GrantCall {
                key: grant.key.to_string(),
                avatar: grant.avatar.0,
                what: grant.what,
                reason: grant.reason,
                received_ms: grant.received.0,
            }),
        };
        encode_body(&peer::StewardCall { body: Some(body) })
    }

    /// Reads a call for a key; `None` if it asks for no turn, is not understood or beyond its limits.
    pub fn decode(key: &Key, body: &Bytes, trace: u64) -> Option<Self> {
        match decode_body::<peer::StewardCall>(body).ok()?.body? {
            steward_call::Body::Durable(call) => Some(Self::Command(DurableCommand {
                key: key.clone(),
                actor: Actor {
                    avatar: EntityId(call.avatar),
                    epoch: Epoch(call.epoch),
                    sequence: Sequence(call.sequence),
                    island: IslandId(call.island),
                    position: Position::new(call.x, call.y),
                    received: IslandTime(call.received_ms),
                },
                payload: call.payload,
                trace,
            })),
            steward_call::Body::Grant(call) => {
                let grant = Grant {
                    key: GrantKey::parse(&call.key).ok()?,
                    avatar: EntityId(call.avatar),
                    what: call.what,
                    reason: call.reason,
                    received: IslandTime(call.received_ms),
                    trace,
                };
                let is_its_key = Key::avatar(grant.avatar) == *key;
                (is_its_key && grant.fits()).then_some(Self::Grant(grant))
            }
            // Told to the stewards as such: nothing is decided.
            steward_call::Body::Changed(_) => None,
        }
    }
}

impl DurableResult {
    /// Its form between machines.
    pub fn encode(self) -> Bytes {
        let answer = match self {
            Self::Done { effects, chain } => DurableAnswer {
                effects,
                chain: Bytes::copy_from_slice(&chain),
                ..DurableAnswer::default()
            },
            Self::Refused(refusal) => refused(refusal),
            Self::Failed { chain } => DurableAnswer {
                chain: Bytes::copy_from_slice(&chain),
                ..refused(Refusal::internal())
            },
        };
        encode_body(&answer)
    }

    /// How a call to a steward ended. Without an answer, nobody knows what became of the turn.
    pub fn of_call(result: crate::call::CallResult) -> Self {
        let Ok(body) = result else { return Self::Refused(unavailable()) };
        let Ok(answer) = decode_body::<DurableAnswer>(&body) else {
            return Self::Refused(Refusal::internal());
        };
        if !answer.code.is_empty() {
            if let Ok(chain) = answer.chain.as_ref().try_into() {
                return Self::Failed { chain };
            }
            let (code, sentence) = (answer.code.into(), answer.sentence.into());
            return Self::Refused(Refusal { code, sentence });
        }
        match answer.chain.as_ref().try_into() {
            Ok(chain) => Self::Done { effects: answer.effects, chain },
            Err(_) => Self::Refused(Refusal::internal()),
        }
    }
}

fn refused(refusal: Refusal) -> DurableAnswer {
    DurableAnswer {
        code: refusal.code.into_owned(),
        sentence: refusal.sentence.into_owned(),
        ..DurableAnswer::default()
    }
}
