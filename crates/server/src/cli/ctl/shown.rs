//! A document as it is shown.

use anyhow::{Context, Result, bail};
use pelago_model::{Document, Key, Revision};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A document as it is shown, and as a server tells it.
#[derive(Deserialize, Serialize)]
pub(super) struct Shown {
    key: Key,
    pub(super) revision: Revision,
    schema: u16,
    value: Value,
}

impl Shown {
    /// A document as it is stored.
    pub(super) fn of(key: &Key, document: Document) -> Result<Self> {
        let Some(bytes) = document.value else {
            bail!("{key}: there is no document under the key")
        };
        let value =
            serde_json::from_slice(&bytes).with_context(|| format!("{key}: it is not JSON"))?;
        Ok(Self { key: key.clone(), revision: document.revision, schema: document.schema, value })
    }
}
