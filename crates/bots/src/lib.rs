//! Bots: many clients that walk and gather, measure what they are shown, and keep a journal of what was acknowledged.
//! [`Journal`] compares that with the books of the world. [`abuse`] has guests that do what no honest client does.
#![allow(clippy::disallowed_methods, reason = "bots live in real time")]

pub mod abuse;
mod behavior;
mod bot;
mod fleet;
mod ledger;
mod meters;
mod observing;
mod report;
mod shared;
mod verify;
mod visibility_check;

pub use fleet::{Fleet, Interim};
pub use report::{Bytes, Commands, Report, Sight, Updates};
pub use verify::{AvatarBooks, Journal, StoredOutcome, Totals, Verdict, hex};

use pelago_client::Transport;
use pelago_client::core::PONG_TIMEOUT_MS;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::watch;

/// What bots do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behavior {
    /// Walk about.
    Wander,
    /// Walk to things and gather.
    Gather,
    /// Half of them this, half that.
    Mixed,
    /// Walk straight on, and turn only where there is no way.
    Cross,
    /// Walk about the campfire, and feed it with the wood that they have.
    Feed,
}

/// The plan of a fleet.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Nodes; bots take them in turn.
    pub addresses: Vec<String>,
    /// How many bots.
    pub count: usize,
    /// Their behavior.
    pub behavior: Behavior,
    /// For how long; `None` until told to stop.
    pub duration: Option<Duration>,
    /// The transport.
    pub transport: Transport,
    /// Of names and of choices: the same seed plays the same avatars.
    pub seed: u64,
    /// The file that acknowledged commands are written to.
    pub journal: Option<PathBuf>,
    /// The walking speed, in 1/64 m per second.
    pub speed: u16,
    /// The mean of the exponential times between turns of those who wander.
    pub turn_mean: Duration,
    /// How often those who gather or feed try to; `None`: as soon as they stand somewhere, or have been answered.
    pub gather_every: Option<Duration>,
    /// How far from the place of arrival (or the campfire) those who wander go, in 1/64 m; `None`: they appear anywhere, and go anywhere.
    pub radius: Option<u32>,
    /// How often a bot asks for the time.
    pub ping_every: Duration,
    /// After how long without a pong a bot gives its connection up.
    pub pong_timeout: Duration,
    /// Bots that arrive in a second.
    pub arrivals_per_second: u32,
    /// Addresses of this machine that bots connect from, in turn; empty: the system chooses.
    pub sources: Vec<IpAddr>,
    /// Whether bots look out for people near them whom they are not shown. It costs CPU.
    pub watch_missing: bool,
    /// The mean of the exponential times until a bot's session ends without a goodbye, or is taken over by the same bot.
    pub kick_mean: Option<Duration>,
    /// Whether what long ago was done is forgotten: then updates cannot be compared with what was expected.
    pub forgetful: bool,
}

impl Plan {
    /// People as they come: walking at 4 m/s, turning after 4 s on average.
    pub fn new(addresses: Vec<String>, count: usize, behavior: Behavior) -> Self {
        Self {
            addresses,
            count,
            behavior,
            duration: None,
            transport: Transport::Tcp,
            seed: 1,
            journal: None,
            speed: 256,
            turn_mean: Duration::from_secs(4),
            gather_every: None,
            radius: None,
            ping_every: Duration::from_secs(5),
            pong_timeout: Duration::from_millis(PONG_TIMEOUT_MS.unsigned_abs()),
            arrivals_per_second: 500,
            sources: Vec::new(),
            watch_missing: false,
            kick_mean: None,
            forgetful: false,
        }
    }
}

/// Runs bots until their time is over or `stop` becomes true.
///
/// # Errors
/// If the journal cannot be written.
pub async fn run(plan: Plan, mut stop: watch::Receiver<bool>) -> anyhow::Result<Report> {
    let duration = plan.duration;
    let fleet = Fleet::start(plan)?;
    fleet.begin_measuring();
    let time_is_over = async {
        match duration {
            Some(duration) => tokio::time::sleep(duration).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = time_is_over => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
    fleet.end().await
}
