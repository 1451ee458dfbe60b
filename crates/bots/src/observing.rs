//! Observation: how late and how wrong is what a bot is shown, and who is missing.

use crate::bot::{Bot, LOOK_EVERY, SAMPLE_EVERY};
use pelago_client::{Change, Session};
use pelago_model::EntityId;
use rand_chacha::rand_core::Rng;
use std::collections::HashSet;
use tokio::time::Instant;

impl Bot {
    /// Notes what it is shown of the moves of others.
    pub(crate) fn observe(&mut self, own: EntityId, changes: Vec<Change>) {
        let count = changes.len() as u64;
        let window = self.shared.window();
        let mut meters = self.shared.meters();
        if let Some(meters) = &mut meters {
            meters.decoded += count;
        }
        for change in changes {
            let (id, at, turned) = match change {
                Change::Turned(id, at) => (id, at, true),
                Change::Entered(id, at) => (id, at, false),
                _ => continue,
            };
            if id == own {
                continue;
            }
            if let Some((number, sent)) = self.shared.ledger.find(id, at)
                && window.holds(sent)
                && (self.shared.plan.forgetful || self.log.received.insert(number))
                && turned
                && let Some(meters) = &mut meters
            {
                let staleness = sent.elapsed().as_millis() as u64;
                meters.staleness_ms.saturating_record(staleness);
            }
        }
    }

    pub(crate) fn look_around(&mut self, session: &Session) {
        let now = Instant::now();
        if self.shared.plan.watch_missing && self.timers.look_at <= now {
            self.timers.look_at += LOOK_EVERY;
            self.look(session);
        }
        if self.timers.sample_at <= now {
            self.timers.sample_at += SAMPLE_EVERY;
            self.sample(session);
        }
    }

    /// Once a second: what came, who is in sight, and whether one of them is where it truly is.
    fn sample(&mut self, session: &Session) {
        let count = session.view().entities().len();
        let traffic = session.view().traffic();
        let before = std::mem::replace(&mut self.counted, traffic);
        let now = session.island_now();
        let chunk = session.path().position_at(now).chunk();
        let crossed = self.chunk.replace(chunk).is_some_and(|old| old != chunk);
        let Some(mut meters) = self.shared.meters() else { return };
        meters.frames += traffic.frames - before.frames;
        meters.frame_bytes += traffic.frame_bytes - before.frame_bytes;
        meters.snapshots += traffic.snapshots - before.snapshots;
        meters.snapshot_bytes += traffic.snapshot_bytes - before.snapshot_bytes;
        let second = SAMPLE_EVERY.as_millis() as u64;
        // The own avatar is in sight, too.
        meters.neighbour_ms += count.saturating_sub(1) as u64 * second;
        meters.player_ms += second;
        meters.crossings += u64::from(crossed);
        if count == 0 {
            return;
        }
        let pick = self.rng.next_u32() as usize % count;
        let Some(seen) = session.view().entities().nth(pick) else { return };
        if let Some(truth) = self.shared.ledger.truth(seen.id) {
            let (shown, is) = (seen.trajectory.position_at(now), truth.position_at(now));
            let error_cm = (shown.distance_squared(is) as f64).sqrt() * 100.0 / 64.0;
            meters.error_cm.saturating_record(error_cm as u64);
        }
    }

    /// Looks around for people near who are not shown.
    fn look(&mut self, session: &Session) {
        let now = session.island_now();
        let here = session.path().position_at(now);
        let others = self.shared.ledger.places(now);
        let seen: HashSet<EntityId> = session.view().entities().map(|seen| seen.id).collect();
        let look = self.visibility_check.look(
            Instant::now().into_std(),
            (session.avatar(), here),
            &others,
            &seen,
        );
        if let Some(mut meters) = self.shared.meters() {
            meters.looks += 1;
            meters.near += look.near;
            meters.missing += look.missing;
        }
    }
}
