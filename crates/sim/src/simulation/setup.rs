//! The setup of a day: how large the cluster is, and what is to go wrong.

use crate::faults::Faults;
use crate::schedule::{PlannedFault, schedule};
use pelago_client::ClientSabotage;
use pelago_node::Sabotage;

/// The setup of a day.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Decides everything.
    pub seed: u64,
    /// For how long, in simulated seconds.
    pub seconds: u32,
    /// Nodes.
    pub nodes: u16,
    /// Lanes of the nodes.
    pub lanes: Lanes,
    /// Players.
    pub players: usize,
    /// The faults that are planned.
    pub faults: Faults,
    /// On land with something on every cell.
    pub overgrown: bool,
    /// Planted bugs.
    pub sabotage: Sabotage,
    /// Planted bugs of the clients.
    pub client_sabotage: ClientSabotage,
    /// Nodes are told what their hosts' clocks say, as another planted bug.
    pub raw_clocks: bool,
    /// Every message takes as long as every other.
    pub steady: bool,
    /// All machines are recorded: [`Simulation::recorders`](crate::Simulation::recorders).
    pub recorded: bool,
}

/// How many lanes nodes have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lanes {
    /// As many as every other.
    Each(u8),
    /// One, two or four.
    Mixed,
}

impl Setup {
    /// Everything that is planned to go wrong.
    pub fn schedule(&self) -> Vec<PlannedFault> {
        schedule(self.seed, self.seconds, &self.faults)
    }

    /// Three nodes, eight players and a very bad day.
    pub fn usual(seed: u64, seconds: u32) -> Self {
        Self {
            seed,
            seconds,
            nodes: 3,
            lanes: match seed % 4 {
                0 => Lanes::Each(1),
                1 => Lanes::Each(2),
                _ => Lanes::Mixed,
            },
            players: 8,
            faults: Faults::USUAL,
            overgrown: seed % 5 == 4,
            sabotage: Sabotage::default(),
            client_sabotage: ClientSabotage::default(),
            raw_clocks: false,
            steady: false,
            recorded: false,
        }
    }
}
