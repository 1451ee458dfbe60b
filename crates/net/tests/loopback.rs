//! Real sockets: the same promises over TCP and WebSocket.
#![allow(clippy::unwrap_used, reason = "tests")]

use bytes::{Bytes, BytesMut};
use pelago_net::framing::put_header;
use pelago_net::{
    Connection, Event, Listener, ReceiveError, SendOutcome, Sender, Traffic, Transport,
};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// The hosts of a listener on loopback.
fn hosts() -> pelago_net::HostRule {
    pelago_net::AllowedHosts::default().at(std::net::SocketAddr::from(([127, 0, 0, 1], 0)))
}

const LIMIT: usize = 1 << 20;

fn message(kind: u8, payload: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    put_header(&mut out, kind, payload.len());
    out.extend_from_slice(payload);
    out.freeze()
}

/// Server's and client's side of one connection.
async fn pair(transport: Transport) -> (Connection, Connection) {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.address();
    let client = tokio::spawn(async move {
        match transport {
            Transport::Tcp => {
                Connection::connect_tcp(&address.to_string(), None, LIMIT).await.unwrap()
            }
            Transport::WebSocket => {
                Connection::connect_websocket(&format!("ws://{address}/"), None, LIMIT)
                    .await
                    .unwrap()
            }
        }
    });
    let (stream, _) = listener.accept().await;
    let server = match transport {
        Transport::Tcp => Connection::tcp(stream, LIMIT, Default::default()).unwrap(),
        Transport::WebSocket => {
            Connection::websocket(stream, LIMIT, Default::default(), &hosts()).await.unwrap()
        }
    };
    (server, client.await.unwrap())
}

const BOTH: [Transport; 2] = [Transport::Tcp, Transport::WebSocket];

#[tokio::test]
async fn messages_of_all_sizes_pass_both_ways() {
    for transport in BOTH {
        let (mut server, mut client) = pair(transport).await;
        for size in [0, 1, 125, 126, 127, 128, 5000, 65_535, 65_536, 300_000] {
            let payload = vec![size as u8; size];
            let sent = client.send(message(7, &payload));
            let (sent, there) = tokio::join!(sent, server.next_message());
            sent.unwrap();
            let there = there.unwrap().unwrap();
            assert_eq!((there.0, there.1.len()), (7, size), "{transport:?}");
            let sender = server.sender().unwrap();
            assert_ne!(sender.send(&message(8, &payload)), SendOutcome::Closed);
            let echo = async {
                tokio::select! {
                    echo = client.next_message() => echo,
                    _ = server.next_message() => unreachable!("the client says nothing"),
                }
            };
            let echo = timeout(Duration::from_secs(5), echo).await.unwrap().unwrap().unwrap();
            assert_eq!((echo.0, echo.1), (8, Bytes::from(payload)), "{transport:?}");
        }
    }
}

#[tokio::test]
async fn a_reader_that_stops_blocks_and_the_stream_stays_whole() {
    for transport in BOTH {
        let (mut server, mut client) = pair(transport).await;
        let sender = server.sender().unwrap();
        let mut sent = 0u32;
        while sender.send(&message(1, &vec![sent as u8; 50_000])) == SendOutcome::Written {
            sent += 1;
        }
        sent += 1;
        let writing = tokio::spawn(async move {
            let event = server.next().await.unwrap();
            sender.send(&message(2, b"after"));
            (event, server)
        });
        for number in 0..sent {
            let (kind, payload) = client.next_message().await.unwrap().unwrap();
            assert_eq!((kind, payload), (1, Bytes::from(vec![number as u8; 50_000])));
        }
        let after = timeout(Duration::from_secs(5), client.next_message()).await.unwrap();
        assert_eq!(after.unwrap().unwrap(), (2, Bytes::from("after")));
        assert_eq!(writing.await.unwrap().0, Some(Event::Writable));
    }
}

/// Sends this body, as many times as it takes to block the sender. Returns what stands before the body, and how often.
fn share_until_blocked(sender: &Sender, body: &Bytes) -> (Bytes, usize) {
    let whole = message(3, body);
    let head = whole.slice(..whole.len() - body.len());
    let mut sent = 1;
    while sender.send_shared(&head, body) == SendOutcome::Written {
        sent += 1;
    }
    (head, sent)
}

#[tokio::test]
async fn what_many_are_sent_is_kept_once_however_many_do_not_read_it() {
    for transport in BOTH {
        let (mut server, mut client) = pair(transport).await;
        let sender = server.sender().unwrap();
        let body = Bytes::from(vec![7; 900_000]);
        let (head, sent) = share_until_blocked(&sender, &body);
        assert!(sender.is_blocked() && !body.is_unique(), "{transport:?}: it is not shared");
        assert_eq!(sender.send_shared(&head, &body), SendOutcome::Refused);
        assert_eq!(sender.try_send(&[message(1, b"no")]), SendOutcome::Refused);
        let writing = tokio::spawn(async move { (server.next_writable().await.unwrap(), server) });
        for _ in 0..sent {
            let (kind, payload) = client.next_message().await.unwrap().unwrap();
            assert!((kind, &payload) == (3, &body), "{transport:?}: not whole");
        }
        let (event, _server) = writing.await.unwrap();
        assert_eq!(event, Some(Event::Writable));
        assert!(body.is_unique(), "{transport:?}: it is still kept");
    }
}

#[tokio::test]
async fn what_is_sent_behind_it_comes_behind_it() {
    for transport in BOTH {
        let (mut server, mut client) = pair(transport).await;
        let sender = server.sender().unwrap();
        let body = Bytes::from(vec![7; 900_000]);
        let (_, sent) = share_until_blocked(&sender, &body);
        assert_eq!(sender.send(&message(4, b"behind")), SendOutcome::Blocked);
        let writing = tokio::spawn(async move { (server.next_writable().await.unwrap(), server) });
        for _ in 0..sent {
            assert_eq!(client.next_message().await.unwrap().unwrap().0, 3);
        }
        let behind = client.next_message().await.unwrap().unwrap();
        assert_eq!(behind, (4, Bytes::from("behind")), "{transport:?}");
        drop(writing.await.unwrap());
    }
}

#[tokio::test]
async fn slices_are_one_write_and_are_refused_while_blocked() {
    for transport in BOTH {
        let (mut server, mut client) = pair(transport).await;
        let sender = server.sender().unwrap();
        // More than one system call takes: a write in two parts must still be whole.
        let slices: Vec<Bytes> = (0..1500).map(|number| message(number as u8, b"slice")).collect();
        assert_ne!(sender.try_send(&slices), SendOutcome::Closed);
        let mut sent = 0u32;
        let blocked = loop {
            let part = vec![sent as u8; 50_000];
            match sender.try_send(&[message(1, &part), message(2, &part), Bytes::new()]) {
                SendOutcome::Written => sent += 1,
                SendOutcome::Refused if sent == 0 => {
                    assert_eq!(server.next().await.unwrap(), Some(Event::Writable));
                }
                outcome => break outcome,
            }
        };
        assert_eq!(blocked, SendOutcome::Blocked, "{transport:?}");
        assert_eq!(sender.try_send(&[message(3, b"refused")]), SendOutcome::Refused);
        let writing = tokio::spawn(async move {
            assert_eq!(server.next().await.unwrap(), Some(Event::Writable));
            assert_eq!(sender.try_send(&[message(4, b"after")]), SendOutcome::Written);
            server
        });
        for number in 0..1500 {
            let expected = (number as u8, Bytes::from("slice"));
            assert_eq!(client.next_message().await.unwrap().unwrap(), expected);
        }
        for number in 0..=sent {
            for kind in [1, 2] {
                let expected = (kind, Bytes::from(vec![number as u8; 50_000]));
                assert_eq!(client.next_message().await.unwrap().unwrap(), expected);
            }
        }
        let after = timeout(Duration::from_secs(5), client.next_message()).await.unwrap();
        assert_eq!(after.unwrap().unwrap(), (4, Bytes::from("after")), "{transport:?}");
        writing.await.unwrap();
    }
}

#[tokio::test]
async fn two_hundred_connections_are_served_at_once_and_counted() {
    for transport in BOTH {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.address();
        let traffic = Arc::new(Traffic::default());
        let mut clients = JoinSet::new();
        let mut servers = JoinSet::new();
        let here = Arc::new(Barrier::new(200));
        for number in 0..200u8 {
            let here = here.clone();
            clients.spawn(async move {
                let mut client = match transport {
                    Transport::Tcp => {
                        Connection::connect_tcp(&address.to_string(), None, LIMIT).await
                    }
                    Transport::WebSocket => {
                        Connection::connect_websocket(&format!("ws://{address}/"), None, LIMIT)
                            .await
                    }
                }
                .unwrap();
                client.send(message(1, &[number])).await.unwrap();
                let echo = client.next_message().await.unwrap().unwrap();
                assert_eq!(echo, (2, Bytes::from(vec![number])));
                // Nobody leaves before all were served.
                here.wait().await;
            });
        }
        for _ in 0..200 {
            let (stream, _) = listener.accept().await;
            let traffic = traffic.clone();
            servers.spawn(async move {
                let mut server = match transport {
                    Transport::Tcp => Connection::tcp(stream, LIMIT, traffic).unwrap(),
                    Transport::WebSocket => {
                        Connection::websocket(stream, LIMIT, traffic, &hosts()).await.unwrap()
                    }
                };
                let (_, payload) = server.next_message().await.unwrap().unwrap();
                server.sender().unwrap().send(&message(2, &payload));
                while let Ok(Some(_)) = server.next().await {}
            });
        }
        let all = async {
            while clients.join_next().await.transpose().unwrap().is_some() {}
            while servers.join_next().await.transpose().unwrap().is_some() {}
        };
        timeout(Duration::from_secs(20), all).await.unwrap();
        let counts = [&traffic.accepted, &traffic.closed, &traffic.open, &traffic.handshakes];
        let counts = counts.map(|count| count.load(Ordering::Relaxed));
        assert_eq!(counts, [200, 200, 0, 0], "{transport:?}");
    }
}

#[tokio::test]
async fn what_was_sent_before_a_close_arrives() {
    for transport in BOTH {
        let (mut server, mut client) = pair(transport).await;
        client.send(message(3, b"unread")).await.unwrap();
        let sender = server.sender().unwrap();
        sender.send(&message(1, b"goodbye"));
        sender.close();
        while server.next().await.unwrap().is_some() {}
        let finished = tokio::spawn(server.finish());
        assert_eq!(client.next_message().await.unwrap().unwrap(), (1, Bytes::from("goodbye")));
        assert!(matches!(client.next_message().await, Ok(None) | Err(_)));
        drop(client);
        finished.await.unwrap();
        assert_eq!(sender.send(&message(1, b"late")), SendOutcome::Closed);
    }
}

#[tokio::test]
async fn garbage_ends_only_its_connection() {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let mut stream = tokio::net::TcpStream::connect(listener.address()).await.unwrap();
    let (accepted, _) = listener.accept().await;
    let mut server = Connection::tcp(accepted, 100, Default::default()).unwrap();
    stream.write_all(&[0xff; 200]).await.unwrap();
    assert!(matches!(server.next().await, Err(ReceiveError::Malformed(_))));
}

#[tokio::test]
async fn a_websocket_ping_is_answered_amid_data() {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.address();
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await;
        let mut server =
            Connection::websocket(stream, LIMIT, Default::default(), &hosts()).await.unwrap();
        server.sender().unwrap().send(&message(1, b"data"));
        while let Ok(Some(_)) = server.next().await {}
    });
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    // A masked ping with the payload "hi" and a mask of zeros.
    stream.write_all(&[0x89, 0x82, 0, 0, 0, 0, b'h', b'i']).await.unwrap();
    let mut seen = Vec::new();
    let pong = [0x8a, 2, b'h', b'i'];
    while !seen.windows(4).any(|window| window == pong) {
        let mut more = [0; 256];
        let read = timeout(Duration::from_secs(5), stream.read(&mut more)).await.unwrap().unwrap();
        assert!(read > 0, "no pong in {seen:?}");
        seen.extend_from_slice(&more[..read]);
    }
    drop(stream);
    server.await.unwrap();
}
