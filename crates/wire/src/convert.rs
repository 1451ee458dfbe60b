//! Between control messages and the words of the model.

use crate::{Malformed, client, peer};
use pelago_model::{
    Cell, ChannelId, ChunkId, IslandClock, IslandId, IslandTime, Position, Rate, Trajectory,
    WorldTime,
};

impl From<&Trajectory> for client::Path {
    fn from(trajectory: &Trajectory) -> Self {
        Self {
            start_ms: trajectory.start_time().0,
            x: trajectory.start().x,
            y: trajectory.start().y,
            speed: trajectory.speed().into(),
            waypoints: trajectory.waypoints().iter().flat_map(|point| [point.x, point.y]).collect(),
        }
    }
}

impl TryFrom<&client::Path> for Trajectory {
    type Error = Malformed;

    fn try_from(path: &client::Path) -> Result<Self, Malformed> {
        if !path.waypoints.len().is_multiple_of(2) {
            return Err(Malformed::Truncated);
        }
        let points: Vec<Position> = path
            .waypoints
            .chunks_exact(2)
            .take(pelago_model::limits::MAX_WAYPOINTS + 1)
            .map(|point| Position::new(point[0], point[1]))
            .collect();
        let speed = u16::try_from(path.speed).map_err(|_| Malformed::OutOfRange)?;
        let start = Position::new(path.x, path.y);
        Self::new(IslandTime(path.start_ms), start, speed, &points)
            .map_err(|_| Malformed::Trajectory)
    }
}

impl From<&IslandClock> for client::IslandClock {
    fn from(clock: &IslandClock) -> Self {
        Self {
            world_ms: clock.world.0,
            island_ms: clock.island.0,
            speed_permille: clock.speed_permille.into(),
        }
    }
}

impl TryFrom<&client::IslandClock> for IslandClock {
    type Error = Malformed;

    fn try_from(clock: &client::IslandClock) -> Result<Self, Malformed> {
        Ok(Self {
            world: WorldTime(clock.world_ms),
            island: IslandTime(clock.island_ms),
            speed_permille: u16::try_from(clock.speed_permille)
                .map_err(|_| Malformed::OutOfRange)?,
        })
    }
}

impl From<&ChannelId> for peer::Channel {
    fn from(channel: &ChannelId) -> Self {
        Self {
            island: channel.island.0,
            x: channel.chunk.x.into(),
            y: channel.chunk.y.into(),
            cell: channel.cell.0,
            rate: channel.rate as u32,
            objects: false,
        }
    }
}

impl TryFrom<&peer::Channel> for ChannelId {
    type Error = Malformed;

    fn try_from(channel: &peer::Channel) -> Result<Self, Malformed> {
        let coordinate = |value: i32| i16::try_from(value).map_err(|_| Malformed::OutOfRange);
        let rate = u8::try_from(channel.rate).ok().and_then(Rate::from_number);
        Ok(Self {
            island: IslandId(channel.island),
            chunk: ChunkId::new(coordinate(channel.x)?, coordinate(channel.y)?),
            cell: Cell(channel.cell),
            rate: rate.ok_or(Malformed::OutOfRange)?,
        })
    }
}
