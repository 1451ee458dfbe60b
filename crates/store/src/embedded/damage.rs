//! Which files of a database are damaged: fjall knows that a block is not what was written, but not in which file.
//!
//! A table is an archive of sections (the crate `sfa`), most of which are blocks that carry checksums. Files are only read,
//! whatever is found: nothing here repairs anything.

use super::journals;
use crate::ReadError;
use fjall::Error;
use lsm_tree::CompressionType;
use lsm_tree::table::Block;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Sections of a table that are no blocks.
const NO_BLOCKS: [&[u8]; 2] = [b"table_version", b"linked_blob_files"];

/// Names the damaged files of an open database, which it looks for once: that reads everything.
pub(super) struct Damage {
    directory: PathBuf,
    found: OnceLock<Vec<PathBuf>>,
}

impl Damage {
    pub(super) fn new(directory: PathBuf) -> Self {
        Self { directory, found: OnceLock::new() }
    }

    /// The error with the names of the files, if it may come from one.
    pub(super) fn name(&self, error: ReadError) -> ReadError {
        match error {
            ReadError::Engine(problem) => {
                let found = self.found.get_or_init(|| damaged(&self.directory));
                ReadError::Engine(with_names(&problem, found))
            }
            error => error,
        }
    }
}

/// What an error says, and the damaged files below `directory`, if it may come from one.
pub(super) fn describe(directory: &Path, error: &Error) -> String {
    match error {
        Error::Io(_) | Error::Locked | Error::Poisoned => error.to_string(),
        Error::JournalRecovery(_) => format!("{error}, in {}", list(&journals::of(directory))),
        _ => with_names(&error.to_string(), &damaged(directory)),
    }
}

fn with_names(problem: &str, damaged: &[PathBuf]) -> String {
    match damaged {
        [] => problem.to_owned(),
        damaged => format!("{problem}: damaged, and left as found: {}", list(damaged)),
    }
}

fn damaged(directory: &Path) -> Vec<PathBuf> {
    tables(directory).into_iter().filter(|table| !is_whole(table).unwrap_or(false)).collect()
}

fn list(files: &[PathBuf]) -> String {
    let files: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    files.join(", ")
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.sort();
    files
}

fn tables(directory: &Path) -> Vec<PathBuf> {
    let keyspaces = files(&directory.join("keyspaces"));
    keyspaces.iter().flat_map(|keyspace| files(&keyspace.join("tables"))).collect()
}

/// Whether every checksum of a table is right. What cannot be read is not whole.
fn is_whole(table: &Path) -> Option<bool> {
    let archive = sfa::Reader::new(table).ok()?;
    let blocks = archive.toc().iter().filter(|section| !NO_BLOCKS.contains(&section.name()));
    for section in blocks {
        let mut file = File::open(table).ok()?;
        file.seek(SeekFrom::Start(section.pos())).ok()?;
        let mut blocks = BufReader::new(file.take(section.len()));
        while !blocks.fill_buf().ok()?.is_empty() {
            // Without the feature that compresses, nothing is compressed.
            Block::from_reader(&mut blocks, CompressionType::None).ok()?;
        }
    }
    Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fjall::{Database, KeyspaceCreateOptions};

    #[test]
    fn a_byte_that_has_changed_anywhere_in_a_table_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let database = Database::builder(directory.path()).open().unwrap();
        let keyspace = database.keyspace("a", KeyspaceCreateOptions::default).unwrap();
        for number in 0..2000_u32 {
            keyspace.insert(number.to_be_bytes(), vec![7; 100]).unwrap();
        }
        keyspace.rotate_memtable_and_wait().unwrap();
        drop((keyspace, database));
        let tables = tables(directory.path());
        assert!(!tables.is_empty());
        for table in &tables {
            assert_eq!(is_whole(table), Some(true), "{}", table.display());
        }
        assert_eq!(damaged(directory.path()), Vec::<PathBuf>::new());
        let largest = tables.iter().max_by_key(|table| fs::metadata(table).unwrap().len()).unwrap();
        let whole = fs::read(largest).unwrap();
        for at in (0..whole.len()).step_by(whole.len() / 97) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            fs::write(largest, &bytes).unwrap();
            assert_eq!(damaged(directory.path()), std::slice::from_ref(largest), "byte {at}");
            assert_eq!(fs::read(largest).unwrap(), bytes);
        }
    }
}
