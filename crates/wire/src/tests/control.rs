//! Control messages, and their parts as words of the model.

use super::calls::{answers, calls};
use super::strategies::{blobs, channels, texts, trajectories};
use super::unframe;
use crate::message::{Kind, decode_control, put_control};
use crate::{Malformed, client, peer};
use bytes::BytesMut;
use client::client_message::Body as FromClient;
use client::server_message::Body as FromServer;
use peer::peer_message::Body as FromPeer;
use pelago_model::{ChannelId, IslandClock, IslandTime, Trajectory, WorldTime};
use proptest::prelude::*;

fn paths() -> impl Strategy<Value = client::Path> {
    trajectories().prop_map(|path| client::Path::from(&path))
}

fn from_clients() -> impl Strategy<Value = client::ClientMessage> {
    let hello = (any::<[u32; 2]>(), [texts(), texts()], blobs(), 0i32..2);
    let hello =
        hello.prop_map(|([oldest_version, newest_version], [name, client], token, arrival)| {
            client::Hello { oldest_version, newest_version, name, token, arrival, client }
        });
    let walk = (any::<u32>(), any::<i64>(), any::<u32>(), any::<Vec<i32>>());
    let walk = walk.prop_map(|(number, at_ms, speed, waypoints)| client::Move {
        number,
        at_ms,
        speed,
        waypoints,
    });
    let act = (any::<u64>(), blobs(), any::<u64>())
        .prop_map(|(sequence, payload, number)| client::Act { sequence, payload, number });
    prop_oneof![
        hello.prop_map(FromClient::Hello),
        walk.prop_map(FromClient::Move),
        act.prop_map(FromClient::Act),
        (texts(), 0..3, any::<u64>()).prop_map(|(text, channel, number)| FromClient::Say(
            client::Say { text, channel, number }
        )),
        (any::<u64>(), texts(), texts()).prop_map(|(number, name, text)| FromClient::Whisper(
            client::Whisper { number, name, text }
        )),
        any::<u64>().prop_map(|number| FromClient::Heard(client::Heard { number })),
        any::<i64>().prop_map(|client_ms| FromClient::Ping(client::Ping { client_ms })),
        blobs().prop_map(|hash| FromClient::Fetch(client::FetchContent { hash })),
        Just(FromClient::Bye(client::Bye {})),
    ]
    .prop_map(|body| client::ClientMessage { body: Some(body) })
}

fn welcomes() -> impl Strategy<Value = client::Welcome> {
    let numbers = (any::<[u32; 3]>(), any::<[u64; 5]>(), any::<[i64; 3]>());
    let parts = (prop::array::uniform4(blobs()), prop::option::of(paths()));
    (numbers, parts).prop_map(
        |(([version, node, max_speed], [avatar, epoch, island, tick, sequence], times), parts)| {
            let ([content, manifest, chain, state], path) = parts;
            let [world_time_ms, world_ms, island_ms] = times;
            client::Welcome {
                version,
                avatar,
                epoch,
                island,
                tick,
                world_time_ms,
                clock: Some(client::IslandClock { world_ms, island_ms, speed_permille: 1000 }),
                content,
                manifest,
                sequence,
                chain,
                state,
                path,
                node,
                max_speed,
            }
        },
    )
}

fn from_servers() -> impl Strategy<Value = client::ServerMessage> {
    let outcome = (any::<[u64; 3]>(), [texts(), texts()], [blobs(), blobs()]);
    let outcome =
        outcome.prop_map(|([sequence, number, trace], [code, sentence], [effects, chain])| {
            client::Outcome { sequence, number, code, sentence, effects, chain, trace }
        });
    let refused = (texts(), texts(), any::<u64>())
        .prop_map(|(code, sentence, trace)| client::Refused { code, sentence, trace });
    let blocked = (any::<u32>(), texts(), prop::option::of(paths()))
        .prop_map(|(number, code, path)| client::MoveRefused { number, code, path });
    prop_oneof![
        welcomes().prop_map(FromServer::Welcome),
        refused.prop_map(FromServer::Refused),
        outcome.prop_map(FromServer::Outcome),
        blocked.prop_map(FromServer::MoveRefused),
        any::<[i64; 2]>().prop_map(|[client_ms, world_time_ms]| FromServer::Pong(client::Pong {
            client_ms,
            world_time_ms
        })),
        ([blobs(), blobs()], texts()).prop_map(|([hash, data], code)| FromServer::Content(
            client::Content { hash, data, code }
        )),
        [texts(), texts()]
            .prop_map(|[code, sentence]| FromServer::Closing(client::Closing { code, sentence })),
        blobs().prop_map(|payload| FromServer::Notice(client::Notice { payload })),
        (0..3, any::<[u64; 2]>(), [texts(), texts()], any::<i64>()).prop_map(
            |(channel, [number, avatar], [name, text], at_ms)| FromServer::ChatLine(
                client::ChatLine { channel, number, avatar, name, text, at_ms }
            )
        ),
    ]
    .prop_map(|body| client::ServerMessage { body: Some(body) })
}

fn from_peers() -> impl Strategy<Value = peer::PeerMessage> {
    let hello = (any::<[u32; 3]>(), any::<u64>(), texts()).prop_map(
        |([oldest_version, newest_version, node], incarnation, build)| {
            FromPeer::Hello(peer::PeerHello {
                oldest_version,
                newest_version,
                node,
                incarnation,
                build,
            })
        },
    );
    let wanted = || {
        let channel = channels().prop_map(|channel| peer::Channel::from(&channel));
        prop::collection::vec(channel, 0..5)
    };
    let subscriptions =
        (any::<[u64; 2]>(), wanted(), wanted()).prop_map(|([version, base], add, remove)| {
            FromPeer::Subscriptions(peer::Subscriptions { version, base, add, remove })
        });
    let presence = (any::<u64>(), any::<Vec<u64>>())
        .prop_map(|(version, islands)| FromPeer::Presence(peer::Presence { version, islands }));
    prop_oneof![
        hello,
        subscriptions,
        any::<u64>().prop_map(|version| FromPeer::Held(peer::SubscriptionsHeld { version })),
        presence,
        calls().prop_map(FromPeer::Call),
        answers().prop_map(FromPeer::Answer),
        any::<i64>()
            .prop_map(|world_time_ms| FromPeer::Heartbeat(peer::Heartbeat { world_time_ms })),
    ]
    .prop_map(|body| peer::PeerMessage { body: Some(body) })
}

/// Writes a message and reads it again.
fn survives<M: prost::Message + Default + PartialEq>(message: &M) -> bool {
    let mut out = BytesMut::new();
    put_control(&mut out, message);
    let (kind, payload) = unframe(&out.freeze());
    kind == Kind::Control as u8 && decode_control::<M>(&payload).as_ref() == Ok(message)
}

#[test]
fn bytes_that_are_no_control_message_are_malformed() {
    // A length beyond the end, a wrong wire type, a text that is not UTF-8.
    for hex in ["0a05", "0800", "0a031a01ff"] {
        let read = decode_control::<client::ClientMessage>(&super::bytes(hex));
        assert_eq!(read, Err(Malformed::Control), "{hex}");
    }
}

#[test]
fn a_message_of_a_later_version_has_no_body() {
    let read = decode_control::<client::ClientMessage>(&super::bytes("fa0700"));
    assert_eq!(read, Ok(client::ClientMessage { body: None }));
}

#[test]
fn paths_that_are_no_trajectories_are_malformed() {
    let path = |speed, waypoints: &[i32]| {
        let path = client::Path { speed, waypoints: waypoints.to_vec(), ..Default::default() };
        Trajectory::try_from(&path)
    };
    assert_eq!(path(64, &[1, 2, 3]), Err(Malformed::Truncated));
    assert_eq!(path(65_536 + 64, &[1, 2]), Err(Malformed::OutOfRange));
    assert_eq!(path(0, &[1, 2]), Err(Malformed::Trajectory));
    assert_eq!(path(64, &[0; 18]), Err(Malformed::Trajectory));
    assert_eq!(path(64, &[i32::MAX, 0]), Err(Malformed::Trajectory));
}

#[test]
fn channels_and_clocks_beyond_the_model_are_malformed() {
    let channel =
        |x, rate| ChannelId::try_from(&peer::Channel { x, rate, ..Default::default() }).map(|_| ());
    assert_eq!(channel(32_767, 3), Ok(()));
    assert_eq!(channel(32_768, 0), Err(Malformed::OutOfRange));
    assert_eq!(channel(0, 4), Err(Malformed::OutOfRange));
    assert_eq!(channel(0, 256), Err(Malformed::OutOfRange));
    let clock = client::IslandClock { speed_permille: 65_536, ..Default::default() };
    assert_eq!(IslandClock::try_from(&clock), Err(Malformed::OutOfRange));
}

proptest! {
    #[test]
    fn messages_of_clients_survive(message in from_clients()) {
        prop_assert!(survives(&message));
    }

    #[test]
    fn messages_of_servers_survive(message in from_servers()) {
        prop_assert!(survives(&message));
    }

    #[test]
    fn messages_of_peers_survive(message in from_peers()) {
        prop_assert!(survives(&message));
    }

    #[test]
    fn the_words_of_the_model_survive(
        path in trajectories(), channel in channels(), world: i64, island: i64, speed_permille: u16,
    ) {
        let clock =
            IslandClock { world: WorldTime(world), island: IslandTime(island), speed_permille };
        prop_assert_eq!(Trajectory::try_from(&client::Path::from(&path)), Ok(path));
        prop_assert_eq!(ChannelId::try_from(&peer::Channel::from(&channel)), Ok(channel));
        prop_assert_eq!(IslandClock::try_from(&client::IslandClock::from(&clock)), Ok(clock));
    }
}
