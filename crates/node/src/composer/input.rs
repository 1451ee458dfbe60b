//! Inputs of any machine of a node, and what becomes of them in a full mailbox.

use crate::arrivals::ArrivalsInput;
use crate::call::Caller;
use crate::client_event::ClientEvent;
use crate::lane::LaneInput;
use crate::machine_id::MachineId;
use crate::mailbox::{Class, Mail};
use crate::rule_run::RuleEnd;
use crate::service::ServiceInput;
use crate::store_request::{RequestId, StoreAnswer};
use pelago_cluster::LinksInput;
use pelago_model::ChannelId;
use pelago_world::ClientId;

/// An input of a machine.
#[derive(Debug)]
pub enum MachineInput {
    /// For the links.
    Links(LinksInput),
    /// For the arrivals.
    Arrivals(ArrivalsInput),
    /// For a lane.
    Lane(u8, LaneInput),
    /// For a host of services.
    Service(u8, ServiceInput),
}

impl MachineInput {
    /// The machine that is to be told.
    pub fn machine(&self) -> MachineId {
        match self {
            Self::Links(_) => MachineId::Links,
            Self::Arrivals(_) => MachineId::Arrivals,
            Self::Lane(lane, _) => MachineId::Lane(*lane),
            Self::Service(service, _) => MachineId::Service(*service),
        }
    }

    /// The clock, for any machine.
    pub fn wake(machine: MachineId) -> Self {
        match machine {
            MachineId::Links => Self::Links(LinksInput::Wake),
            MachineId::Arrivals => Self::Arrivals(ArrivalsInput::Wake),
            MachineId::Lane(lane) => Self::Lane(lane, LaneInput::Wake),
            MachineId::Service(service) => Self::Service(service, ServiceInput::Wake),
        }
    }

    /// The store's answer to a machine. Links ask nothing of it.
    pub fn stored(machine: MachineId, request: RequestId, answer: StoreAnswer) -> Option<Self> {
        Some(match machine {
            MachineId::Links => return None,
            MachineId::Arrivals => Self::Arrivals(ArrivalsInput::Stored { request, answer }),
            MachineId::Lane(lane) => Self::Lane(lane, LaneInput::Stored { request, answer }),
            MachineId::Service(service) => {
                Self::Service(service, ServiceInput::Stored { request, answer })
            }
        })
    }

    /// The end of rules that a machine has handed out. Only services do.
    pub fn ran(machine: MachineId, request: RequestId, end: RuleEnd) -> Option<Self> {
        match machine {
            MachineId::Service(service) => {
                Some(Self::Service(service, ServiceInput::Ran { request, end }))
            }
            _ => None,
        }
    }

    /// Rules that a machine has handed out were abandoned in this step.
    pub fn abandoned(machine: MachineId, request: RequestId, step: u32) -> Option<Self> {
        match machine {
            MachineId::Service(service) => {
                Some(Self::Service(service, ServiceInput::Abandoned { request, step }))
            }
            _ => None,
        }
    }

    /// Something on a client's connection, for its lane if it has one.
    pub fn of_client(lane: Option<u8>, client: ClientId, event: ClientEvent) -> Self {
        match lane {
            Some(lane) => Self::Lane(lane, LaneInput::Client { client, event }),
            None => Self::Arrivals(ArrivalsInput::Client { client, event }),
        }
    }

    /// The caller that waits for its answer, if it is a call.
    pub(super) fn caller(&self) -> Option<Caller> {
        match self {
            Self::Lane(_, LaneInput::Call { caller, .. }) => Some(*caller),
            Self::Service(_, ServiceInput::Call { call, .. }) => Some(call.caller),
            _ => None,
        }
    }
}

impl Mail for MachineInput {
    fn class(&self) -> Class {
        match self {
            Self::Links(LinksInput::Received { .. })
            | Self::Arrivals(ArrivalsInput::Client {
                event: ClientEvent::Received { .. }, ..
            })
            | Self::Lane(_, LaneInput::Client { event: ClientEvent::Received { .. }, .. }) => {
                Class::Socket
            }
            Self::Links(LinksInput::Publish(_)) | Self::Lane(_, LaneInput::Frames(_)) => {
                Class::Frames
            }
            // A call that nobody waits for must not be lost either: a session that is not told of its successor stays.
            Self::Lane(_, LaneInput::Call { caller: Caller::Nobody, .. }) => Class::Reserved,
            Self::Lane(_, LaneInput::Call { .. }) | Self::Service(_, ServiceInput::Call { .. }) => {
                Class::Call
            }
            _ => Class::Reserved,
        }
    }

    fn channels(&self) -> Vec<ChannelId> {
        match self {
            Self::Links(LinksInput::Publish(frames)) | Self::Lane(_, LaneInput::Frames(frames)) => {
                frames.iter().map(|frame| frame.channel).collect()
            }
            _ => Vec::new(),
        }
    }

    fn missed(machine: MachineId, channels: Vec<ChannelId>) -> Option<Self> {
        match machine {
            MachineId::Lane(lane) => Some(Self::Lane(lane, LaneInput::Missed { channels })),
            MachineId::Links => Some(Self::Links(LinksInput::Missed(channels))),
            // Nobody sends them frames.
            MachineId::Arrivals | MachineId::Service(_) => None,
        }
    }
}
