//! Behind nginx, as docs/operating/proxies.md describes it: players reach the page and their nodes through one port, and
//! nobody reaches what operators have.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "real processes live in real time")]

use pelago_client::{Identity, Session, Transport};
use pelago_model::Secret;
use pelago_wire::client::Arrival;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PELAGO: &str = env!("CARGO_BIN_EXE_pelago");
const NGINX: &str = "/usr/sbin/nginx";
/// The addresses of proxies and of players are all this machine's own: any of 127.0.0.0/8 is.
const PROXY: &str = "127.0.0.1";
const PLAYER: &str = "127.0.0.77";
const PATIENCE: Duration = Duration::from_secs(30);

/// A process that is killed when it is dropped.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

struct World {
    _process: Killed,
    ready: serde_json::Value,
    log: PathBuf,
}

impl World {
    fn start(directory: &Path, config: &str, options: &[&str]) -> Self {
        let (log, file) = (directory.join("log"), directory.join("pelago.toml"));
        std::fs::write(&file, config).unwrap();
        let mut process = Command::new(PELAGO)
            .args(["dev", "--http", "127.0.0.1:0", "--nodes", "1", "--store", "memory:", "--json"])
            .arg("--config")
            .arg(&file)
            .arg("--data")
            .arg(directory.join("data"))
            .args(options)
            .env("PELAGO_LOG", "pelago=debug,pelago_runtime=debug,info")
            .env_remove("PELAGO_ADMIN_TOKEN")
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready = serde_json::from_str(&line).unwrap();
        Self { _process: Killed(process), ready, log }
    }

    /// `host:port` of a listener.
    fn address(&self, name: &str) -> String {
        let found = match &self.ready[name] {
            serde_json::Value::Array(nodes) => nodes[0].as_str().unwrap(),
            address => address.as_str().unwrap(),
        };
        found.split_once("://").map_or(found, |(_, address)| address).to_owned()
    }

    /// Waits until the log says something.
    fn until_logged(&self, text: &str) {
        let began = Instant::now();
        loop {
            let log = std::fs::read_to_string(&self.log).unwrap();
            if log.contains(text) {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "{text} is not in {log}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Starts nginx with what stands in its `http` and `stream` blocks, and waits until it listens.
fn nginx(directory: &Path, http: &str, stream: &str) -> Killed {
    let here = directory.display();
    let config = format!(
        "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\n\
         daemon off; master_process off; pid {here}/nginx.pid; error_log {here}/nginx.log info;\n\
         events {{}}\n\
         http {{\n\
         access_log off; client_body_temp_path {here}/body; proxy_temp_path {here}/proxy;\n\
         fastcgi_temp_path {here}/f; uwsgi_temp_path {here}/u; scgi_temp_path {here}/s;\n\
         {http}\n}}\n\
         stream {{\n{stream}\n}}\n"
    );
    let file = directory.join("nginx.conf");
    std::fs::write(&file, config).unwrap();
    let mut command = Command::new(NGINX);
    command.arg("-e").arg(directory.join("nginx.log")).arg("-p").arg(directory).arg("-c").arg(file);
    let proxy = command.spawn().expect("nginx: cargo xtask test installs it");
    let proxy = Killed(proxy);
    // It is written once nginx listens. Connecting to a port at which nobody listens yet may connect to itself.
    let began = Instant::now();
    while !directory.join("nginx.pid").exists() {
        let log = std::fs::read_to_string(directory.join("nginx.log")).unwrap_or_default();
        assert!(began.elapsed() < PATIENCE, "nginx does not listen: {log}");
        std::thread::sleep(Duration::from_millis(50));
    }
    proxy
}

fn get(address: (&str, u16), path: &str, headers: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer));
    let answer = String::from_utf8_lossy(&answer).into_owned();
    (answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0), answer)
}

fn identity(name: &str) -> Identity {
    let token = Secret::new(&b"a token of a player's"[..]);
    Identity { name: name.into(), token, arrival: Arrival::Home }
}

#[tokio::test]
async fn behind_a_plain_proxy_nobody_reaches_what_operators_have() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::start(directory.path(), "", &[]);
    let (port, to_operators) = (free_port(), free_port());
    let http = format!(
        "server {{ listen {PROXY}:{port}; location / {{ proxy_pass http://{}; }} }}\n\
         server {{ listen {PROXY}:{to_operators}; location / {{ proxy_pass http://{}; \
         proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; }} }}",
        world.address("http"),
        world.address("operators"),
    );
    let _nginx = nginx(directory.path(), &http, "");
    for path in [
        "/api/v1/store/document/world",
        "/api/v1/cluster",
        "/metrics",
        "/api/v1/grants",
        "/healthz",
        "//api/v1/cluster",
        "/ws/../api/v1/cluster",
    ] {
        let (status, answer) = get((PROXY, port), path, "Host: game.example\r\n");
        assert_eq!(status, 404, "{path}: {answer}");
    }
    assert_eq!(get((PROXY, port), "/nodes", "Host: game.example\r\n").0, 200);
    // Even who reaches the wrong listener by mistake has to have the token, and to name a host that was allowed.
    for path in ["/api/v1/store/document/world", "/healthz"] {
        assert_eq!(get((PROXY, to_operators), path, "Host: game.example\r\n").0, 403, "{path}");
    }
}

#[tokio::test]
async fn behind_a_proxy_as_it_is_described_one_port_is_enough() {
    let directory = tempfile::tempdir().unwrap();
    let config =
        "[http]\nallowed_hosts = [\"game.example\"]\n[proxies]\ntrusted = [\"127.0.0.1\"]\n";
    let world = World::start(directory.path(), config, &[]);
    let port = free_port();
    // As in docs/operating/proxies.md, but for TLS.
    let http = format!(
        "map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}\n\
         server {{ listen {PROXY}:{port}; location / {{ proxy_pass http://{}; proxy_http_version 1.1;\n\
         proxy_set_header Host $host; proxy_set_header Upgrade $http_upgrade;\n\
         proxy_set_header Connection $connection_upgrade;\n\
         proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n\
         proxy_read_timeout 300s; proxy_buffering off; }} }}",
        world.address("http"),
    );
    let _nginx = nginx(directory.path(), &http, "");
    let (status, nodes) = get((PROXY, port), "/nodes", "Host: game.example\r\n");
    assert!(status == 200 && nodes.contains("\"ws\":\"ws/1\""), "{nodes}");
    assert_eq!(get((PROXY, port), "/nodes", "Host: evil.example\r\n").0, 403);

    // The proxy is asked by its address here, which is one of this machine's own. The player has another one.
    let url = format!("ws://{PROXY}:{port}/ws/1");
    let source = Some(PLAYER.parse().unwrap());
    let session = Session::open(&url, &Transport::WebSocket, source, &identity("Anna")).await;
    let session = session.unwrap();
    world.until_logged(&format!("address={PLAYER}"));
    session.bye().await;
}

#[tokio::test]
async fn a_proxy_for_plain_connections_says_whose_they_are() {
    let directory = tempfile::tempdir().unwrap();
    let config = "[proxies]\ntrusted = [\"127.0.0.1\"]\nproxy_protocol = true\n";
    let world = World::start(directory.path(), config, &[]);
    let port = free_port();
    let stream = format!(
        "server {{ listen {PROXY}:{port}; proxy_pass {}; proxy_protocol on; }}",
        world.address("tcp"),
    );
    let _nginx = nginx(directory.path(), "", &stream);
    let address = format!("{PROXY}:{port}");
    let source = Some(PLAYER.parse().unwrap());
    let session = Session::open(&address, &Transport::Tcp, source, &identity("Anna")).await;
    let session = session.unwrap();
    world.until_logged(&format!("address={PLAYER}"));
    session.bye().await;
    // Who is no proxy may not say so, and needs to say nothing; the proxy itself has to.
    let tcp = world.address("tcp");
    let direct = Session::open(&tcp, &Transport::Tcp, source, &identity("Bert")).await;
    direct.unwrap().bye().await;
    let silent = Session::open(&tcp, &Transport::Tcp, None, &identity("Carl")).await;
    assert!(silent.is_err(), "the proxy did not say whose connection it was");
}
