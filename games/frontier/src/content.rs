//! What there is: grounds, natural things, reaches and speeds, and their description for clients.

use bytes::Bytes;
use pelago_model::gauge::NANO;
use serde_json::json;

/// A kind of ground.
pub struct Ground {
    /// For pages.
    pub name: &'static str,
    /// For pages.
    pub color: &'static str,
    /// Whether one can walk on it.
    pub walkable: bool,
}

/// A kind of natural thing.
pub struct NaturalKind {
    /// For pages.
    pub name: &'static str,
    /// What gathering from it gives.
    pub item: &'static str,
    /// How many it holds when full.
    pub stock: u8,
    /// How long one takes to grow back, in seconds.
    pub regrow_s: i64,
}

impl NaturalKind {
    /// How fast it grows back, in billionths per ms, rounded down.
    pub fn regrow_nano_per_ms(&self) -> i64 {
        NANO / (self.regrow_s * 1000)
    }
}

/// Deep water.
pub const DEEP: u8 = 0;
/// Water to wade in.
pub const SHALLOWS: u8 = 1;
/// Beach.
pub const SAND: u8 = 2;
/// Meadow.
pub const GRASS: u8 = 3;
/// Under trees.
pub const FOREST: u8 = 4;
/// Cliffs.
pub const ROCK: u8 = 5;

/// All grounds; the index in this list is the byte in tiles.
pub const GROUNDS: [Ground; 6] = [
    Ground { name: "deep water", color: "#2a5a8a", walkable: false },
    Ground { name: "shallows", color: "#4f9cb8", walkable: true },
    Ground { name: "sand", color: "#e3d3a0", walkable: true },
    Ground { name: "grass", color: "#86b05a", walkable: true },
    Ground { name: "forest floor", color: "#55803f", walkable: true },
    Ground { name: "rock", color: "#8a857c", walkable: false },
];

/// A tree.
pub const TREE: u8 = 0;
/// A bush with berries.
pub const BUSH: u8 = 1;
/// Loose stones.
pub const STONE: u8 = 2;

/// All natural things; the index in this list is the byte in tiles.
pub const NATURALS: [NaturalKind; 3] = [
    NaturalKind { name: "tree", item: "wood", stock: 3, regrow_s: 120 },
    NaturalKind { name: "bush", item: "berry", stock: 5, regrow_s: 30 },
    NaturalKind { name: "stone", item: "stone", stock: 2, regrow_s: 300 },
];

/// How far an arm reaches, in 1/64 m: 2.5 m.
pub const REACH_UNITS: u32 = 160;
/// How far a log is thrown into the campfire, in 1/64 m: 5 m.
pub const THROW_UNITS: u32 = 320;
/// What the campfire burns.
pub const FUEL: &str = "wood";
/// How long one of it burns, in seconds.
pub const BURN_S: i64 = 10;
/// How far a wave is seen, in 1/64 m: 30 m.
pub const WAVE_UNITS: u32 = 1920;
/// The speed at which avatars walk, in 1/64 m per second: 4 m/s. Faster moves are refused.
pub const WALK_SPEED: u16 = 256;
/// Upright.
pub const STANDING: u16 = 0;
/// Waving back.
pub const WAVING: u16 = 1;
/// Stumbling.
pub const PUSHED: u16 = 2;
/// Somebody waved.
pub const WAVE: u16 = 0;
/// Somebody pushed.
pub const PUSH: u16 = 1;

/// The description of the game for its clients.
pub fn describe() -> Bytes {
    let grounds: Vec<_> = GROUNDS
        .iter()
        .map(|ground| {
            json!({"name": ground.name, "color": ground.color, "walkable": ground.walkable})
        })
        .collect();
    let naturals: Vec<_> = NATURALS
        .iter()
        .map(|kind| {
            json!({"name": kind.name, "item": kind.item, "stock": kind.stock, "regrow_s": kind.regrow_s})
        })
        .collect();
    let description = json!({
        "name": "frontier",
        "ground": grounds,
        "naturals": naturals,
        "entities": [{"name": "avatar", "speed_units_per_s": WALK_SPEED}],
        "stances": ["standing", "waving", "pushed"],
        "gestures": ["wave", "push"],
        "reach_units": REACH_UNITS,
        "campfire": {"item": FUEL, "burn_s": BURN_S, "reach_units": THROW_UNITS},
    });
    description.to_string().into()
}
