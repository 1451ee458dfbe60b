//! Origins: where clients come from, as far as budgets are concerned.

/// One address of the internet, or one network of IPv6 that a household is given (/64), as a number that tells nobody
/// which: recordings and logs may show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// Different for different addresses, and chosen anew for each run of the program.
    pub number: u64,
    /// Whether it is this very machine.
    pub is_loopback: bool,
}

impl Origin {
    /// This machine, where it does not matter at which address.
    pub const LOOPBACK: Self = Self { number: 0, is_loopback: true };
}

/// What holds for clients of this machine, and for all others: bots, benchmarks and a proxy come from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByOrigin<T> {
    /// For each address of this machine.
    pub loopback: T,
    /// For each other address.
    pub others: T,
}

impl<T> ByOrigin<T> {
    /// What holds for an origin.
    pub fn of(&self, origin: Origin) -> &T {
        if origin.is_loopback { &self.loopback } else { &self.others }
    }
}
