//! The memory of everything that can grow: within its limits always, and small again in the end.

use crate::simulation::Simulation;
use crate::violation::{Invariant, Violation};
use pelago_model::{Limit, NodeId, Size};
use pelago_node::Node;
use pelago_node::lane::Lane;
use std::collections::BTreeSet;

/// Publishers that a lane's clients may know by number: those that there are, and those of lives that have ended.
const PUBLISHERS_PER_LANE: usize = 4;

impl Simulation {
    fn alive(&self) -> impl Iterator<Item = (NodeId, &Node)> + '_ {
        self.nodes.iter().filter_map(|(id, host)| Some((*id, host.node.as_ref()?)))
    }

    fn find_size(&self, wrong: impl Fn(&Size) -> bool) -> Option<(NodeId, Size)> {
        for (id, node) in self.alive() {
            let sizes = node
                .machines()
                .flat_map(|(machine, mailbox)| [machine.sizes(), mailbox.sizes()].concat());
            if let Some(size) = sizes.into_iter().find(&wrong) {
                return Some((id, size));
            }
        }
        None
    }

    /// Nothing holds more than its limit.
    pub(in crate::simulation) fn check_sizes(&self) -> Result<(), Violation> {
        match self.find_size(|size| size.held > size.limit) {
            Some((id, Size { of, held, limit, .. })) => {
                let text = format!("node {id}: {held} {of}, the limit is {limit}");
                Err(self.violation(Invariant::Limits, text))
            }
            None => Ok(()),
        }
    }

    /// Nobody was closed as idle: no player is silent for so long, and the time in which a node did not run does not count.
    pub(in crate::simulation) fn check_idle(&self) -> Result<(), Violation> {
        let idle =
            |node: &Node| node.lanes().any(|lane| lane.counters().limits.of(Limit::IdleTime) > 0);
        match self.alive().find(|(_, node)| idle(node)) {
            Some((id, _)) => {
                let text = format!("node {id} has closed a player as idle");
                Err(self.violation(Invariant::Idle, text))
            }
            None => Ok(()),
        }
    }

    /// After the faults: queues are empty, and tables hold what there is and nothing else.
    pub(in crate::simulation) fn check_rest(&self) -> Result<(), Violation> {
        let object = |text| Err(self.violation(Invariant::Rest, text));
        if let Some((id, Size { of, held, rest, .. })) =
            self.find_size(|size| size.held > size.rest)
        {
            return object(format!("node {id}: {held} {of} at rest, not {rest}"));
        }
        let lanes: usize = self.alive().map(|(_, node)| node.lanes().count()).sum();
        for (id, node) in self.alive() {
            let clients = self.clients.values().filter(|(_, on)| *on == id).count();
            let players: usize = node.lanes().map(Lane::population).sum();
            let connections = node.connections();
            if (connections, players) != (clients, clients) {
                return object(format!(
                    "node {id} has {connections} clients and {players} players, not {clients}"
                ));
            }
            let watched: BTreeSet<_> = node.lanes().flat_map(Lane::watched).collect();
            if node.links().channels() != watched.len() {
                let held = node.links().channels();
                return object(format!("node {id} watches {held} channels, not {}", watched.len()));
            }
            let known = node.lanes().flat_map(Lane::sizes).filter(|it| it.of == "publishers");
            if known.map(|size| size.held).max() > Some(lanes * PUBLISHERS_PER_LANE) {
                return object(format!("node {id} remembers publishers of lives that ended"));
            }
            for (other, peer) in self.alive().filter(|(other, _)| *other > id) {
                let ours = node.links().streams(other);
                let theirs = peer.links().streams(id);
                let turned = theirs.map(|(read, served)| (served, read));
                if ours.is_none() || ours != turned {
                    return object(format!(
                        "streams read and served: {ours:?} at node {id}, {turned:?} at node {other}"
                    ));
                }
            }
        }
        Ok(())
    }
}
