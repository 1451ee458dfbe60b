//! Rendezvous hashing: which nodes are preferred for a key.
//!
//! Every node weighs every key by a hash of both; the heaviest comes first. A node that comes or goes
//! moves only its own share of keys. (Thaler and Ravishankar, 1998.)

use pelago_model::{Key, NodeId};

/// The nodes in the order of preference for a key.
pub fn preferred(key: &Key, nodes: impl IntoIterator<Item = NodeId>) -> Vec<NodeId> {
    let mut weighed: Vec<(u64, NodeId)> =
        nodes.into_iter().map(|node| (weight(key, node), node)).collect();
    weighed.sort_unstable_by(|a, b| b.cmp(a));
    weighed.into_iter().map(|(_, node)| node).collect()
}

/// The node that comes first for a key.
pub fn first(key: &Key, nodes: impl IntoIterator<Item = NodeId>) -> Option<NodeId> {
    nodes.into_iter().max_by_key(|node| (weight(key, *node), *node))
}

/// FNV-1a over the key, then the node, mixed by the finalizer of SplitMix64: pinned, since all nodes must agree.
fn weight(key: &Key, node: NodeId) -> u64 {
    let bytes = key.as_str().bytes().chain(node.0.to_le_bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    mix(hash)
}

/// The finalizer of SplitMix64.
pub(crate) fn mix(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pelago_model::{ChunkId, IslandId};

    fn keys() -> impl Iterator<Item = Key> {
        (0..60i16)
            .flat_map(|x| (0..50i16).map(move |y| Key::chunk(IslandId(7), ChunkId::new(x, y))))
    }

    fn nodes(count: u16) -> impl Iterator<Item = NodeId> + Clone {
        (1..=count).map(NodeId)
    }

    #[test]
    fn weights_are_pinned() {
        let key = Key::chunk(IslandId(7), ChunkId::new(1, 2));
        assert_eq!(weight(&key, NodeId(3)), 4_156_742_877_690_676_703);
    }

    #[test]
    fn a_new_node_takes_only_its_share() {
        let moved = keys().filter(|key| {
            let (old, new) = (preferred(key, nodes(4)), preferred(key, nodes(5)));
            assert_eq!(first(key, nodes(5)), Some(new[0]));
            assert!(new[0] == old[0] || new[0] == NodeId(5));
            new[0] != old[0]
        });
        let moved = moved.count();
        assert!((450..750).contains(&moved), "{moved} of 3000 keys moved to the fifth node");
    }

    #[test]
    fn every_node_has_its_share() {
        for node in nodes(3) {
            let share = keys().filter(|key| preferred(key, nodes(3))[0] == node).count();
            assert!((850..1150).contains(&share), "{share} of 3000 keys are on node {node}");
        }
    }
}
