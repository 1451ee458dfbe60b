//! Faults: which kinds there are, how often they are planned, how often they struck.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::AddAssign;

/// How often each kind of fault is planned, in 1/1000 per simulated second; plain data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Faults {
    /// Links cut.
    pub link_loss: u32,
    /// Pairs of nodes that cannot hear each other for a while.
    pub partition: u32,
    /// Nodes that die, half of them in the middle of a write.
    pub crash: u32,
    /// Players that come a second time, elsewhere, while they play on.
    pub takeover: u32,
    /// Players or links that take no bytes for a while.
    pub block: u32,
    /// Messages between nodes that are late by up to a second.
    pub late: u32,
    /// Commits that fail.
    pub failed_commit: u32,
    /// Commits of which nobody knows how they ended.
    pub unknown_commit: u32,
    /// Documents that cannot be read.
    pub failed_load: u32,
    /// Times in which the store takes ten or a hundred times as long.
    pub slow_store: u32,
    /// Single commits that take ten or a hundred times as long.
    pub slow_commit: u32,
    /// Links that carry little and late for a while.
    pub slow_link: u32,
    /// Clocks of hosts that are set forward or back.
    pub clock_step: u32,
    /// Clocks of hosts that run too fast or too slow for a while.
    pub clock_drift: u32,
    /// Clocks of hosts that are quite wrong for a while.
    pub wrong_clock: u32,
    /// Players who are gone without a goodbye, noticed or not, and come back.
    pub vanish: u32,
    /// Many who come at once, and go again.
    pub storm: u32,
    /// Avatars that move to another node or lane: their players log in there, with or without a goodbye.
    pub migration: u32,
    /// Machines that are not woken for a while.
    pub stall: u32,
    /// Nodes that are stopped as a whole for a while.
    pub stop: u32,
    /// Nodes whose mailboxes have hardly any room for a while.
    pub squeeze: u32,
    /// Rules that do not return.
    pub hang: u32,
}

impl Faults {
    /// Nothing goes wrong.
    pub const NONE: Self = Self {
        link_loss: 0,
        partition: 0,
        crash: 0,
        takeover: 0,
        block: 0,
        late: 0,
        failed_commit: 0,
        unknown_commit: 0,
        failed_load: 0,
        slow_store: 0,
        slow_commit: 0,
        slow_link: 0,
        clock_step: 0,
        clock_drift: 0,
        wrong_clock: 0,
        vanish: 0,
        storm: 0,
        migration: 0,
        stall: 0,
        stop: 0,
        squeeze: 0,
        hang: 0,
    };

    /// A very bad day.
    pub const USUAL: Self = Self {
        link_loss: 60,
        partition: 40,
        crash: 70,
        takeover: 100,
        block: 150,
        late: 1000,
        failed_commit: 150,
        unknown_commit: 150,
        failed_load: 150,
        slow_store: 30,
        slow_commit: 100,
        slow_link: 80,
        clock_step: 80,
        clock_drift: 50,
        wrong_clock: 60,
        vanish: 150,
        storm: 25,
        migration: 100,
        stall: 200,
        stop: 20,
        squeeze: 60,
        hang: 40,
    };
}

/// A kind of fault, or of what follows from one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A link cut.
    LinkLoss,
    /// A partition.
    Partition,
    /// A node that died.
    Crash,
    /// A node that died in the middle of a write.
    CrashInWrite,
    /// A node that came back.
    Restart,
    /// A write that a crash took with it before it was synced.
    LostWrite,
    /// A player who came a second time.
    Takeover,
    /// A player who took no bytes for a while.
    BlockedPlayer,
    /// A link that took no bytes for a while.
    BlockedLink,
    /// A late message.
    Late,
    /// A failed commit.
    FailedCommit,
    /// A commit without a known end.
    UnknownCommit,
    /// Documents that could not be read.
    FailedLoad,
    /// A time in which the store was slow.
    SlowStore,
    /// A commit that was slow.
    SlowCommit,
    /// A link that was slow for a while.
    SlowLink,
    /// A slow link that was told to be blocked, because more was written than it carries.
    FullLink,
    /// A clock that was set.
    ClockStep,
    /// A clock that ran too fast or too slow.
    ClockDrift,
    /// A clock that was quite wrong for a while.
    WrongClock,
    /// A player who was gone without a goodbye.
    Vanish,
    /// Many who came at once.
    Storm,
    /// An avatar that moved to another lane.
    Migration,
    /// A machine that was not woken for a while.
    LostWakeUp,
    /// A node that was stopped as a whole.
    Stop,
    /// Mailboxes that had hardly any room for a while.
    FullMailbox,
    /// A rule that did not return.
    Hang,
    /// A node that ended because it had lost two threads to rules.
    LostThreads,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 28] = [
        Self::LinkLoss,
        Self::Partition,
        Self::Crash,
        Self::CrashInWrite,
        Self::Restart,
        Self::LostWrite,
        Self::Takeover,
        Self::BlockedPlayer,
        Self::BlockedLink,
        Self::Late,
        Self::FailedCommit,
        Self::UnknownCommit,
        Self::FailedLoad,
        Self::SlowStore,
        Self::SlowCommit,
        Self::SlowLink,
        Self::FullLink,
        Self::ClockStep,
        Self::ClockDrift,
        Self::WrongClock,
        Self::Vanish,
        Self::Storm,
        Self::Migration,
        Self::LostWakeUp,
        Self::Stop,
        Self::FullMailbox,
        Self::Hang,
        Self::LostThreads,
    ];

    /// What many of them are called.
    pub const fn name(self) -> &'static str {
        match self {
            Self::LinkLoss => "link losses",
            Self::Partition => "partitions",
            Self::Crash => "crashes",
            Self::CrashInWrite => "crashes in a write",
            Self::Restart => "restarts",
            Self::LostWrite => "lost unsynced writes",
            Self::Takeover => "takeovers",
            Self::BlockedPlayer => "blocked players",
            Self::BlockedLink => "blocked links",
            Self::Late => "late messages",
            Self::FailedCommit => "failed commits",
            Self::UnknownCommit => "unknown commits",
            Self::FailedLoad => "failed loads",
            Self::SlowStore => "slow stores",
            Self::SlowCommit => "slow commits",
            Self::SlowLink => "slow links",
            Self::FullLink => "full links",
            Self::ClockStep => "clock steps",
            Self::ClockDrift => "clock drifts",
            Self::WrongClock => "wrong clocks",
            Self::Vanish => "vanished players",
            Self::Storm => "storms",
            Self::Migration => "migrations",
            Self::LostWakeUp => "lost wake-ups",
            Self::Stop => "stopped nodes",
            Self::FullMailbox => "full mailboxes",
            Self::Hang => "rules that hang",
            Self::LostThreads => "nodes without threads",
        }
    }
}

/// How often each kind of fault struck.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultCounts(BTreeMap<Kind, u64>);

impl FaultCounts {
    /// One more.
    pub(crate) fn add(&mut self, kind: Kind) {
        *self.0.entry(kind).or_default() += 1;
    }

    /// How many there were of a kind.
    pub fn of(&self, kind: Kind) -> u64 {
        self.0.get(&kind).copied().unwrap_or(0)
    }
}

impl AddAssign<&Self> for FaultCounts {
    fn add_assign(&mut self, other: &Self) {
        for (kind, count) in &other.0 {
            *self.0.entry(*kind).or_default() += count;
        }
    }
}

impl fmt::Display for FaultCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = Kind::ALL.map(|kind| format!("{} {}", self.of(kind), kind.name()));
        f.write_str(&counts.join(", "))
    }
}
