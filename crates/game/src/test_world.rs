//! A world in a map, to test rules with.

use crate::durable::{Actor, DurableTurn, Halt, MAX_RUNS, TurnEnd, run_durable, run_grant};
use crate::land::{IslandSpec, Land};
use crate::{Game, Total};
use bytes::Bytes;
use pelago_model::{
    Document, EntityId, Epoch, IslandId, IslandTime, Key, Position, Revision, Sequence,
};
use std::collections::BTreeMap;

/// Documents in a map, one avatar per id, and a clock that the test sets.
pub struct TestWorld<G> {
    game: G,
    land: Land,
    documents: BTreeMap<Key, Document>,
    states: BTreeMap<EntityId, serde_json::Value>,
    sequence: u64,
    /// The time of the next command.
    pub now: IslandTime,
}

impl<G: Game> TestWorld<G> {
    /// An island of `size` chunks made by the game from `seed`.
    pub fn new(game: G, seed: u64, size: u16) -> Self {
        let spec = IslandSpec { id: IslandId(1), seed, size, generator: 1 };
        let land = Land::new(&game, spec);
        Self::on(game, land)
    }

    /// An island that was made already.
    pub fn on(game: G, land: Land) -> Self {
        Self {
            game,
            land,
            documents: BTreeMap::new(),
            states: BTreeMap::new(),
            sequence: 0,
            now: IslandTime(0),
        }
    }

    /// The land.
    pub fn land(&self) -> &Land {
        &self.land
    }

    /// A document as it stands.
    pub fn document(&self, key: &Key) -> Document {
        self.documents.get(key).cloned().unwrap_or(Document::ABSENT)
    }

    /// The state of an avatar; that of a new one if it did nothing yet.
    pub fn state(&self, avatar: EntityId) -> serde_json::Value {
        self.states.get(&avatar).cloned().unwrap_or_else(|| self.game.new_avatar("tester"))
    }

    /// The books.
    pub fn totals(&self) -> BTreeMap<String, Total> {
        let mut totals = BTreeMap::new();
        for (key, document) in &self.documents {
            let value =
                document.value.as_ref().and_then(|bytes| serde_json::from_slice(bytes).ok());
            if let Some(value) = value {
                self.game.count(key, &value, &mut totals);
            }
        }
        for (avatar, state) in &self.states {
            self.game.count(&Key::avatar(*avatar), state, &mut totals);
        }
        totals
    }

    /// Lets an avatar that stands at `position` do something durable, and commits it.
    ///
    /// # Errors
    /// What the rule ended with, if not success.
    pub fn act(
        &mut self,
        avatar: EntityId,
        position: Position,
        payload: &[u8],
    ) -> Result<Bytes, Halt> {
        self.sequence += 1;
        self.turn(avatar, position, |game, turn| run_durable(game, turn, payload))
    }

    /// Grants something to an avatar. Whether it was granted before is the platform's to know.
    ///
    /// # Errors
    /// What the rule ended with, if not success.
    pub fn grant(&mut self, avatar: EntityId, what: &[u8]) -> Result<Bytes, Halt> {
        self.turn(avatar, Position::default(), |game, turn| run_grant(game, turn, what))
    }

    fn turn(
        &mut self,
        avatar: EntityId,
        position: Position,
        run: impl Fn(&G, DurableTurn<'_>) -> TurnEnd,
    ) -> Result<Bytes, Halt> {
        let actor = Actor {
            avatar,
            epoch: Epoch(1),
            sequence: Sequence(self.sequence),
            island: self.land.spec().id,
            position,
            received: self.now,
        };
        let before = self.state(avatar);
        for _ in 0..MAX_RUNS {
            let turn = DurableTurn {
                actor: &actor,
                state: &before,
                documents: &self.documents,
                land: &self.land,
                seed: [0; 32],
            };
            match run(&self.game, turn) {
                TurnEnd::Done { writes, state, effects, .. } => {
                    for write in writes {
                        let document = Document {
                            schema: write.schema,
                            revision: Revision(write.expected.0 + 1),
                            value: write.value,
                        };
                        self.documents.insert(write.key, document);
                    }
                    self.states.insert(avatar, state);
                    return Ok(effects);
                }
                TurnEnd::Missing(keys) => {
                    for key in keys {
                        self.documents.entry(key).or_insert(Document::ABSENT);
                    }
                }
                TurnEnd::Refused(refusal) => return Err(Halt::Refused(refusal)),
                TurnEnd::Broken(text) | TurnEnd::Panicked(text) => return Err(Halt::Broken(text)),
            }
        }
        Err(Halt::Broken("the rule never had enough documents".into()))
    }
}
