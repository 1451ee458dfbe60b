//! The journals of a database, which are written anew after a write or a sync of theirs has failed.
//!
//! After a failed sync, nobody knows which pages of a file are on the disk and which only in memory, and no later sync
//! tells: the kernel takes them for written. What is read then may be gone after a power failure, and with it what was
//! appended behind. A copy that was synced has no such past.

use crate::files;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Bytes that are copied at once. Runs of zeros are left out: journals have their length before their contents.
const COPY_BYTES: usize = 64 * 1024;

/// The unit in which file systems tell what a file takes.
const BLOCK_BYTES: u64 = 512;

/// The journals in a directory of fjall's, the oldest first.
pub(super) fn of(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut journals: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|name| name == "jnl")).collect();
    journals.sort();
    journals
}

/// Bytes that all journals take on the disk.
pub(super) fn bytes(directory: &Path) -> io::Result<u64> {
    of(directory).iter().map(|journal| Ok(fs::metadata(journal)?.blocks() * BLOCK_BYTES)).sum()
}

/// Puts durable copies into the places of all journals.
pub(super) fn write_anew(directory: &Path) -> io::Result<()> {
    of(directory).iter().try_for_each(|journal| {
        let beside = files::beside(journal);
        copy(journal, &beside)?;
        files::rename(&beside, journal)
    })
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut from = File::open(from)?;
    let mut to = files::open_private(to)?;
    to.set_len(0)?;
    let mut buffer = vec![0; COPY_BYTES];
    let mut length = 0;
    loop {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        let piece = &buffer[..read];
        if piece.iter().any(|byte| *byte != 0) {
            to.seek(SeekFrom::Start(length))?;
            to.write_all(piece)?;
        }
        length += read as u64;
    }
    to.set_len(length)?;
    to.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_the_same_to_the_byte_and_take_no_room_for_what_is_not_written() {
        let directory = tempfile::tempdir().unwrap();
        let mut bytes = vec![0; 300_000];
        for (place, byte) in [(0, 7), (65_535, 8), (131_072, 9), (250_000, 1)] {
            bytes[place] = byte;
        }
        for (name, contents) in [("0.jnl", &bytes[..]), ("1.jnl", &bytes[..70_000]), ("2.jnl", &[])]
        {
            fs::write(directory.path().join(name), contents).unwrap();
        }
        File::create(directory.path().join("3.jnl")).unwrap().set_len(64 << 20).unwrap();
        fs::write(directory.path().join("version"), "x").unwrap();
        let before = bytes_of(directory.path());
        write_anew(directory.path()).unwrap();
        assert_eq!(bytes_of(directory.path()), before);
        assert!(super::bytes(directory.path()).unwrap() < 1 << 20);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 5);
    }

    fn bytes_of(directory: &Path) -> Vec<Vec<u8>> {
        of(directory).iter().map(|journal| fs::read(journal).unwrap()).collect()
    }
}
