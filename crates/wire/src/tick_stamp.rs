//! Stamps: the first byte of a body.

use pelago_model::Tick;

/// The low four bits of a frame's tick and of its sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TickStamp {
    /// The tick modulo 16.
    pub tick_nibble: u8,
    /// The sequence number modulo 16.
    pub sequence_nibble: u8,
}

impl TickStamp {
    /// The stamp of a frame.
    pub const fn new(tick: Tick, sequence: u64) -> Self {
        Self { tick_nibble: (tick.0 & 15) as u8, sequence_nibble: (sequence & 15) as u8 }
    }

    /// As written.
    pub const fn to_byte(self) -> u8 {
        self.tick_nibble << 4 | self.sequence_nibble & 15
    }

    /// As read.
    pub const fn from_byte(byte: u8) -> Self {
        Self { tick_nibble: byte >> 4, sequence_nibble: byte & 15 }
    }

    /// The greatest tick that is not later than `latest` and has this remainder; tick 0 if there
    /// is none.
    pub fn tick(self, latest: Tick) -> Tick {
        let back = (latest.0 as u8).wrapping_sub(self.tick_nibble) & 15;
        Tick(latest.0.saturating_sub(u64::from(back)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_finds_its_tick_within_fifteen_ticks() {
        for age in 0..16 {
            let tick = Tick(1000 - age);
            assert_eq!(TickStamp::new(tick, 77).tick(Tick(1000)), tick);
        }
        let stamp = TickStamp::new(Tick(0x1a3), 0x2f);
        assert_eq!((stamp.to_byte(), TickStamp::from_byte(0x3f)), (0x3f, stamp));
    }
}
