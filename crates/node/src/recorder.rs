//! The flight recorder: the last inputs of a machine, so that what it did can be done again.
//!
//! A machine is a function of its inputs: whoever has them all has the machine. Each input is encoded at once into a
//! ring of bytes of a fixed size. So a recording keeps no message and no frame in memory that would be gone
//! otherwise, and in the steady state it allocates nothing. `docs/operating/flight.md` says what operators do with
//! it.
//!
//! Nothing here is a protocol: a recording is read by the build that wrote it, or by one that encodes inputs alike,
//! which the number of its format tells.

mod coding;
mod header;
mod inputs;
mod recording;
mod redaction;
mod ring;
mod words;

pub(crate) use header::pair;
pub use header::{FlightHeader, RecordedLimits};
pub use recording::{Entries, Entry, MalformedRecording, Recording};
pub use ring::{FLIGHT_BYTES, FLIGHT_MS, Recorder, RecorderLimits, SharedRecorder};
