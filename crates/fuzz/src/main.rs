//! `pelago-fuzz TARGET FOLDER`: writes the seeds of a target into a folder, for `cargo xtask fuzz`.

use anyhow::{Result, bail};
use std::path::Path;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [target, folder] = &arguments[..] else { bail!("usage: pelago-fuzz TARGET FOLDER") };
    std::fs::create_dir_all(folder)?;
    for (number, seed) in pelago_fuzz::seeds::seeds(target)?.iter().enumerate() {
        std::fs::write(Path::new(folder).join(format!("seed-{number:03}")), seed)?;
    }
    Ok(())
}
