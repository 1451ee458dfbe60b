//! What a stranger finds at a real server, and what its logs give away.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "real processes live in real time")]

mod served;

use pelago_client::{ConnectError, Session, Transport};
use pelago_net::Trust;
use served::{ADMIN, PELAGO, PLAYER, World, ask, identity, log_in, write_secret};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::process::{Command, Stdio};

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
fn what_can_be_read_on_the_way_is_warned_of() {
    let data = tempfile::tempdir().unwrap();
    for (options, warned) in [(&["--listen", "0.0.0.0:0"][..], true), (&[], false)] {
        let world = World::start(data.path(), options);
        world.stop();
        let log = std::fs::read_to_string(data.path().join("log")).unwrap();
        assert_eq!(log.contains("--listen beyond this machine without TLS"), warned, "{log}");
    }
}
