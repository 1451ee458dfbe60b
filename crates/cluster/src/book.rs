//! The address book's view: who is a member, where, and with which roles.

use pelago_model::{Incarnation, NodeId};

/// What a node does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Roles(u8);

impl Roles {
    /// Runs lanes with players.
    pub const PLAYER: Self = Self(1);
    /// Runs durable turns.
    pub const STEWARD: Self = Self(2);
    /// Everything that one node can do.
    pub const ALL: Self = Self(3);

    /// Whether all of `other` is in it.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// A member of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its number.
    pub node: NodeId,
    /// Its present life.
    pub incarnation: Incarnation,
    /// Where it takes links from other nodes.
    pub address: String,
    /// What it does.
    pub roles: Roles,
}
