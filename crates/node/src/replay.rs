//! Running a recorded machine again.

use crate::composer::{MachineInput, Output, ShellEffect};
use crate::machine_id::MachineId;
use crate::node::{NodeConfig, NodeMachine, Sabotage};
use crate::rate_limits::{AddressLimits, ClientLimits};
use crate::recorder::{Entry, FlightHeader, RecordedLimits, Recording, pair};
use crate::rule_run::RuleRun;
use crate::service::{ServiceInput, ServiceKind};
use crate::store_request::RequestId;
use pelago_cluster::Directory;
use pelago_game::{Game, Land};
use pelago_model::{Allowance, ByOrigin, Role, WorldNumber, WorldTime};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What this program has, and no recording can hold.
pub struct ReplayParts {
    /// The rules.
    pub game: Arc<dyn Game>,
    /// The services of the studio.
    pub more_services: Vec<ServiceKind>,
    /// The secret from which turns get their randomness. With another than the world's, dice fall otherwise than they
    /// fell.
    pub secret: [u8; 32],
}

/// Why a recording cannot be replayed by this program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// It is of another game.
    #[error("it is of the game {recorded:?}, and this program has {here:?}")]
    OtherGame {
        /// The game of the recording.
        recorded: String,
        /// The game of this program.
        here: String,
    },
    /// The program has other services.
    #[error("the node had other services than this program: {0:?}")]
    OtherServices(Vec<Role>),
    /// The header says what cannot be.
    #[error("its header holds no node: {0}")]
    NoNode(&'static str),
}

/// A machine that is run again.
pub struct Replay {
    machine: NodeMachine,
    directory: Directory,
    /// Rules that the machine has handed out and that have not ended.
    runs: BTreeMap<RequestId, RuleRun>,
    missing_runs: u64,
}

impl NodeConfig {
    /// What a replay of a machine has to know of the node.
    pub fn flight_header(&self, machine: MachineId) -> FlightHeader {
        let limits = &self.limits;
        FlightHeader {
            build: self.build.clone(),
            game: self.game.name().to_owned(),
            node: self.node,
            incarnation: self.incarnation,
            lanes: self.lanes,
            services: self.services,
            spread: self.spread,
            world: self.world.get(),
            home: self.home,
            islands: self.lands.values().map(|land| land.spec().clone()).collect(),
            clock: self.clock,
            batch_turns: self.batch_turns,
            max_clients: self.max_clients,
            limits: RecordedLimits {
                hello_ms: limits.hello_ms,
                idle_ms: limits.idle_ms,
                blocked_ms: limits.blocked_ms,
                account_logins: pair(limits.account_logins),
                of_address: RecordedLimits::recorded_of_address(&limits.of_address),
                durable: pair(limits.durable),
                live: pair(limits.live),
                speech: pair(limits.speech),
                moves: pair(limits.moves),
                pings: pair(limits.pings),
            },
            roles: self.service_kinds().iter().map(|kind| kind.role).collect(),
            machine: machine.number(),
            whole: true,
            inputs: 0,
        }
    }
}

/// The node that a header describes. Its land is made anew, which takes a while.
///
/// # Errors
/// [`ReplayError`].
pub fn config_of(header: &FlightHeader, parts: ReplayParts) -> Result<NodeConfig, ReplayError> {
    let ReplayParts { game, more_services, secret } = parts;
    if game.name() != header.game {
        let here = game.name().to_owned();
        return Err(ReplayError::OtherGame { recorded: header.game.clone(), here });
    }
    let world = WorldNumber::new(header.world).ok_or(ReplayError::NoNode("the world's number"))?;
    if !header.islands.iter().any(|island| island.id == header.home) {
        return Err(ReplayError::NoNode("no land is the home"));
    }
    if header.islands.iter().any(|island| island.size > MAX_SIZE) {
        return Err(ReplayError::NoNode("an island is too large"));
    }
    let lands = header.islands.iter().map(|spec| {
        let land = Land::new(&*game, spec.clone());
        (spec.id, Arc::new(land))
    });
    let config = NodeConfig {
        node: header.node,
        incarnation: header.incarnation,
        lanes: header.lanes,
        services: header.services,
        spread: header.spread,
        world,
        home: header.home,
        lands: Arc::new(lands.collect()),
        game,
        clock: header.clock,
        secret,
        batch_turns: header.batch_turns,
        max_clients: header.max_clients,
        limits: limits_of(&header.limits),
        more_services,
        build: header.build.clone(),
        sabotage: Sabotage::default(),
    };
    let here: Vec<Role> = config.service_kinds().iter().map(|kind| kind.role).collect();
    if here != header.roles {
        return Err(ReplayError::OtherServices(header.roles.clone()));
    }
    Ok(config)
}

/// Chunks along the side of the largest island that is made for a replay.
const MAX_SIZE: u16 = 1024;

fn limits_of(recorded: &RecordedLimits) -> ClientLimits {
    let allowance = |(per_second, burst)| Allowance::new(per_second, burst);
    let of_address = |[logins, names, wrong_tokens]: [(u32, u32); 3]| AddressLimits {
        logins: allowance(logins),
        names: allowance(names),
        wrong_tokens: allowance(wrong_tokens),
    };
    let [loopback, others] = recorded.of_address.map(of_address);
    ClientLimits {
        account_logins: allowance(recorded.account_logins),
        of_address: ByOrigin { loopback, others },
        hello_ms: recorded.hello_ms,
        idle_ms: recorded.idle_ms,
        blocked_ms: recorded.blocked_ms,
        durable: allowance(recorded.durable),
        live: allowance(recorded.live),
        speech: allowance(recorded.speech),
        moves: allowance(recorded.moves),
        pings: allowance(recorded.pings),
    }
}

impl Replay {
    /// The machine of a recording as it was when its node started.
    pub fn new(config: &NodeConfig, recording: &Recording) -> Self {
        Self {
            machine: NodeMachine::for_replay(config, recording.machine()),
            directory: recording.before().cloned().unwrap_or_default(),
            runs: BTreeMap::new(),
            missing_runs: 0,
        }
    }

    /// Tells the machine what it was told, and appends what follows to `out`.
    pub fn step(&mut self, now: WorldTime, entry: Entry, out: &mut Vec<Output>) {
        let input = match entry {
            Entry::Directory(directory) => {
                self.directory = directory;
                return;
            }
            Entry::Input(input) => input,
        };
        if let MachineInput::Service(_, ServiceInput::Abandoned { request, .. }) = &input {
            self.runs.remove(request);
        }
        let Some(input) = self.with_end_of_rules(input) else { return };
        let before = out.len();
        self.machine.handle(now, &self.directory, input, out);
        for output in out.iter_mut().skip(before) {
            if let Output::Shell(ShellEffect::Run { request, run, .. }) = output {
                let run = std::mem::replace(run, RuleRun::new(|| ()));
                self.runs.insert(*request, run);
            }
        }
    }

    /// What rules decided was not recorded: they are run again. Without them there is no such input.
    fn with_end_of_rules(&mut self, input: MachineInput) -> Option<MachineInput> {
        let MachineInput::Service(service, ServiceInput::Ran { request, .. }) = input else {
            return Some(input);
        };
        match self.runs.remove(&request) {
            Some(run) => {
                let end = run.run();
                Some(MachineInput::Service(service, ServiceInput::Ran { request, end }))
            }
            None => {
                self.missing_runs += 1;
                None
            }
        }
    }

    /// Ends of rules that were left out, because the recording begins after the rules did.
    pub fn missing_runs(&self) -> u64 {
        self.missing_runs
    }

    /// The machine.
    pub fn machine(&self) -> &NodeMachine {
        &self.machine
    }
}
