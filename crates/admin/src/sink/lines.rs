//! A file of lines of JSON, one for each document as it became.

use anyhow::{Context, Result};
use pelago_model::{Document, Key};
use pelago_store::files;
use serde_json::{Value, json};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Bytes that are looked through at once for the last end of a line.
const LOOK_BYTES: u64 = 4096;

pub(super) struct Lines {
    path: PathBuf,
}

impl Lines {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Appends documents. The file is opened each time, so that it may be moved away at any time.
    pub(super) async fn deliver(&self, documents: Vec<(Key, Document)>) -> Result<()> {
        let path = self.path.clone();
        tokio::task::spawn_blocking(move || append(&path, &documents))
            .await?
            .with_context(|| format!("sink.file {}", self.path.display()))
    }
}

fn append(path: &Path, documents: &[(Key, Document)]) -> io::Result<()> {
    let mut text = Vec::new();
    for (key, document) in documents {
        serde_json::to_writer(&mut text, &line(key, document))?;
        text.push(b'\n');
    }
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    let is_new = file.metadata()?.len() == 0;
    cut_to_whole_lines(&mut file)?;
    file.write_all(&text)?;
    file.sync_data()?;
    // Lines whose file a power failure can take away were not handed on.
    if is_new { files::sync_parent(path) } else { Ok(()) }
}

/// A document as others are told of it. What is no JSON is told as text.
pub(super) fn line(key: &Key, document: &Document) -> Value {
    let value = document.value.as_deref().map(|value| {
        let text = || Value::String(String::from_utf8_lossy(value).into_owned());
        serde_json::from_slice(value).unwrap_or_else(|_| text())
    });
    json!({
        "key": key,
        "kind": key.kind(),
        "revision": document.revision,
        "schema": document.schema,
        "deleted": document.value.is_none(),
        "value": value,
    })
}

/// Goes to the end, or to before the last line if a process was killed while it wrote that line.
fn cut_to_whole_lines(file: &mut File) -> io::Result<()> {
    let length = file.seek(SeekFrom::End(0))?;
    let mut end = length;
    while end > 0 {
        let begin = end.saturating_sub(LOOK_BYTES);
        let mut bytes = vec![0; (end - begin) as usize];
        file.seek(SeekFrom::Start(begin))?;
        file.read_exact(&mut bytes)?;
        if let Some(index) = bytes.iter().rposition(|byte| *byte == b'\n') {
            end = begin + index as u64 + 1;
            break;
        }
        end = begin;
    }
    if end < length {
        file.set_len(end)?;
    }
    file.seek(SeekFrom::Start(end)).map(drop)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use pelago_model::Revision;

    #[test]
    fn lines_are_whole_whatever_was_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lines");
        let key = Key::parse("avatar/1").unwrap();
        let document = |value: Option<&'static str>| Document {
            schema: 1,
            revision: Revision(2),
            value: value.map(Into::into),
        };
        for (before, kept) in [("", ""), ("{}\n", "{}\n"), ("{}\n{\"half", "{}\n"), ("half", "")] {
            std::fs::write(&path, before).unwrap();
            let documents =
                [(key.clone(), document(Some("{\"a\":1}"))), (key.clone(), document(None))];
            append(&path, &documents).unwrap();
            let text = std::fs::read_to_string(&path).unwrap();
            let added = text.strip_prefix(kept).unwrap();
            let lines: Vec<Value> =
                added.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            assert_eq!(lines.len(), 2, "{text}");
            assert_eq!(lines[0]["value"]["a"], 1);
            assert_eq!((&lines[1]["deleted"], &lines[1]["value"]), (&true.into(), &Value::Null));
        }
        std::fs::write(&path, "x".repeat(3 * LOOK_BYTES as usize)).unwrap();
        append(&path, &[]).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 0);
    }

    #[test]
    fn what_is_no_json_is_told_as_text() {
        let document = Document { schema: 1, revision: Revision(1), value: Some("\u{1}x".into()) };
        let told = line(&Key::parse("a/1").unwrap(), &document);
        assert_eq!(told["value"], "\u{1}x");
    }
}
