//! Archives: a world in files, for keeping and for moving.
//!
//! A directory of numbered parts ([`mod@part`]) and a [`Manifest`]. It is made of a [`Source`] while people play:
//! parts are read one after the other, each at its own instant, and what the feed tells meanwhile is added, so that the
//! newest revision of every document in the archive is the world as it was at one place of the feed. Read back
//! ([`Archive`]), every document comes once, in the order of the keys, and so an archive has a world hash.
//!
//! `docs/archive.md` describes the files; `docs/vectors/archive.json` pins them.

mod backup;
mod contents;
mod directory;
mod manifest;
mod page;
pub mod part;
mod restore;
mod source;

pub use backup::{BackupError, Event, Plan, backup};
pub use contents::{Archive, ArchiveError, Contents};
pub use manifest::{Kind, Manifest, PartEntry};
pub use page::{MAX_PAGE_CHANGES, PAGE_BYTES, Page};
pub use restore::{RestoreError, Restored, restore};
pub use source::{About, Source, SourceError, WorldIdentity};

/// Bytes of a part, exceeded by at most a page.
pub const PART_BYTES: usize = 16 * 1024 * 1024;

/// How far something has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Documents so far.
    pub documents: u64,
    /// Bytes of them, with their keys.
    pub bytes: u64,
}

impl Progress {
    fn add(&mut self, key: &pelago_model::Key, document: &pelago_model::Document) {
        self.documents += 1;
        self.bytes += page::weight(key, document) as u64;
    }
}
