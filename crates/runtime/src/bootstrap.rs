//! The world of a store: found, or begun.

use crate::clock::unix_ms;
use anyhow::{Context, Result, bail};
use pelago_game::{Game, IslandSpec, Land};
use pelago_model::{CommitOutcome, IslandId, Key, WorldNumber};
use pelago_node::avatar::read;
use pelago_node::bootstrap;
use pelago_node::node::WorldDocument;
use pelago_store::{Store, commit_now, load_now};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Chunks along the side of a new island, unless told otherwise: 720 m.
pub const NEW_ISLAND_SIZE: u16 = 24;
/// The version of the game's generator that makes new islands.
const NEW_ISLAND_GENERATOR: u32 = 1;
/// The number of a world that was given none.
const DEFAULT_WORLD: u32 = 1;

/// A world as its nodes need it.
pub struct World {
    /// Its document.
    pub document: WorldDocument,
    /// Its number.
    pub number: WorldNumber,
    /// The land of every island.
    pub lands: BTreeMap<IslandId, Arc<Land>>,
}

impl World {
    /// The secret from which durable turns get their randomness.
    pub fn secret(&self) -> [u8; 32] {
        *blake3::hash(self.document.secret.as_bytes()).as_bytes()
    }
}

/// From what a new world is made.
#[derive(Clone, Copy, Debug)]
pub struct NewWorld {
    /// Of its land.
    pub seed: u64,
    /// Chunks along the side of its island.
    pub island_size: u16,
}

/// Reads the world of a store; begins a new one if there is none.
///
/// # Errors
/// If the store cannot be read or written, or holds something else.
pub fn open_world(store: &dyn Store, game: &dyn Game, new: NewWorld) -> Result<World> {
    let found = load_now(store, vec![Key::world()])?;
    let document: Option<WorldDocument> =
        read(&found[0]).map_err(anyhow::Error::msg).context("the document of the world")?;
    let document = match document {
        Some(document) => document,
        None => begin(store, new)?,
    };
    let number = WorldNumber::new(document.world).context("the world's number is too large")?;
    let key = Key::island(document.home);
    let found = load_now(store, vec![key.clone()])?;
    let Some(island) = read::<IslandSpec>(&found[0]).map_err(anyhow::Error::msg)? else {
        bail!("the store has a world without its island: {key} is missing");
    };
    let land = Arc::new(Land::new(game, island));
    Ok(World { number, lands: BTreeMap::from([(document.home, land)]), document })
}

fn begin(store: &dyn Store, new: NewWorld) -> Result<WorldDocument> {
    let number = WorldNumber::new(DEFAULT_WORLD).context("the world's number is too large")?;
    let home = IslandId::new(number, 1);
    let secret = format!("{:?}{:?}", std::time::SystemTime::now(), std::process::id());
    let document = WorldDocument {
        world: DEFAULT_WORLD,
        seed: new.seed,
        epoch_unix_ms: unix_ms(),
        secret: blake3::hash(secret.as_bytes()).to_hex().to_string(),
        home,
    };
    let NewWorld { seed, island_size: size } = new;
    let island = IslandSpec { id: home, seed, size, generator: NEW_ISLAND_GENERATOR };
    match commit_now(store, bootstrap(&document, &island)?) {
        CommitOutcome::Committed => Ok(document),
        outcome => bail!("a new world could not be stored: {outcome:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pelago_frontier::Frontier;
    use pelago_model::{Transaction, Write};
    use pelago_store::Memory;

    #[test]
    fn a_world_of_a_newer_build_is_not_opened_and_stays_as_it_is() {
        let new = NewWorld { seed: 7, island_size: 3 };
        for kind in ["world", "island"] {
            let store = Memory::default();
            let world = open_world(&store, &Frontier, new).unwrap();
            let key = match kind {
                "world" => Key::world(),
                _ => Key::island(world.document.home),
            };
            let found = store.get(&key);
            let write = Write { key, expected: found.revision, schema: 2, value: found.value };
            store.apply(Transaction { checks: Vec::new(), writes: vec![write] });
            let before = store.snapshot();
            let error = format!("{:#}", open_world(&store, &Frontier, new).err().unwrap());
            assert!(
                error.contains(&format!("{kind} documents are read up to schema 1")),
                "{error}"
            );
            assert_eq!(store.snapshot(), before);
        }
    }
}
