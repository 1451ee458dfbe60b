//! What other nodes send.

use super::{Links, LinksEffect, malformed};
use crate::link::{HangupReason, InStream, LinkId, MAX_SUBSCRIPTIONS, Subject};
use bytes::Bytes;
use pelago_model::{ChannelId, IslandId, NodeId, WorldTime};
use pelago_wire::Malformed;
use pelago_wire::client_stream::decode_close;
use pelago_wire::frame::{Frame, Snapshot, StreamKind};
use pelago_wire::message::{Kind, decode_control};
use pelago_wire::peer::{PeerMessage, Subscriptions, SubscriptionsHeld, peer_message};
use pelago_wire::peer_stream::{decode_peer_frames, decode_peer_snapshot};
use std::collections::BTreeSet;
use std::sync::Arc;

impl Links {
    pub(super) fn received(
        &mut self,
        now: WorldTime,
        id: LinkId,
        kind: u8,
        payload: &Bytes,
        effects: &mut Vec<LinksEffect>,
    ) {
        let Some(link) = self.links.get_mut(&id) else { return };
        link.last_received = now;
        let established = link.is_established();
        let result = match Kind::from_number(kind) {
            Some(Kind::Control) => match decode_control::<PeerMessage>(payload) {
                Ok(message) => self.control(id, message, effects),
                Err(_) => Err(HangupReason::Malformed),
            },
            _ if !established => Err(HangupReason::Malformed),
            Some(Kind::Frames) => self.frames(id, payload, effects).map_err(|_| malformed()),
            Some(Kind::Snapshot) => self.snapshot(id, payload, effects).map_err(|_| malformed()),
            Some(Kind::Close) => self.close_aliases(id, payload).map_err(|_| malformed()),
            // A newer version may have more kinds.
            None => Ok(()),
        };
        if let Err(reason) = result {
            if reason == HangupReason::Malformed {
                self.counters.malformed += 1;
            }
            self.hang_up(id, reason, effects);
        }
    }

    pub(super) fn control(
        &mut self,
        id: LinkId,
        message: PeerMessage,
        effects: &mut Vec<LinksEffect>,
    ) -> Result<(), HangupReason> {
        let Some(body) = message.body else { return Ok(()) };
        if let peer_message::Body::Hello(hello) = &body {
            return self.hello(id, hello, effects);
        }
        let Some(link) = self.links.get_mut(&id) else { return Ok(()) };
        let Some(node) = link.node.filter(|_| link.is_established()) else {
            return Err(HangupReason::Malformed);
        };
        match body {
            peer_message::Body::Hello(_) | peer_message::Body::Heartbeat(_) => Ok(()),
            peer_message::Body::Subscriptions(change) => {
                self.subscriptions(id, node, &change, effects)
            }
            peer_message::Body::Held(_) => Ok(()),
            peer_message::Body::Presence(presence) => {
                link.islands = presence.islands.into_iter().map(IslandId).collect();
                if !self.config.sabotage.forget_subscriptions {
                    self.reconcile(node);
                }
                Ok(())
            }
            peer_message::Body::Call(call) => self.incoming(id, call, effects),
            peer_message::Body::Answer(answer) => {
                self.answered(node, answer, effects);
                Ok(())
            }
        }
    }

    pub(super) fn subscriptions(
        &mut self,
        id: LinkId,
        node: NodeId,
        change: &Subscriptions,
        effects: &mut Vec<LinksEffect>,
    ) -> Result<(), HangupReason> {
        let Some(link) = self.links.get_mut(&id) else { return Ok(()) };
        if change.base != 0 && change.base != link.served_version {
            return Err(HangupReason::OutOfStep);
        }
        let subject = |channel: &pelago_wire::peer::Channel| {
            let kind = if channel.objects { StreamKind::Objects } else { StreamKind::Entities };
            ChannelId::try_from(channel).map(|id| (id, kind)).map_err(|_| malformed())
        };
        let add: BTreeSet<Subject> = change.add.iter().map(subject).collect::<Result<_, _>>()?;
        let mut remove: BTreeSet<Subject> =
            change.remove.iter().map(subject).collect::<Result<_, _>>()?;
        if change.base == 0 {
            remove.extend(link.served.keys().filter(|subject| !add.contains(subject)));
        }
        if link.served.len() + add.len() > MAX_SUBSCRIPTIONS {
            return Err(HangupReason::TooSlow);
        }
        link.served_version = change.version;
        for subject in remove {
            if link.unserve(subject) {
                effects.push(LinksEffect::Unserve { reader: node, subject });
            } else {
                self.counters.unmatched_removals += 1;
            }
        }
        for subject in add {
            link.served.insert(subject, change.version);
            effects.push(LinksEffect::Serve { reader: node, subject, version: change.version });
        }
        link.control(peer_message::Body::Held(SubscriptionsHeld { version: change.version }));
        Ok(())
    }

    pub(super) fn frames(
        &mut self,
        id: LinkId,
        payload: &Bytes,
        effects: &mut Vec<LinksEffect>,
    ) -> Result<(), Malformed> {
        let (tick, encoded) = decode_peer_frames(payload)?;
        let Some(link) = self.links.get_mut(&id) else { return Ok(()) };
        let mut frames = Vec::with_capacity(encoded.len());
        for bytes in encoded {
            let alias = bytes.alias;
            let Some(stream) = link.in_streams.get_mut(&alias) else {
                self.counters.unknown_frames += 1;
                continue;
            };
            let (subject, publisher) = (stream.subject, stream.publisher);
            if bytes.sequence <= stream.sequence {
                continue;
            }
            if bytes.sequence != stream.sequence + 1 {
                self.counters.gaps += 1;
                link.in_streams.remove(&alias);
                link.want(subject, true);
                continue;
            }
            stream.sequence = bytes.sequence;
            let whose = (publisher, subject.0, subject.1);
            frames.push(Arc::new(Frame::decode(whose, tick, &self.config.clock, bytes)?));
        }
        self.counters.frames += frames.len() as u64;
        if !frames.is_empty() {
            effects.push(LinksEffect::Frames(frames));
        }
        Ok(())
    }

    pub(super) fn snapshot(
        &mut self,
        id: LinkId,
        payload: &Bytes,
        effects: &mut Vec<LinksEffect>,
    ) -> Result<(), Malformed> {
        let bytes = decode_peer_snapshot(payload)?;
        let alias = bytes.alias;
        let snapshot = Snapshot::decode(bytes, &self.config.clock)?;
        let Some(link) = self.links.get_mut(&id) else { return Ok(()) };
        if link.node != Some(snapshot.publisher.node()) {
            return Err(Malformed::OutOfRange);
        }
        let subject = (snapshot.channel, snapshot.stream);
        link.in_streams.remove(&alias);
        if link.wanted.get(&subject).is_none_or(|version| snapshot.answers < *version) {
            self.counters.stale_snapshots += 1;
            return Ok(());
        }
        link.forget_stream(subject, Some(snapshot.publisher));
        let ahead = u64::from(self.config.sabotage.snapshot_off_by_one);
        let sequence = snapshot.sequence + ahead;
        let stream = InStream { subject, publisher: snapshot.publisher, sequence };
        link.in_streams.insert(alias, stream);
        effects.push(LinksEffect::Snapshot(Arc::new(snapshot)));
        Ok(())
    }

    pub(super) fn close_aliases(&mut self, id: LinkId, payload: &Bytes) -> Result<(), Malformed> {
        let aliases = decode_close(payload)?;
        if let Some(link) = self.links.get_mut(&id) {
            for alias in aliases {
                link.in_streams.remove(&alias);
            }
        }
        Ok(())
    }
}
