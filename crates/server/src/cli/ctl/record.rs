//! `pelago ctl record`: flight recordings of nodes that run.

use super::origin::ServerArguments;
use crate::output::print;
use anyhow::{Context, Result, bail};
use axum::http::{Method, StatusCode};
use clap::Args;
use pelago_admin::http_client::Question;
use pelago_runtime::admin_calls::RecordedFile;
use pelago_store::files;
use serde::Deserialize;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::runtime::Handle;

pub(super) const EXAMPLES: &str = "\
Examples:
  pelago ctl record --server http://127.0.0.1:8081
  pelago ctl record --server http://127.0.0.1:8081 --node 2

Each node writes one file for each of its machines, on its own disk, and the command prints where. Run one again with
cargo xtask replay FILE.";

/// How long the nodes may take.
const PATIENCE: Duration = Duration::from_secs(300);

#[derive(Args)]
pub(super) struct RecordArguments {
    #[command(flatten)]
    server: ServerArguments,
    /// Only this node, by its number
    #[arg(long)]
    node: Option<u16>,
    /// Copy the files into this directory, too: for nodes that run on this machine
    #[arg(long, value_name = "DIRECTORY")]
    into: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Answered {
    nodes: Vec<OfNode>,
}

#[derive(Deserialize)]
struct OfNode {
    node: u16,
    #[serde(default)]
    files: Vec<RecordedFile>,
    problem: Option<String>,
}

pub(super) fn run(arguments: &RecordArguments, runtime: &Handle) -> Result<()> {
    let client = arguments.server.client()?;
    let mut client = client.context("name the server that runs the world, with --server")?;
    let body = match arguments.node {
        Some(node) => json!({ "node": node }),
        None => json!({}),
    };
    let body = Some(("application/json", body.to_string().into()));
    let question =
        Question { method: Method::POST, path: "/api/v1/record", body, patience: PATIENCE };
    let (status, body) = runtime.block_on(client.ask(&question))?;
    if status != StatusCode::OK {
        bail!("the server says {status}: {}", String::from_utf8_lossy(&body));
    }
    let answered: Answered =
        serde_json::from_slice(&body).context("the answer of the server is not understood")?;
    let mut problems = Vec::new();
    for OfNode { node, files, problem } in answered.nodes {
        for RecordedFile { file, inputs, whole, .. } in files {
            let from = if whole { "since its start" } else { "the last of them" };
            print(format_args!("{file}  {inputs} inputs, {from}"))?;
            if let Some(into) = &arguments.into {
                copy(Path::new(&file), into).with_context(|| format!("--into: {file}"))?;
            }
        }
        problems.extend(problem.map(|problem| format!("node {node}: {problem}")));
    }
    if !problems.is_empty() {
        bail!("{}", problems.join("; "));
    }
    Ok(())
}

fn copy(file: &Path, into: &Path) -> Result<()> {
    let name = file.file_name().context("it has no name")?;
    files::create_directory(into)?;
    Ok(files::replace(&into.join(name), &std::fs::read(file)?)?)
}
