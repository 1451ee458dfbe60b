//! `pelago dev`: a whole world in one process.
#![allow(clippy::print_stdout, reason = "a command prints")]

use crate::cluster::{Cluster, ClusterSettings, MAX_NODES};
use crate::world::{NEW_ISLAND_SIZE, NewWorld};
use crate::{http, metrics};
use anyhow::{Context, Result, bail};
use clap::Args;
use pelago_client::bots::{self, Behavior, Plan};
use pelago_game::Game;
use pelago_net::Listener;
use pelago_net::recording::Passage;
use serde_json::json;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// How long the world may take until its streams flow.
const READY_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Args)]
pub(super) struct DevArguments {
    /// Nodes, linked over loopback TCP
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=MAX_NODES as i64))]
    nodes: u16,
    /// Lanes of each node
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    lanes: u8,
    /// Bots that play along
    #[arg(long, default_value_t = 0)]
    bots: usize,
    /// Where the world is kept
    #[arg(long, default_value = "./data")]
    data: PathBuf,
    /// Begin anew: the world in --data is deleted
    #[arg(long)]
    reset: bool,
    /// Where the world is kept, as an address: embedded:DIRECTORY or memory:
    #[arg(long, conflicts_with = "reset")]
    store: Option<String>,
    /// Where the first node listens for clients over TCP; the other nodes take the ports that follow
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Where the page and the API are served
    #[arg(long, default_value = "127.0.0.1:8080")]
    http: SocketAddr,
    /// From which a new world is made
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Chunks of 30 m along the side of the island of a new world
    #[arg(long, default_value_t = NEW_ISLAND_SIZE, value_parser = clap::value_parser!(u16).range(3..=512))]
    island_size: u16,
    /// Clients of one node at once
    #[arg(long, default_value_t = 20_000)]
    max_clients: usize,
    /// Record when how much passes through clients' sockets: SIGUSR1 begins, the next one ends and writes the file
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Print one line of JSON once the world is ready
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(arguments: DevArguments, game: Arc<dyn Game>) -> Result<ExitCode> {
    let files = pelago_net::raise_open_files();
    tracing::debug!(?files, "limit of open files raised");
    if arguments.reset {
        reset(&arguments.data)?;
    }
    let address = match &arguments.store {
        Some(address) => address.clone(),
        None => format!("embedded:{}", arguments.data.join("store").display()),
    };
    let store = pelago_store::open(&address)?;
    let metrics = metrics::install()?;
    let listener = Listener::bind(arguments.http).context("--http")?;
    let http_address = listener.address();
    let settings = ClusterSettings {
        nodes: arguments.nodes,
        lanes: arguments.lanes,
        listen: arguments.listen,
        new_world: NewWorld { seed: arguments.seed, island_size: arguments.island_size },
        max_clients: arguments.max_clients,
    };
    let cluster = Arc::new(Cluster::start(&settings, game, store.clone()).context("--listen")?);
    let router = http::router(cluster.clone(), metrics);
    let (stopping, mut stop) = watch::channel(false);
    let server = tokio::spawn(async move {
        let stopped = async move { drop(stop.wait_for(|stop| *stop).await) };
        axum::serve(listener.into_inner(), router).with_graceful_shutdown(stopped).await
    });
    wait_until_ready(&cluster).await?;
    // Whoever reads the announcement may signal at once.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    announce(&arguments, &cluster, http_address);
    let players = (arguments.bots > 0).then(|| {
        let addresses = cluster.nodes.iter().map(|node| node.tcp.to_string()).collect();
        let plan =
            Plan { seed: arguments.seed, ..Plan::new(addresses, arguments.bots, Behavior::Mixed) };
        tokio::spawn(bots::run(plan, stopping.subscribe()))
    });

    let recording = arguments.record.map(|file| tokio::spawn(record(cluster.clone(), file)));
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    tracing::info!("stopping");
    stopping.send_replace(true);
    if let Some(recording) = recording {
        recording.abort();
        drop(recording.await);
    }
    if let Some(players) = players {
        players.await.context("the bots")??;
    }
    // A browser may keep its connection open; the world does not wait for it.
    server.abort();
    drop(server.await);
    let Some(cluster) = Arc::into_inner(cluster) else {
        bail!("the world is still in use");
    };
    for node in cluster.nodes {
        node.stop().await;
    }
    tokio::task::spawn_blocking(move || store.close()).await?;
    tracing::info!("stopped; the world is kept");
    Ok(ExitCode::SUCCESS)
}

/// Deletes the world in a directory, but nothing that is not one.
fn reset(data: &Path) -> Result<()> {
    let store = data.join("store");
    if !store.exists() {
        return Ok(());
    }
    if !store.join("format").exists() {
        bail!("--reset: {} is not a store; delete it yourself", store.display());
    }
    std::fs::remove_dir_all(&store).with_context(|| format!("--reset: {}", store.display()))
}

async fn wait_until_ready(cluster: &Cluster) -> Result<()> {
    let ready = async {
        let mut pause = tokio::time::interval(Duration::from_millis(20));
        while !cluster.is_ready() {
            pause.tick().await;
        }
    };
    tokio::time::timeout(READY_TIMEOUT, ready).await.context("the nodes did not get ready")
}

fn announce(arguments: &DevArguments, cluster: &Cluster, http: SocketAddr) {
    if arguments.json {
        let tcp: Vec<String> = cluster.nodes.iter().map(|node| node.tcp.to_string()).collect();
        let ws: Vec<String> =
            cluster.nodes.iter().map(|node| format!("ws://{}/", node.websocket)).collect();
        println!("{}", json!({"http": format!("http://{http}"), "tcp": tcp, "ws": ws}));
    } else {
        println!("\n  The world is running: http://{http}/\n");
        println!("  {} nodes, {} bots; Ctrl-C stops it.\n", arguments.nodes, arguments.bots);
    }
}

/// Records from one SIGUSR1 to the next, again and again.
async fn record(cluster: Arc<Cluster>, file: PathBuf) -> Result<()> {
    let mut toggle = signal(SignalKind::user_defined1())?;
    loop {
        toggle.recv().await;
        cluster.begin_recording();
        toggle.recv().await;
        let passages = cluster.end_recording();
        let bytes: Vec<u8> = passages.iter().flat_map(Passage::encode).collect();
        // Whole or not at all: whoever waits for the file may read it at once.
        let part = file.with_extension("part");
        let written = std::fs::write(&part, bytes).and_then(|()| std::fs::rename(&part, &file));
        match written {
            Ok(()) => tracing::info!(passages = passages.len(), "recorded"),
            Err(error) => tracing::error!(%error, file = %file.display(), "--record"),
        }
    }
}
