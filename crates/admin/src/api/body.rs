//! Bodies of requests: JSON, short, and soon there.

use crate::answer::problem;
use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::Response;
use serde::de::DeserializeOwned;
use std::time::Duration;
use tokio::time::timeout;

/// How long a body may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// What a request asks for, in at most `limit` bytes of JSON.
///
/// # Errors
/// The answer.
pub(super) async fn json<T: DeserializeOwned>(
    request: Request,
    limit: usize,
) -> Result<T, Response> {
    // A page of a stranger can make a browser send anything but this type.
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    if kind.and_then(|kind| kind.split(';').next()) != Some("application/json") {
        let sentence = "send it as Content-Type: application/json";
        return Err(problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content_type", sentence));
    }
    let body = match timeout(BODY_TIMEOUT, to_bytes(request.into_body(), limit)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => {
            let sentence = format!("the body has at most {limit} bytes here");
            return Err(problem(StatusCode::PAYLOAD_TOO_LARGE, "body", &sentence));
        }
        Err(_) => {
            return Err(problem(StatusCode::REQUEST_TIMEOUT, "stalled", "the body did not come"));
        }
    };
    serde_json::from_slice(&body)
        .map_err(|error| problem(StatusCode::BAD_REQUEST, "malformed", &error.to_string()))
}
