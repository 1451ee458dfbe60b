//! Peers that dawdle, flood, never read or leave: what each may cost.
#![allow(clippy::unwrap_used, reason = "tests")]

use bytes::Bytes;
use pelago_net::{Connection, Event, Listener, ReceiveError, SendOutcome, Transport};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The hosts of a listener on loopback.
fn hosts() -> pelago_net::HostRule {
    pelago_net::AllowedHosts::default().at(std::net::SocketAddr::from(([127, 0, 0, 1], 0)))
}

const LIMIT: usize = 1 << 20;
/// Longer than anything here may take.
const PATIENCE: Duration = Duration::from_secs(10);
const BOTH: [Transport; 2] = [Transport::Tcp, Transport::WebSocket];
const REQUEST: &[u8] =
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
/// The end of the answer to [`REQUEST`].
const ANSWERED: &[u8] = b"\r\n\r\n";

fn listener() -> (Listener, SocketAddr) {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.address();
    (listener, address)
}

/// A frame as a client sends it, short, with a mask of zeros.
fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode, 0x80 | payload.len() as u8, 0, 0, 0, 0];
    frame.extend_from_slice(payload);
    frame
}

async fn read_until(stream: &mut TcpStream, wanted: &[u8]) {
    let mut seen = Vec::new();
    while !seen.windows(wanted.len()).any(|window| window == wanted) {
        let mut more = [0; 256];
        let count = timeout(PATIENCE, stream.read(&mut more)).await.unwrap().unwrap();
        assert!(count > 0, "no {wanted:?} in {seen:?}");
        seen.extend_from_slice(&more[..count]);
    }
}

/// The server's side of a connection, and a bare socket on the other.
async fn with_bare_peer(transport: Transport) -> (Connection, TcpStream) {
    let (listener, address) = listener();
    bare_peer_of(&listener, address, transport).await
}

async fn bare_peer_of(
    listener: &Listener,
    address: SocketAddr,
    transport: Transport,
) -> (Connection, TcpStream) {
    let mut peer = TcpStream::connect(address).await.unwrap();
    let (stream, _) = listener.accept().await;
    let server = match transport {
        Transport::Tcp => Connection::tcp(stream, LIMIT, Default::default()).unwrap(),
        Transport::WebSocket => {
            peer.write_all(REQUEST).await.unwrap();
            let server =
                Connection::websocket(stream, LIMIT, Default::default(), &hosts()).await.unwrap();
            read_until(&mut peer, ANSWERED).await;
            server
        }
    };
    (server, peer)
}

#[tokio::test]
async fn a_websocket_close_is_answered() {
    let (mut server, mut peer) = with_bare_peer(Transport::WebSocket).await;
    peer.write_all(&masked(8, &[0x03, 0xe8])).await.unwrap();
    let serving = tokio::spawn(async move {
        while let Ok(Some(_)) = server.next().await {}
        server.finish().await;
    });
    read_until(&mut peer, &[0x88, 2, 0x03, 0xe8]).await;
    drop(peer);
    serving.await.unwrap();
}

#[tokio::test]
async fn a_websocket_message_beyond_the_limit_is_answered_with_a_reason() {
    let (mut server, mut peer) = with_bare_peer(Transport::WebSocket).await;
    let mut frame = vec![0x82, 0xff];
    frame.extend_from_slice(&(LIMIT as u64 + 1).to_be_bytes());
    frame.extend_from_slice(&[0; 4]);
    peer.write_all(&frame).await.unwrap();
    let serving = tokio::spawn(async move {
        let error = server.next().await;
        server.finish().await;
        error
    });
    // Closed with 1009, "message too big".
    read_until(&mut peer, &[0x03, 0xf1]).await;
    drop(peer);
    assert!(matches!(serving.await.unwrap(), Err(ReceiveError::WebSocket(_))));
}

#[tokio::test]
async fn pings_whose_answers_nobody_reads_end_the_connection() {
    let (listener, address) = listener();
    // The kernel keeps few answers itself.
    listener.set_send_buffer_bytes(16 * 1024).unwrap();
    let (mut server, mut peer) = bare_peer_of(&listener, address, Transport::WebSocket).await;
    let flood = tokio::spawn(async move {
        let mut pings = masked(9, &[7; 125]).repeat(200);
        // Between messages there may be few frames without data.
        pings.extend(masked(2, &[1, 7]));
        // Less than what data may wait: answers may wait far less.
        for _ in 0..240 {
            if peer.write_all(&pings).await.is_err() {
                break;
            }
        }
        peer
    });
    let ended = async { while let Ok(Some(_)) = server.next().await {} };
    timeout(PATIENCE, ended).await.expect("answers heap up for ever");
    let ended = server.next().await;
    assert!(matches!(ended, Err(ReceiveError::TooSlow)), "{ended:?}");
    drop(server);
    flood.await.unwrap();
}

/// Sends until the kernel takes no more.
fn block(server: &Connection) -> pelago_net::Sender {
    let sender = server.sender().unwrap();
    let message = Bytes::from(vec![1; 100_000]);
    while sender.send(&message) == SendOutcome::Written {}
    sender
}

#[tokio::test]
async fn who_never_reads_and_is_sent_too_much_is_let_go() {
    for transport in BOTH {
        let (mut server, peer) = with_bare_peer(transport).await;
        let sender = block(&server);
        let waiting = tokio::spawn(async move { server.next().await });
        // It must wait for the socket already when too much is sent.
        tokio::task::yield_now().await;
        let message = Bytes::from(vec![1; 1_000_000]);
        while sender.send(&message) != SendOutcome::Closed {}
        let ended = timeout(PATIENCE, waiting).await.expect("waits for ever").unwrap();
        assert!(matches!(ended, Err(ReceiveError::TooSlow)), "{transport:?} {ended:?}");
        drop(peer);
    }
}

#[tokio::test]
async fn a_close_does_not_wait_for_ever_for_who_never_reads() {
    for transport in BOTH {
        let (mut server, peer) = with_bare_peer(transport).await;
        block(&server).close();
        let ended = timeout(PATIENCE, server.next()).await.expect("waits for ever");
        assert!(matches!(ended, Err(ReceiveError::TooSlow)), "{transport:?} {ended:?}");
        drop(peer);
    }
}

#[tokio::test]
async fn a_handshake_without_end_is_not_kept() {
    let (listener, address) = listener();
    let mut peer = TcpStream::connect(address).await.unwrap();
    let (stream, _) = listener.accept().await;
    let flood = tokio::spawn(async move {
        let mut sent = 0;
        drop(peer.write_all(b"GET / HTTP/1.1\r\nX: ").await);
        while sent < 64 << 20 && peer.write_all(&vec![b'y'; 1 << 16]).await.is_ok() {
            sent += 1 << 16;
        }
        peer
    });
    let refused =
        Connection::websocket(stream, LIMIT, Default::default(), &hosts()).await.err().unwrap();
    assert!(refused.to_string().contains("the handshake is too long"), "{refused}");
    flood.await.unwrap();
}

#[tokio::test]
async fn a_handshake_that_dawdles_times_out() {
    let (listener, address) = listener();
    let mut peer = TcpStream::connect(address).await.unwrap();
    let (stream, _) = listener.accept().await;
    peer.write_all(&REQUEST[..40]).await.unwrap();
    let hosts = hosts();
    let refused = Connection::websocket(stream, LIMIT, Default::default(), &hosts);
    let refused = timeout(PATIENCE, refused);
    let refused = refused.await.unwrap().err().unwrap();
    assert!(matches!(refused, ReceiveError::Handshake), "{refused}");
}

#[tokio::test]
async fn messages_may_be_cut_anywhere_between_websocket_messages() {
    let (mut server, mut peer) = with_bare_peer(Transport::WebSocket).await;
    for part in [&[4u8][..], &[7, b'a'], &[], &[b'b', b'c', 1, 8, 2, 9], b"d"] {
        peer.write_all(&masked(2, part)).await.unwrap();
    }
    for (kind, payload) in [(7, &b"abc"[..]), (8, b""), (9, b"d")] {
        let event = timeout(PATIENCE, server.next()).await.unwrap().unwrap();
        assert_eq!(event, Some(Event::Message(kind, Bytes::from(payload))));
    }
}

#[tokio::test]
async fn a_message_that_drips_is_not_waited_for() {
    for transport in BOTH {
        let (mut server, mut peer) = with_bare_peer(transport).await;
        server.set_message_timeout(Duration::from_millis(200));
        let dripping = tokio::spawn(async move {
            let whole = match transport {
                Transport::Tcp => [&[100, 7][..], &[0; 98]].concat(),
                Transport::WebSocket => masked(2, &[&[100, 7][..], &[0; 98]].concat()),
            };
            for drop in whole {
                if peer.write_all(&[drop]).await.is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            peer
        });
        let ended = timeout(PATIENCE, server.next()).await.expect("waits for ever");
        assert!(matches!(ended, Err(ReceiveError::Stalled)), "{transport:?} {ended:?}");
        drop(server);
        dripping.await.unwrap();
    }
}

#[tokio::test]
async fn messages_that_come_whole_may_follow_each_other_for_ever() {
    for transport in BOTH {
        let (mut server, mut peer) = with_bare_peer(transport).await;
        server.set_message_timeout(Duration::from_millis(50));
        for _ in 0..5 {
            let message = [2, 7, 1];
            let bytes = match transport {
                Transport::Tcp => message.to_vec(),
                Transport::WebSocket => masked(2, &message),
            };
            peer.write_all(&bytes).await.unwrap();
            let event = timeout(PATIENCE, server.next()).await.unwrap().unwrap();
            assert_eq!(event, Some(Event::Message(7, Bytes::from_static(&[1]))));
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }
}

#[tokio::test]
async fn frames_without_data_are_not_read_for_ever() {
    let (mut server, mut peer) = with_bare_peer(Transport::WebSocket).await;
    peer.write_all(&masked(2, &[]).repeat(1000)).await.unwrap();
    let ended = timeout(PATIENCE, server.next()).await.expect("reads for ever");
    assert!(matches!(ended, Err(ReceiveError::EmptyFrames)), "{ended:?}");
    drop(peer);
}

#[tokio::test]
async fn a_text_message_ends_the_connection_with_its_reason() {
    let (mut server, mut peer) = with_bare_peer(Transport::WebSocket).await;
    peer.write_all(&masked(1, b"hello")).await.unwrap();
    let ended = timeout(PATIENCE, server.next()).await.expect("waits for ever");
    assert!(matches!(ended, Err(ReceiveError::Text)), "{ended:?}");
}
