//! How full everything is.

use super::Arrivals;
use super::login::MAX_LOGINS;
use pelago_model::{MAX_LANES, Size};

/// Requests for serials under way, which belong to nobody in particular.
const SERIAL_REQUESTS: usize = 1;

impl Arrivals {
    /// How full everything is that can grow.
    pub fn sizes(&self) -> Vec<Size> {
        let limit = self.config.max_clients;
        let mut sizes = vec![
            Size::table("clients of a node", self.clients.len(), limit, limit),
            Size::queue("clients that have not said hello", self.silent.len(), limit),
            Size::queue("logins", self.logins.len(), MAX_LOGINS),
            Size::queue("times of logins", self.login_wakes.len(), 2 * MAX_LOGINS),
            Size::queue("logins that wait for a serial", self.serials.waiting(), MAX_LOGINS),
            Size::queue("logins that wait for a release", self.release_deadlines.len(), MAX_LOGINS),
            Size::queue(
                "questions to lanes",
                self.calls.len(),
                MAX_LOGINS + usize::from(MAX_LANES),
            ),
            Size::queue("requests of logins", self.requests.len(), MAX_LOGINS + SERIAL_REQUESTS),
        ];
        sizes.extend(self.budgets.sizes());
        sizes
    }
}
