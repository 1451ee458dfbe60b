//! What has been used up of the budgets of those who arrive: of an address, and of an avatar. They outlive connections.

use crate::rate_limits::{ClientLimits, slow_down};
use pelago_game::Refusal;
use pelago_model::{Allowance, Budgets, EntityId, Limit, Origin, Size, WorldTime};

/// Addresses or avatars whose budget of one kind is remembered. Beyond it, those who used least of it are forgotten.
const MAX_REMEMBERED: usize = 65_536;

/// The budgets of a node's arrivals.
pub(super) struct LoginBudgets {
    logins: Budgets<Origin>,
    names: Budgets<Origin>,
    wrong_tokens: Budgets<Origin>,
    accounts: Budgets<EntityId>,
}

/// A budget that is used up: the limit, and what the client is told.
pub(super) type UsedUp = (Limit, Refusal);

impl LoginBudgets {
    pub(super) fn new() -> Self {
        Self {
            logins: Budgets::new(MAX_REMEMBERED),
            names: Budgets::new(MAX_REMEMBERED),
            wrong_tokens: Budgets::new(MAX_REMEMBERED),
            accounts: Budgets::new(MAX_REMEMBERED),
        }
    }

    /// Somebody asks to be let in. An address that has tried many wrong tokens waits, whatever it tries next: the store is
    /// not asked for it.
    pub(super) fn login(
        &mut self,
        now: WorldTime,
        limits: &ClientLimits,
        origin: Origin,
    ) -> Result<(), UsedUp> {
        let limits = limits.of_address.of(origin);
        if !self.wrong_tokens.has(now, origin, limits.wrong_tokens, Allowance::MINUTE_COST) {
            return Err((Limit::AddressTokens, slow_down()));
        }
        let may = self.logins.take(now, origin, limits.logins, 1);
        may.then_some(()).ok_or((Limit::AddressLogins, slow_down()))
    }

    /// Somebody has tried a token that is not that of the name.
    pub(super) fn wrong_token(&mut self, now: WorldTime, limits: &ClientLimits, origin: Origin) {
        let allowance = limits.of_address.of(origin).wrong_tokens;
        self.wrong_tokens.take(now, origin, allowance, Allowance::MINUTE_COST);
    }

    /// Somebody asks for a name that nobody bears: it would be kept for ever.
    pub(super) fn new_name(
        &mut self,
        now: WorldTime,
        limits: &ClientLimits,
        origin: Origin,
    ) -> Result<(), UsedUp> {
        let allowance = limits.of_address.of(origin).names;
        let may = self.names.take(now, origin, allowance, Allowance::MINUTE_COST);
        may.then_some(()).ok_or((
            Limit::AddressNames,
            Refusal::new(
                "new_names",
                "Too many new names come from your address. Try again in some minutes.",
            ),
        ))
    }

    /// An avatar is to be played by somebody who has its token.
    pub(super) fn account(
        &mut self,
        now: WorldTime,
        limits: &ClientLimits,
        avatar: EntityId,
    ) -> Result<(), UsedUp> {
        let may = self.accounts.take(now, avatar, limits.account_logins, 1);
        may.then_some(()).ok_or((Limit::AccountLogins, slow_down()))
    }

    pub(super) fn sizes(&self) -> Vec<Size> {
        let size = |of, held| Size::table(of, held, MAX_REMEMBERED, MAX_REMEMBERED);
        vec![
            size("addresses that log in", self.logins.len()),
            size("addresses that make names", self.names.len()),
            size("addresses with wrong tokens", self.wrong_tokens.len()),
            size("avatars that log in", self.accounts.len()),
        ]
    }
}
