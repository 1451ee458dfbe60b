//! `pelago dev`: a whole world in one process.
#![allow(clippy::print_stdout, reason = "a command prints")]

mod nodes;
mod recording;

use crate::certificate::Certificate;
use crate::config::Config;
use anyhow::{Context, Result, bail};
use clap::Args;
use nodes::{MAX_NODES, Nodes, NodesSettings};
use pelago_admin::api::ApiSettings;
use pelago_admin::{MeasuredStore, Sink, api, metrics};
use pelago_bots::{Behavior, Plan};
use pelago_client::Transport;
use pelago_game::Game;
use pelago_game::land::MAX_ISLAND_SIZE;
use pelago_net::{Listener, OpenFiles, ServerTls, Trust};
use pelago_runtime::bootstrap::NEW_ISLAND_SIZE;
use pelago_runtime::service::ServiceKind;
use pelago_runtime::{NewWorld, Node};
use pelago_store::Store;
use serde_json::json;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// The fewest chunks along the side of an island.
const MIN_ISLAND_SIZE: u16 = 3;
/// How often it is looked whether the store has come to an end of its own.
const LOOK_AT_STORE_EVERY: Duration = Duration::from_millis(250);

#[derive(Args)]
pub(super) struct DevArguments {
    /// Nodes, linked over loopback TCP
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=MAX_NODES as i64))]
    nodes: u16,
    /// Lanes of each node
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    lanes: u8,
    /// Tasks of each node over which durable turns and other services are spread by key
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    services: u8,
    /// How many lanes of a node share the players who arrive in one chunk
    #[arg(long, default_value_t = pelago_node::placement::DEFAULT_SPREAD, value_parser = clap::value_parser!(u8).range(1..=64))]
    spread: u8,
    /// Bots that play along
    #[arg(long, default_value_t = 0)]
    bots: usize,
    /// Where the world is kept
    #[arg(long, default_value = "./data")]
    data: PathBuf,
    /// Begin anew: the world in --data is deleted
    #[arg(long)]
    reset: bool,
    /// Where the world is kept, as an address: embedded:DIRECTORY, postgres://... or memory:. One with a password is better
    /// given as store.address of the configuration, or as PELAGO_STORE__ADDRESS in the environment
    #[arg(long, conflicts_with = "reset")]
    store: Option<String>,
    /// Where the first node listens for clients over TCP; the other nodes take the ports that follow
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Where the page and the API are served
    #[arg(long, default_value = "127.0.0.1:8080")]
    http: SocketAddr,
    /// Where nodes listen for each other. Links are not encrypted: only they and you may reach this address
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    listen_links: IpAddr,
    /// The server's certificates (PEM): clients and browsers have to speak TLS
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The key of the certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Speak TLS with a certificate made for development, kept in --data; its fingerprint is printed
    #[arg(long, conflicts_with = "tls_cert")]
    tls_self_made: bool,
    /// Serve the page and the API without TLS all the same; on loopback only
    #[arg(long)]
    plain_http: bool,
    /// A file with the token for /api and /metrics; without it, the environment's PELAGO_ADMIN_TOKEN. On loopback
    /// they are open if there is neither
    #[arg(long, value_name = "FILE")]
    admin_token_file: Option<PathBuf>,
    /// From which a new world is made
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Chunks of 30 m along the side of the island of a new world, from 3 to 181
    #[arg(long, default_value_t = NEW_ISLAND_SIZE, value_parser = island_size)]
    island_size: u16,
    /// Clients of one node at once: limits.clients of the configuration
    #[arg(long)]
    max_clients: Option<usize>,
    /// Settings, as docs/limits.md and docs/operating/sink.md describe them
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Record when how much passes through clients' sockets: SIGUSR1 begins, the next one ends and writes the file
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Print one line of JSON once the world is ready
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(
    arguments: DevArguments,
    game: Arc<dyn Game>,
    more_services: Vec<ServiceKind>,
) -> Result<ExitCode> {
    let Config { store, mut limits, sink } = Config::read(arguments.config.as_deref())?;
    limits.clients = arguments.max_clients.unwrap_or(limits.clients);
    let files = OpenFiles::new(pelago_net::raise_open_files());
    let address = match arguments.store.as_ref().or(store.address.as_ref()) {
        Some(_) if arguments.reset => {
            bail!(
                "--reset: the world is not kept in --data, but where --store or store.address says"
            )
        }
        Some(address) => address.clone(),
        None => format!("embedded:{}", arguments.data.join("store").display()),
    };
    if arguments.reset {
        reset(&arguments.data)?;
    }
    let access = api::Access::choose(arguments.http, arguments.admin_token_file.as_deref())?;
    if arguments.plain_http && !arguments.http.ip().is_loopback() {
        bail!("--plain-http: --http {} is open to others", arguments.http);
    }
    let tls = certificate(&arguments).map(|certificate| certificate.load()).transpose()?;
    if !arguments.listen_links.is_loopback() {
        tracing::warn!(address = %arguments.listen_links, "links between nodes are not encrypted");
    }
    let store = pelago_store::open(&address)?;
    let metrics = metrics::install()?;
    let sink = sink.map(|sink| Sink::new(sink, store.clone(), &arguments.data)).transpose()?;
    let store: Arc<dyn Store> = Arc::new(MeasuredStore::new(store));
    let listener = Listener::bind(arguments.http).context("--http")?;
    let http_address = listener.address();
    let settings = NodesSettings {
        nodes: arguments.nodes,
        lanes: arguments.lanes,
        services: arguments.services,
        more_services,
        spread: arguments.spread,
        listen: arguments.listen,
        links: arguments.listen_links,
        tls: tls.clone(),
        new_world: NewWorld { seed: arguments.seed, island_size: arguments.island_size },
        limits: limits.of_node(),
        files: files.clone(),
        record_into: arguments.data.join("flight"),
    };
    let nodes = Nodes::start(settings, game.clone(), store.clone()).await?;
    let engine = address.split(':').next().unwrap_or_default().to_owned();
    let router = api::router(ApiSettings {
        calls: nodes.calls.clone(),
        store: store.clone(),
        game,
        engine,
        content: nodes.content.clone(),
        metrics,
        access,
    });
    let (stopping, stop) = watch::channel(false);
    let http_tls = tls.clone().filter(|_| !arguments.plain_http);
    let (reserve, time) = (files.reserve(), api::CONNECTION_TIME);
    let mut server = tokio::spawn(api::serve(listener, router, http_tls, reserve, time, stop));
    let mut sink = sink.map(|sink| tokio::spawn(sink.run(stopping.subscribe())));
    nodes.wait_until_ready().await?;
    // A program that reads the announcement may send a signal at once.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    announce(&arguments, &nodes.nodes, http_address, tls.as_ref());
    let players = (arguments.bots > 0).then(|| {
        let addresses = nodes.nodes.iter().map(|node| node.addresses().tcp.to_string()).collect();
        let plan = Plan::new(addresses, arguments.bots, Behavior::Mixed);
        let transport = match &tls {
            Some(tls) => Transport::Tls(Trust::fingerprint(tls.fingerprint())?),
            None => Transport::Tcp,
        };
        let plan = Plan { seed: arguments.seed, transport, ..plan };
        anyhow::Ok(tokio::spawn(pelago_bots::run(plan, stopping.subscribe())))
    });
    let players = players.transpose()?;

    let recording =
        arguments.record.map(|file| tokio::spawn(recording::record(nodes.calls.clone(), file)));
    let failure = tokio::select! {
        _ = interrupt.recv() => None,
        _ = terminate.recv() => None,
        reason = broken(&*store) => {
            Some(format!("{reason}; start again to go on with what is on the disk"))
        }
        reason = nodes.failure() => Some(reason),
        reason = unexpected("the HTTP server", Some(&mut server)) => Some(reason),
        reason = unexpected("the sink", sink.as_mut()) => Some(reason),
    };
    tracing::info!("stopping");
    stopping.send_replace(true);
    if let Some(recording) = recording {
        recording.abort();
        drop(recording.await);
    }
    let others = async {
        if let Some(players) = players {
            players.await.context("the bots")??;
        }
        // One that has ended already is the failure.
        if !server.is_finished() {
            server.await.context("the HTTP server")?;
        }
        if let Some(sink) = sink.filter(|sink| !sink.is_finished()) {
            sink.await.context("the sink")?;
        }
        anyhow::Ok(())
    };
    let others = others.await;
    nodes.stop().await;
    tokio::task::spawn_blocking(move || store.close()).await?;
    if let Some(reason) = failure {
        bail!("{reason}");
    }
    others?;
    tracing::info!("stopped; the world is kept");
    Ok(ExitCode::SUCCESS)
}

/// Waits until a task has ended that should not, and tells how; for ever if there is no such task.
async fn unexpected(what: &str, task: Option<&mut JoinHandle<()>>) -> String {
    match task {
        None => std::future::pending().await,
        Some(task) => match task.await {
            Ok(()) => format!("{what} has ended"),
            Err(error) => format!("{what} has ended: {error}"),
        },
    }
}

/// Waits until the store has come to an end of its own.
async fn broken(store: &dyn Store) -> String {
    loop {
        if let Some(reason) = store.broken() {
            return reason;
        }
        sleep(LOOK_AT_STORE_EVERY).await;
    }
}

/// The size of an island, in chunks along its side.
fn island_size(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(size @ MIN_ISLAND_SIZE..=MAX_ISLAND_SIZE) => Ok(size),
        Ok(MIN_ISLAND_SIZE..) => Err(format!(
            "at most {MAX_ISLAND_SIZE}: clients fetch the list of an island's chunks in one message"
        )),
        _ => Err(format!("a number from {MIN_ISLAND_SIZE} to {MAX_ISLAND_SIZE} is wanted")),
    }
}

fn certificate(arguments: &DevArguments) -> Option<Certificate> {
    if let (Some(certificates), Some(key)) = (&arguments.tls_cert, &arguments.tls_key) {
        let (certificates, key) = (certificates.clone(), key.clone());
        return Some(Certificate::Files { certificates, key });
    }
    let addresses = vec![arguments.listen.ip(), arguments.http.ip()];
    arguments
        .tls_self_made
        .then(|| Certificate::SelfMade { data: arguments.data.clone(), addresses })
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

fn announce(arguments: &DevArguments, nodes: &[Node], http: SocketAddr, tls: Option<&ServerTls>) {
    let scheme = if tls.is_some() && !arguments.plain_http { "https" } else { "http" };
    let fingerprint = tls.map(|tls| tls.fingerprint().to_string());
    if arguments.json {
        let tcp: Vec<String> = nodes.iter().map(|node| node.addresses().tcp.to_string()).collect();
        let ws: Vec<String> = nodes.iter().map(|node| node.addresses().websocket_url()).collect();
        let http = format!("{scheme}://{http}");
        println!("{}", json!({"http": http, "tcp": tcp, "ws": ws, "fingerprint": fingerprint}));
    } else {
        println!("\n  The world is running: {scheme}://{http}/\n");
        if let Some(fingerprint) = fingerprint {
            println!("  SHA-256 of the certificate: {fingerprint}\n");
        }
        println!("  {} nodes, {} bots; Ctrl-C stops it.\n", arguments.nodes, arguments.bots);
    }
}
