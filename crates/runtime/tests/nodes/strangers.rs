//! Strangers: connections that have not said who they are, and what they may cost the players.

use crate::harness::{Cluster, address, is_seen, node, until};
use crate::player::Player;
use bytes::{Bytes, BytesMut};
use pelago_frontier::Frontier;
use pelago_game::{ContentHash, Game};
use pelago_runtime::{InProcessBook, NewWorld, World};
use pelago_wire::client::{ClientMessage, FetchContent, client_message};
use pelago_wire::message::put_control;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};

/// Strangers, and what each asks for.
const STRANGERS: usize = 600;
const FETCHES: usize = 230;
/// What the process may grow by: a tenth of what is asked for.
const GROWTH_BYTES: usize = 48 * 1024 * 1024;
/// For how long they are watched: longer than a link may be silent.
const WATCHED: Duration = Duration::from_secs(4);

fn fetch(hash: ContentHash) -> Vec<u8> {
    let hash = Bytes::copy_from_slice(&hash.0);
    let body = Some(client_message::Body::Fetch(FetchContent { hash }));
    let mut bytes = BytesMut::new();
    put_control(&mut bytes, &ClientMessage { body });
    bytes.to_vec()
}

/// A connection with little room for what is not read.
async fn stranger(address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(address).await.unwrap()
}

/// The bytes of this process that are in memory: each test has a process of its own.
fn resident_bytes() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn content_that_strangers_do_not_read_is_not_queued_for_them() {
    let store = pelago_store::open("memory:").unwrap();
    let game: &dyn Game = &Frontier;
    let world = World::open(&*store, game, NewWorld { seed: 7, island_size: 40 }).unwrap();
    let book = InProcessBook::default();
    let mut nodes = Vec::new();
    for number in 1..=2 {
        nodes.push(node(number, &world, &store, &book).start().await.unwrap());
    }
    let cluster = Cluster { nodes, book, store };
    cluster.until_linked().await;
    let manifest = world.lands.values().next().unwrap().manifest();
    let length = world.content(game)[&manifest].len();
    assert!(STRANGERS * FETCHES * length > 20 * GROWTH_BYTES, "{length} bytes are too few");
    let mut anna = Player::arrive(&address(&cluster.nodes[0]), "Anna").await;
    let mut bert = Player::arrive(&address(&cluster.nodes[1]), "Bert").await;
    is_seen(&mut anna, &mut bert).await;

    let asking = fetch(manifest).repeat(FETCHES);
    let mut strangers = Vec::new();
    for _ in 0..STRANGERS {
        strangers.push(stranger(cluster.nodes[0].addresses().tcp).await);
    }
    let before = resident_bytes();
    for stranger in &mut strangers {
        // What is not read does not fit into the socket for ever.
        drop(timeout(Duration::from_millis(5), stranger.write_all(&asking)).await);
    }
    let (watched, mut most) = (Instant::now(), 0);
    while watched.elapsed() < WATCHED {
        most = most.max(resident_bytes().saturating_sub(before));
        is_seen(&mut anna, &mut bert).await;
        assert!(cluster.nodes.iter().all(|node| node.alarms().is_empty()), "a link was hung up");
        sleep(Duration::from_millis(20)).await;
    }
    assert!(most < GROWTH_BYTES, "{STRANGERS} strangers who read nothing took {most} bytes");
    drop(strangers);
    cluster.stop().await;
}

/// With everything of a node on one thread, this test is that thread: it waits without giving it back.
#[tokio::test]
async fn strangers_are_served_on_other_threads_than_machines() {
    let store = pelago_store::open("memory:").unwrap();
    let game: &dyn Game = &Frontier;
    let world = World::open(&*store, game, NewWorld { seed: 7, island_size: 6 }).unwrap();
    let book = InProcessBook::default();
    let node = node(1, &world, &store, &book).start().await.unwrap();
    until("it is ready", || node.is_ready()).await;
    let asking = fetch(world.lands.values().next().unwrap().manifest());
    let mut stranger = std::net::TcpStream::connect(node.addresses().tcp).unwrap();
    stranger.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stranger.write_all(&asking).unwrap();
    stranger.read_exact(&mut [0; 100]).expect("a piece of content, without the machines");
    drop(stranger);
    node.stop().await;
}
