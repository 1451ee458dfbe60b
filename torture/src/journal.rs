//! The players' journal: a line of JSON for every command that they were told was done.

use anyhow::{Context, Result};
use serde::Deserialize;
use std::path::Path;

/// A command that was acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Acknowledged {
    /// Of the avatar.
    pub(crate) name: String,
    /// In hexadecimal digits.
    pub(crate) avatar: String,
    pub(crate) sequence: u64,
    /// The hash chain after it, in hexadecimal digits.
    pub(crate) chain: String,
}

/// Reads what is there. A last line that is not whole yet is left for later.
pub(crate) fn read(path: &Path) -> Result<Vec<Acknowledged>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).context("the journal"),
    };
    let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
    let parse = |line: &str| serde_json::from_str(line).with_context(|| format!("journal: {line}"));
    whole.lines().map(parse).collect()
}

/// How many lines there are.
pub(crate) fn count(path: &Path) -> usize {
    let bytes = std::fs::read(path).unwrap_or_default();
    bytes.iter().filter(|byte| **byte == b'\n').count()
}
