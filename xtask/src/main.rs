//! `cargo xtask <command>`: everything a developer or the CI runs.
#![allow(clippy::disallowed_methods, reason = "chores measure real time")]
#![allow(clippy::print_stdout, reason = "a program that talks to people")]

use anyhow::{Result, bail};
use std::process::Command;

fn main() -> Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some("test") => {
            step("fmt", &["fmt", "--all", "--check"])?;
            step("clippy", &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])?;
            step("test", &["test", "--workspace"])
        }
        _ => bail!("usage: cargo xtask test"),
    }
}

fn step(name: &str, arguments: &[&str]) -> Result<()> {
    let started = std::time::Instant::now();
    let status = Command::new("cargo").args(arguments).status()?;
    println!("{name}: {:.1} s", started.elapsed().as_secs_f64());
    if !status.success() {
        bail!("{name} failed");
    }
    Ok(())
}
