//! Nodes, their store and their links.

use super::{Event, Host, Simulation, committed, loaded};
use crate::network::messages;
use bytes::Bytes;
use pelago_cluster::{LinkId, LinksInput, Member, Roles};
use pelago_model::{CommitOutcome, Incarnation, NodeId, Transaction};
use pelago_node::{ControlInput, Effect, Message, Node, Part, Ticket};
use pelago_world::ClientId;

impl Simulation {
    pub(super) fn start(&mut self, id: NodeId) {
        let config = self.config(id);
        let node = Node::new(&config);
        if let Some(host) = self.nodes.get_mut(&id) {
            *host = Host { node: Some(node), config };
        }
        self.at(self.now, Event::Wake(id));
        let book = self.book();
        for other in self.nodes.keys().copied().collect::<Vec<_>>() {
            self.tell(other, Message::Control(ControlInput::Book(book.clone())));
        }
    }

    /// Everybody who has ever lived here stays in the book: it learns of deaths later than links do.
    pub(super) fn book(&self) -> Vec<Member> {
        self.nodes
            .iter()
            .map(|(node, host)| Member {
                node: *node,
                incarnation: host.config.incarnation,
                address: node.to_string(),
                roles: Roles::ALL,
            })
            .collect()
    }

    pub(super) fn crash(&mut self, id: NodeId) {
        self.outcome.faults.crashes += 1;
        for end in self.network.of(id) {
            self.cut(end);
        }
        for (client, (player, node)) in self.clients.clone() {
            if node == id {
                self.clients.remove(&client);
                self.soon(Event::PlayerCut { player, client });
            }
        }
        if let Some(host) = self.nodes.get_mut(&id) {
            host.node = None;
        }
        self.shown.retain(|(node, ..), _| *node != id);
        let back = self.now.plus(500 + i64::from(self.below(4000)));
        self.at(back, Event::Restart(id));
    }

    /// Hands a message to a node, and carries out what follows.
    pub(super) fn tell(&mut self, id: NodeId, message: Message) {
        let mut effects = Vec::new();
        if let Some(node) = self.nodes.get_mut(&id).and_then(|host| host.node.as_mut()) {
            node.handle(self.now, message, &mut effects);
        }
        self.perform(id, effects);
    }

    pub(super) fn perform(&mut self, id: NodeId, effects: Vec<Effect>) {
        let Some(life) = self.nodes.get(&id).map(|host| host.config.incarnation) else { return };
        for effect in effects {
            match effect {
                Effect::To(_) => {}
                Effect::Dial { node, .. } => self.dial(id, node),
                Effect::Hangup { link, .. } => self.cut((id, link)),
                Effect::SendLink { link, bytes } => self.send_link((id, link), bytes),
                Effect::SendClient { client, bytes } => {
                    if let Some((player, _)) = self.clients.get(&client).copied() {
                        self.soon_in_order(player, client, bytes);
                    }
                }
                Effect::CloseClient { client } => {
                    if let Some((player, _)) = self.clients.remove(&client) {
                        // After what was sent before.
                        let time = self.now.plus(1100);
                        self.at(time, Event::PlayerCut { player, client });
                    }
                }
                Effect::Load { part, ticket, keys } => {
                    let documents = keys.iter().map(|key| self.store.documents.get(key)).collect();
                    let message = Box::new(loaded(part, ticket, documents));
                    self.soon(Event::ToNode { node: id, life, message });
                }
                Effect::Commit { part, ticket, transaction } => {
                    let time = self.now.plus(self.delay() * 3);
                    self.at(time, Event::Commit { node: id, life, part, ticket, transaction });
                    if !self.is_calm() && self.chance(self.setup.faults.crash / 10) {
                        // In the middle of the write.
                        self.at(self.now.plus(1), Event::Crash(id));
                    }
                }
                Effect::Audit { .. } | Effect::Log { .. } => {}
            }
        }
    }

    /// Messages to one player keep their order: they travel equally long.
    pub(super) fn soon_in_order(&mut self, player: usize, client: ClientId, bytes: Bytes) {
        let time = self.now.plus(5);
        self.at(time, Event::ToPlayer { player, client, bytes });
    }

    pub(super) fn commit(
        &mut self,
        node: NodeId,
        life: Incarnation,
        (part, ticket): (Part, Ticket),
        transaction: Transaction,
    ) {
        let alive = self
            .nodes
            .get(&node)
            .is_some_and(|host| host.node.is_some() && host.config.incarnation == life);
        if !alive {
            // The process died while it was being written: synced or lost.
            if self.below(2) == 0 {
                self.store.apply(transaction);
            } else {
                self.outcome.faults.lost_writes += 1;
            }
            return;
        }
        let (calm, faults) = (self.is_calm(), self.setup.faults);
        let outcome = if !calm && self.chance(faults.failed_commit) {
            self.outcome.faults.failed_commits += 1;
            CommitOutcome::Failed
        } else if !calm && self.chance(faults.unknown_commit) {
            self.outcome.faults.unknown_commits += 1;
            if self.below(2) == 0 {
                self.store.apply(transaction);
            }
            CommitOutcome::Unknown
        } else {
            self.store.apply(transaction)
        };
        let message = Box::new(committed(part, ticket, outcome));
        self.soon(Event::ToNode { node, life, message });
    }

    pub(super) fn dial(&mut self, from: NodeId, to: NodeId) {
        let alive = self.nodes.get(&to).is_some_and(|host| host.node.is_some());
        if !alive || self.network.held_until(from, to).is_some() {
            return self.soon(Event::DialFailed { from, to });
        }
        let (one, other) = self.network.open(from, to);
        let time = self.now.plus(1);
        self.at(time, Event::LinkOpened { end: (from, one), toward: Some(to) });
        self.at(time, Event::LinkOpened { end: (to, other), toward: None });
    }

    pub(super) fn send_link(&mut self, end: (NodeId, LinkId), bytes: Bytes) {
        let delay = self.delay();
        let Some((to, time)) = self.network.arrival(end, self.now, delay) else { return };
        for (kind, payload) in messages(bytes) {
            self.at(time, Event::Link { to, kind, payload });
        }
    }

    pub(super) fn cut(&mut self, end: (NodeId, LinkId)) {
        for end in self.network.cut(end).into_iter().flatten() {
            self.soon(Event::LinkClosed { end });
        }
    }

    pub(super) fn links(&mut self, node: NodeId, input: LinksInput) {
        self.tell(node, Message::Control(ControlInput::Links(input)));
    }
}
