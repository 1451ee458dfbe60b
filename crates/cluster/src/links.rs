//! The machine of links: one to every other member, dialled by the node with the smaller number.
//!
//! * Subscriptions are state: what this node wants is reconciled with what each link was told, in versioned
//!   changes, whole on a new link. What comes on a channel before the snapshot that answers its last subscription is ignored.
//! * This node reads from itself the same way, without a link.
//! * A blocked link leaves out frames, and its readers get fresh snapshots when it takes bytes again. Calls and
//!   subscriptions wait for it, within a limit.
//! * Calls that may be repeated go to the next node when one does not answer.

mod calling;
mod interest;
mod interface;
mod peers;
mod receive;

pub use interface::{LinksConfig, LinksCounters, LinksEffect, LinksInput, LinksSabotage};

use crate::book::{Member, Roles};
use crate::calls::Outgoing;
use crate::link::{HangupReason, Link, LinkId, Subject};
use crate::rendezvous::preferred;
use pelago_model::{ChannelId, IslandId, Key, Machine, NodeId, WorldTime};
use pelago_wire::frame::StreamKind;
use pelago_wire::peer::{Presence, peer_message};
use std::collections::{BTreeMap, BTreeSet};

/// A link on which nothing else was sent gets a heartbeat this often, in ms.
const HEARTBEAT_MS: i64 = 500;
/// A link on which nothing is heard for this long is hung up, in ms.
const SILENCE_MS: i64 = 3000;
/// The first wait before dialling again, in ms; doubled up to the last.
const REDIAL_FIRST_MS: i64 = 100;
/// The longest wait before dialling again, in ms.
const REDIAL_LAST_MS: i64 = 2000;
/// How often the machine looks at its clocks, in ms.
const WAKE_MS: i64 = 100;

#[derive(Debug, Default)]
struct Dialling {
    next: WorldTime,
    wait_ms: i64,
    under_way: bool,
}

/// All links of a node.
pub struct Links {
    config: LinksConfig,
    members: BTreeMap<NodeId, Member>,
    dialling: BTreeMap<NodeId, Dialling>,
    links: BTreeMap<LinkId, Link>,
    /// The link in use to each node.
    peers: BTreeMap<NodeId, LinkId>,
    interests: BTreeSet<Subject>,
    /// What this node reads from itself: subject to version.
    own: BTreeMap<Subject, u64>,
    own_version: u64,
    present: BTreeSet<IslandId>,
    presence_version: u64,
    calls: BTreeMap<u64, Outgoing>,
    next_call: u64,
    next_wake: WorldTime,
    counters: LinksCounters,
}

impl Links {
    /// A node without links.
    pub fn new(config: LinksConfig) -> Self {
        Self {
            config,
            members: BTreeMap::new(),
            dialling: BTreeMap::new(),
            links: BTreeMap::new(),
            peers: BTreeMap::new(),
            interests: BTreeSet::new(),
            own: BTreeMap::new(),
            own_version: 0,
            present: BTreeSet::new(),
            presence_version: 0,
            calls: BTreeMap::new(),
            next_call: 0,
            next_wake: WorldTime(0),
            counters: LinksCounters::default(),
        }
    }

    /// Its numbers.
    pub fn counters(&self) -> LinksCounters {
        self.counters
    }

    /// The nodes within reach.
    pub fn peers(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.peers.keys().copied()
    }

    /// Whether every member is within reach.
    pub fn is_complete(&self) -> bool {
        self.members.keys().all(|node| *node == self.config.node || self.peers.contains_key(node))
    }

    /// What a peer reads from this node.
    pub fn served(&self, node: NodeId) -> Option<impl Iterator<Item = Subject> + '_> {
        let link = self.links.get(self.peers.get(&node)?)?;
        Some(link.served.keys().copied())
    }

    /// The stewards of a key in order of preference.
    pub fn stewards(&self, key: &Key) -> Vec<NodeId> {
        let stewards = self.members.values().filter(|member| member.roles.contains(Roles::STEWARD));
        preferred(key, stewards.map(|member| member.node))
    }

    fn steward_of(&self, channel: &ChannelId) -> Option<NodeId> {
        self.stewards(&Key::chunk(channel.island, channel.chunk)).first().copied()
    }

    fn is_wanted_from(
        &self,
        subject: &Subject,
        node: NodeId,
        islands: &BTreeSet<IslandId>,
    ) -> bool {
        match subject.1 {
            StreamKind::Entities => islands.contains(&subject.0.island),
            StreamKind::Objects => self.steward_of(&subject.0) == Some(node),
        }
    }
}

impl Machine for Links {
    type Input = LinksInput;
    type Effect = LinksEffect;

    fn handle(&mut self, now: WorldTime, input: LinksInput, effects: &mut Vec<LinksEffect>) {
        match input {
            LinksInput::Book(members) => {
                self.book(members, effects);
                self.dial(now, effects);
            }
            LinksInput::Opened { link, toward } => self.opened(now, link, toward),
            LinksInput::DialFailed { node } => {
                if let Some(dialling) = self.dialling.get_mut(&node) {
                    dialling.under_way = false;
                }
            }
            LinksInput::Closed { link } => self.closed(link, effects),
            LinksInput::Received { link, kind, payload } => {
                self.received(now, link, kind, &payload, effects);
            }
            LinksInput::Blocked { link } => {
                if let Some(link) = self.links.get_mut(&link) {
                    link.block();
                }
            }
            LinksInput::Writable { link: id } => {
                if let Some(link) = self.links.get_mut(&id)
                    && let Some(reader) = link.node
                {
                    for subject in link.unblock() {
                        let version = link.served.get(&subject).copied().unwrap_or(0);
                        effects.push(LinksEffect::Serve { reader, subject, version });
                    }
                }
            }
            LinksInput::Interest { subject, wanted } => self.interest(subject, wanted, effects),
            LinksInput::Again { subject, publisher } => self.again(subject, publisher, effects),
            LinksInput::Present(islands) => {
                if islands != self.present {
                    self.present = islands;
                    self.presence_version += 1;
                    for link in self.links.values_mut().filter(|link| link.is_established()) {
                        link.control(presence(self.presence_version, &self.present));
                    }
                }
            }
            LinksInput::Publish(frames) => self.publish(&frames, effects),
            LinksInput::Snapshot { to, snapshot } => self.answer(to, snapshot, effects),
            LinksInput::Call { number, target, body, deadline_ms, repeatable, trace } => {
                self.next_call += 1;
                let call = Outgoing {
                    number,
                    target,
                    body,
                    deadline: now.plus(deadline_ms.into()),
                    repeatable,
                    trace,
                    tried: BTreeSet::new(),
                    at: None,
                    attempt_until: now,
                };
                self.calls.insert(self.next_call, call);
                self.attempt(now, self.next_call, effects);
            }
            LinksInput::Reply { call, body } => self.reply(call, body, effects),
            LinksInput::Wake => {}
        }
        if self.next_wake <= now {
            self.wake(now, effects);
        }
        self.flush(now, effects);
    }

    fn next_wake(&self) -> Option<WorldTime> {
        Some(self.next_wake)
    }
}

fn presence(version: u64, islands: &BTreeSet<IslandId>) -> peer_message::Body {
    let islands = islands.iter().map(|island| island.0).collect();
    peer_message::Body::Presence(Presence { version, islands })
}

const fn malformed() -> HangupReason {
    HangupReason::Malformed
}
