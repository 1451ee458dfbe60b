//! Any machine of a node, wired: inputs in, outputs for others out.

use super::NodeConfig;
use crate::arrivals::{Arrivals, ArrivalsEffect};
use crate::composer::{Composer, MachineInput, Output};
use crate::lane::{Lane, LaneEffect};
use crate::machine_id::MachineId;
use crate::recorder::{Recorder, SharedRecorder};
use crate::service::{ServiceEffect, ServiceHost};
use pelago_cluster::{Directory, Links, LinksEffect};
use pelago_model::{LimitCounts, Machine, Size, WorldTime};
use std::sync::{MutexGuard, PoisonError};

/// A machine of a node with its wiring.
pub struct NodeMachine {
    composer: Composer,
    kind: Kind,
    /// Keeps its inputs, if it is recorded.
    recorder: Option<SharedRecorder>,
    /// Whether the recorder wants to see what comes of them.
    hashes_outputs: bool,
}

enum Kind {
    Links(Box<Links>, Vec<LinksEffect>),
    Arrivals(Box<Arrivals>, Vec<ArrivalsEffect>),
    Lane(u8, Box<Lane>, Vec<LaneEffect>),
    Service(u8, Box<ServiceHost>, Vec<ServiceEffect>),
}

impl NodeMachine {
    /// A machine of a node that has just started.
    pub fn new(config: &NodeConfig, machine: MachineId) -> Self {
        let kind = match machine {
            MachineId::Links => Kind::Links(Box::new(config.links()), Vec::new()),
            MachineId::Arrivals => Kind::Arrivals(Box::new(config.arrivals()), Vec::new()),
            MachineId::Lane(lane) => Kind::Lane(lane, Box::new(config.lane(lane)), Vec::new()),
            MachineId::Service(host) => {
                Kind::Service(host, Box::new(config.host(host)), Vec::new())
            }
        };
        Self { composer: config.composer(), kind, recorder: None, hashes_outputs: false }
    }

    /// The same for a replay: what a recording has left out is taken for what it is.
    pub(crate) fn for_replay(config: &NodeConfig, machine: MachineId) -> Self {
        let mut made = Self::new(config, machine);
        if let Kind::Arrivals(arrivals, _) = &mut made.kind {
            **arrivals = Arrivals::for_replay(config.arrivals_config());
        }
        made
    }

    /// From now on its inputs are recorded, each before it is handled.
    pub fn record(&mut self, recorder: SharedRecorder) {
        self.hashes_outputs = locked(&recorder).outputs().is_some();
        self.recorder = Some(recorder);
    }

    /// Which one it is.
    pub fn id(&self) -> MachineId {
        match &self.kind {
            Kind::Links(..) => MachineId::Links,
            Kind::Arrivals(..) => MachineId::Arrivals,
            Kind::Lane(lane, ..) => MachineId::Lane(*lane),
            Kind::Service(host, ..) => MachineId::Service(*host),
        }
    }

    /// Takes one input, and appends what follows to `out`. An input of another machine is ignored.
    pub fn handle(
        &mut self,
        now: WorldTime,
        directory: &Directory,
        input: MachineInput,
        out: &mut Vec<Output>,
    ) {
        // The lock is not held while the machine works: its shell reads the recorder when the machine has panicked.
        if let Some(recorder) = &self.recorder {
            locked(recorder).record(now, directory, &input);
        }
        let before = out.len();
        self.obey(now, directory, input, out);
        if let Some(recorder) = self.recorder.as_ref().filter(|_| self.hashes_outputs) {
            locked(recorder).note_outputs(out.get(before..).unwrap_or_default());
        }
    }

    fn obey(
        &mut self,
        now: WorldTime,
        directory: &Directory,
        input: MachineInput,
        out: &mut Vec<Output>,
    ) {
        let composer = self.composer;
        match (&mut self.kind, input) {
            (Kind::Links(links, effects), MachineInput::Links(input)) => {
                links.handle(now, input, effects);
                effects.drain(..).for_each(|effect| composer.of_links(effect, out));
            }
            (Kind::Arrivals(arrivals, effects), MachineInput::Arrivals(input)) => {
                arrivals.handle(now, input, effects);
                effects.drain(..).for_each(|effect| composer.of_arrivals(directory, effect, out));
            }
            (Kind::Lane(number, lane, effects), MachineInput::Lane(_, input)) => {
                lane.handle(now, input, effects);
                let number = *number;
                effects
                    .drain(..)
                    .for_each(|effect| composer.of_lane(directory, number, effect, out));
            }
            (Kind::Service(number, host, effects), MachineInput::Service(_, input)) => {
                host.handle(now, input, effects);
                let number = *number;
                effects
                    .drain(..)
                    .for_each(|effect| composer.of_service(directory, number, effect, out));
            }
            _ => {}
        }
    }

    /// When it wants to be woken.
    pub fn next_wake(&self) -> Option<WorldTime> {
        match &self.kind {
            Kind::Links(links, _) => links.next_wake(),
            Kind::Arrivals(arrivals, _) => arrivals.next_wake(),
            Kind::Lane(_, lane, _) => lane.next_wake(),
            Kind::Service(_, host, _) => host.next_wake(),
        }
    }

    /// How full everything is that can grow.
    pub fn sizes(&self) -> Vec<Size> {
        match &self.kind {
            Kind::Links(links, _) => links.sizes(),
            Kind::Arrivals(arrivals, _) => arrivals.sizes(),
            Kind::Lane(_, lane, _) => lane.sizes(),
            Kind::Service(_, host, _) => host.sizes(),
        }
    }

    /// How often limits were met.
    pub fn limits(&self) -> LimitCounts {
        match &self.kind {
            Kind::Links(links, _) => links.counters().limits,
            Kind::Arrivals(arrivals, _) => arrivals.limits(),
            Kind::Lane(_, lane, _) => lane.counters().limits,
            Kind::Service(_, host, _) => host.limits(),
        }
    }

    /// The links, if it is they.
    pub fn as_links(&self) -> Option<&Links> {
        match &self.kind {
            Kind::Links(links, _) => Some(links),
            _ => None,
        }
    }

    /// The arrivals, if it is they.
    pub fn as_arrivals(&self) -> Option<&Arrivals> {
        match &self.kind {
            Kind::Arrivals(arrivals, _) => Some(arrivals),
            _ => None,
        }
    }

    /// The lane, if it is one.
    pub fn as_lane(&self) -> Option<&Lane> {
        match &self.kind {
            Kind::Lane(_, lane, _) => Some(lane),
            _ => None,
        }
    }

    /// The host of services, if it is one.
    pub fn as_service(&self) -> Option<&ServiceHost> {
        match &self.kind {
            Kind::Service(_, host, _) => Some(host),
            _ => None,
        }
    }
}

/// A recorder is whole after every input.
fn locked(recorder: &SharedRecorder) -> MutexGuard<'_, Recorder> {
    recorder.lock().unwrap_or_else(PoisonError::into_inner)
}
