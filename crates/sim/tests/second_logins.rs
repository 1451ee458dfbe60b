//! Players who come a second time while they play, on days on which nothing else goes wrong.

use pelago_sim::{Faults, Kind, Setup, Simulation};

#[test]
fn a_session_goes_on_where_the_one_before_it_was() {
    let mut logins = 0;
    for seed in 1..=24 {
        // Takeovers would keep nodes from hearing each other.
        let faults = Faults { migration: 900, ..Faults::NONE };
        let outcome = Simulation::new(Setup { faults, ..Setup::usual(seed, 30) }).run();
        let outcome = outcome.unwrap_or_else(|violation| panic!("{violation}"));
        logins += outcome.faults.of(Kind::Migration);
    }
    assert!(logins > 200, "{logins} logins");
}

#[test]
fn rules_that_do_not_return_cost_their_commands_and_threads_only() {
    let mut hung = 0;
    for seed in 1..=12 {
        let faults = Faults { hang: 400, crash: 30, failed_commit: 100, ..Faults::NONE };
        let outcome = Simulation::new(Setup { faults, ..Setup::usual(seed, 30) }).run();
        let outcome = outcome.unwrap_or_else(|violation| panic!("{violation}"));
        hung += outcome.faults.of(Kind::Hang);
    }
    assert!(hung > 50, "{hung} rules did not return");
}
