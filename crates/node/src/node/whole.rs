//! All machines of a node with their mailboxes. The caller chooses whose mailbox is served next.

use super::{NodeConfig, NodeMachine};
use crate::call::OutgoingCall;
use crate::client_event::ClientEvent;
use crate::composer::{Composer, MachineInput, Output, ShellEffect};
use crate::lane::{Lane, LaneInput};
use crate::machine_id::MachineId;
use crate::mailbox::{Full, Mailbox, MailboxLimits};
use crate::recorder::SharedRecorder;
use pelago_cluster::{Directory, Links, LinksInput, Member};
use pelago_model::WorldTime;
use pelago_world::ClientId;
use std::collections::BTreeMap;

/// A machine and what waits for it.
struct Seat {
    machine: NodeMachine,
    mailbox: Mailbox<MachineInput>,
    /// When its clock is told next; `None` if it was told and has not answered yet.
    waking: bool,
}

/// A node: its machines, their mailboxes, and the lane of each client.
pub struct Node {
    composer: Composer,
    directory: Directory,
    seats: BTreeMap<MachineId, Seat>,
    /// The lanes of clients that have one.
    placed: BTreeMap<ClientId, u8>,
    forgetful: Option<usize>,
    outputs: Vec<Output>,
}

impl Node {
    /// A node that has just started.
    pub fn new(config: &NodeConfig) -> Self {
        let seat = |id| Seat {
            machine: NodeMachine::new(config, id),
            mailbox: Mailbox::new(id),
            waking: false,
        };
        Self {
            composer: config.composer(),
            directory: Directory::default(),
            seats: config.machines().map(|id| (id, seat(id))).collect(),
            placed: BTreeMap::new(),
            forgetful: config.sabotage.forgetful_mailboxes,
            outputs: Vec::new(),
        }
    }

    /// Tells it the members of the cluster.
    pub fn set_members(&mut self, now: WorldTime, members: Vec<Member>) {
        self.directory = Directory::new(&members);
        self.put(now, MachineInput::Links(LinksInput::Book(members)), &mut Vec::new());
    }

    /// Puts something into the mailbox of a machine. What a full one refuses is answered; `Err` gives back what has to
    /// wait in its socket.
    ///
    /// # Errors
    /// An input for which there is no room yet.
    pub fn tell(
        &mut self,
        now: WorldTime,
        input: MachineInput,
        effects: &mut Vec<ShellEffect>,
    ) -> Result<(), Box<MachineInput>> {
        self.try_put(now, input, effects)
    }

    /// Something happened on a client's connection. It comes back if it has to wait in its socket.
    ///
    /// # Errors
    /// The event, for later.
    pub fn client(
        &mut self,
        now: WorldTime,
        client: ClientId,
        event: ClientEvent,
        effects: &mut Vec<ShellEffect>,
    ) -> Result<(), ClientEvent> {
        let gone = event == ClientEvent::Disconnected;
        let lane = self.placed.get(&client).copied();
        let told = self.try_put(now, MachineInput::of_client(lane, client, event), effects);
        if gone && self.placed.remove(&client).is_some() {
            let left = crate::arrivals::ArrivalsInput::Left { client };
            self.put(now, MachineInput::Arrivals(left), effects);
        }
        told.map_err(|input| match *input {
            MachineInput::Arrivals(crate::arrivals::ArrivalsInput::Client { event, .. })
            | MachineInput::Lane(_, LaneInput::Client { event, .. }) => event,
            _ => ClientEvent::Disconnected,
        })
    }

    /// A call of an operator at this node.
    pub fn operator_call(
        &mut self,
        now: WorldTime,
        number: u64,
        call: OutgoingCall,
        effects: &mut Vec<ShellEffect>,
    ) {
        let mut outputs = std::mem::take(&mut self.outputs);
        self.composer.operator_call(&self.directory, number, call, &mut outputs);
        self.deliver(now, &mut outputs, effects);
        self.outputs = outputs;
    }

    fn try_put(
        &mut self,
        now: WorldTime,
        input: MachineInput,
        effects: &mut Vec<ShellEffect>,
    ) -> Result<(), Box<MachineInput>> {
        let Some(seat) = self.seats.get_mut(&input.machine()) else { return Ok(()) };
        if self.forgetful.is_some_and(|limit| seat.mailbox.len() >= limit) {
            seat.mailbox.lose_first();
        }
        match seat.mailbox.push(now, input) {
            Ok(()) => Ok(()),
            Err(Full::Wait(input)) => Err(Box::new(input)),
            Err(Full::Busy(input)) => {
                let mut outputs = Vec::new();
                self.composer.refuse_as_busy(&input, &mut outputs);
                self.deliver(now, &mut outputs, effects);
                Ok(())
            }
        }
    }

    /// Outputs of machines are never messages of a socket.
    fn put(&mut self, now: WorldTime, input: MachineInput, effects: &mut Vec<ShellEffect>) {
        let waits = self.try_put(now, input, effects);
        debug_assert!(waits.is_ok(), "only sockets wait");
    }

    fn deliver(
        &mut self,
        now: WorldTime,
        outputs: &mut Vec<Output>,
        effects: &mut Vec<ShellEffect>,
    ) {
        for output in outputs.drain(..) {
            match output {
                Output::Machine(input) => self.put(now, input, effects),
                Output::Shell(effect) => {
                    match &effect {
                        ShellEffect::Placed { client, lane } => {
                            self.placed.insert(*client, *lane);
                        }
                        ShellEffect::CloseClient { client } => {
                            self.placed.remove(client);
                        }
                        _ => {}
                    }
                    effects.push(effect);
                }
            }
        }
    }

    /// Tells the clock to those whose time has come.
    pub fn wake(&mut self, now: WorldTime) {
        for (id, seat) in &mut self.seats {
            if !seat.waking && seat.machine.next_wake().is_some_and(|at| at <= now) {
                seat.waking = seat.mailbox.push(now, MachineInput::wake(*id)).is_ok();
            }
        }
    }

    /// When any of its machines wants to be woken that has not been told the clock already.
    pub fn next_wake(&self) -> Option<WorldTime> {
        let waiting = self.seats.values().filter(|seat| !seat.waking);
        waiting.filter_map(|seat| seat.machine.next_wake()).min()
    }

    /// The machines for which something waits, in order.
    pub fn waiting(&self) -> impl Iterator<Item = MachineId> + '_ {
        self.seats.iter().filter(|(_, seat)| !seat.mailbox.is_empty()).map(|(id, _)| *id)
    }

    /// Lets a machine handle something before all that waits for it. Only for what it did itself: a write that blocked.
    pub fn handle_at_once(
        &mut self,
        now: WorldTime,
        input: MachineInput,
        effects: &mut Vec<ShellEffect>,
    ) {
        let Some(seat) = self.seats.get_mut(&input.machine()) else { return };
        let mut outputs = std::mem::take(&mut self.outputs);
        seat.machine.handle(now, &self.directory, input, &mut outputs);
        self.deliver(now, &mut outputs, effects);
        self.outputs = outputs;
    }

    /// The lane of a client, if it has one.
    pub fn lane_of(&self, client: ClientId) -> Option<u8> {
        self.placed.get(&client).copied()
    }

    /// Lets a machine handle what came first for it.
    pub fn serve(&mut self, now: WorldTime, id: MachineId, effects: &mut Vec<ShellEffect>) {
        let Some(seat) = self.seats.get_mut(&id) else { return };
        let Some(input) = seat.mailbox.pop(now) else { return };
        let is_clock = matches!(
            &input,
            MachineInput::Links(LinksInput::Wake)
                | MachineInput::Lane(_, LaneInput::Wake)
                | MachineInput::Service(_, crate::service::ServiceInput::Wake)
                | MachineInput::Arrivals(crate::arrivals::ArrivalsInput::Wake)
        );
        seat.waking &= !is_clock;
        let mut outputs = std::mem::take(&mut self.outputs);
        seat.machine.handle(now, &self.directory, input, &mut outputs);
        self.deliver(now, &mut outputs, effects);
        self.outputs = outputs;
    }

    /// Serves one mailbox after the other, in order, until nothing waits. For tests in which the order does not matter.
    pub fn settle(&mut self, now: WorldTime, effects: &mut Vec<ShellEffect>) {
        loop {
            let Some(id) = self.waiting().next() else { return };
            self.serve(now, id, effects);
        }
    }

    /// Records machines from now on.
    pub fn record(&mut self, recorders: BTreeMap<MachineId, SharedRecorder>) {
        for (id, recorder) in recorders {
            if let Some(seat) = self.seats.get_mut(&id) {
                seat.machine.record(recorder);
            }
        }
    }

    /// Gives all mailboxes more or less room.
    pub fn set_mailbox_limits(&mut self, limits: MailboxLimits) {
        self.seats.values_mut().for_each(|seat| seat.mailbox.set_limits(limits));
    }

    /// Connections of clients, as far as the arrivals know.
    pub fn connections(&self) -> usize {
        let arrivals = self.machine(MachineId::Arrivals).and_then(NodeMachine::as_arrivals);
        arrivals.map_or(0, |arrivals| arrivals.connections())
    }

    /// Its links.
    pub fn links(&self) -> &Links {
        let links = self.machine(MachineId::Links).and_then(NodeMachine::as_links);
        links.expect("every node has links")
    }

    /// Its lanes, in order.
    pub fn lanes(&self) -> impl Iterator<Item = &Lane> + '_ {
        self.seats.values().filter_map(|seat| seat.machine.as_lane())
    }

    /// A machine of it.
    pub fn machine(&self, id: MachineId) -> Option<&NodeMachine> {
        self.seats.get(&id).map(|seat| &seat.machine)
    }

    /// Its machines and their mailboxes.
    pub fn machines(&self) -> impl Iterator<Item = (&NodeMachine, &Mailbox<MachineInput>)> + '_ {
        self.seats.values().map(|seat| (&seat.machine, &seat.mailbox))
    }

    /// The directory, as this node knows it.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }
}
