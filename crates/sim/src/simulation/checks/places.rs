//! A session goes on where the one before it was, on days on which nothing but sessions changes hands.

use crate::faults::Faults;
use crate::simulation::Simulation;
use crate::violation::{Invariant, Violation};
use pelago_model::{EntityId, Epoch, NodeId, Position, WorldTime};
use std::collections::BTreeMap;

/// How far somebody may be from where the real of the session before was last seen, in 1/64 m.
const SLACK_UNITS: u64 = 64;

/// A login takes less time than this, in ms.
const LOGIN_MS: i64 = 2000;

/// Where the real of each avatar was last, and of which epoch.
pub(in crate::simulation) type LastPlaces = BTreeMap<EntityId, LastPlace>;

/// Where the real of the session before was, by the avatar and the epoch of the session.
pub(in crate::simulation) type PlacesBefore = BTreeMap<(EntityId, Epoch), LastPlace>;

/// Where a real was.
#[derive(Clone, Copy, Debug)]
pub(in crate::simulation) struct LastPlace {
    node: NodeId,
    epoch: Epoch,
    position: Position,
    /// When it was first seen.
    since: WorldTime,
    /// When that was.
    at: WorldTime,
}

impl Simulation {
    fn is_a_day_of_logins(&self) -> bool {
        Faults { migration: 0, ..self.setup.faults } == Faults::NONE
    }

    /// Notes where everybody is.
    pub(in crate::simulation) fn note_places(&mut self) {
        if !self.is_a_day_of_logins() {
            return;
        }
        for (id, host) in &self.nodes {
            let Some(node) = &host.node else { continue };
            let island_now = pelago_model::IslandTime(self.now.0);
            for shown in node.lanes().flat_map(pelago_node::lane::Lane::reals) {
                let position = shown.trajectory.position_at(island_now);
                let (node, epoch, at) = (*id, shown.epoch, self.now);
                let last = LastPlace { node, epoch, position, since: at, at };
                let known = self.last_places.entry(shown.id).or_insert(last);
                let since = if known.epoch == epoch { known.since } else { at };
                let last = LastPlace { since, ..last };
                if known.epoch < epoch {
                    self.places_before.insert((shown.id, epoch), *known);
                }
                if known.epoch <= epoch {
                    *known = last;
                }
            }
        }
    }

    /// A player was welcomed: at the place of the session before.
    pub(in crate::simulation) fn check_live_place(
        &mut self,
        number: usize,
    ) -> Result<(), Violation> {
        if !self.is_a_day_of_logins() {
            return Ok(());
        }
        let core = &self.players[number].core;
        let (avatar, epoch) = (core.avatar(), Epoch(core.welcome().epoch));
        let Some(last) = self.places_before.remove(&(avatar, epoch)) else { return Ok(()) };
        let here = core.path().start();
        // Of two logins at the same time the second may ask before the first has its lane.
        if last.at.since(last.since) < LOGIN_MS {
            return Ok(());
        }
        if here.distance_squared(last.position) > SLACK_UNITS.pow(2) {
            let LastPlace { node, position, at, .. } = last;
            let text = format!(
                "{avatar} begins epoch {epoch} at {here:?}, and was at {position:?} on node {node} at {at:?}"
            );
            return Err(self.violation(Invariant::LivePlace, text));
        }
        Ok(())
    }
}
