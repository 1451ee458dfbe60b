//! The directory: which node is preferred for a role and a key.
//!
//! It is a function of the members alone, so that all nodes with the same book agree. Preference is a hint and never a
//! lock: during a change two nodes may both believe that they are preferred.

use crate::book::Member;
use crate::rendezvous;
use pelago_model::{Key, NodeId, Role};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

/// The members by role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    members: BTreeSet<NodeId>,
    by_role: BTreeMap<Role, Vec<NodeId>>,
    /// Of all of the above.
    fingerprint: u64,
}

/// Nobody is known.
impl Default for Directory {
    fn default() -> Self {
        Self::new([])
    }
}

impl Directory {
    /// The directory of these members.
    pub fn new<'a>(members: impl IntoIterator<Item = &'a Member>) -> Self {
        let mut directory =
            Self { members: BTreeSet::new(), by_role: BTreeMap::new(), fingerprint: 0 };
        for member in members {
            if directory.members.insert(member.node) {
                for role in &member.roles {
                    directory.by_role.entry(*role).or_default().push(member.node);
                }
            }
        }
        let mut hasher = DefaultHasher::new();
        (&directory.members, &directory.by_role).hash(&mut hasher);
        directory.fingerprint = hasher.finish();
        directory
    }

    /// A number that two directories which say the same have in common, and others do not. It tells quickly whether
    /// anything has changed; another build may compute it differently.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// All roles that any member has.
    pub fn roles(&self) -> impl Iterator<Item = Role> + '_ {
        self.by_role.keys().copied()
    }

    /// All members, in the order of their numbers.
    pub fn members(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.members.iter().copied()
    }

    /// The members with a role.
    pub fn with_role(&self, role: Role) -> &[NodeId] {
        self.by_role.get(&role).map_or(&[], Vec::as_slice)
    }

    /// The node that is preferred for a key in a role.
    pub fn first(&self, role: Role, key: &Key) -> Option<NodeId> {
        rendezvous::first(key, self.with_role(role).iter().copied())
    }

    /// All nodes with a role in the order of preference for a key.
    pub fn preferred(&self, role: Role, key: &Key) -> Vec<NodeId> {
        rendezvous::preferred(key, self.with_role(role).iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pelago_model::{ChunkId, Incarnation, IslandId};
    use proptest::prelude::*;

    fn member(node: u16, roles: &[Role]) -> Member {
        Member {
            node: NodeId(node),
            incarnation: Incarnation(1),
            address: String::new(),
            roles: roles.iter().copied().collect(),
        }
    }

    fn keys() -> impl Iterator<Item = Key> {
        (0..1000).map(|x| Key::chunk(IslandId(7), ChunkId::new(x, -x)))
    }

    #[test]
    fn only_members_with_the_role_are_preferred() {
        let members = [member(1, &[Role::steward()]), member(2, &[Role::chat()]), member(3, &[])];
        let directory = Directory::new(&members);
        for key in keys() {
            assert_eq!(directory.first(Role::steward(), &key), Some(NodeId(1)));
            assert_eq!(directory.preferred(Role::chat(), &key), [NodeId(2)]);
            assert_eq!(directory.first(Role::admin(), &key), None);
        }
        assert_eq!(directory.members().collect::<Vec<_>>(), [1, 2, 3].map(NodeId));
    }

    proptest! {
        /// A member that joins or leaves moves its own keys and no others, whatever the other members are.
        #[test]
        fn a_change_of_members_moves_only_the_keys_of_whoever_changed(
            nodes in prop::collection::btree_set(1u16..200, 1..20), changed in 1u16..200,
        ) {
            let with = |nodes: BTreeSet<u16>| {
                let members: Vec<_> =
                    nodes.iter().map(|node| member(*node, &[Role::steward()])).collect();
                Directory::new(&members)
            };
            let mut without = nodes.clone();
            without.remove(&changed);
            let mut including = nodes;
            including.insert(changed);
            let (smaller, larger) = (with(without), with(including));
            for key in keys().take(200) {
                let before = smaller.first(Role::steward(), &key);
                let after = larger.first(Role::steward(), &key);
                prop_assert!(after == before || after == Some(NodeId(changed)));
                let others: Vec<_> = larger
                    .preferred(Role::steward(), &key)
                    .into_iter()
                    .filter(|node| *node != NodeId(changed))
                    .collect();
                prop_assert_eq!(others, smaller.preferred(Role::steward(), &key));
            }
        }
    }
}
