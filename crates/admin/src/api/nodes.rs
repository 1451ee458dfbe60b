//! What nodes tell of themselves: the cluster, its islands, whether they live and are ready.

use super::App;
use crate::answer::problem;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use pelago_model::NodeId;
use pelago_runtime::admin_calls::{AskError, IslandAnswer, Question, StatusAnswer, ask_all};
use pelago_runtime::{Reason, ReasonCode, TaskReport};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

/// Tasks that `/api/v1/cluster` names: the worst.
const MAX_TASKS: usize = 100;
/// How often it is looked whether a node that seems to be dead lives after all.
const LOOKS: usize = 3;
const BETWEEN_LOOKS: Duration = Duration::from_millis(250);

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

    /// Why players cannot be sent to the nodes, of all of them.
    async fn reasons(&self) -> Vec<(NodeId, Reason)> {
        let answers = self.ask::<StatusAnswer>(&Question::Status).await;
        let of_node = |(node, answer): (NodeId, Result<StatusAnswer, AskError>)| {
            let reasons = match answer {
                Ok(status) => status.readiness.reasons,
                Err(error) => {
                    let code = match error {
                        AskError::Ended(_) => ReasonCode::Ended,
                        _ => ReasonCode::Task,
                    };
                    vec![Reason { code, sentence: error.to_string() }]
                }
            };
            reasons.into_iter().map(move |reason| (node, reason))
        };
        answers.into_iter().flat_map(of_node).collect()
    }
}

/// Whether players can be sent to all nodes of this process: 200, or 503 with the reasons.
pub(super) async fn ready(State(app): State<Arc<App>>) -> Response {
    let reasons = app.reasons().await;
    let ready = reasons.is_empty();
    (status(ready), Json(json!({"ready": ready, "reasons": told(&reasons)}))).into_response()
}

/// Whether all nodes of this process may come to themselves again without a restart: 200, or 503 with the reasons. A
/// process that was stopped for a while has to look around first.
pub(super) async fn alive(State(app): State<Arc<App>>) -> Response {
    let mut deaths = Vec::new();
    for _ in 0..LOOKS {
        let is_death = |(_, reason): &(NodeId, Reason)| reason.code.is_death();
        deaths = app.reasons().await.into_iter().filter(is_death).collect();
        if deaths.is_empty() {
            break;
        }
        sleep(BETWEEN_LOOKS).await;
    }
    let alive = deaths.is_empty();
    (status(alive), Json(json!({"alive": alive, "reasons": told(&deaths)}))).into_response()
}

fn status(is_well: bool) -> StatusCode {
    if is_well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

fn told(reasons: &[(NodeId, Reason)]) -> Vec<Value> {
    let told = |(node, Reason { code, sentence }): &(NodeId, Reason)| json!({"node": node, "code": code, "sentence": sentence});
    reasons.iter().map(told).collect()
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
            "reasons": status.readiness.reasons,
            "alarms": status.alarms,
            "clock": status.world.clock,
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
