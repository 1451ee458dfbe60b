//! `cargo xtask dev`: a living world in a browser.

use crate::run::{become_program, cargo, command, root};
use crate::web;
use anyhow::Result;

/// What a new user gets, unless told otherwise.
const DEFAULTS: [(&str, &str); 4] =
    [("--nodes", "3"), ("--lanes", "1"), ("--bots", "200"), ("--data", "./data")];

/// Builds the page and the binary, and becomes it.
pub(crate) fn dev(arguments: &[String]) -> Result<()> {
    println!("building the page");
    web::build()?;
    println!("building the server; the first time takes some minutes");
    cargo(&["build", "--release", "--package", "pelago-server"])?;
    let binary = root().join("target/release/pelago");
    let mut command = command(&binary.to_string_lossy(), &["dev"]);
    command.args(with_defaults(arguments));
    become_program(command)
}

/// The arguments given, and the defaults of those that were not.
fn with_defaults(arguments: &[String]) -> Vec<String> {
    let mut all = arguments.to_vec();
    for (flag, value) in DEFAULTS {
        let given =
            |argument: &String| argument == flag || argument.starts_with(&format!("{flag}="));
        if !arguments.iter().any(given) {
            all.extend([flag.to_owned(), value.to_owned()]);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_replaces_its_default() {
        let given = ["--bots=5", "--nodes", "1"].map(str::to_owned);
        let all = with_defaults(&given).join(" ");
        assert_eq!(all, "--bots=5 --nodes 1 --lanes 1 --data ./data");
    }
}
