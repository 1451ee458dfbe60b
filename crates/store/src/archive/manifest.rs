//! What an archive says of itself: `manifest.json`.

use super::WorldIdentity;
use crate::{FeedPosition, WorldHash};
use pelago_model::Key;
use serde::{Deserialize, Serialize};

/// The version of the archive's form.
const FORMAT: u16 = 1;

/// What is in an archive. Written anew after every part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The version of the archive's form.
    pub format: u16,
    /// What it is for.
    pub kind: Kind,
    /// Of which world.
    pub world: WorldIdentity,
    /// The program that made it.
    pub program: String,
    /// When it was begun, in ms since 1970.
    pub created_unix_ms: i64,
    /// The place of the feed up to which its parts tell; of the store that it was made of.
    pub position: FeedPosition,
    /// In the order of their numbers.
    pub parts: Vec<PartEntry>,
    /// Whether it is whole; otherwise it can be gone on with.
    pub complete: bool,
    /// Documents of the world, once it is whole.
    pub documents: u64,
    /// The hash of the world, once it is whole.
    pub hash: Option<WorldHash>,
}

/// What an archive is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// To go on with: everything, also the places of players.
    Backup,
    /// To move: what is of the world, and its clock ([`Key::is_moved_with_the_world`]).
    Export,
}

/// A part of an archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartEntry {
    /// The name of its file.
    pub file: String,
    /// Whether it tells what changed while others were read.
    pub changes: bool,
    /// Documents in it.
    pub documents: u32,
    /// Bytes of the file.
    pub bytes: u64,
    /// The first key.
    pub first: Key,
    /// The last key.
    pub last: Key,
    /// The hash at its end, 64 hexadecimal digits.
    pub blake3: String,
}

impl Manifest {
    pub(super) fn new(
        kind: Kind,
        world: WorldIdentity,
        program: &str,
        created_unix_ms: i64,
        position: FeedPosition,
    ) -> Self {
        Self {
            format: FORMAT,
            kind,
            world,
            program: program.to_owned(),
            created_unix_ms,
            position,
            parts: Vec::new(),
            complete: false,
            documents: 0,
            hash: None,
        }
    }

    /// A manifest of its text.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Format {
            format: u16,
        }
        let says = |error: serde_json::Error| format!("is no manifest: {error}");
        match serde_json::from_slice(text).map_err(says)? {
            Format { format: FORMAT } => {}
            Format { format } => {
                return Err(format!(
                    "is of format {format}, and this program knows formats up to {FORMAT}"
                ));
            }
        }
        let manifest: Self = serde_json::from_slice(text).map_err(says)?;
        if let Some((index, part)) =
            manifest.parts.iter().enumerate().find(|(index, part)| part.file != file_name(*index))
        {
            return Err(format!("names {:?} as part {}", part.file, index + 1));
        }
        Ok(manifest)
    }

    /// The text.
    pub(super) fn text(&self) -> std::io::Result<Vec<u8>> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        Ok(text)
    }

    /// After which key scanning goes on.
    pub(super) fn scanned(&self) -> Option<&Key> {
        self.parts.iter().rfind(|part| !part.changes).map(|part| &part.last)
    }
}

/// The file of a part, by its index.
pub(super) fn file_name(index: usize) -> String {
    format!("{:06}.part", index + 1)
}
