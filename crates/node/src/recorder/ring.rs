//! The ring: the last inputs of one machine, encoded.

use super::coding::Code;
use super::header::FlightHeader;
use super::recording::{DIRECTORY, ENTRY_HEAD_BYTES, INPUT, put_file};
use crate::composer::MachineInput;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use pelago_cluster::Directory;
use pelago_model::WorldTime;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

/// How old the inputs are that a recorder keeps, in ms; older ones are forgotten.
pub const FLIGHT_MS: i64 = 60_000;
/// Bytes of inputs that a recorder keeps, more than the largest message of another node has; for newer ones the oldest are forgotten, be they ever so young. An input
/// that is larger than that is not kept, nor is anything before it.
pub const FLIGHT_BYTES: usize = 1280 * 1024;
/// What the buffer that inputs are encoded in may keep for the next one. A larger one is given back.
const MAX_SCRATCH_BYTES: usize = 256 * 1024;

/// How much a recorder keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecorderLimits {
    /// How old it may be, in ms.
    pub age_ms: i64,
    /// How many bytes.
    pub bytes: usize,
}

impl Default for RecorderLimits {
    fn default() -> Self {
        Self { age_ms: FLIGHT_MS, bytes: FLIGHT_BYTES }
    }
}

/// A recorder that others can read while its machine runs. The machine holds it for one input at a time.
pub type SharedRecorder = Arc<Mutex<Recorder>>;

/// The last inputs of a machine.
pub struct Recorder {
    header: FlightHeader,
    limits: RecorderLimits,
    /// Entries, each a length, a time, and an encoded [`Entry`](super::Entry).
    ring: VecDeque<u8>,
    /// Inputs in the ring.
    inputs: u64,
    /// Whether nothing was forgotten.
    whole: bool,
    /// Of the directory that was recorded last.
    directory: Option<u64>,
    /// The directory that was in force before the first entry, encoded.
    before: Vec<u8>,
    scratch: BytesMut,
    /// Of all outputs, if somebody wants to compare.
    outputs: Option<blake3::Hasher>,
}

impl Recorder {
    /// An empty recorder of the machine that the header names. Its memory is taken at once, and used as it fills.
    pub fn new(header: FlightHeader, limits: RecorderLimits) -> Self {
        Self {
            header,
            limits,
            ring: VecDeque::with_capacity(limits.bytes),
            inputs: 0,
            whole: true,
            directory: None,
            before: Vec::new(),
            scratch: BytesMut::with_capacity(4096),
            outputs: None,
        }
    }

    /// Hashes what the machine does, too. For tests: it costs more than recording does.
    #[must_use]
    pub fn hashing_outputs(mut self) -> Self {
        self.outputs = Some(blake3::Hasher::new());
        self
    }

    /// Keeps an input that the machine is about to handle.
    pub fn record(&mut self, now: WorldTime, directory: &Directory, input: &MachineInput) {
        if self.directory != Some(directory.fingerprint()) {
            self.directory = Some(directory.fingerprint());
            self.begin(DIRECTORY);
            directory.put(&mut self.scratch);
            self.push(now);
        }
        self.begin(INPUT);
        input.put(&mut self.scratch);
        self.push(now);
    }

    /// Takes what came of an input into the hash of outputs, if there is one.
    pub fn note_outputs(&mut self, outputs: &[impl std::fmt::Debug]) {
        if let Some(hasher) = &mut self.outputs {
            hasher.update(format!("{outputs:?}").as_bytes());
        }
    }

    /// The hash of all outputs so far, if they are hashed.
    pub fn outputs(&self) -> Option<blake3::Hash> {
        self.outputs.as_ref().map(blake3::Hasher::finalize)
    }

    /// Inputs that are kept.
    pub fn inputs(&self) -> u64 {
        self.inputs
    }

    /// Bytes that are kept.
    pub fn bytes(&self) -> usize {
        self.ring.len()
    }

    /// Whether nothing was forgotten since the machine was made.
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    /// The recording as a file.
    pub fn to_file(&self) -> Bytes {
        let header = FlightHeader { whole: self.whole, inputs: self.inputs, ..self.header.clone() };
        let mut out = BytesMut::with_capacity(self.ring.len() + self.before.len() + 4096);
        put_file(&mut out, &header, &self.before);
        let (front, back) = self.ring.as_slices();
        out.put_slice(front);
        out.put_slice(back);
        out.freeze()
    }

    fn begin(&mut self, tag: u8) {
        self.scratch.clear();
        if self.scratch.capacity() > MAX_SCRATCH_BYTES {
            self.scratch = BytesMut::with_capacity(4096);
        }
        self.scratch.put_u8(tag);
    }

    /// Puts what was encoded into the ring.
    fn push(&mut self, now: WorldTime) {
        let size = ENTRY_HEAD_BYTES + self.scratch.len();
        let Some(room) = self.limits.bytes.checked_sub(size) else {
            while self.forget_first() {}
            self.whole = false;
            // A directory that does not fit is not kept: it is the one from before, as far as a replay knows.
            return;
        };
        while self.ring.len() > room && self.forget_first() {}
        while self.first_time().is_some_and(|first| now.since(first) > self.limits.age_ms)
            && self.forget_first()
        {}
        // It fits a u32: the limit of a ring does.
        self.ring.extend(&(self.scratch.len() as u32).to_le_bytes());
        self.ring.extend(&now.0.to_le_bytes());
        self.inputs += u64::from(self.scratch.first() == Some(&INPUT));
        self.ring.extend(&self.scratch[..]);
    }

    fn first_time(&self) -> Option<WorldTime> {
        self.head().map(|(_, time)| time)
    }

    /// The length and the time of the first entry.
    fn head(&self) -> Option<(usize, WorldTime)> {
        if self.ring.len() < ENTRY_HEAD_BYTES {
            return None;
        }
        let mut head = [0; ENTRY_HEAD_BYTES];
        head.iter_mut().zip(&self.ring).for_each(|(to, from)| *to = *from);
        let mut head = &head[..];
        Some((head.get_u32_le() as usize, WorldTime(head.get_i64_le())))
    }

    /// Forgets the oldest entry; `false` if there is none.
    fn forget_first(&mut self) -> bool {
        let Some((length, _)) = self.head() else { return false };
        self.whole = false;
        self.ring.drain(..ENTRY_HEAD_BYTES);
        if self.ring.front() == Some(&DIRECTORY) {
            self.before.clear();
            self.before.extend(self.ring.iter().take(length));
        } else {
            self.inputs -= 1;
        }
        self.ring.drain(..length);
        true
    }
}
