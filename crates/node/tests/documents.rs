//! Documents as every build wrote them: each is read for ever.
//!
//! A fixture is never changed. A new schema version adds a file; `PELAGO_BLESS=1` writes those that are not there yet.
#![allow(clippy::unwrap_used, reason = "tests")]

use bytes::Bytes;
use pelago_game::{Changes, IslandSpec, Total, json};
use pelago_model::{
    ChunkId, Document, EntityId, Epoch, GrantKey, IslandId, IslandTime, Key, NodeId, Position,
    Revision, Secret, Sequence, WorldTime, key::KINDS,
};
use pelago_node::documents::audit::{AuditDocument, Cause};
use pelago_node::documents::avatar::{
    AvatarDocument, ChainHash, NameDocument, Place, PlaceDocument, SerialsDocument,
};
use pelago_node::documents::backup::BackupDocument;
use pelago_node::documents::clock::ClockDocument;
use pelago_node::documents::lease::LeaseDocument;
use pelago_node::documents::lines::Speaker;
use pelago_node::documents::mailbox::MailboxDocument;
use pelago_node::documents::probe::ProbeDocument;
use pelago_node::documents::room::RoomDocument;
use pelago_node::documents::schema::{Stored, read};
use pelago_node::documents::skeleton::SkeletonDocument;
use pelago_node::documents::token::TokenHash;
use pelago_node::documents::world::WorldDocument;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::path::{Path, PathBuf};

const ANNA: EntityId = EntityId(0x0000_1000_0000_0001);
const HOME: IslandId = IslandId(0x0000_1000_0000_0001);

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// A fixture means this, and if its schema is the newest, this build writes it the same.
fn means<T: Stored + Serialize + PartialEq + Debug>(file: &str, schema: u16, meaning: &T) {
    assert!(file.starts_with(&format!("{}-{schema}", T::KIND)), "{file}");
    let path = folder().join(file);
    let written = json::encode(meaning).unwrap();
    if !path.exists() && std::env::var_os("PELAGO_BLESS").is_some() {
        std::fs::write(&path, &written).unwrap();
    }
    let bytes = Bytes::from(std::fs::read(&path).unwrap());
    if schema == T::SCHEMA {
        assert_eq!(written, bytes, "{file} is written otherwise");
    }
    let document = Document { schema, revision: Revision(3), value: Some(bytes) };
    assert_eq!(read::<T>(&document).unwrap().as_ref(), Some(meaning), "{file}");
    let newer = Document { schema: T::SCHEMA + 1, ..document };
    let error = read::<T>(&newer).unwrap_err().to_string();
    let expected = format!(
        "{} documents are read up to schema {}, this one has {}",
        T::KIND,
        T::SCHEMA,
        T::SCHEMA + 1
    );
    assert_eq!(error, expected);
}

fn place() -> Place {
    Place { island: HOME, position: Position::new(23_040, -5), at: IslandTime(1_000_300) }
}

fn total(held: i64, gathered: i64) -> BTreeMap<String, Total> {
    BTreeMap::from([("berry".to_owned(), Total { held, gathered, ..Total::default() })])
}

#[test]
fn documents_of_every_build_are_read() {
    let mut avatar = AvatarDocument {
        epoch: Epoch(3),
        owner: NodeId(2),
        ..AvatarDocument::new("Åsa".into(), place(), serde_json::json!({"held": {"berry": 1}}))
    };
    avatar.record(br#"{"eat":{"item":"berry"}}"#, r#"{"held":{"berry":1}}"#.into());
    means("avatar-1.json", 1, &avatar);
    means("place-1.json", 1, &PlaceDocument { epoch: Epoch(3), place: place(), has_left: false });
    means(
        "place-1-left.json",
        1,
        &PlaceDocument { epoch: Epoch(3), place: place(), has_left: true },
    );
    means("probe-1.json", 1, &ProbeDocument { count: 7 });
    means("name-1.json", 1, &NameDocument { avatar: ANNA, token: None });
    let token = TokenHash::of("Åsa", &Secret::new(&b"Anna's own token"[..]));
    means("name-2.json", 2, &NameDocument { avatar: ANNA, token });
    means("skeleton-1.json", 1, &SkeletonDocument { name: "Åsa".into() });
    means("ids-1.json", 1, &SerialsDocument { next: 257 });
    let world = WorldDocument {
        world: 1,
        seed: 7,
        epoch_unix_ms: 1_700_000_000_000,
        secret: "07".repeat(32),
        identity: String::new(),
        home: HOME,
    };
    means("world-1.json", 1, &world);
    let clock = ClockDocument { mark: WorldTime(86_405_000), offset_ms: 86_400_000 };
    means("clock-1.json", 1, &clock);
    means("world-2.json", 2, &WorldDocument { identity: "08".repeat(32), ..world });
    means("island-1.json", 1, &IslandSpec { id: HOME, seed: 7, size: 24, generator: 1 });
    let speaker = Speaker { avatar: ANNA, epoch: Epoch(3), number: 7, asked: WorldTime(1_000_300) };
    let (words, times) = (
        ("Åsa".to_owned(), "ahoy \"all\"".to_owned()),
        (WorldTime(1_000_350), IslandTime(1_000_350)),
    );
    let mut room = RoomDocument { next: 9, ..RoomDocument::default() };
    room.say(&speaker, words.clone(), times);
    means("room-1.json", 1, &room);
    let mut mailbox = MailboxDocument::default();
    mailbox.add(&speaker, words, times);
    means("mailbox-1.json", 1, &mailbox);
    let lease = LeaseDocument {
        instance: "00c0ffee00c0ffee".to_owned(),
        holder: "process 7 on db1.example".to_owned(),
        fence: 3,
        released: false,
    };
    means("backup-1.json", 1, &BackupDocument { began: WorldTime(1_000_300) });
    means("lease-1.json", 1, &lease);
    let command = AuditDocument {
        avatar: ANNA,
        epoch: Epoch(3),
        at: IslandTime(1_000_300),
        cause: Cause::Command { sequence: Sequence(9), command: ChainHash::of(b"gather") },
        changes: Changes(BTreeMap::from([
            (Key::avatar(ANNA), total(1, 0)),
            (Key::chunk(HOME, ChunkId::new(-3, 12)), total(0, 1)),
        ])),
    };
    means("audit-1-command.json", 1, &command);
    let grant = AuditDocument {
        cause: Cause::Grant {
            key: GrantKey::parse("mail/2026-11/3").unwrap(),
            what: r#"{"items":{"berry":3}}"#.into(),
            reason: "a welcome, by Åsa".into(),
            effects: r#"{"items":{"berry":3}}"#.into(),
            failed: false,
        },
        changes: Changes(BTreeMap::from([(Key::avatar(ANNA), total(3, 3))])),
        ..command
    };
    means("audit-1-grant.json", 1, &grant);
}

#[test]
fn every_kind_has_a_fixture_of_every_schema() {
    let files = std::fs::read_dir(folder()).unwrap();
    let files: BTreeSet<String> =
        files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    let newest = |kind: &str| match kind {
        "audit" => AuditDocument::SCHEMA,
        "avatar" => AvatarDocument::SCHEMA,
        "clock" => ClockDocument::SCHEMA,
        "ids" => SerialsDocument::SCHEMA,
        "island" => IslandSpec::SCHEMA,
        "backup" => BackupDocument::SCHEMA,
        "lease" => LeaseDocument::SCHEMA,
        "mailbox" => MailboxDocument::SCHEMA,
        "name" => NameDocument::SCHEMA,
        "place" => PlaceDocument::SCHEMA,
        "probe" => ProbeDocument::SCHEMA,
        "room" => RoomDocument::SCHEMA,
        "skeleton" => SkeletonDocument::SCHEMA,
        "world" => WorldDocument::SCHEMA,
        other => panic!("{other} has no schema"),
    };
    // What players changed about a chunk is the game's to read: its fixtures are with the game.
    for kind in KINDS.into_iter().filter(|kind| *kind != "chunk") {
        for schema in 1..=newest(kind) {
            let begins = format!("{kind}-{schema}");
            assert!(files.iter().any(|file| file.starts_with(&begins)), "no fixture {begins}");
        }
    }
}
