//! Records: what a body is made of.

mod decode;
mod encode;

pub use decode::{Records, decode_records};
pub use encode::{put_arrive, put_enter, put_leave, put_turn};

use arrayvec::ArrayVec;
use bytes::Bytes;
use pelago_model::limits::MAX_WAYPOINTS;
use pelago_model::trajectory::InvalidTrajectory;
use pelago_model::{
    Direction, EntityId, Epoch, IslandTime, Position, Revision, Trajectory, WorldNumber,
};
use std::sync::Arc;

/// The short name of an entity, given by its publisher.
pub type Slot = u16;
/// Differences between the points of a path.
pub type Deltas = ArrayVec<(i32, i32), MAX_WAYPOINTS>;

const ENTER: u8 = 0;
const LEAVE: u8 = 1;
const ARRIVE: u8 = 2;
const TURN: u8 = 4;
const STANCE: u8 = 5;
const SAY: u8 = 6;
const OBJECT: u8 = 7;
const GESTURE: u8 = 8;
const HEAD_COUNT: u8 = 9;
/// From here on records are length-prefixed and may be skipped.
const RESERVED: u8 = 12;
/// A turn with this many waypoints or more writes their number.
const COUNT_FOLLOWS: u8 = 3;
/// An enter's speed and number of waypoints are one number, `speed << 4 | count`: at a walker's speed, from 128 to
/// 1023, both take two bytes.
const COUNT_BITS: u32 = 4;
/// A turn's time is told from this long before its tick, in ms: most turns began within the tick before, and so
/// mostly take one byte.
const TURN_LEAD_MS: i64 = 50;

/// The base that times, positions and ids of a body are relative to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Base {
    /// The island time at which the body's tick begins.
    pub t0: IslandTime,
    /// The corner of the channel's chunk.
    pub corner: Position,
    /// The world of the channel's island: an entity of that world is named by its serial alone.
    pub world: WorldNumber,
}

/// An entity comes into a channel, or all that is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enter {
    /// Its short name.
    pub slot: Slot,
    /// Its identity.
    pub id: EntityId,
    /// The epoch of its ownership; 0 for what has none.
    pub epoch: Epoch,
    /// The game's kind.
    pub kind: u16,
    /// The game's stance.
    pub stance: u16,
    /// Its name, or nothing.
    pub name: Arc<str>,
    /// Where it is and goes.
    pub trajectory: Trajectory,
}

/// An entity leaves its trajectory for another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Its short name.
    pub slot: Slot,
    /// When.
    pub at: IslandTime,
    /// The new speed, if it is another.
    pub speed: Option<u16>,
    /// Where it then is, if that does not follow from the old trajectory.
    pub start: Option<Position>,
    /// Where it goes.
    pub deltas: Deltas,
}

/// What players changed about a natural object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectRecord {
    /// Its index in the tile's list.
    pub slot: u16,
    /// The revision of the chunk's document that says so.
    pub revision: Revision,
    /// The game's; empty: as the tile says.
    pub payload: Bytes,
}

/// One record of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// An entity comes.
    Enter(Enter),
    /// An entity goes.
    Leave {
        /// Its short name.
        slot: Slot,
    },
    /// An entity comes from a neighbour channel.
    Arrive {
        /// Its short name.
        slot: Slot,
        /// Where the neighbour lies.
        from: Direction,
    },
    /// An entity moves otherwise.
    Turn(Turn),
    /// An entity stands otherwise.
    Stance {
        /// Its short name.
        slot: Slot,
        /// The game's stance.
        stance: u16,
    },
    /// An entity speaks.
    Say {
        /// Its short name.
        slot: Slot,
        /// What it says.
        text: Arc<str>,
    },
    /// A natural object changes.
    Object(ObjectRecord),
    /// An entity makes a gesture.
    Gesture {
        /// Its short name.
        slot: Slot,
        /// The game's gesture.
        gesture: u16,
        /// Towards whom.
        target: Option<EntityId>,
    },
    /// How many stand there.
    HeadCount {
        /// That many.
        count: u32,
    },
}

impl Turn {
    /// The turn that leads to `new`, for readers who know the old speed. They then know the new one,
    /// also of what stands: [`Turn::apply`] gives back `new` to the last field.
    pub fn from_trajectory(
        slot: Slot,
        new: &Trajectory,
        old_speed: u16,
        explicit_start: bool,
    ) -> Self {
        Self {
            slot,
            at: new.start_time(),
            speed: (new.speed() != old_speed).then(|| new.speed()),
            start: explicit_start.then(|| new.start()),
            deltas: deltas(new),
        }
    }

    /// The trajectory that follows `old`.
    ///
    /// # Errors
    /// [`InvalidTrajectory`] if the new one is none.
    pub fn apply(&self, old: &Trajectory) -> Result<Trajectory, InvalidTrajectory> {
        let start = self.start.unwrap_or_else(|| old.position_at(self.at));
        let points = points(start, &self.deltas).ok_or(InvalidTrajectory::LegTooLong)?;
        Trajectory::new(self.at, start, self.speed.unwrap_or_else(|| old.speed()), &points)
    }
}

fn deltas(trajectory: &Trajectory) -> Deltas {
    let mut from = trajectory.start();
    let difference = |to: &Position| {
        let delta = (to.x.wrapping_sub(from.x), to.y.wrapping_sub(from.y));
        from = *to;
        delta
    };
    trajectory.waypoints().iter().map(difference).collect()
}

fn points(start: Position, deltas: &Deltas) -> Option<ArrayVec<Position, MAX_WAYPOINTS>> {
    let mut from = start;
    deltas
        .iter()
        .map(|(dx, dy)| {
            from = Position::new(from.x.checked_add(*dx)?, from.y.checked_add(*dy)?);
            Some(from)
        })
        .collect()
}
