//! The books: `GET /api/v1/audit` for the totals of the world, `GET /api/v1/books/{name}` for an avatar's. They are what
//! `pelago bots --verify` compares a journal with. Both read on a thread of their own, never in the way of play.

use super::App;
use crate::answer::problem;
use crate::books::{avatar_books, world_totals};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use std::sync::Arc;

/// The totals of the world: it scans the store.
pub(super) async fn of_world(State(app): State<Arc<App>>) -> Response {
    let (store, game) = (app.store.clone(), app.game.clone());
    let read = tokio::task::spawn_blocking(move || world_totals(&*store, &*game)).await;
    match read.map_err(Into::into).flatten() {
        Ok(totals) => Json(json!({ "totals": totals })).into_response(),
        Err(error) => unreadable(&error),
    }
}

/// The books of the avatar with a name.
pub(super) async fn of_avatar(State(app): State<Arc<App>>, Path(name): Path<String>) -> Response {
    let (store, game) = (app.store.clone(), app.game.clone());
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
