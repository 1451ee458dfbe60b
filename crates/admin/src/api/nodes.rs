//! What nodes tell of themselves: the cluster, its islands, its doors, whether it is ready.

use super::{App, problem};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use pelago_model::NodeId;
use pelago_runtime::TaskReport;
use pelago_runtime::admin_calls::{AskError, IslandAnswer, Question, StatusAnswer, ask_all};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::cmp::Reverse;
use std::sync::Arc;

/// Tasks that `/api/v1/cluster` names: the worst.
const MAX_TASKS: usize = 100;

impl App {
    /// What all nodes answer. One that does not answer is an error of its own.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        question: &Question,
    ) -> Vec<(NodeId, Result<T, AskError>)> {
        let answers = ask_all(&self.calls, question).await;
        let read = |(node, answer): (NodeId, Result<_, AskError>)| {
            (node, answer.and_then(|answer: pelago_runtime::admin_calls::Answer| answer.read(node)))
        };
        answers.into_iter().map(read).collect()
    }
}

/// What the page needs to know of the nodes: where their doors are.
pub(super) async fn doors(State(app): State<Arc<App>>) -> Json<Value> {
    let answers = app.ask::<StatusAnswer>(&Question::Status).await;
    let door = |status: StatusAnswer| json!({"id": status.id, "ws": status.ws});
    let doors = answers.into_iter().filter_map(|(_, status)| status.ok().map(door));
    Json(json!({"nodes": doors.collect::<Vec<_>>()}))
}

/// Whether players can be sent to all nodes of this process.
pub(super) async fn ready(State(app): State<Arc<App>>) -> (StatusCode, &'static str) {
    let answers = app.ask::<StatusAnswer>(&Question::Status).await;
    if answers.iter().all(|(_, status)| status.as_ref().is_ok_and(|status| status.ready)) {
        (StatusCode::OK, "streams flow\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "streams do not flow\n")
    }
}

pub(super) async fn cluster(State(app): State<Arc<App>>) -> Json<Value> {
    let statuses = app.ask::<StatusAnswer>(&Question::Status).await;
    let tasks = app.ask::<Vec<TaskReport>>(&Question::Tasks).await;
    let world = statuses.iter().find_map(|(_, status)| status.as_ref().ok()).map(|status| {
        let world = &status.world;
        json!({"number": world.number, "game": world.game, "time_ms": world.time_ms})
    });
    let nodes: Vec<Value> = statuses.iter().map(|(id, status)| node(*id, status)).collect();
    let tasks = tasks.into_iter().flat_map(|(node, tasks)| {
        tasks.unwrap_or_default().into_iter().map(move |task| (node, task))
    });
    Json(json!({"nodes": nodes, "world": world, "tasks": worst_first(tasks.collect())}))
}

fn node(id: NodeId, status: &Result<StatusAnswer, AskError>) -> Value {
    match status {
        Ok(status) => json!({
            "id": status.id,
            "tcp": status.tcp,
            "ws": status.ws,
            "ready": status.ready,
            "alarms": status.alarms,
            "lanes": status.lanes,
            "connections": status.connections,
            "players": status.players,
        }),
        Err(error) => json!({"id": id, "ready": false, "problem": error.to_string()}),
    }
}

/// Tasks as they are told, those first for which something waits longest, then those with most in their mailbox, then
/// the busiest.
fn worst_first(mut tasks: Vec<(NodeId, TaskReport)>) -> Vec<Value> {
    tasks.sort_by_key(|(node, task)| {
        (Reverse((task.longest_wait_ns, task.mailbox, task.busy_ns)), *node)
    });
    tasks.truncate(MAX_TASKS);
    let told = |(node, task): (NodeId, TaskReport)| {
        json!({
            "node": node,
            "task": task.task,
            "busy_ms": task.busy_ns / 1_000_000,
            "mailbox": task.mailbox,
            "mailbox_limit": task.mailbox_limit,
            "longest_wait_us": task.longest_wait_ns / 1000,
        })
    };
    tasks.into_iter().map(told).collect()
}

/// All nodes run the same world: the first that answers tells its islands.
pub(super) async fn islands(State(app): State<Arc<App>>) -> Response {
    let answers = app.ask::<Vec<IslandAnswer>>(&Question::Islands).await;
    match answers.into_iter().find_map(|(_, islands)| islands.ok()) {
        Some(islands) => Json(json!({ "islands": islands })).into_response(),
        None => problem(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "no node answers"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_task_for_which_something_waits_longest_is_told_first() {
        let task = |task: &str, longest_wait_ns, mailbox, busy_ns| TaskReport {
            task: task.to_owned(),
            busy_ns,
            mailbox,
            mailbox_limit: None,
            longest_wait_ns,
        };
        let tasks = vec![
            (NodeId(1), task("idle", 0, 0, 0)),
            (NodeId(1), task("busy", 0, 0, 9)),
            (NodeId(1), task("waited for", 7000, 0, 1)),
            (NodeId(2), task("idle", 0, 0, 0)),
            (NodeId(2), task("full", 7000, 3, 0)),
        ];
        let told = worst_first(tasks);
        let names: Vec<_> = told.iter().map(|task| (&task["node"], &task["task"])).collect();
        let expected = [(2, "full"), (1, "waited for"), (1, "busy"), (1, "idle"), (2, "idle")]
            .map(|(node, task)| (json!(node), json!(task)));
        assert!(
            names
                .iter()
                .zip(&expected)
                .all(|(told, expected)| { (told.0, told.1) == (&expected.0, &expected.1) }),
            "{told:?}"
        );
        assert_eq!(told[0]["longest_wait_us"], 7);
    }
}
