//! How inputs of machines are written down.

use super::coding::{Code, coded_enum, coded_struct};
use super::redaction;
use crate::arrivals::ArrivalsInput;
use crate::client_event::ClientEvent;
use crate::composer::MachineInput;
use crate::lane::LaneInput;
use crate::rule_run::RuleEnd;
use crate::service::{ServiceCall, ServiceInput};
use bytes::{BufMut, BytesMut};
use pelago_cluster::LinksInput;
use pelago_model::IslandClock;
use pelago_wire::Malformed;
use pelago_wire::varint::Reader;

coded_enum!(MachineInput {
    0 => Links(input),
    1 => Arrivals(input),
    2 => Lane(lane, input),
    3 => Service(service, input),
});

coded_enum!(LinksInput {
    0 => Book(members),
    1 => Opened { link, toward },
    2 => DialFailed { node },
    3 => Closed { link },
    4 => Received { link, kind, payload },
    5 => Blocked { link },
    6 => Writable { link },
    7 => Interest { lane, subject, wanted },
    8 => Resync { subject, publisher },
    9 => Present(islands),
    10 => Publish(frames),
    11 => Snapshot { to, snapshot },
    12 => Call { number, target, role, key, body, deadline_ms, repeatable, trace },
    13 => Reply { call, reply },
    14 => Wake,
    15 => Missed(channels),
});

coded_enum!(ArrivalsInput {
    0 => Client { client, event },
    1 => Left { client },
    2 => Stored { request, answer },
    3 => Wake,
    4 => Answered { number, result },
});

coded_enum!(LaneInput {
    0 => Join(session),
    1 => Client { client, event },
    2 => Subscribe { reader, channel, version },
    3 => Unsubscribe { reader, channel },
    4 => Frames(frames),
    5 => Snapshot(snapshot),
    6 => Introduce { to, channel },
    7 => AwaitIntroduction { channel },
    8 => Introduced { channel, complete },
    9 => Missed { channels },
    10 => PeerLost { node },
    11 => Call { caller, call },
    12 => Answered { number, result },
    13 => Stored { request, answer },
    14 => Shutdown,
    15 => Wake,
});

coded_struct!(ServiceCall { caller, key, body, trace });

coded_enum!(ServiceInput {
    0 => Call { role, call },
    1 => Subscribe { role, reader, channel, version },
    2 => Unsubscribe { role, reader, channel },
    3 => Stored { request, answer },
    4 => Answered { number, result },
    5 => Ran { request, end },
    6 => Wake,
    7 => Abandoned { request, step },
});

/// What rules decided is known to their service alone. A replay runs them again.
impl Code for RuleEnd {
    fn put(&self, _: &mut BytesMut) {}

    fn take(_: &mut Reader<'_>, _: &IslandClock) -> Result<Self, Malformed> {
        Ok(Self::forgotten())
    }
}

impl Code for ClientEvent {
    fn put(&self, out: &mut BytesMut) {
        match self {
            Self::Connected { origin } => {
                out.put_u8(0);
                origin.put(out);
            }
            Self::Received { kind, payload } => {
                out.put_u8(1);
                kind.put(out);
                redaction::put_payload(out, *kind, payload);
            }
            Self::Violated(violation) => {
                out.put_u8(2);
                violation.put(out);
            }
            Self::Blocked => out.put_u8(3),
            Self::Writable => out.put_u8(4),
            Self::Disconnected => out.put_u8(5),
        }
    }

    fn take(from: &mut Reader<'_>, clock: &IslandClock) -> Result<Self, Malformed> {
        Ok(match from.u8()? {
            0 => Self::Connected { origin: Code::take(from, clock)? },
            1 => {
                Self::Received { kind: Code::take(from, clock)?, payload: Code::take(from, clock)? }
            }
            2 => Self::Violated(Code::take(from, clock)?),
            3 => Self::Blocked,
            4 => Self::Writable,
            5 => Self::Disconnected,
            _ => return Err(Malformed::UnknownRecord),
        })
    }
}
