//! The engine `postgres` on a real server: conformance, and what a server can refuse.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "real databases live in real time")]

mod server;

use bytes::Bytes;
use pelago_model::{Check, CommitOutcome, Key, Revision, Transaction, Write};
use pelago_store::conformance::Temporary;
use pelago_store::{FeedError, FeedPosition, Postgres, Store, commit_now, load_now};
use server::{PASSWORD, Server};
use std::sync::Arc;
use std::time::{Duration, Instant};

fn temporary() -> Arc<Temporary<Postgres, Server>> {
    let place = Server::start();
    let store = Postgres::open(&place.address()).unwrap();
    Arc::new(Temporary { store, place })
}

pelago_store::conformance!(temporary);
pelago_store::conformance_durable!(Server::start, |server: &Server| Arc::new(
    Postgres::open(&server.address()).unwrap()
));

fn key(name: &str) -> Key {
    Key::parse(name).unwrap()
}

fn write(name: &str, expected: u64) -> Write {
    let value = Some(Bytes::from(format!("{}", expected + 1)));
    Write { key: key(name), expected: Revision(expected), schema: 1, value }
}

fn transaction(writes: Vec<Write>) -> Transaction {
    Transaction { checks: Vec::new(), writes }
}

fn revision(store: &dyn Store, name: &str) -> u64 {
    load_now(store, vec![key(name)]).unwrap()[0].revision.0
}

/// Tries again until it is committed.
fn increment(store: &dyn Store, name: &str) {
    loop {
        let writes = vec![write(name, revision(store, name))];
        if commit_now(store, transaction(writes)) == CommitOutcome::Committed {
            return;
        }
    }
}

fn problem(address: &str) -> String {
    let error = Postgres::open(address).err().unwrap().to_string();
    assert!(error.starts_with("--store postgres://"), "{error}");
    assert!(!error.contains(PASSWORD), "{error}");
    error
}

#[test]
fn what_cannot_be_opened_says_why_and_never_the_password() {
    let server = Server::start();
    let address = server.address();
    for (wrong, says) in [
        (address.replace(PASSWORD, "wrong"), "password"),
        (address.replace("pelago:", "nobody:"), "password"),
        (address.replace("/world", "/elsewhere"), "CREATE DATABASE"),
        (address.replace("127.0.0.1", "127.0.0.2"), "refused"),
        (address.replace("127.0.0.1", "no-such-host.invalid"), "lookup"),
        (format!("{address}?sslmode=require"), "TLS"),
    ] {
        let wrong =
            if wrong.contains("invalid") { format!("{wrong}?sslmode=disable") } else { wrong };
        let error = problem(&wrong);
        assert!(error.contains(says), "{error}");
        assert!(!error.contains("wrong"), "{error}");
    }
    server.sql("REVOKE ALL ON SCHEMA public FROM pg_database_owner, PUBLIC");
    server.sql("GRANT USAGE ON SCHEMA public TO PUBLIC");
    assert!(problem(&address).contains("CREATE on the schema"));
    server.sql("GRANT ALL ON SCHEMA public TO pelago");
    drop(Postgres::open(&address).unwrap());
    // Tables are enough where there are no rights to make them.
    server.sql("REVOKE CREATE ON SCHEMA public FROM pelago");
    drop(Postgres::open(&address).unwrap());
    for table in ["pelago_documents", "pelago_feed"] {
        server
            .sql(&format!("ALTER TABLE {table} OWNER TO admin; REVOKE ALL ON {table} FROM pelago"));
        assert!(problem(&address).contains("SELECT, INSERT, UPDATE and DELETE"), "{table}");
        server.sql(&format!("GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO pelago"));
        drop(Postgres::open(&address).unwrap());
    }
    server.sql("ALTER TABLE pelago_documents RENAME TO elsewhere");
    assert!(problem(&address).contains("restore"));
    server.sql("ALTER TABLE elsewhere RENAME TO pelago_documents");
    server.sql("UPDATE pelago_meta SET value = '2' WHERE name = 'layout'");
    assert!(problem(&address).contains("layout \"2\", and this version knows layout 1"));
    server.sql("DELETE FROM pelago_meta WHERE name = 'layout'");
    assert!(problem(&address).contains("names no layout"));
    set(&server, "SET default_transaction_read_only = on");
    assert!(problem(&address).contains("writ"), "a standby");
}

#[test]
fn an_unsafe_server_is_not_called_durable() {
    let server = Server::start_with(&["fsync=off"]);
    assert!(!Postgres::open(&server.address()).unwrap().capabilities().durable);
    let server = Server::start();
    let capabilities = Postgres::open(&server.address()).unwrap().capabilities();
    assert!(capabilities.durable && capabilities.feed && capabilities.native_transactions);
}

#[test]
fn many_open_an_empty_database_at_once() {
    let server = Server::start();
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| increment(&Postgres::open(&server.address()).unwrap(), "a/count"));
        }
    });
    assert_eq!(revision(&Postgres::open(&server.address()).unwrap(), "a/count"), 6);
}

#[test]
fn two_engines_count_together() {
    const EACH: u64 = 60;
    let server = Server::start();
    let stores = [0, 1].map(|_| Postgres::open(&server.address()).unwrap());
    std::thread::scope(|scope| {
        for store in &stores {
            for name in ["a/1", "a/2"] {
                scope.spawn(move || (0..EACH).for_each(|_| increment(store, name)));
            }
        }
    });
    for store in &stores {
        assert_eq!(["a/1", "a/2"].map(|name| revision(store, name)), [2 * EACH, 2 * EACH]);
    }
}

/// Each checks that the other's document is still absent and writes its own: only one may.
#[test]
fn absence_is_held_until_the_end() {
    let server = Server::start();
    let stores = [0, 1].map(|_| Postgres::open(&server.address()).unwrap());
    for round in 0..40 {
        let (one, two) = (format!("a/{round}/1"), format!("a/{round}/2"));
        let committed: usize = std::thread::scope(|scope| {
            let both = [(&stores[0], &one, &two), (&stores[1], &two, &one)];
            let tries = both.map(|(store, mine, other)| {
                scope.spawn(move || {
                    let checks = vec![Check { key: key(other), revision: Revision(0) }];
                    let transaction = Transaction { checks, writes: vec![write(mine, 0)] };
                    usize::from(commit_now(store, transaction) == CommitOutcome::Committed)
                })
            });
            tries.into_iter().map(|one| one.join().unwrap()).sum()
        });
        assert_eq!(committed, 1, "round {round}");
        let there = revision(&stores[0], &one) + revision(&stores[0], &two);
        assert_eq!(there, 1, "round {round}");
    }
    // What was only checked is not there for anybody.
    let mut visited = 0;
    stores[0].scan("", &mut |_, _| visited += 1).unwrap();
    assert_eq!(visited, 40);
}

/// Somebody locks the same rows in the other order, again and again: the database ends one of the two.
#[test]
fn deadlocks_are_tried_again() {
    let server = Server::start();
    set(&server, "SET deadlock_timeout = '500ms'");
    let store = Postgres::open(&server.address()).unwrap();
    assert_eq!(
        commit_now(&store, transaction(vec![write("a/1", 0), write("a/2", 0)])),
        CommitOutcome::Committed
    );
    std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            for _ in 0..5 {
                // We look once, after half a second. It waits longer, so that we are the one who is ended.
                server.sql(
                    "SET deadlock_timeout = '1min'; BEGIN;
                     UPDATE pelago_documents SET schema = schema WHERE key = 'a/2';
                     SELECT pg_sleep(0.05);
                     UPDATE pelago_documents SET schema = schema WHERE key = 'a/1'; COMMIT",
                );
            }
        });
        let mut revision = 1;
        while !other.is_finished() {
            let writes = vec![write("a/1", revision), write("a/2", revision)];
            assert_eq!(commit_now(&store, transaction(writes)), CommitOutcome::Committed);
            revision += 1;
        }
    });
    assert!(store.counters().retries > 0);
}

/// Changes a setting of a running server.
fn set(server: &Server, setting: &str) {
    server.sql(&format!("ALTER SYSTEM {setting}"));
    server.sql("SELECT pg_reload_conf()");
    std::thread::sleep(Duration::from_millis(300));
}

#[test]
fn a_cancelled_wait_for_standbys_is_not_called_a_success() {
    let server = Server::start();
    let store = Postgres::open(&server.address()).unwrap();
    increment(&store, "a/1");
    set(&server, "SET synchronous_standby_names = 'nobody'");
    let conflict = CommitOutcome::Conflict { keys: vec![key("a/1")] };
    assert_eq!(commit_now(&store, transaction(vec![write("a/1", 7)])), conflict);
    std::thread::scope(|scope| {
        let commit = scope.spawn(|| commit_now(&store, transaction(vec![write("a/1", 1)])));
        let cancel =
            "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
        while !server.sql(cancel).contains('t') {}
        assert_eq!(commit.join().unwrap(), CommitOutcome::Unknown);
    });
    assert_eq!(store.counters().unknown, 1);
    // Here it has happened. When there are standbys again, so it goes on.
    set(&server, "RESET synchronous_standby_names");
    assert_eq!(revision(&store, "a/1"), 2);
    assert_eq!(commit_now(&store, transaction(vec![write("a/1", 2)])), CommitOutcome::Committed);
}

#[test]
fn what_silent_standbys_do_not_have_is_seen_by_nobody() {
    let server = Server::start();
    let address = format!("{}?statement_timeout_ms=500&connections=2", server.address());
    let store = Postgres::open(&address).unwrap();
    increment(&store, "a/1");
    set(&server, "SET synchronous_standby_names = 'nobody'");
    for name in ["a/1", "b/1"] {
        let expected = revision(&store, name);
        let outcome = commit_now(&store, transaction(vec![write(name, expected)]));
        assert_eq!(outcome, CommitOutcome::Unknown);
        assert_eq!(revision(&store, name), expected, "not durable yet");
    }
    // Whoever else tries fails, and holds no more connections.
    for name in ["a/1", "b/1", "c/1"] {
        let expected = revision(&store, name);
        let outcome = commit_now(&store, transaction(vec![write(name, expected)]));
        assert_eq!(outcome, CommitOutcome::Failed);
    }
    let held = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    assert_eq!(server.sql(held), "2");
    set(&server, "RESET synchronous_standby_names");
    assert_eq!([revision(&store, "a/1"), revision(&store, "b/1")], [2, 1], "now it is");
    increment(&store, "a/1");
    assert_eq!(revision(&store, "a/1"), 3);
}

#[test]
fn a_leader_without_its_standbys_is_left_for_the_one_that_leads_now() {
    let [old, new] = [Server::start(), Server::start()];
    let host = |server: &Server| server.address().split(['@', '/']).nth(3).unwrap().to_owned();
    let both = old.address().replace(&host(&old), &format!("{},{}", host(&old), host(&new)));
    let elected = Postgres::open(&new.address()).unwrap();
    increment(&elected, "a/1");
    let store = Postgres::open(&format!("{both}?statement_timeout_ms=500")).unwrap();
    increment(&store, "a/1");
    increment(&store, "a/1");
    set(&old, "SET synchronous_standby_names = 'elected'");
    assert_eq!(commit_now(&store, transaction(vec![write("a/1", 2)])), CommitOutcome::Unknown);
    // Nobody stops the old one: it would be read, and could commit nothing.
    assert_eq!(revision(&store, "a/1"), 1);
    increment(&store, "a/1");
    assert_eq!(revision(&elected, "a/1"), 2);
}

#[test]
fn a_read_only_server_refuses_and_recovery_is_by_itself() {
    let server = Server::start();
    let store = Postgres::open(&server.address()).unwrap();
    increment(&store, "a/1");
    set(&server, "SET default_transaction_read_only = on");
    let began = Instant::now();
    assert_eq!(commit_now(&store, transaction(vec![write("a/1", 1)])), CommitOutcome::Failed);
    assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
    set(&server, "RESET default_transaction_read_only");
    assert_eq!(commit_now(&store, transaction(vec![write("a/1", 1)])), CommitOutcome::Committed);
}

#[test]
fn while_the_server_is_gone_requests_wait_within_a_bound() {
    let mut server = Server::start();
    let store = Postgres::open(&server.address()).unwrap();
    increment(&store, "a/1");
    server.kill();
    let began = Instant::now();
    assert_eq!(commit_now(&store, transaction(vec![write("a/1", 1)])), CommitOutcome::Failed);
    assert!(load_now(&store, vec![key("a/1")]).is_err());
    assert!(store.scan("", &mut |_, _| ()).is_err());
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    // Back soon enough, and nobody notices.
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| commit_now(&store, transaction(vec![write("a/1", 1)])));
        server.go_on();
        assert_eq!(waits.join().unwrap(), CommitOutcome::Committed);
    });
    assert_eq!(revision(&store, "a/1"), 2);
    // What was served first may have come over a connection that there was none of before.
    for _ in 0..100 {
        if store.counters().reconnects == 0 {
            std::thread::sleep(Duration::from_millis(50));
            increment(&store, "a/1");
        }
    }
    assert!(store.counters().reconnects > 0);
    store.close();
    assert_eq!(store.counters().waiting_bytes, 0);
}

#[test]
fn the_feed_forgets_its_oldest_changes_and_says_so() {
    let server = Server::start();
    let store = Postgres::open(&format!("{}?feed_changes=4", server.address())).unwrap();
    (0..20).for_each(|_| increment(&store, "a/1"));
    let began = Instant::now();
    let oldest = loop {
        match store.feed(FeedPosition::START, 100) {
            Err(FeedError::Forgotten { oldest })
                if server.sql("SELECT count(*) FROM pelago_feed") == "4" =>
            {
                break oldest;
            }
            Ok(_) | Err(FeedError::Forgotten { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        assert!(began.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(50));
    };
    let told = store.feed(oldest, 100).unwrap();
    let revisions: Vec<u64> = told.iter().map(|change| change.document.revision.0).collect();
    assert_eq!(revisions, [17, 18, 19, 20]);
    assert_eq!(store.feed_end(), Ok(told[3].position));
}

#[test]
fn a_password_may_stand_in_a_file_and_certificates_are_verified() {
    let certified =
        rcgen::generate_simple_self_signed(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])
            .unwrap();
    let mut server = Server::start();
    let certificate = server.put("certificate.pem", &certified.cert.pem());
    let key = server.put("key.pem", &certified.signing_key.serialize_pem());
    let password = server.put("password", &format!("{PASSWORD}\n"));
    server.sql(&format!("ALTER SYSTEM SET ssl_cert_file = '{}'", certificate.display()));
    server.sql(&format!("ALTER SYSTEM SET ssl_key_file = '{}'", key.display()));
    server.sql("ALTER SYSTEM SET ssl = on");
    server.kill();
    server.go_on();
    let options = |options: &str| {
        let address = server.address().replace(&format!(":{PASSWORD}"), "");
        format!("{address}?password_file={}&{options}", password.display())
    };
    let trusted = format!("sslrootcert={}", certificate.display());
    let encrypted = |address: &str| {
        let store = Postgres::open(address).unwrap();
        increment(&store, "a/1");
        let ask = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
                   WHERE application_name = 'pelago'";
        server.sql(ask)
    };
    assert_eq!(encrypted(&options(&format!("sslmode=verify-full&{trusted}"))), "t");
    assert_eq!(encrypted(&options("sslmode=require")), "t");
    assert_eq!(encrypted(&options("sslmode=disable")), "f");
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let other = server.put("other.pem", &other.cert.pem());
    let untrusted = format!("sslmode=verify-full&sslrootcert={}", other.display());
    assert!(problem(&options(&untrusted)).contains("certificate"));
    assert!(problem(&options("sslmode=verify-full&sslrootcert=/missing")).contains("/missing"));
}
