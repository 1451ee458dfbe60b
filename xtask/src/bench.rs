//! `cargo xtask bench`: load scenarios, benches and the page about them, on release builds.

use crate::markdown;
use crate::run::{cargo, command, root, run};
use anyhow::{Result, bail};

const USAGE: &str = "\
usage: cargo xtask bench load NAME [--keep] [--seconds S] [--no-baseline]
                               [--pairs N] [--beside SHARE] [--server-before FILE]
       cargo xtask bench soak [--minutes 60] [--count 10000]
       cargo xtask bench store [--keep]
       cargo xtask bench postgres [--of commits|loads] [--keep]
       cargo xtask bench million [--keep]
       cargo xtask bench micro [--keep]
       cargo xtask bench report";

/// The benches of the cores: a package and a file of its folder `benches`.
const MICRO: [(&str, &str); 3] =
    [("pelago-wire", "frames"), ("pelago-world", "lane"), ("pelago-node", "steward")];

/// Builds what is measured and what measures, and runs it.
pub(crate) fn bench(arguments: &[String]) -> Result<()> {
    let Some((what, rest)) = arguments.split_first() else { bail!(USAGE) };
    // In a folder of its own: a server that counts its allocations is not the one that people run.
    let target = root().join("target/bench-build");
    let folder = target.to_string_lossy().into_owned();
    let release = ["build", "--quiet", "--release", "--target-dir", &folder, "--package"];
    let binary = |name: &str| target.join("release").join(name).to_string_lossy().into_owned();
    let mut more: Vec<String> = Vec::new();
    match what.as_str() {
        "load" | "soak" => {
            let server = ["pelago-server", "--features", "count-allocations"];
            cargo(&[&release[..], &server].concat())?;
            more.extend(["--server".into(), binary("pelago")]);
        }
        "micro" => {
            for (package, file) in MICRO {
                let bench = ["bench", "--quiet", "--target-dir", &folder, "--package", package];
                let measure = ["--bench", file, "--", "--quiet", "--noplot"];
                let times = ["--warm-up-time", "1", "--measurement-time", "3"];
                cargo(&[&bench[..], &measure, &times].concat())?;
            }
            let left = target.join("criterion").to_string_lossy().into_owned();
            more.extend(["--criterion".into(), left]);
        }
        "store" | "postgres" | "million" | "report" => {}
        _ => bail!(USAGE),
    }
    cargo(&[&release[..], &["pelago-bench"]].concat())?;
    let mut command = command(&binary("pelago-bench"), &[what]);
    command.args(rest).args(more);
    run(command)?;
    if what == "report" {
        // Sentences about what was measured are as long as they are.
        markdown::fix_all()?;
    }
    Ok(())
}
