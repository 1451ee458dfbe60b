//! The directory of a world (`--data`): what is in it, and that nobody but its owner may read it.

use anyhow::{Context, Result};
use pelago_store::files;
use std::path::{Path, PathBuf};

/// What a server keeps in the directory: the store, which sees to itself, the token of operators, which is refused if
/// others could read it, and the rest.
const STORE: &str = "store";
const TLS: &str = "tls";
const RECORDINGS: &str = "flight";
const TOKEN: &str = "admin-token";
const BOOKMARK: &str = "sink.json";

/// Where the world is, unless it is kept elsewhere.
pub(crate) fn store(data: &Path) -> PathBuf {
    data.join(STORE)
}

/// How far a sink is with the world, unless that is kept elsewhere.
pub(crate) fn bookmark(data: &Path) -> PathBuf {
    data.join(BOOKMARK)
}

/// Where the certificate is that a server has made for itself.
pub(crate) fn tls(data: &Path) -> PathBuf {
    data.join(TLS)
}

/// Where flight recordings are written.
pub(crate) fn recordings(data: &Path) -> PathBuf {
    data.join(RECORDINGS)
}

/// Creates the directory if there is none, and takes away what others may do with what an earlier build has put into it.
/// A directory that holds something else besides is left as it is, but for our own files.
///
/// # Errors
/// If it cannot be created. What cannot be closed to others is said in the log: not every file system has modes, and not
/// every file is ours.
pub(crate) fn make_private(data: &Path) -> Result<()> {
    files::create_directory(data).with_context(|| data.display().to_string())?;
    for name in [TLS, RECORDINGS, BOOKMARK] {
        let path = data.join(name);
        warn(&path, files::make_private(&path));
    }
    let closed = files::make_own_directory_private(data, |name| {
        // With the endings of what is being made.
        [STORE, TOKEN, TLS, RECORDINGS, BOOKMARK].iter().any(|ours| {
            name.strip_prefix(ours)
                .is_some_and(|ending| ending.is_empty() || ending.ends_with(".new"))
        })
    });
    warn(data, closed);
    Ok(())
}

fn warn(path: &Path, closed: std::io::Result<()>) {
    if let Err(error) = closed {
        tracing::warn!(path = %path.display(), %error, "others may read it");
    }
}
