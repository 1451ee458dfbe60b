//! What the benches of the cores have measured: read from what criterion leaves behind, made into ratios.

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// How the names of baselines begin.
const BASELINE: &str = "baseline: ";

/// A group of benches: one baseline, and what is compared with it.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub(crate) struct Group {
    /// Ends with its unit.
    pub(crate) name: String,
    pub(crate) baseline: Line,
    pub(crate) measured: Vec<Line>,
}

/// One bench.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub(crate) struct Line {
    pub(crate) name: String,
    /// Nanoseconds per element, median.
    pub(crate) nanoseconds: f64,
}

#[derive(Deserialize)]
struct Description {
    group_id: String,
    function_id: String,
    throughput: Throughput,
}

#[derive(Deserialize)]
struct Throughput {
    #[serde(rename = "Elements")]
    elements: f64,
}

#[derive(Deserialize)]
struct Estimates {
    median: Estimate,
}

#[derive(Deserialize)]
struct Estimate {
    point_estimate: f64,
}

/// Reads criterion's folder.
pub(crate) fn read(folder: &Path) -> Result<Vec<Group>> {
    let mut groups: BTreeMap<String, Vec<Line>> = BTreeMap::new();
    for group in folders(folder)? {
        for bench in folders(&group)? {
            let newest = bench.join("new");
            if !newest.join("benchmark.json").exists() {
                continue;
            }
            let description: Description = json(&newest.join("benchmark.json"))?;
            let estimates: Estimates = json(&newest.join("estimates.json"))?;
            let nanoseconds = estimates.median.point_estimate / description.throughput.elements;
            let line = Line { name: description.function_id, nanoseconds };
            groups.entry(description.group_id).or_default().push(line);
        }
    }
    groups.into_iter().map(|(name, lines)| compared(name, lines)).collect()
}

fn compared(name: String, lines: Vec<Line>) -> Result<Group> {
    let (mut baselines, measured): (Vec<_>, Vec<_>) =
        lines.into_iter().partition(|line| line.name.starts_with(BASELINE));
    let Some(baseline) = baselines.pop().filter(|_| baselines.is_empty()) else {
        bail!("group {name} has not exactly one baseline");
    };
    let baseline = Line { name: baseline.name.replacen(BASELINE, "", 1), ..baseline };
    Ok(Group { name, baseline, measured })
}

fn folders(folder: &Path) -> Result<Vec<std::path::PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("{}", folder.display()))?;
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    let mut folders: Vec<_> = paths.into_iter().filter(|path| path.is_dir()).collect();
    folders.sort();
    Ok(folders)
}

fn json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(names: &[&str]) -> Vec<Line> {
        names.iter().map(|name| Line { name: (*name).to_owned(), nanoseconds: 1.0 }).collect()
    }

    #[test]
    fn a_group_has_one_baseline() {
        let group = compared("x_ns".into(), lines(&["encode", "baseline: copy"])).expect("a group");
        assert_eq!((group.baseline.name.as_str(), group.measured.len()), ("copy", 1));
        assert!(compared("x_ns".into(), lines(&["encode"])).is_err());
        assert!(compared("x_ns".into(), lines(&["baseline: a", "baseline: b"])).is_err());
    }
}
