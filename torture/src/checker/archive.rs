//! Archives, read by their page (`docs/archive.md`) alone.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// A document that is there.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    pub(crate) revision: u64,
    pub(crate) value: Value,
}

/// The documents of a world by their keys, without those that are deleted.
pub(crate) type Documents = BTreeMap<String, Document>;

/// Bytes that are taken from the front.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).context("a part ends too early")?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self, bytes: usize) -> Result<u64> {
        Ok(self.take(bytes)?.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn key(&mut self) -> Result<String> {
        let length = self.number(1)? as usize;
        Ok(String::from_utf8(self.take(length)?.to_vec())?)
    }
}

/// Reads an archive: of every key the highest revision.
pub(crate) fn read(folder: &Path) -> Result<Documents> {
    let manifest = std::fs::read(folder.join("manifest.json")).context("manifest.json")?;
    let manifest: Value = serde_json::from_slice(&manifest)?;
    ensure!(manifest["complete"] == true, "the archive is not complete");
    let mut all: BTreeMap<String, (u64, Option<Value>)> = BTreeMap::new();
    for part in manifest["parts"].as_array().context("parts")? {
        let file = part["file"].as_str().context("file")?;
        let bytes = std::fs::read(folder.join(file)).with_context(|| file.to_owned())?;
        for (key, revision, value) in read_part(&bytes).with_context(|| file.to_owned())? {
            let newest = all.entry(key).or_default();
            if revision >= newest.0 {
                *newest = (revision, value);
            }
        }
    }
    let present = |(key, (revision, value)): (String, (u64, Option<Value>))| {
        Some((key, Document { revision, value: value? }))
    };
    Ok(all.into_iter().filter_map(present).collect())
}

fn read_part(bytes: &[u8]) -> Result<Vec<(String, u64, Option<Value>)>> {
    let (content, hash) = bytes.split_last_chunk::<32>().context("a part without a hash")?;
    ensure!(blake3::hash(content) == *hash, "a part does not have its hash");
    let mut bytes = Bytes(content);
    ensure!(bytes.take(8)? == b"PELAGOPT", "no part of an archive");
    ensure!(bytes.number(2)? == 1, "another version");
    let (_flags, _number, count) = (bytes.number(2)?, bytes.number(4)?, bytes.number(4)?);
    let (_position, _first, _last) = (bytes.take(16)?, bytes.key()?, bytes.key()?);
    let mut documents = Vec::new();
    for _ in 0..count {
        let key = bytes.key()?;
        let length = bytes.number(4)? as usize;
        let mut envelope = Bytes(bytes.take(length)?);
        let (_version, flags, _schema) =
            (envelope.number(1)?, envelope.number(1)?, envelope.number(2)?);
        let revision = envelope.number(8)?;
        if flags & 2 != 0 {
            let marks = envelope.number(4)? as usize;
            envelope.take(marks)?;
        }
        let value = if flags & 1 != 0 { None } else { Some(serde_json::from_slice(envelope.0)?) };
        documents.push((key, revision, value));
    }
    ensure!(bytes.0.is_empty(), "something follows the last document");
    Ok(documents)
}
