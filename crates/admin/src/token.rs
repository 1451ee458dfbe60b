//! The admin token: given by an operator, or made at the first start and kept with the world.

use crate::api::Access;
use anyhow::{Context, Result, bail};
use axum::http::HeaderValue;
use std::collections::BTreeSet;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Characters of an admin token at least.
const MIN_CHARACTERS: usize = 16;
/// Different characters of one at least: a random token of 16 digits has more.
const MIN_DIFFERENT: usize = 6;
/// Random bytes of a token that is made.
const RANDOM_BYTES: usize = 32;
/// The environment variable that holds the token if no file is named.
const VARIABLE: &str = "PELAGO_ADMIN_TOKEN";
/// The file of a token that was made, in the directory of the world.
const FILE: &str = "admin-token";
/// Permissions that a file with a token may not give: anything to everybody, and writing to a group.
const TOO_OPEN: u32 = 0o027;

/// The token of a server.
pub struct AdminToken {
    /// The rule by which requests are let in.
    pub access: Access,
    /// Where it is kept, if it is kept with the world.
    pub file: Option<PathBuf>,
    /// The token itself, if it was made just now: to be shown once.
    pub made: Option<String>,
}

impl AdminToken {
    /// The token in the file of `--admin-token-file`, or that of the environment, or the one that is kept in the directory
    /// of the world; it is made if there is none.
    ///
    /// # Errors
    /// If it cannot be read or written, if others could read it, or if it can be guessed.
    pub fn find(file: Option<&Path>, data: &Path) -> Result<Self> {
        if let Some((text, from)) = given("--admin-token-file", file)? {
            if let Some(file) = file {
                check_permissions(file).context(from.clone())?;
            }
            return Ok(Self { access: strong(&text).context(from)?, file: None, made: None });
        }
        let kept = data.join(FILE);
        let shown = || kept.display().to_string();
        let made = match kept.try_exists().with_context(shown)? {
            true => None,
            false => make(data, &kept).with_context(|| {
                let kept = shown();
                format!("{kept} cannot be made: give a token with --admin-token-file or {VARIABLE}")
            })?,
        };
        check_permissions(&kept).with_context(shown)?;
        let text = std::fs::read_to_string(&kept).with_context(shown)?;
        let access = strong(text.trim()).with_context(shown)?;
        Ok(Self { access, file: Some(kept), made })
    }
}

/// What a client of the API sends: the token in the file that a flag names, or in the environment, or the one that is kept
/// in the directory of the world, if there is one.
///
/// # Errors
/// If the token cannot be read or sent.
pub fn bearer_of(
    flag: &'static str,
    file: Option<&Path>,
    data: &Path,
) -> Result<Option<HeaderValue>> {
    let (text, from) = match given(flag, file)? {
        Some(given) => given,
        None => {
            let kept = data.join(FILE);
            match std::fs::read_to_string(&kept) {
                Ok(text) => (text.trim().to_owned(), kept.display().to_string()),
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error).context(format!("--data: {}", kept.display())),
            }
        }
    };
    let mut value = HeaderValue::from_str(&format!("Bearer {text}")).context(from)?;
    value.set_sensitive(true);
    Ok(Some(value))
}

/// The token in a file or in the environment, and where it was found.
fn given(flag: &str, file: Option<&Path>) -> Result<Option<(String, String)>> {
    if let Some(file) = file {
        let from = format!("{flag} {}", file.display());
        let text = std::fs::read_to_string(file).with_context(|| from.clone())?;
        return Ok(Some((text.trim().to_owned(), from)));
    }
    match std::env::var(VARIABLE) {
        Ok(text) => Ok(Some((text.trim().to_owned(), VARIABLE.to_owned()))),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(error) => Err(error).context(VARIABLE),
    }
}

/// Only its owner reads a token, and a group that its owner has chosen; the owner is whoever runs the server, or root.
fn check_permissions(file: &Path) -> Result<()> {
    let metadata = std::fs::metadata(file)?;
    let (owner, own) = (metadata.uid(), std::fs::metadata("/proc/self")?.uid());
    if owner != own && owner != 0 {
        bail!("it belongs to another user (number {owner}): chown it");
    }
    let mode = metadata.mode() & 0o777;
    if mode & TOO_OPEN != 0 {
        bail!("others may read or change it (its mode is {mode:04o}): chmod 0600 it");
    }
    Ok(())
}

/// A token that is not guessed.
fn strong(token: &str) -> Result<Access> {
    let characters: Vec<char> = token.chars().collect();
    if characters.len() < MIN_CHARACTERS {
        bail!("an admin token has at least {MIN_CHARACTERS} characters");
    }
    let different: BTreeSet<&char> = characters.iter().collect();
    if different.len() < MIN_DIFFERENT {
        bail!("an admin token has at least {MIN_DIFFERENT} different characters");
    }
    let repeats = |period: usize| characters[period..] == characters[..characters.len() - period];
    if (1..=characters.len() / 2).any(repeats) {
        bail!("an admin token does not repeat itself: openssl rand -hex 32 makes a good one");
    }
    Ok(Access::token(token))
}

/// Makes a token and keeps it, unless somebody else does so at the same moment: then theirs counts.
fn make(data: &Path, kept: &Path) -> Result<Option<String>> {
    DirBuilder::new().recursive(true).mode(0o700).create(data)?;
    let mut random = [0; RANDOM_BYTES];
    getrandom::fill(&mut random).context("the system's randomness")?;
    let token: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let beside = data.join(format!("{FILE}.{}.new", std::process::id()));
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(format!("{token}\n").as_bytes())?;
    file.sync_all()?;
    // A link does not replace what is there, as a rename would.
    let put = match std::fs::hard_link(&beside, kept) {
        Ok(()) => std::fs::remove_file(&beside).map(|()| true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            std::fs::remove_file(&beside).map(|()| false)
        }
        // Some file systems have no links.
        Err(_) => std::fs::rename(&beside, kept).map(|()| true),
    };
    let is_ours = put?;
    File::open(data)?.sync_all()?;
    Ok(is_ours.then_some(token))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_token_that_can_be_guessed_is_refused() {
        for (token, expected) in [
            ("", Some("16 characters")),
            ("fifteen letters", Some("16 characters")),
            ("aaaaaaaaaaaaaaaa", Some("different")),
            ("0101010101010101010101", Some("different")),
            ("abcdefghabcdefgh", Some("repeat")),
            ("passwordpasswordpas", Some("repeat")),
            ("a token of 16 and more", None),
            ("4711081512345690", None),
        ] {
            let problem = strong(token).err().map(|error| error.to_string());
            let is_expected = match (&problem, expected) {
                (Some(problem), Some(expected)) => problem.contains(expected),
                (problem, expected) => problem.is_none() && expected.is_none(),
            };
            assert!(is_expected, "{token:?}: {problem:?}");
        }
    }

    #[test]
    fn a_token_is_made_once_and_kept_for_its_owner_only() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("new/data");
        let first = AdminToken::find(None, &data).unwrap();
        let token = first.made.unwrap();
        assert_eq!(token.len(), 2 * RANDOM_BYTES);
        let kept = first.file.unwrap();
        assert_eq!(std::fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::metadata(&data).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(std::fs::read_dir(&data).unwrap().count(), 1, "nothing is left beside it");
        let second = AdminToken::find(None, &data).unwrap();
        assert_eq!(second.made, None);
        let bearer = bearer_of("--token-file", None, &data).unwrap().unwrap();
        assert_eq!(bearer.to_str().unwrap(), format!("Bearer {token}"));
        assert!(!format!("{bearer:?}").contains(&token));
        assert_eq!(bearer_of("--token-file", None, directory.path()).unwrap(), None);
        // What broke off before it was whole is not taken for a token.
        std::fs::write(data.join(format!("{FILE}.1.new")), "4").unwrap();
        assert_eq!(AdminToken::find(None, &data).unwrap().made, None);
    }

    #[test]
    fn a_file_that_others_may_read_or_change_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("token");
        std::fs::write(&file, "a token of 16 and more").unwrap();
        for (mode, expected) in [
            (0o600, true),
            (0o400, true),
            (0o640, true),
            (0o666, false),
            (0o644, false),
            (0o660, false),
        ] {
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(&file, permissions).unwrap();
            let found = AdminToken::find(Some(&file), directory.path());
            assert_eq!(found.is_ok(), expected, "{mode:o}");
        }
        std::fs::rename(&file, directory.path().join(FILE)).unwrap();
        assert!(AdminToken::find(None, directory.path()).is_err(), "the kept one, too");
    }
}
