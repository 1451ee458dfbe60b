//! `cargo xtask bench`: load scenarios on a release build.

use crate::run::{cargo, command, root, run};
use anyhow::{Result, bail};

/// Builds what is measured and what measures, and runs it.
pub(crate) fn bench(arguments: &[String]) -> Result<()> {
    let Some(("load", rest)) = arguments.split_first().map(|(first, rest)| (first.as_str(), rest))
    else {
        bail!("usage: cargo xtask bench load NAME [--keep] [--seconds S] [--no-baseline]");
    };
    // In a folder of its own: a server that counts its allocations is not the one that people run.
    let target = root().join("target/bench-build");
    let folder = target.to_string_lossy().into_owned();
    let build = |package: &str, more: &[&str]| {
        let arguments = ["build", "--quiet", "--release", "--target-dir", &folder];
        cargo(&[&arguments, more, &["--package", package]].concat())
    };
    build("pelago-server", &["--features", "count-allocations"])?;
    build("pelago-bench", &[])?;
    let binary = |name: &str| target.join("release").join(name).to_string_lossy().into_owned();
    let mut command = command(&binary("pelago-bench"), &["load", "--server", &binary("pelago")]);
    command.args(rest);
    run(command)
}
