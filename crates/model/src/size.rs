//! Sizes: how much a machine holds of everything in it that can grow.

/// How full a queue or a table is. Operators see it, and the simulator holds it to its word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// What is counted.
    pub of: &'static str,
    /// How many, or how many bytes, there are.
    pub held: usize,
    /// There are never more.
    pub limit: usize,
    /// There are no more once nothing goes wrong and nobody does anything.
    pub rest: usize,
}

impl Size {
    /// What is worked off: at rest it is empty.
    pub const fn queue(of: &'static str, held: usize, limit: usize) -> Self {
        Self { of, held, limit, rest: 0 }
    }

    /// What is kept: at rest there are `rest` at most.
    pub const fn table(of: &'static str, held: usize, limit: usize, rest: usize) -> Self {
        Self { of, held, limit, rest }
    }
}
