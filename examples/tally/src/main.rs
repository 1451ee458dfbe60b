//! The reference game with one service more.

mod tally;

use std::process::ExitCode;

fn main() -> ExitCode {
    pelago::Server::new(pelago_frontier::Frontier).service(tally::kind()).run()
}
