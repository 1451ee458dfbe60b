//! What can be done to a world.

use std::fmt;
use std::time::Duration;

/// Something that happens to a world. What has a time is healed after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The process is killed, and started again.
    Kill,
    /// The process is asked to end, and started again.
    Terminate,
    /// The process does not run.
    Stop(Duration),
    /// The disk takes nothing any more and forgets what was not synced; then it and the process are started again.
    PowerCut,
    /// Writes to the disk do not return.
    Freeze(Duration),
    /// There is no room on the disk.
    Fill(Duration),
    /// The host's clock steps by so many seconds, and steps back.
    StepClock(i64, Duration),
    /// The database does not run, with all of its connections open.
    SilenceDatabase(Duration),
    /// The database is killed, and started again.
    KillDatabase,
    /// All connections of players end.
    Cut,
    /// Nothing passes between players and nodes.
    Stall(Duration),
    /// Everything vanishes between players and nodes, ends of connections too.
    Vanish(Duration),
}

impl Fault {
    /// Whether a world may end by itself because of it. It is started again.
    pub(crate) fn may_end_the_world(self) -> bool {
        matches!(self, Self::PowerCut | Self::Fill(_))
    }

    /// Whether it happens to a disk of the world's own.
    pub(crate) fn needs_a_disk(self) -> bool {
        matches!(self, Self::PowerCut | Self::Freeze(_) | Self::Fill(_))
    }

    /// Its kind, without numbers.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Kill => "killed",
            Self::Terminate => "terminated",
            Self::Stop(_) => "stopped",
            Self::PowerCut => "power cut",
            Self::Freeze(_) => "disk frozen",
            Self::Fill(_) => "disk full",
            Self::StepClock(..) => "clock stepped",
            Self::SilenceDatabase(_) => "database silent",
            Self::KillDatabase => "database killed",
            Self::Cut => "players cut off",
            Self::Stall(_) => "network stalled",
            Self::Vanish(_) => "network half open",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())?;
        match self {
            Self::Stop(time)
            | Self::Freeze(time)
            | Self::Fill(time)
            | Self::SilenceDatabase(time)
            | Self::Stall(time)
            | Self::Vanish(time) => write!(f, " for {} ms", time.as_millis()),
            Self::StepClock(seconds, time) => {
                write!(f, " by {seconds:+} s for {} ms", time.as_millis())
            }
            _ => Ok(()),
        }
    }
}
