//! The bulk interface of OpenSearch (`POST /_bulk`), which others speak, too.
//!
//! A document's index is `PREFIX-KIND`, its id the key, its version the revision: what comes again or late changes
//! nothing.

use super::lines::line;
use super::settings::SinkConfig;
use crate::http_client::{HttpClient, Question};
use anyhow::{Context, Result, bail};
use axum::http::{Method, StatusCode};
use pelago_model::{Document, Key};
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a page may take.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct Bulk {
    client: HttpClient,
    index: String,
}

/// What is read of an answer: how each action ended.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    errors: bool,
    #[serde(default)]
    items: Vec<BTreeMap<String, Item>>,
}

#[derive(Deserialize)]
struct Item {
    status: u16,
    #[serde(default, rename = "_id")]
    id: String,
    #[serde(default)]
    error: serde_json::Value,
}

/// How an action ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Taken,
    /// It will not be taken: it does not fit the index.
    Rejected,
    /// It may be taken later.
    Later,
}

impl Bulk {
    pub(super) fn new(config: &SinkConfig, url: &str) -> Result<Self> {
        let client = HttpClient::new(url, config.trust()?, config.authorization()?)?;
        Ok(Self { client, index: config.index.clone() })
    }

    /// Sends documents; says how many were rejected for good.
    pub(super) async fn deliver(&mut self, documents: &[(Key, Document)]) -> Result<u64> {
        let body = actions(&self.index, documents)?.into();
        let question = Question {
            method: Method::POST,
            path: "/_bulk",
            body: Some(("application/x-ndjson", body)),
            patience: PATIENCE,
        };
        let (status, answer) = self.client.ask(&question).await?;
        if status != StatusCode::OK {
            let text: String = String::from_utf8_lossy(&answer).chars().take(200).collect();
            bail!("it answered {status}: {text}");
        }
        let answer: Answer = serde_json::from_slice(&answer).context("its answer")?;
        if answer.errors { rejected(&answer) } else { Ok(0) }
    }
}

fn actions(index: &str, documents: &[(Key, Document)]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    for (key, document) in documents {
        let action = json!({
            "_index": format!("{index}-{}", key.kind()),
            "_id": key,
            "version": document.revision,
            "version_type": "external_gte",
        });
        if document.value.is_some() {
            serde_json::to_writer(&mut out, &json!({ "index": action }))?;
            out.push(b'\n');
            serde_json::to_writer(&mut out, &line(key, document))?;
        } else {
            serde_json::to_writer(&mut out, &json!({ "delete": action }))?;
        }
        out.push(b'\n');
    }
    Ok(out)
}

fn rejected(answer: &Answer) -> Result<u64> {
    let mut rejected = 0;
    for item in answer.items.iter().flat_map(BTreeMap::values) {
        match end(item.status) {
            End::Taken => {}
            End::Rejected => {
                tracing::warn!(id = item.id, error = %item.error, "the sink rejects a document");
                rejected += 1;
            }
            End::Later => bail!("it answered {} for {}: {}", item.status, item.id, item.error),
        }
    }
    Ok(rejected)
}

fn end(status: u16) -> End {
    match status {
        // A newer revision is there already, or what is deleted never was.
        200..=299 | 404 | 409 => End::Taken,
        401 | 403 | 408 | 429 | 500.. => End::Later,
        _ => End::Rejected,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use pelago_model::Revision;

    #[test]
    fn actions_are_lines_with_versions() {
        let key = Key::parse("avatar/1").unwrap();
        let document = |value| Document { schema: 1, revision: Revision(7), value };
        let documents = [(key.clone(), document(Some("{}".into()))), (key.clone(), document(None))];
        let text = String::from_utf8(actions("world", &documents).unwrap()).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0]["index"]["_index"], "world-avatar");
        assert_eq!(lines[0]["index"]["version"], 7);
        assert_eq!(lines[1]["value"], json!({}));
        assert_eq!(lines[2]["delete"]["_id"], "avatar/1");
    }

    #[test]
    fn what_does_not_fit_is_left_and_what_may_come_later_is_repeated() {
        let answer = |statuses: &[u16]| {
            let item = |status: &u16| json!({"index": {"_id": "a", "status": status}});
            let items: Vec<_> = statuses.iter().map(item).collect();
            serde_json::from_value::<Answer>(json!({"errors": true, "items": items})).unwrap()
        };
        assert_eq!(rejected(&answer(&[200, 201, 404, 409])).unwrap(), 0);
        assert_eq!(rejected(&answer(&[200, 400, 413])).unwrap(), 2);
        for status in [429, 500, 503, 403] {
            assert!(rejected(&answer(&[200, 400, status])).is_err(), "{status}");
        }
    }
}
