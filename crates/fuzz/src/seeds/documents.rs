//! Documents and land as they are written, each behind the selector of its target.

use crate::machine::{FIRST_AVATAR, HOME, LAND, SPAWN};
use bytes::Bytes;
use pelago_frontier::Frontier;
use pelago_game::{Game, json};
use pelago_model::{Document, Epoch, IslandTime, Key, Revision};
use pelago_node::WorldDocument;
use pelago_node::documents::avatar::{
    AvatarDocument, NameDocument, Place, PlaceDocument, SerialsDocument,
};
use pelago_store::envelope;
use serde::Serialize;

/// Seeds of the target `document`.
pub(super) fn seeds() -> Vec<Vec<u8>> {
    let chunk = SPAWN.chunk();
    let place = Place { island: HOME, position: *SPAWN, at: IslandTime(1_000_000) };
    let mut avatar = AvatarDocument::new("Ada".into(), place, Frontier.new_avatar("Ada"));
    avatar.record(br#"{"eat":{"item":"berry"}}"#, r#"{"held":{}}"#.into());
    let world = WorldDocument {
        world: 1,
        seed: 7,
        epoch_unix_ms: 1_700_000_000_000,
        secret: "07".repeat(32),
        identity: "08".repeat(32),
        home: HOME,
    };
    let stock = r#"{"at":1000,"max":3000000000,"min":0,"rates":[{"from":0,"nano_per_ms":5,"until":9223372036854775807}],"value":2000000000}"#;
    let chunk_document =
        format!(r#"{{"slots":{{"1":{{"stock":{stock}}}}},"taken":{{"berry":1}}}}"#);
    let documents: Vec<(u8, Bytes)> = vec![
        (1, written(&avatar)),
        (2, written(&PlaceDocument { epoch: Epoch(1), place, has_left: true })),
        (3, written(&NameDocument { avatar: FIRST_AVATAR, token: None })),
        (3, format!(r#"{{"avatar":"{FIRST_AVATAR}","token":"{}"}}"#, "07".repeat(32)).into()),
        (4, written(&SerialsDocument { next: 257 })),
        (5, written(&world)),
        (6, written(LAND.spec())),
        (7, chunk_document.into()),
    ];
    let mut seeds: Vec<Vec<u8>> =
        documents.iter().map(|(selector, bytes)| [&[*selector], &**bytes].concat()).collect();
    for value in documents.into_iter().map(|(_, bytes)| Some(bytes)).chain([None]) {
        let document = Document { schema: 1, revision: Revision(3), value };
        seeds.push([&[0], &*envelope::encode(&document)].concat());
    }
    let keys = [Key::world(), Key::avatar(FIRST_AVATAR), Key::chunk(HOME, chunk), Key::name("Åsa")];
    seeds.extend(keys.iter().map(|key| [&[8], key.as_str().as_bytes()].concat()));
    seeds.extend(commands().iter().map(|command| [&[9], command.as_bytes()].concat()));
    seeds
}

/// Commands of the reference game, near where avatars appear.
pub(super) fn commands() -> Vec<String> {
    let chunk = SPAWN.chunk();
    let gather =
        |slot| format!(r#"{{"gather":{{"x":{},"y":{},"slot":{slot}}}}}"#, chunk.x, chunk.y);
    vec![
        gather(0),
        gather(1),
        r#"{"eat":{"item":"berry"}}"#.into(),
        format!(r#"{{"wave":"{}"}}"#, FIRST_AVATAR),
        r#"{"push":"0000100000000002"}"#.into(),
    ]
}

/// A manifest and a tile.
pub(super) fn land() -> Vec<Vec<u8>> {
    let tile = LAND.tile(SPAWN.chunk()).map(pelago_game::Tile::encode);
    let manifest = LAND.content().find(|(hash, _)| *hash == LAND.manifest());
    // Two of 36 tiles are as good, and shorter.
    let short = [&[1, 0, 0, 1, 2], &[7; 64][..]].concat();
    let whole = manifest.map(|(_, bytes)| bytes.to_vec());
    tile.map(|bytes| bytes.to_vec()).into_iter().chain(whole).chain([short]).collect()
}

fn written<T: Serialize>(value: &T) -> Bytes {
    json::encode(value).expect("documents are written as JSON")
}
