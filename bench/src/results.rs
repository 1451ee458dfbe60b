//! Results that are kept: files of `bench/results`, each with the machine that it was measured on.

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// A file of `bench/results`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Kept<T> {
    pub(crate) machine: Machine,
    pub(crate) results: T,
}

/// What was measured on.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) memory_gibibytes: u64,
    pub(crate) kernel: String,
}

impl Machine {
    /// This one.
    fn here() -> Result<Self> {
        let file = |path: &str| std::fs::read_to_string(path).with_context(|| path.to_owned());
        let (processors, memory) = (file("/proc/cpuinfo")?, file("/proc/meminfo")?);
        let after = |text: &str, name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.map(|rest| rest.trim_matches([' ', '\t', ':']).to_owned())
        };
        let memory = after(&memory, "MemTotal").unwrap_or_default();
        let kibibytes: u64 = memory.trim_end_matches(" kB").parse().unwrap_or(0);
        Ok(Self {
            processor: after(&processors, "model name").unwrap_or_default(),
            // Of the machine, not those that this process keeps to.
            cores: processors.lines().filter(|line| line.starts_with("processor")).count(),
            memory_gibibytes: kibibytes >> 20,
            kernel: file("/proc/sys/kernel/osrelease")?.trim().to_owned(),
        })
    }
}

/// Keeps results under a name.
pub(crate) fn keep<T: Serialize>(folder: &Path, name: &str, results: T) -> Result<()> {
    let folder = folder.join("results");
    std::fs::create_dir_all(&folder).with_context(|| format!("{}", folder.display()))?;
    let path = folder.join(format!("{name}.json"));
    let kept = Kept { machine: Machine::here()?, results };
    let text = serde_json::to_string_pretty(&kept)? + "\n";
    std::fs::write(&path, text).with_context(|| format!("{}", path.display()))
}

/// Reads what was kept under a name; `None` if nothing was.
pub(crate) fn read<T: DeserializeOwned>(folder: &Path, name: &str) -> Result<Option<Kept<T>>> {
    let path = folder.join("results").join(format!("{name}.json"));
    if !path.exists() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
    serde_json::from_str(&text).map(Some).with_context(|| format!("{}", path.display()))
}
