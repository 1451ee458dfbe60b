//! What a stranger finds at a real server, and what its logs give away.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "real processes live in real time")]

use pelago_client::{ConnectError, Identity, Session, Transport};
use pelago_model::Secret;
use pelago_net::Trust;
use pelago_wire::client::Arrival;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const PELAGO: &str = env!("CARGO_BIN_EXE_pelago");
const ADMIN: &str = "an admin token of a test";
const PLAYER: &str = "tokens-of-players-stay-with-them";

struct World {
    process: Child,
    ready: serde_json::Value,
}

impl World {
    fn start(data: &Path, options: &[&str]) -> Self {
        let log = std::fs::File::create(data.join("log")).unwrap();
        let mut process = Command::new(PELAGO)
            .args(["dev", "--http", "127.0.0.1:0", "--nodes", "1", "--store", "memory:", "--json"])
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

    /// The status and the rest of an answer to a request for a path with these headers.
    fn get(&self, path: &str, headers: &str) -> (u16, String) {
        self.ask(&format!("GET {path} HTTP/1.1\r\nConnection: close\r\n{headers}\r\n"))
    }

    fn ask(&self, request: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.http()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        // A server that does not read to the end may reset the connection after its answer.
        drop(stream.read_to_end(&mut answer));
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
        (status.unwrap_or(0), answer)
    }

    fn stop(mut self) {
        let number = self.process.id().to_string();
        assert!(Command::new("kill").args(["-INT", &number]).status().unwrap().success());
        assert!(self.process.wait().unwrap().success());
    }
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
fn the_api_opens_to_the_token_and_the_page_to_everybody() {
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("admin");
    std::fs::write(&file, format!("{ADMIN}\n")).unwrap();
    let world = World::start(data.path(), &["--admin-token-file", file.to_str().unwrap()]);
    let right = format!("Host: game.example\r\nAuthorization: Bearer {ADMIN}\r\n");
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
            let (status, answer) = world.get(path, headers);
            assert_eq!(status, 401, "{path} {answer}");
            assert!(answer.contains(r#""code":"unauthorized""#), "{answer}");
            assert!(answer.to_lowercase().contains("www-authenticate: bearer"), "{answer}");
        }
        assert!(![401, 403].contains(&world.get(path, &right).0), "{path}");
    }
    let grant = |headers: &str| {
        let length = "Connection: close\r\nContent-Length: 2\r\n";
        world.ask(&format!("POST /api/v1/grants HTTP/1.1\r\n{headers}{length}\r\n{{}}")).0
    };
    assert_eq!((grant("Host: 127.0.0.1\r\n"), grant(wrong), grant(&right)), (401, 401, 415));
    // Paths that do not exist tell nothing either.
    assert_eq!(world.get("/api/v2/secrets", "Host: 127.0.0.1\r\n").0, 401);
    assert_eq!(world.get("/api/v2/secrets", &right).0, 404);
    for path in ["/healthz", "/readyz", "/nodes"] {
        assert_eq!(world.get(path, "Host: game.example\r\n").0, 200, "{path}");
    }
    world.stop();
}

#[test]
fn a_journal_is_verified_by_the_server_that_is_named_and_with_its_token() {
    let data = tempfile::tempdir().unwrap();
    let (file, journal) = (data.path().join("admin"), data.path().join("journal"));
    std::fs::write(&file, format!("{ADMIN}\n")).unwrap();
    std::fs::write(&journal, "").unwrap();
    let (file, journal) = (file.to_str().unwrap(), journal.to_str().unwrap());
    let world = World::start(data.path(), &["--admin-token-file", file]);
    let url = world.ready["http"].as_str().unwrap();
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
fn the_open_api_of_a_developer_is_closed_to_pages_of_strangers() {
    let data = tempfile::tempdir().unwrap();
    let world = World::start(data.path(), &[]);
    assert_eq!(world.get("/api/v1/cluster", "Host: localhost\r\n").0, 200);
    let (status, answer) = world.get("/api/v1/cluster", "Host: evil.example\r\n");
    assert_eq!(status, 403);
    assert!(answer.contains(r#""code":"host""#), "{answer}");
    world.stop();
}

#[test]
fn requests_beyond_the_limits_are_refused() {
    let data = tempfile::tempdir().unwrap();
    let world = World::start(data.path(), &[]);
    let body = "POST /healthz HTTP/1.1\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello";
    assert_eq!(world.ask(body).0, 413);
    let long = format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "x".repeat(64 * 1024));
    assert!([414, 431].contains(&world.ask(&long).0));
    let many = "X-A: b\r\n".repeat(100);
    assert_eq!(world.get("/healthz", &format!("Host: localhost\r\n{many}")).0, 431);
    assert_eq!(world.ask("\0\0\0\r\n\r\n").0, 400);
    assert_eq!(world.get("/healthz", "Host: localhost\r\n").0, 200);
    // Connections that say nothing do not keep the world from ending.
    let _idle: Vec<TcpStream> =
        (0..20).map(|_| TcpStream::connect(world.http()).unwrap()).collect();
    world.stop();
}

#[test]
fn what_is_open_to_strangers_without_protection_does_not_start() {
    let data = tempfile::tempdir().unwrap();
    let short = data.path().join("short");
    std::fs::write(&short, "short").unwrap();
    let short = short.to_str().unwrap();
    for (options, expected) in [
        (&["--http", "0.0.0.0:0"][..], &["--admin-token-file", "PELAGO_ADMIN_TOKEN", "--http"][..]),
        (&["--http", "127.0.0.1:0", "--admin-token-file", short], &[short, "16 characters"]),
        (&["--http", "127.0.0.1:0", "--admin-token-file", "/nowhere"], &["/nowhere"]),
        (&["--http", "127.0.0.1:0", "--tls-cert", "a.pem"], &["--tls-key"]),
        (
            &["--http", "127.0.0.1:0", "--tls-cert", "/nowhere.pem", "--tls-key", "/key.pem"],
            &["--tls-cert", "/nowhere.pem"],
        ),
    ] {
        let output = Command::new(PELAGO)
            .args(["dev", "--store", "memory:"])
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
    std::fs::write(&file, ADMIN).unwrap();
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
    assert_eq!(world.get("/healthz", "Host: localhost\r\n").0, 0);
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
