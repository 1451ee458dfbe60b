//! Grants and audits: `POST /api/v1/grants`, `GET /api/v1/audit/{avatar}`.

use super::{App, body};
use crate::answer::problem;
use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use pelago_model::key::MalformedKey;
use pelago_model::{Document, EntityId, GrantKey, Key, keys_of_name};
use pelago_node::documents::audit::AuditDocument;
use pelago_node::documents::avatar::{NameDocument, read};
use pelago_runtime::admin_calls::{AskError, GrantAnswer, GrantQuestion, Question, ask};
use pelago_store::load_now;
use serde::Deserialize;
use serde_json::{Value, json};
use std::ops::ControlFlow;
use std::sync::Arc;

/// Bytes of the body of a grant.
const MAX_BODY_BYTES: usize = 4096;
/// Audits of one answer.
const PAGE: usize = 100;

/// What an operator asks for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// The idempotency key.
    key: GrantKey,
    /// The avatar that gets it: by id,
    avatar: Option<EntityId>,
    /// or by name.
    name: Option<String>,
    /// What: the game's.
    what: Value,
    /// Why, and by whom.
    #[serde(default)]
    reason: String,
}

pub(super) async fn grant(State(app): State<Arc<App>>, request: Request) -> Response {
    let asked: Asked = match body::json(request, MAX_BODY_BYTES).await {
        Ok(asked) => asked,
        Err(response) => return response,
    };
    let avatar = match (asked.avatar, asked.name) {
        (Some(avatar), None) => avatar,
        (None, Some(name)) => match bearer(&app, &name).await {
            Ok(avatar) => avatar,
            Err(response) => return response,
        },
        _ => {
            let sentence = "name either an avatar or a name";
            return problem(StatusCode::BAD_REQUEST, "malformed", sentence);
        }
    };
    // Equal values have equal texts, however the operator's program writes them.
    let what = asked.what.to_string();
    let Some(node) = app.next_node() else {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "there is no node");
    };
    let key = asked.key.to_string();
    let question = GrantQuestion { key: asked.key, avatar, what, reason: asked.reason };
    let granted = ask(&*app.calls, node, Question::Grant(question)).await;
    answer(&key, avatar, granted)
}

fn answer(key: &str, avatar: EntityId, granted: Result<GrantAnswer, AskError>) -> Response {
    let (code, sentence) = match granted {
        Ok(GrantAnswer::Done { effects }) => {
            return Json(json!({"key": key, "avatar": avatar, "effects": effects})).into_response();
        }
        Ok(GrantAnswer::Refused { code, sentence }) => (code, sentence),
        Err(error @ (AskError::Busy(_) | AskError::NoSuchNode(_))) => {
            ("busy".to_owned(), format!("{error}: ask again later."))
        }
        Err(error) => {
            let sentence = format!(
                "It may have been granted or not, {error}: ask again with the same key to find out."
            );
            ("unknown".to_owned(), sentence)
        }
    };
    let status = match &*code {
        "unknown" => StatusCode::GATEWAY_TIMEOUT,
        "busy" => StatusCode::SERVICE_UNAVAILABLE,
        "no_such_avatar" => StatusCode::NOT_FOUND,
        "key_used" => StatusCode::CONFLICT,
        "internal" => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    };
    let again = matches!(&*code, "unknown" | "busy");
    let body = json!({
        "key": key,
        "avatar": avatar,
        "code": code,
        "sentence": sentence,
        "ask_again": again,
    });
    let response = (status, Json(body)).into_response();
    if again { ([(header::RETRY_AFTER, "1")], response).into_response() } else { response }
}

/// The avatar that bears a name.
async fn bearer(app: &App, name: &str) -> Result<EntityId, Response> {
    let (store, keys) = (app.store.clone(), keys_of_name(name));
    let found = tokio::task::spawn_blocking(move || load_now(&*store, keys)).await;
    let unavailable =
        || problem(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "the store cannot read");
    let Ok(Ok(found)) = found else { return Err(unavailable()) };
    for document in &found {
        match NameDocument::read(document) {
            Ok(Some(name)) => return Ok(name.avatar),
            Ok(None) => {}
            Err(_) => {
                let text = "the name's document cannot be read";
                return Err(problem(StatusCode::INTERNAL_SERVER_ERROR, "internal", text));
            }
        }
    }
    Err(problem(StatusCode::NOT_FOUND, "no_such_avatar", "nobody bears this name"))
}

/// A page of what an avatar's commands and grants did, in the order of their keys.
pub(super) async fn audit(
    State(app): State<Arc<App>>,
    Path(avatar): Path<String>,
    uri: Uri,
) -> Response {
    let malformed = |sentence| problem(StatusCode::BAD_REQUEST, "malformed", sentence);
    let Ok(avatar) = avatar.parse::<EntityId>() else {
        return malformed("an id is 16 hexadecimal digits");
    };
    let Ok(after) = uri.query().map(after).transpose() else {
        return malformed("after=KEY is the only parameter");
    };
    let store = app.store.clone();
    let page = tokio::task::spawn_blocking(move || {
        let (mut page, mut next): (Vec<(Key, Document)>, _) = (Vec::new(), None);
        store.scan_after(&Key::audits(avatar), after.as_ref(), &mut |key, document| {
            if page.len() == PAGE {
                next = page.last().map(|(key, _)| key.clone());
                return ControlFlow::Break(());
            }
            page.push((key, document));
            ControlFlow::Continue(())
        })?;
        Ok::<_, pelago_store::ReadError>((page, next))
    });
    let Ok(Ok((page, next))) = page.await else {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "the store cannot read");
    };
    let mut audits = Vec::new();
    for (key, document) in page {
        match read::<AuditDocument>(&document) {
            Ok(audit) => audits.push(json!({"key": key, "audit": audit})),
            Err(error) => {
                let sentence = format!("{key}: {error}");
                return problem(StatusCode::INTERNAL_SERVER_ERROR, "internal", &sentence);
            }
        }
    }
    Json(json!({"audits": audits, "next": next})).into_response()
}

/// The key that a page begins after. Keys need no escapes; programs escape `/` all the same.
fn after(query: &str) -> Result<Key, MalformedKey> {
    let text = query.strip_prefix("after=").ok_or(MalformedKey)?;
    Key::parse(&text.replace("%2F", "/").replace("%2f", "/"))
}
