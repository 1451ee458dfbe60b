//! Waiting for room on a disk that is full.

use super::end::is_full_disk;
use super::opened::Opened;
use crate::waiting::Commit;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// How often it is tried whether there is room.
const TRY_EVERY: Duration = Duration::from_secs(1);

/// Lets fail what is asked for, until there is room and the documents are open again; also if nobody can ask any more.
///
/// # Errors
/// What else is wrong with the disk, in words.
pub(super) fn wait(opened: &Opened, requests: &Receiver<Commit>) -> Result<(), String> {
    if let Ok(bytes) = opened.room_bytes() {
        tracing::warn!(bytes, "commits are taken again once there is room for so much");
    }
    let mut try_at = Instant::now() + TRY_EVERY;
    loop {
        match requests.recv_timeout(try_at.saturating_duration_since(Instant::now())) {
            Ok(commit) => drop(commit),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
        if Instant::now() < try_at {
            continue;
        }
        if opens_again(opened)? {
            return Ok(());
        }
        try_at = Instant::now() + TRY_EVERY;
    }
}

fn opens_again(opened: &Opened) -> Result<bool, String> {
    let full = |error: std::io::Error| {
        if is_full_disk(&error) { Ok(false) } else { Err(format!("the disk failed: {error}")) }
    };
    if let Err(error) = opened.try_room() {
        return full(error);
    }
    match opened.open_again() {
        Ok(is_open) => {
            if is_open {
                tracing::warn!("the disk has room again: the store takes commits again");
            }
            Ok(is_open)
        }
        // Somebody else may have taken the room meanwhile.
        Err(error) => match opened.try_room() {
            Ok(()) => Err(error.to_string()),
            Err(again) => full(again),
        },
    }
}
