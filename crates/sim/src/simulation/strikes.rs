//! Faults strike.

use super::{Event, Simulation};
use crate::player::Player;
use pelago_cluster::LinksInput;
use pelago_model::NodeId;
use pelago_node::{ControlInput, Message};

impl Simulation {
    /// Once a tenth of a second: lets faults strike by their rates.
    pub(super) fn strike(&mut self) {
        let time = self.now.plus(100);
        self.at(time, Event::Fault);
        let now = self.now;
        self.network.partitions.retain(|_, until| *until > now);
        if self.is_calm() {
            self.network.partitions.clear();
            return;
        }
        let faults = self.setup.faults;
        let nodes: Vec<NodeId> = self.nodes.keys().copied().collect();
        let pick = nodes[self.below(nodes.len() as u32) as usize];
        let other = nodes[self.below(nodes.len() as u32) as usize];
        if self.chance(faults.link_loss / 10)
            && let Some(end) = self.network.of(pick).first().copied()
        {
            self.outcome.faults.link_losses += 1;
            self.cut(end);
        }
        if self.chance(faults.partition / 10) && pick != other {
            self.part(pick, other);
        }
        if self.chance(faults.crash / 10) && self.nodes[&pick].node.is_some() {
            self.crash(pick);
        }
        if self.chance(faults.takeover / 10) {
            self.take_over(pick);
        }
        if self.chance(faults.block / 10) {
            self.block(pick);
        }
    }

    /// Two nodes cannot hear each other for a while.
    pub(super) fn part(&mut self, one: NodeId, other: NodeId) {
        self.outcome.faults.partitions += 1;
        let until = self.now.plus(500 + i64::from(self.below(6000)));
        self.network.partitions.insert((one.min(other), one.max(other)), until);
    }

    /// Somebody logs in a second time.
    pub(super) fn take_over(&mut self, node: NodeId) {
        let whose = self.below(self.setup.players as u32) as usize;
        if self.players[whose].playing.is_none() {
            return;
        }
        self.outcome.faults.takeovers += 1;
        let old = self.players[whose].node;
        if old != node && self.below(2) == 0 {
            // The old session's node does not hear of it for a while.
            self.part(old, node);
        }
        let name = self.players[whose].name.clone();
        let number = self.players.len();
        let mut twin = Player::new(name, node, self.now, true);
        twin.sequence = self.players[whose].sequence;
        self.players.push(twin);
        self.at(self.now, Event::Play(number));
    }

    pub(super) fn block(&mut self, node: NodeId) {
        self.outcome.faults.blocks += 1;
        let until = self.now.plus(100 + i64::from(self.below(2000)));
        if let Some(end) = self.network.of(node).last().copied()
            && self.below(3) == 0
        {
            if let Some(it) = self.network.ends.get_mut(&end) {
                it.blocked = true;
            }
            self.links(node, LinksInput::Blocked { link: end.1 });
            return self.at(until, Event::LinkWritable { end });
        }
        let number = self.below(self.players.len() as u32) as usize;
        let player = &mut self.players[number];
        if let Some(client) = player.client.filter(|_| !player.blocked) {
            player.blocked = true;
            let node = player.node;
            self.tell(node, Message::Control(ControlInput::ClientBlocked { client }));
            self.at(until, Event::PlayerWritable { player: number, client });
        }
    }
}
