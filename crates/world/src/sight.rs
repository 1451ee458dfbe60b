//! Sight: which chunks an avatar's client holds.

use pelago_model::{ChunkId, WorldTime};

/// Chunks in every direction that are in sight: 3 x 3.
pub const SIGHT_RADIUS: i16 = 1;
/// How long a chunk is held after it went out of sight, in ms, so that a chunk does not flicker for an avatar that
/// walks along a border.
pub const LINGER_MS: i64 = 2000;

/// The chunks that one client holds.
#[derive(Debug, Default)]
pub struct Sight {
    centre: Option<ChunkId>,
    /// In the order of their ids.
    held: Vec<Held>,
    /// The earliest instant at which a chunk is to be let go.
    next_release: Option<WorldTime>,
}

/// A chunk that is held. Every player has a dozen, so they are packed.
#[repr(Rust, packed(4))]
#[derive(Clone, Copy, Debug)]
struct Held {
    chunk: ChunkId,
    /// Since when it is out of sight; [`IN_SIGHT`] while it is not.
    out_since: WorldTime,
}

/// Later than all times.
const IN_SIGHT: WorldTime = WorldTime(i64::MAX);

/// What changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SightChange {
    /// Chunks to be held from now on.
    pub entered: Vec<ChunkId>,
    /// Chunks to be let go.
    pub left: Vec<ChunkId>,
}

impl Sight {
    /// The avatar is in `centre` at `now`.
    pub fn look(&mut self, centre: ChunkId, now: WorldTime) -> SightChange {
        let mut change = SightChange::default();
        if self.centre != Some(centre) {
            self.centre = Some(centre);
            for held in &mut self.held {
                let out = held.chunk.distance(centre) > SIGHT_RADIUS as u16;
                held.out_since = if out { now.min(held.out_since) } else { IN_SIGHT };
            }
            let is_held =
                |chunk: &ChunkId| self.held.binary_search_by_key(chunk, |held| held.chunk).is_ok();
            change.entered.extend(centre.around(SIGHT_RADIUS).filter(|chunk| !is_held(chunk)));
            let entered = change.entered.iter();
            self.held.reserve_exact(entered.len());
            self.held.extend(entered.map(|chunk| Held { chunk: *chunk, out_since: IN_SIGHT }));
            self.held.sort_unstable_by_key(|held| held.chunk);
            self.schedule();
        }
        if self.next_release.is_some_and(|release| release <= now) {
            let is_due = |held: &Held| held.release().is_some_and(|release| release <= now);
            change.left.extend(self.held.iter().filter(|held| is_due(held)).map(|held| held.chunk));
            self.held.retain(|held| !is_due(held));
            self.schedule();
        }
        change
    }

    /// When a chunk is to be let go next, if the avatar does not come back.
    pub fn next_release(&self) -> Option<WorldTime> {
        self.next_release
    }

    /// The chunks that are held.
    pub fn held(&self) -> impl Iterator<Item = ChunkId> + '_ {
        self.held.iter().map(|held| held.chunk)
    }

    fn schedule(&mut self) {
        self.next_release = self.held.iter().filter_map(Held::release).min();
    }
}

impl Held {
    /// When it is to be let go, if it is out of sight.
    fn release(&self) -> Option<WorldTime> {
        let out_since = self.out_since;
        (out_since != IN_SIGHT).then(|| out_since.plus(LINGER_MS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sight_is_three_by_three_and_lingers() {
        let mut sight = Sight::default();
        let first = sight.look(ChunkId::new(0, 0), WorldTime(0));
        assert_eq!((first.entered.len(), first.left.len()), (9, 0));
        let second = sight.look(ChunkId::new(1, 0), WorldTime(100));
        assert_eq!((second.entered.len(), second.left.len()), (3, 0));
        assert_eq!(sight.look(ChunkId::new(1, 0), WorldTime(2099)), SightChange::default());
        let third = sight.look(ChunkId::new(1, 0), WorldTime(2100));
        assert_eq!(third.left, [-1, 0, 1].map(|y| ChunkId::new(-1, y)));
        assert_eq!(sight.held().count(), 9);
    }

    #[test]
    fn who_walks_along_a_border_lets_nothing_go() {
        let mut sight = Sight::default();
        sight.look(ChunkId::new(0, 0), WorldTime(0));
        for step in 1..100 {
            let change = sight.look(ChunkId::new((step % 2) as i16, 0), WorldTime(step * 1000));
            assert!(change.left.is_empty());
            assert_eq!(change.entered.len(), if step == 1 { 3 } else { 0 });
        }
    }

    #[test]
    fn a_jump_leaves_everything_behind() {
        let mut sight = Sight::default();
        sight.look(ChunkId::new(0, 0), WorldTime(0));
        assert_eq!(sight.look(ChunkId::new(50, 50), WorldTime(1)).entered.len(), 9);
        assert_eq!(sight.look(ChunkId::new(50, 50), WorldTime(3000)).left.len(), 9);
    }
}
