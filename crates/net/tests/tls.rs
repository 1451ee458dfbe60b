//! TLS between real sockets: the same connections as over plain TCP, and nothing for those who do not speak it.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "real sockets live in real time")]

use bytes::{Bytes, BytesMut};
use pelago_net::framing::put_header;
use pelago_net::{
    Connection, Event, Listener, ReceiveError, SendOutcome, ServerTls, Traffic, Trust,
};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The hosts of a listener on loopback.
fn hosts() -> pelago_net::HostRule {
    pelago_net::AllowedHosts::default().at(std::net::SocketAddr::from(([127, 0, 0, 1], 0)))
}

const LIMIT: usize = 1024 * 1024;
const PATIENCE: Duration = Duration::from_secs(20);

struct Place {
    listener: Listener,
    address: SocketAddr,
    tls: ServerTls,
    certificate: PathBuf,
    _directory: tempfile::TempDir,
}

fn place() -> Place {
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = write_certificate(directory.path());
    let tls = ServerTls::from_files(&certificate, &key).unwrap();
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.address();
    Place { listener, address, tls, certificate, _directory: directory }
}

fn write_certificate(directory: &Path) -> (PathBuf, PathBuf) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let (certificate, key) = (directory.join("certificate.pem"), directory.join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    (certificate, key)
}

impl Place {
    fn pinned(&self) -> Trust {
        Trust::fingerprint(self.tls.fingerprint()).unwrap()
    }

    async fn accept(&self, websocket: bool) -> Result<Connection, ReceiveError> {
        self.accept_counted(websocket, Arc::default()).await
    }

    async fn accept_counted(
        &self,
        websocket: bool,
        traffic: Arc<Traffic>,
    ) -> Result<Connection, ReceiveError> {
        let (stream, _) = self.listener.accept().await;
        if websocket {
            Connection::secure_websocket(stream, LIMIT, traffic, &hosts(), &self.tls).await
        } else {
            Connection::tls(stream, LIMIT, traffic, &self.tls).await
        }
    }

    async fn connect(&self, websocket: bool, trust: &Trust) -> Result<Connection, ReceiveError> {
        if websocket {
            let url = format!("wss://{}/", self.address);
            Connection::connect_secure_websocket(&url, None, LIMIT, trust).await
        } else {
            Connection::connect_tls(&self.address.to_string(), None, LIMIT, trust).await
        }
    }

    async fn pair(&self, websocket: bool) -> (Connection, Connection) {
        let trust = self.pinned();
        let (server, client) =
            tokio::join!(self.accept(websocket), self.connect(websocket, &trust));
        (server.unwrap(), client.unwrap())
    }
}

fn message(kind: u8, payload: &[u8]) -> Bytes {
    let mut bytes = BytesMut::new();
    put_header(&mut bytes, kind, payload.len());
    bytes.extend_from_slice(payload);
    bytes.freeze()
}

#[tokio::test]
async fn messages_pass_both_ways_and_the_end_is_heard() {
    for websocket in [false, true] {
        let place = place();
        let (mut server, mut client) = place.pair(websocket).await;
        client.send(message(1, b"there")).await.unwrap();
        assert_eq!(server.next_message().await.unwrap(), Some((1, Bytes::from("there"))));
        // Out of several slices, longer than one record.
        let long = message(2, &vec![7; 100_000]);
        let outcome = server.sender().unwrap().try_send(&[long.slice(..10), long.slice(10..)]);
        let client_reads = async { client.next_message().await.unwrap().unwrap() };
        let server_writes = async {
            if outcome == SendOutcome::Blocked {
                assert_eq!(server.next().await.unwrap(), Some(Event::Writable));
            }
        };
        let ((kind, payload), ()) = tokio::join!(client_reads, server_writes);
        assert_eq!((kind, payload.len()), (2, 100_000));
        assert!(payload.iter().all(|byte| *byte == 7));
        // The last words and the end may come at once.
        assert_eq!(server.sender().unwrap().send(&message(3, b"farewell")), SendOutcome::Written);
        let hearing = async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let last = client.next_message().await.unwrap();
            (last, client.next_message().await.unwrap())
        };
        let (heard, ()) = tokio::join!(hearing, server.finish());
        assert_eq!(heard, (Some((3, Bytes::from("farewell"))), None));
    }
}

#[tokio::test]
async fn a_write_is_one_write_and_nothing_of_it_can_be_read_on_the_wire() {
    let place = place();
    let traffic = Arc::<Traffic>::default();
    let trust = place.pinned();
    let (server, client) =
        tokio::join!(place.accept_counted(false, traffic.clone()), place.connect(false, &trust));
    let (server, mut client) = (server.unwrap(), client.unwrap());
    let before = traffic.writes.load(Ordering::Relaxed);
    let outcome = server.sender().unwrap().try_send(&[message(1, b"one"), message(1, b"two")]);
    assert_eq!(outcome, SendOutcome::Written);
    assert_eq!(traffic.writes.load(Ordering::Relaxed) - before, 1);
    // One record: 10 bytes of messages, 5 of header, 1 of type, 16 of seal.
    assert_eq!(traffic.sent.load(Ordering::Relaxed), 32);
    assert_eq!(client.next_message().await.unwrap().unwrap().1, "one");
    assert_eq!(client.next_message().await.unwrap().unwrap().1, "two");
}

#[tokio::test]
async fn a_blocked_reader_gets_the_remainder_and_then_what_comes_later() {
    for websocket in [false, true] {
        let place = place();
        let (mut server, mut client) = place.pair(websocket).await;
        let sender = server.sender().unwrap();
        let filler = message(2, &vec![5; 200_000]);
        let mut sent = 0;
        let outcome = loop {
            sent += 1;
            match sender.try_send(std::slice::from_ref(&filler)) {
                SendOutcome::Written => {}
                outcome => break outcome,
            }
        };
        assert_eq!(outcome, SendOutcome::Blocked);
        assert_eq!(sender.try_send(std::slice::from_ref(&filler)), SendOutcome::Refused);
        // Control messages wait behind it.
        assert_eq!(sender.send(&message(3, b"behind")), SendOutcome::Blocked);
        let reading = async {
            for _ in 0..sent {
                let (kind, payload) = client.next_message().await.unwrap().unwrap();
                assert_eq!((kind, payload.len()), (2, 200_000));
                assert!(payload.iter().all(|byte| *byte == 5));
            }
            assert_eq!(client.next_message().await.unwrap(), Some((3, Bytes::from("behind"))));
        };
        let writing = async { assert_eq!(server.next().await.unwrap(), Some(Event::Writable)) };
        timeout(PATIENCE, async { tokio::join!(reading, writing) }).await.unwrap();
        assert_eq!(sender.try_send(&[message(4, b"later")]), SendOutcome::Written);
        assert_eq!(client.next_message().await.unwrap(), Some((4, Bytes::from("later"))));
    }
}

#[tokio::test]
async fn what_many_are_sent_is_sealed_as_far_as_it_is_read() {
    for websocket in [false, true] {
        let place = place();
        let (mut server, mut client) = place.pair(websocket).await;
        let sender = server.sender().unwrap();
        let body = Bytes::from(vec![7; 900_000]);
        let whole = message(3, &body);
        let head = &whole[..whole.len() - body.len()];
        let mut sent = 1;
        while sender.send_shared(head, &body) == SendOutcome::Written {
            sent += 1;
        }
        assert!(sender.is_blocked() && !body.is_unique(), "it is not shared");
        assert_eq!(sender.send_shared(head, &body), SendOutcome::Refused);
        let reading = async {
            for _ in 0..sent {
                let (kind, payload) = client.next_message().await.unwrap().unwrap();
                assert!((kind, &payload) == (3, &body), "not whole");
            }
        };
        let writing =
            async { assert_eq!(server.next_writable().await.unwrap(), Some(Event::Writable)) };
        timeout(PATIENCE, async { tokio::join!(reading, writing) }).await.unwrap();
        assert!(body.is_unique(), "it is still kept");
        // What is sent behind it comes behind it.
        let mut sent = 1;
        while sender.send_shared(head, &body) == SendOutcome::Written {
            sent += 1;
        }
        assert_eq!(sender.send(&message(4, b"behind")), SendOutcome::Blocked);
        let reading = async {
            for _ in 0..sent {
                assert_eq!(client.next_message().await.unwrap().unwrap().0, 3);
            }
            assert_eq!(client.next_message().await.unwrap(), Some((4, Bytes::from("behind"))));
        };
        let writing = async { drop(server.next_writable().await) };
        timeout(PATIENCE, async { tokio::join!(reading, writing) }).await.unwrap();
    }
}

#[tokio::test]
async fn a_reader_that_never_reads_is_cut_off_at_the_limit() {
    let place = place();
    let (mut server, _client) = place.pair(false).await;
    let sender = server.sender().unwrap();
    let filler = message(2, &vec![5; 1_000_000]);
    let mut sends = 0;
    while sender.send(&filler) != SendOutcome::Closed {
        sends += 1;
        assert!(sends < 100, "more waits than may");
    }
    assert!(matches!(server.next().await, Err(ReceiveError::TooSlow)));
}

#[tokio::test]
async fn plain_clients_and_garbage_are_refused() {
    for websocket in [false, true] {
        for bytes in [&message(1, b"hello")[..], b"GET / HTTP/1.1\r\n\r\n", &[0; 500], &[0x16; 500]]
        {
            let place = place();
            let mut peer = TcpStream::connect(place.address).await.unwrap();
            peer.write_all(bytes).await.unwrap();
            peer.shutdown().await.unwrap();
            let accepted = timeout(PATIENCE, place.accept(websocket)).await.unwrap();
            assert!(accepted.is_err());
            let mut answer = Vec::new();
            // An alert at most; a reset is as good.
            drop(timeout(PATIENCE, peer.read_to_end(&mut answer)).await.unwrap());
            assert!(answer.len() < 16, "{answer:?}");
        }
    }
}

#[tokio::test]
async fn a_handshake_that_stops_halfway_times_out() {
    let place = place();
    // A client's first flight, cut in the middle.
    let recorder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = recorder.local_addr().unwrap().to_string();
    let trust = place.pinned();
    let flight = tokio::task::spawn_blocking(move || {
        let (mut stream, _) = recorder.accept().unwrap();
        let mut bytes = vec![0; 100];
        std::io::Read::read_exact(&mut stream, &mut bytes).unwrap();
        bytes
    });
    let connecting = Connection::connect_tls(&address, None, LIMIT, &trust);
    let (flight, connected) = tokio::join!(flight, connecting);
    assert!(connected.is_err());
    let flight = flight.unwrap();
    assert_eq!(flight[0], 0x16);
    let traffic = Arc::<Traffic>::default();
    let dawdle = async |websocket| {
        let mut peer = std::net::TcpStream::connect(place.address).unwrap();
        peer.write_all(&flight).unwrap();
        let accepted = place.accept_counted(websocket, traffic.clone()).await;
        assert!(matches!(accepted.err(), Some(ReceiveError::Handshake)));
    };
    tokio::join!(dawdle(false), dawdle(true));
    assert_eq!(traffic.handshakes.load(Ordering::Relaxed), 0);
    assert_eq!(traffic.open.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_client_trusts_the_certificate_it_was_told_and_no_other() {
    let place = place();
    let other = tempfile::tempdir().unwrap();
    let (stranger, key) = write_certificate(other.path());
    let stranger_print = ServerTls::from_files(&stranger, &key).unwrap().fingerprint();
    for (trust, expected) in [
        (Trust::certificates(&place.certificate).unwrap(), true),
        (place.pinned(), true),
        (Trust::certificates(&stranger).unwrap(), false),
        (Trust::fingerprint(stranger_print).unwrap(), false),
    ] {
        for websocket in [false, true] {
            let (server, client) =
                tokio::join!(place.accept(websocket), place.connect(websocket, &trust));
            assert_eq!(client.is_ok(), expected);
            assert_eq!(server.is_ok(), expected);
        }
    }
}

#[tokio::test]
async fn a_torn_record_ends_the_connection_and_a_cut_is_no_message() {
    let place = place();
    let trust = place.pinned();
    // Between them somebody who spoils what passes after the handshake.
    let middle = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let middle_address = middle.address().to_string();
    let relay = async {
        let (mut client, _) = middle.accept().await;
        let mut server = TcpStream::connect(place.address).await.unwrap();
        let (mut from_client, mut to_client) = client.split();
        let (mut from_server, mut to_server) = server.split();
        let spoiling = async {
            let mut bytes = [0; 4096];
            let mut passed = 0;
            loop {
                let count = from_client.read(&mut bytes).await.unwrap();
                if count == 0 {
                    break;
                }
                passed += 1;
                // The hello, the end of the handshake, then a message.
                if passed > 2 {
                    bytes[count - 1] ^= 1;
                }
                to_server.write_all(&bytes[..count]).await.unwrap();
            }
        };
        let passing = async { drop(tokio::io::copy(&mut from_server, &mut to_client).await) };
        tokio::select! {
            () = spoiling => {}
            () = passing => {}
        }
        // The end of the play is what counts.
        std::future::pending().await
    };
    let play = async {
        let (server, client) = tokio::join!(
            place.accept(false),
            Connection::connect_tls(&middle_address, None, LIMIT, &trust)
        );
        let (mut server, mut client) = (server.unwrap(), client.unwrap());
        client.send(message(1, b"spoiled")).await.unwrap();
        assert!(matches!(server.next_message().await, Err(ReceiveError::Io(_))));
    };
    timeout(PATIENCE, async {
        tokio::select! { () = relay => {}, () = play => {} }
    })
    .await
    .unwrap();
}

#[test]
fn what_is_wrong_with_a_file_is_said_with_its_name() {
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = write_certificate(directory.path());
    let nothing = directory.path().join("nothing.pem");
    let empty = directory.path().join("empty.pem");
    std::fs::write(&empty, "no pem at all\n").unwrap();
    for (certificate, key, named) in [
        (&nothing, &key, "nothing.pem"),
        (&empty, &key, "empty.pem: no certificate"),
        (&certificate, &nothing, "nothing.pem: no private key"),
        (&certificate, &certificate, "certificate.pem: no private key"),
    ] {
        let error = ServerTls::from_files(certificate, key).unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
    }
    let other = tempfile::tempdir().unwrap();
    let (_, stranger) = write_certificate(other.path());
    let error = ServerTls::from_files(&certificate, &stranger).unwrap_err().to_string();
    assert!(error.contains("cannot be used"), "{error}");
    let tls = ServerTls::from_files(&certificate, &key).unwrap();
    let shown = format!("{tls:?}");
    assert!(shown.len() < 200 && shown.contains("fingerprint"), "{shown}");
}
