//! Files and directories that are whole or not there, also after a power failure, and that only their owner may read.
//!
//! What is made is made beside its place, synced, and renamed. What is deleted is renamed first, so that a process which
//! dies meanwhile leaves nothing that could be taken for the whole; the next one removes the rest.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// What only the owner of a directory may do: everything.
const DIRECTORY_MODE: u32 = 0o700;
/// What only the owner of a file may do: read and write.
const FILE_MODE: u32 = 0o600;

/// Where something is made before it stands at `path`. A process that died has left it.
pub fn beside(path: &Path) -> PathBuf {
    with_ending(path, ".new")
}

/// Where something is that stood at `path` until it was deleted. A process that died has left it.
pub fn deleted(path: &Path) -> PathBuf {
    with_ending(path, ".deleted")
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// Opens a file for writing that only its owner may read, and creates it if it is not there.
///
/// # Errors
/// Those of the file system.
pub fn open_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(FILE_MODE).open(path)
}

/// Writes a file beside its place, makes it durable and puts it there. Only its owner may read it: worlds have secrets.
///
/// # Errors
/// Those of the file system; then what stood there stands there still.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = beside(path);
    let mut file = open_private(&beside)?;
    // What another process has left may be longer, and be readable by others.
    file.set_len(0)?;
    file.set_permissions(Permissions::from_mode(FILE_MODE))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    rename(&beside, path)
}

/// Renames what is durable already, and makes its new name durable.
///
/// # Errors
/// Those of the file system.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    sync_parent(to)
}

/// Makes a name durable.
///
/// # Errors
/// Those of the file system.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    sync_directory(parent(path))
}

/// Makes the names in a directory durable.
///
/// # Errors
/// Those of the file system.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Makes everything durable that is in a directory, and what is in its directories.
///
/// # Errors
/// Those of the file system.
pub fn sync_tree(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            sync_tree(&entry.path())?;
        } else if kind.is_file() {
            File::open(entry.path())?.sync_all()?;
        }
    }
    sync_directory(directory)
}

/// Creates a directory that only its owner may enter, with those that it stands in, and makes their names durable. One
/// that is there stays as it is.
///
/// # Errors
/// Those of the file system.
pub fn create_directory(directory: &Path) -> io::Result<()> {
    if directory.as_os_str().is_empty() {
        // The present one.
        return Ok(());
    }
    let directory = std::path::absolute(directory)?;
    let new: Vec<&Path> = directory.ancestors().take_while(|path| !path.exists()).collect();
    DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(&directory)?;
    // The outermost first: a name is worth nothing before that of what it stands in is durable.
    new.into_iter().rev().try_for_each(sync_parent)
}

/// Removes a file or a directory with everything in it; it may be gone.
///
/// # Errors
/// Those of the file system; the rest is removed when it is called again.
pub fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Takes away what others may do with a file, or with a directory and everything in it. It may be missing; links are
/// left as they are.
///
/// # Errors
/// Those of the file system: it belongs to somebody else, for example.
pub fn make_private(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    if found.is_symlink() {
        return Ok(());
    }
    close_to_others(path, &found)?;
    if found.is_dir() {
        for entry in fs::read_dir(path)? {
            make_private(&entry?.path())?;
        }
    }
    Ok(())
}

/// The same for a directory in which nobody else has anything: nothing in it but what `is_ours`. What is in it keeps its
/// modes.
///
/// # Errors
/// Those of the file system.
pub fn make_own_directory_private(
    directory: &Path,
    is_ours: impl Fn(&str) -> bool,
) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        if !entry?.file_name().to_str().is_some_and(&is_ours) {
            return Ok(());
        }
    }
    close_to_others(directory, &fs::metadata(directory)?)
}

fn close_to_others(path: &Path, found: &Metadata) -> io::Result<()> {
    let mode = found.permissions().mode();
    if mode & 0o077 == 0 {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(mode & 0o700))
}

/// The directory that something stands in. A bare name stands in the present one.
fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn what_is_made_is_its_owners_alone_whatever_was_left_there() {
        let directory = tempfile::tempdir().unwrap();
        let inner = directory.path().join("a/b");
        create_directory(&inner).unwrap();
        create_directory(&inner).unwrap();
        assert_eq!([mode(&inner), mode(inner.parent().unwrap())], [0o700; 2]);
        let file = inner.join("file");
        fs::write(beside(&file), "what a process that died has left").unwrap();
        fs::set_permissions(beside(&file), Permissions::from_mode(0o644)).unwrap();
        replace(&file, b"whole").unwrap();
        assert_eq!((fs::read(&file).unwrap(), mode(&file)), (b"whole".to_vec(), 0o600));
        assert!(!beside(&file).exists());
        sync_tree(directory.path()).unwrap();
    }

    #[test]
    fn what_others_could_read_they_cannot_any_more_and_links_are_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let chmod = |name: &str, mode| {
            fs::set_permissions(at(name), Permissions::from_mode(mode)).unwrap();
        };
        fs::create_dir_all(at("store/documents")).unwrap();
        fs::write(at("store/documents/0.jnl"), "").unwrap();
        fs::write(at("elsewhere"), "").unwrap();
        chmod("store", 0o755);
        chmod("store/documents", 0o777);
        chmod("store/documents/0.jnl", 0o644);
        chmod("elsewhere", 0o644);
        std::os::unix::fs::symlink(at("elsewhere"), at("store/link")).unwrap();
        make_private(&at("store")).unwrap();
        make_private(&at("nowhere")).unwrap();
        let modes = ["store", "store/documents", "store/documents/0.jnl", "elsewhere"];
        assert_eq!(modes.map(|name| mode(&at(name))), [0o700, 0o700, 0o600, 0o644]);
        chmod("store", 0o755);
        make_own_directory_private(&at("store"), |name| name == "documents").unwrap();
        assert_eq!(mode(&at("store")), 0o755);
        make_own_directory_private(&at("store"), |_| true).unwrap();
        assert_eq!(mode(&at("store")), 0o700);
    }

    #[test]
    fn what_is_gone_is_removed_already() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir_all(at("tree/inner")).unwrap();
        fs::write(at("tree/inner/file"), "").unwrap();
        fs::write(at("file"), "").unwrap();
        for name in ["tree", "file", "tree", "file"] {
            remove(&at(name)).unwrap();
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
