//! The document of a world, and how one begins.

use pelago_game::{IslandSpec, json};
use pelago_model::{IslandId, Key, Revision, Transaction, Write};
use serde::{Deserialize, Serialize};

/// The schema version of the documents of the world and its islands.
pub const WORLD_SCHEMA: u16 = 1;

/// The document of the world.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorldDocument {
    /// Its number: the upper bits of every id made in it.
    pub world: u32,
    /// From which its islands are made.
    pub seed: u64,
    /// When world time began, in ms since 1970.
    pub epoch_unix_ms: i64,
    /// From which durable turns get their randomness, 64 hexadecimal digits.
    pub secret: String,
    /// The island on which new avatars appear.
    pub home: IslandId,
}

/// The transaction that begins a world with one island.
///
/// # Errors
/// If the world does not fit JSON, which is a bug.
pub fn bootstrap(
    world: &WorldDocument,
    island: &IslandSpec,
) -> Result<Transaction, json::EncodeError> {
    let write =
        |key, value| Write { key, expected: Revision(0), schema: WORLD_SCHEMA, value: Some(value) };
    let writes = vec![
        write(Key::world(), json::encode(world)?),
        write(Key::island(island.id), json::encode(island)?),
    ];
    Ok(Transaction { checks: Vec::new(), writes })
}
