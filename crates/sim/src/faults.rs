//! Faults: which kinds there are, how often they strike, how often they did.

use std::fmt;
use std::ops::AddAssign;

/// How often faults strike; plain data. Rates are per simulated second, shares in 1/1000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Faults {
    /// Links cut, in 1/1000 per second.
    pub link_loss: u32,
    /// Pairs of nodes that cannot hear each other for a while, in 1/1000 per second.
    pub partition: u32,
    /// Nodes that die, in 1/1000 per second.
    pub crash: u32,
    /// Players that come a second time, elsewhere, in 1/1000 per second.
    pub takeover: u32,
    /// Players or links that take no bytes for a while, in 1/1000 per second.
    pub block: u32,
    /// Messages that are late by up to a second, in 1/1000.
    pub late: u32,
    /// Commits that fail, in 1/1000.
    pub failed_commit: u32,
    /// Commits of which nobody knows how they ended, in 1/1000.
    pub unknown_commit: u32,
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
    };

    /// A very bad day.
    pub const USUAL: Self = Self {
        link_loss: 60,
        partition: 40,
        crash: 50,
        takeover: 100,
        block: 150,
        late: 10,
        failed_commit: 30,
        unknown_commit: 30,
    };
}

/// How often each kind of fault struck.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultCounts {
    /// Links cut.
    pub link_losses: u64,
    /// Partitions.
    pub partitions: u64,
    /// Nodes that died.
    pub crashes: u64,
    /// Nodes that came back.
    pub restarts: u64,
    /// Writes that a crash took with it before they were synced.
    pub lost_writes: u64,
    /// Players that came a second time.
    pub takeovers: u64,
    /// Players and links that took no bytes for a while.
    pub blocks: u64,
    /// Late messages.
    pub late: u64,
    /// Failed commits.
    pub failed_commits: u64,
    /// Commits without a known end.
    pub unknown_commits: u64,
}

impl FaultCounts {
    /// All kinds by name.
    pub fn by_name(&self) -> [(&'static str, u64); 10] {
        [
            ("link losses", self.link_losses),
            ("partitions", self.partitions),
            ("crashes", self.crashes),
            ("restarts", self.restarts),
            ("lost unsynced writes", self.lost_writes),
            ("takeovers", self.takeovers),
            ("blocks", self.blocks),
            ("late messages", self.late),
            ("failed commits", self.failed_commits),
            ("unknown commits", self.unknown_commits),
        ]
    }
}

impl AddAssign for FaultCounts {
    fn add_assign(&mut self, other: Self) {
        self.link_losses += other.link_losses;
        self.partitions += other.partitions;
        self.crashes += other.crashes;
        self.restarts += other.restarts;
        self.lost_writes += other.lost_writes;
        self.takeovers += other.takeovers;
        self.blocks += other.blocks;
        self.late += other.late;
        self.failed_commits += other.failed_commits;
        self.unknown_commits += other.unknown_commits;
    }
}

impl fmt::Display for FaultCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = self.by_name().map(|(name, count)| format!("{count} {name}"));
        f.write_str(&parts.join(", "))
    }
}
