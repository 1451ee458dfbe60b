//! One document, for operators: `GET` and `PATCH /api/v1/store/document/KEY`.

use super::{App, body};
use crate::answer::problem;
use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use pelago_model::edit::Edit;
use pelago_model::limits::MAX_DOCUMENT_BYTES;
use pelago_model::{Document, Key, Revision};
use pelago_store::{EditError, Store, edit_now, load_now};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// Bytes of the body of edits: room for a whole document.
const MAX_BODY_BYTES: usize = 2 * MAX_DOCUMENT_BYTES;

/// What an operator asks for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// Only if the document has it.
    revision: Option<Revision>,
    /// All of them, or none.
    edits: Vec<Edit>,
}

pub(super) async fn get(State(app): State<Arc<App>>, Path(key): Path<String>) -> Response {
    let read = |store: &dyn Store, key: &Key| -> Result<Document, EditError> {
        let found = load_now(store, vec![key.clone()])?.pop();
        found.filter(|document| document.value.is_some()).ok_or(EditError::NoDocument)
    };
    with_store(app, key, read).await
}

pub(super) async fn patch(
    State(app): State<Arc<App>>,
    Path(key): Path<String>,
    request: Request,
) -> Response {
    let asked: Asked = match body::json(request, MAX_BODY_BYTES).await {
        Ok(asked) => asked,
        Err(response) => return response,
    };
    let edit = move |store: &dyn Store, key: &Key| {
        let edited = edit_now(store, key, asked.revision, &asked.edits)?;
        let paths: Vec<&str> = asked.edits.iter().map(Edit::path).collect();
        tracing::info!(%key, revision = %edited.revision, ?paths, "an operator edited a document");
        Ok(edited)
    };
    with_store(app, key, edit).await
}

/// Does it on a thread that may wait, and answers with the document.
async fn with_store(
    app: Arc<App>,
    key: String,
    work: impl FnOnce(&dyn Store, &Key) -> Result<Document, EditError> + Send + 'static,
) -> Response {
    let key = match Key::parse(&key) {
        Ok(key) => key,
        Err(error) => return problem(StatusCode::BAD_REQUEST, "malformed", &error.to_string()),
    };
    let (store, of) = (app.store.clone(), key.clone());
    match tokio::task::spawn_blocking(move || work(&*store, &of)).await {
        Ok(Ok(document)) => answer(&key, &document),
        Ok(Err(error)) => refused(&error),
        Err(_) => problem(StatusCode::INTERNAL_SERVER_ERROR, "internal", "it broke off"),
    }
}

fn answer(key: &Key, document: &Document) -> Response {
    let value = document.value.as_deref().map(serde_json::from_slice::<Value>).transpose();
    match value {
        Ok(value) => Json(json!({
            "key": key,
            "revision": document.revision,
            "schema": document.schema,
            "value": value,
        }))
        .into_response(),
        Err(_) => problem(StatusCode::INTERNAL_SERVER_ERROR, "damaged", "the document is not JSON"),
    }
}

fn refused(error: &EditError) -> Response {
    let (status, code) = match error {
        EditError::NoDocument => (StatusCode::NOT_FOUND, "not_found"),
        EditError::Revision { .. } => (StatusCode::CONFLICT, "revision"),
        EditError::Contended => (StatusCode::CONFLICT, "contended"),
        EditError::AppendOnly => (StatusCode::UNPROCESSABLE_ENTITY, "append_only"),
        EditError::NotEdited(_) | EditError::Value(_) => {
            (StatusCode::UNPROCESSABLE_ENTITY, "not_edited")
        }
        EditError::Damaged(_) => (StatusCode::INTERNAL_SERVER_ERROR, "damaged"),
        EditError::Read(_) | EditError::Failed => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        EditError::Unknown => (StatusCode::GATEWAY_TIMEOUT, "unknown"),
    };
    problem(status, code, &error.to_string())
}
