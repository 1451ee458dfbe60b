//! What the handlers of both listeners have in common: answers that are problems, and whom they are asked by.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use pelago_net::HostRule;
use pelago_net::hosts::ForeignHost;
use serde_json::json;

/// An answer that says what is wrong: a code for programs, a sentence for people.
pub(crate) fn problem(status: StatusCode, code: &str, sentence: &str) -> Response {
    (status, Json(json!({"code": code, "sentence": sentence}))).into_response()
}

/// A header as text; what is no text is empty, and so matches nothing.
pub(crate) fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).map(|value| value.to_str().unwrap_or_default())
}

/// Whether a proxy has handed the request on, as far as it says so.
pub(crate) fn is_forwarded(headers: &HeaderMap) -> bool {
    let by_proxy = |name: &HeaderName| {
        let name = name.as_str();
        name == "forwarded" || name == "via" || name.starts_with("x-forwarded-")
    };
    headers.keys().any(by_proxy)
}

/// Lets requests through that name a host of ours; of pages, those of our own.
pub(crate) async fn for_players(
    State(hosts): State<HostRule>,
    request: Request,
    next: Next,
) -> Response {
    match hosts.check(text(request.headers(), header::HOST), None) {
        Ok(()) => next.run(request).await,
        Err(foreign) => refused(foreign),
    }
}

/// The same for operators. What a proxy has handed on is never of this machine, and no page of a stranger's may ask.
pub(crate) async fn for_operators(
    State(hosts): State<HostRule>,
    request: Request,
    next: Next,
) -> Response {
    let headers = request.headers();
    let (host, origin) = (text(headers, header::HOST), text(headers, header::ORIGIN));
    let checked = match is_forwarded(headers) {
        true => hosts.check_forwarded(host, origin),
        false => hosts.check(host, origin),
    };
    match checked {
        Ok(()) => next.run(request).await,
        Err(foreign) => refused(foreign),
    }
}

/// The answer to a request that is not meant for us.
pub(crate) fn refused(foreign: ForeignHost) -> Response {
    problem(StatusCode::FORBIDDEN, "host", &foreign.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_header_of_a_proxy_gives_it_away() {
        let with = |name: &str| {
            let name: HeaderName = name.parse().unwrap();
            is_forwarded(&HeaderMap::from_iter([(name, "x".parse().unwrap())]))
        };
        for name in ["Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host"]
        {
            assert!(with(name), "{name}");
        }
        assert!(!with("Host") && !with("X-Request-Id"));
    }
}
