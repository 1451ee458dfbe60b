//! Meters: the numbers that all bots of a process take together.

use hdrhistogram::Histogram;

/// The greatest value that is told apart from greater ones: ten minutes in ms, six kilometres in cm.
const GREATEST: u64 = 600_000;

/// Numbers taken within the window of measuring.
#[derive(Debug)]
pub(crate) struct Meters {
    /// From the sender's send to the observer's decoding.
    pub(crate) staleness_ms: Histogram<u64>,
    /// Between shown and true places.
    pub(crate) error_cm: Histogram<u64>,
    /// From sending a durable command to its answer.
    pub(crate) latency_ms: Histogram<u64>,
    /// Changes that were decoded.
    pub(crate) decoded: u64,
    /// Messages of frames, snapshots and closes, and their bytes.
    pub(crate) frames: u64,
    pub(crate) frame_bytes: u64,
    pub(crate) snapshots: u64,
    pub(crate) snapshot_bytes: u64,
    /// How long others were in sight, added up.
    pub(crate) neighbour_ms: u64,
    /// How long bots were in the world, added up.
    pub(crate) player_ms: u64,
    /// Chunks that were entered.
    pub(crate) crossings: u64,
    /// Looks around for people who should be seen, people near at these looks, and those of them missing for too long.
    pub(crate) looks: u64,
    pub(crate) near: u64,
    pub(crate) missing: u64,
    pub(crate) sent: u64,
    pub(crate) acked: u64,
    pub(crate) refused: u64,
    pub(crate) longest_gap_ms: u64,
}

impl Default for Meters {
    fn default() -> Self {
        // Two significant digits suffice; values beyond the bound saturate.
        let histogram = || Histogram::new_with_max(GREATEST, 2).expect("a valid histogram");
        Self {
            staleness_ms: histogram(),
            error_cm: histogram(),
            latency_ms: histogram(),
            decoded: 0,
            frames: 0,
            frame_bytes: 0,
            snapshots: 0,
            snapshot_bytes: 0,
            neighbour_ms: 0,
            player_ms: 0,
            crossings: 0,
            looks: 0,
            near: 0,
            missing: 0,
            sent: 0,
            acked: 0,
            refused: 0,
            longest_gap_ms: 0,
        }
    }
}
