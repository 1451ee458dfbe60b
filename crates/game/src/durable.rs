//! Durable turns: pure functions over documents.
//!
//! The rule asks the [`DurableContext`] for documents and edits them. A document that is not loaded yet ends the run
//! with a miss; the platform loads it and runs the rule again from the start. The effects of a run are not seen before
//! they are committed as a whole.
//!
//! A rule sees documents of its game's own kinds, chunks, and the game's part of its actor's document. A rule that reaches
//! for another document of the platform is broken, and costs its own command.

use crate::Game;
use crate::economy::Changes;
use crate::guard::guarded;
use crate::json;
use crate::land::Land;
use crate::refusal::Refusal;
use bytes::Bytes;
use pelago_model::{
    Check, Document, EntityId, Epoch, IslandId, IslandTime, Key, Position, Sequence, Write, limits,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use std::collections::{BTreeMap, BTreeSet};

/// How often a rule is run for one command, until all it wants is loaded.
pub const MAX_RUNS: usize = 8;

/// The avatar that acts, as stamped by its lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// The avatar.
    pub avatar: EntityId,
    /// The epoch under which its lane holds it.
    pub epoch: Epoch,
    /// The number of the command.
    pub sequence: Sequence,
    /// The island it is on.
    pub island: IslandId,
    /// Where it stood when the command was received.
    pub position: Position,
    /// When that was.
    pub received: IslandTime,
}

/// Why a rule stops before its end.
#[derive(Debug)]
pub enum Halt {
    /// Documents are missing; the platform loads them and runs the rule again.
    Miss,
    /// The command is refused.
    Refused(Refusal),
    /// The rule or a document is broken. The text is for the log.
    Broken(String),
}

impl From<Refusal> for Halt {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Everything that a turn is a function of.
#[derive(Clone, Copy)]
pub struct DurableTurn<'a> {
    /// The avatar that acts.
    pub actor: &'a Actor,
    /// The game's state in the avatar's document.
    pub state: &'a serde_json::Value,
    /// What is loaded.
    pub documents: &'a BTreeMap<Key, Document>,
    /// The actor's island.
    pub land: &'a Land,
    /// The seed of its randomness: from a secret of the server and the command's id.
    pub seed: [u8; 32],
}

/// The documents that a rule sees and edits.
pub struct DurableContext<'a> {
    game: &'a dyn Game,
    turn: DurableTurn<'a>,
    state: serde_json::Value,
    read: BTreeSet<Key>,
    edits: BTreeMap<Key, (u16, Option<Bytes>)>,
    missing: BTreeSet<Key>,
    /// What the rule did that no rule may do. It breaks the rule, even if the rule went on.
    trespass: Option<String>,
    rng: ChaCha8Rng,
}

impl DurableContext<'_> {
    /// The avatar that acts.
    pub fn actor(&self) -> &Actor {
        self.turn.actor
    }

    /// The time of the command: when its lane received it.
    pub fn now(&self) -> IslandTime {
        self.turn.actor.received
    }

    /// The land the actor stands on.
    pub fn land(&self) -> &Land {
        self.turn.land
    }

    /// Randomness that is the same on every run of this command.
    pub fn rng(&mut self) -> &mut ChaCha8Rng {
        &mut self.rng
    }

    /// The game's state in the actor's document.
    ///
    /// # Errors
    /// [`Halt::Broken`] if it has another form.
    pub fn state<T: DeserializeOwned>(&self) -> Result<T, Halt> {
        T::deserialize(&self.state).map_err(|error| Halt::Broken(error.to_string()))
    }

    /// Replaces the game's state in the actor's document.
    ///
    /// # Errors
    /// [`Halt::Broken`] if it does not fit JSON, or has fractions. [`Halt::Refused`] if it grows beyond
    /// [`MAX_STATE_BYTES`](limits::MAX_STATE_BYTES).
    pub fn set_state<T: Serialize>(&mut self, state: &T) -> Result<(), Halt> {
        let broken = |error: json::EncodeError| Halt::Broken(error.to_string());
        let bytes = json::encode(state).map_err(broken)?.len();
        let grows = || json::encode(self.turn.state).is_ok_and(|before| before.len() < bytes);
        if bytes > limits::MAX_STATE_BYTES && grows() {
            return Err(Refusal::new("full", "You cannot hold any more.").into());
        }
        self.state = json::to_value(state).map_err(broken)?;
        Ok(())
    }

    /// A document's value; `None` if there is none.
    ///
    /// # Errors
    /// [`Halt::Miss`] if it is not loaded yet, [`Halt::Broken`] if it has another form, a newer schema than the game's, or
    /// is the platform's.
    pub fn get<T: DeserializeOwned>(&mut self, key: &Key) -> Result<Option<T>, Halt> {
        let value = match self.edits.get(key) {
            Some((_, value)) => value.clone(),
            None => {
                let value = self.loaded(key)?.value.clone();
                self.read.insert(key.clone());
                value
            }
        };
        value
            .map(|bytes| json::decode(&bytes))
            .transpose()
            .map_err(|error| Halt::Broken(format!("{key}: {error}")))
    }

    /// Replaces a document's value.
    ///
    /// # Errors
    /// [`Halt::Miss`] if it is not loaded yet (its revision guards the write), [`Halt::Broken`] if the value does not fit, if
    /// a newer build wrote the document, if this one could not read what is written, or if the document is the platform's.
    pub fn put<T: Serialize>(&mut self, key: &Key, schema: u16, value: &T) -> Result<(), Halt> {
        self.loaded(key)?;
        let newest = self.game.schema(key.kind());
        if schema > newest {
            let text = format!("{key}: the game's newest schema is {newest}, not {schema}");
            return Err(self.trespass(text));
        }
        let bytes = json::encode(value).map_err(|error| Halt::Broken(format!("{key}: {error}")))?;
        let limit = match key.kind() {
            "chunk" => limits::MAX_CHUNK_DOCUMENT_BYTES,
            _ => limits::MAX_DOCUMENT_BYTES,
        };
        if bytes.len() > limit {
            return Err(Refusal::new("full", "There is no room for more here.").into());
        }
        self.edits.insert(key.clone(), (schema, Some(bytes)));
        Ok(())
    }

    fn trespass(&mut self, text: String) -> Halt {
        self.trespass.get_or_insert(text.clone());
        Halt::Broken(text)
    }

    /// A document that rules may see, and this build may read and replace.
    fn loaded(&mut self, key: &Key) -> Result<&Document, Halt> {
        if !key.is_open_to_rules() {
            let text = format!("{key}: {} documents are the platform's", key.kind());
            return Err(self.trespass(text));
        }
        let Some(document) = self.turn.documents.get(key) else {
            self.missing.insert(key.clone());
            return Err(Halt::Miss);
        };
        let newest = self.game.schema(key.kind());
        if document.schema > newest {
            let (kind, schema) = (key.kind(), document.schema);
            return Err(Halt::Broken(format!(
                "{key}: {kind} documents are read up to schema {newest}, this one has {schema}"
            )));
        }
        Ok(document)
    }
}

/// How a run of a rule ended.
#[derive(Debug)]
pub enum TurnEnd {
    /// It is decided; to be committed.
    Done {
        /// Documents that were read and not written.
        checks: Vec<Check>,
        /// Documents that change.
        writes: Vec<Write>,
        /// The game's state in the actor's document afterwards.
        state: serde_json::Value,
        /// For the player.
        effects: Bytes,
        /// What it did to the economy.
        changes: Changes,
    },
    /// These documents are wanted first.
    Missing(Vec<Key>),
    /// Nothing changes.
    Refused(Refusal),
    /// The rule is broken: the player is told `internal`, the log gets this text.
    Broken(String),
    /// The rule has panicked, with these words. What would do so again is not run again.
    Panicked(String),
}

/// Runs a durable rule once. A panic of the rule is caught.
pub fn run_durable(game: &dyn Game, turn: DurableTurn<'_>, payload: &[u8]) -> TurnEnd {
    run(game, turn, |context| game.durable(context, payload))
}

/// Runs the rule of a grant once, as [`run_durable`] does.
pub fn run_grant(game: &dyn Game, turn: DurableTurn<'_>, what: &[u8]) -> TurnEnd {
    run(game, turn, |context| game.grant(context, what))
}

fn run<'a>(
    game: &'a dyn Game,
    turn: DurableTurn<'a>,
    rule: impl FnOnce(&mut DurableContext<'a>) -> Result<Bytes, Halt>,
) -> TurnEnd {
    let mut context = DurableContext {
        game,
        state: turn.state.clone(),
        rng: ChaCha8Rng::from_seed(turn.seed),
        read: BTreeSet::new(),
        edits: BTreeMap::new(),
        missing: BTreeSet::new(),
        trespass: None,
        turn,
    };
    // The context is dropped after a panic, so that nobody sees it half changed.
    let result = guarded(|| {
        let effects = rule(&mut context)?;
        Ok((effects, context.changes()?))
    });
    if let Some(text) = context.trespass {
        return TurnEnd::Broken(text);
    }
    if !context.missing.is_empty() {
        // A miss poisons the run, even if the rule went on without the document.
        if context.missing.len() > limits::MAX_TURN_DOCUMENTS {
            return TurnEnd::Broken("the rule wants more documents than fit a transaction".into());
        }
        return TurnEnd::Missing(context.missing.into_iter().collect());
    }
    match result {
        Ok(Ok((effects, changes))) => context.finish(effects, changes),
        Ok(Err(Halt::Refused(refusal))) => match refusal.fault() {
            Some(fault) => TurnEnd::Broken(fault),
            None => TurnEnd::Refused(refusal),
        },
        Ok(Err(Halt::Broken(text))) => TurnEnd::Broken(text),
        Ok(Err(Halt::Miss)) => TurnEnd::Broken("a miss without a document".into()),
        Err(panic) => TurnEnd::Panicked(panic.0),
    }
}

impl DurableContext<'_> {
    /// What the edits do to the economy.
    fn changes(&self) -> Result<Changes, Halt> {
        let mut changes = Changes::default();
        for (key, (_, after)) in &self.edits {
            let before = self.turn.documents.get(key).and_then(|found| found.value.as_deref());
            changes
                .note_stored(self.game, key, before, after.as_deref())
                .map_err(|error| Halt::Broken(format!("{key}: {error}")))?;
        }
        let own = Key::avatar(self.turn.actor.avatar);
        changes.note(self.game, &own, Some(self.turn.state), Some(&self.state));
        match changes.imbalance() {
            Some(text) => Err(Halt::Broken(text)),
            None => Ok(changes),
        }
    }

    fn finish(self, effects: Bytes, changes: Changes) -> TurnEnd {
        // What fits no transaction would be tried again for ever.
        let checked = self.read.iter().filter(|key| !self.edits.contains_key(*key)).count();
        if self.edits.len() + checked > limits::MAX_TURN_DOCUMENTS {
            return TurnEnd::Broken("the rule used more documents than fit a transaction".into());
        }
        if !effects.is_empty() && serde_json::from_slice::<IgnoredAny>(&effects).is_err() {
            return TurnEnd::Broken("the rule tells its player what is no JSON".into());
        }
        let told = serde_json::to_string(&String::from_utf8_lossy(&effects));
        if told.map_or(usize::MAX, |text| text.len()) > limits::MAX_EFFECTS_BYTES {
            return TurnEnd::Broken("the rule tells its player more than is remembered".into());
        }
        let revision = |key: &Key| {
            self.turn.documents.get(key).map_or(Document::ABSENT.revision, |found| found.revision)
        };
        let writes: Vec<Write> = self
            .edits
            .iter()
            .map(|(key, (schema, value))| Write {
                key: key.clone(),
                expected: revision(key),
                schema: *schema,
                value: value.clone(),
            })
            .collect();
        let checks = self
            .read
            .iter()
            .filter(|key| !self.edits.contains_key(*key))
            .map(|key| Check { key: key.clone(), revision: revision(key) })
            .collect();
        TurnEnd::Done { checks, writes, state: self.state, effects, changes }
    }
}
