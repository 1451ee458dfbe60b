//! Grants of an operator, on their way through this node.

use super::Shared;
use super::operator_calls::NoEnd;
use pelago_game::Refusal;
use pelago_model::{EntityId, GrantKey, IslandTime, Role};
use pelago_node::{DurableResult, Grant, StewardCall};

impl Shared {
    /// Grants something to an avatar. A refusal as `unknown` means that it may have happened: the same grant is to be asked for
    /// again, here or at another node.
    pub(crate) async fn grant(
        &self,
        (key, avatar): (GrantKey, EntityId),
        what: String,
        reason: String,
        received: IslandTime,
    ) -> DurableResult {
        let number = self.next_connection();
        let grant = Grant { key, avatar, what, reason, received, trace: number };
        let refused = |refusal| DurableResult::Refused(refusal);
        if !grant.fits() {
            return refused(Refusal::malformed());
        }
        let call = StewardCall::Grant(grant);
        let to = (Role::steward(), call.key());
        match self.operator_call(number, to, call.encode()).await.map(DurableResult::of_call) {
            Ok(DurableResult::Refused(refusal)) if refusal.code == "unavailable" => {
                refused(unknown())
            }
            Ok(result) => result,
            Err(NoEnd::Busy) => {
                refused(Refusal::new("busy", "Too much is granted at once: ask again later."))
            }
            Err(NoEnd::Late) => refused(unknown()),
        }
    }
}

fn unknown() -> Refusal {
    Refusal::new(
        "unknown",
        "It may have been granted or not: ask again with the same key to find out.",
    )
}
