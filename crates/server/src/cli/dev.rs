//! `pelago dev`: a whole world in one process.

mod announcement;
mod nodes;
mod recording;

use crate::certificate::Certificate;
use crate::config::Config;
use crate::data;
use crate::ending::Ending;
use announcement::Announcement;
use anyhow::{Context, Result, bail};
use clap::Args;
use nodes::{MAX_NODES, Nodes, NodesSettings};
use pelago_admin::api::ApiSettings;
use pelago_admin::players::{Content, PlayersSettings};
use pelago_admin::token::AdminToken;
use pelago_admin::{MeasuredStore, Retention, Serving, Sink, api, metrics, players, serve};
use pelago_bots::{Behavior, Plan};
use pelago_client::Transport;
use pelago_game::Game;
use pelago_game::land::MAX_ISLAND_SIZE;
use pelago_net::{AllowedHosts, Listener, OpenFiles, Trust};
use pelago_runtime::bootstrap::NEW_ISLAND_SIZE;
use pelago_runtime::service::ServiceKind;
use pelago_runtime::{NewWorld, Node, WorldLease, client_threads};
use pelago_store::{Embedded, Store, files};
use std::net::{AddrParseError, IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// The fewest chunks along the side of an island.
const MIN_ISLAND_SIZE: u16 = 3;
/// How often it is looked whether the store has come to an end of its own.
const LOOK_AT_STORE_EVERY: Duration = Duration::from_millis(250);

/// How long the store may take to close: a disk or a database that is silent does not keep the program.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

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
    /// Begin anew: the world in --data is deleted, once all else that this command needs was found to be there
    #[arg(long)]
    reset: bool,
    /// Where the world is kept, as an address: embedded:DIRECTORY, postgres://... or memory:. One with a password is better
    /// given as store.address of the configuration, or as PELAGO_STORE__ADDRESS in the environment
    #[arg(long, conflicts_with = "reset")]
    store: Option<String>,
    /// Where the first node listens for clients over TCP; the other nodes take the ports that follow
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Where the first node listens for clients over WebSocket alone; the other nodes take the ports that follow. Without
    /// it, free ports of the address of --listen. Players need none of them: --http has the WebSocket of each node
    #[arg(long, value_name = "ADDR")]
    listen_websocket: Option<SocketAddr>,
    /// Where players are served over HTTP: the page, content, and at /ws/NODE the WebSocket of each node
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    http: SocketAddr,
    /// Where operators are served over HTTP: health, metrics and the API. Players are not to reach it
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    operators: SocketAddr,
    /// A name by which players or operators reach this server, without port, beside those of this machine; may be given
    /// again. Requests for other names are refused
    #[arg(long, value_name = "HOST")]
    allowed_host: Vec<String>,
    /// Where nodes listen for each other: IP, or IP:PORT for the first node, after which the others follow. Links are not
    /// encrypted: only they and you may reach this address
    #[arg(long, value_name = "IP[:PORT]", default_value = "127.0.0.1", value_parser = address)]
    listen_links: SocketAddr,
    /// The server's certificates (PEM): clients and browsers have to speak TLS
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The key of the certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Speak TLS with a certificate made for development, kept in --data; its fingerprint is printed
    #[arg(long, conflicts_with = "tls_cert")]
    tls_self_made: bool,
    /// Serve HTTP without TLS all the same, to players and operators; on loopback only
    #[arg(long)]
    plain_http: bool,
    /// A file with the token of operators, for its owner only; without it, the environment's PELAGO_ADMIN_TOKEN, otherwise
    /// admin-token in --data, which is made at the first start
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
    let Config { store, mut limits, sink, http, proxies, retention } =
        Config::read(arguments.config.as_deref())?;
    limits.clients = arguments.max_clients.unwrap_or(limits.clients);
    let files = OpenFiles::new(pelago_net::raise_open_files());
    let address = match arguments.store.as_ref().or(store.address.as_ref()) {
        Some(_) if arguments.reset => {
            bail!(
                "--reset: the world is not kept in --data, but where --store or store.address says"
            )
        }
        Some(address) => address.clone(),
        None => format!("embedded:{}", data::store(&arguments.data).display()),
    };
    let hosts = AllowedHosts::new([http.allowed_hosts, arguments.allowed_host.clone()].concat());
    let hosts = hosts.context("--allowed-host and http.allowed_hosts")?;
    let proxies = proxies.trusted()?;
    for (flag, address) in [("--http", arguments.http), ("--operators", arguments.operators)] {
        if arguments.plain_http && !address.ip().is_loopback() {
            bail!("--plain-http: {flag} {address} is open to others");
        }
    }
    data::make_private(&arguments.data).context("--data")?;
    let token = AdminToken::find(arguments.admin_token_file.as_deref(), &arguments.data)?;
    let tls = certificate(&arguments).map(|certificate| certificate.load()).transpose()?;
    warn_of_what_is_open(&arguments, tls.is_some());
    if hosts.is_empty() && !arguments.http.ip().is_loopback() {
        tracing::warn!("--http is reached by its address only: allow names with --allowed-host");
    }
    let metrics = metrics::install()?;
    let mut summing_up = tokio::spawn(metrics.sum_up());
    if let Some(sink) = &sink {
        Sink::check(sink, &arguments.data)?;
    }
    let for_players = Listener::bind(arguments.http).context("--http")?;
    let for_operators = Listener::bind(arguments.operators).context("--operators")?;
    let announcement = Announcement {
        http: for_players.address(),
        operators: for_operators.address(),
        encrypted: tls.is_some() && !arguments.plain_http,
        fingerprint: tls.as_ref().map(|tls| tls.fingerprint().to_string()),
        token_file: token.file,
        made_token: token.made,
    };
    let listen_websocket =
        arguments.listen_websocket.unwrap_or(SocketAddr::new(arguments.listen.ip(), 0));
    let settings = NodesSettings {
        nodes: arguments.nodes,
        lanes: arguments.lanes,
        services: arguments.services,
        more_services,
        spread: arguments.spread,
        listen: [arguments.listen, listen_websocket, arguments.listen_links],
        hosts: hosts.clone(),
        proxies: proxies.clone(),
        tls: tls.clone(),
        new_world: NewWorld { seed: arguments.seed, island_size: arguments.island_size },
        limits: limits.of_node(),
        files: files.clone(),
        record_into: data::recordings(&arguments.data),
    };
    let listeners = nodes::listen(&settings)?;
    // A world is deleted after everything was looked at that keeps a start from succeeding.
    let store = open_store(&arguments, &address)?;
    let sink = sink.map(|sink| Sink::new(sink, store.clone(), &arguments.data)).transpose()?;
    let store: Arc<dyn Store> = Arc::new(MeasuredStore::new(store));
    let leased = store.clone();
    let lease = tokio::task::spawn_blocking(move || WorldLease::take(leased)).await??;
    let mut nodes = Nodes::start(settings, listeners, game.clone(), store.clone()).await?;
    let engine = address.split(':').next().unwrap_or_default().to_owned();
    let router = api::router(ApiSettings {
        calls: nodes.calls.clone(),
        store: store.clone(),
        game,
        engine,
        metrics,
        access: token.access,
        hosts: hosts.at(announcement.operators),
    });
    let (stopping, stop) = watch::channel(false);
    let http_tls = tls.clone().filter(|_| !arguments.plain_http);
    let serving = Serving::operators(files.reserve(), http_tls.clone());
    let mut operators = tokio::spawn(serve(for_operators, router, serving, stop.clone()));
    let router = players::router(PlayersSettings {
        calls: nodes.calls.clone(),
        doors: nodes.nodes.iter().map(Node::door).collect(),
        content: Content::new(std::mem::take(&mut nodes.content)),
        hosts: hosts.at(announcement.http),
        proxies: proxies.clone(),
    });
    let serving = Serving::players(files.reserve(), http_tls, proxies);
    let mut server = client_threads()?.spawn(serve(for_players, router, serving, stop));
    let told = sink.as_ref().and_then(|sink| sink.following("audit"));
    let retention = Retention::new(&retention, store.clone(), nodes.calls.clone(), told);
    let mut retention = retention.map(|rule| tokio::spawn(rule.run(stopping.subscribe())));
    let mut sink = sink.map(|sink| tokio::spawn(sink.run(stopping.subscribe())));
    nodes.wait_until_ready().await?;
    // A program that reads the announcement may send a signal at once.
    let mut ending = Ending::prepare()?;
    let recording = arguments.record.map(|file| anyhow::Ok((recording::toggle()?, file)));
    let recording = recording.transpose()?;
    announcement.make(&nodes.nodes, arguments.bots, arguments.json);
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
    let mut players = players.transpose()?;

    let recording = recording
        .map(|(toggle, file)| tokio::spawn(recording::record(toggle, nodes.calls.clone(), file)));
    let failure = tokio::select! {
        () = ending.told() => None,
        reason = broken(&*store, lease.as_ref()) => Some(reason),
        reason = nodes.failure() => Some(reason),
        reason = unexpected("the HTTP server of players", Some(&mut server)) => Some(reason),
        reason = unexpected("the HTTP server of operators", Some(&mut operators)) => Some(reason),
        reason = unexpected("the summing up of metrics", Some(&mut summing_up)) => Some(reason),
        reason = unexpected("the sink", sink.as_mut()) => Some(reason),
        reason = unexpected("the fleet of bots", players.as_mut()) => Some(reason),
        reason = unexpected("the rule of retention", retention.as_mut()) => Some(reason),
    };
    ending.begin();
    tracing::info!("stopping");
    stopping.send_replace(true);
    if let Some(recording) = recording {
        recording.abort();
        drop(recording.await);
    }
    let others = async {
        // One that has ended already is the failure.
        if let Some(players) = players.filter(|players| !players.is_finished()) {
            players.await.context("the bots")??;
        }
        for server in [server, operators] {
            if !server.is_finished() {
                server.await.context("an HTTP server")?;
            }
        }
        if let Some(sink) = sink.filter(|sink| !sink.is_finished()) {
            sink.await.context("the sink")?;
        }
        if let Some(retention) = retention.filter(|retention| !retention.is_finished()) {
            retention.await.context("the rule of retention")?;
        }
        anyhow::Ok(())
    };
    let others = others.await;
    nodes.stop().await;
    let close = move || {
        // Nothing is committed any more. Both are bounded by the engine.
        drop(lease);
        store.close();
    };
    let closed = timeout(CLOSE_TIMEOUT, tokio::task::spawn_blocking(close)).await;
    if let Some(reason) = failure {
        bail!("{reason}");
    }
    if closed.is_err() {
        bail!(
            "the store did not close within {} s; what it had acknowledged is kept",
            CLOSE_TIMEOUT.as_secs()
        );
    }
    others?;
    tracing::info!("stopped; the world is kept");
    Ok(ExitCode::SUCCESS)
}

/// Waits until a task has ended that should not, and tells how; for ever if there is no such task.
async fn unexpected<T>(what: &str, task: Option<&mut JoinHandle<T>>) -> String {
    match task {
        None => std::future::pending().await,
        Some(task) => match task.await {
            Ok(_) => format!("{what} has ended"),
            Err(error) => format!("{what} has ended: {error}"),
        },
    }
}

/// Waits until the world is another process's, or the store has come to an end of its own.
async fn broken(store: &dyn Store, lease: Option<&WorldLease>) -> String {
    loop {
        if let Some(reason) = lease.and_then(WorldLease::lost) {
            return reason;
        }
        if let Some(reason) = store.broken() {
            return format!("{reason}; start again to go on with what is on the disk");
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
    let addresses = vec![arguments.listen.ip(), arguments.http.ip(), arguments.operators.ip()];
    arguments
        .tls_self_made
        .then(|| Certificate::SelfMade { data: arguments.data.clone(), addresses })
}

/// Opens the store, or begins it anew if that was asked for.
fn open_store(arguments: &DevArguments, address: &str) -> Result<Arc<dyn Store>> {
    if !arguments.reset {
        return Ok(pelago_store::open(address)?);
    }
    let directory = data::store(&arguments.data);
    let store = Embedded::open_anew(&directory).context("--reset")?;
    // How far a sink was with the old world says nothing about the new one.
    files::remove(&data::bookmark(&arguments.data)).context("--reset")?;
    Ok(Arc::new(store))
}

/// `IP` or `IP:PORT`.
fn address(text: &str) -> Result<SocketAddr, AddrParseError> {
    text.parse().or_else(|_| text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 0)))
}

/// What others can reach and read: operators may want it so, but are to know it.
fn warn_of_what_is_open(arguments: &DevArguments, encrypted: bool) {
    let DevArguments { listen, listen_websocket, listen_links, http, operators, .. } = arguments;
    let is_open = |address: &SocketAddr| !address.ip().is_loopback();
    for (flag, address, whose) in [
        ("--listen", Some(listen), "players' tokens"),
        ("--listen-websocket", listen_websocket.as_ref(), "players' tokens"),
        ("--http", Some(http), "players' tokens"),
        ("--operators", Some(operators), "the admin token"),
    ] {
        if let Some(address) = address.filter(|address| is_open(address) && !encrypted) {
            tracing::warn!(%address, "{flag} beyond this machine without TLS: {whose} can be read on the way");
        }
    }
    if is_open(listen_links) {
        tracing::warn!(address = %listen_links, "links between nodes are not encrypted");
    }
}
