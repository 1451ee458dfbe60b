//! How a world is put back: into a store that is empty, or holds a beginning of the same archive.

use super::backup::is_of_one_store;
use super::contents::{Archive, ArchiveError};
use super::{Kind, Progress};
use crate::{ReadError, Store, WorldHash, world_hash};
use pelago_model::limits::MAX_TRANSACTION_DOCUMENTS;
use pelago_model::{CommitOutcome, Document, Key};
use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, Sender, channel};

/// Transactions that are under way at once: an engine makes many durable together.
const MAX_UNDER_WAY: usize = 32;

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restored {
    /// Documents that were written; others were there already.
    pub written: u64,
    /// The hash of the world, which is that of the archive.
    pub hash: WorldHash,
}

/// Why a world was not put back.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The archive cannot be used; nothing was written.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A document is newer than this program; nothing was written.
    #[error("the document under {key} {problem}")]
    Newer {
        /// Its key.
        key: Key,
        /// What is newer.
        problem: String,
    },
    /// There is something else in the store; it was not touched.
    #[error("the store is not empty: {0} is there, and is not as in the archive")]
    NotEmpty(Key),
    /// The store cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The store does not take it. What was written is there: the same command goes on.
    #[error("the store did not take {key} and what follows it: {outcome:?}")]
    Store {
        /// The first document that is not there.
        key: Key,
        /// What it says.
        outcome: CommitOutcome,
    },
    /// Everything was written, and yet the store holds another world: somebody else writes to it.
    #[error("the store holds the world {found}, and the archive {expected}")]
    Hash {
        /// Of the archive.
        expected: WorldHash,
        /// Of the store.
        found: WorldHash,
    },
}

/// Puts the documents of an archive into a store, or what of them is not there yet: of a [`Kind::Backup`] everything,
/// of a [`Kind::Export`] what is moved with a world.
///
/// Nothing is written before every part was read to its end, and `known` has said of every document that this program
/// knows its schema, or what it does not know. The document of the world is written last: a store without it is known to
/// be incomplete.
///
/// # Errors
/// See [`RestoreError`].
pub fn restore(
    archive: &Archive,
    kind: Kind,
    store: &dyn Store,
    known: &dyn Fn(&Key, &Document) -> Result<(), String>,
    watch: &mut dyn FnMut(Progress),
) -> Result<Restored, RestoreError> {
    check(archive, known)?;
    let wanted = |key: &Key| kind == Kind::Backup || key.is_moved_with_the_world();
    let after = common_beginning(archive, &wanted, store)?;
    let mut writer = Writer::new(store);
    let mut progress = Progress::default();
    let mut world = None;
    for document in archive.contents()? {
        let (key, document) = document?;
        if !wanted(&key) {
            continue;
        }
        progress.add(&key, &document);
        if after.as_ref().is_some_and(|after| key <= *after) {
            continue;
        }
        if key == Key::world() {
            world = Some((key, document));
            continue;
        }
        if writer.add(key, document)? {
            watch(progress);
        }
    }
    // The document of the world is the last, once all else is there: without it, nobody plays in half a world.
    writer.finish()?;
    if let Some((key, document)) = world {
        writer.add(key, document)?;
        writer.finish()?;
    }
    let written = writer.written;
    watch(progress);
    let found = world_hash(store)?;
    match archive.manifest().hash {
        Some(expected) if expected != found => Err(RestoreError::Hash { expected, found }),
        _ => Ok(Restored { written, hash: found }),
    }
}

fn check(
    archive: &Archive,
    known: &dyn Fn(&Key, &Document) -> Result<(), String>,
) -> Result<(), RestoreError> {
    let mut newer = None;
    archive.check(&mut |key, document| {
        if newer.is_none()
            && let Err(problem) = known(key, document)
        {
            newer = Some(RestoreError::Newer { key: key.clone(), problem });
        }
    })?;
    newer.map_or(Ok(()), Err)
}

/// Compares what is in the store with the archive; returns up to which key nothing is missing.
fn common_beginning(
    archive: &Archive,
    wanted: &dyn Fn(&Key) -> bool,
    store: &dyn Store,
) -> Result<Option<Key>, RestoreError> {
    let mut contents = archive.contents()?;
    let mut after = None;
    let mut gap = false;
    let mut problem = None;
    store.scan_after("", None, &mut |present, document| {
        // A start that was tried meanwhile has left what is no archive's.
        if is_of_one_store(&present) {
            return ControlFlow::Continue(());
        }
        loop {
            match contents.next() {
                Some(Err(error)) => problem = Some(RestoreError::Archive(error)),
                Some(Ok((key, _))) if !wanted(&key) => continue,
                // Some engines finish later transactions first.
                Some(Ok((key, _))) if key < present => {
                    gap = true;
                    continue;
                }
                Some(Ok((key, kept))) if key == present && kept == document => {
                    after = Some(key).filter(|_| !gap).or(after.take());
                    return ControlFlow::Continue(());
                }
                _ => problem = Some(RestoreError::NotEmpty(present)),
            }
            return ControlFlow::Break(());
        }
    })?;
    problem.map_or(Ok(after), Err)
}

/// Writes in transactions, several of which are under way.
struct Writer<'a> {
    store: &'a dyn Store,
    batch: Vec<(Key, Document)>,
    answers: Receiver<(Key, CommitOutcome)>,
    answer: Sender<(Key, CommitOutcome)>,
    under_way: usize,
    written: u64,
}

impl<'a> Writer<'a> {
    fn new(store: &'a dyn Store) -> Self {
        let (answer, answers) = channel();
        Self { store, batch: Vec::new(), answers, answer, under_way: 0, written: 0 }
    }

    /// Writes a document with those that come after it; says whether some were sent.
    fn add(&mut self, key: Key, document: Document) -> Result<bool, RestoreError> {
        self.batch.push((key, document));
        if self.batch.len() < MAX_TRANSACTION_DOCUMENTS {
            return Ok(false);
        }
        self.send()?;
        Ok(true)
    }

    fn send(&mut self) -> Result<(), RestoreError> {
        let documents = std::mem::take(&mut self.batch);
        let Some((first, _)) = documents.first() else { return Ok(()) };
        while self.under_way >= MAX_UNDER_WAY {
            self.hear()?;
        }
        let (first, answer) = (first.clone(), self.answer.clone());
        self.written += documents.len() as u64;
        self.under_way += 1;
        // Nobody hears it after an error.
        let done = move |outcome| drop(answer.send((first, outcome)));
        self.store.restore(documents, Box::new(done));
        Ok(())
    }

    fn hear(&mut self) -> Result<(), RestoreError> {
        self.under_way -= 1;
        // It has a sender itself, so that there is an answer.
        let Ok((key, outcome)) = self.answers.recv() else { return Ok(()) };
        match outcome {
            CommitOutcome::Committed => Ok(()),
            CommitOutcome::Conflict { mut keys } => {
                Err(RestoreError::NotEmpty(keys.pop().unwrap_or(key)))
            }
            outcome => Err(RestoreError::Store { key, outcome }),
        }
    }

    /// Waits until everything is durable that was added.
    fn finish(&mut self) -> Result<(), RestoreError> {
        self.send()?;
        while self.under_way > 0 {
            self.hear()?;
        }
        Ok(())
    }
}
