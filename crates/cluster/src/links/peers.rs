//! Links that come and go: dialling, greeting, silence.

use super::{HEARTBEAT_MS, REDIAL_FIRST_MS, REDIAL_LAST_MS, SILENCE_MS, WAKE_MS, presence};
use super::{Links, LinksEffect};
use crate::book::Member;
use crate::calls::Outgoing;
use crate::link::{HangupReason, Link, LinkId};
use pelago_model::{Incarnation, NodeId, WorldTime};
use pelago_wire::peer::{Heartbeat, PeerHello, peer_message};
use pelago_wire::{PROTOCOL_NEWEST, PROTOCOL_OLDEST, negotiate};

impl Links {
    pub(super) fn book(&mut self, members: Vec<Member>, effects: &mut Vec<LinksEffect>) {
        self.members = members.into_iter().map(|member| (member.node, member)).collect();
        self.dialling.retain(|node, _| self.members.contains_key(node));
        let gone: Vec<LinkId> = self
            .peers
            .iter()
            .filter(|(node, _)| !self.members.contains_key(node))
            .map(|(_, link)| *link)
            .collect();
        for link in gone {
            self.hang_up(link, HangupReason::Gone, effects);
        }
        self.reconcile_all(effects);
    }

    pub(super) fn opened(&mut self, now: WorldTime, id: LinkId, toward: Option<NodeId>) {
        if let Some(dialling) = toward.and_then(|node| self.dialling.get_mut(&node)) {
            dialling.under_way = false;
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
        id: LinkId,
        reason: HangupReason,
        effects: &mut Vec<LinksEffect>,
    ) {
        if self.links.contains_key(&id) {
            effects.push(LinksEffect::Hangup { link: id, reason });
            self.closed(id, effects);
        }
    }

    pub(super) fn closed(&mut self, id: LinkId, effects: &mut Vec<LinksEffect>) {
        let Some(link) = self.links.remove(&id) else { return };
        let Some(node) = link.node else { return };
        if let Some(dialling) = self.dialling.get_mut(&node) {
            dialling.under_way = false;
        }
        if self.peers.get(&node) == Some(&id) {
            self.peers.remove(&node);
            for subject in link.served.into_keys() {
                effects.push(LinksEffect::Unserve { reader: node, subject });
            }
            effects.push(LinksEffect::PeerLost { node });
        }
        // What was asked on this link has no answer: it may be tried elsewhere.
        for call in self.calls.values_mut().filter(|call| call.at == Some((node, Some(id)))) {
            call.attempt_until = WorldTime(0);
        }
        self.next_wake = WorldTime(0);
    }

    pub(super) fn hello(
        &mut self,
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
        if let Some(old) = self.peers.get(&node).copied() {
            if self.links.get(&old).and_then(|link| link.incarnation) > Some(incarnation) {
                return Err(HangupReason::Replaced);
            }
            self.hang_up(old, HangupReason::Replaced, effects);
        }
        if let Some(dialling) = self.dialling.get_mut(&node) {
            dialling.wait_ms = 0;
        }
        self.peers.insert(node, id);
        if let Some(link) = self.links.get_mut(&id) {
            link.node = Some(node);
            link.incarnation = Some(incarnation);
            link.control(presence(self.presence_version, &self.present));
        }
        if !self.config.sabotage.forget_subscriptions {
            self.reconcile(node);
        }
        effects.push(LinksEffect::PeerUp { node });
        Ok(())
    }

    pub(super) fn wake(&mut self, now: WorldTime, effects: &mut Vec<LinksEffect>) {
        self.next_wake = now.plus(WAKE_MS);
        let silent: Vec<LinkId> = self
            .links
            .values()
            .filter(|link| link.last_received.plus(SILENCE_MS) <= now)
            .map(|link| link.id)
            .collect();
        for link in silent {
            self.hang_up(link, HangupReason::Silent, effects);
        }
        for link in self.links.values_mut().filter(|link| link.is_established()) {
            if link.last_sent.plus(HEARTBEAT_MS) <= now && !link.blocked {
                link.control(peer_message::Body::Heartbeat(Heartbeat { world_time_ms: now.0 }));
            }
        }
        self.dial(now, effects);
        let overdue = |call: &Outgoing| call.attempt_until <= now || call.deadline <= now;
        let overdue: Vec<u64> =
            self.calls.iter().filter(|(_, call)| overdue(call)).map(|(id, _)| *id).collect();
        for id in overdue {
            self.attempt(now, id, effects);
        }
        self.next_wake = now.plus(WAKE_MS);
    }

    pub(super) fn dial(&mut self, now: WorldTime, effects: &mut Vec<LinksEffect>) {
        for member in self.members.values() {
            if member.node <= self.config.node || self.peers.contains_key(&member.node) {
                continue;
            }
            let dialling = self.dialling.entry(member.node).or_default();
            let open = self.links.values().any(|link| link.node == Some(member.node));
            if !dialling.under_way && !open && dialling.next <= now {
                dialling.under_way = true;
                dialling.wait_ms = (dialling.wait_ms * 2).clamp(REDIAL_FIRST_MS, REDIAL_LAST_MS);
                dialling.next = now.plus(dialling.wait_ms);
                let address = member.address.clone();
                effects.push(LinksEffect::Dial { node: member.node, address });
            }
        }
    }

    /// Writes what has gathered, once per link.
    pub(super) fn flush(&mut self, now: WorldTime, effects: &mut Vec<LinksEffect>) {
        let mut too_slow = Vec::new();
        for link in self.links.values_mut() {
            if link.is_established()
                && let Some(change) = link.next_subscriptions()
            {
                link.control(peer_message::Body::Subscriptions(change));
            }
            match link.take_out(now) {
                Ok(Some(bytes)) => effects.push(LinksEffect::Send { link: link.id, bytes }),
                Ok(None) => {}
                Err(reason) => too_slow.push((link.id, reason)),
            }
        }
        for (link, reason) in too_slow {
            self.hang_up(link, reason, effects);
        }
    }
}
