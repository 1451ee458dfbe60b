//! Bytes between nodes from somebody who is no node: each ends a link at worst, and streams flow on.

use crate::harness::Cluster;
use bytes::{BufMut, BytesMut};
use pelago_runtime::admin_calls::{CountersAnswer, Question, ask};
use pelago_runtime::{Node, ProcessCalls};
use pelago_wire::message::{Kind, put_control, put_message};
use pelago_wire::peer::{Heartbeat, PeerHello, PeerMessage, peer_message};
use pelago_wire::{PROTOCOL_NEWEST, PROTOCOL_OLDEST};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longer than a link may say nothing.
const PATIENCE: Duration = Duration::from_secs(10);
/// A node that is in nobody's address book.
const STRANGER: u32 = 77;

fn message(body: peer_message::Body) -> BytesMut {
    let mut bytes = BytesMut::new();
    put_control(&mut bytes, &PeerMessage { body: Some(body) });
    bytes
}

fn hello(node: u32, oldest: u32, newest: u32) -> BytesMut {
    message(peer_message::Body::Hello(PeerHello {
        oldest_version: oldest,
        newest_version: newest,
        node,
        incarnation: 1,
        build: "hostile".to_owned(),
    }))
}

fn of_kind(kind: Kind, payload: &[u8]) -> BytesMut {
    let mut bytes = BytesMut::new();
    put_message(&mut bytes, kind, payload);
    bytes
}

/// Each kind of hostile bytes, by what they are.
fn attacks() -> Vec<(&'static str, BytesMut)> {
    let oversized: &[u8] = &[0xff, 0xff, 0xff, 0xff, 0x07, 1];
    let heartbeat = message(peer_message::Body::Heartbeat(Heartbeat { world_time_ms: 1 }));
    let mut too_deep = BytesMut::new();
    too_deep.put_bytes(0x0a, 4000);
    vec![
        ("nothing", BytesMut::new()),
        ("garbage", BytesMut::from(&[0xff; 4096][..])),
        ("zeros", BytesMut::from(&[0; 4096][..])),
        ("an oversized message", BytesMut::from(oversized)),
        ("half a hello", hello(STRANGER, PROTOCOL_OLDEST, PROTOCOL_NEWEST).split_to(5)),
        ("truncated protobuf", of_kind(Kind::Control, &[0x0a, 100, 1])),
        ("nested protobuf", of_kind(Kind::Control, &too_deep)),
        ("another version", hello(STRANGER, 9998, 9999)),
        ("a stranger", hello(STRANGER, PROTOCOL_OLDEST, PROTOCOL_NEWEST)),
        ("frames before a hello", of_kind(Kind::Frames, &[1, 2, 3])),
        ("a snapshot before a hello", of_kind(Kind::Snapshot, &[1, 2, 3])),
        ("a flood before a hello", BytesMut::from(&heartbeat.repeat(20_000)[..])),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_bytes_lose_their_link_and_nothing_else() {
    let store = pelago_store::open("memory:").expect("a store");
    let cluster = Cluster::start(store).await;
    let peer = cluster.nodes[0].addresses().links;
    let mut attackers = tokio::task::JoinSet::new();
    for (what, bytes) in attacks() {
        attackers.spawn(async move {
            let mut stream = TcpStream::connect(peer).await.expect("a connection");
            // It may be hung up before all is written.
            drop(stream.write_all(&bytes).await);
            let mut answer = [0; 1024];
            let ended = async { while matches!(stream.read(&mut answer).await, Ok(1..)) {} };
            timeout(PATIENCE, ended).await.unwrap_or_else(|_| panic!("{what} kept its link"));
        });
    }
    let attacked =
        async { while attackers.join_next().await.transpose().expect("hung up").is_some() {} };
    let watched = async {
        loop {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let calm = |node: &Node| node.is_ready() && node.alarms().is_empty();
            assert!(cluster.nodes.iter().all(calm), "streams do not flow any more");
        }
    };
    tokio::select! {
        () = attacked => {}
        () = watched => {}
    }
    let node = &cluster.nodes[0];
    let calls = ProcessCalls::new([node.handle()]);
    let counters: CountersAnswer =
        ask(&calls, node.number(), Question::Counters).await.expect("an answer");
    assert!(counters.links.malformed >= 4, "{:?}", counters.links);
    cluster.stop().await;
}
