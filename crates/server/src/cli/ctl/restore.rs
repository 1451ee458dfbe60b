//! `pelago ctl restore` and `import`: files into an empty store.
#![allow(clippy::print_stdout, reason = "a command prints")]

use super::meter::MeterArguments;
use super::origin::address;
use anyhow::{Context, Result, bail};
use clap::Args;
use pelago_model::{Document, Key};
use pelago_node::avatar::{AVATAR_SCHEMA, NAME_SCHEMA, PLACE_SCHEMA, SERIALS_SCHEMA};
use pelago_node::node::WORLD_SCHEMA;
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
    println!("{report:#}");
    Ok(())
}

/// Whether this program knows the schema of a document. Those of a game are its own: it says so when it reads them.
fn known(key: &Key, document: &Document) -> Result<(), String> {
    let newest = match key.kind() {
        "world" | "island" => WORLD_SCHEMA,
        "avatar" => AVATAR_SCHEMA,
        "place" => PLACE_SCHEMA,
        "name" => NAME_SCHEMA,
        "ids" => SERIALS_SCHEMA,
        _ => return Ok(()),
    };
    if document.schema > newest {
        let found = document.schema;
        return Err(format!("has schema {found}, and this program knows schemas up to {newest}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use pelago_model::{EntityId, Revision};

    #[test]
    fn a_newer_schema_is_not_known() {
        let document = |schema| Document { schema, revision: Revision(1), value: None };
        assert_eq!(known(&Key::avatar(EntityId(1)), &document(AVATAR_SCHEMA)), Ok(()));
        let problem = known(&Key::avatar(EntityId(1)), &document(AVATAR_SCHEMA + 1));
        assert!(problem.is_err_and(|problem| problem.contains("has schema 2")));
    }
}
