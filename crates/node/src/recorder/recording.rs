//! A recording as it is in a file.
//!
//! `PELAGOFL`, a byte for the format, then the header (JSON), the directory that was in force before the first entry,
//! and the entries. A length is a u32, little-endian, and a time an i64: `length | header | length | directory |
//! (length | time | entry)*`.

use super::coding::Code;
use super::header::FlightHeader;
use crate::composer::MachineInput;
use crate::machine_id::MachineId;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use pelago_cluster::Directory;
use pelago_model::{IslandClock, WorldTime};
use pelago_wire::Malformed;
use pelago_wire::varint::Reader;

const MAGIC: &[u8; 8] = b"PELAGOFL";
/// The number of this format. It changes with the encoding of any input.
const FORMAT: u8 = 1;
/// The length and the time of an entry.
pub(super) const ENTRY_HEAD_BYTES: usize = 12;
/// The first byte of an input.
pub(super) const INPUT: u8 = 0;
/// The first byte of a directory.
pub(super) const DIRECTORY: u8 = 1;

/// Something in a recording.
#[derive(Debug)]
pub enum Entry {
    /// From now on the address book says this.
    Directory(Directory),
    /// The machine was told this.
    Input(MachineInput),
}

/// Bytes that are no recording, or none of this build.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedRecording {
    /// The file is something else.
    #[error("it is no flight recording")]
    NoRecording,
    /// The file was written by another build.
    #[error("it has the format {0}, and this build reads {FORMAT}")]
    Format(u8),
    /// The header cannot be read.
    #[error("its header cannot be read: {0}")]
    Header(String),
    /// It ends within something.
    #[error("it is cut off")]
    CutOff,
    /// An entry cannot be read.
    #[error("entry {number} cannot be read: {problem}")]
    Entry {
        /// Which, counted from 1.
        number: u64,
        /// Why.
        problem: Malformed,
    },
}

/// A recording, to be read entry by entry.
#[derive(Clone, Debug)]
pub struct Recording {
    header: FlightHeader,
    machine: MachineId,
    before: Option<Directory>,
    entries: Bytes,
}

/// Appends all of a file but its entries.
pub(super) fn put_file(out: &mut BytesMut, header: &FlightHeader, before: &[u8]) {
    out.put_slice(MAGIC);
    out.put_u8(FORMAT);
    // A header holds numbers and texts, which fit JSON.
    let header = serde_json::to_vec(header).unwrap_or_default();
    for part in [&header[..], before] {
        out.put_u32_le(part.len() as u32);
        out.put_slice(part);
    }
}

impl Recording {
    /// Reads a file. Its entries are read as they are asked for.
    ///
    /// # Errors
    /// [`MalformedRecording`].
    pub fn read(file: &Bytes) -> Result<Self, MalformedRecording> {
        let mut rest = file.clone();
        if !rest.starts_with(MAGIC) {
            return Err(MalformedRecording::NoRecording);
        }
        rest.advance(MAGIC.len());
        match rest.try_get_u8() {
            Ok(FORMAT) => {}
            Ok(format) => return Err(MalformedRecording::Format(format)),
            Err(_) => return Err(MalformedRecording::CutOff),
        }
        let header = part(&mut rest).ok_or(MalformedRecording::CutOff)?;
        let header: FlightHeader = serde_json::from_slice(&header)
            .map_err(|error| MalformedRecording::Header(error.to_string()))?;
        let machine = MachineId::of_number(header.machine).ok_or_else(|| {
            MalformedRecording::Header(format!("there is no machine {}", header.machine))
        })?;
        let before = part(&mut rest).ok_or(MalformedRecording::CutOff)?;
        let before = match before.is_empty() {
            true => None,
            false => match read_entry(&before, &header.clock) {
                Ok(Entry::Directory(directory)) => Some(directory),
                Ok(Entry::Input(_)) => return Err(MalformedRecording::NoRecording),
                Err(problem) => return Err(MalformedRecording::Entry { number: 0, problem }),
            },
        };
        Ok(Self { header, machine, before, entries: rest })
    }

    /// What a replay must know.
    pub fn header(&self) -> &FlightHeader {
        &self.header
    }

    /// The machine that was recorded.
    pub fn machine(&self) -> MachineId {
        self.machine
    }

    /// The directory that was in force before the first entry, if one was.
    pub fn before(&self) -> Option<&Directory> {
        self.before.as_ref()
    }

    /// All entries, in order.
    pub fn entries(&self) -> Entries {
        Entries { clock: self.header.clock, rest: self.entries.clone(), number: 0 }
    }
}

/// The entries of a recording. The first that cannot be read is the last.
#[derive(Clone, Debug)]
pub struct Entries {
    clock: IslandClock,
    rest: Bytes,
    number: u64,
}

impl Iterator for Entries {
    type Item = Result<(WorldTime, Entry), MalformedRecording>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        self.number += 1;
        let read = self.read();
        if read.is_err() {
            self.rest.clear();
        }
        Some(read)
    }
}

impl Entries {
    fn read(&mut self) -> Result<(WorldTime, Entry), MalformedRecording> {
        let cut_off = |_| MalformedRecording::CutOff;
        let length = self.rest.try_get_u32_le().map_err(cut_off)? as usize;
        let time = WorldTime(self.rest.try_get_i64_le().map_err(cut_off)?);
        if length > self.rest.len() {
            return Err(MalformedRecording::CutOff);
        }
        let entry = read_entry(&self.rest.split_to(length), &self.clock);
        let number = self.number;
        entry
            .map(|entry| (time, entry))
            .map_err(|problem| MalformedRecording::Entry { number, problem })
    }
}

fn part(rest: &mut Bytes) -> Option<Bytes> {
    let length = rest.try_get_u32_le().ok()? as usize;
    (length <= rest.len()).then(|| rest.split_to(length))
}

fn read_entry(bytes: &Bytes, clock: &IslandClock) -> Result<Entry, Malformed> {
    let mut reader = Reader::new(bytes);
    let entry = match reader.u8()? {
        INPUT => Entry::Input(Code::take(&mut reader, clock)?),
        DIRECTORY => Entry::Directory(Code::take(&mut reader, clock)?),
        _ => return Err(Malformed::UnknownRecord),
    };
    match reader.is_empty() {
        true => Ok(entry),
        false => Err(Malformed::TooLong),
    }
}
