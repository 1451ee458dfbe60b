//! `docs/vectors/malformed.json`: what every reader of the protocol refuses.

use bytes::Bytes;
use pelago_fuzz::seeds::{unhex, vectors};
use pelago_model::limits::MAX_CLIENT_MESSAGE_BYTES;
use pelago_model::{ChannelId, ChunkId, IslandClock, IslandId, Tick};
use pelago_net::Deframer;
use pelago_wire::client::ServerMessage;
use pelago_wire::client_stream::{decode_client_snapshot, decode_close, decode_frames};
use pelago_wire::frame::base;
use pelago_wire::message::{Kind, decode_control};
use pelago_wire::record::decode_records;

fn is_refused(what: &str, bytes: &Bytes) -> bool {
    let channel = ChannelId::whole(IslandId(1), ChunkId::new(-2, 3));
    let base = base(&channel, Tick(17_000_000_000), &IslandClock::IDENTITY);
    match what {
        "records" => decode_records(bytes, base).any(|record| record.is_err()),
        "frames" => decode_frames(Kind::Frames as u8, bytes).is_err(),
        "frame" => decode_frames(64, bytes).is_err(),
        "snapshot" => decode_client_snapshot(bytes, IslandId(1)).is_err(),
        "close" => decode_close(bytes).is_err(),
        "server" => decode_control::<ServerMessage>(bytes).is_err(),
        "stream" => {
            let mut deframer = Deframer::new(MAX_CLIENT_MESSAGE_BYTES);
            deframer.buffer().extend_from_slice(bytes);
            deframer.next_message().is_err()
        }
        other => panic!("nothing reads {other:?}"),
    }
}

#[test]
fn what_the_vectors_call_malformed_is_refused() {
    for vector in vectors("malformed").expect("the file of vectors") {
        let bytes = unhex(&vector["hex"]).expect("hexadecimal digits").into();
        let what = vector["what"].as_str().expect("what it pretends to be");
        assert!(is_refused(what, &bytes), "{}", vector["name"]);
    }
}
