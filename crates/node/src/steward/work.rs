//! What stewards decide: commands and grants, and what happened to each so far.

use super::{Caller, DurableCommand};
use crate::grant::Grant;
use pelago_game::Game;
use pelago_model::{EntityId, Key, WorldTime};

/// What is to be decided.
#[derive(Clone, Debug)]
pub(super) enum Work {
    Command(DurableCommand),
    Grant(Grant),
}

impl Work {
    /// The key that chose the steward.
    pub(super) fn key(&self) -> Key {
        match self {
            Self::Command(command) => command.key.clone(),
            Self::Grant(grant) => Key::avatar(grant.avatar),
        }
    }

    /// Whose document it changes.
    pub(super) fn avatar(&self) -> EntityId {
        match self {
            Self::Command(command) => command.actor.avatar,
            Self::Grant(grant) => grant.avatar,
        }
    }

    /// The documents that it will surely want.
    pub(super) fn keys(&self, game: &dyn Game) -> Vec<Key> {
        let mut keys = match self {
            Self::Command(command) => game.keys(&command.actor, &command.payload),
            Self::Grant(grant) => vec![Key::grant(grant.avatar, &grant.key)],
        };
        keys.push(Key::avatar(self.avatar()));
        keys
    }

    pub(super) fn trace(&self) -> u64 {
        match self {
            Self::Command(command) => command.trace,
            Self::Grant(grant) => grant.trace,
        }
    }
}

/// A turn and what happened to it so far.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub(super) caller: Caller,
    pub(super) work: Work,
    pub(super) attempts: usize,
    pub(super) deadline: WorldTime,
    /// Its time was over: nobody waits for it any more.
    pub(super) is_answered: bool,
}
