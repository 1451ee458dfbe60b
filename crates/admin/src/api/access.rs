//! Access to the API and the metrics: it is for requests with the token.

use crate::answer::problem;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// The proof that is asked of a reader: the token of this hash. Comparing hashes of blake3 is constant in time.
#[derive(Clone, Copy, Debug)]
pub struct Access(blake3::Hash);

impl Access {
    /// Those who have this token.
    pub fn token(token: &str) -> Self {
        Self(blake3::hash(token.as_bytes()))
    }

    /// Decides about a request.
    fn lets_in(self, headers: &HeaderMap) -> bool {
        let text = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = text.and_then(bearer);
        token.is_some_and(|token| blake3::hash(token.as_bytes()) == self.0)
    }
}

/// Lets a request through, or answers it.
pub(super) async fn guard(State(access): State<Access>, request: Request, next: Next) -> Response {
    if access.lets_in(request.headers()) {
        return next.run(request).await;
    }
    let sentence = "send the admin token: Authorization: Bearer TOKEN";
    let body = problem(StatusCode::UNAUTHORIZED, "unauthorized", sentence);
    ([(header::WWW_AUTHENTICATE, "Bearer")], body).into_response()
}

fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_opens_and_nothing_else_does() {
        let access = Access::token("a token of 16 and more");
        for (value, expected) in [
            ("Bearer a token of 16 and more", true),
            ("bearer a token of 16 and more", true),
            ("Bearer a token of 16 and mora", false),
            ("Bearer ", false),
            ("Basic a token of 16 and more", false),
            ("a token of 16 and more", false),
        ] {
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())]);
            assert_eq!(access.lets_in(&headers), expected, "{value}");
        }
        // Being on this machine is not enough.
        let local = HeaderMap::from_iter([(header::HOST, "127.0.0.1:8080".parse().unwrap())]);
        assert!(!access.lets_in(&local));
        assert!(!access.lets_in(&HeaderMap::new()));
    }

    #[test]
    fn nothing_shows_the_token() {
        let access = Access::token("a token of 16 and more");
        assert!(!format!("{access:?}").contains("a token"));
    }
}
