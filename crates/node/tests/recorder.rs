//! The ring of a recorder, and files that are none.
#![allow(clippy::unwrap_used, reason = "tests")]

use bytes::Bytes;
use pelago_cluster::{Directory, LinkId, LinksInput, Member};
use pelago_frontier::Frontier;
use pelago_game::{IslandSpec, Land};
use pelago_model::{Incarnation, IslandClock, IslandId, NodeId, Role, WorldNumber, WorldTime};
use pelago_node::recorder::Entry;
use pelago_node::replay::config_of;
use pelago_node::{
    ClientLimits, MachineId, MachineInput, MalformedRecording, NodeConfig, Recorder,
    RecorderLimits, Recording, ReplayError, ReplayParts,
};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

const HOME: IslandId = IslandId(1);
const NOW: WorldTime = WorldTime(1_000_000);
const LIMITS: RecorderLimits = RecorderLimits { age_ms: 1000, bytes: 4096 };

static CONFIG: LazyLock<NodeConfig> = LazyLock::new(|| {
    let spec = IslandSpec { id: HOME, seed: 7, size: 3, generator: 1 };
    NodeConfig {
        node: NodeId(3),
        incarnation: Incarnation(9),
        lanes: 2,
        services: 1,
        spread: 2,
        world: WorldNumber::new(1).unwrap(),
        home: HOME,
        lands: Arc::new(BTreeMap::from([(HOME, Arc::new(Land::new(&Frontier, spec)))])),
        game: Arc::new(Frontier),
        clock: IslandClock::IDENTITY,
        secret: *b"the secret of a world is 32 long",
        batch_turns: 16,
        max_clients: 10,
        limits: ClientLimits { idle_ms: 17, ..ClientLimits::default() },
        more_services: Vec::new(),
        build: "test 1".into(),
        sabotage: pelago_node::Sabotage::default(),
    }
});

fn recorder() -> Recorder {
    Recorder::new(CONFIG.flight_header(MachineId::Links), LIMITS)
}

fn received(number: u64, bytes: usize) -> MachineInput {
    let payload = Bytes::from(vec![7; bytes]);
    MachineInput::Links(LinksInput::Received { link: LinkId(number), kind: 1, payload })
}

fn member(node: u16) -> Member {
    Member {
        node: NodeId(node),
        incarnation: Incarnation(1),
        address: "a".into(),
        roles: [Role::steward()].into(),
    }
}

/// The numbers of the inputs that a recorder has kept.
fn kept(recorder: &Recorder) -> Vec<u64> {
    let recording = Recording::read(&recorder.to_file()).unwrap();
    assert_eq!(recording.header().whole, recorder.is_whole());
    let number = |entry: Result<(WorldTime, Entry), MalformedRecording>| match entry.unwrap().1 {
        Entry::Input(MachineInput::Links(LinksInput::Received { link, .. })) => Some(link.0),
        _ => None,
    };
    let numbers: Vec<u64> = recording.entries().filter_map(number).collect();
    assert_eq!(numbers.len() as u64, recorder.inputs());
    numbers
}

#[test]
fn the_oldest_inputs_are_forgotten_when_the_ring_is_full() {
    let (mut recorder, directory) = (recorder(), Directory::new(&[member(1), member(2)]));
    for number in 1..=100 {
        recorder.record(NOW, &directory, &received(number, 100));
        assert!(recorder.bytes() <= LIMITS.bytes);
        assert_eq!(recorder.is_whole(), number <= 34, "{number}");
    }
    let numbers = kept(&recorder);
    assert_eq!(numbers, (100 - numbers.len() as u64 + 1..=100).collect::<Vec<_>>());
    assert!(numbers.len() > 30, "{numbers:?}");
    // The directory was forgotten as an entry, and is still known.
    let recording = Recording::read(&recorder.to_file()).unwrap();
    assert_eq!(recording.before(), Some(&directory));
}

#[test]
fn inputs_that_are_too_old_are_forgotten() {
    let (mut recorder, directory) = (recorder(), Directory::default());
    for number in 0..20 {
        recorder.record(NOW.plus(100 * number), &directory, &received(number as u64, 1));
    }
    assert_eq!(kept(&recorder), (9..20).collect::<Vec<_>>());
}

#[test]
fn an_input_that_is_larger_than_the_ring_empties_it() {
    let (mut recorder, directory) = (recorder(), Directory::new(&[member(1)]));
    recorder.record(NOW, &directory, &received(1, 10));
    recorder.record(NOW, &directory, &received(2, LIMITS.bytes));
    assert_eq!((kept(&recorder), recorder.bytes()), (vec![], 0));
    recorder.record(NOW, &directory, &received(3, 10));
    assert_eq!(kept(&recorder), [3]);
    assert!(!recorder.is_whole());
}

#[test]
fn a_directory_is_written_when_it_has_changed_and_only_then() {
    let mut recorder = recorder();
    let directories = [Directory::default(), Directory::new(&[member(2), member(5)])];
    for directory in &directories {
        recorder.record(NOW, directory, &received(1, 1));
        recorder.record(NOW, directory, &received(2, 1));
    }
    let recording = Recording::read(&recorder.to_file()).unwrap();
    let written: Vec<Directory> = recording
        .entries()
        .filter_map(|entry| match entry.unwrap().1 {
            Entry::Directory(directory) => Some(directory),
            Entry::Input(_) => None,
        })
        .collect();
    assert_eq!(written, directories);
}

#[test]
fn a_header_holds_the_node_without_its_secret() {
    let file = recorder().to_file();
    let secret = &CONFIG.secret[..16];
    assert!(!file.windows(16).any(|part| part == secret));
    let recording = Recording::read(&file).unwrap();
    let parts = || ReplayParts {
        game: Arc::new(Frontier),
        more_services: Vec::new(),
        secret: CONFIG.secret,
    };
    let config = config_of(recording.header(), parts()).unwrap();
    assert_eq!(config.limits, CONFIG.limits);
    let header = config.flight_header(recording.machine());
    assert_eq!(header, CONFIG.flight_header(MachineId::Links));

    let game = "another".to_owned();
    let header = pelago_node::recorder::FlightHeader { game, ..header };
    let error = config_of(&header, parts()).err().unwrap();
    assert!(matches!(error, ReplayError::OtherGame { .. }), "{error}");
    let header = pelago_node::recorder::FlightHeader {
        roles: vec![Role::steward()],
        ..CONFIG.flight_header(MachineId::Links)
    };
    let error = config_of(&header, parts()).err().unwrap();
    assert!(matches!(error, ReplayError::OtherServices(_)), "{error}");
}

/// Reads all of it.
fn read(file: &Bytes) -> Result<usize, MalformedRecording> {
    let mut entries = 0;
    for entry in Recording::read(file)?.entries() {
        entry?;
        entries += 1;
    }
    Ok(entries)
}

#[test]
fn what_is_no_recording_is_an_error() {
    let mut recorder = recorder();
    recorder.record(NOW, &Directory::new(&[member(1)]), &received(1, 10));
    let file = recorder.to_file();
    assert_eq!(read(&file), Ok(2));
    // Between two entries a file may end; everywhere else it must not.
    let ends = (0..file.len()).filter(|length| read(&file.slice(..*length)).is_ok()).count();
    assert_eq!(ends, 2);
    assert_eq!(read(&Bytes::from_static(b"something")), Err(MalformedRecording::NoRecording));
    let mut other = file.to_vec();
    other[8] = 9;
    assert_eq!(read(&other.into()), Err(MalformedRecording::Format(9)));
}

proptest! {
    #[test]
    fn garbage_is_never_more_than_an_error(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
        rest in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut recorder = recorder();
        for number in 0..5 {
            recorder.record(NOW, &Directory::new(&[member(1)]), &received(number, 10));
            let book = LinksInput::Book(vec![member(1), member(2)]);
            recorder.record(NOW, &Directory::default(), &MachineInput::Links(book));
        }
        let mut file = recorder.to_file().to_vec();
        for (at, byte) in flips {
            let at = at.index(file.len());
            file[at] = byte;
        }
        file.extend(&rest);
        drop(read(&file.into()));
        drop(read(&[b"PELAGOFL\x01".as_slice(), &rest].concat().into()));
    }
}
