//! The layer check: which crate may use which, compared with what they do use, and no circles of modules within one.

use crate::circles;
use anyhow::{Context, Result, bail};
use cargo_metadata::{DependencyKind, MetadataCommand, Package};

/// A node's machines and everything beneath them.
const NODE: &[&str] = &[
    "pelago-model",
    "pelago-wire",
    "pelago-game",
    "pelago-world",
    "pelago-cluster",
    "pelago-node",
];

/// The layers of the architecture: a package, and those of the workspace that it may use, in groups.
const LAYERS: [(&str, &[&[&str]]); 19] = [
    ("pelago-model", &[]),
    ("pelago-wire", &[&["pelago-model"]]),
    ("pelago-game", &[&["pelago-model"]]),
    ("pelago-world", &[&["pelago-model", "pelago-wire", "pelago-game"]]),
    ("pelago-cluster", &[&["pelago-model", "pelago-wire"]]),
    (
        "pelago-node",
        &[&["pelago-model", "pelago-wire", "pelago-game", "pelago-world", "pelago-cluster"]],
    ),
    ("pelago-store", &[&["pelago-model"]]),
    ("pelago-net", &[&["pelago-model", "pelago-wire"]]),
    ("pelago-client", &[&["pelago-model", "pelago-wire", "pelago-net"]]),
    ("pelago-bots", &[&["pelago-model", "pelago-wire", "pelago-net", "pelago-client"]]),
    ("pelago-frontier", &[&["pelago-model", "pelago-game"]]),
    ("pelago-runtime", &[NODE, &["pelago-store", "pelago-net"]]),
    // Sees nodes through the calls of the runtime: no lane, link or message of theirs.
    (
        "pelago-admin",
        &[&[
            "pelago-model",
            "pelago-game",
            "pelago-node",
            "pelago-store",
            "pelago-net",
            "pelago-runtime",
        ]],
    ),
    // The binary carries the reference game and the bots: one file to hand out.
    (
        "pelago-server",
        &[
            NODE,
            &[
                "pelago-store",
                "pelago-net",
                "pelago-runtime",
                "pelago-admin",
                "pelago-client",
                "pelago-bots",
                "pelago-frontier",
            ],
        ],
    ),
    // Simulates the reference game: rules as they are really written.
    ("pelago-sim", &[NODE, &["pelago-store", "pelago-client", "pelago-frontier"]]),
    // Reads whatever any of them reads.
    (
        "pelago-fuzz",
        &[NODE, &["pelago-store", "pelago-net", "pelago-client", "pelago-bots", "pelago-frontier"]],
    ),
    (
        "pelago-bench",
        &[&["pelago-client", "pelago-bots", "pelago-model", "pelago-net", "pelago-store"]],
    ),
    // Judges the product from outside: a fault of a crate must not be one of its judge.
    ("pelago-torture", &[]),
    ("xtask", &[]),
];

/// The crates without sockets, clocks and threads of their own.
const CORES: [&str; 7] = [
    "pelago-model",
    "pelago-wire",
    "pelago-game",
    "pelago-world",
    "pelago-cluster",
    "pelago-node",
    "pelago-frontier",
];

/// What a core must not use.
const OUTSIDE: [&str; 6] = ["tokio", "mio", "socket2", "rustix", "libc", "axum"];

/// Compares the table with the workspace.
pub(crate) fn check() -> Result<()> {
    let metadata = MetadataCommand::new()
        .no_deps()
        .current_dir(crate::run::root())
        .exec()
        .context("cargo metadata")?;
    let packages = metadata.workspace_packages();
    let names: Vec<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    let mut violations = Vec::new();
    let root = crate::run::root();
    for package in &packages {
        violations.extend(circles::of_package(package, &root)?);
        violations.extend(violations_of(package.name.as_str(), &used(package), &names));
        let manifest = std::fs::read_to_string(&package.manifest_path)?;
        if !manifest.contains("[lints]\nworkspace = true") {
            violations.push(format!("{} does not inherit the lints", package.name));
        }
    }
    if !violations.is_empty() {
        bail!("{}", violations.join("\n"));
    }
    println!("{} crates keep to their layers", packages.len());
    Ok(())
}

/// What a package uses outside of its tests.
fn used(package: &Package) -> Vec<&str> {
    let dependencies = package.dependencies.iter();
    dependencies
        .filter(|dependency| dependency.kind != DependencyKind::Development)
        .map(|dependency| dependency.name.as_str())
        .collect()
}

/// What a package uses and may not.
fn violations_of(package: &str, used: &[&str], workspace: &[&str]) -> Vec<String> {
    let Some((_, may_use)) = LAYERS.iter().find(|(name, _)| *name == package) else {
        return vec![format!("{package} has no place in the table of xtask/src/layers.rs")];
    };
    let mut violations = Vec::new();
    for other in used {
        if workspace.contains(other) && !may_use.iter().any(|group| group.contains(other)) {
            violations.push(format!("{package} may not use {other}"));
        }
        if CORES.contains(&package) && OUTSIDE.contains(other) {
            violations.push(format!("{package} is a core and may not use {other}"));
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKSPACE: [&str; 3] = ["pelago-model", "pelago-store", "pelago-world"];

    #[test]
    fn a_core_may_not_use_a_driver() {
        let violations =
            violations_of("pelago-world", &["pelago-model", "pelago-store"], &WORKSPACE);
        assert_eq!(violations, ["pelago-world may not use pelago-store"]);
    }

    #[test]
    fn a_core_may_not_use_sockets() {
        let violations = violations_of("pelago-world", &["tokio"], &WORKSPACE);
        assert_eq!(violations, ["pelago-world is a core and may not use tokio"]);
    }

    #[test]
    fn a_crate_without_a_place_is_refused() {
        assert_eq!(violations_of("pelago-utils", &[], &WORKSPACE).len(), 1);
    }
}
