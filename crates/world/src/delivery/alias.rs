//! The short names of clients and streams.

/// The seat of a client in a lane: a small number, used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Seat(pub(super) u32);

impl Seat {
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

/// How far a client knows a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alias {
    /// The client has not been told of the stream.
    Unopened,
    /// The client has everything up to the last delivery.
    Open(u32),
    /// The client missed something.
    Stale(u32),
}

/// Set for stale ones; a client does not have that many streams.
const STALE: u32 = 1 << 31;
const UNOPENED: u32 = u32::MAX;

impl Alias {
    /// As it stands in a table.
    pub(super) fn to_cell(self) -> u32 {
        match self {
            Self::Unopened => UNOPENED,
            Self::Open(number) => number,
            Self::Stale(number) => number | STALE,
        }
    }

    /// As read from a table.
    pub(super) fn from_cell(cell: u32) -> Self {
        match cell {
            UNOPENED => Self::Unopened,
            _ if cell & STALE != 0 => Self::Stale(cell & !STALE),
            _ => Self::Open(cell),
        }
    }
}

/// Makes an open alias of a table stale; `true` if it was open.
pub(super) fn make_stale(cell: &mut u32) -> bool {
    let is_open = matches!(Alias::from_cell(*cell), Alias::Open(_));
    if is_open {
        *cell |= STALE;
    }
    is_open
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_are_read_from_tables_as_they_were_written() {
        for alias in [Alias::Unopened, Alias::Open(0), Alias::Open(77), Alias::Stale(0)] {
            assert_eq!(Alias::from_cell(alias.to_cell()), alias);
        }
        let mut cell = Alias::Open(5).to_cell();
        assert!(make_stale(&mut cell) && !make_stale(&mut cell));
        assert_eq!(Alias::from_cell(cell), Alias::Stale(5));
    }
}
