//! What a lane is told most: moves, the frames of its siblings, the clock.

use bytes::Bytes;
use pelago_frontier::Frontier;
use pelago_game::{IslandSpec, Land};
use pelago_model::{
    ChannelId, ChunkId, Incarnation, IslandClock, IslandId, NodeId, PublisherId, Tick, WorldNumber,
};
use pelago_node::{
    ClientEvent, ClientLimits, LaneInput, MachineId, MachineInput, NodeConfig, Recorder,
    RecorderLimits,
};
use pelago_wire::client::{ClientMessage, Move, client_message};
use pelago_wire::frame::{Frame, StreamKind};
use pelago_wire::message::{Kind, encode_body};
use pelago_world::ClientId;
use std::collections::BTreeMap;
use std::sync::Arc;

const HOME: IslandId = IslandId(1);
/// What a frame of a crowded chunk has in a tick.
const FRAME_BYTES: usize = 200;

/// An empty recorder of a lane.
pub(crate) fn recorder() -> Recorder {
    let spec = IslandSpec { id: HOME, seed: 7, size: 3, generator: 1 };
    let config = NodeConfig {
        node: NodeId(1),
        incarnation: Incarnation(1),
        lanes: 1,
        services: 1,
        spread: 1,
        world: WorldNumber::new(1).unwrap(),
        home: HOME,
        lands: Arc::new(BTreeMap::from([(HOME, Arc::new(Land::new(&Frontier, spec)))])),
        game: Arc::new(Frontier),
        clock: IslandClock::IDENTITY,
        secret: [0; 32],
        batch_turns: 16,
        max_clients: 10,
        limits: ClientLimits::default(),
        more_services: Vec::new(),
        build: "test".into(),
        sabotage: pelago_node::Sabotage::default(),
    };
    Recorder::new(config.flight_header(MachineId::Lane(0)), RecorderLimits::default())
}

/// A move, the frames of nine chunks, the clock.
pub(crate) fn usual() -> Vec<MachineInput> {
    let waypoints = vec![100, 200];
    let request = Move { number: 1, at_ms: 1_000_000, speed: 256, waypoints };
    let body = Some(client_message::Body::Move(request));
    let payload = encode_body(&ClientMessage { body });
    let event = ClientEvent::Received { kind: Kind::Control as u8, payload };
    let frame = |x| {
        Arc::new(Frame {
            publisher: PublisherId::lane(NodeId(2), 0, Incarnation(1)),
            channel: ChannelId::whole(HOME, ChunkId::new(x, 0)),
            stream: StreamKind::Entities,
            tick: Tick(10_000),
            sequence: 1000,
            core: Bytes::from(vec![0; FRAME_BYTES]),
            sections: Default::default(),
            records: Vec::new(),
            edge_records: Vec::new(),
        })
    };
    vec![
        MachineInput::Lane(0, LaneInput::Client { client: ClientId(7), event }),
        MachineInput::Lane(0, LaneInput::Frames((0..9).map(frame).collect())),
        MachineInput::Lane(0, LaneInput::Wake),
    ]
}
