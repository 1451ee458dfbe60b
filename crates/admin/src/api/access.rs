//! Access to the API and the metrics: it is for requests with the token, or from this machine.

use super::problem;
use anyhow::{Context, Result, bail};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

/// Characters of an admin token at least.
const MIN_TOKEN_CHARACTERS: usize = 16;
/// The environment variable that holds the token if no file is named.
const TOKEN_VARIABLE: &str = "PELAGO_ADMIN_TOKEN";

/// The proof that is asked of a reader.
#[derive(Clone, Copy, Debug)]
pub enum Access {
    /// To be on this machine, and to have asked for it by a name of this machine's own: the page of a stranger, whose name
    /// leads here, is refused.
    Loopback,
    /// The token of this hash. Comparing hashes of blake3 is constant in time.
    Token(blake3::Hash),
}

/// Why somebody may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// No token, or the wrong one.
    Unauthorized,
    /// A name that is not this machine's own was asked for: a page of a stranger, whose name now leads here.
    Host,
}

impl Access {
    /// Chooses by where HTTP listens, and by the token in a file or in the environment.
    ///
    /// # Errors
    /// If the token cannot be read or is too short, or if strangers could read without one.
    pub fn choose(http: SocketAddr, file: Option<&Path>) -> Result<Self> {
        let token = token("--admin-token-file", file)?;
        let token = token.map(|(text, from)| Self::of(&text).context(from)).transpose()?;
        match token {
            Some(access) => Ok(access),
            None if http.ip().is_loopback() => Ok(Self::Loopback),
            None => bail!(
                "--http {http} is open to others: name a token with --admin-token-file or {TOKEN_VARIABLE}"
            ),
        }
    }

    fn of(token: &str) -> Result<Self> {
        if token.chars().count() < MIN_TOKEN_CHARACTERS {
            bail!("an admin token has at least {MIN_TOKEN_CHARACTERS} characters");
        }
        Ok(Self::Token(blake3::hash(token.as_bytes())))
    }

    /// Decides about a request.
    pub fn check(&self, headers: &HeaderMap) -> Result<(), Denied> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        match self {
            Self::Loopback => {
                let host = text(header::HOST).unwrap_or_default();
                if is_loopback_name(host) { Ok(()) } else { Err(Denied::Host) }
            }
            Self::Token(hash) => {
                let token = text(header::AUTHORIZATION).and_then(bearer);
                let matches = token.is_some_and(|token| blake3::hash(token.as_bytes()) == *hash);
                if matches { Ok(()) } else { Err(Denied::Unauthorized) }
            }
        }
    }
}

/// The token in a file or in the environment, and where it was found.
fn token(flag: &str, file: Option<&Path>) -> Result<Option<(String, String)>> {
    if let Some(file) = file {
        let from = format!("{flag} {}", file.display());
        let text = std::fs::read_to_string(file).with_context(|| from.clone())?;
        return Ok(Some((text.trim().to_owned(), from)));
    }
    match std::env::var(TOKEN_VARIABLE) {
        Ok(text) => Ok(Some((text.trim().to_owned(), TOKEN_VARIABLE.to_owned()))),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(error) => Err(error).context(TOKEN_VARIABLE),
    }
}

/// What a client of the API sends, if there is a token in the file that a flag names, or in the environment.
///
/// # Errors
/// If the token cannot be read or sent.
pub fn bearer_of(flag: &'static str, file: Option<&Path>) -> Result<Option<HeaderValue>> {
    let Some((text, from)) = token(flag, file)? else { return Ok(None) };
    let mut value = HeaderValue::from_str(&format!("Bearer {text}")).context(from)?;
    value.set_sensitive(true);
    Ok(Some(value))
}

impl IntoResponse for Denied {
    fn into_response(self) -> Response {
        match self {
            Self::Unauthorized => {
                let sentence = "send the admin token: Authorization: Bearer TOKEN";
                let body = problem(StatusCode::UNAUTHORIZED, "unauthorized", sentence);
                ([(header::WWW_AUTHENTICATE, "Bearer")], body).into_response()
            }
            Self::Host => {
                let sentence = "ask by the address of this machine, or by localhost";
                problem(StatusCode::FORBIDDEN, "host", sentence)
            }
        }
    }
}

/// Lets a request through, or answers it.
pub(super) async fn guard(State(access): State<Access>, request: Request, next: Next) -> Response {
    match access.check(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(denied) => denied.into_response(),
    }
}

fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Whether a host (`name[:port]`) names this machine as loopback. The owner of any other name can make it resolve to
/// this machine.
fn is_loopback_name(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn the_token_opens_and_nothing_else_does() {
        let access = Access::of("a token of 16 and more").unwrap();
        for (value, expected) in [
            ("Bearer a token of 16 and more", Ok(())),
            ("bearer a token of 16 and more", Ok(())),
            ("Bearer a token of 16 and mora", Err(Denied::Unauthorized)),
            ("Bearer ", Err(Denied::Unauthorized)),
            ("Basic a token of 16 and more", Err(Denied::Unauthorized)),
            ("a token of 16 and more", Err(Denied::Unauthorized)),
        ] {
            assert_eq!(access.check(&headers(header::AUTHORIZATION, value)), expected, "{value}");
        }
        assert_eq!(access.check(&HeaderMap::new()), Err(Denied::Unauthorized));
        // Being on this machine is not enough where there is a token.
        let local = headers(header::HOST, "127.0.0.1:8080");
        assert_eq!(access.check(&local), Err(Denied::Unauthorized));
    }

    #[test]
    fn the_open_api_answers_only_to_names_of_this_machine() {
        for (host, expected) in [
            ("127.0.0.1:8080", Ok(())),
            ("127.0.0.1", Ok(())),
            ("localhost:8080", Ok(())),
            ("LocalHost", Ok(())),
            ("[::1]:8080", Ok(())),
            ("evil.example:8080", Err(Denied::Host)),
            ("127.0.0.1.evil.example", Err(Denied::Host)),
            ("localhost.evil.example:8080", Err(Denied::Host)),
            ("192.168.0.7:8080", Err(Denied::Host)),
            ("", Err(Denied::Host)),
        ] {
            let checked = Access::Loopback.check(&headers(header::HOST, host));
            assert_eq!(checked, expected, "{host}");
        }
        assert_eq!(Access::Loopback.check(&HeaderMap::new()), Err(Denied::Host));
    }

    #[test]
    fn nothing_shows_the_token() {
        let access = Access::of("a token of 16 and more").unwrap();
        assert!(!format!("{access:?}").contains("a token"));
    }
}
