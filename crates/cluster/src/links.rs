//! The machine of links: a full mesh, one link to every other member of the address book.
//!
//! **Links.** The node with the smaller number dials, and dials again after 100 ms, doubled up to 2 s, for as long as
//! the other is in the book. Both begin with a hello. A node that is not in the book, claims this node's number or is
//! of an older life than the book or the present link says is hung up. Of two links with the same life of a node the
//! newer one stays; a newer life replaces the older one, whose state is dropped first (`Unsubscribe`, `PeerLost`). A
//! heartbeat goes out every 500 ms when nothing else does; 3 s of silence end a link, so a partition is seen after 3
//! to 3.1 s.
//!
//! **Subscriptions** are state. What is to be read on a link follows from three things: what lanes of this node are
//! interested in, where the other has anybody (entities), which chunks it is the steward of (objects). Each link is
//! told the changes, in versions, at the end of every `handle`, and the whole set when it is new. A change from a
//! version that the publisher does not hold ends the link; the same message twice, or the removal of what is not
//! there, changes nothing. What comes on a subject before the snapshot that answers its last subscription is ignored.
//!
//! **Lanes.** A node reads a subject once, for all its lanes, and hands frames and snapshots to exactly those that
//! read it. A further lane that begins to read entities changes nothing on the links: one that reads them already is
//! asked to show it what it knows (`Introduce`). Of objects nothing has to be shown, since the lane reads the
//! documents. What lanes of this node publish for each other does not come here. Objects of this node's own steward
//! are all that a node reads from itself: its lanes become readers of the steward (`Subscribe` with `Reader::Lane`), and
//! cease to be when another node becomes the steward, which is then read over its link.
//!
//! **Subjects** have numbers at a node, by which all tables of all links know them: a node with many players holds
//! every subject in each of them. A subject has its number for as long as a lane of this node is interested in it or
//! it is served on any link, and all that names it on a link ends before that. Effects of what happens to many
//! subjects at once come in the order of subjects or of numbers.
//!
//! **Streams** have an alias per link, opened by a snapshot. A gap in one leads to a new subscription and thus to a
//! fresh snapshot, before which nothing more is taken from it. Every `Subscribe` has a version of its own, so that the
//! late answer to what one link asked is not taken for the answer to the next. A frame or snapshot that does not fit a
//! message is not sent, and its stream goes on with the next snapshot that does.
//!
//! **A blocked link** leaves out frames and snapshots. When it takes bytes again, the publishers of exactly the
//! subjects of which something was left out are asked to answer anew. Calls, answers and subscriptions wait for it, up
//! to 4 MiB; then it is hung up.
//!
//! **Calls** name a role, a key and a body that is opaque here. They end once: with an answer, or by the caller's
//! deadline. A call goes to a certain node, or to the one that the directory prefers for its key in its role. Of the
//! latter, one that may be repeated goes on to the next in order when one rejects it, is lost, or takes longer than a
//! second; when all were asked it goes round again. A call that must not be repeated ends when its link is lost. A node
//! that is asked again while it works on a call begins it once. A link may have 4096 calls unanswered; more are
//! rejected as `busy`, and a call whose role is no role as `role`.
//!
//! **Bytes** of another node are decoded or end its link, and nothing else.

mod calling;
mod interest;
mod interface;
mod peers;
mod receive;
mod sizes;

pub use interface::{LinksConfig, LinksCounters, LinksEffect, LinksInput, LinksSabotage};

use crate::book::Member;
use crate::calls::Outgoing;
use crate::directory::Directory;
use crate::link::{Link, LinkId};
use crate::subjects::{Subject, SubjectNumber, Subjects};
use crate::table::Table;
use interest::Interest;
use peers::Dialling;
use pelago_model::{Attendance, IslandId, Machine, NodeId, WorldTime};
use pelago_wire::peer::{Presence, peer_message};
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;

/// How often the machine looks at its clocks, in ms.
const WAKE_MS: i64 = 100;

/// All links of a node.
pub struct Links {
    config: LinksConfig,
    members: BTreeMap<NodeId, Member>,
    dialling: BTreeMap<NodeId, Dialling>,
    links: BTreeMap<LinkId, Link>,
    /// The link in use to each node.
    peers: BTreeMap<NodeId, LinkId>,
    /// The subjects that have a number: all of `interests`, and all that are served on any link.
    subjects: Subjects,
    /// The subjects that lanes of this node want to read.
    interests: Table<Interest>,
    /// Which member serves what, by the book.
    directory: Directory,
    /// The number of the next `Subscribe`.
    next_subscription: NonZeroU64,
    present: BTreeSet<IslandId>,
    presence_version: u64,
    /// By their numbers on links.
    calls: BTreeMap<u64, Outgoing>,
    next_call: u64,
    attendance: Attendance,
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
            subjects: Subjects::default(),
            interests: Table::default(),
            directory: Directory::default(),
            next_subscription: NonZeroU64::MIN,
            present: BTreeSet::new(),
            presence_version: 0,
            calls: BTreeMap::new(),
            next_call: 0,
            attendance: Attendance::default(),
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

    /// Whether all peers have acknowledged what this node reads from them.
    pub fn is_settled(&self) -> bool {
        let mut links = self.links.values().filter(|link| link.is_established());
        links.all(|link| link.wanted.is_settled())
    }

    /// The subjects that a peer reads from this node.
    pub fn served(&self, node: NodeId) -> Option<impl Iterator<Item = Subject> + '_> {
        let link = self.links.get(self.peers.get(&node)?)?;
        Some(link.served.numbers().filter_map(|number| self.subjects.subject(number)))
    }

    /// Channels that lanes of this node read, of entities or objects.
    pub fn channels(&self) -> usize {
        let subjects = self.interests.iter().map(|(number, _)| SubjectNumber(number));
        let channels = subjects.filter_map(|number| Some(self.subjects.subject(number)?.0));
        channels.collect::<BTreeSet<_>>().len()
    }

    /// Which member serves what, by the address book as it was told last.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    fn present(&mut self, islands: BTreeSet<IslandId>) {
        if islands == self.present {
            return;
        }
        self.present = islands;
        self.presence_version += 1;
        for link in self.links.values_mut().filter(|link| link.is_established()) {
            link.control(presence(self.presence_version, &self.present));
        }
    }

    fn writable(&mut self, id: LinkId, effects: &mut Vec<LinksEffect>) {
        let Some(link) = self.links.get_mut(&id) else { return };
        for subject in link.unblock() {
            self.serve(id, subject, effects);
        }
    }
}

impl Machine for Links {
    type Input = LinksInput;
    type Effect = LinksEffect;

    fn handle(&mut self, now: WorldTime, input: LinksInput, effects: &mut Vec<LinksEffect>) {
        let pause_ms = self.attendance.pause_ms(now, self.next_wake());
        if pause_ms > 0 {
            self.forgive(now, pause_ms);
        }
        match input {
            LinksInput::Book(members) => self.book(now, members, effects),
            LinksInput::Opened { link, toward } => self.opened(now, link, toward, effects),
            LinksInput::DialFailed { node } => {
                if let Some(dialling) = self.dialling.get_mut(&node) {
                    dialling.ended();
                }
            }
            LinksInput::Closed { link } => self.closed(now, link, effects),
            LinksInput::Received { link, kind, payload } => {
                self.received(now, link, kind, &payload, effects);
            }
            LinksInput::Blocked { link } => {
                if let Some(link) = self.links.get_mut(&link) {
                    link.blocked = !self.config.sabotage.ignore_blocked;
                }
            }
            LinksInput::Writable { link } => self.writable(link, effects),
            LinksInput::Interest { lane, subject, wanted } => {
                self.interest(lane, subject, wanted, effects);
            }
            LinksInput::Resync { subject, publisher } => self.resync(subject, publisher),
            LinksInput::Present(islands) => self.present(islands),
            LinksInput::Publish(frames) => self.publish(frames, effects),
            LinksInput::Missed(channels) => self.missed(&channels, effects),
            LinksInput::Snapshot { to, snapshot } => self.answer(to, &snapshot),
            input @ LinksInput::Call { .. } => self.call(now, input, effects),
            LinksInput::Reply { call, reply } => self.reply(now, call, reply, effects),
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
