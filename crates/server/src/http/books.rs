//! The books: `GET /api/v1/audit` for the totals of the world, `GET /api/v1/books/{name}` for an avatar's. They are what
//! `pelago bots --verify` compares a journal with. Both read on a thread of their own, never in the way of play.

use super::{App, problem};
use anyhow::{Context, Result};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use pelago_bots::{AvatarBooks, StoredOutcome, Totals, hex};
use pelago_game::{Game, Total, json};
use pelago_model::key::KINDS;
use pelago_model::{Document, Key};
use pelago_node::avatar::{AvatarDocument, NameDocument};
use pelago_node::schema::{Stored, read};
use pelago_store::{Store, load_now};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The totals of the world: it scans the store.
pub(super) async fn of_world(State(app): State<Arc<App>>) -> Response {
    let (store, game) = (app.cluster.store.clone(), app.cluster.game.clone());
    let read = tokio::task::spawn_blocking(move || world_totals(&*store, &*game)).await;
    match read.map_err(Into::into).flatten() {
        Ok(totals) => Json(json!({ "totals": totals })).into_response(),
        Err(error) => unreadable(&error),
    }
}

/// The books of the avatar with a name.
pub(super) async fn of_avatar(State(app): State<Arc<App>>, Path(name): Path<String>) -> Response {
    let (store, game) = (app.cluster.store.clone(), app.cluster.game.clone());
    let read = tokio::task::spawn_blocking(move || avatar_books(&*store, &*game, &name)).await;
    match read.map_err(Into::into).flatten() {
        Ok(Some(books)) => Json(books).into_response(),
        Ok(None) => problem(StatusCode::NOT_FOUND, "not_found", "nobody has this name"),
        Err(error) => unreadable(&error),
    }
}

fn unreadable(error: &anyhow::Error) -> Response {
    tracing::error!(error = format!("{error:#}"), "the books could not be read");
    problem(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the books cannot be read")
}

/// The books of the avatar with a name; `None` if nobody has it.
pub(crate) fn avatar_books(
    store: &dyn Store,
    game: &dyn Game,
    name: &str,
) -> Result<Option<AvatarBooks>> {
    let get = |key: Key| -> Result<Document> {
        let mut found = load_now(store, vec![key])?;
        found.pop().context("the store answered with too few documents")
    };
    let Some(bearer) = NameDocument::read(&get(Key::name(name))?).map_err(anyhow::Error::msg)?
    else {
        return Ok(None);
    };
    let key = Key::avatar(bearer.avatar);
    let avatar: AvatarDocument =
        value(&get(key.clone())?)?.with_context(|| format!("{key} is missing"))?;
    let mut totals = BTreeMap::new();
    game.count(&key, &avatar.game, &mut totals);
    Ok(Some(AvatarBooks {
        name: name.to_owned(),
        avatar: bearer.avatar,
        epoch: avatar.epoch.0,
        sequence: avatar.sequence.0,
        chain: hex(&avatar.chain.0),
        outcomes: avatar
            .outcomes
            .iter()
            .map(|outcome| StoredOutcome {
                sequence: outcome.sequence.0,
                command: hex(&outcome.command.0),
                chain: hex(&outcome.chain.0),
            })
            .collect(),
        totals: plain(totals),
    }))
}

/// The totals of the world.
pub(crate) fn world_totals(store: &dyn Store, game: &dyn Game) -> Result<BTreeMap<String, Totals>> {
    let mut totals = BTreeMap::new();
    let mut problem = Ok(());
    store.scan("", &mut |key, document| match counted(&key, &document) {
        Ok(Some(value)) => game.count(&key, &value, &mut totals),
        Ok(None) => {}
        Err(error) => problem = Err(error.context(key.to_string())),
    })?;
    problem?;
    Ok(plain(totals))
}

/// What the game counts of a document: its part of an avatar, and documents of its own kinds.
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
