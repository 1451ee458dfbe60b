//! The tasks of the machines: inputs in, effects out.

use super::{Outlet, Shared, grants, links};
use bytes::BytesMut;
use pelago_cluster::{LinkId, LinksInput};
use pelago_model::{Machine, WorldTime};
use pelago_net::{SendOutcome, Sender};
use pelago_node::{
    ControlInput, Effect, Hub, Lane, LaneInput, Level, LoginInput, Message, Part, RequestId,
    StewardInput,
};
use pelago_world::ClientId;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Instant;
use tokio::time::sleep_until;

/// Inputs that are handled before effects are carried out: writes to links gather meanwhile.
const BATCH: usize = 256;
/// How often it is looked how full everything is.
const LOOK_EVERY_MS: i64 = 1000;

/// Runs control, stewards and login.
pub(super) async fn run_hub(shared: Arc<Shared>, mut hub: Hub, mut outlet: Outlet<Message>) {
    let mut effects = Vec::new();
    let mut look_at = WorldTime(i64::MIN);
    while let Some(first) = next(&shared, hub.next_wake(), &mut outlet).await {
        let now = shared.clock.now();
        hub.handle(now, first.unwrap_or(Message::Control(ControlInput::Wake)), &mut effects);
        for _ in 0..BATCH {
            let Some(message) = more(&mut outlet) else { break };
            hub.handle(now, message, &mut effects);
        }
        // A write that blocks is an input at once, and may have effects of its own.
        while !effects.is_empty() {
            let mut answers = Vec::new();
            perform(&shared, effects.drain(..), &mut Senders::default(), &mut answers);
            for answer in answers {
                hub.handle(now, answer, &mut effects);
            }
        }
        let status = &shared.status;
        status.connections.store(hub.control.connections(), Ordering::Relaxed);
        status.backlog.store(hub.steward.backlog(), Ordering::Relaxed);
        *status.stewards.lock().unwrap_or_else(PoisonError::into_inner) = hub.steward.counters();
        status.linked.store(hub.control.links().is_complete(), Ordering::Relaxed);
        *status.limits.lock().unwrap_or_else(PoisonError::into_inner) = hub.limits();
        *status.links.lock().unwrap_or_else(PoisonError::into_inner) =
            hub.control.links().counters();
        if now >= look_at {
            look_at = now.plus(LOOK_EVERY_MS);
            *status.sizes.lock().unwrap_or_else(PoisonError::into_inner) = hub.sizes();
        }
    }
}

/// Runs a lane.
pub(super) async fn run_lane(
    shared: Arc<Shared>,
    number: u8,
    mut lane: Lane,
    mut outlet: Outlet<LaneInput>,
) {
    let mut effects = Vec::new();
    let mut senders = Senders::default();
    let status = &shared.status.lanes[usize::from(number)];
    let mut look_at = WorldTime(i64::MIN);
    while let Some(first) = next(&shared, lane.next_wake(), &mut outlet).await {
        let began = Instant::now();
        let now = shared.clock.now();
        let woken = first.is_none();
        lane.handle(now, first.unwrap_or(LaneInput::Wake), &mut effects);
        for _ in 0..BATCH {
            let Some(input) = more(&mut outlet) else { break };
            lane.handle(now, input, &mut effects);
        }
        while !effects.is_empty() {
            let mut answers = Vec::new();
            perform(&shared, effects.drain(..), &mut senders, &mut answers);
            for answer in answers {
                match answer {
                    Message::Control(ControlInput::ClientBlocked { client }) => {
                        lane.handle(now, LaneInput::Blocked { client }, &mut effects);
                    }
                    answer => shared.hub.tell(answer),
                }
            }
        }
        let worked = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        status.busy_ns.fetch_add(worked, Ordering::Relaxed);
        if woken {
            status.ticked.store(now.0, Ordering::Relaxed);
            status.players.store(lane.population(), Ordering::Relaxed);
            *status.counters.lock().unwrap_or_else(PoisonError::into_inner) = lane.counters();
            if now >= look_at {
                look_at = now.plus(LOOK_EVERY_MS);
                *status.sizes.lock().unwrap_or_else(PoisonError::into_inner) = lane.sizes();
            }
        }
    }
}

/// Waits for an input (`Some(Some)`), the clock (`Some(None)`) or the end (`None`).
async fn next<T>(
    shared: &Shared,
    wake: Option<WorldTime>,
    outlet: &mut Outlet<T>,
) -> Option<Option<T>> {
    let wake = shared.clock.instant(wake.unwrap_or(WorldTime(i64::MAX)));
    tokio::select! {
        biased;
        () = sleep_until(wake) => Some(None),
        inner = outlet.inner.recv() => inner.map(Some),
        outer = outlet.outer.recv() => outer.map(Some),
    }
}

/// What waits already.
fn more<T>(outlet: &mut Outlet<T>) -> Option<T> {
    outlet.inner.try_recv().or_else(|_| outlet.outer.try_recv()).ok()
}

/// Senders of the players of a lane, so that writing to them takes no lock that others take. A player who leaves the
/// lane is taken out: a sender keeps its connection open.
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

/// Carries out effects. What is to be known at once is appended to `answers`.
fn perform(
    shared: &Arc<Shared>,
    effects: impl Iterator<Item = Effect>,
    senders: &mut Senders,
    answers: &mut Vec<Message>,
) {
    let node = shared.node.0;
    let mut writes: BTreeMap<LinkId, BytesMut> = BTreeMap::new();
    for effect in effects {
        match effect {
            Effect::To(Message::Lane(lane, input)) => {
                if let Some(inbox) = shared.lanes.get(usize::from(lane)) {
                    inbox.tell(input);
                }
            }
            Effect::To(message) => {
                if let Message::Control(ControlInput::Left { client }) = &message {
                    senders.0.remove(client);
                }
                shared.hub.tell(message);
            }
            Effect::Dial { node, address } => links::dial(shared.clone(), node, address),
            Effect::Hangup { link, reason } => {
                tracing::warn!(node, link = link.0, %reason, "link hung up");
                if let Some(sender) = shared.link(link) {
                    sender.close();
                }
            }
            Effect::SendLink { link, bytes } => {
                writes.entry(link).or_default().extend_from_slice(&bytes);
            }
            Effect::SendClient { client, bytes } => {
                if let Some(sender) = senders.of(shared, client)
                    && sender.send(&bytes) == SendOutcome::Blocked
                {
                    answers.push(Message::Control(ControlInput::ClientBlocked { client }));
                }
            }
            Effect::CloseClient { client } => {
                senders.0.remove(&client);
                if let Some(sender) = shared.client(client) {
                    sender.close();
                }
            }
            Effect::Load { part, request_id, keys } => {
                let to = shared.clone();
                let done = move |result: Result<_, pelago_store::ReadError>| {
                    if let Err(error) = &result
                        && let Some(before) = to.failed_loads.pass(to.clock.now())
                    {
                        tracing::error!(%error, before, "documents could not be loaded");
                    }
                    loaded(&to, part, request_id, result.ok());
                };
                shared.store.load(keys, Box::new(done));
            }
            Effect::Commit { part, request_id, transaction } => {
                let to = shared.clone();
                let done = move |outcome| committed(&to, part, request_id, outcome);
                shared.store.commit(transaction, Box::new(done));
            }
            Effect::GrantEnded { number, result } => grants::ended(shared, number, result),
            Effect::Log { level, trace, text } => match level {
                Level::Debug => tracing::debug!(node, trace, "{text}"),
                Level::Info => tracing::info!(node, trace, "{text}"),
                Level::Warn => tracing::warn!(node, trace, "{text}"),
                Level::Error => tracing::error!(node, trace, "{text}"),
            },
        }
    }
    for (link, bytes) in writes {
        if let Some(sender) = shared.link(link)
            && sender.send(&bytes.freeze()) == SendOutcome::Blocked
        {
            let blocked = LinksInput::Blocked { link };
            answers.push(Message::Control(ControlInput::Links(blocked)));
        }
    }
}

fn loaded(
    shared: &Shared,
    part: Part,
    request_id: RequestId,
    documents: Option<Vec<pelago_model::Document>>,
) {
    match part {
        Part::Lane(lane) => {
            if let Some(inbox) = shared.lanes.get(usize::from(lane)) {
                inbox.tell(LaneInput::Loaded { request_id, documents });
            }
        }
        Part::Steward => {
            shared.hub.tell(Message::Steward(StewardInput::Loaded { request_id, documents }));
        }
        Part::Login => {
            shared.hub.tell(Message::Login(LoginInput::Loaded { request_id, documents }))
        }
        Part::Control => {}
    }
}

fn committed(
    shared: &Shared,
    part: Part,
    request_id: RequestId,
    outcome: pelago_model::CommitOutcome,
) {
    match part {
        Part::Lane(lane) => {
            if let Some(inbox) = shared.lanes.get(usize::from(lane)) {
                inbox.tell(LaneInput::Committed { request_id, outcome });
            }
        }
        Part::Steward => {
            shared.hub.tell(Message::Steward(StewardInput::Committed { request_id, outcome }));
        }
        Part::Login => {
            shared.hub.tell(Message::Login(LoginInput::Committed { request_id, outcome }))
        }
        Part::Control => {}
    }
}
