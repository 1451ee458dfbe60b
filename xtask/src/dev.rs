//! `cargo xtask dev`: a living world in a browser.

use crate::run::{become_program, cargo, command, root};
use crate::web;
use anyhow::Result;
use std::time::Instant;

/// What a new user gets, unless told otherwise.
const DEFAULTS: [(&str, &str); 4] =
    [("--nodes", "3"), ("--lanes", "1"), ("--bots", "200"), ("--data", "./data")];

/// Builds the page and the binary, and becomes it. The binary is the one that the tests use, which takes less than half of
/// the time that optimising everything together takes; `--release` is for those who want to see how fast it can be.
pub(crate) fn dev(arguments: &[String]) -> Result<()> {
    let is_release = |argument: &&String| *argument == "--release";
    let (release, arguments): (Vec<_>, Vec<_>) = arguments.iter().partition(is_release);
    println!("1 of 2: building the page");
    let began = Instant::now();
    web::build()?;
    println!("        took {} s", began.elapsed().as_secs());
    println!("2 of 2: building the server; the first time takes some minutes");
    let began = Instant::now();
    let package = ["build", "--package", "pelago-server"];
    let (profile, folder) = match release.is_empty() {
        true => (&[][..], "debug"),
        false => (&["--release"][..], "release"),
    };
    cargo(&[&package[..], profile].concat())?;
    println!("        took {} s", began.elapsed().as_secs());
    let binary = root().join("target").join(folder).join("pelago");
    let mut command = command(&binary.to_string_lossy(), &["dev"]);
    command.args(with_defaults(arguments));
    become_program(command)
}

/// The arguments given, and the defaults of those that were not.
fn with_defaults<'a>(arguments: impl IntoIterator<Item = &'a String>) -> Vec<String> {
    let mut all: Vec<String> = arguments.into_iter().cloned().collect();
    for (flag, value) in DEFAULTS {
        let given =
            |argument: &String| argument == flag || argument.starts_with(&format!("{flag}="));
        if !all.iter().any(given) {
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
