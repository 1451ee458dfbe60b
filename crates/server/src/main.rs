//! The `pelago` binary: the platform with its reference game.

use std::process::ExitCode;

fn main() -> ExitCode {
    pelago::run(pelago_frontier::Frontier)
}
