//! What must never be true, and what must be true in the end.

mod economy;
mod places;
mod sizes;

pub(in crate::simulation) use places::{LastPlaces, PlacesBefore};

use crate::player::Player;
use crate::simulation::Simulation;
use crate::violation::{Invariant, Violation};
use pelago_model::{ChannelId, EntityId, Epoch, NodeId, Revision, Tick, Trajectory};
use pelago_node::documents::avatar::ChainHash;
use pelago_world::Shown;
use std::collections::{BTreeMap, BTreeSet};

/// What a lane was last seen to show of an object: never an older revision after a newer one.
pub(in crate::simulation) type ShownRevisions = BTreeMap<(NodeId, u8, ChannelId, u16), Revision>;

impl Simulation {
    /// One real per avatar and epoch, over all nodes that are alive.
    pub(in crate::simulation) fn check_reals(&self) -> Result<(), Violation> {
        let mut seen: BTreeSet<(EntityId, Epoch)> = BTreeSet::new();
        for shown in self.reals() {
            if !seen.insert((shown.id, shown.epoch)) {
                let text = format!("{} is real twice in epoch {}", shown.id, shown.epoch);
                return Err(self.violation(Invariant::OneReal, text));
            }
        }
        Ok(())
    }

    /// No lane of a node shows an older revision after a newer one.
    pub(in crate::simulation) fn check_revisions(&mut self, id: NodeId) -> Result<(), Violation> {
        let Some(node) = self.nodes.get(&id).and_then(|host| host.node.as_ref()) else {
            return Ok(());
        };
        let mut older = None;
        for (number, lane) in (0u8..).zip(node.lanes()) {
            for (channel, slot, revision, _) in lane.objects().iter() {
                let known = self.shown.entry((id, number, channel, slot)).or_insert(revision);
                if revision < *known {
                    older = Some((channel, slot, revision, *known));
                }
                *known = revision;
            }
        }
        match older {
            Some((channel, slot, revision, known)) => Err(self.violation(Invariant::NewestRevision, format!(
                "node {id} shows revision {revision} of slot {slot} in {channel:?} after {known}"
            ))),
            None => Ok(()),
        }
    }

    /// An acknowledged command is durable, has happened once, and under the epoch of its session.
    pub(in crate::simulation) fn check_acknowledged(
        &self,
        (avatar, epoch): (EntityId, u64),
        sequence: u64,
        chain: &[u8],
    ) -> Result<(), Violation> {
        let Some(committed) = self.store.history.get(&(avatar, sequence)) else {
            let text = format!("command {sequence} of {avatar} is acknowledged and not durable");
            return Err(self.violation(Invariant::Acknowledged, text));
        };
        if committed.chain.0 != chain {
            let text = format!("command {sequence} of {avatar} had another outcome");
            return Err(self.violation(Invariant::Acknowledged, text));
        }
        if committed.epoch.0 > epoch {
            let text = format!(
                "a session of epoch {epoch} did command {sequence} of {avatar} in epoch {}",
                committed.epoch
            );
            return Err(self.violation(Invariant::Acknowledged, text));
        }
        Ok(())
    }

    /// What a player asked for once has not been done under two numbers.
    pub(in crate::simulation) fn check_asked_once(&self, player: &Player) -> Result<(), Violation> {
        let Some(avatar) = player.avatar else { return Ok(()) };
        let command = ChainHash::of(&player.asked.payload);
        let is_done = |sequence: &&u64| {
            let done = self.store.history.get(&(avatar, **sequence));
            done.is_some_and(|committed| committed.command == command && !committed.failed)
        };
        let done: Vec<&u64> = player.asked.numbers.iter().filter(is_done).collect();
        if done.len() > 1 {
            let text =
                format!("{} asked for something once, and it was done as {done:?}", player.name);
            return Err(self.violation(Invariant::AskedOnce, text));
        }
        Ok(())
    }

    /// After the faults: every lane's ghosts are the reals of the chunks that it watches.
    pub(in crate::simulation) fn check_ghosts(&self) -> Result<(), Violation> {
        let published = Tick::at(self.now).starts();
        let place = |shown: &Shown| {
            let time = pelago_model::IslandTime(published.0);
            ChannelId::whole(shown.island, shown.trajectory.position_at(time).chunk())
        };
        let reals: BTreeMap<EntityId, &Shown> =
            self.reals().map(|shown| (shown.id, shown)).collect();
        for (id, host) in &self.nodes {
            let Some(node) = &host.node else { continue };
            for lane in node.lanes() {
                let shown: BTreeMap<EntityId, (ChannelId, &Trajectory, u16)> = lane
                    .ghosts()
                    .iter()
                    .map(|(_, ghost)| (ghost.id, (ghost.channel, &ghost.trajectory, ghost.stance)))
                    .collect();
                let expected: BTreeMap<EntityId, (ChannelId, &Trajectory, u16)> = reals
                    .iter()
                    .filter(|(_, real)| lane.watches(place(real)))
                    .map(|(id, real)| (*id, (place(real), &real.trajectory, real.stance)))
                    .collect();
                if shown != expected {
                    let differing = |id: &&EntityId| shown.get(*id) != expected.get(*id);
                    let differing = shown.keys().chain(expected.keys()).find(differing);
                    let text = match differing {
                        Some(entity) => format!(
                            "node {id} shows {entity} as {:?} instead of {:?}",
                            shown.get(entity),
                            expected.get(entity)
                        ),
                        None => format!("node {id} shows other entities than there are"),
                    };
                    return Err(self.violation(Invariant::Ghosts, text));
                }
            }
        }
        Ok(())
    }

    /// After the faults: nobody waits for an answer.
    pub(in crate::simulation) fn check_answered(&self) -> Result<(), Violation> {
        let waits = self.players.iter().find(|player| !player.gone && player.core.is_acting());
        match waits {
            Some(player) => {
                let text = format!("{} never got an answer: {:?}", player.name, player.asked);
                Err(self.violation(Invariant::Answers, text))
            }
            None => Ok(()),
        }
    }

    /// Every real of every node that is alive.
    pub(in crate::simulation) fn reals(&self) -> impl Iterator<Item = &Shown> + '_ {
        self.nodes
            .values()
            .filter_map(|host| host.node.as_ref())
            .flat_map(|node| node.lanes().flat_map(pelago_node::lane::Lane::reals))
    }
}
