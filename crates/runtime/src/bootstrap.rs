//! The world of a store: opened, or begun if there is none.

mod names;

use crate::clock::{WorldClock, unix_ms};
use bytes::Bytes;
use pelago_game::land::MAX_ISLAND_SIZE;
use pelago_game::{ContentHash, Game, IslandSpec, Land, guarded, json};
use pelago_model::{CommitOutcome, Document, IslandId, Key, Transaction, WorldNumber, Write};
use pelago_node::WorldDocument;
use pelago_node::bootstrap;
use pelago_node::documents::schema::{self, Stored};
use pelago_node::documents::world::WORLD_SCHEMA;
use pelago_store::archive::WorldIdentity;
use pelago_store::{ReadError, Store, commit_now, load_now};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Chunks along the side of a new island, unless told otherwise: 720 m.
pub const NEW_ISLAND_SIZE: u16 = 24;
/// The seed of a new world, unless told otherwise.
const NEW_WORLD_SEED: u64 = 7;
/// The version of the game's generator that makes new islands.
const NEW_ISLAND_GENERATOR: u32 = 1;
/// The number of a world that was given none.
const DEFAULT_WORLD: u32 = 1;

/// A world as its nodes need it. Nodes of one process share it, since its land is large.
#[derive(Clone)]
pub struct World {
    /// Its document.
    pub document: WorldDocument,
    /// Its number.
    pub number: WorldNumber,
    /// The land of every island.
    pub lands: BTreeMap<IslandId, Arc<Land>>,
    /// World time, as all nodes of the process tell it.
    pub(crate) clock: Arc<WorldClock>,
}

/// From what a new world is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewWorld {
    /// Of its land.
    pub seed: u64,
    /// Chunks along the side of its island.
    pub island_size: u16,
}

impl Default for NewWorld {
    fn default() -> Self {
        Self { seed: NEW_WORLD_SEED, island_size: NEW_ISLAND_SIZE }
    }
}

/// Why a world was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenWorldError {
    /// The store does not answer.
    #[error("the store cannot be read: {0}")]
    Read(#[from] ReadError),
    /// A document cannot be used: it is damaged, or a newer build has written it.
    #[error("the document {key}: {problem}")]
    Document {
        /// Of the document.
        key: Key,
        /// What is wrong.
        problem: String,
    },
    /// The document of an island is not there.
    #[error("the store has a world without its island: {0} is missing")]
    NoIsland(Key),
    /// Clients could not fetch the land of a new world.
    #[error(
        "an island has at most {MAX_ISLAND_SIZE} chunks along its side, not {0}: the list of its chunks has to fit one message"
    )]
    TooLarge(u16),
    /// There is no world, but there are documents of one: only a restore or an import writes them first.
    #[error(
        "the store has documents ({0}), but no world: a restore or an import has not come to its end. Give the same \
         command again, or begin anew (--reset)"
    )]
    NotRestored(Key),
    /// A new world, or the new secret of one, was not taken by the store.
    #[error("the document of the world could not be stored: {0:?}")]
    NotStored(CommitOutcome),
    /// The system has no randomness to make a secret of.
    #[error("the system has no randomness: {0}")]
    NoRandomness(getrandom::Error),
    /// A new world does not fit JSON, which is a bug.
    #[error("a new world cannot be encoded: {0}")]
    Encode(#[from] json::EncodeError),
}

impl World {
    /// Reads the world of a store, and begins a new one if there is none. Not for threads that others wait for.
    ///
    /// # Errors
    /// If the store cannot be read or written, or holds something else.
    pub fn open(store: &dyn Store, game: &dyn Game, new: NewWorld) -> Result<Self, OpenWorldError> {
        let found = load_document(store, Key::world())?;
        let document = match read::<WorldDocument>(Key::world(), &found)? {
            Some(document) if found.schema < WORLD_SCHEMA => {
                with_new_secret(store, &found, document)?
            }
            Some(document) => document,
            None => begin(store, new)?,
        };
        let number = world_number(document.world)?;
        let key = Key::island(document.home);
        let Some(island) = load::<IslandSpec>(store, key.clone())? else {
            return Err(OpenWorldError::NoIsland(key));
        };
        names::reserve_names(store)?;
        let made = guarded(|| Land::new(game, island));
        let land = Arc::new(made.map_err(|panic| {
            let problem = format!("its land cannot be made: {panic}");
            OpenWorldError::Document { key, problem }
        })?);
        let clock = open_clock(store, document.epoch_unix_ms)?;
        Ok(Self { number, lands: BTreeMap::from([(document.home, land)]), document, clock })
    }

    /// What clients may fetch by hash: the game's own content and the tiles of all islands.
    pub fn content(&self, game: &dyn Game) -> BTreeMap<ContentHash, Bytes> {
        let game = game.content();
        let tiles = self.lands.values().flat_map(|land| land.content());
        tiles.chain([(ContentHash::of(&game), game.clone())]).collect()
    }

    /// The secret from which durable turns get their randomness.
    pub(crate) fn secret(&self) -> [u8; 32] {
        *blake3::hash(self.document.secret.as_bytes()).as_bytes()
    }
}

fn open_clock(store: &dyn Store, epoch_unix_ms: i64) -> Result<Arc<WorldClock>, OpenWorldError> {
    let found = load_now(store, vec![Key::clock()])?.pop().unwrap_or(Document::ABSENT);
    WorldClock::open(epoch_unix_ms, &found).map_err(|problem| OpenWorldError::Document {
        key: Key::clock(),
        problem: problem.to_string(),
    })
}

fn world_number(number: u32) -> Result<WorldNumber, OpenWorldError> {
    let too_large = || OpenWorldError::Document {
        key: Key::world(),
        problem: "the world's number is too large".to_owned(),
    };
    WorldNumber::new(number).ok_or_else(too_large)
}

fn load<T: Stored>(store: &dyn Store, key: Key) -> Result<Option<T>, OpenWorldError> {
    let found = load_document(store, key.clone())?;
    read(key, &found)
}

fn load_document(store: &dyn Store, key: Key) -> Result<Document, OpenWorldError> {
    Ok(load_now(store, vec![key])?.pop().unwrap_or(Document::ABSENT))
}

fn read<T: Stored>(key: Key, found: &Document) -> Result<Option<T>, OpenWorldError> {
    schema::read(found)
        .map_err(|problem| OpenWorldError::Document { key, problem: problem.to_string() })
}

fn begin(store: &dyn Store, new: NewWorld) -> Result<WorldDocument, OpenWorldError> {
    if new.island_size > MAX_ISLAND_SIZE {
        return Err(OpenWorldError::TooLarge(new.island_size));
    }
    refuse_half_a_world(store)?;
    let home = IslandId::new(world_number(DEFAULT_WORLD)?, 1);
    let document = WorldDocument {
        world: DEFAULT_WORLD,
        seed: new.seed,
        epoch_unix_ms: unix_ms(),
        secret: random_digits()?,
        identity: random_digits()?,
        home,
    };
    let NewWorld { seed, island_size: size } = new;
    let island = IslandSpec { id: home, seed, size, generator: NEW_ISLAND_GENERATOR };
    let outcome = commit_now(store, bootstrap(&document, &island)?);
    if outcome == CommitOutcome::Committed {
        return Ok(document);
    }
    // Another node may have begun it at the same moment, or this commit has happened although nobody knows.
    load(store, Key::world())?.ok_or(OpenWorldError::NotStored(outcome))
}

/// A world is restored and imported with its own document last: without it, the rest is not whole, and must not be
/// played.
fn refuse_half_a_world(store: &dyn Store) -> Result<(), OpenWorldError> {
    let mut found = None;
    store.scan_after("", None, &mut |key, _| {
        if !key.is_of_the_world() {
            return ControlFlow::Continue(());
        }
        found = Some(key);
        ControlFlow::Break(())
    })?;
    found.map_or(Ok(()), |key| Err(OpenWorldError::NotRestored(key)))
}

/// Gives a world a secret that nobody can guess: those of the first version were made of the time and the number of a
/// process. Nothing that lasts follows from the old one but the identity of the world, which it keeps.
fn with_new_secret(
    store: &dyn Store,
    found: &Document,
    document: WorldDocument,
) -> Result<WorldDocument, OpenWorldError> {
    let identity = WorldIdentity::of_document(found).map(|world| world.identity);
    let document = WorldDocument {
        secret: random_digits()?,
        identity: identity.unwrap_or_default(),
        ..document
    };
    let write = Write {
        key: Key::world(),
        expected: found.revision,
        schema: WORLD_SCHEMA,
        value: Some(json::encode(&document)?),
    };
    let outcome = commit_now(store, Transaction { checks: Vec::new(), writes: vec![write] });
    if outcome == CommitOutcome::Committed {
        tracing::info!("the world has a new secret: the old one could be guessed");
        return Ok(document);
    }
    // Another node may have done it at the same moment, or this commit has happened although nobody knows.
    let found = load_document(store, Key::world())?;
    match read(Key::world(), &found)? {
        Some(document) if found.schema >= WORLD_SCHEMA => Ok(document),
        _ => Err(OpenWorldError::NotStored(outcome)),
    }
}

/// 32 bytes of the system's randomness, as hexadecimal digits.
fn random_digits() -> Result<String, OpenWorldError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(OpenWorldError::NoRandomness)?;
    Ok(blake3::Hash::from(bytes).to_hex().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use pelago_frontier::{Frontier, Wild};
    use pelago_model::Revision;
    use pelago_store::{CommitDone, Memory, StoreLayer};
    use std::sync::Mutex;

    #[test]
    fn a_world_of_a_newer_build_is_not_opened_and_stays_as_it_is() {
        let new = NewWorld { seed: 7, island_size: 3 };
        for kind in ["world", "island"] {
            let store = Memory::default();
            let world = World::open(&store, &Frontier, new).unwrap();
            let key = match kind {
                "world" => Key::world(),
                _ => Key::island(world.document.home),
            };
            let found = store.get(&key);
            let newer = found.schema + 1;
            let write = Write { key, expected: found.revision, schema: newer, value: found.value };
            store.apply(Transaction { checks: Vec::new(), writes: vec![write] });
            let before = store.snapshot();
            let error = format!("{:#}", World::open(&store, &Frontier, new).err().unwrap());
            let expected = format!("{kind} documents are read up to schema {}", newer - 1);
            assert!(error.contains(&expected), "{error}");
            assert_eq!(store.snapshot(), before);
        }
    }

    #[test]
    fn a_secret_that_could_be_guessed_is_replaced_once_and_the_world_stays_the_same() {
        let new = NewWorld { seed: 7, island_size: 3 };
        let store = Memory::default();
        let world = World::open(&store, &Frontier, new).unwrap();
        let again = World::open(&store, &Frontier, new).unwrap();
        assert_eq!(again.document, world.document, "a world of this build is left alone");

        let store = Memory::default();
        let old = WorldDocument { secret: "07".repeat(32), ..world.document.clone() };
        let mut value: serde_json::Value = serde_json::to_value(&old).unwrap();
        value.as_object_mut().unwrap().remove("identity");
        let value = bytes::Bytes::from(serde_json::to_vec(&value).unwrap());
        let write = |key, schema, value| Write { key, expected: Revision(0), schema, value };
        let island = json::encode(world.lands[&old.home].spec()).unwrap();
        store.apply(Transaction {
            checks: Vec::new(),
            writes: vec![
                write(Key::world(), 1, Some(value)),
                write(Key::island(old.home), 1, Some(island)),
            ],
        });
        let before = WorldIdentity::of_store(&store).unwrap();
        let first = World::open(&store, &Frontier, new).unwrap();
        let second = World::open(&store, &Frontier, new).unwrap();
        assert_eq!(first.document, second.document);
        assert_ne!(first.document.secret, old.secret);
        assert_eq!(first.document.secret.len(), 64);
        assert_eq!(WorldIdentity::of_store(&store).unwrap(), before);
        let (secret, identity) = (old.secret.clone(), old.identity.clone());
        assert_eq!(WorldDocument { secret, identity, ..first.document }, old);
    }

    #[test]
    fn half_a_restored_world_is_not_begun_anew_and_stays_as_it_is() {
        let store = Memory::default();
        for (key, refused) in
            [(Key::place(pelago_model::EntityId(1)), false), (Key::serials(), true)]
        {
            let value = Some(bytes::Bytes::from("{}"));
            let write = Write { key, expected: Revision(0), schema: 1, value };
            let store = if refused { &store } else { &Memory::default() };
            store.apply(Transaction { checks: Vec::new(), writes: vec![write] });
            let opened = World::open(store, &Frontier, NewWorld { seed: 7, island_size: 3 });
            assert_eq!(opened.is_err(), refused);
        }
        let error = World::open(&store, &Frontier, NewWorld::default()).err().unwrap().to_string();
        assert!(error.contains("ids/serials") && error.contains("again"), "{error}");
        assert_eq!(store.snapshot().len(), 1);
    }

    /// A store in which somebody else begins a world between our look and our commit.
    struct Raced {
        store: Memory,
        theirs: Mutex<Option<Transaction>>,
    }

    impl StoreLayer for Raced {
        fn beneath(&self) -> &dyn Store {
            &self.store
        }

        fn commit(&self, transaction: Transaction, done: CommitDone) {
            if let Some(theirs) = self.theirs.lock().unwrap().take() {
                self.store.apply(theirs);
            }
            self.store.commit(transaction, done);
        }
    }

    #[test]
    fn a_world_whose_land_clients_could_not_fetch_is_not_begun() {
        let store = Memory::default();
        let new = NewWorld { seed: 7, island_size: MAX_ISLAND_SIZE + 1 };
        let error = World::open(&store, &Frontier, new).err().unwrap().to_string();
        assert!(error.contains("at most 181 chunks along its side, not 182"), "{error}");
        assert_eq!(store.get(&Key::world()), Document::ABSENT);
    }

    #[test]
    fn land_that_cannot_be_made_is_an_error_that_names_its_island() {
        let error = World::open(&Memory::default(), &Wild::landless(), NewWorld::default());
        let error = error.err().unwrap().to_string();
        assert!(error.contains("document island/0000100000000001"), "{error}");
        assert!(error.contains("a rule panicked: a wild rule"), "{error}");
    }

    #[test]
    fn of_two_nodes_that_begin_a_world_both_run_the_same() {
        let new = NewWorld { seed: 7, island_size: 3 };
        let other = Memory::default();
        let theirs = World::open(&other, &Frontier, NewWorld { seed: 8, ..new }).unwrap();
        let island = theirs.lands[&theirs.document.home].spec().clone();
        let raced = Mutex::new(Some(bootstrap(&theirs.document, &island).unwrap()));
        let store = Raced { store: Memory::default(), theirs: raced };
        let ours = World::open(&store, &Frontier, new).unwrap();
        assert_eq!(ours.document, theirs.document);
    }
}
