//! Recordings of what passes through sockets, so that the same can be replayed without a game: when, where, how much.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use tokio::time::Instant;

/// Passages that one recording holds at most; what comes later is not recorded.
pub const MAX_PASSAGES: usize = 32 * 1024 * 1024;
/// The bytes of a passage in a file.
const PASSAGE_BYTES: usize = 12;
/// The bit of the size that tells a read from a write.
const READ: u32 = 1 << 31;

/// Bytes that passed through a socket at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passage {
    /// When, in microseconds after the beginning.
    pub at_us: u32,
    /// Through which connection.
    pub connection: u32,
    /// How many bytes.
    pub size: u32,
    /// Whether they were read; otherwise they were written.
    pub read: bool,
}

impl Passage {
    /// As in a file: three numbers of 32 bits, little-endian, the highest bit of the last tells a read.
    pub fn encode(&self) -> [u8; PASSAGE_BYTES] {
        let size = self.size | if self.read { READ } else { 0 };
        let mut bytes = [0; PASSAGE_BYTES];
        bytes[0..4].copy_from_slice(&self.at_us.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.connection.to_le_bytes());
        bytes[8..12].copy_from_slice(&size.to_le_bytes());
        bytes
    }

    /// All passages of a file; a last one that is not whole is left out.
    pub fn decode_all(bytes: &[u8]) -> Vec<Self> {
        let (passages, _) = bytes.as_chunks::<PASSAGE_BYTES>();
        let number = |bytes: &[u8; PASSAGE_BYTES], at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let decode = |bytes: &[u8; PASSAGE_BYTES]| {
            let size = number(bytes, 8);
            let (at_us, connection) = (number(bytes, 0), number(bytes, 4));
            Self { at_us, connection, size: size & !READ, read: size & READ != 0 }
        };
        passages.iter().map(decode).collect()
    }
}

/// Records while it is on. Off it costs one load.
#[derive(Debug, Default)]
pub struct Recorder {
    on: AtomicBool,
    /// Guards when it began, and what has passed since.
    tape: Mutex<Option<(Instant, Vec<Passage>)>>,
}

impl Recorder {
    /// Begins anew.
    pub fn begin(&self, now: Instant) {
        *self.tape.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, Vec::new()));
        self.on.store(true, Ordering::Release);
    }

    /// Ends, and gives what was recorded.
    pub fn end(&self) -> Vec<Passage> {
        self.on.store(false, Ordering::Release);
        let tape = self.tape.lock().unwrap_or_else(PoisonError::into_inner).take();
        tape.map(|(_, passages)| passages).unwrap_or_default()
    }

    pub(crate) fn note(&self, connection: u32, size: usize, read: bool) {
        if !self.on.load(Ordering::Acquire) {
            return;
        }
        let now = Instant::now();
        let mut tape = self.tape.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((began, passages)) = &mut *tape
            && passages.len() < MAX_PASSAGES
        {
            let at_us = now.saturating_duration_since(*began).as_micros() as u32;
            passages.push(Passage { at_us, connection, size: size as u32, read });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_recorded_comes_back_from_a_file() {
        let recorder = Recorder::default();
        recorder.note(1, 10, false);
        recorder.begin(Instant::now());
        recorder.note(1, 20, false);
        recorder.note(2, 30, true);
        let passages = recorder.end();
        recorder.note(1, 40, false);
        assert_eq!(
            passages.iter().map(|it| (it.connection, it.size, it.read)).collect::<Vec<_>>(),
            [(1, 20, false), (2, 30, true)]
        );
        let mut file: Vec<u8> = passages.iter().flat_map(Passage::encode).collect();
        file.push(7);
        assert_eq!(Passage::decode_all(&file), passages);
        assert!(recorder.end().is_empty());
    }
}
