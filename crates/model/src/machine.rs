//! The shape of every core: a machine without clock, socket or thread.

use crate::time::WorldTime;

/// A sans-I/O machine. The simulator and the server run the same ones.
pub trait Machine {
    /// Its inputs: one closed enum.
    type Input;
    /// What it asks its shell to do, as data.
    type Effect;

    /// Takes one input at `now` and appends what is to be done. `now` never steps back.
    fn handle(&mut self, now: WorldTime, input: Self::Input, effects: &mut Vec<Self::Effect>);

    /// When it next wants to be woken by its clock input, if ever.
    fn next_wake(&self) -> Option<WorldTime>;
}
