//! Members of the address book: their addresses and roles.

use pelago_model::{Incarnation, NodeId, Role};
use std::collections::BTreeSet;

/// A member of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its number.
    pub node: NodeId,
    /// Its present life.
    pub incarnation: Incarnation,
    /// The address at which it takes links from other nodes.
    pub address: String,
    /// Its roles.
    pub roles: BTreeSet<Role>,
}
