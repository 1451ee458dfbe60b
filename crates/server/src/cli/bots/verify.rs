//! `pelago bots --verify`: a journal against the books that the API of a server tells.

use super::BotsArguments;
use anyhow::{Context, Result, bail};
use axum::http::{Method, StatusCode};
use bytes::Bytes;
use pelago_admin::http_client::{HttpClient, Question, trust};
use pelago_admin::token::bearer_of;
use pelago_bots::{AvatarBooks, Journal, Totals, Verdict};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// How long an answer may take: the totals of the world are a scan of the store.
const PATIENCE: Duration = Duration::from_secs(120);

/// The totals of the world.
#[derive(Deserialize)]
struct World {
    totals: BTreeMap<String, Totals>,
}

pub(super) async fn verify(journal: &Path, arguments: &BotsArguments) -> Result<Verdict> {
    let Some(url) = &arguments.server else {
        bail!("--verify reads the books of a server: say where its API is with --server URL");
    };
    let journal = Journal::read(journal)?;
    let token = arguments.admin_token_file.as_deref();
    let authorization = bearer_of("--admin-token-file", token, &arguments.data)?;
    let trust = trust(arguments.ca.as_deref(), arguments.fingerprint)?;
    let mut client = HttpClient::new(url, trust, authorization).context("--server")?;
    let mut books: BTreeMap<String, AvatarBooks> = BTreeMap::new();
    for name in journal.names() {
        let path = format!("/api/v1/books/{}", escaped(name));
        if let Some(answer) = ask(&mut client, &path).await? {
            books.insert(name.to_owned(), serde_json::from_slice(&answer).context(path)?);
        }
    }
    let path = "/api/v1/audit";
    let answer = ask(&mut client, path).await?.with_context(|| format!("{url} has no {path}"))?;
    let world: World = serde_json::from_slice(&answer).context(path)?;
    Ok(journal.compare(&books, &world.totals))
}

/// The answer to a question; `None` if there is nothing of this name.
async fn ask(client: &mut HttpClient, path: &str) -> Result<Option<Bytes>> {
    let question = Question { method: Method::GET, path, body: None, patience: PATIENCE };
    match client.ask(&question).await? {
        (StatusCode::OK, answer) => Ok(Some(answer)),
        (StatusCode::NOT_FOUND, _) => Ok(None),
        (status, answer) => bail!("{path}: {status}: {}", String::from_utf8_lossy(&answer)),
    }
}

/// A name as a part of a path.
fn escaped(name: &str) -> String {
    let mut escaped = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_is_one_part_of_a_path() {
        assert_eq!(escaped("bot-1-7"), "bot-1-7");
        assert_eq!(escaped("a/b ä?"), "a%2Fb%20%C3%A4%3F");
    }
}
