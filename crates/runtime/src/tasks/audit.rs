//! The books, for `pelago bots --verify` on development nodes. Reads the whole store; never in the way of play.

use super::Shared;
use anyhow::{Context, Result};
use bytes::{Bytes, BytesMut};
use pelago_game::{Game, Total, json};
use pelago_model::key::KINDS;
use pelago_model::{Document, Key};
use pelago_node::avatar::{AvatarDocument, NameDocument};
use pelago_node::schema::{Stored, read};
use pelago_store::{Store, load_now};
use pelago_wire::client::{self, AuditReport, ServerMessage, StoredOutcome, server_message};
use pelago_wire::message::put_control;
use pelago_world::ClientId;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Answers on a thread of its own.
pub(super) fn answer(shared: Arc<Shared>, client: ClientId, name: String) {
    tokio::task::spawn_blocking(move || {
        let report = if name.is_empty() {
            world_report(&*shared.store, &*shared.game)
        } else {
            avatar_report(&*shared.store, &*shared.game, &name)
        };
        let body = match report {
            Ok(report) => server_message::Body::Audit(report),
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "an audit failed");
                server_message::Body::Refused(client::Refused {
                    code: "internal".into(),
                    sentence: "The books cannot be read.".into(),
                    trace: client.0,
                })
            }
        };
        let mut bytes = BytesMut::new();
        put_control(&mut bytes, &ServerMessage { body: Some(body) });
        if let Some(sender) = shared.client(client) {
            sender.send(&bytes.freeze());
        }
    });
}

fn avatar_report(store: &dyn Store, game: &dyn Game, name: &str) -> Result<AuditReport> {
    let mut report = AuditReport { name: name.to_owned(), ..AuditReport::default() };
    let get = |key: Key| -> Result<Document> {
        let mut found = load_now(store, vec![key])?;
        found.pop().context("the store answered with too few documents")
    };
    let Some(bearer) = NameDocument::read(&get(Key::name(name))?).map_err(anyhow::Error::msg)?
    else {
        return Ok(report);
    };
    let key = Key::avatar(bearer.avatar);
    let avatar: AvatarDocument =
        value(&get(key.clone())?)?.with_context(|| format!("{key} is missing"))?;
    let hash = |hash: [u8; 32]| Bytes::copy_from_slice(&hash);
    report.avatar = bearer.avatar.0;
    report.epoch = avatar.epoch.0;
    report.sequence = avatar.sequence.0;
    report.chain = hash(avatar.chain.0);
    report.outcomes = avatar
        .outcomes
        .iter()
        .map(|outcome| StoredOutcome {
            sequence: outcome.sequence.0,
            command: hash(outcome.command.0),
            chain: hash(outcome.chain.0),
        })
        .collect();
    let mut totals = BTreeMap::new();
    game.count(&key, &avatar.game, &mut totals);
    report.totals = to_wire(totals);
    Ok(report)
}

fn world_report(store: &dyn Store, game: &dyn Game) -> Result<AuditReport> {
    let mut totals = BTreeMap::new();
    let mut problem = Ok(());
    store.scan("", &mut |key, document| match counted(&key, &document) {
        Ok(Some(value)) => game.count(&key, &value, &mut totals),
        Ok(None) => {}
        Err(error) => problem = Err(error.context(key.to_string())),
    })?;
    problem?;
    Ok(AuditReport { totals: to_wire(totals), ..AuditReport::default() })
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

fn to_wire(totals: BTreeMap<String, Total>) -> Vec<client::Total> {
    let total = |(item, total): (String, Total)| client::Total {
        item,
        held: total.held,
        lying: total.lying,
        gathered: total.gathered,
        consumed: total.consumed,
    };
    totals.into_iter().map(total).collect()
}
