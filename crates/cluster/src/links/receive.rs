//! What other nodes send. Whatever it is, it ends one link at worst.

use super::interest::lanes_of;
use super::{Links, LinksEffect};
use crate::aliases::{Stream, Taken};
use crate::hangup::HangupReason;
use crate::link::LinkId;
use crate::subjects::SubjectNumber;
use bytes::Bytes;
use pelago_model::{IslandId, Reader, WorldTime};
use pelago_wire::Malformed;
use pelago_wire::client_stream::decode_close;
use pelago_wire::frame::{Frame, Snapshot};
use pelago_wire::message::{Kind, decode_control};
use pelago_wire::peer::{PeerMessage, Presence, Subscriptions, SubscriptionsHeld, peer_message};
use pelago_wire::peer_stream::{decode_peer_frames, decode_peer_snapshot};
use std::sync::Arc;

impl From<Malformed> for HangupReason {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

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
            Some(Kind::Control) => self.control(now, id, payload, effects),
            _ if !established => Err(HangupReason::Malformed),
            Some(Kind::Frames) => self.frames(id, payload, effects),
            Some(Kind::Snapshot) => self.snapshot(id, payload, effects),
            Some(Kind::Close) => self.close_aliases(id, payload),
            // A newer version may have more kinds.
            None => Ok(()),
        };
        if let Err(reason) = result {
            if reason == HangupReason::Malformed {
                self.counters.malformed += 1;
            }
            self.hang_up(now, id, reason, effects);
        }
    }

    fn control(
        &mut self,
        now: WorldTime,
        id: LinkId,
        payload: &Bytes,
        effects: &mut Vec<LinksEffect>,
    ) -> Result<(), HangupReason> {
        let body = decode_control::<PeerMessage>(payload)?.body;
        if let Some(peer_message::Body::Hello(hello)) = &body {
            return self.hello(now, id, hello, effects);
        }
        let Some(link) = self.links.get_mut(&id) else { return Ok(()) };
        let Some(node) = link.node.filter(|_| link.is_established()) else {
            return Err(HangupReason::Malformed);
        };
        match body {
            Some(peer_message::Body::Subscriptions(change)) => {
                self.subscriptions(id, &change, effects)?;
            }
            Some(peer_message::Body::Held(held)) => link.wanted.acknowledged(held.version)?,
            Some(peer_message::Body::Presence(presence)) => self.presence(id, presence),
            Some(peer_message::Body::Call(call)) => self.incoming(now, id, call, effects),
            Some(peer_message::Body::Answer(answer)) => self.answered(now, node, answer, effects),
            Some(peer_message::Body::Hello(_) | peer_message::Body::Heartbeat(_)) => {}
            // Of a kind that a newer version has.
            None => {}
        }
        Ok(())
    }

    fn subscriptions(
        &mut self,
        id: LinkId,
        message: &Subscriptions,
        effects: &mut Vec<LinksEffect>,
    ) -> Result<(), HangupReason> {
        let Some(link) = self.links.get_mut(&id) else { return Ok(()) };
        let Some(reader) = link.node else { return Ok(()) };
        let change = link.served.apply(message, &mut self.subjects)?;
        self.counters.unmatched_removals += change.unmatched;
        for (subject, number) in change.remove {
            link.end_streams(number);
            self.subjects.release(number);
            effects.push(LinksEffect::Unsubscribe { reader: Reader::Node(reader), subject });
        }
        let version = link.served.version();
        link.control(peer_message::Body::Held(SubscriptionsHeld { version }));
        for number in change.add {
            self.serve(id, number, effects);
        }
        Ok(())
    }

    fn presence(&mut self, id: LinkId, presence: Presence) {
        let Some(link) = self.links.get_mut(&id) else { return };
        if presence.version < link.islands_version {
            return;
        }
        link.islands_version = presence.version;
        link.islands = presence.islands.into_iter().map(IslandId).collect();
        if !self.config.sabotage.forget_subscriptions {
            self.reconcile(id);
        }
    }

    fn frames(
        &mut self,
        id: LinkId,
        payload: &Bytes,
        effects: &mut Vec<LinksEffect>,
    ) -> Result<(), HangupReason> {
        let (tick, encoded) = decode_peer_frames(payload)?;
        let Some(link) = self.links.get_mut(&id) else { return Ok(()) };
        let (mut frames, mut readers) = (Vec::new(), Vec::new());
        for bytes in encoded {
            match link.in_streams.take(bytes.alias, bytes.sequence) {
                Taken::Next(Stream { subject, part }) => {
                    let Some(publisher) = link.publisher(part) else { continue };
                    let Some((channel, kind)) = self.subjects.subject(subject) else { continue };
                    let whose = (publisher, channel, kind);
                    let frame = Frame::decode(whose, tick, &self.config.clock, bytes)?;
                    frames.push(Arc::new(frame));
                    readers.push(lanes_of(&self.interests, subject));
                }
                Taken::Gap(Stream { subject, .. }) => {
                    self.counters.gaps += 1;
                    if let Some(named) = self.subjects.subject(subject) {
                        link.want(subject, named, true);
                    }
                }
                Taken::Unknown => self.counters.unknown_frames += 1,
                Taken::Ignored => {}
            }
        }
        self.counters.frames += frames.len() as u64;
        Self::distribute(frames, &readers, effects);
        Ok(())
    }

    fn snapshot(
        &mut self,
        id: LinkId,
        payload: &Bytes,
        effects: &mut Vec<LinksEffect>,
    ) -> Result<(), HangupReason> {
        let bytes = decode_peer_snapshot(payload)?;
        let alias = bytes.alias;
        let snapshot = Snapshot::decode(bytes, &self.config.clock)?;
        let Some(link) = self.links.get_mut(&id) else { return Ok(()) };
        // Also bounds how many streams there can be of one subject.
        let part = snapshot.publisher.part();
        if link.publisher(part) != Some(snapshot.publisher) {
            return Err(HangupReason::Malformed);
        }
        link.in_streams.name(alias)?;
        let subject = self.subjects.number(&(snapshot.channel, snapshot.stream));
        let accepts = |number: &SubjectNumber| link.wanted.accepts(*number, snapshot.answers);
        let Some(subject) = subject.filter(accepts) else {
            self.counters.stale_snapshots += 1;
            return Ok(());
        };
        let ahead = u64::from(self.config.sabotage.snapshot_off_by_one);
        let sequence = snapshot.sequence.saturating_add(ahead);
        link.in_streams.open(alias, Stream::new(subject, part), sequence);
        let snapshot = Arc::new(snapshot);
        effects.extend(
            lanes_of(&self.interests, subject)
                .iter()
                .map(|lane| LinksEffect::Snapshot { lane, snapshot: snapshot.clone() }),
        );
        Ok(())
    }

    fn close_aliases(&mut self, id: LinkId, payload: &Bytes) -> Result<(), HangupReason> {
        let aliases = decode_close(payload)?;
        if let Some(link) = self.links.get_mut(&id) {
            aliases.into_iter().for_each(|alias| link.in_streams.close(alias));
        }
        Ok(())
    }
}
