//! An timer_wheel: what is to be looked at in which tick.

use pelago_model::Tick;

/// How many ticks ahead things can be put; what is due later is looked at then, and put again.
pub const HORIZON_TICKS: u64 = 64;

/// Items by the tick in which they are due. The taker checks whether an item still is due.
#[derive(Debug)]
pub struct TimerWheel<T> {
    /// Everything before this tick was taken.
    next: Tick,
    /// By tick modulo [`HORIZON_TICKS`].
    pages: Vec<Vec<T>>,
}

impl<T> Default for TimerWheel<T> {
    fn default() -> Self {
        Self { next: Tick(0), pages: (0..HORIZON_TICKS).map(|_| Vec::new()).collect() }
    }
}

impl<T> TimerWheel<T> {
    /// Puts something; returns the tick in which it will be taken: that one, unless it is past or too far ahead.
    pub fn put(&mut self, tick: Tick, item: T) -> Tick {
        let last = self.next.0 + HORIZON_TICKS - 1;
        let tick = Tick(tick.0.clamp(self.next.0, last));
        self.page(tick).push(item);
        tick
    }

    /// Moves everything that is due up to `now` to the end of `due`.
    pub fn take(&mut self, now: Tick, due: &mut Vec<T>) {
        let until = now.0 + 1;
        let pages = until.saturating_sub(self.next.0).min(HORIZON_TICKS);
        for tick in self.next.0..self.next.0 + pages {
            due.append(self.page(Tick(tick)));
        }
        self.next = Tick(until.max(self.next.0));
    }

    fn page(&mut self, tick: Tick) -> &mut Vec<T> {
        &mut self.pages[(tick.0 % HORIZON_TICKS) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn taken(timer_wheel: &mut TimerWheel<u32>, now: u64) -> Vec<u32> {
        let mut due = Vec::new();
        timer_wheel.take(Tick(now), &mut due);
        due
    }

    #[test]
    fn things_come_in_their_tick_and_once() {
        let mut timer_wheel = TimerWheel::default();
        assert_eq!(taken(&mut timer_wheel, 1000), [0; 0]);
        assert_eq!(timer_wheel.put(Tick(1003), 1), Tick(1003));
        assert_eq!(timer_wheel.put(Tick(3), 2), Tick(1001));
        assert_eq!(timer_wheel.put(Tick(5000), 3), Tick(1064));
        assert_eq!(taken(&mut timer_wheel, 1002), [2]);
        assert_eq!(taken(&mut timer_wheel, 1003), [1]);
        assert_eq!(taken(&mut timer_wheel, 1063), [0; 0]);
        assert_eq!(taken(&mut timer_wheel, 9000), [3]);
        assert_eq!(taken(&mut timer_wheel, 9001), [0; 0]);
    }

    proptest! {
        #[test]
        fn nothing_comes_late_and_nothing_is_lost(steps in prop::collection::vec((0u64..200, 0u64..200), 1..60)) {
            let mut timer_wheel = TimerWheel::default();
            let (mut now, mut waiting) = (0, Vec::new());
            for (number, (ahead, advance)) in (0u32..).zip(steps) {
                let tick = timer_wheel.put(Tick(now + ahead), number);
                prop_assert!(tick.0 <= (now + ahead).max(now + 1));
                waiting.push((tick.0, number));
                now += advance;
                let mut due = taken(&mut timer_wheel, now);
                due.sort_unstable();
                let mut expected: Vec<u32> =
                    waiting.iter().filter(|(tick, _)| *tick <= now).map(|(_, number)| *number).collect();
                expected.sort_unstable();
                waiting.retain(|(tick, _)| *tick > now);
                prop_assert_eq!(due, expected);
            }
        }
    }
}
