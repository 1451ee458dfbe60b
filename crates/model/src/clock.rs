//! The rule by which a process makes world time out of its host's clock.

use crate::time::WorldTime;

/// World time that never steps back, whatever the host's clock does.
///
/// Where the host's clock is ahead, it is followed at once. Where it has been set back, world time goes on at half
/// its speed until the host's clock has caught up: it neither stands still nor stays wrong for longer than twice the step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SteadyClock {
    /// What was told last, in half milliseconds.
    told: i64,
    /// The host's clock at the last reading.
    host: WorldTime,
}

impl SteadyClock {
    /// World time, when the host's clock says `host`.
    pub fn read(&mut self, host: WorldTime) -> WorldTime {
        let elapsed = host.since(self.host).max(0);
        self.host = host;
        self.told = self.told.saturating_add(elapsed).max(host.0.saturating_mul(2));
        WorldTime(self.told / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn told(hosts: &[i64]) -> Vec<i64> {
        let mut clock = SteadyClock::default();
        hosts.iter().map(|host| clock.read(WorldTime(*host)).0).collect()
    }

    #[test]
    fn a_clock_that_is_right_is_followed() {
        assert_eq!(told(&[0, 10, 10, 500, 9000]), [0, 10, 10, 500, 9000]);
    }

    #[test]
    fn after_a_step_back_time_goes_on_at_half_its_speed_until_it_is_right_again() {
        assert_eq!(
            told(&[1000, 900, 901, 902, 1000, 1100, 1200]),
            [1000, 1000, 1000, 1001, 1050, 1100, 1200]
        );
    }

    proptest! {
        #[test]
        fn time_never_steps_back_and_is_never_behind_the_host(
            steps in prop::collection::vec(-5000i64..5000, 1..50),
        ) {
            let (mut clock, mut host, mut last) = (SteadyClock::default(), 10_000i64, 0);
            for step in steps {
                host = (host + step).max(0);
                let now = clock.read(WorldTime(host)).0;
                prop_assert!(now >= last && now >= host);
                last = now;
            }
        }
    }
}
