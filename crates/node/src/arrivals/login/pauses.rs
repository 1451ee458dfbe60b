//! The time of logins: pauses between attempts, and the end of those that take too long.

use super::{Arrivals, Step, chance};
use crate::arrivals::Request;
use crate::arrivals::interface::ArrivalsEffect;
use crate::log::{Level, LogLine};
use crate::turn::unavailable;
use pelago_model::{Key, Limit, WorldTime};
use pelago_world::ClientId;

impl Arrivals {
    /// It met others, or nobody knows how it ended: it begins anew, after a pause.
    pub(super) fn attempt_later(
        &mut self,
        now: WorldTime,
        client: ClientId,
        effects: &mut Vec<ArrivalsEffect>,
    ) {
        let Some(login) = self.logins.get_mut(&client) else { return };
        match login.retry.failed(chance(now, client)) {
            Some(pause_ms) => self.pause_login(client, now.plus(pause_ms)),
            None => {
                self.limits.note(Limit::LoginAttempts);
                self.fail(client, "a login met too many conflicts", effects);
            }
        }
    }

    pub(super) fn pause_login(&mut self, client: ClientId, until: WorldTime) {
        let Some(login) = self.logins.get_mut(&client) else { return };
        login.step = Step::Pause(until);
        self.login_wakes.insert((until, client));
    }

    /// The arrivals did not run for so long: every login has that much longer.
    pub(in crate::arrivals) fn forgive_logins(&mut self, pause_ms: i64) {
        for (client, login) in &mut self.logins {
            // One that is abandoned is no longer woken.
            if self.login_wakes.remove(&(login.deadline, *client)) {
                login.deadline = login.deadline.plus(pause_ms);
                self.login_wakes.insert((login.deadline, *client));
            }
            if let Step::AwaitRelease { until, .. } = &mut login.step {
                self.release_deadlines.remove(&(*until, *client));
                *until = until.plus(pause_ms);
                self.release_deadlines.insert((*until, *client));
            }
        }
    }

    /// Goes on with the logins whose pauses are over, and refuses those whose time is.
    pub(in crate::arrivals) fn wake_logins(
        &mut self,
        now: WorldTime,
        effects: &mut Vec<ArrivalsEffect>,
    ) {
        while let Some((at, client)) = self.login_wakes.first().copied()
            && at <= now
        {
            self.login_wakes.remove(&(at, client));
            let Some(login) = self.logins.get(&client) else { continue };
            if login.deadline <= now {
                self.login_overdue(client, effects);
            } else if matches!(login.step, Step::Pause(until) if until <= now) {
                self.attempt(client, effects);
            }
        }
        if self.serials.goes_on(now) {
            self.load(Request::ReadSerials, vec![Key::serials()], effects);
        }
    }

    /// The time of a login is over. If a request of it is under way, the end of that ends the login, too.
    pub(super) fn login_overdue(&mut self, client: ClientId, effects: &mut Vec<ArrivalsEffect>) {
        let Some(login) = self.logins.get(&client) else { return };
        if matches!(login.step, Step::Abandoned) {
            return;
        }
        self.limits.note(Limit::LoginTime);
        let text = "login failed: the store took too long".to_owned();
        effects.push(ArrivalsEffect::Log(LogLine::traced(Level::Warn, client.0, text)));
        // Closing the client abandons its login.
        self.refuse(client, &unavailable(), effects);
    }

    /// Whether a login may commit; otherwise it pauses until the store is tried again.
    pub(super) fn may_commit(&mut self, now: WorldTime, client: ClientId) -> bool {
        let may = self.commits.begin(now, chance(now, client));
        may.map_err(|until| self.pause_login(client, until)).is_ok()
    }
}
