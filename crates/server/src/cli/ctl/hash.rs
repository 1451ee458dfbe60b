//! `pelago ctl hash`: which world it is.

use super::origin::OriginArguments;
use crate::output::print;
use anyhow::{Context, Result, bail};
use clap::Args;
use pelago_model::{Backoff, Retry};
use pelago_store::WorldHash;
use pelago_store::archive::{Archive, Source};
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::runtime::Handle;

pub(super) const EXAMPLES: &str = "\
Examples:
  pelago ctl hash --store embedded:data/store
  pelago ctl hash --server http://127.0.0.1:8081
  pelago ctl hash --archive backups/monday

The hash is of a world in which nobody plays: while documents change, the command says so and ends with an error.";

/// How often it is tried while the world changes.
const AGAIN: Backoff = Backoff { first_ms: 1000, longest_ms: 2000, attempts: 5 };

#[derive(Args)]
pub(super) struct HashArguments {
    #[command(flatten)]
    origin: OriginArguments,
    /// An archive, whose parts are all read and compared
    #[arg(long, value_name = "DIRECTORY", conflicts_with_all = ["store", "server"])]
    archive: Option<PathBuf>,
}

pub(super) fn run(arguments: &HashArguments, runtime: &Handle) -> Result<()> {
    let hash = match &arguments.archive {
        Some(directory) => of_archive(directory)?,
        None => arguments.origin.open(runtime)?.read(of_source)?,
    };
    print(hash)?;
    Ok(())
}

fn of_archive(directory: &Path) -> Result<WorldHash> {
    let archive = Archive::open(directory).context("--archive")?;
    let (hash, _) = archive.hash()?;
    if archive.manifest().hash != Some(hash) {
        bail!("--archive: its parts are of the world {hash}, and its manifest says otherwise");
    }
    Ok(hash)
}

fn of_source(source: &mut dyn Source) -> Result<WorldHash> {
    let mut retry = Retry::new(AGAIN);
    loop {
        let reading = source.hash()?;
        if reading.quiet {
            return Ok(reading.hash);
        }
        let Some(pause_ms) = retry.failed(RandomState::new().hash_one(())) else {
            bail!(
                "the world changed while it was read, {} times: let nobody play, or make a backup and ask for its hash",
                AGAIN.attempts
            )
        };
        std::thread::sleep(Duration::from_millis(pause_ms.unsigned_abs()));
    }
}
