//! The campfire in the middle of every island: everybody who has wood may feed it.
//!
//! It has a document of its own, which all share who sit around it. Nobody simulates how it burns down: the next player
//! who feeds it finds what is left.

use crate::content::{BURN_S, FUEL, THROW_UNITS};
use crate::terrain;
use pelago_game::{DurableContext, Halt, Refusal, Total};
use pelago_model::{IslandId, IslandTime, Key};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// The kind of its document.
pub(crate) const KIND: &str = "campfire";
/// The schema version of its document.
pub const CAMPFIRE_SCHEMA: u16 = 1;

/// What lies in the fire, and what has lain there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Campfire {
    /// Logs, the one that burns included.
    wood: u64,
    /// Logs that have burnt down.
    burnt: u64,
    /// Since when the present log burns.
    since: IslandTime,
}

impl Campfire {
    /// Takes the logs away that have burnt down by `now`.
    fn burn(&mut self, now: IslandTime) {
        let passed = now.since(self.since).max(0) / (BURN_S * 1000);
        let burnt = self.wood.min(passed.unsigned_abs());
        self.wood -= burnt;
        self.burnt = self.burnt.saturating_add(burnt);
        self.since = self.since.plus(burnt as i64 * BURN_S * 1000);
    }

    /// One more log. A fire that has gone out is lit by it.
    fn feed(&mut self, now: IslandTime) {
        self.burn(now);
        if self.wood == 0 {
            self.since = self.since.max(now);
        }
        self.wood = self.wood.saturating_add(1);
    }
}

/// Its key.
pub(crate) fn key(island: IslandId) -> Result<Key, Refusal> {
    Key::parse(&format!("{KIND}/{island}")).map_err(|_| Refusal::internal())
}

/// Puts a log into the fire; returns how many lie there.
pub(crate) fn feed(context: &mut DurableContext<'_>) -> Result<u64, Halt> {
    let here = context.actor().position;
    if here.distance_squared(terrain::home(context.land().spec())) > u64::from(THROW_UNITS).pow(2) {
        return Err(Refusal::new("too_far", "That is too far away.").into());
    }
    let key = key(context.actor().island)?;
    let mut fire: Campfire = context.get(&key)?.unwrap_or_default();
    fire.feed(context.now());
    context.put(&key, CAMPFIRE_SCHEMA, &fire)?;
    Ok(fire.wood)
}

/// Its side of the books.
pub(crate) fn count(value: &Value, totals: &mut BTreeMap<String, Total>) {
    let Campfire { wood, burnt, .. } = Campfire::deserialize(value).unwrap_or_default();
    if (wood, burnt) != (0, 0) {
        let total = totals.entry(FUEL.to_owned()).or_default();
        total.lying += wood as i64;
        total.consumed += burnt as i64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_burn_one_after_the_other_and_the_fire_goes_out() {
        let mut fire = Campfire::default();
        for _ in 0..3 {
            fire.feed(IslandTime(1_000_000));
        }
        let mut curious = fire.clone();
        for ms in (0..25_000).step_by(700) {
            curious.burn(IslandTime(1_000_000 + ms));
        }
        fire.burn(IslandTime(1_025_000));
        curious.burn(IslandTime(1_025_000));
        assert_eq!(fire, curious);
        assert_eq!((fire.wood, fire.burnt), (1, 2));
        // A clock that is behind lights nothing again, and out is out.
        fire.burn(IslandTime(1_000_000));
        fire.burn(IslandTime(2_000_000));
        assert_eq!((fire.wood, fire.burnt), (0, 3));
        fire.feed(IslandTime(2_000_000));
        fire.burn(IslandTime(2_009_999));
        assert_eq!((fire.wood, fire.burnt), (1, 3));
    }
}
