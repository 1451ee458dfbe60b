//! How an archive is made: while people play, and going on where a killed one ended.

use super::contents::{Archive, ArchiveError};
use super::directory::{ClaimError, Directory, MANIFEST};
use super::manifest::{Kind, Manifest, PartEntry, file_name};
use super::page::weight;
use super::{PART_BYTES, Page, Progress, Source, SourceError, part};
use crate::FeedPosition;
use pelago_model::{Document, Key};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// How often a run begins anew because the feed has forgotten what it needs.
const MAX_BEGINNINGS: usize = 3;

/// What is to be made.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// Where.
    pub directory: &'a Path,
    /// What for.
    pub kind: Kind,
    /// The program that makes it.
    pub program: &'a str,
    /// The time now, in ms since 1970.
    pub now_unix_ms: i64,
    /// Bytes of a part; [`PART_BYTES`] but in tests.
    pub part_bytes: usize,
}

impl<'a> Plan<'a> {
    /// A plan with parts of the usual size.
    pub fn new(directory: &'a Path, kind: Kind, program: &'a str, now_unix_ms: i64) -> Self {
        Self { directory, kind, program, now_unix_ms, part_bytes: PART_BYTES }
    }
}

/// What happens while an archive is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It has come so far. The receiver may take its time: nothing waits for it but this archive.
    Progress(Progress),
    /// It goes on after so many parts that are there.
    Resumed(usize),
    /// What is there is of no use any more, since the feed goes back no further than this.
    BegunAnew(FeedPosition),
    /// Everything is there and is read once more, for the hash.
    Checking,
}

/// Why an archive was not made.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// It is there already.
    #[error("{} holds a whole archive: name another directory", .0.display())]
    Complete(PathBuf),
    /// Another process writes there.
    #[error("{} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// Something else is there; nothing was touched.
    #[error("{} is not to be overwritten: {problem}", directory.display())]
    Foreign {
        /// Where.
        directory: PathBuf,
        /// What is there.
        problem: String,
    },
    /// The disk fails. What was made is kept: the same command goes on.
    #[error("{}: {error}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        error: io::Error,
    },
    /// The source cannot be read. What was made is kept: the same command goes on.
    #[error("the store cannot be read: {0}")]
    Source(#[from] SourceError),
    /// What was made cannot be read again: delete it.
    #[error("what was written is not what can be read: {0}")]
    Archive(#[from] ArchiveError),
    /// It changed meanwhile, and its engine has no feed to tell how.
    #[error(
        "the world changed meanwhile, and its store has no feed of changes: stop the world first"
    )]
    NotQuiet,
}

/// Makes an archive of a source, or goes on with one of the same world that was not made to its end.
///
/// # Errors
/// See [`BackupError`].
pub fn backup(
    source: &mut dyn Source,
    plan: &Plan<'_>,
    watch: &mut dyn FnMut(Event),
) -> Result<Manifest, BackupError> {
    let about = source.about()?;
    let feed_end = about.feed_end.unwrap_or(FeedPosition::START);
    let new = Manifest::new(plan.kind, about.world, plan.program, plan.now_unix_ms, feed_end);
    let (directory, found) = claim(plan.directory)?;
    let manifest = match found {
        Some(found) => resumable(found, &new, directory.path())?,
        None => new.clone(),
    };
    if !manifest.parts.is_empty() {
        watch(Event::Resumed(manifest.parts.len()));
    }
    let has_feed = about.feed_end.is_some();
    let mut run = Run::new(source, plan, directory, manifest, has_feed, watch);
    // The feed of another store, or of one that was put back since, counts otherwise.
    if run.manifest.position > feed_end {
        run.begin_anew(feed_end)?;
    }
    run.save()?;
    for beginning in 1.. {
        match run.gather() {
            Ok(()) => break,
            Err(BackupError::Source(SourceError::Forgotten(oldest)))
                if beginning < MAX_BEGINNINGS =>
            {
                run.begin_anew(oldest)?;
            }
            Err(error) => return Err(error),
        }
    }
    run.finish()
}

fn claim(path: &Path) -> Result<(Directory, Option<Manifest>), BackupError> {
    let directory = path.to_owned();
    Directory::claim(path).map_err(|error| match error {
        ClaimError::InUse => BackupError::InUse(directory),
        ClaimError::Foreign(problem) => BackupError::Foreign { directory, problem },
        ClaimError::File(file, error) => BackupError::File { file, error },
    })
}

/// The manifest to go on with, if it is one.
fn resumable(found: Manifest, new: &Manifest, path: &Path) -> Result<Manifest, BackupError> {
    let directory = path.to_owned();
    let foreign = |problem: &str| {
        let problem = problem.to_owned();
        Err(BackupError::Foreign { directory: directory.clone(), problem })
    };
    if found.world != new.world {
        return foreign("it is of another world");
    }
    if found.complete {
        return Err(BackupError::Complete(directory));
    }
    if found.kind != new.kind {
        return foreign("it was begun as the other of backup and export");
    }
    Ok(found)
}

struct Run<'a> {
    source: &'a mut dyn Source,
    plan: &'a Plan<'a>,
    directory: Directory,
    manifest: Manifest,
    has_feed: bool,
    watch: &'a mut dyn FnMut(Event),
    progress: Progress,
    /// What has changed behind the scan and is in no part yet, up to `position` of the feed.
    changed: BTreeMap<Key, Document>,
    changed_bytes: usize,
    position: FeedPosition,
}

impl<'a> Run<'a> {
    fn new(
        source: &'a mut dyn Source,
        plan: &'a Plan<'a>,
        directory: Directory,
        manifest: Manifest,
        has_feed: bool,
        watch: &'a mut dyn FnMut(Event),
    ) -> Self {
        Self {
            source,
            plan,
            directory,
            position: manifest.position,
            manifest,
            has_feed,
            watch,
            progress: Progress::default(),
            changed: BTreeMap::new(),
            changed_bytes: 0,
        }
    }

    /// Reads everything, and what changes meanwhile.
    fn gather(&mut self) -> Result<(), BackupError> {
        let mut after = self.manifest.scanned().cloned();
        // A backup that goes on hears at once that the feed has forgotten.
        self.follow(after.as_ref())?;
        loop {
            let part = self.scan(&mut after)?;
            let is_last = part.is_last;
            self.put(false, part)?;
            // What is not scanned yet will be, later than now.
            self.follow(after.as_ref().filter(|_| !is_last))?;
            if is_last {
                break;
            }
        }
        self.put_changes()
    }

    /// What fits into a part after a key, which is moved to the last one that was looked at.
    fn scan(&mut self, after: &mut Option<Key>) -> Result<Page, BackupError> {
        let mut part = Page::default();
        let mut bytes = 0;
        while bytes < self.plan.part_bytes && !part.is_last {
            let page = self.source.documents(after.as_ref())?;
            part.is_last = page.is_last;
            for (key, document) in page.documents {
                *after = Some(key.clone());
                let goes_on = self.plan.kind == Kind::Backup && !is_of_one_store(&key);
                if goes_on || key.is_moved_with_the_world() {
                    bytes += weight(&key, &document);
                    self.progress.add(&key, &document);
                    part.documents.push((key, document));
                }
            }
            (self.watch)(Event::Progress(self.progress));
        }
        Ok(part)
    }

    /// Follows the feed to its end, and keeps what concerns documents up to a key: all, if there is none.
    fn follow(&mut self, scanned: Option<&Key>) -> Result<(), BackupError> {
        while self.has_feed {
            let page = self.source.changes(self.position)?;
            for (key, document) in page.documents {
                if scanned.is_none_or(|scanned| key <= *scanned) {
                    self.changed_bytes += weight(&key, &document);
                    self.changed.insert(key, document);
                }
            }
            self.position = page.position;
            if self.changed_bytes >= self.plan.part_bytes {
                self.put_changes()?;
            }
            if page.is_last {
                break;
            }
        }
        Ok(())
    }

    fn put_changes(&mut self) -> Result<(), BackupError> {
        let documents = std::mem::take(&mut self.changed).into_iter().collect();
        self.changed_bytes = 0;
        let page = Page { documents, position: self.position, is_last: false };
        self.put(true, page)
    }

    /// Makes a part durable, then the manifest that names it.
    fn put(&mut self, changes: bool, page: Page) -> Result<(), BackupError> {
        if let ([(first, _), ..], [.., (last, _)]) = (&*page.documents, &*page.documents) {
            let file = file_name(self.manifest.parts.len());
            let bytes = part::encode(self.manifest.parts.len() as u32 + 1, changes, &page);
            self.directory.put(&file, &bytes).map_err(failed)?;
            self.manifest.parts.push(PartEntry {
                file,
                changes,
                documents: page.documents.len() as u32,
                bytes: bytes.len() as u64,
                first: first.clone(),
                last: last.clone(),
                blake3: part::hash_of(&bytes),
            });
        }
        if self.changed.is_empty() {
            self.manifest.position = self.position;
        }
        self.save()
    }

    fn save(&self) -> Result<(), BackupError> {
        let text = self.manifest.text().map_err(|error| failed((MANIFEST.into(), error)))?;
        self.directory.put(MANIFEST, &text).map_err(failed)
    }

    /// Forgets what there is.
    fn begin_anew(&mut self, oldest: FeedPosition) -> Result<(), BackupError> {
        (self.watch)(Event::BegunAnew(oldest));
        let feed_end = self.source.about()?.feed_end.unwrap_or(FeedPosition::START);
        let parts = std::mem::take(&mut self.manifest.parts);
        self.changed.clear();
        self.changed_bytes = 0;
        self.progress = Progress::default();
        self.position = feed_end;
        self.manifest.position = feed_end;
        // First the manifest: it never names what is gone.
        self.save()?;
        parts.iter().try_for_each(|part| self.directory.remove(&part.file)).map_err(failed)
    }

    /// Reads everything once more, and says that it is whole.
    fn finish(mut self) -> Result<Manifest, BackupError> {
        (self.watch)(Event::Checking);
        let archive = Archive::of(self.directory.path(), self.manifest.clone());
        let (hash, documents) = archive.hash()?;
        if !self.has_feed && self.source.hash()?.hash != hash {
            return Err(BackupError::NotQuiet);
        }
        self.manifest.complete = true;
        self.manifest.documents = documents;
        self.manifest.hash = Some(hash);
        self.save()?;
        Ok(self.manifest)
    }
}

/// Whether a document means something in the store only that it was written in.
pub(super) fn is_of_one_store(key: &Key) -> bool {
    matches!(key.kind(), "backup" | "lease")
}

fn failed((file, error): (PathBuf, io::Error)) -> BackupError {
    BackupError::File { file, error }
}
