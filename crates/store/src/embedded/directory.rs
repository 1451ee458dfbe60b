//! The directory of an embedded store: one process at a time, one layout.

use crate::OpenError;
use crate::replace::{replace, sync_directory};
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::Path;

/// The version of the directory's layout.
const FORMAT: &str = "pelago embedded store 1\n";
/// Where fjall keeps the documents.
pub(super) const DOCUMENTS: &str = "documents";

/// Creates the directory if there is none, and takes it for this process as long as the file is open.
pub(super) fn claim(directory: &Path) -> Result<File, OpenError> {
    create(directory).map_err(|error| engine(directory, error))?;
    let lock = lock(directory)?;
    check_format(directory)?;
    Ok(lock)
}

/// The error of an engine that did not open.
pub(super) fn engine(directory: &Path, problem: impl ToString) -> OpenError {
    OpenError::Engine { directory: directory.to_owned(), problem: problem.to_string() }
}

fn create(directory: &Path) -> io::Result<()> {
    let directory = std::path::absolute(directory)?;
    let new: Vec<&Path> = directory.ancestors().take_while(|path| !path.exists()).collect();
    fs::create_dir_all(&directory)?;
    new.into_iter().filter_map(Path::parent).try_for_each(sync_directory)
}

/// An own lock, taken before anything is read or written: fjall's stands in its directory, behind the format.
fn lock(directory: &Path) -> Result<File, OpenError> {
    let file = File::create(directory.join("lock")).map_err(|error| engine(directory, error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(directory.to_owned())),
        Err(TryLockError::Error(error)) => Err(engine(directory, error)),
    }
}

/// Writes the layout's version into a new directory, and refuses another one's.
fn check_format(directory: &Path) -> Result<(), OpenError> {
    let format = |problem: String| OpenError::Format { directory: directory.to_owned(), problem };
    match fs::read_to_string(directory.join("format")) {
        Ok(found) if found == FORMAT => Ok(()),
        Ok(found) => Err(format(format!("is of another format: {:?}", found.trim()))),
        Err(error) if error.kind() != ErrorKind::NotFound => Err(format(error.to_string())),
        // The format is durable before there are documents: these are of somebody else.
        Err(_) if directory.join(DOCUMENTS).exists() => {
            Err(format("has documents, but no file that says their format".to_owned()))
        }
        // A process that dies here leaves a whole file or none, never an empty one that the next start would refuse.
        Err(_) => replace(&directory.join("format"), FORMAT.as_bytes())
            .map_err(|error| format(error.to_string())),
    }
}
