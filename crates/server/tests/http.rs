//! What a real server answers over HTTP, to whom, and on which ports.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "real processes live in real time")]

mod served;

use pelago_client::{Session, Transport};
use pelago_net::Trust;
use served::{PLAYER, World, ask, identity};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

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
