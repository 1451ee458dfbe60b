//! Calls and their answers, within the node and over its links.

use super::{Composer, MachineInput, Output, ShellEffect, to_lane, to_links};
use crate::arrivals::ArrivalsInput;
use crate::call::{CallError, CallResult, CallTarget, Caller, OutgoingCall, Rejection, Reply};
use crate::lane::LaneInput;
use crate::lane_call::LaneCall;
use crate::machine_id::MachineId;
use crate::service::{ServiceCall, ServiceInput};
use bytes::Bytes;
use pelago_cluster::{Directory, IncomingCall, LinksInput};
use pelago_model::limits::MAX_CALL_BYTES;
use pelago_model::{Key, Role};

/// Bits of the number of a call that are its machine's own; above them stands whose it is.
const NUMBER_BITS: u32 = 48;
/// Stands for an operator where the number of a machine would. No machine has it.
const OPERATOR: u16 = 0xfffe;
/// Stands for nobody where the number of a machine would. No machine has it.
const NOBODY: u16 = 0xffff;
/// The key of a call to all lanes of a node.
const ALL_LANES: &str = "lane/all";
/// How long it is tried to tell other nodes of a new session, in ms.
const TELL_MS: u32 = 5000;

impl Composer {
    /// A call of an operator at this node. Its end comes as [`ShellEffect::OperatorAnswered`].
    pub fn operator_call(
        &self,
        directory: &Directory,
        number: u64,
        call: OutgoingCall,
        out: &mut Vec<Output>,
    ) {
        self.call(directory, Caller::Operator { number }, call, out);
    }

    /// A message that found a full mailbox: its caller is told that the machine is busy.
    pub fn refuse_as_busy(&self, input: &MachineInput, out: &mut Vec<Output>) {
        if let Some(caller) = input.caller() {
            self.reply(caller, Err(Rejection("busy".into())), out);
        }
    }

    pub(super) fn call(
        &self,
        directory: &Directory,
        caller: Caller,
        call: OutgoingCall,
        out: &mut Vec<Output>,
    ) {
        let OutgoingCall { target, body, deadline_ms, repeatable, trace } = call;
        if body.len() > MAX_CALL_BYTES {
            return self.reply(caller, Err(Rejection("too_large".into())), out);
        }
        // The usual way of a small cluster, without the detour over links.
        let (target, role, key) = match target {
            CallTarget::Preferred { role, key }
                if directory.first(role, &key) == Some(self.node) =>
            {
                return out.push(self.ask_service(role, ServiceCall { caller, key, body, trace }));
            }
            CallTarget::Preferred { role, key } => {
                let text = key.to_string();
                (pelago_cluster::CallTarget::Preferred(key), role, text)
            }
            CallTarget::Node { node, role, key } if node == self.node => {
                return out.push(self.ask_service(role, ServiceCall { caller, key, body, trace }));
            }
            CallTarget::Node { node, role, key } => {
                (pelago_cluster::CallTarget::Node(node), role, key.to_string())
            }
            CallTarget::Lane { node, lane } if node == self.node => {
                return self.call_lane(caller, lane, &body, out);
            }
            CallTarget::Lane { node, lane } => {
                (pelago_cluster::CallTarget::Node(node), Role::lane(), format!("lane/{lane}"))
            }
            CallTarget::Lanes { node } if node == self.node => {
                return self.call_lanes(caller, &body, out);
            }
            CallTarget::Lanes { node } => {
                (pelago_cluster::CallTarget::Node(node), Role::lane(), ALL_LANES.to_owned())
            }
        };
        let Some(number) = numbered(caller) else { return };
        out.push(to_links(LinksInput::Call {
            number,
            target,
            role,
            key,
            body,
            deadline_ms,
            repeatable,
            trace,
        }));
    }

    fn ask_service(&self, role: Role, call: ServiceCall) -> Output {
        let host = self.host_of(&call.key);
        Output::Machine(MachineInput::Service(host, ServiceInput::Call { role, call }))
    }

    fn call_lane(&self, caller: Caller, lane: u8, body: &Bytes, out: &mut Vec<Output>) {
        match LaneCall::decode(body).filter(|_| lane < self.lanes) {
            Some(call) => out.push(to_lane(lane, LaneInput::Call { caller, call })),
            None => self.reply(caller, Err(Rejection("lane".into())), out),
        }
    }

    /// Tells all lanes. For the caller the call ends with that.
    fn call_lanes(&self, caller: Caller, body: &Bytes, out: &mut Vec<Output>) {
        let Some(call) = LaneCall::decode(body) else {
            return self.reply(caller, Err(Rejection("lane".into())), out);
        };
        self.tell_lanes(out, || LaneInput::Call { caller: Caller::Nobody, call: call.clone() });
        self.reply(caller, Ok(Bytes::new()), out);
    }

    /// Tells all lanes of all nodes, without waiting for anybody.
    pub(super) fn tell_everybody(
        &self,
        directory: &Directory,
        call: &LaneCall,
        out: &mut Vec<Output>,
    ) {
        self.tell_lanes(out, || LaneInput::Call { caller: Caller::Nobody, call: call.clone() });
        let body = call.clone().encode();
        for node in directory.members().filter(|node| *node != self.node) {
            let call = OutgoingCall {
                target: CallTarget::Lanes { node },
                body: body.clone(),
                deadline_ms: TELL_MS,
                repeatable: true,
                trace: 0,
            };
            self.call(directory, Caller::Nobody, call, out);
        }
    }

    /// A call of another node.
    pub(super) fn incoming(
        &self,
        call: IncomingCall,
        role: Role,
        key: &str,
        body: Bytes,
        trace: u64,
        out: &mut Vec<Output>,
    ) {
        let caller = Caller::Peer(call);
        if role == Role::lane() {
            return match key.strip_prefix("lane/").map(str::parse::<u8>) {
                Some(Ok(lane)) => self.call_lane(caller, lane, &body, out),
                _ if key == ALL_LANES => self.call_lanes(caller, &body, out),
                _ => self.reply(caller, Err(Rejection("lane".into())), out),
            };
        }
        match Key::parse(key) {
            Ok(key) => out.push(self.ask_service(role, ServiceCall { caller, key, body, trace })),
            Err(_) => self.reply(caller, Err(Rejection("key".into())), out),
        }
    }

    pub(super) fn reply(&self, caller: Caller, reply: Reply, out: &mut Vec<Output>) {
        match caller {
            Caller::Machine { machine, number } => {
                answered(machine, number, reply.map_err(rejected), out);
            }
            Caller::Peer(call) => out.push(to_links(LinksInput::Reply { call, reply })),
            Caller::Operator { number } => {
                let result = reply.map_err(rejected);
                out.push(Output::Shell(ShellEffect::OperatorAnswered { number, result }));
            }
            Caller::Nobody => {}
        }
    }
}

/// The end of a call that went over the links.
pub(super) fn ended(number: u64, result: CallResult, out: &mut Vec<Output>) {
    let (whose, number) = ((number >> NUMBER_BITS) as u16, number & ((1 << NUMBER_BITS) - 1));
    match MachineId::of_number(whose) {
        Some(machine) => answered(machine, number, result, out),
        None if whose == OPERATOR => {
            out.push(Output::Shell(ShellEffect::OperatorAnswered { number, result }));
        }
        None => {}
    }
}

fn answered(machine: MachineId, number: u64, result: CallResult, out: &mut Vec<Output>) {
    match machine {
        MachineId::Lane(lane) => out.push(to_lane(lane, LaneInput::Answered { number, result })),
        MachineId::Service(service) => {
            let input = ServiceInput::Answered { number, result };
            out.push(Output::Machine(MachineInput::Service(service, input)));
        }
        MachineId::Arrivals => {
            let input = ArrivalsInput::Answered { number, result };
            out.push(Output::Machine(MachineInput::Arrivals(input)));
        }
        // They call nobody.
        MachineId::Links => {}
    }
}

/// The number by which the links know a call of this node; `None` of a call that came from a link.
fn numbered(caller: Caller) -> Option<u64> {
    let (whose, number) = match caller {
        Caller::Machine { machine, number } => (machine.number(), number),
        Caller::Operator { number } => (OPERATOR, number),
        Caller::Nobody => (NOBODY, 0),
        Caller::Peer(_) => return None,
    };
    Some(u64::from(whose) << NUMBER_BITS | number & ((1 << NUMBER_BITS) - 1))
}

fn rejected(Rejection(code): Rejection) -> CallError {
    CallError::Rejected(code)
}
