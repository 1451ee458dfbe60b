//! The composer: what one machine of a node asks for is what another is told, or what the shell does.
//!
//! It is the only place that knows all machines. It decides nothing: it reads the preferred node of a key from the
//! directory, and turns the language of one machine into that of another.

mod calls;
mod input;
mod shell_effect;

pub use input::MachineInput;
pub use shell_effect::ShellEffect;

use crate::arrivals::{ArrivalsEffect, ArrivalsInput};
use crate::call::Caller;
use crate::lane::{LaneEffect, LaneInput};
use crate::lane_call::LaneCall;
use crate::log::{Level, LogLine};
use crate::machine_id::MachineId;
use crate::service::{ServiceEffect, ServiceInput};
use bytes::Bytes;
use pelago_cluster::rendezvous;
use pelago_cluster::{Directory, LinksEffect, LinksInput};
use pelago_model::{ChannelId, Key, NodeId, Reader, Role};
use pelago_wire::frame::StreamKind;

/// The consequence of an effect.
#[derive(Debug)]
pub enum Output {
    /// An input for another machine of the node.
    Machine(MachineInput),
    /// Something for the shell to do.
    Shell(ShellEffect),
}

/// How a node is wired.
#[derive(Clone, Copy, Debug)]
pub struct Composer {
    /// The node.
    pub node: NodeId,
    /// Its lanes, at least one.
    pub lanes: u8,
    /// Its hosts of services, at least one.
    pub services: u8,
}

impl Composer {
    /// The host of a key.
    pub fn host_of(&self, key: &Key) -> u8 {
        // Hosts are weighed as nodes are.
        let hosts = (0..u16::from(self.services.max(1))).map(NodeId);
        rendezvous::first(key, hosts).map_or(0, |host| host.0 as u8)
    }

    /// Routes what a lane asks for.
    pub fn of_lane(
        &self,
        directory: &Directory,
        lane: u8,
        effect: LaneEffect,
        out: &mut Vec<Output>,
    ) {
        let machine = MachineId::Lane(lane);
        match effect {
            LaneEffect::Send { client, bytes } => {
                out.push(Output::Shell(ShellEffect::SendClient { client, bytes }));
            }
            LaneEffect::Close { client } => {
                out.push(Output::Shell(ShellEffect::CloseClient { client }));
                out.push(to_arrivals(ArrivalsInput::Left { client }));
            }
            LaneEffect::Interest { channel, wanted } => self.interest(lane, channel, wanted, out),
            LaneEffect::Resync { channel, publisher } => {
                match publisher.filter(|publisher| publisher.node() == self.node) {
                    None => {
                        let subject = (channel, StreamKind::Entities);
                        out.push(to_links(LinksInput::Resync { subject, publisher }));
                    }
                    Some(sibling) => {
                        let reader = Reader::Lane(lane);
                        let subscribe = LaneInput::Subscribe { reader, channel, version: 0 };
                        out.extend(sibling.as_lane().map(|lane| to_lane(lane, subscribe)));
                    }
                }
            }
            LaneEffect::Frames { to, frames } => out.push(to_lane(to, LaneInput::Frames(frames))),
            LaneEffect::Publish(frames) => out.push(to_links(LinksInput::Publish(frames))),
            LaneEffect::Snapshot { to: Reader::Lane(to), snapshot } => {
                out.push(to_lane(to, LaneInput::Snapshot(snapshot)));
            }
            LaneEffect::Snapshot { to: Reader::Node(to), snapshot } => {
                out.push(to_links(LinksInput::Snapshot { to, snapshot }));
            }
            LaneEffect::Introduced { to, channel, complete } => {
                out.push(to_lane(to, LaneInput::Introduced { channel, complete }));
            }
            LaneEffect::Call { number, call } => {
                self.call(directory, Caller::Machine { machine, number }, call, out);
            }
            LaneEffect::Reply { caller, reply } => self.reply(caller, reply, out),
            LaneEffect::PassOn { caller, call } => match lane.checked_add(1) {
                Some(next) if next < self.lanes => {
                    out.push(to_lane(next, LaneInput::Call { caller, call }));
                }
                _ => self.reply(caller, Ok(Bytes::new()), out),
            },
            LaneEffect::Load { request, keys } => {
                out.push(Output::Shell(ShellEffect::Load { machine, request, keys }));
            }
            LaneEffect::Commit { request, transaction } => {
                out.push(Output::Shell(ShellEffect::Commit { machine, request, transaction }));
            }
            LaneEffect::Log(line) => out.push(Output::Shell(ShellEffect::Log(line))),
        }
    }

    /// A lane reads a channel from its siblings at once, and from other nodes and the steward by the links.
    fn interest(&self, lane: u8, channel: ChannelId, wanted: bool, out: &mut Vec<Output>) {
        let reader = Reader::Lane(lane);
        for sibling in (0..self.lanes).filter(|sibling| *sibling != lane) {
            let input = match wanted {
                true => LaneInput::Subscribe { reader, channel, version: 0 },
                false => LaneInput::Unsubscribe { reader, channel },
            };
            out.push(to_lane(sibling, input));
        }
        for kind in [StreamKind::Entities, StreamKind::Objects] {
            let subject = (channel, kind);
            out.push(to_links(LinksInput::Interest { lane, subject, wanted }));
        }
    }

    /// Routes what the links ask for.
    pub fn of_links(&self, effect: LinksEffect, out: &mut Vec<Output>) {
        match effect {
            LinksEffect::Dial { node, address } => {
                out.push(Output::Shell(ShellEffect::Dial { node, address }));
            }
            LinksEffect::Hangup { link, reason } => {
                out.push(Output::Shell(ShellEffect::Hangup { link, reason }));
            }
            LinksEffect::Send { link, bytes } => {
                out.push(Output::Shell(ShellEffect::SendLink { link, bytes }));
            }
            LinksEffect::Subscribe { reader, subject: (channel, kind), version } => match kind {
                StreamKind::Entities => {
                    self.tell_lanes(out, || LaneInput::Subscribe { reader, channel, version })
                }
                StreamKind::Objects => out.push(self.tell_steward(channel, |role| {
                    ServiceInput::Subscribe { role, reader, channel, version }
                })),
            },
            LinksEffect::Unsubscribe { reader, subject: (channel, kind) } => match kind {
                StreamKind::Entities => {
                    self.tell_lanes(out, || LaneInput::Unsubscribe { reader, channel });
                }
                StreamKind::Objects => out.push(self.tell_steward(channel, |role| {
                    ServiceInput::Unsubscribe { role, reader, channel }
                })),
            },
            LinksEffect::Introduce { from, to, channel } => {
                // First the one that has to hold what comes: whatever the links hand it from now on is newer.
                out.push(to_lane(to, LaneInput::AwaitIntroduction { channel }));
                out.push(to_lane(from, LaneInput::Introduce { to, channel }));
            }
            LinksEffect::Frames { lane, frames } => {
                out.push(to_lane(lane, LaneInput::Frames(frames)));
            }
            LinksEffect::Snapshot { lane, snapshot } => {
                out.push(to_lane(lane, LaneInput::Snapshot(snapshot)));
            }
            LinksEffect::PeerLost { node } => {
                out.push(log(Level::Warn, format!("node {node} is out of reach")));
                self.tell_lanes(out, || LaneInput::PeerLost { node });
            }
            LinksEffect::PeerUp { node } => {
                out.push(log(Level::Info, format!("node {node} is within reach")));
            }
            LinksEffect::Incoming { call, role, key, body, trace } => {
                self.incoming(call, role, &key, body, trace, out);
            }
            LinksEffect::Ended { number, result } => calls::ended(number, result, out),
        }
    }

    fn tell_lanes(&self, out: &mut Vec<Output>, input: impl Fn() -> LaneInput) {
        out.extend((0..self.lanes).map(|lane| to_lane(lane, input())));
    }

    /// For the instance of the steward that has a chunk.
    fn tell_steward(&self, channel: ChannelId, input: impl FnOnce(Role) -> ServiceInput) -> Output {
        let host = self.host_of(&Key::chunk(channel.island, channel.chunk));
        Output::Machine(MachineInput::Service(host, input(Role::steward())))
    }

    /// Routes what the arrivals ask for.
    pub fn of_arrivals(
        &self,
        directory: &Directory,
        effect: ArrivalsEffect,
        out: &mut Vec<Output>,
    ) {
        let machine = MachineId::Arrivals;
        match effect {
            ArrivalsEffect::Send { client, bytes } => {
                out.push(Output::Shell(ShellEffect::SendClient { client, bytes }));
            }
            ArrivalsEffect::Close { client } => {
                out.push(Output::Shell(ShellEffect::CloseClient { client }));
            }
            ArrivalsEffect::Place { lane, session } => {
                let client = session.client;
                out.push(Output::Shell(ShellEffect::Placed { client, lane }));
                out.push(to_lane(lane, LaneInput::Join(session)));
            }
            ArrivalsEffect::Forward { lane, client, event } => {
                out.push(to_lane(lane, LaneInput::Client { client, event }));
            }
            ArrivalsEffect::Call { number, call } => {
                self.call(directory, Caller::Machine { machine, number }, call, out);
            }
            ArrivalsEffect::Superseded { avatar, epoch } => {
                self.tell_everybody(directory, &LaneCall::Superseded { avatar, epoch }, out);
            }
            ArrivalsEffect::Load { request, keys } => {
                out.push(Output::Shell(ShellEffect::Load { machine, request, keys }));
            }
            ArrivalsEffect::Commit { request, transaction } => {
                out.push(Output::Shell(ShellEffect::Commit { machine, request, transaction }));
            }
            ArrivalsEffect::Log(line) => out.push(Output::Shell(ShellEffect::Log(line))),
        }
    }

    /// Routes what a host of services asks for.
    pub fn of_service(
        &self,
        directory: &Directory,
        service: u8,
        effect: ServiceEffect,
        out: &mut Vec<Output>,
    ) {
        let machine = MachineId::Service(service);
        match effect {
            ServiceEffect::Reply { caller, reply } => self.reply(caller, reply, out),
            ServiceEffect::Call { number, call } => {
                let caller = match number {
                    0 => Caller::Nobody,
                    number => Caller::Machine { machine, number },
                };
                self.call(directory, caller, call, out);
            }
            ServiceEffect::TellEverybody(call) => self.tell_everybody(directory, &call, out),
            ServiceEffect::Frames { to, frames } => {
                out.push(to_lane(to, LaneInput::Frames(frames)));
            }
            ServiceEffect::Publish(frames) => out.push(to_links(LinksInput::Publish(frames))),
            ServiceEffect::Snapshot { to: Reader::Lane(to), snapshot } => {
                out.push(to_lane(to, LaneInput::Snapshot(snapshot)));
            }
            ServiceEffect::Snapshot { to: Reader::Node(to), snapshot } => {
                out.push(to_links(LinksInput::Snapshot { to, snapshot }));
            }
            ServiceEffect::Load { request, keys } => {
                out.push(Output::Shell(ShellEffect::Load { machine, request, keys }));
            }
            ServiceEffect::Commit { request, transaction } => {
                out.push(Output::Shell(ShellEffect::Commit { machine, request, transaction }));
            }
            ServiceEffect::Run { request, run } => {
                out.push(Output::Shell(ShellEffect::Run { machine, request, run }));
            }
            ServiceEffect::Abandon { request } => {
                out.push(Output::Shell(ShellEffect::Abandon { machine, request }));
            }
            ServiceEffect::RulesLost { what } => {
                out.push(Output::Shell(ShellEffect::RulesLost { what }));
            }
            ServiceEffect::Refused { request, answer } => {
                let input = ServiceInput::Stored { request, answer };
                out.push(Output::Machine(MachineInput::Service(service, input)));
            }
            ServiceEffect::Log(line) => out.push(Output::Shell(ShellEffect::Log(line))),
        }
    }
}

fn to_lane(lane: u8, input: LaneInput) -> Output {
    Output::Machine(MachineInput::Lane(lane, input))
}

fn to_links(input: LinksInput) -> Output {
    Output::Machine(MachineInput::Links(input))
}

fn to_arrivals(input: ArrivalsInput) -> Output {
    Output::Machine(MachineInput::Arrivals(input))
}

fn log(level: Level, text: String) -> Output {
    Output::Shell(ShellEffect::Log(LogLine::new(level, text)))
}
