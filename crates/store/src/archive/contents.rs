//! An archive that is read: checked part by part, then told document by document.

use super::directory::MANIFEST;
use super::manifest::Manifest;
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
        /// The path of the file.
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
        for index in 0..self.manifest.parts.len() {
            let mut part = self.part(index)?;
            while let Some((key, document)) = part.next()? {
                visit(&key, &document);
            }
        }
        Ok(())
    }

    /// Every document once, in its newest revision, in the order of the keys.
    ///
    /// # Errors
    /// See [`ArchiveError`].
    pub fn contents(&self) -> Result<Contents<'_>, ArchiveError> {
        let parts = &self.manifest.parts;
        let (changes, scanned): (Vec<usize>, Vec<usize>) =
            (0..parts.len()).partition(|index| parts[*index].changes);
        let changes = changes.into_iter().map(|index| vec![index]);
        let lists = std::iter::once(scanned).chain(changes);
        let mut streams: Vec<_> = lists.map(|parts| Stream::new(self, parts)).collect();
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

    fn part(&self, index: usize) -> Result<Part, ArchiveError> {
        let entry = &self.manifest.parts[index];
        let file = self.directory.join(&entry.file);
        let bytes = match File::open(&file) {
            Ok(opened) => BufReader::new(opened),
            Err(error) => return Err(ArchiveError::File { file, error }),
        };
        let reader = match PartReader::new(bytes) {
            Ok(reader) => reader,
            Err(problem) => return Err(ArchiveError::Part { file, problem }),
        };
        let part = Part { file, reader, blake3: entry.blake3.clone() };
        let header = part.reader.header();
        if header.number as usize != index + 1 || header.changes != entry.changes {
            return Err(part.damaged(PartError::Damaged("it is another part")));
        }
        Ok(part)
    }
}

/// A part that is read.
struct Part {
    file: PathBuf,
    reader: PartReader<BufReader<File>>,
    /// As the manifest has it.
    blake3: String,
}

impl Part {
    /// The next document; after the last one the part is compared with the manifest.
    fn next(&mut self) -> Result<Option<(Key, Document)>, ArchiveError> {
        if let Some(document) = self.reader.next() {
            return document.map(Some).map_err(|problem| self.damaged(problem));
        }
        let hash = self.reader.hash().map(|hash| hash.to_hex().to_string());
        if hash.as_ref() == Some(&self.blake3) {
            return Ok(None);
        }
        Err(self.damaged(PartError::Damaged("it is not the part that was written")))
    }

    fn damaged(&self, problem: PartError) -> ArchiveError {
        ArchiveError::Part { file: self.file.clone(), problem }
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
    part: Option<Part>,
    head: Option<(Key, Document)>,
}

impl<'a> Stream<'a> {
    /// Of parts by their indices.
    fn new(archive: &'a Archive, mut parts: Vec<usize>) -> Self {
        parts.reverse();
        Self { archive, parts, part: None, head: None }
    }

    fn advance(&mut self) -> Result<Option<(Key, Document)>, ArchiveError> {
        let next = loop {
            if let Some(part) = &mut self.part
                && let Some(document) = part.next()?
            {
                break Some(document);
            }
            let Some(index) = self.parts.pop() else { break None };
            self.part = Some(self.archive.part(index)?);
        };
        if next.is_none() {
            self.part = None;
        }
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
