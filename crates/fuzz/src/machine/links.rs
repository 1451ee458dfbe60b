//! The other node: what it says, and that it can read what it is told.

use super::{LIFE, OTHER, World};
use crate::input::Input;
use bytes::{Bytes, BytesMut};
use pelago_cluster::{LinkId, LinksInput};
use pelago_model::{ChannelId, PublisherId, Tick};
use pelago_net::Deframer;
use pelago_wire::client_stream::decode_close;
use pelago_wire::message::{Kind, decode_control};
use pelago_wire::peer::{Answer, PeerHello, PeerMessage, peer_message};
use pelago_wire::peer_stream::{
    PeerFrame, PeerSnapshot, decode_peer_frames, decode_peer_snapshot, put_peer_frame,
    put_peer_frames_message, put_peer_snapshot,
};
use pelago_wire::tick_stamp::TickStamp;
use pelago_wire::{PROTOCOL_NEWEST, PROTOCOL_OLDEST};
use prost::Message as _;
use std::collections::BTreeMap;

/// As large as what a node sends at once may be.
const LIMIT: usize = 1 << 20;

/// The other node.
#[derive(Default)]
pub(super) struct Peer {
    link: Option<LinkId>,
    /// What the node wants to read from it, and the version of that.
    wanted: Vec<(ChannelId, bool)>,
    version: u64,
    /// How many aliases it has named.
    named: u32,
    /// The last sequence number on each of its aliases.
    sequences: BTreeMap<u32, u64>,
    /// The last call that the node made.
    call: u64,
}

impl Peer {
    pub(super) fn hung_up(&mut self, link: LinkId) {
        if self.link == Some(link) {
            *self = Self::default();
        }
    }

    /// All that a node tells another can be read.
    pub(super) fn hears(&mut self, link: LinkId, bytes: Bytes) {
        if self.link != Some(link) {
            return;
        }
        let mut deframer = Deframer::new(LIMIT);
        deframer.buffer().extend_from_slice(&bytes);
        while let Some((kind, payload)) = deframer.next_message().expect("whole messages") {
            match Kind::from_number(kind).expect("a kind that the protocol has") {
                Kind::Control => self.told(&payload),
                Kind::Frames => drop(decode_peer_frames(&payload).expect("frames")),
                Kind::Snapshot => drop(decode_peer_snapshot(&payload).expect("a snapshot")),
                Kind::Close => drop(decode_close(&payload).expect("a close")),
            }
        }
        assert!(deframer.buffer().is_empty(), "half a message");
    }

    fn told(&mut self, payload: &Bytes) {
        let message: PeerMessage = decode_control(payload).expect("a control message");
        match message.body.expect("a body that the protocol has") {
            peer_message::Body::Subscriptions(change) => {
                if change.base == 0 {
                    self.wanted.clear();
                }
                let channels = change.add.iter().map(|channel| {
                    (ChannelId::try_from(channel).expect("a channel"), channel.objects)
                });
                self.wanted.extend(channels);
                self.version = change.version;
            }
            peer_message::Body::Call(call) => self.call = call.number,
            _ => {}
        }
    }
}

impl World {
    /// The other node opens a link and introduces itself.
    pub(super) fn link(&mut self) {
        let link = LinkId(self.next_connection);
        self.next_connection += 1;
        self.peer = Peer { link: Some(link), ..Peer::default() };
        self.links(LinksInput::Opened { link, toward: None });
        let hello = PeerHello {
            oldest_version: PROTOCOL_OLDEST,
            newest_version: PROTOCOL_NEWEST,
            node: OTHER.0.into(),
            incarnation: LIFE.0,
            build: "fuzz".into(),
        };
        self.peer_control(peer_message::Body::Hello(hello));
    }

    fn peer_control(&mut self, body: peer_message::Body) {
        let message = PeerMessage { body: Some(body) };
        self.peer_sends(Kind::Control as u8, message.encode_to_vec().into());
    }

    fn peer_sends(&mut self, kind: u8, payload: Bytes) {
        let Some(link) = self.peer.link else { return };
        self.links(LinksInput::Received { link, kind, payload });
    }

    /// The only message in some bytes.
    fn peer_sends_message(&mut self, message: BytesMut) {
        let mut deframer = Deframer::new(message.len());
        deframer.buffer().extend_from_slice(&message);
        if let Ok(Some((kind, payload))) = deframer.next_message() {
            self.peer_sends(kind, payload);
        }
    }

    /// Any bytes of any kind.
    pub(super) fn peer_says(&mut self, input: &mut Input<'_>) {
        let kind = input.u8();
        let payload = Bytes::copy_from_slice(input.piece());
        self.peer_sends(kind, payload);
    }

    /// A snapshot of something that the node wants, with any records.
    pub(super) fn peer_shows(&mut self, input: &mut Input<'_>) {
        let (which, alias, lane) = (usize::from(input.u8()), input.u8(), input.u8());
        let records = Bytes::copy_from_slice(input.piece());
        let Some((channel, objects)) = self.peer.wanted.get(which).copied() else { return };
        // Mostly one that it may name.
        let alias = match alias {
            u8::MAX => u32::MAX,
            alias => u32::from(alias) % (self.peer.named + 1),
        };
        self.peer.named = self.peer.named.max(alias.saturating_add(1));
        let tick = Tick::at(self.now);
        let snapshot = PeerSnapshot {
            alias,
            objects,
            channel,
            publisher: match objects {
                true => PublisherId::service(OTHER, 0, LIFE),
                false => PublisherId::lane(OTHER, lane, LIFE),
            },
            tick,
            sequence: 0,
            answers: self.peer.version,
            stamp: TickStamp::new(tick, 0),
            records,
        };
        self.peer.sequences.insert(alias, 0);
        let mut out = BytesMut::new();
        put_peer_snapshot(&mut out, &snapshot);
        self.peer_sends_message(out);
    }

    /// The next frame of a stream, with any records.
    pub(super) fn peer_publishes(&mut self, input: &mut Input<'_>) {
        let alias = u32::from(input.u8());
        let (stamp, side) = (input.u8(), usize::from(input.u8() & 7));
        let records = input.piece();
        let section = Bytes::copy_from_slice(input.piece());
        let sequence = self.peer.sequences.entry(alias).or_default();
        *sequence += 1;
        let tick = Tick::at(self.now);
        // Mostly the right one.
        let right = TickStamp::new(tick, *sequence).to_byte();
        let core = [&[right ^ stamp], records].concat().into();
        let mut frame =
            PeerFrame { alias, sequence: *sequence, core, sections: Default::default() };
        frame.sections[side] = section;
        let (mut entries, mut out) = (BytesMut::new(), BytesMut::new());
        put_peer_frame(&mut entries, &frame);
        put_peer_frames_message(&mut out, tick, &entries);
        self.peer_sends_message(out);
    }

    /// An answer to the last call, of any content.
    pub(super) fn peer_answers(&mut self, input: &mut Input<'_>) {
        let Ok(mut answer) = Answer::decode(input.piece()) else { return };
        answer.number = self.peer.call;
        self.peer_control(peer_message::Body::Answer(answer));
    }

    /// The link ends, stops or goes on, or another begins.
    pub(super) fn peer_returns(&mut self, input: &mut Input<'_>) {
        let choice = input.u8();
        match (choice & 3, self.peer.link) {
            (0, Some(link)) => self.links(LinksInput::Blocked { link }),
            (1, Some(link)) => self.links(LinksInput::Writable { link }),
            (2, Some(link)) => {
                self.peer.hung_up(link);
                self.links(LinksInput::Closed { link });
            }
            _ => self.link(),
        }
    }
}
