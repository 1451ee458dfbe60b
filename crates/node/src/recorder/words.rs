//! How words of the cores are written down: ids, places, calls, documents, frames.

use super::coding::{Code, coded_enum, coded_newtype, coded_struct, put_bytes};
use crate::call::Caller;
use crate::documents::avatar::Place;
use crate::lane_call::LaneCall;
use crate::machine_id::MachineId;
use crate::rate_limits::ProtocolViolation;
use crate::session::NewSession;
use crate::store_request::{RequestId, StoreAnswer};
use bytes::{BufMut, Bytes, BytesMut};
use pelago_cluster::{CallError, CallTarget, Directory, IncomingCall, LinkId, Member, Rejection};
use pelago_model::place::{Cell, Rate};
use pelago_model::{
    ChannelId, ChunkId, CommitOutcome, Document, EntityId, Epoch, Incarnation, IslandClock,
    IslandId, IslandTime, Key, NodeId, Origin, Position, PublisherId, Reader as ChannelReader,
    Revision, Role, Sequence, Tick,
};
use pelago_wire::Malformed;
use pelago_wire::frame::{Frame, Snapshot, StreamKind};
use pelago_wire::peer_stream::{PeerFrame, PeerSnapshot};
use pelago_wire::tick_stamp::TickStamp;
use pelago_wire::varint::Reader;
use pelago_world::ClientId;
use std::collections::BTreeSet;

coded_newtype!(
    Cell,
    ClientId,
    EntityId,
    Epoch,
    Incarnation,
    IslandId,
    IslandTime,
    LinkId,
    NodeId,
    PublisherId,
    Rejection,
    RequestId,
    Revision,
    Sequence,
    Tick
);
coded_struct!(ChunkId { x, y });
coded_struct!(Origin { number, is_loopback });
coded_struct!(Position { x, y });
coded_struct!(Place { island, position, at });
coded_struct!(Document { schema, revision, value });
coded_struct!(Member { node, incarnation, address, roles });
coded_struct!(IncomingCall { link, number });
coded_struct!(NewSession {
    client,
    avatar,
    epoch,
    name,
    sequence,
    chain,
    state,
    place,
    place_revision,
    quiet_ms
});
coded_enum!(ChannelReader { 0 => Lane(lane), 1 => Node(node), });
coded_enum!(StreamKind { 0 => Entities, 1 => Objects, });
coded_enum!(CallTarget { 0 => Node(node), 1 => Preferred(key), });
coded_enum!(CallError {
    0 => Unreachable,
    1 => DeadlineExceeded,
    2 => Rejected(why),
    3 => LinkLost,
});
coded_enum!(Caller {
    0 => Machine { machine, number },
    1 => Peer(call),
    2 => Operator { number },
    3 => Nobody,
});
coded_enum!(ProtocolViolation {
    0 => Flood,
    1 => EmptyFrames,
    2 => Stalled,
    3 => TooLong,
    4 => Malformed,
});
coded_enum!(CommitOutcome {
    0 => Committed,
    1 => Conflict { keys },
    2 => Failed,
    3 => Unknown,
});
coded_enum!(StoreAnswer { 0 => Loaded(documents), 1 => Committed(outcome), });

impl Code for MachineId {
    fn put(&self, out: &mut BytesMut) {
        self.number().put(out);
    }

    fn take(from: &mut Reader<'_>, clock: &IslandClock) -> Result<Self, Malformed> {
        Self::of_number(Code::take(from, clock)?).ok_or(Malformed::OutOfRange)
    }
}

impl Code for Key {
    fn put(&self, out: &mut BytesMut) {
        put_bytes(out, self.as_str().as_bytes());
    }

    fn take(from: &mut Reader<'_>, clock: &IslandClock) -> Result<Self, Malformed> {
        Self::parse(&String::take(from, clock)?).map_err(|_| Malformed::Text)
    }
}

impl Code for Role {
    fn put(&self, out: &mut BytesMut) {
        put_bytes(out, self.as_str().as_bytes());
    }

    fn take(from: &mut Reader<'_>, clock: &IslandClock) -> Result<Self, Malformed> {
        Self::parse(&String::take(from, clock)?).map_err(|_| Malformed::Text)
    }
}

impl Code for ChannelId {
    fn put(&self, out: &mut BytesMut) {
        // The struct is packed: its fields are copied, never pointed at.
        let Self { island, chunk, cell, rate } = *self;
        island.put(out);
        chunk.put(out);
        cell.put(out);
        out.put_u8(rate as u8);
    }

    fn take(from: &mut Reader<'_>, clock: &IslandClock) -> Result<Self, Malformed> {
        Ok(Self {
            island: Code::take(from, clock)?,
            chunk: Code::take(from, clock)?,
            cell: Code::take(from, clock)?,
            rate: Rate::from_number(from.u8()?).ok_or(Malformed::OutOfRange)?,
        })
    }
}

/// As other nodes are sent it.
impl Code for LaneCall {
    fn put(&self, out: &mut BytesMut) {
        put_bytes(out, &self.clone().encode());
    }

    fn take(from: &mut Reader<'_>, clock: &IslandClock) -> Result<Self, Malformed> {
        Self::decode(&Bytes::take(from, clock)?).ok_or(Malformed::Control)
    }
}

/// What a publisher encoded; the records are decoded from it again.
impl Code for Frame {
    fn put(&self, out: &mut BytesMut) {
        self.publisher.put(out);
        self.channel.put(out);
        self.stream.put(out);
        self.tick.put(out);
        self.sequence.put(out);
        self.core.put(out);
        self.sections.iter().for_each(|section| section.put(out));
    }

    fn take(from: &mut Reader<'_>, clock: &IslandClock) -> Result<Self, Malformed> {
        let publisher = Code::take(from, clock)?;
        let channel = Code::take(from, clock)?;
        let stream = Code::take(from, clock)?;
        let tick = Code::take(from, clock)?;
        let sequence = Code::take(from, clock)?;
        let core = Code::take(from, clock)?;
        let mut sections: [Bytes; 8] = Default::default();
        for section in &mut sections {
            *section = Code::take(from, clock)?;
        }
        let bytes = PeerFrame { alias: 0, sequence, core, sections };
        Self::decode((publisher, channel, stream), tick, clock, bytes)
    }
}

impl Code for Snapshot {
    fn put(&self, out: &mut BytesMut) {
        self.publisher.put(out);
        self.channel.put(out);
        self.stream.put(out);
        self.tick.put(out);
        self.sequence.put(out);
        out.put_u8(self.stamp.to_byte());
        self.answers.put(out);
        self.bytes.put(out);
    }

    fn take(from: &mut Reader<'_>, clock: &IslandClock) -> Result<Self, Malformed> {
        let publisher = Code::take(from, clock)?;
        let channel = Code::take(from, clock)?;
        let objects = StreamKind::take(from, clock)? == StreamKind::Objects;
        let tick = Code::take(from, clock)?;
        let sequence = Code::take(from, clock)?;
        let stamp = TickStamp::from_byte(from.u8()?);
        let answers = Code::take(from, clock)?;
        let records = Code::take(from, clock)?;
        let alias = 0;
        Self::decode(
            PeerSnapshot {
                alias,
                objects,
                channel,
                publisher,
                tick,
                sequence,
                answers,
                stamp,
                records,
            },
            clock,
        )
    }
}

/// Members with their roles: that is all a directory is made of.
impl Code for Directory {
    fn put(&self, out: &mut BytesMut) {
        let members: Vec<NodeId> = self.members().collect();
        members.put(out);
        let roles: Vec<(Role, Vec<NodeId>)> =
            self.roles().map(|role| (role, self.with_role(role).to_vec())).collect();
        roles.put(out);
    }

    fn take(from: &mut Reader<'_>, clock: &IslandClock) -> Result<Self, Malformed> {
        let members: Vec<NodeId> = Code::take(from, clock)?;
        let by_role: Vec<(Role, Vec<NodeId>)> = Code::take(from, clock)?;
        let member = |node: NodeId| Member {
            node,
            incarnation: Incarnation(0),
            address: String::new(),
            roles: by_role
                .iter()
                .filter(|(_, nodes)| nodes.contains(&node))
                .map(|(role, _)| *role)
                .collect::<BTreeSet<Role>>(),
        };
        let members: Vec<Member> = members.into_iter().map(member).collect();
        Ok(Self::new(&members))
    }
}
