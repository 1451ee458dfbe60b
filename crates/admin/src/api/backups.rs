//! Marks of backups: `pelago ctl backup` asks for the time when it begins, and brings it back when everything is there.

use super::{App, body, problem};
use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use pelago_game::json;
use pelago_model::{CommitOutcome, Key, Transaction, WorldTime, Write};
use pelago_node::documents::backup::{BACKUP_SCHEMA, BackupDocument};
use pelago_node::documents::schema::read;
use pelago_runtime::admin_calls::{Question, StatusAnswer};
use pelago_store::{Store, commit_now, load_now};
use serde::Deserialize;
use std::sync::Arc;

/// Bytes of a request.
const MAX_BODY_BYTES: usize = 1024;
/// How often the mark is written anew because another backup has ended at the same moment.
const ATTEMPTS: usize = 4;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// Of a backup that is whole: when it began, as it was told then.
    #[serde(default)]
    began_ms: Option<WorldTime>,
}

/// Tells the time of the world; of a backup that is whole, notes when it began.
pub(super) async fn note(State(app): State<Arc<App>>, request: Request) -> Response {
    let asked: Asked = match body::json(request, MAX_BODY_BYTES).await {
        Ok(asked) => asked,
        Err(response) => return response,
    };
    let statuses = app.ask::<StatusAnswer>(&Question::Status).await;
    // The earliest: what any node commits from now on bears no earlier time.
    let times = statuses.into_iter().filter_map(|(_, status)| Some(status.ok()?.world.time_ms));
    let Some(now) = times.min() else {
        let sentence = "no node tells the time of the world";
        return problem(StatusCode::SERVICE_UNAVAILABLE, "unavailable", sentence);
    };
    let Some(began) = asked.began_ms else { return answer(now) };
    if began > now {
        let sentence = "began_ms: a backup has not begun in the future";
        return problem(StatusCode::BAD_REQUEST, "malformed", sentence);
    }
    let store = app.store.clone();
    match tokio::task::spawn_blocking(move || write(&*store, began)).await {
        Ok(Some(began)) => answer(began),
        Ok(None) | Err(_) => {
            let sentence = "the mark of the backup could not be stored: ask again later";
            problem(StatusCode::SERVICE_UNAVAILABLE, "unavailable", sentence)
        }
    }
}

fn answer(began: WorldTime) -> Response {
    Json(serde_json::json!({"began_ms": began})).into_response()
}

/// Notes when the backup began, unless one that began later is noted already.
fn write(store: &dyn Store, began: WorldTime) -> Option<WorldTime> {
    for _ in 0..ATTEMPTS {
        let present = load_now(store, vec![Key::last_backup()]).ok()?.pop()?;
        let noted = read::<BackupDocument>(&present).ok()?;
        if let Some(noted) = noted.filter(|noted| noted.began >= began) {
            return Some(noted.began);
        }
        let value = Some(json::encode(&BackupDocument { began }).ok()?);
        let (key, expected) = (Key::last_backup(), present.revision);
        let writes = vec![Write { key, expected, schema: BACKUP_SCHEMA, value }];
        match commit_now(store, Transaction { checks: Vec::new(), writes }) {
            CommitOutcome::Committed => return Some(began),
            CommitOutcome::Conflict { .. } => {}
            CommitOutcome::Failed | CommitOutcome::Unknown => return None,
        }
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use pelago_store::Memory;

    #[test]
    fn the_mark_of_the_later_backup_stays() {
        let store = Memory::default();
        assert_eq!(write(&store, WorldTime(5)), Some(WorldTime(5)));
        assert_eq!(write(&store, WorldTime(9)), Some(WorldTime(9)));
        assert_eq!(write(&store, WorldTime(7)), Some(WorldTime(9)));
        let mark: BackupDocument = read(&store.get(&Key::last_backup())).unwrap().unwrap();
        assert_eq!(mark.began, WorldTime(9));
    }
}
