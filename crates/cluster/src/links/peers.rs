//! Links that come and go: dialling, greeting, silence.

use super::{Links, LinksEffect, WAKE_MS, presence};
use crate::book::Member;
use crate::directory::Directory;
use crate::hangup::HangupReason;
use crate::link::{Link, LinkId};
use pelago_model::{Backoff, Incarnation, Limit, NodeId, Reader, Retry, WorldTime};
use pelago_wire::peer::{Heartbeat, PeerHello, peer_message};
use pelago_wire::{PROTOCOL_NEWEST, PROTOCOL_OLDEST, negotiate};
use std::collections::BTreeSet;

/// A link on which nothing else was sent gets a heartbeat this often, in ms.
const HEARTBEAT_MS: i64 = 500;
/// A link on which nothing is heard for this long is hung up, in ms; so is one without a greeting.
const SILENCE_MS: i64 = 3000;
/// The pauses before a node that is still a member is dialled again.
const REDIAL: Backoff = Backoff { first_ms: 100, longest_ms: 2000, attempts: Backoff::ENDLESS };
/// When dialling has neither succeeded nor failed for this long, it is taken for failed, in ms.
const DIALLING_MS: i64 = 5000;
/// Links whose other side has not said hello; more are hung up at once.
pub(super) const MAX_STRANGERS: usize = 256;

/// The way to a node that this one dials.
#[derive(Debug)]
pub(super) struct Dialling {
    /// Not before this.
    next: WorldTime,
    retry: Retry,
    /// Until when the shell may take for the dialling that it was asked for.
    under_way: Option<WorldTime>,
}

impl Default for Dialling {
    fn default() -> Self {
        Self { next: WorldTime::default(), retry: Retry::new(REDIAL), under_way: None }
    }
}

impl Dialling {
    fn begin(&mut self, now: WorldTime, from: NodeId, to: NodeId) {
        // The pair's own, and another one each time: nodes that lost each other do not all dial at the same moment.
        let chance = (now.0.cast_unsigned() << 32) ^ (u64::from(from.0) << 16 | u64::from(to.0));
        self.next = now.plus(self.retry.failed(chance).unwrap_or(REDIAL.longest_ms));
        self.under_way = Some(now.plus(DIALLING_MS));
    }

    /// The shell has dialled, with or without success.
    pub(super) fn ended(&mut self) {
        self.under_way = None;
    }
}

impl Links {
    pub(super) fn book(
        &mut self,
        now: WorldTime,
        members: Vec<Member>,
        effects: &mut Vec<LinksEffect>,
    ) {
        self.directory = Directory::new(&members);
        self.members = members.into_iter().map(|member| (member.node, member)).collect();
        self.dialling.retain(|node, _| self.members.contains_key(node));
        let ended = self.links.values().filter_map(|link| {
            let Some(member) = self.members.get(&link.node?) else {
                return Some((link.id, HangupReason::Gone));
            };
            let is_older = link.incarnation? < member.incarnation;
            is_older.then_some((link.id, HangupReason::Replaced))
        });
        for (link, reason) in ended.collect::<Vec<_>>() {
            self.hang_up(now, link, reason, effects);
        }
        self.reconcile_all(effects);
        self.dial(now, effects);
    }

    pub(super) fn opened(
        &mut self,
        now: WorldTime,
        id: LinkId,
        toward: Option<NodeId>,
        effects: &mut Vec<LinksEffect>,
    ) {
        if let Some(dialling) = toward.and_then(|node| self.dialling.get_mut(&node)) {
            dialling.ended();
        }
        let strangers = self.links.values().filter(|link| !link.is_established()).count();
        if strangers >= MAX_STRANGERS {
            self.counters.limits.note(Limit::Strangers);
            return effects.push(LinksEffect::Hangup { link: id, reason: HangupReason::TooMany });
        }
        let mut link = Link::new(id, toward, now);
        link.control(peer_message::Body::Hello(PeerHello {
            oldest_version: PROTOCOL_OLDEST,
            newest_version: PROTOCOL_NEWEST,
            node: self.config.node.0.into(),
            incarnation: self.config.incarnation.0,
            build: self.config.build.clone(),
        }));
        self.links.insert(id, link);
    }

    pub(super) fn hang_up(
        &mut self,
        now: WorldTime,
        id: LinkId,
        reason: HangupReason,
        effects: &mut Vec<LinksEffect>,
    ) {
        if self.links.contains_key(&id) {
            match reason {
                HangupReason::TooMany => self.counters.limits.note(Limit::Subscriptions),
                HangupReason::TooSlow => self.counters.limits.note(Limit::LinkWaiting),
                HangupReason::Silent => self.counters.limits.note(Limit::LinkTime),
                _ => {}
            }
            effects.push(LinksEffect::Hangup { link: id, reason });
            self.closed(now, id, effects);
        }
    }

    pub(super) fn closed(&mut self, now: WorldTime, id: LinkId, effects: &mut Vec<LinksEffect>) {
        let Some(link) = self.links.remove(&id) else { return };
        // Whatever was to be done about it is looked at now.
        self.next_wake = now;
        let mut served = BTreeSet::new();
        for number in link.served.numbers() {
            served.extend(self.subjects.subject(number));
            self.subjects.release(number);
        }
        let Some(node) = link.node.filter(|node| self.peers.get(node) == Some(&id)) else { return };
        self.peers.remove(&node);
        for subject in served {
            effects.push(LinksEffect::Unsubscribe { reader: Reader::Node(node), subject });
        }
        effects.push(LinksEffect::PeerLost { node });
        for call in self.calls.values_mut().filter(|call| call.at == Some((node, Some(id)))) {
            call.lost(now);
        }
    }

    pub(super) fn hello(
        &mut self,
        now: WorldTime,
        id: LinkId,
        hello: &PeerHello,
        effects: &mut Vec<LinksEffect>,
    ) -> Result<(), HangupReason> {
        let versions = (hello.oldest_version, hello.newest_version);
        negotiate(versions, (PROTOCOL_OLDEST, PROTOCOL_NEWEST)).ok_or(HangupReason::Version)?;
        let node = u16::try_from(hello.node).map(NodeId).map_err(|_| HangupReason::Malformed)?;
        let incarnation = Incarnation(hello.incarnation);
        let link = self.links.get(&id).ok_or(HangupReason::Replaced)?;
        if node == self.config.node
            || link.node.is_some_and(|expected| expected != node)
            || link.is_established()
        {
            return Err(HangupReason::Malformed);
        }
        let member = self.members.get(&node).ok_or(HangupReason::Gone)?;
        let old = self.peers.get(&node).copied();
        let known = old.and_then(|old| self.links.get(&old)?.incarnation);
        if incarnation < known.unwrap_or(member.incarnation).max(member.incarnation) {
            return Err(HangupReason::Replaced);
        }
        if incarnation > member.incarnation && known == Some(member.incarnation) {
            // A life that the book does not have takes nothing from the one that it has: it may be a second node with the
            // number. If it is the next life, the book or the end of the link says so, and it dials again.
            return Err(HangupReason::Gone);
        }
        if let Some(old) = old {
            self.hang_up(now, old, HangupReason::Replaced, effects);
        }
        if let Some(dialling) = self.dialling.get_mut(&node) {
            dialling.retry.succeeded();
        }
        self.peers.insert(node, id);
        if let Some(link) = self.links.get_mut(&id) {
            link.node = Some(node);
            link.incarnation = Some(incarnation);
            link.control(presence(self.presence_version, &self.present));
        }
        if !self.config.sabotage.forget_subscriptions {
            self.reconcile(id);
        }
        effects.push(LinksEffect::PeerUp { node });
        Ok(())
    }

    /// This node did not run for so long: what others did not say or do meanwhile does not count. Those that gave it up
    /// have hung up, and what says so has not been read yet.
    pub(super) fn forgive(&mut self, now: WorldTime, pause_ms: i64) {
        for link in self.links.values_mut() {
            link.last_received = link.last_received.plus(pause_ms).min(now);
            link.incoming.values_mut().for_each(|until| *until = until.plus(pause_ms));
        }
        for call in self.calls.values_mut() {
            call.deadline = call.deadline.plus(pause_ms);
            call.look = call.look.plus(pause_ms);
        }
        for dialling in self.dialling.values_mut() {
            dialling.under_way = dialling.under_way.map(|until| until.plus(pause_ms));
        }
    }

    pub(super) fn wake(&mut self, now: WorldTime, effects: &mut Vec<LinksEffect>) {
        let is_silent = |link: &&Link| link.last_received.plus(SILENCE_MS) <= now;
        let silent: Vec<LinkId> =
            self.links.values().filter(is_silent).map(|link| link.id).collect();
        for link in silent {
            self.hang_up(now, link, HangupReason::Silent, effects);
        }
        for link in self.links.values_mut().filter(|link| link.is_established()) {
            link.incoming.retain(|_, until| *until > now);
            if link.last_sent.plus(HEARTBEAT_MS) <= now && !link.blocked {
                link.control(peer_message::Body::Heartbeat(Heartbeat { world_time_ms: now.0 }));
            }
        }
        self.dial(now, effects);
        let due: Vec<u64> =
            self.calls.iter().filter(|(_, call)| call.look <= now).map(|(id, _)| *id).collect();
        for id in due {
            self.look_after(now, id, effects);
        }
        self.next_wake = now.plus(WAKE_MS);
    }

    /// Dials the members with greater numbers to whom there is no link.
    fn dial(&mut self, now: WorldTime, effects: &mut Vec<LinksEffect>) {
        for member in self.members.values() {
            if member.node <= self.config.node || self.peers.contains_key(&member.node) {
                continue;
            }
            let dialling = self.dialling.entry(member.node).or_default();
            let under_way = dialling.under_way.is_some_and(|until| until > now)
                || self.links.values().any(|link| link.node == Some(member.node));
            if !under_way && dialling.next <= now {
                dialling.begin(now, self.config.node, member.node);
                let address = member.address.clone();
                effects.push(LinksEffect::Dial { node: member.node, address });
            }
        }
    }

    /// Writes what has gathered, once per link.
    pub(super) fn flush(&mut self, now: WorldTime, effects: &mut Vec<LinksEffect>) {
        let mut too_slow = Vec::new();
        for link in self.links.values_mut() {
            if link.is_established() {
                link.tell_subscriptions();
            }
            match link.take_out(now) {
                Ok(Some(bytes)) => effects.push(LinksEffect::Send { link: link.id, bytes }),
                Ok(None) => {}
                Err(reason) => too_slow.push((link.id, reason)),
            }
        }
        for (link, reason) in too_slow {
            self.hang_up(now, link, reason, effects);
        }
    }
}
