//! Bookmarks: the position of a sink, kept in a file, so that a restart goes on there.

use pelago_model::Key;
use pelago_store::FeedPosition;
use pelago_store::archive::Page;
use pelago_store::files;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;

/// A position in the feed, and what is still to be read before it is followed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Bookmark {
    /// After what was handed on.
    pub(super) position: FeedPosition,
    #[serde(flatten)]
    pub(super) phase: Phase,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "lowercase")]
pub(super) enum Phase {
    /// All documents are read, in the order of their keys.
    Scanning { after: Option<Key> },
    /// The feed is followed.
    Following,
}

impl Bookmark {
    /// Before all documents; what changes meanwhile follows `end`.
    pub(super) fn first(end: FeedPosition) -> Self {
        Self { position: end, phase: Phase::Scanning { after: None } }
    }

    /// The bookmark after a page that was read at this bookmark.
    pub(super) fn after(&self, page: &Page) -> Self {
        match &self.phase {
            Phase::Following => Self { position: page.position, phase: Phase::Following },
            Phase::Scanning { .. } if page.is_last => {
                Self { position: self.position, phase: Phase::Following }
            }
            Phase::Scanning { .. } => {
                let after = page.documents.last().map(|(key, _)| key.clone());
                Self { position: self.position, phase: Phase::Scanning { after } }
            }
        }
    }

    /// The bookmark of a file; `None` if there is none.
    pub(super) fn read(file: &Path) -> io::Result<Option<Self>> {
        match std::fs::read(file) {
            Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn write(&self, file: &Path) -> io::Result<()> {
        files::replace(file, &serde_json::to_vec(self)?)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_it_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("sink.json");
        assert_eq!(Bookmark::read(&file).unwrap(), None);
        let first = Bookmark::first(FeedPosition { major: 7, minor: 1 });
        let key = Key::parse("avatar/1").unwrap();
        let document = pelago_model::Document::ABSENT;
        let page = Page { documents: vec![(key, document)], ..Page::default() };
        let second = first.after(&page);
        let following = second.after(&Page { is_last: true, ..Page::default() });
        assert_eq!(following.phase, Phase::Following);
        for bookmark in [first, second, following] {
            bookmark.write(&file).unwrap();
            assert_eq!(Bookmark::read(&file).unwrap(), Some(bookmark));
        }
        std::fs::write(&file, "{").unwrap();
        assert!(Bookmark::read(&file).is_err());
    }
}
