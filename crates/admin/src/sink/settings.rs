//! The section `[sink]` of the configuration.

use anyhow::{Context, Result, bail};
use axum::http::HeaderValue;
use pelago_model::Key;
use pelago_net::{Fingerprint, Trust};
use pelago_store::archive::MAX_PAGE_CHANGES;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The configuration of a sink.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct SinkConfig {
    /// Lines of JSON are appended to this file.
    file: Option<PathBuf>,
    /// Documents are sent to `_bulk` of this server.
    http: Option<String>,
    /// The prefix of the names of indices.
    pub(super) index: String,
    /// Of which kinds documents are handed on. Those with secrets (`world`, `name`) have to be named.
    pub(super) kinds: Vec<String>,
    /// Changes of one page.
    pub(super) batch: usize,
    /// The file of its bookmark in the feed.
    pub(super) state: Option<PathBuf>,
    /// A file with the whole value of `Authorization`.
    authorization_file: Option<PathBuf>,
    /// Whom to trust: certificates (PEM).
    ca: Option<PathBuf>,
    /// Whom to trust: the fingerprint of the server's certificate.
    fingerprint: Option<String>,
}

impl Default for SinkConfig {
    fn default() -> Self {
        Self {
            file: None,
            http: None,
            index: "pelago".to_owned(),
            kinds: ["avatar", "chunk", "island"].map(str::to_owned).to_vec(),
            batch: MAX_PAGE_CHANGES,
            state: None,
            authorization_file: None,
            ca: None,
            fingerprint: None,
        }
    }
}

impl SinkConfig {
    /// Whether it makes sense.
    ///
    /// # Errors
    /// Names the key.
    pub fn check(&self) -> Result<()> {
        if self.file.is_some() == self.http.is_some() {
            bail!("sink: one of sink.file and sink.http is needed");
        }
        if !(1..=MAX_PAGE_CHANGES).contains(&self.batch) {
            bail!("sink.batch is a number from 1 to {MAX_PAGE_CHANGES}");
        }
        let is_kind = |kind: &String| !kind.contains('/') && Key::parse(kind).is_ok();
        if self.kinds.is_empty() || !self.kinds.iter().all(is_kind) {
            bail!("sink.kinds lists kinds of documents, as in {:?}", Self::default().kinds);
        }
        // Of what OpenSearch allows.
        if Key::parse(&self.index).is_err()
            || self.index.contains('/')
            || self.index.starts_with('_')
        {
            bail!("sink.index: {:?} cannot begin the name of an index", self.index);
        }
        Ok(())
    }

    pub(super) fn http_url(&self) -> Option<&str> {
        self.http.as_deref()
    }

    pub(super) fn file_path(&self) -> PathBuf {
        self.file.clone().unwrap_or_default()
    }

    pub(super) fn trust(&self) -> Result<Option<Trust>> {
        let fingerprint = self.fingerprint.as_deref().map(str::parse::<Fingerprint>);
        let fingerprint = fingerprint.transpose().context("sink.fingerprint")?;
        crate::http_client::trust(self.ca.as_deref(), fingerprint)
    }

    pub(super) fn authorization(&self) -> Result<Option<HeaderValue>> {
        self.authorization_file.as_deref().map(authorization).transpose()
    }
}

fn authorization(file: &Path) -> Result<HeaderValue> {
    let named = || format!("sink.authorization_file {}", file.display());
    let text = std::fs::read_to_string(file).with_context(named)?;
    let mut value = HeaderValue::from_str(text.trim()).with_context(named)?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_every_key() {
        let page = include_str!("../../../../docs/operating/sink.md");
        let keys = serde_json::to_value(SinkConfig::default()).unwrap();
        for key in keys.as_object().unwrap().keys() {
            assert!(page.contains(&format!("`sink.{key}`")), "{key}");
        }
        assert!(page.contains(&format!("| `sink.batch` | {MAX_PAGE_CHANGES} |")));
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let file = || SinkConfig { file: Some("lines".into()), ..SinkConfig::default() };
        assert!(file().check().is_ok());
        for (config, expected) in [
            (SinkConfig::default(), "sink.http"),
            (SinkConfig { http: Some("http://a".into()), ..file() }, "sink.http"),
            (SinkConfig { batch: 0, ..file() }, "sink.batch"),
            (SinkConfig { kinds: Vec::new(), ..file() }, "sink.kinds"),
            (SinkConfig { kinds: vec!["Avatar".into()], ..file() }, "sink.kinds"),
            (SinkConfig { index: "_all".into(), ..file() }, "sink.index"),
        ] {
            let error = config.check().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
