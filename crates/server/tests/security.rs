//! What a stranger finds at a real server, and what its logs give away.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "real processes live in real time")]

use pelago_client::{ConnectError, Identity, Session, Transport};
use pelago_model::Secret;
use pelago_net::Trust;
use pelago_wire::client::Arrival;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const PELAGO: &str = env!("CARGO_BIN_EXE_pelago");
const ADMIN: &str = "an admin token of a test";
const PLAYER: &str = "tokens-of-players-stay-with-them";

/// Writes a file that only its owner may read.
fn write_secret(path: &Path, text: &str) {
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).mode(0o600).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

struct World {
    process: Child,
    ready: serde_json::Value,
}

impl World {
    fn start(data: &Path, options: &[&str]) -> Self {
        Self::start_at("127.0.0.1:0", data, options)
    }

    fn start_at(http: &str, data: &Path, options: &[&str]) -> Self {
        let log = std::fs::File::create(data.join("log")).unwrap();
        let mut process = Command::new(PELAGO)
            .args(["dev", "--http", http, "--nodes", "1", "--store", "memory:", "--json"])
            .arg("--data")
            .arg(data)
            .args(options)
            .env("PELAGO_LOG", "trace")
            .env_remove("PELAGO_ADMIN_TOKEN")
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { process, ready: serde_json::from_str(&line).unwrap() }
    }

    fn http(&self) -> &str {
        self.ready["http"].as_str().unwrap().split_once("://").unwrap().1
    }

    fn tcp(&self) -> &str {
        self.ready["tcp"][0].as_str().unwrap()
    }

    /// The status and the rest of an answer to a player who asks for a path with these headers.
    fn get(&self, path: &str, headers: &str) -> (u16, String) {
        self.ask(&format!("GET {path} HTTP/1.1\r\nConnection: close\r\n{headers}\r\n"))
    }

    /// The same of an operator.
    fn get_operators(&self, path: &str, headers: &str) -> (u16, String) {
        let request = format!("GET {path} HTTP/1.1\r\nConnection: close\r\n{headers}\r\n");
        ask(self.operators(), &request)
    }

    fn operators(&self) -> &str {
        self.ready["operators"].as_str().unwrap().split_once("://").unwrap().1
    }

    fn ask(&self, request: &str) -> (u16, String) {
        ask(self.http(), request)
    }

    fn stop(mut self) {
        let number = self.process.id().to_string();
        assert!(Command::new("kill").args(["-INT", &number]).status().unwrap().success());
        assert!(self.process.wait().unwrap().success());
    }
}

fn ask(address: &str, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    // A server that does not read to the end may reset the connection after its answer.
    drop(stream.read_to_end(&mut answer));
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or(0), answer)
}

impl Drop for World {
    fn drop(&mut self) {
        // It has ended already unless a test failed.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn identity(name: &str, token: &'static str) -> Identity {
    Identity { name: name.into(), token: Secret::new(token.as_bytes()), arrival: Arrival::Home }
}

async fn log_in(
    world: &World,
    transport: &Transport,
    token: &'static str,
) -> Result<Session, ConnectError> {
    Session::open(world.tcp(), transport, None, &identity("Anna", token)).await
}

#[test]
fn operators_have_a_listener_of_their_own_and_the_token_opens_it() {
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("admin");
    write_secret(&file, &format!("{ADMIN}\n"));
    let world = World::start(data.path(), &["--admin-token-file", file.to_str().unwrap()]);
    let right = format!("Host: localhost\r\nAuthorization: Bearer {ADMIN}\r\n");
    let wrong = "Host: 127.0.0.1\r\nAuthorization: Bearer an admin token of a tesT\r\n";
    for path in [
        "/metrics",
        "/api/v1/cluster",
        "/api/v1/islands",
        "/api/v1/avatars/1",
        "/api/v1/audit",
        "/api/v1/audit/1",
        "/api/v1/books/Anna",
        "/api/v1/store/document/world",
    ] {
        for headers in ["Host: 127.0.0.1\r\n", wrong] {
            let (status, answer) = world.get_operators(path, headers);
            assert_eq!(status, 401, "{path} {answer}");
            assert!(answer.contains(r#""code":"unauthorized""#), "{answer}");
            assert!(answer.to_lowercase().contains("www-authenticate: bearer"), "{answer}");
        }
        assert!(![401, 403].contains(&world.get_operators(path, &right).0), "{path}");
        // Players have nothing of it, token or not.
        let (status, answer) = world.get(path, &right);
        assert_eq!(status, 404, "{path} {answer}");
        assert!(answer.contains("--operators"), "{answer}");
    }
    let grant = |headers: &str| {
        let length = "Connection: close\r\nContent-Length: 2\r\n";
        let request = format!("POST /api/v1/grants HTTP/1.1\r\n{headers}{length}\r\n{{}}");
        ask(world.operators(), &request).0
    };
    assert_eq!((grant("Host: 127.0.0.1\r\n"), grant(wrong), grant(&right)), (401, 401, 415));
    // Paths that do not exist tell nothing either.
    assert_eq!(world.get_operators("/api/v2/secrets", "Host: 127.0.0.1\r\n").0, 401);
    assert_eq!(world.get_operators("/api/v2/secrets", &right).0, 404);
    for path in ["/healthz", "/readyz"] {
        assert_eq!(world.get_operators(path, "Host: 127.0.0.1\r\n").0, 200, "{path}");
        assert_eq!(world.get(path, "Host: 127.0.0.1\r\n").0, 404, "{path}");
    }
    assert_eq!(world.get("/nodes", "Host: 127.0.0.1\r\n").0, 200);
    assert_eq!(world.get_operators("/nodes", &right).0, 404);
    world.stop();
}

#[test]
fn a_token_is_made_at_the_first_start_and_shown_once() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let mut shown = Vec::new();
    for _ in 0..2 {
        let mut process = Command::new(PELAGO)
            .args(["dev", "--http", "127.0.0.1:0", "--nodes", "1", "--store", "memory:", "--data"])
            .arg(&data)
            .env_remove("PELAGO_ADMIN_TOKEN")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut text = String::new();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        while !text.contains("Ctrl-C") {
            assert!(output.read_line(&mut text).unwrap() > 0, "{text}");
        }
        process.kill().unwrap();
        process.wait().unwrap();
        shown.push(text);
    }
    let file = data.join("admin-token");
    let token = std::fs::read_to_string(&file).unwrap();
    assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
    assert!(shown[0].contains(token.trim()), "{}", shown[0]);
    assert!(!shown[1].contains(token.trim()) && shown[1].contains("admin-token"), "{}", shown[1]);
}

#[test]
fn a_journal_is_verified_by_the_server_that_is_named_and_with_its_token() {
    let data = tempfile::tempdir().unwrap();
    let (file, journal) = (data.path().join("admin"), data.path().join("journal"));
    write_secret(&file, &format!("{ADMIN}\n"));
    std::fs::write(&journal, "").unwrap();
    let (file, journal) = (file.to_str().unwrap(), journal.to_str().unwrap());
    let world = World::start(data.path(), &["--admin-token-file", file]);
    let url = world.ready["operators"].as_str().unwrap();
    let verify = |arguments: &[&str]| {
        let mut command = Command::new(PELAGO);
        command.args(["bots", "--verify", journal]).args(arguments);
        let output = command.env_remove("PELAGO_ADMIN_TOKEN").output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    };
    for (arguments, success, expected) in [
        (&["--server", url, "--admin-token-file", file][..], true, r#""objections": []"#),
        (&["--server", url], false, "401"),
        (&[], false, "--server"),
        (&["--connect", world.tcp()], false, "--server"),
    ] {
        let (succeeded, text) = verify(arguments);
        assert!(succeeded == success && text.contains(expected), "{arguments:?}: {text}");
    }
    world.stop();
}

#[test]
fn no_listener_answers_to_names_of_strangers() {
    let data = tempfile::tempdir().unwrap();
    let world = World::start(data.path(), &["--allowed-host", "game.example"]);
    for (host, expected) in [
        ("localhost", 200),
        ("127.0.0.1:1", 200),
        ("Game.Example:443", 200),
        ("evil.example", 403),
        ("game.example.evil.example", 403),
        ("192.168.0.7", 403),
    ] {
        let headers = format!("Host: {host}\r\n");
        for (status, answer) in
            [world.get("/nodes", &headers), world.get_operators("/healthz", &headers)]
        {
            assert_eq!(status, expected, "{host}: {answer}");
            assert!(status == 200 || answer.contains(r#""code":"host""#), "{answer}");
        }
    }
    // What a proxy has handed on was not asked by anybody of this machine.
    for header in ["X-Forwarded-For: 203.0.113.9", "Forwarded: for=203.0.113.9", "Via: 1.1 proxy"] {
        let headers = format!("Host: 127.0.0.1\r\n{header}\r\n");
        assert_eq!(world.get_operators("/healthz", &headers).0, 403, "{header}");
        let headers = format!("Host: game.example\r\n{header}\r\n");
        assert_eq!(world.get_operators("/healthz", &headers).0, 200, "{header}");
    }
    world.stop();
}

#[test]
fn a_websocket_is_opened_for_our_own_pages_and_for_programs_only() {
    let data = tempfile::tempdir().unwrap();
    let world = World::start(data.path(), &["--allowed-host", "game.example"]);
    let ws = world.ready["ws"][0].as_str().unwrap();
    let own_port = ws.strip_prefix("ws://").unwrap().trim_end_matches('/');
    let knock = |address: &str, path: &str, host: &str, origin: &str| {
        ask_for_head(
            address,
            &format!(
                "GET {path} HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nHost: {host}\r\n{origin}\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            ),
        )
    };
    for (host, origin, opens) in [
        ("127.0.0.1", "", true),
        ("127.0.0.1", "Origin: http://localhost:8080\r\n", true),
        ("game.example", "Origin: https://game.example\r\n", true),
        ("127.0.0.1", "Origin: https://evil.example\r\n", false),
        ("127.0.0.1", "Origin: null\r\n", false),
        // A stranger's name that leads here: the browser takes both for the same.
        ("evil.example", "Origin: http://evil.example\r\n", false),
        ("evil.example", "", false),
    ] {
        for (address, path) in [(world.http(), "/ws/1"), (own_port, "/")] {
            let head = knock(address, path, host, origin);
            let opened = head.starts_with("HTTP/1.1 101 ");
            assert_eq!(opened, opens, "{address}{path} {host} {origin}: {head}");
        }
    }
    assert!(knock(world.http(), "/ws/2", "127.0.0.1", "").starts_with("HTTP/1.1 404 "));
    assert_eq!(world.get("/ws/1", "Host: 127.0.0.1\r\n").0, 426);
    world.stop();
}

/// The head of an answer; empty if the connection ends without one.
fn ask_for_head(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count > 0) {
        head.push(byte[0]);
    }
    String::from_utf8_lossy(&head).into_owned()
}

#[tokio::test]
async fn one_port_is_enough_for_players_with_tls_and_without() {
    let data = tempfile::tempdir().unwrap();
    for options in [&[][..], &["--tls-self-made"]] {
        let world = World::start(data.path(), options);
        let transport = match world.ready["fingerprint"].as_str() {
            Some(text) => {
                Transport::WebSocketTls(Trust::fingerprint(text.parse().unwrap()).unwrap())
            }
            None => Transport::WebSocket,
        };
        let url = world.ready["http"].as_str().unwrap().replacen("http", "ws", 1) + "/ws/1";
        let session =
            Session::open(&url, &transport, None, &identity("Anna", PLAYER)).await.unwrap();
        session.bye().await;
        world.stop();
    }
}

#[test]
fn strangers_do_not_shut_out_other_strangers_and_never_operators() {
    let data = tempfile::tempdir().unwrap();
    let world = World::start(data.path(), &[]);
    let idle: Vec<TcpStream> =
        (0..1100).filter_map(|_| TcpStream::connect(world.http()).ok()).collect();
    assert!(idle.len() > 1000);
    for _ in 0..20 {
        assert_eq!(world.get_operators("/healthz", "Host: localhost\r\n").0, 200);
        assert_eq!(world.get("/nodes", "Host: localhost\r\n").0, 200);
    }
    world.stop();
}

#[test]
fn a_browser_is_told_what_the_page_may_do_and_what_it_may_keep() {
    let data = tempfile::tempdir().unwrap();
    let world = World::start(data.path(), &[]);
    let (_, page) = world.get("/", "Host: localhost\r\n");
    let head = page.to_lowercase();
    for expected in [
        "content-security-policy: default-src 'self'",
        "frame-ancestors 'none'",
        "x-content-type-options: nosniff",
        "x-frame-options: deny",
        "referrer-policy: no-referrer",
    ] {
        assert!(head.contains(expected), "{expected}: {page}");
    }
    assert!(!head.contains("unsafe"), "{page}");
    let token = std::fs::read_to_string(data.path().join("admin-token")).unwrap();
    let bearer = format!("Host: localhost\r\nAuthorization: Bearer {token}\r\n");
    let bearer = bearer.replace("\n\r\n", "\r\n");
    let (status, answer) = world.get_operators("/api/v1/islands", &bearer);
    assert_eq!(status, 200, "{answer}");
    let answer = answer.to_lowercase();
    assert!(answer.contains("cache-control: no-store") && answer.contains("nosniff"), "{answer}");
    let manifest = answer.split("\"manifest\":\"").nth(1).unwrap().split('"').next().unwrap();
    let (status, plain) = world.get(&format!("/content/{manifest}"), "Host: localhost\r\n");
    assert_eq!(status, 200);
    assert!(plain.contains("immutable") && !plain.contains("content-encoding"), "{plain}");
    let headers = "Host: localhost\r\nAccept-Encoding: gzip, br\r\n";
    let (_, packed) = world.get(&format!("/content/{manifest}"), headers);
    assert!(packed.contains("content-encoding: gzip"), "{packed}");
    world.stop();
}

#[test]
fn requests_beyond_the_limits_are_refused() {
    let data = tempfile::tempdir().unwrap();
    let world = World::start(data.path(), &[]);
    let body = "POST /nodes HTTP/1.1\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello";
    assert_eq!(world.ask(body).0, 413);
    assert_eq!(ask(world.operators(), body).0, 413);
    let long = format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "x".repeat(64 * 1024));
    assert!([414, 431].contains(&world.ask(&long).0));
    let many = "X-A: b\r\n".repeat(100);
    assert_eq!(world.get("/nodes", &format!("Host: localhost\r\n{many}")).0, 431);
    assert_eq!(world.ask("\0\0\0\r\n\r\n").0, 400);
    assert_eq!(world.get("/nodes", "Host: localhost\r\n").0, 200);
    // Connections that say nothing do not keep the world from ending.
    let _idle: Vec<TcpStream> =
        (0..20).map(|_| TcpStream::connect(world.http()).unwrap()).collect();
    world.stop();
}

#[test]
fn what_is_open_to_strangers_without_protection_does_not_start() {
    let data = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = data.path().join(name);
        write_secret(&path, text);
        path.to_str().unwrap().to_owned()
    };
    let (short, equal, open) =
        (&*file("short", "short"), &*file("equal", "aaaaaaaaaaaaaaaa"), &*file("open", ADMIN));
    std::fs::set_permissions(open, PermissionsExt::from_mode(0o666)).unwrap();
    for (options, expected) in [
        (&["--http", "0.0.0.0:0", "--plain-http"][..], &["--plain-http", "--http"][..]),
        (&["--operators", "0.0.0.0:0", "--plain-http"], &["--plain-http", "--operators"]),
        (&["--http", "127.0.0.1:0", "--admin-token-file", short], &[short, "16 characters"]),
        (&["--http", "127.0.0.1:0", "--admin-token-file", equal], &[equal, "different"]),
        (&["--http", "127.0.0.1:0", "--admin-token-file", open], &[open, "0666", "chmod"]),
        (&["--allowed-host", "http://game.example"], &["--allowed-host", "http://game.example"]),
        (&["--http", "127.0.0.1:0", "--admin-token-file", "/nowhere"], &["/nowhere"]),
        (&["--http", "127.0.0.1:0", "--tls-cert", "a.pem"], &["--tls-key"]),
        (
            &["--http", "127.0.0.1:0", "--tls-cert", "/nowhere.pem", "--tls-key", "/key.pem"],
            &["--tls-cert", "/nowhere.pem"],
        ),
    ] {
        let output = Command::new(PELAGO)
            .args(["dev", "--store", "memory:", "--data"])
            .arg(data.path().join("data"))
            .args(options)
            .env_remove("PELAGO_ADMIN_TOKEN")
            .output()
            .unwrap();
        assert!(!output.status.success(), "{options:?}");
        let error = String::from_utf8_lossy(&output.stderr);
        for expected in expected {
            assert!(error.contains(expected), "{options:?}: {error}");
        }
    }
}

#[tokio::test]
async fn with_tls_nothing_is_served_without_it_and_nothing_secret_is_logged() {
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("admin");
    write_secret(&file, ADMIN);
    let options = ["--tls-self-made", "--admin-token-file", file.to_str().unwrap()];
    let world = World::start(data.path(), &options);
    let fingerprint = world.ready["fingerprint"].as_str().unwrap().parse().unwrap();
    let pinned = Transport::Tls(Trust::fingerprint(fingerprint).unwrap());
    let session = log_in(&world, &pinned, PLAYER).await.unwrap();
    session.bye().await;
    let certificate = data.path().join("tls/certificate.pem");
    let trust = Trust::certificates(&certificate).unwrap();
    let named = Transport::WebSocketTls(trust);
    let ws = world.ready["ws"][0].as_str().unwrap();
    assert!(ws.starts_with("wss://"));
    let session = Session::open(ws, &named, None, &identity("Anna", PLAYER)).await.unwrap();
    session.bye().await;
    let other = log_in(&world, &pinned, "another-token-of-anybody-at-all").await;
    let Err(ConnectError::Refused { code, .. }) = other else { panic!("not refused") };
    assert_eq!(code, "token");
    assert!(log_in(&world, &Transport::Tcp, PLAYER).await.is_err());
    assert!(log_in(&world, &Transport::WebSocket, PLAYER).await.is_err());
    assert_eq!(world.get("/nodes", "Host: localhost\r\n").0, 0);
    assert_eq!(world.get_operators("/healthz", "Host: localhost\r\n").0, 0);
    world.stop();

    let log = std::fs::read_to_string(data.path().join("log")).unwrap();
    assert!(log.contains("DEBUG") && log.contains("bound to another token"), "{log}");
    let key = std::fs::read_to_string(data.path().join("tls/key.pem")).unwrap();
    let secrets = [PLAYER, ADMIN, key.lines().nth(1).unwrap()];
    for secret in secrets {
        let listed: Vec<String> = secret.bytes().map(|byte| byte.to_string()).collect();
        let hexadecimal: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
        // Half of a secret is too much.
        for form in [&secret[..12], &listed[..12].join(", "), &hexadecimal[..24]] {
            assert!(!log.contains(form), "{form}");
        }
    }
}

#[test]
fn every_listener_can_have_a_port_of_its_own() {
    let data = tempfile::tempdir().unwrap();
    let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listeners: Vec<_> = (0..5).map(|_| free()).collect();
    let addresses = listeners.iter().map(|listener| listener.local_addr().unwrap().to_string());
    let addresses: Vec<String> = addresses.collect();
    drop(listeners);
    let [http, operators, tcp, ws, links] = &addresses[..] else { unreachable!() };
    let options = ["--operators", operators, "--listen", tcp, "--listen-websocket", ws];
    let world =
        World::start_at(http, data.path(), &[&options[..], &["--listen-links", links]].concat());
    assert_eq!(world.ready["http"], format!("http://{http}"));
    assert_eq!(world.ready["operators"], format!("http://{operators}"));
    assert_eq!(world.ready["tcp"][0], **tcp);
    assert_eq!(world.ready["ws"][0], format!("ws://{ws}/"));
    assert!(TcpStream::connect(links).is_ok());
    world.stop();
}

#[test]
fn what_can_be_read_on_the_way_is_warned_of() {
    let data = tempfile::tempdir().unwrap();
    for (options, warned) in [(&["--listen", "0.0.0.0:0"][..], true), (&[], false)] {
        let world = World::start(data.path(), options);
        world.stop();
        let log = std::fs::read_to_string(data.path().join("log")).unwrap();
        assert_eq!(log.contains("--listen beyond this machine without TLS"), warned, "{log}");
    }
}
