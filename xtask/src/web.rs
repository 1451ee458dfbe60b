//! The page: its packages, checks and build.

use crate::run::{root, run};
use crate::tools::check_node;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

fn npm(arguments: &[&str]) -> Command {
    let mut command = Command::new("npm");
    command.args(arguments).current_dir(root().join("web"));
    command
}

/// Installs the packages of the lock file, if it has changed since the last time.
fn install() -> Result<()> {
    check_node()?;
    let web = root().join("web");
    let lock = fs::read(web.join("package-lock.json")).context("web/package-lock.json")?;
    let stamp = web.join("node_modules/.installed");
    if fs::read(&stamp).is_ok_and(|installed| installed == lock) {
        return Ok(());
    }
    run(npm(&["ci", "--no-audit", "--no-fund"]))?;
    fs::write(stamp, lock).context("web/node_modules")
}

/// Types and unit tests.
pub(crate) fn check() -> Result<()> {
    install()?;
    run(npm(&["run", "--silent", "check"]))?;
    run(npm(&["test", "--silent"]))
}

/// Builds the page into `web/dist`, if anything is newer than the last build.
pub(crate) fn build() -> Result<()> {
    install()?;
    let web = root().join("web");
    let built = fs::metadata(web.join("dist/index.html")).and_then(|it| it.modified()).ok();
    let sources =
        ["src", "public", "index.html", "package-lock.json", "pack.mjs", "vite.config.ts"];
    let newest = sources.iter().filter_map(|source| newest(&web.join(source))).max();
    let proto = newest_of(&root().join("crates/wire/proto"));
    if built.is_some() && built >= newest.max(proto) {
        return Ok(());
    }
    run(npm(&["run", "--silent", "build"]))
}

/// The end-to-end test in a browser.
pub(crate) fn end_to_end(binary: &Path) -> Result<()> {
    install()?;
    let mut command = npm(&["run", "--silent", "e2e"]);
    command.env("PELAGO_BIN", binary);
    run(command)
}

fn newest(path: &Path) -> Option<SystemTime> {
    if path.is_dir() { newest_of(path) } else { fs::metadata(path).ok()?.modified().ok() }
}

/// The latest change below a folder, of what is not generated.
fn newest_of(folder: &Path) -> Option<SystemTime> {
    let entries = fs::read_dir(folder).ok()?;
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let written = |path: &PathBuf| !path.to_string_lossy().contains("generated");
    paths.filter(written).filter_map(|path| newest(&path)).max()
}
