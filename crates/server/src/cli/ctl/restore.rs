//! `pelago ctl restore` and `import`: files into an empty store.

use super::meter::MeterArguments;
use super::origin::address;
use crate::output::print;
use anyhow::{Context, Result, bail};
use clap::Args;
use pelago_model::{Document, Key};
use pelago_node::documents::schema;
use pelago_store::archive::{self, Archive, Kind};
use serde_json::json;
use std::path::PathBuf;

pub(super) const EXAMPLES: &str = "\
Examples:
  pelago ctl restore --from backups/monday --store embedded:data/store
  pelago ctl import --from moving --store embedded:/srv/world/store

Nothing is written before every file was read and found whole. A command that broke off goes on where it ended when \
it is given again. docs/operating/worlds.md says more.";

#[derive(Args)]
pub(super) struct RestoreArguments {
    /// The directory that pelago ctl backup or export made
    #[arg(long, value_name = "DIRECTORY")]
    from: PathBuf,
    /// The address of an empty store; without it, the environment's PELAGO_STORE__ADDRESS
    #[arg(long, value_name = "ADDRESS")]
    store: Option<String>,
    #[command(flatten)]
    meter: MeterArguments,
}

pub(super) fn run(arguments: &RestoreArguments, kind: Kind) -> Result<()> {
    let archive = Archive::open(&arguments.from).context("--from")?;
    if kind == Kind::Backup && archive.manifest().kind == Kind::Export {
        bail!("--from: this is an export, without the places of players: use pelago ctl import");
    }
    let mut meter = arguments.meter.meter();
    let store = pelago_store::open(&address(arguments.store.as_deref())?).context("--store")?;
    if !store.capabilities().durable {
        bail!("--store: what is restored there ends with this command");
    }
    let restored =
        archive::restore(&archive, kind, &*store, &known, &mut |progress| meter.tell(progress));
    store.close();
    let restored = restored?;
    drop(meter);
    let report = json!({
        "directory": arguments.from,
        "world": archive.manifest().world.number,
        "documents": archive.manifest().documents,
        "written": restored.written,
        "hash": restored.hash,
    });
    print(format_args!("{report:#}"))?;
    Ok(())
}

/// Whether this program knows the schema of a document. Those of a game are its own: it says so when it reads them.
fn known(key: &Key, document: &Document) -> Result<(), String> {
    let Some(newest) = schema::newest(key.kind()) else { return Ok(()) };
    if document.schema > newest {
        let found = document.schema;
        return Err(format!("has schema {found}, and this program knows schemas up to {newest}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use pelago_model::Revision;
    use pelago_model::key::KINDS;

    #[test]
    fn a_newer_schema_of_any_kind_of_the_platforms_is_not_known() {
        let document = |schema| Document { schema, revision: Revision(1), value: None };
        for kind in KINDS.into_iter().filter(|kind| *kind != "chunk") {
            let key = Key::parse(&format!("{kind}/1")).unwrap();
            let newest = schema::newest(kind).unwrap();
            assert_eq!(known(&key, &document(newest)), Ok(()));
            let problem = known(&key, &document(newest + 1)).unwrap_err();
            assert!(problem.contains(&format!("has schema {}", newest + 1)), "{problem}");
        }
        let games = Key::parse("chunk/0/1/1").unwrap();
        assert_eq!(known(&games, &document(9)), Ok(()));
    }
}
