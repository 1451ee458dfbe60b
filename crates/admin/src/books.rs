//! The books of a world: what its documents say of an avatar, and how much there is of everything.

use anyhow::{Context, Result};
use pelago_game::{Game, Total, guarded, json};
use pelago_model::key::KINDS;
use pelago_model::{Document, EntityId, Key, keys_of_name};
use pelago_node::documents::avatar::{AvatarDocument, ChainHash, NameDocument};
use pelago_node::documents::schema::{Stored, read};
use pelago_store::{Store, load_now};
use serde::Serialize;
use std::collections::BTreeMap;

/// The books of an avatar. Hashes are 64 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AvatarBooks {
    /// Its name.
    pub name: String,
    /// The avatar.
    pub avatar: EntityId,
    /// The epoch of its last session.
    pub epoch: u64,
    /// The number of its last durable command.
    pub sequence: u64,
    /// The hash chain over its outcomes.
    pub chain: ChainHash,
    /// Its last outcomes, oldest first.
    pub outcomes: Vec<OutcomeInBooks>,
    /// The items that it has.
    pub totals: BTreeMap<String, Totals>,
}

/// An outcome as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OutcomeInBooks {
    /// The number of the command.
    pub sequence: u64,
    /// blake3 of the command's payload.
    pub command: ChainHash,
    /// The chain after this outcome.
    pub chain: ChainHash,
}

/// How much there is of an item. Conserved: held + lying = gathered - consumed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// By avatars.
    pub held: i64,
    /// In the world.
    pub lying: i64,
    /// Ever made.
    pub gathered: i64,
    /// Ever used up.
    pub consumed: i64,
}

/// The books of the avatar with a name; `None` if nobody has it.
///
/// # Errors
/// If the store cannot be read, or a document is damaged.
pub fn avatar_books(store: &dyn Store, game: &dyn Game, name: &str) -> Result<Option<AvatarBooks>> {
    let get = |key: Key| -> Result<Document> {
        let mut found = load_now(store, vec![key])?;
        found.pop().context("the store answered with too few documents")
    };
    let mut bearer = None;
    for key in keys_of_name(name) {
        bearer = NameDocument::read(&get(key)?).map_err(anyhow::Error::msg)?;
        if bearer.is_some() {
            break;
        }
    }
    let Some(bearer) = bearer else { return Ok(None) };
    let key = Key::avatar(bearer.avatar);
    let avatar: AvatarDocument =
        value(&get(key.clone())?)?.with_context(|| format!("{key} is missing"))?;
    let mut totals = BTreeMap::new();
    guarded(|| game.count(&key, &avatar.game, &mut totals))?;
    Ok(Some(AvatarBooks {
        name: name.to_owned(),
        avatar: bearer.avatar,
        epoch: avatar.epoch.0,
        sequence: avatar.sequence.0,
        chain: avatar.chain,
        outcomes: avatar
            .outcomes
            .iter()
            .map(|outcome| OutcomeInBooks {
                sequence: outcome.sequence.0,
                command: outcome.command,
                chain: outcome.chain,
            })
            .collect(),
        totals: plain(totals),
    }))
}

/// The totals of the world: it scans the store.
///
/// # Errors
/// If the store cannot be read, or a document is damaged.
pub fn world_totals(store: &dyn Store, game: &dyn Game) -> Result<BTreeMap<String, Totals>> {
    let mut totals = BTreeMap::new();
    let mut problem = Ok(());
    store.scan("", &mut |key, document| match counted(&key, &document) {
        Ok(Some(value)) => {
            if let Err(panic) = guarded(|| game.count(&key, &value, &mut totals)) {
                problem = Err(anyhow::Error::from(panic).context(key.to_string()));
            }
        }
        Ok(None) => {}
        Err(error) => problem = Err(error.context(key.to_string())),
    })?;
    problem?;
    Ok(plain(totals))
}

/// The value of a document that the game counts: its state in an avatar, and documents of its own kinds.
fn counted(key: &Key, document: &Document) -> Result<Option<serde_json::Value>> {
    match key.kind() {
        "avatar" => Ok(value::<AvatarDocument>(document)?.map(|avatar| avatar.game)),
        kind if kind != "chunk" && KINDS.contains(&kind) => Ok(None),
        _ => Ok(document.value.as_ref().map(|bytes| json::decode(bytes)).transpose()?),
    }
}

fn value<T: Stored>(document: &Document) -> Result<Option<T>> {
    read(document).map_err(anyhow::Error::msg)
}

fn plain(totals: BTreeMap<String, Total>) -> BTreeMap<String, Totals> {
    let plain = |total: Total| Totals {
        held: total.held,
        lying: total.lying,
        gathered: total.gathered,
        consumed: total.consumed,
    };
    totals.into_iter().map(|(item, total)| (item, plain(total))).collect()
}
