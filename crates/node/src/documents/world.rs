//! The document of a world, and how one begins.

use pelago_game::{IslandSpec, json};
use pelago_model::{IslandId, Key, Revision, Transaction, Write};
use serde::{Deserialize, Serialize};

/// The schema version of the documents of islands.
pub const ISLAND_SCHEMA: u16 = 1;
/// The schema version of the document of the world. The secrets of the first version could be guessed, and it had no
/// identity.
pub const WORLD_SCHEMA: u16 = 2;

/// The document of the world.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorldDocument {
    /// Its number: the upper bits of every id made in it.
    pub world: u32,
    /// From which its islands are made.
    pub seed: u64,
    /// When world time began, in ms since 1970.
    pub epoch_unix_ms: i64,
    /// From which durable turns get their randomness, 64 hexadecimal digits of the system's randomness.
    pub secret: String,
    /// Which world it is, for archives: 64 hexadecimal digits, no secret, never changed. Empty in the first version.
    #[serde(default)]
    pub identity: String,
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
        |key, schema, value| Write { key, expected: Revision(0), schema, value: Some(value) };
    let writes = vec![
        write(Key::world(), WORLD_SCHEMA, json::encode(world)?),
        write(Key::island(island.id), ISLAND_SCHEMA, json::encode(island)?),
    ];
    Ok(Transaction { checks: Vec::new(), writes })
}
