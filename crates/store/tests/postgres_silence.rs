//! The engine `postgres` and hosts that say nothing: at the start, and in the middle of work.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "real databases live in real time")]

mod server;

use bytes::Bytes;
use pelago_model::{CommitOutcome, Key, Revision, Transaction, Write};
use pelago_store::{Postgres, Store, commit_now, load_now};
use server::Server;
use std::io::{Read, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// No machine is so slow that what is bounded takes longer.
const AT_LAST: Duration = Duration::from_secs(60);

/// A host that takes connections. It carries what is said to the database and back, until it swallows everything.
struct Host {
    address: SocketAddr,
    swallows: Arc<AtomicBool>,
    connections: Arc<AtomicUsize>,
}

impl Host {
    fn toward(database: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (swallows, connections) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let (silent, count) = (swallows.clone(), connections.clone());
        // Ends with the test's process.
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (client, server) = (client.unwrap(), TcpStream::connect(database).unwrap());
                count.fetch_add(1, Ordering::Relaxed);
                carry(client.try_clone().unwrap(), server.try_clone().unwrap(), silent.clone());
                carry(server, client, silent.clone());
            }
        });
        Self { address, swallows, connections }
    }

    fn swallow(&self, everything: bool) {
        self.swallows.store(everything, Ordering::Relaxed);
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, swallows: Arc<AtomicBool>) {
    std::thread::spawn(move || {
        let mut bytes = [0; 16 * 1024];
        while let Ok(count) = from.read(&mut bytes) {
            if count == 0 {
                break;
            }
            if !swallows.load(Ordering::Relaxed) && to.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
        drop(to.shutdown(Shutdown::Both));
    });
}

/// The address of a world at these hosts, of which each may take a second to be connected to.
fn address(server: &Server, hosts: &[&Host]) -> String {
    let hosts: Vec<String> = hosts.iter().map(|host| host.address.to_string()).collect();
    let at = server.address();
    let (user, place) = at.split_once('@').unwrap();
    let (_, database) = place.split_once('/').unwrap();
    format!("{user}@{}/{database}?connect_timeout=1&statement_timeout_ms=1000", hosts.join(","))
}

fn hosts(server: &Server) -> (Host, Host) {
    (Host::toward(server.socket()), Host::toward(server.socket()))
}

fn count(store: &dyn Store, number: u64) -> CommitOutcome {
    let (key, value) = (Key::parse("a/count").unwrap(), Some(Bytes::from(number.to_string())));
    let write = Write { key, expected: Revision(number - 1), schema: 1, value };
    commit_now(store, Transaction { checks: Vec::new(), writes: vec![write] })
}

fn counted(store: &dyn Store) -> Option<u64> {
    let found = load_now(store, vec![Key::parse("a/count").unwrap()]);
    found.ok().map(|found| found[0].revision.0)
}

#[test]
fn a_host_that_takes_connections_and_says_nothing_is_passed_over() {
    let server = Server::start();
    let (silent, other) = hosts(&server);
    silent.swallow(true);
    let began = Instant::now();
    let store = Postgres::open(&address(&server, &[&silent, &other])).unwrap();
    assert_eq!(count(&store, 1), CommitOutcome::Committed);
    // As soon as it is known to be silent it is asked last: not once for each connection.
    assert!(began.elapsed() < AT_LAST, "{:?}", began.elapsed());
    assert!((1..=2).contains(&silent.connections.load(Ordering::Relaxed)));
}

#[test]
fn a_database_that_says_nothing_at_all_is_an_error_and_no_wait() {
    let server = Server::start();
    let (silent, other) = hosts(&server);
    silent.swallow(true);
    other.swallow(true);
    let began = Instant::now();
    let error = Postgres::open(&address(&server, &[&silent, &other])).err().unwrap().to_string();
    assert!(error.contains("does not answer within 1 s of connecting"), "{error}");
    assert!(began.elapsed() < AT_LAST, "{:?}", began.elapsed());
    assert_eq!(other.connections.load(Ordering::Relaxed), 1);
}

#[test]
fn a_host_that_falls_silent_is_left_and_only_what_it_had_not_answered_is_unknown() {
    let server = Server::start();
    let (first, other) = hosts(&server);
    let store = Postgres::open(&address(&server, &[&first, &other])).unwrap();
    assert_eq!(count(&store, 1), CommitOutcome::Committed);
    let (before, began) = (other.connections.load(Ordering::Relaxed), Instant::now());
    assert_eq!(before, 0);
    first.swallow(true);
    let mut number = 1;
    while number < 20 {
        assert!(began.elapsed() < AT_LAST, "still at {number}");
        match count(&store, number + 1) {
            CommitOutcome::Committed => number += 1,
            CommitOutcome::Failed => {}
            // Never guessed: the revision tells.
            CommitOutcome::Unknown | CommitOutcome::Conflict { .. } => {
                number = counted(&store).unwrap_or(number);
            }
        }
    }
    assert_eq!(counted(&store), Some(20));
    assert!(other.connections.load(Ordering::Relaxed) > 0);
}

#[test]
fn closing_does_not_wait_for_a_database_that_has_fallen_silent() {
    let server = Server::start();
    let (first, other) = hosts(&server);
    let store = Arc::new(Postgres::open(&address(&server, &[&first, &other])).unwrap());
    assert_eq!(count(&*store, 1), CommitOutcome::Committed);
    first.swallow(true);
    other.swallow(true);
    let waits: Vec<_> = (0..4)
        .map(|_| {
            let store = store.clone();
            std::thread::spawn(move || {
                (count(&*store, 2), counted(&*store), store.feed_end().is_ok())
            })
        })
        .collect();
    std::thread::sleep(Duration::from_millis(200));
    let began = Instant::now();
    store.close();
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    for wait in waits {
        let (outcome, counted, has_end) = wait.join().unwrap();
        assert!(matches!(outcome, CommitOutcome::Failed | CommitOutcome::Unknown), "{outcome:?}");
        assert!(counted.is_none() && !has_end);
    }
}
