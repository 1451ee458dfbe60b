//! Nodes, their store and their links.

use super::{Event, Simulation, committed, loaded};
use crate::checks::Invariant;
use crate::faults::Kind;
use crate::network::messages;
use crate::schedule::Fault;
use bytes::Bytes;
use pelago_cluster::{LinkId, LinksInput, Member, Roles};
use pelago_model::{CommitOutcome, Incarnation, NodeId, Transaction, WorldTime};
use pelago_node::{ControlInput, Effect, Message, Node, Part, RequestId};
use pelago_world::ClientId;

/// The longest that a commit takes, in ms: less than players wait for it.
const MAX_COMMIT_MS: i64 = 4000;

impl Simulation {
    pub(super) fn start(&mut self, id: NodeId) {
        let config = self.config(id);
        let node = Node::new(&config);
        if let Some(host) = self.nodes.get_mut(&id) {
            (host.node, host.config) = (Some(node), config);
            host.clock.restart();
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

    pub(super) fn crash(&mut self, id: NodeId, back_ms: u32) {
        for end in self.network.of(id) {
            self.cut(end);
        }
        for (client, (player, node)) in self.clients.clone() {
            if node == id {
                self.clients.remove(&client);
                self.after(self.delay(client.0), Event::PlayerCut { player, client });
            }
        }
        if let Some(host) = self.nodes.get_mut(&id) {
            host.node = None;
        }
        self.shown.retain(|(node, ..), _| *node != id);
        self.after(back_ms.into(), Event::Restart(id));
    }

    /// Hands a message to a node, and carries out what follows.
    pub(super) fn tell(&mut self, id: NodeId, message: Message) {
        let mut effects = Vec::new();
        let now = self.time_at(id);
        if let Some(node) = self.nodes.get_mut(&id).and_then(|host| host.node.as_mut()) {
            node.handle(now, message, &mut effects);
        }
        self.perform(id, effects);
    }

    /// What is to go wrong with the next message or commit of a node, if anything of this sort is.
    fn next_fault<T>(&mut self, id: NodeId, sort: impl Fn(&Fault) -> Option<T>) -> Option<T> {
        let waiting = &mut self.nodes.get_mut(&id)?.waiting;
        let place = waiting.iter().position(|fault| sort(fault).is_some())?;
        sort(&waiting.remove(place))
    }

    pub(super) fn perform(&mut self, id: NodeId, effects: Vec<Effect>) {
        let Some(life) = self.nodes.get(&id).map(|host| host.config.incarnation) else { return };
        // Whoever writes more than a link carries learns of it when it has written all.
        let mut full = Vec::new();
        for effect in effects {
            match effect {
                Effect::To(_) => {}
                Effect::Dial { node, .. } => self.dial(id, node),
                Effect::Hangup { link, .. } => self.cut((id, link)),
                Effect::SendLink { link, bytes } => full.extend(self.send_link((id, link), bytes)),
                Effect::SendClient { client, bytes } => {
                    if let Some((player, _)) = self.clients.get(&client).copied() {
                        self.soon_in_order(player, client, bytes);
                    }
                }
                Effect::CloseClient { client } => {
                    if let Some((player, _)) = self.clients.remove(&client) {
                        // After what was sent before.
                        self.after(1100, Event::PlayerCut { player, client });
                        self.after(1100, Event::Disconnected { node: id, life, client });
                    }
                }
                Effect::Load { part, request_id, keys } => {
                    let fails =
                        |fault: &Fault| matches!(fault, Fault::FailLoad { .. }).then_some(());
                    let documents = if self.next_fault(id, fails).is_some() {
                        self.count(Kind::FailedLoad);
                        None
                    } else {
                        Some(keys.iter().map(|key| self.store.documents.get(key)).collect())
                    };
                    let message = Box::new(loaded(part, request_id, documents));
                    let delay = self.store_delay(request_id.0);
                    self.after(delay, Event::ToNode { node: id, life, message });
                }
                Effect::Commit { part, request_id, transaction } => {
                    let slow = self.next_fault(id, |fault| match fault {
                        Fault::SlowCommit { factor, .. } => Some(i64::from(*factor)),
                        _ => None,
                    });
                    if slow.is_some() {
                        self.count(Kind::SlowCommit);
                    }
                    let delay = self.store_delay(request_id.0) * 3 * slow.unwrap_or(1);
                    let delay = delay.min(MAX_COMMIT_MS);
                    let event = Event::Commit { node: id, life, part, request_id, transaction };
                    self.after(delay, event);
                    let crash = self.next_fault(id, |fault| match fault {
                        Fault::CrashInWrite { back_ms, .. } => Some(*back_ms),
                        _ => None,
                    });
                    if let Some(back_ms) = crash {
                        self.count(Kind::CrashInWrite);
                        self.after(1, Event::Crash { node: id, back_ms });
                    }
                }
                Effect::GrantEnded { number, result } => self.granted(number, result),
                Effect::Log { .. } => {}
            }
        }
        for (end, until) in full {
            self.block_link(end, until);
        }
    }

    /// A link takes no bytes for a while.
    pub(super) fn block_link(&mut self, end: (NodeId, LinkId), until: WorldTime) {
        if let Some(it) = self.network.ends.get_mut(&end)
            && it.opened
            && !it.blocked
        {
            it.blocked = true;
            self.at(until, Event::LinkWritable { end });
            self.links(end.0, LinksInput::Blocked { link: end.1 });
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
        (part, request_id): (Part, RequestId),
        transaction: Transaction,
    ) {
        let alive = self
            .nodes
            .get(&node)
            .is_some_and(|host| host.node.is_some() && host.config.incarnation == life);
        if !alive {
            // The process died while it was being written: synced or lost.
            if self.hazard(request_id.0, 2) == 0 {
                self.store.apply(transaction);
            } else {
                self.count(Kind::LostWrite);
            }
            return;
        }
        let fault = self.next_fault(node, |fault| match fault {
            Fault::FailCommit { .. } => Some((Kind::FailedCommit, CommitOutcome::Failed, false)),
            Fault::UnknownCommit { done, .. } => {
                Some((Kind::UnknownCommit, CommitOutcome::Unknown, *done))
            }
            _ => None,
        });
        let outcome = match fault {
            Some((kind, outcome, done)) => {
                self.count(kind);
                if done {
                    self.store.apply(transaction);
                }
                outcome
            }
            None => self.store.apply(transaction),
        };
        let message = Box::new(committed(part, request_id, outcome));
        self.after(self.delay(request_id.0), Event::ToNode { node, life, message });
    }

    pub(super) fn dial(&mut self, from: NodeId, to: NodeId) {
        let alive = self.nodes.get(&to).is_some_and(|host| host.node.is_some());
        if !alive || self.network.held_until(from, to).is_some() {
            return self.after(self.delay(to.0.into()), Event::DialFailed { from, to });
        }
        let (one, other) = self.network.open(from, to);
        let time = self.now.plus(1);
        self.at(time, Event::LinkOpened { end: (from, one), toward: Some(to) });
        self.at(time, Event::LinkOpened { end: (to, other), toward: None });
    }

    /// Writes to a link. `Some` if it carries no more than that, and until when.
    fn send_link(
        &mut self,
        end: (NodeId, LinkId),
        bytes: Bytes,
    ) -> Option<((NodeId, LinkId), WorldTime)> {
        if self.network.ends.get(&end)?.blocked && self.found.is_none() {
            let text = format!("node {} writes to a link that takes no bytes", end.0);
            self.found = Some(self.violation(Invariant::Backpressure, text));
        }
        let late = self.next_fault(end.0, |fault| match fault {
            Fault::Late { by_ms, .. } => Some(i64::from(*by_ms)),
            _ => None,
        });
        if late.is_some() {
            self.count(Kind::Late);
        }
        let delay = late.unwrap_or_else(|| self.delay(end.1.0));
        let (to, time, full) = self.network.arrival(end, self.now, delay, bytes.len())?;
        for (kind, payload) in messages(bytes) {
            self.at(time, Event::Link { to, kind, payload });
        }
        let full = full.map(|until| (end, until));
        if full.is_some() {
            self.count(Kind::FullLink);
        }
        full
    }

    pub(super) fn cut(&mut self, end: (NodeId, LinkId)) {
        for end in self.network.cut(end).into_iter().flatten() {
            self.after(self.delay(end.1.0), Event::LinkClosed { end });
        }
    }

    pub(super) fn links(&mut self, node: NodeId, input: LinksInput) {
        self.tell(node, Message::Control(ControlInput::Links(input)));
    }
}
