//! An archive that is read: checked part by part, then told document by document.

use super::directory::MANIFEST;
use super::manifest::{Manifest, PartEntry};
use super::part::{PartError, PartReader};
use crate::{WorldHash, WorldHasher};
use pelago_model::{Document, Key};
use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

/// Why an archive cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// A file is missing, or the disk fails.
    #[error("{}: {error}", file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// What is wrong.
        error: io::Error,
    },
    /// It was not made to its end.
    #[error("{} is not whole: go on with what made it", .0.display())]
    Incomplete(PathBuf),
    /// The manifest is damaged, or of a form that this program does not know.
    #[error("{} {problem}", file.display())]
    Manifest {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A part is damaged, is another one's, or is of a form that this program does not know.
    #[error("{} {problem}", file.display())]
    Part {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        problem: PartError,
    },
}

/// An archive in a directory.
#[derive(Debug)]
pub struct Archive {
    directory: PathBuf,
    manifest: Manifest,
}

type Part = PartReader<BufReader<File>>;

impl Archive {
    /// Opens a whole archive. Its parts are not looked at yet.
    ///
    /// # Errors
    /// See [`ArchiveError`].
    pub fn open(directory: &Path) -> Result<Self, ArchiveError> {
        let file = directory.join(MANIFEST);
        let text =
            fs::read(&file).map_err(|error| ArchiveError::File { file: file.clone(), error })?;
        let manifest =
            Manifest::parse(&text).map_err(|problem| ArchiveError::Manifest { file, problem })?;
        if !manifest.complete {
            return Err(ArchiveError::Incomplete(directory.to_owned()));
        }
        Ok(Self::of(directory, manifest))
    }

    pub(super) fn of(directory: &Path, manifest: Manifest) -> Self {
        Self { directory: directory.to_owned(), manifest }
    }

    /// What it says of itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Reads every part to its end and compares it with the manifest; shows all documents, the older copies, too.
    ///
    /// # Errors
    /// See [`ArchiveError`]: the first part that is not as it was written.
    pub fn check(&self, visit: &mut dyn FnMut(&Key, &Document)) -> Result<(), ArchiveError> {
        for (index, entry) in self.manifest.parts.iter().enumerate() {
            let (file, mut part) = self.part(index, entry)?;
            let damaged = |problem| ArchiveError::Part { file: file.clone(), problem };
            for document in part.by_ref() {
                let (key, document) = document.map_err(damaged)?;
                visit(&key, &document);
            }
            let hash = part.hash().map(|hash| hash.to_hex().to_string());
            if hash.as_deref() != Some(&*entry.blake3) {
                return Err(damaged(PartError::Damaged("it is not the part that was written")));
            }
        }
        Ok(())
    }

    /// Every document once, in its newest revision, in the order of the keys.
    ///
    /// # Errors
    /// See [`ArchiveError`].
    pub fn contents(&self) -> Result<Contents<'_>, ArchiveError> {
        let mut streams = vec![Stream::new(self, |part| !part.changes)];
        for number in 0..self.manifest.parts.len() {
            if self.manifest.parts[number].changes {
                streams.push(Stream { archive: self, parts: vec![number], part: None, head: None });
            }
        }
        for stream in &mut streams {
            stream.advance()?;
        }
        Ok(Contents { streams, failed: false })
    }

    /// The hash of the world in it, and how many documents that has.
    ///
    /// # Errors
    /// See [`ArchiveError`].
    pub fn hash(&self) -> Result<(WorldHash, u64), ArchiveError> {
        let mut hasher = WorldHasher::default();
        for document in self.contents()? {
            let (key, document) = document?;
            hasher.add(&key, &document);
        }
        Ok((hasher.hash(), hasher.documents()))
    }

    fn part(&self, index: usize, entry: &PartEntry) -> Result<(PathBuf, Part), ArchiveError> {
        let file = self.directory.join(&entry.file);
        let bytes = match File::open(&file) {
            Ok(opened) => BufReader::new(opened),
            Err(error) => return Err(ArchiveError::File { file, error }),
        };
        let part = match PartReader::new(bytes) {
            Ok(part) => part,
            Err(problem) => return Err(ArchiveError::Part { file, problem }),
        };
        if part.header().number as usize != index + 1 || part.header().changes != entry.changes {
            let problem = PartError::Damaged("it is another part");
            return Err(ArchiveError::Part { file, problem });
        }
        Ok((file, part))
    }
}

/// The documents of an archive: what was scanned, part after part, merged with what changed meanwhile. Holds one
/// document of each part that tells changes.
pub struct Contents<'a> {
    streams: Vec<Stream<'a>>,
    failed: bool,
}

/// Parts whose keys ascend from one to the next.
struct Stream<'a> {
    archive: &'a Archive,
    /// Those that are still to be read, the next one last.
    parts: Vec<usize>,
    part: Option<(PathBuf, Part)>,
    head: Option<(Key, Document)>,
}

impl<'a> Stream<'a> {
    fn new(archive: &'a Archive, which: impl Fn(&PartEntry) -> bool) -> Self {
        let parts = &archive.manifest.parts;
        let parts = (0..parts.len()).rev().filter(|index| which(&parts[*index])).collect();
        Self { archive, parts, part: None, head: None }
    }

    fn advance(&mut self) -> Result<Option<(Key, Document)>, ArchiveError> {
        let next = loop {
            if let Some((file, part)) = &mut self.part
                && let Some(document) = part.next()
            {
                let file = file.clone();
                break Some(document.map_err(|problem| ArchiveError::Part { file, problem })?);
            }
            let Some(index) = self.parts.pop() else { break None };
            self.part = Some(self.archive.part(index, &self.archive.manifest.parts[index])?);
        };
        Ok(std::mem::replace(&mut self.head, next))
    }
}

impl Contents<'_> {
    fn document(&mut self) -> Result<Option<(Key, Document)>, ArchiveError> {
        let heads = self.streams.iter().filter_map(|stream| stream.head.as_ref());
        let Some(key) = heads.map(|(key, _)| key).min().cloned() else { return Ok(None) };
        let mut newest: Option<(Key, Document)> = None;
        for stream in &mut self.streams {
            if stream.head.as_ref().is_some_and(|(head, _)| *head == key)
                && let Some(found) = stream.advance()?
                && newest.as_ref().is_none_or(|(_, known)| known.revision < found.1.revision)
            {
                newest = Some(found);
            }
        }
        Ok(newest)
    }
}

impl Iterator for Contents<'_> {
    type Item = Result<(Key, Document), ArchiveError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.document();
        self.failed = next.is_err();
        next.transpose()
    }
}
