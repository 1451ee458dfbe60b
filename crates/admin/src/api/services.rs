//! Calls to the services of a studio: `POST /api/v1/services/{role}/{key}`.

use super::{App, body};
use crate::answer::problem;
use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use pelago_model::limits::MAX_DOCUMENT_BYTES;
use pelago_model::{Key, Role};
use pelago_runtime::admin_calls::{
    AskError, Question, ServiceCallAnswer, ServiceCallQuestion, ask,
};
use serde_json::{Value, json};
use std::sync::Arc;

/// Bytes of the body of a call.
const MAX_BODY_BYTES: usize = MAX_DOCUMENT_BYTES;

pub(super) async fn call(
    State(app): State<Arc<App>>,
    Path((role, key)): Path<(String, String)>,
    request: Request,
) -> Response {
    let malformed = |sentence: &str| problem(StatusCode::BAD_REQUEST, "malformed", sentence);
    let role = match Role::parse(&role) {
        Ok(role) => role,
        Err(error) => return malformed(&error.to_string()),
    };
    let key = match Key::parse(&key) {
        Ok(key) => key,
        Err(error) => return malformed(&error.to_string()),
    };
    let body: Value = match body::json(request, MAX_BODY_BYTES).await {
        Ok(body) => body,
        Err(response) => return response,
    };
    let Some(node) = app.next_node() else {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "there is no node");
    };
    let question = ServiceCallQuestion { role, key, body: body.to_string() };
    answer(ask(&*app.calls, node, Question::Call(question)).await)
}

fn answer(asked: Result<ServiceCallAnswer, AskError>) -> Response {
    let (code, sentence) = match asked {
        Ok(ServiceCallAnswer::Answered { answer }) => return Json(answer).into_response(),
        Ok(ServiceCallAnswer::Failed { code, sentence }) => (code, sentence),
        Err(error @ (AskError::Busy(_) | AskError::NoSuchNode(_))) => {
            ("busy".to_owned(), format!("{error}: ask again later."))
        }
        Err(error) => {
            ("unknown".to_owned(), format!("The call may have been carried out or not: {error}."))
        }
    };
    let status = match &*code {
        "no_such_service" => StatusCode::NOT_FOUND,
        "busy" => StatusCode::SERVICE_UNAVAILABLE,
        "unknown" => StatusCode::GATEWAY_TIMEOUT,
        "not_json" => StatusCode::BAD_GATEWAY,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    };
    let again = matches!(&*code, "unknown" | "busy");
    let body = Json(json!({"code": code, "sentence": sentence, "ask_again": again}));
    let response = (status, body).into_response();
    if again { ([(header::RETRY_AFTER, "1")], response).into_response() } else { response }
}
