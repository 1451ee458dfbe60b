//! `pelago ctl backup` and `export`: a world into files.

use super::meter::MeterArguments;
use super::origin::{Origin, OriginArguments};
use crate::output::print;
use anyhow::Result;
use clap::Args;
use pelago_runtime::unix_ms;
use pelago_store::archive::{self, Event, Kind, Plan, Source, SourceError};
use serde_json::json;
use std::path::PathBuf;
use tokio::runtime::Handle;

pub(super) const EXAMPLES: &str = "\
Examples:
  pelago ctl backup --server http://127.0.0.1:8081 --into backups/monday
  pelago ctl backup --server https://world.example --ca ca.pem --token-file token --into backups/monday
  pelago ctl export --store embedded:data/store --into moving

People may play meanwhile. A command that broke off goes on where it ended when it is given again. The directory \
has the world's secrets: keep it as the store itself. docs/operating/worlds.md says more.";

#[derive(Args)]
pub(super) struct BackupArguments {
    #[command(flatten)]
    origin: OriginArguments,
    /// The directory to make: new or empty, or one in which the same command broke off
    #[arg(long, value_name = "DIRECTORY")]
    into: PathBuf,
    #[command(flatten)]
    meter: MeterArguments,
}

pub(super) fn run(arguments: &BackupArguments, kind: Kind, runtime: &Handle) -> Result<()> {
    let program = concat!("pelago ", env!("CARGO_PKG_VERSION"));
    let plan = Plan::new(&arguments.into, kind, program, unix_ms());
    let mut meter = arguments.meter.meter();
    let mut make = |source: &mut dyn Source| {
        let made = archive::backup(source, &plan, &mut |event| match event {
            Event::Progress(progress) => meter.tell(progress),
            Event::Resumed(parts) => meter.say(&format!("goes on after {parts} parts")),
            Event::BegunAnew(oldest) => {
                tracing::warn!("begins anew: the store keeps no changes before {oldest} any more");
            }
            Event::Checking => meter.say("reads what was written"),
        });
        Ok(made?)
    };
    let (manifest, marked) = match arguments.origin.open(runtime)? {
        Origin::Server(mut remote) if kind == Kind::Backup => {
            let began = without_mark(remote.backup(None));
            let manifest = make(&mut remote)?;
            let marked = began.and_then(|began| without_mark(remote.backup(Some(began))));
            (manifest, marked.is_some())
        }
        origin => (origin.read(make)?, false),
    };
    drop(meter);
    let bytes: u64 = manifest.parts.iter().map(|part| part.bytes).sum();
    let report = json!({
        "directory": arguments.into,
        "kind": manifest.kind,
        "world": manifest.world.number,
        "documents": manifest.documents,
        "parts": manifest.parts.len(),
        "bytes": bytes,
        "position": manifest.position,
        "hash": manifest.hash,
        "marked": marked,
    });
    print(format_args!("{report:#}"))?;
    Ok(())
}

/// A backup is whole without a mark at the server; rules of retention then remove nothing because of it.
fn without_mark<T>(marked: Result<T, SourceError>) -> Option<T> {
    marked
        .inspect_err(|error| tracing::warn!(%error, "the server takes no mark of this backup"))
        .ok()
}
