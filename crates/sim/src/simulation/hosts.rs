//! Nodes, their store and their links.

use super::{Event, Simulation};
use crate::faults::Kind;
use crate::network::messages;
use crate::schedule::Fault;
use crate::violation::Invariant;
use bytes::Bytes;
use pelago_cluster::{LinkId, LinksInput, Member};
use pelago_model::{CommitOutcome, Incarnation, NodeId, Transaction, WorldTime};
use pelago_node::{
    ClientEvent, MachineId, MachineInput, Node, Recorder, RecorderLimits, RequestId, ShellEffect,
    StoreAnswer,
};
use pelago_world::ClientId;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// The longest that a commit takes, in ms: less than players wait for it.
const MAX_COMMIT_MS: i64 = 4000;
/// One time in so many, whatever still waits in mailboxes is left for a millisecond.
const LATER_EVERY: u64 = 8;
/// A node's clocks are looked at this often at least, in ms.
const WAKE_MS: i64 = 100;
/// Threads that a node loses to rules before it ends.
const MAX_LOST_THREADS: u32 = 2;
/// How long a node that ends because of its rules waits for what is being committed, in ms.
const LAST_COMMITS_MS: i64 = 500;
/// How long it takes to start it again, in ms.
const RESTART_MS: u32 = 500;
/// Recorders of simulated machines keep everything.
const WHOLE_DAY: RecorderLimits = RecorderLimits { age_ms: i64::MAX, bytes: 64 * 1024 * 1024 };

impl Simulation {
    pub(super) fn start(&mut self, id: NodeId) {
        let config = self.config(id);
        let mut node = Node::new(&config);
        if self.setup.recorded {
            let mut recorders = BTreeMap::new();
            for machine in config.machines() {
                let recorder =
                    Recorder::new(config.flight_header(machine), WHOLE_DAY).hashing_outputs();
                recorders.insert(machine, Arc::new(Mutex::new(recorder)));
            }
            self.recorders.extend(recorders.values().cloned());
            node.record(recorders);
        }
        if let Some(host) = self.nodes.get_mut(&id) {
            (host.node, host.config) = (Some(node), config);
            host.stalled.clear();
            host.hanging.clear();
            host.lost_threads = 0;
        }
        self.start_clock(id);
        self.at(self.now, Event::Wake(id));
        let book = self.book();
        for other in self.nodes.keys().copied().collect::<Vec<_>>() {
            let now = self.time_at(other);
            if let Some(node) = self.nodes.get_mut(&other).and_then(|host| host.node.as_mut()) {
                node.set_members(now, book.clone());
            }
            self.serve(other);
        }
    }

    /// Every node that has ever lived here stays in the book, which learns of deaths later than links do.
    pub(super) fn book(&self) -> Vec<Member> {
        self.nodes
            .iter()
            .map(|(node, host)| Member {
                node: *node,
                incarnation: host.config.incarnation,
                address: node.to_string(),
                roles: host.config.roles(),
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
        self.stop_clock(id);
        self.shown.retain(|(node, ..), _| *node != id);
        self.after(back_ms.into(), Event::Restart(id));
    }

    /// Puts something into a mailbox of a node, and serves mailboxes.
    pub(super) fn tell(&mut self, id: NodeId, input: MachineInput) {
        let mut effects = Vec::new();
        let now = self.time_at(id);
        if let Some(node) = self.nodes.get_mut(&id).and_then(|host| host.node.as_mut())
            && let Err(input) = node.tell(now, input, &mut effects)
        {
            self.found_waiting(id, &format!("{input:?}"));
        }
        self.perform(id, effects);
        self.serve(id);
    }

    /// Something happened on a client's connection.
    pub(super) fn of_client(&mut self, id: NodeId, client: ClientId, event: ClientEvent) {
        let mut effects = Vec::new();
        let now = self.time_at(id);
        if let Some(node) = self.nodes.get_mut(&id).and_then(|host| host.node.as_mut())
            && let Err(event) = node.client(now, client, event, &mut effects)
        {
            self.found_waiting(id, &format!("{event:?}"));
        }
        self.perform(id, effects);
        self.serve(id);
    }

    /// A write has blocked: the machine that wrote knows it before anything else.
    fn at_once(&mut self, id: NodeId, input: MachineInput) {
        let (now, mut effects) = (self.time_at(id), Vec::new());
        if let Some(node) = self.nodes.get_mut(&id).and_then(|host| host.node.as_mut()) {
            node.handle_at_once(now, input, &mut effects);
        }
        self.perform(id, effects);
    }

    /// A player takes no more bytes for now.
    pub(super) fn block_client(&mut self, id: NodeId, client: ClientId) {
        let node = self.nodes.get(&id).and_then(|host| host.node.as_ref());
        let lane = node.and_then(|node| node.lane_of(client));
        self.at_once(id, MachineInput::of_client(lane, client, ClientEvent::Blocked));
        self.serve(id);
    }

    /// Serves everything that waits, so that what is in mailboxes is not taken for what machines hold.
    pub(super) fn drain_mailboxes(&mut self) {
        for id in self.nodes.keys().copied().collect::<Vec<_>>() {
            let now = self.time_at(id);
            let mut effects = Vec::new();
            if let Some(node) = self.nodes.get_mut(&id).and_then(|host| host.node.as_mut()) {
                node.settle(now, &mut effects);
            }
            self.perform(id, effects);
        }
    }

    /// A few players cannot fill what a mailbox has for sockets.
    fn found_waiting(&mut self, id: NodeId, what: &str) {
        if self.found.is_none() {
            let text = format!("node {id} has no room for {what}");
            self.found = Some(self.violation(Invariant::Limits, text));
        }
    }

    /// Serves mailboxes in the order that the seed chooses. Now and then the rest waits, so that what comes next may
    /// overtake it.
    pub(super) fn serve(&mut self, id: NodeId) {
        for step in 0u64.. {
            let now = self.time_at(id);
            let Some(host) = self.nodes.get(&id) else { return };
            let Some(node) = &host.node else { return };
            let ready = node.waiting().filter(|machine| !host.stalled.contains(machine));
            let ready: Vec<MachineId> = ready.collect();
            if ready.is_empty() {
                return;
            }
            let what = u64::from(id.0) << 32 | step << 8 | ready.len() as u64;
            let chosen = match self.setup.steady {
                true => 0,
                false => self.hazard(what, ready.len() as u64) as usize,
            };
            if !self.setup.steady && self.hazard(what ^ 1 << 60, LATER_EVERY) == 0 {
                return self.after(1, Event::ServeMailboxes(id));
            }
            self.interleavings.served(id, ready[chosen]);
            let mut effects = Vec::new();
            if let Some(node) = self.nodes.get_mut(&id).and_then(|host| host.node.as_mut()) {
                node.serve(now, ready[chosen], &mut effects);
            }
            self.perform(id, effects);
        }
    }

    /// Plans when the machines of a node are told the clock.
    pub(super) fn wake_later(&mut self, id: NodeId, now: WorldTime) {
        let node = self.nodes.get(&id).and_then(|host| host.node.as_ref());
        let next = node.and_then(Node::next_wake).unwrap_or(now.plus(WAKE_MS));
        let next = next.since(now).clamp(1, WAKE_MS);
        self.after(next, Event::Wake(id));
    }

    /// What is to go wrong with the next message or commit of a node, if anything of this sort is.
    fn next_fault<T>(&mut self, id: NodeId, sort: impl Fn(&Fault) -> Option<T>) -> Option<T> {
        let waiting = &mut self.nodes.get_mut(&id)?.waiting;
        let place = waiting.iter().position(|fault| sort(fault).is_some())?;
        sort(&waiting.remove(place))
    }

    pub(super) fn perform(&mut self, id: NodeId, effects: Vec<ShellEffect>) {
        let Some(life) = self.nodes.get(&id).map(|host| host.config.incarnation) else { return };
        // A node that writes more than a link carries learns of it when it has written everything.
        let mut full = Vec::new();
        for effect in effects {
            match effect {
                ShellEffect::Dial { node, .. } => self.dial(id, node),
                ShellEffect::Hangup { link, .. } => self.cut((id, link)),
                ShellEffect::SendLink { link, bytes } => {
                    full.extend(self.send_link((id, link), bytes))
                }
                ShellEffect::SendClient { client, bytes } => {
                    if let Some((player, _)) = self.clients.get(&client).copied() {
                        self.soon_in_order(player, client, bytes);
                    }
                }
                ShellEffect::CloseClient { client } => {
                    if let Some((player, _)) = self.clients.remove(&client) {
                        // After what was sent before.
                        self.after(1100, Event::PlayerCut { player, client });
                        self.after(1100, Event::Disconnected { node: id, life, client });
                    }
                }
                ShellEffect::Load { machine, request, keys } => {
                    let fails =
                        |fault: &Fault| matches!(fault, Fault::FailLoad { .. }).then_some(());
                    let documents = if self.next_fault(id, fails).is_some() {
                        self.count(Kind::FailedLoad);
                        None
                    } else {
                        Some(keys.iter().map(|key| self.store.documents.get(key)).collect())
                    };
                    let answer = StoreAnswer::Loaded(documents);
                    let delay = self.store_delay(request.0);
                    self.answer_later(delay, (id, life), (machine, request), answer);
                }
                ShellEffect::Commit { machine, request, transaction } => {
                    let slow = self.next_fault(id, |fault| match fault {
                        Fault::SlowCommit { factor, .. } => Some(i64::from(*factor)),
                        _ => None,
                    });
                    if slow.is_some() {
                        self.count(Kind::SlowCommit);
                    }
                    let delay = self.store_delay(request.0) * 3 * slow.unwrap_or(1);
                    let delay = delay.min(MAX_COMMIT_MS);
                    let from = (machine, request);
                    let event = Event::Commit { node: id, life, from, transaction };
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
                ShellEffect::Run { machine, request, run } => {
                    let hangs = self.next_fault(id, |fault| match fault {
                        Fault::Hang { turn, .. } => Some(*turn),
                        _ => None,
                    });
                    if let Some(turn) = hangs
                        && let Some(host) = self.nodes.get_mut(&id)
                    {
                        // Nothing comes of it: it is only known where it stopped. A run of so many turns has that step.
                        let step = u32::from(turn) % u32::from(run.steps().max(1));
                        host.hanging.insert((machine, request), step);
                        self.count(Kind::Hang);
                        continue;
                    }
                    // On another thread, so that whatever comes meanwhile comes first.
                    if let Some(input) = MachineInput::ran(machine, request, run.run()) {
                        let input = Box::new(input);
                        let delay = if self.setup.steady { 0 } else { self.hazard(request.0, 3) };
                        self.after(delay as i64, Event::ToNode { node: id, life, input });
                    }
                }
                ShellEffect::Abandon { machine, request } => {
                    let host = self.nodes.get_mut(&id);
                    let step = host.and_then(|host| host.hanging.remove(&(machine, request)));
                    // Rules that return are never out for so long, though their end may wait in a mailbox.
                    let input = step.and_then(|it| MachineInput::abandoned(machine, request, it));
                    if let Some(input) = input.map(Box::new) {
                        self.after(0, Event::ToNode { node: id, life, input });
                    }
                }
                ShellEffect::RulesLost { .. } => {
                    let Some(host) = self.nodes.get_mut(&id) else { continue };
                    host.lost_threads += 1;
                    if host.lost_threads == MAX_LOST_THREADS {
                        self.count(Kind::LostThreads);
                        let back_ms = RESTART_MS;
                        self.after(LAST_COMMITS_MS, Event::Crash { node: id, back_ms });
                    }
                }
                ShellEffect::OperatorAnswered { number, result } => self.granted(number, result),
                ShellEffect::Placed { .. } | ShellEffect::Log(_) => {}
            }
        }
        for (end, until) in full {
            self.block_link(end, until);
        }
    }

    /// A link takes no bytes for a while.
    pub(super) fn block_link(&mut self, end: (NodeId, LinkId), until: WorldTime) {
        if let Some(it) = self.network.ends.get_mut(&end)
            && it.written
            && !it.blocked
        {
            it.blocked = true;
            self.at(until, Event::LinkWritable { end });
            self.at_once(end.0, MachineInput::Links(LinksInput::Blocked { link: end.1 }));
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
        from: (MachineId, RequestId),
        transaction: Transaction,
    ) {
        let alive = self
            .nodes
            .get(&node)
            .is_some_and(|host| host.node.is_some() && host.config.incarnation == life);
        if !alive {
            // The process died while it was being written: synced or lost.
            if self.hazard(from.1.0, 2) == 0 {
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
        let answer = StoreAnswer::Committed(outcome);
        self.answer_later(self.delay(from.1.0), (node, life), from, answer);
    }

    /// The store answers a machine after a while, if its process lives that long.
    fn answer_later(
        &mut self,
        delay: i64,
        (node, life): (NodeId, Incarnation),
        (machine, request): (MachineId, RequestId),
        answer: StoreAnswer,
    ) {
        if let Some(input) = MachineInput::stored(machine, request, answer) {
            self.after(delay, Event::ToNode { node, life, input: Box::new(input) });
        }
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
        let it = self.network.ends.get_mut(&end)?;
        it.written = true;
        if it.blocked && self.found.is_none() {
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
        for (kind, payload) in messages(&bytes) {
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
        self.tell(node, MachineInput::Links(input));
    }
}
