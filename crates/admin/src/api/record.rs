//! Flight recordings: `POST /api/v1/record`.

use super::{App, body};
use crate::answer::problem;
use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use pelago_model::NodeId;
use pelago_runtime::admin_calls::{AskError, Question, RecordAnswer, ask};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// Bytes of the body.
const MAX_BODY_BYTES: usize = 256;

/// Of what an operator wants recordings.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// The node; without it, all of them.
    node: Option<NodeId>,
}

/// Lets nodes write down what their machines were told last. They do so one after the other: no disk has to take all at
/// once.
pub(super) async fn record(State(app): State<Arc<App>>, request: Request) -> Response {
    let asked: Asked = match body::json(request, MAX_BODY_BYTES).await {
        Ok(asked) => asked,
        Err(response) => return response,
    };
    let known = app.calls.nodes();
    let nodes = match asked.node {
        Some(node) if !known.contains(&node) => {
            let sentence = format!("there is no node {node}");
            return problem(StatusCode::NOT_FOUND, "no_such_node", &sentence);
        }
        Some(node) => vec![node],
        None => known,
    };
    let mut answers = Vec::new();
    for node in nodes {
        answers.push(told(node, ask(&*app.calls, node, Question::Record).await));
    }
    Json(json!({ "nodes": answers })).into_response()
}

fn told(node: NodeId, answer: Result<RecordAnswer, AskError>) -> Value {
    match answer {
        Ok(RecordAnswer::Written { files }) => json!({"node": node, "files": files}),
        Ok(RecordAnswer::Failed { problem }) => json!({"node": node, "problem": problem}),
        Err(error) => json!({"node": node, "problem": error.to_string()}),
    }
}
