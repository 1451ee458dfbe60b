//! The tasks of the machines: what waits in, what comes of it out.

use super::Shared;
use super::rules::Rules;
use crate::flight::WritesOnPanic;
use bytes::BytesMut;
use pelago_cluster::{LinkId, LinksInput};
use pelago_model::WorldTime;
use pelago_net::{SendOutcome, Sender};
use pelago_node::arrivals::ArrivalsInput;
use pelago_node::lane::LaneInput;
use pelago_node::{
    ClientEvent, Level, LogLine, MachineId, MachineInput, NodeMachine, Output, RequestId,
    ShellEffect, StoreAnswer,
};
use pelago_store::ReadError;
use pelago_world::ClientId;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tokio::time::sleep_until;

/// Inputs that are handled before effects are carried out: writes to links gather meanwhile.
const BATCH: usize = 256;
/// How often it is looked how full everything is.
const LOOK_EVERY_MS: i64 = 1000;

/// Runs a machine for as long as the node lives.
pub(super) async fn run(shared: Arc<Shared>, mut machine: NodeMachine, rules: Option<Rules>) {
    let id = machine.id();
    // Dropped when the task ends, and first of all when it panics.
    let _flight = WritesOnPanic { flight: shared.flight.clone(), machine: id };
    let mut hands = Hands { shared: shared.clone(), id, rules, senders: Senders::default() };
    let (mut inputs, mut outputs) = (Vec::with_capacity(BATCH), Vec::new());
    // What has changed since the last look is looked at even if nothing else happens.
    let (mut look_at, mut has_changed) = (shared.clock.now(), true);
    loop {
        let wake_at = machine.next_wake().into_iter().chain(has_changed.then_some(look_at)).min();
        let wake = shared.clock.instant(wake_at.unwrap_or(WorldTime(i64::MAX)));
        tokio::select! {
            biased;
            () = sleep_until(wake) => {}
            () = shared.post.came(id) => {}
        }
        shared.post.note_turn(id);
        let now = shared.clock.now();
        let directory = shared.post.directory();
        let woken = machine.next_wake().is_some_and(|at| at <= now);
        if woken {
            machine.handle(now, &directory, MachineInput::wake(id), &mut outputs);
        }
        shared.post.take(id, BATCH, &mut inputs);
        let more_waits = inputs.len() == BATCH;
        for input in inputs.drain(..) {
            hands.forget_if_gone(&input);
            machine.handle(now, &directory, input, &mut outputs);
        }
        // A write that blocks is an input at once, and may have effects of its own.
        while !outputs.is_empty() {
            for input in hands.carry_out(&mut outputs) {
                machine.handle(now, &directory, input, &mut outputs);
            }
        }
        shared.status.note(&machine, woken);
        has_changed = now < look_at;
        if !has_changed {
            look_at = now.plus(LOOK_EVERY_MS);
            shared.status.look(&machine, shared.post.sizes(id));
        }
        // Whatever else waits: the other tasks of this thread have their turn, also if the mailbox is never empty because
        // the machine itself, or a thread beside, puts one thing after the other into it.
        if more_waits {
            tokio::task::yield_now().await;
        } else {
            tokio::task::coop::consume_budget().await;
        }
    }
}

/// Senders of the clients that a machine writes to, so that writing to them takes no lock that others take. A client that
/// is closed or has gone is taken out: a sender keeps its connection open.
#[derive(Default)]
struct Senders(HashMap<ClientId, Sender>);

impl Senders {
    fn of(&mut self, shared: &Shared, client: ClientId) -> Option<&Sender> {
        match self.0.entry(client) {
            Entry::Occupied(known) => Some(known.into_mut()),
            Entry::Vacant(new) => Some(new.insert(shared.client(client)?)),
        }
    }
}

/// What carries out what a machine asks for.
struct Hands {
    shared: Arc<Shared>,
    id: MachineId,
    /// Where rules run, for a host of services.
    rules: Option<Rules>,
    senders: Senders,
}

impl Hands {
    /// Lets go of the sender of a client whose connection has ended: it would keep the connection's socket open.
    fn forget_if_gone(&mut self, input: &MachineInput) {
        if let MachineInput::Lane(_, LaneInput::Client { client, event })
        | MachineInput::Arrivals(ArrivalsInput::Client { client, event }) = input
            && matches!(event, ClientEvent::Disconnected)
        {
            self.senders.0.remove(client);
        }
    }

    /// Carries out what came of a machine. Returns what it is to be told at once.
    fn carry_out(&mut self, outputs: &mut Vec<Output>) -> Vec<MachineInput> {
        let mut at_once = Vec::new();
        let mut writes: BTreeMap<LinkId, BytesMut> = BTreeMap::new();
        let mut placed: Vec<(ClientId, u8)> = Vec::new();
        for output in outputs.drain(..) {
            match output {
                Output::Machine(input) => self.tell(input),
                Output::Shell(ShellEffect::SendLink { link, bytes }) => {
                    writes.entry(link).or_default().extend_from_slice(&bytes);
                }
                Output::Shell(ShellEffect::SendClient { client, bytes }) => {
                    if self.write(client, &bytes) == Some(SendOutcome::Blocked) {
                        at_once.push(self.of_client(client, ClientEvent::Blocked));
                    }
                }
                Output::Shell(ShellEffect::Placed { client, lane }) => {
                    placed.push((client, lane));
                    // From now on the lane writes to it.
                    self.senders.0.remove(&client);
                }
                Output::Shell(effect) => self.perform(effect),
            }
        }
        // Only now that the lane has been told of the session: until then the arrivals hand on what happens.
        placed.into_iter().for_each(|(client, lane)| self.shared.set_lane(client, Some(lane)));
        for (link, bytes) in writes {
            if let Some(sender) = self.shared.link(link)
                && sender.send(&bytes.freeze()) == SendOutcome::Blocked
            {
                at_once.push(MachineInput::Links(LinksInput::Blocked { link }));
            }
        }
        at_once
    }

    fn tell(&self, input: MachineInput) {
        if let MachineInput::Arrivals(ArrivalsInput::Left { client }) = &input {
            self.shared.set_lane(*client, None);
        }
        let shared = &self.shared;
        shared.post.tell(input, &mut |effect| shared.answer_operator(effect));
    }

    fn write(&mut self, client: ClientId, bytes: &bytes::Bytes) -> Option<SendOutcome> {
        Some(self.senders.of(&self.shared, client)?.send(bytes))
    }

    /// Something about a client that this very machine writes to.
    fn of_client(&self, client: ClientId, event: ClientEvent) -> MachineInput {
        let lane = match self.id {
            MachineId::Lane(lane) => Some(lane),
            _ => None,
        };
        MachineInput::of_client(lane, client, event)
    }

    fn perform(&mut self, effect: ShellEffect) {
        let shared = &self.shared;
        match effect {
            ShellEffect::Dial { node, address } => {
                if shared.dials.try_send((node, address)).is_err() {
                    self.tell(MachineInput::Links(LinksInput::DialFailed { node }));
                }
            }
            ShellEffect::Hangup { link, reason } => {
                tracing::warn!(node = shared.node.0, link = link.0, %reason, "link hung up");
                if let Some(sender) = shared.link(link) {
                    sender.close();
                }
            }
            ShellEffect::CloseClient { client } => {
                self.senders.0.remove(&client);
                if let Some(sender) = shared.client(client) {
                    sender.close();
                }
            }
            ShellEffect::Load { machine, request, keys } => {
                let to = shared.clone();
                let done = move |result: Result<_, ReadError>| {
                    // The log leaves lines out that come too often.
                    if let Err(error) = &result {
                        tracing::error!(%error, %machine, "documents could not be loaded");
                    }
                    stored(&to, machine, request, StoreAnswer::Loaded(result.ok()));
                };
                shared.store.load(keys, Box::new(done));
            }
            ShellEffect::Commit { machine, request, transaction } => {
                let to = shared.clone();
                let done =
                    move |outcome| stored(&to, machine, request, StoreAnswer::Committed(outcome));
                shared.store.commit(transaction, Box::new(done));
            }
            ShellEffect::Run { machine, request, run } => {
                if let Some(rules) = &self.rules {
                    rules.run(machine, request, run);
                }
            }
            ShellEffect::Abandon { machine, request } => {
                if let Some(rules) = &self.rules {
                    rules.abandon(machine, request);
                }
            }
            ShellEffect::RulesLost { what } => {
                if let Some(rules) = &self.rules {
                    rules.lost(&what);
                }
            }
            ShellEffect::Log(line) => log(shared.node.0, self.id, &line),
            effect @ ShellEffect::OperatorAnswered { .. } => shared.answer_operator(effect),
            // Gathered before.
            ShellEffect::SendLink { .. }
            | ShellEffect::SendClient { .. }
            | ShellEffect::Placed { .. } => {}
        }
    }
}

fn stored(shared: &Shared, machine: MachineId, request: RequestId, answer: StoreAnswer) {
    if let Some(input) = MachineInput::stored(machine, request, answer) {
        shared.post.tell(input, &mut |_| ());
    }
}

/// The machine is named, so that what one of them says too often leaves nothing out of what another says.
fn log(node: u16, machine: MachineId, LogLine { level, trace, text }: &LogLine) {
    match level {
        Level::Debug => tracing::debug!(node, %machine, trace, "{text}"),
        Level::Info => tracing::info!(node, %machine, trace, "{text}"),
        Level::Warn => tracing::warn!(node, %machine, trace, "{text}"),
        Level::Error => tracing::error!(node, %machine, trace, "{text}"),
    }
}
