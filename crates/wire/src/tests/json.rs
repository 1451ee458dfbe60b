//! JSON whose members stay in order, for the vectors of `docs/vectors/`.

use super::hex;
use crate::record::{Record, Turn};
use pelago_model::{Position, Trajectory};
use serde::ser::{Serialize, SerializeMap, Serializer};

/// The greatest integer that every reader of JSON takes for itself.
const EXACT: i128 = 1 << 53;

pub(super) enum Json {
    Null,
    Bool(bool),
    /// A text beyond 2^53.
    Number(i128),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(&'static str, Json)>),
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Number(value) if value.abs() > EXACT => serializer.collect_str(value),
            Self::Number(value) => serializer.serialize_i64(*value as i64),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(items) => serializer.collect_seq(items),
            Self::Object(members) => {
                let mut map = serializer.serialize_map(Some(members.len()))?;
                for (name, value) in members {
                    map.serialize_entry(name, value)?;
                }
                map.end()
            }
        }
    }
}

pub(super) fn number(value: impl Into<i128>) -> Json {
    Json::Number(value.into())
}

pub(super) fn text(value: impl ToString) -> Json {
    Json::Text(value.to_string())
}

pub(super) fn blob(bytes: &[u8]) -> Json {
    Json::Text(hex(bytes))
}

pub(super) fn list(items: impl IntoIterator<Item = Json>) -> Json {
    Json::List(items.into_iter().collect())
}

pub(super) fn object<const N: usize>(members: [(&'static str, Json); N]) -> Json {
    Json::Object(members.into())
}

pub(super) fn point(place: Position) -> Json {
    object([("x", number(place.x)), ("y", number(place.y))])
}

pub(super) fn path(path: &Trajectory) -> Json {
    object([
        ("start_ms", number(path.start_time().0)),
        ("start", point(path.start())),
        ("speed", number(path.speed())),
        ("waypoints", list(path.waypoints().iter().copied().map(point))),
    ])
}

/// A record in plain words.
pub(super) fn record(record: &Record) -> Json {
    let kind = |name: &str| ("kind", text(name));
    match record {
        Record::Enter(enter) => object([
            kind("enter"),
            ("slot", number(enter.slot)),
            ("id", text(enter.id)),
            ("epoch", number(enter.epoch.0)),
            ("entity_kind", number(enter.kind)),
            ("stance", number(enter.stance)),
            ("name", text(&enter.name)),
            ("trajectory", path(&enter.trajectory)),
        ]),
        Record::Leave { slot } => object([kind("leave"), ("slot", number(*slot))]),
        Record::Arrive { slot, from } => {
            object([kind("arrive"), ("slot", number(*slot)), ("from", number(*from as u8))])
        }
        Record::Turn(turn) => turned(turn),
        Record::Stance { slot, stance } => {
            object([kind("stance"), ("slot", number(*slot)), ("stance", number(*stance))])
        }
        Record::Say { slot, text: said } => {
            object([kind("say"), ("slot", number(*slot)), ("text", text(said))])
        }
        Record::Object(natural) => object([
            kind("object"),
            ("slot", number(natural.slot)),
            ("revision", number(natural.revision.0)),
            ("payload", blob(&natural.payload)),
        ]),
        Record::Gesture { slot, gesture, target } => object([
            kind("gesture"),
            ("slot", number(*slot)),
            ("gesture", number(*gesture)),
            ("target", target.map_or(Json::Null, text)),
        ]),
        Record::HeadCount { count } => object([kind("head_count"), ("count", number(*count))]),
    }
}

fn turned(turn: &Turn) -> Json {
    let delta = |(dx, dy): &(i32, i32)| point(Position::new(*dx, *dy));
    object([
        ("kind", text("turn")),
        ("slot", number(turn.slot)),
        ("at", number(turn.at.0)),
        ("speed", turn.speed.map_or(Json::Null, number)),
        ("start", turn.start.map_or(Json::Null, point)),
        ("deltas", list(turn.deltas.iter().map(delta))),
    ])
}

/// Compares the vectors with their file, one to a line. `PELAGO_BLESS=1` adds new ones; what is there is frozen.
pub(super) fn check(file: &str, vectors: &[Json]) {
    let lines: Vec<String> =
        vectors.iter().map(|vector| serde_json::to_string(vector).unwrap()).collect();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/vectors");
    let path = std::path::Path::new(path).join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let found: Vec<&str> = text.lines().map(|line| line.trim_end_matches(',')).collect();
    let lost = found
        .iter()
        .find(|line| **line != "[" && **line != "]" && !lines.iter().any(|ours| ours == *line));
    if let Some(lost) = lost {
        panic!(
            "the code does not do any more what docs/vectors/{file} says:\n{lost}\nProtocol version 1 is frozen: other programs \
             rely on this. Undo the change of the encoding, or make it a compatible addition (docs/protocol.md, section 9). \
             Nothing writes over a vector; if it was wrong from the beginning, delete its line by hand and say so in \
             CHANGELOG.md."
        );
    }
    let expected = format!("[\n{}\n]\n", lines.join(",\n"));
    if text == expected {
        return;
    }
    assert!(
        is_blessed(),
        "docs/vectors/{file} misses vectors: PELAGO_BLESS=1 cargo test -p pelago-wire adds them"
    );
    std::fs::write(&path, expected).unwrap();
}

/// Whether a person, and not a machine that tests, wants the files to be written.
pub(super) fn is_blessed() -> bool {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    std::env::var("PELAGO_BLESS").is_ok_and(|bless| bless == "1") && !is_set("CI")
}
