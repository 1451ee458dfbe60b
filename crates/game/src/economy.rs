//! The books of the economy: how much there is, and what a turn made, moved and destroyed.
//!
//! Rules report nothing. What a turn did is the difference between what the game counts in its documents before and after
//! ([`Game::count`]), so that no rule can forget to tell, and a rule that makes something of nothing is found when it is run.

use crate::{Game, json};
use pelago_model::Key;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// How many of an item there are, and how many came and went: `held + lying = gathered - consumed`.
///
/// In an audit each number is a difference, and those that are 0 are not written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Total {
    /// In inventories.
    #[serde(skip_serializing_if = "is_zero")]
    pub held: i64,
    /// On the ground and in containers.
    #[serde(skip_serializing_if = "is_zero")]
    pub lying: i64,
    /// Ever made: taken from nature, or granted.
    #[serde(skip_serializing_if = "is_zero")]
    pub gathered: i64,
    /// Ever used up.
    #[serde(skip_serializing_if = "is_zero")]
    pub consumed: i64,
}

impl Total {
    /// Whether as many are there as came and did not go.
    pub fn is_balanced(&self) -> bool {
        self.held + self.lying == self.gathered - self.consumed
    }

    /// Adds others, `times` times.
    pub fn add(&mut self, other: &Self, times: i64) {
        self.held += other.held * times;
        self.lying += other.lying * times;
        self.gathered += other.gathered * times;
        self.consumed += other.consumed * times;
    }
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// What a turn did to the economy: by document and item, the differences. What left one document and is in another was
/// moved; what was gathered was made; what was consumed is destroyed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Changes(pub BTreeMap<Key, BTreeMap<String, Total>>);

impl Changes {
    /// Takes in a document that changes.
    pub fn note(
        &mut self,
        game: &dyn Game,
        key: &Key,
        before: Option<&Value>,
        after: Option<&Value>,
    ) {
        let count = |value: Option<&Value>| {
            let mut totals = BTreeMap::new();
            if let Some(value) = value {
                game.count(key, value, &mut totals);
            }
            totals
        };
        let mut differences = count(after);
        for (item, total) in count(before) {
            differences.entry(item).or_default().add(&total, -1);
        }
        differences.retain(|_, total| *total != Total::default());
        if !differences.is_empty() {
            self.0.insert(key.clone(), differences);
        }
    }

    /// The same, of values as they are stored.
    ///
    /// # Errors
    /// [`json::DecodeError`] if one is not JSON.
    pub fn note_stored(
        &mut self,
        game: &dyn Game,
        key: &Key,
        before: Option<&[u8]>,
        after: Option<&[u8]>,
    ) -> Result<(), json::DecodeError> {
        let (before, after): (Option<Value>, Option<Value>) =
            (before.map(json::decode).transpose()?, after.map(json::decode).transpose()?);
        self.note(game, key, before.as_ref(), after.as_ref());
        Ok(())
    }

    /// Whether nothing was made, moved or destroyed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// An item that came from nowhere or went nowhere, if there is one.
    pub fn imbalance(&self) -> Option<String> {
        let mut totals: BTreeMap<&str, Total> = BTreeMap::new();
        for (item, total) in self.0.values().flatten() {
            totals.entry(item).or_default().add(total, 1);
        }
        let (item, total) = totals.into_iter().find(|(_, total)| !total.is_balanced())?;
        Some(format!("{item} does not balance: {total:?}"))
    }
}
