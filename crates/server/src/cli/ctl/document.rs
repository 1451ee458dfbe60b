//! `pelago ctl get` and `pelago ctl edit`: one document.

use super::origin::{Origin, OriginArguments};
use super::shown::Shown;
use crate::output::print;
use anyhow::{Context, Result, bail};
use clap::Args;
use pelago_model::edit::Edit;
use pelago_model::{Document, Key, Revision};
use pelago_store::{edit_now, load_now};
use tokio::runtime::Handle;

pub(super) const EXAMPLES: &str = "\
Examples:
  pelago ctl get world --store embedded:data/store
  pelago ctl get avatar/0000000000000c01 --server http://127.0.0.1:8081
  pelago ctl edit avatar/0000000000000c01 --set /game/held/berry=3 --server http://127.0.0.1:8081
  pelago ctl edit avatar/0000000000000c01 --remove /game/held/berry --revision 12 --store embedded:data/store

Paths are JSON pointers (RFC 6901), values are JSON without fractions. An edit leaves no audit: to give something, use a grant.";

#[derive(Args)]
pub(super) struct GetArguments {
    /// Its key
    #[arg(value_parser = Key::parse)]
    key: Key,
    #[command(flatten)]
    origin: OriginArguments,
}

#[derive(Args)]
pub(super) struct EditArguments {
    /// Its key
    #[arg(value_parser = Key::parse)]
    key: Key,
    /// Set what stands at a path
    #[arg(long, value_name = "PATH=JSON", value_parser = set)]
    set: Vec<Edit>,
    /// Remove what stands at a path, after everything was set
    #[arg(long, value_name = "PATH", value_parser = remove)]
    remove: Vec<Edit>,
    /// Only if the document has this revision
    #[arg(long)]
    revision: Option<u64>,
    #[command(flatten)]
    origin: OriginArguments,
}

fn set(text: &str) -> Result<Edit> {
    let (path, value) = text.split_once('=').context("it is PATH=JSON")?;
    let value = serde_json::from_str(value)
        .with_context(|| format!("{value:?} is not JSON; a text is written '\"text\"'"))?;
    Ok(Edit::Set { path: path.to_owned(), value })
}

fn remove(text: &str) -> Result<Edit> {
    Ok(Edit::Remove { path: text.to_owned() })
}

pub(super) fn get(arguments: &GetArguments, runtime: &Handle) -> Result<()> {
    let key = &arguments.key;
    let shown = match arguments.origin.open(runtime)? {
        Origin::Server(mut remote) => remote.document(key)?,
        Origin::Store(store) => {
            let found = load_now(&*store, vec![key.clone()]);
            store.close();
            Shown::of(key, found?.pop().unwrap_or(Document::ABSENT))?
        }
    };
    show(&shown)
}

pub(super) fn edit(arguments: &EditArguments, runtime: &Handle) -> Result<()> {
    let EditArguments { key, set, remove, revision, origin } = arguments;
    let edits = [&set[..], remove].concat();
    if edits.is_empty() {
        bail!("say what to --set or to --remove");
    }
    let revision = revision.map(Revision);
    let edited = match origin.open(runtime)? {
        Origin::Server(mut remote) => remote.edit(key, revision, &edits)?,
        Origin::Store(store) => {
            let edited = edit_now(&*store, key, revision, &edits);
            store.close();
            Shown::of(key, edited.with_context(|| key.to_string())?)?
        }
    };
    show(&edited)
}

fn show(shown: &Shown) -> Result<()> {
    print(serde_json::to_string_pretty(shown)?)
}
