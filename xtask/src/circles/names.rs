//! Which modules a path leads through.

use super::graph::ModulePath;
use super::source::{Meaning, Tree};
use std::collections::BTreeSet;

/// Re-exports of re-exports that are followed. An import whose first name is its own last one (`use bytes::bytes`) would
/// be followed for ever; beyond this a path is taken to be of another crate.
const MAX_DEPTH: usize = 12;

/// The modules of this crate that `path`, written in the module `from`, leads to: the one that defines what is named,
/// and those that re-export it. Empty if it names nothing of this crate.
pub(super) fn modules_of(tree: &Tree, from: &ModulePath, path: &[String]) -> BTreeSet<ModulePath> {
    let mut search = Search { tree, found: BTreeSet::new() };
    let names: Vec<&str> = path.iter().map(String::as_str).collect();
    search.resolve(from, &names, MAX_DEPTH);
    search.found
}

struct Search<'tree> {
    tree: &'tree Tree,
    found: BTreeSet<ModulePath>,
}

impl Search<'_> {
    /// Finds what a path leads to; says whether it leads anywhere.
    fn resolve(&mut self, from: &ModulePath, path: &[&str], depth: usize) -> bool {
        let (mut at, mut rest) = (from.clone(), path);
        while let Some((first, after)) = rest.split_first() {
            match *first {
                "crate" => at.clear(),
                "super" => drop(at.pop()),
                "self" => {}
                _ => break,
            }
            rest = after;
        }
        self.walk(&at, rest, depth)
    }

    /// Follows a path from a module downward.
    fn walk(&mut self, at: &ModulePath, path: &[&str], depth: usize) -> bool {
        let (Some(module), Some(depth)) = (self.tree.modules.get(at), depth.checked_sub(1)) else {
            return false;
        };
        let Some((name, rest)) = path.split_first() else {
            self.found.insert(at.clone());
            return true;
        };
        let after = |import: &[String]| -> Vec<String> {
            import.iter().cloned().chain(rest.iter().map(|it| (*it).to_owned())).collect()
        };
        let mut leads = false;
        for meaning in module.names.get(*name).into_iter().flatten() {
            match meaning {
                Meaning::Item => drop(self.found.insert(at.clone())),
                Meaning::Child => {
                    let mut child = at.clone();
                    child.push((*name).to_owned());
                    if !self.walk(&child, rest, depth) {
                        // A macro has made what is named, perhaps; the module is named all the same.
                        self.found.insert(child);
                    }
                }
                Meaning::Import(import) => {
                    // The module that imports is named as well.
                    self.found.insert(at.clone());
                    self.resolve(at, &strings(&after(import)), depth);
                }
            }
            leads = true;
        }
        for glob in &module.globs {
            if !leads {
                let path: Vec<String> = glob.iter().cloned().chain([(*name).to_owned()]).collect();
                leads = self.resolve(at, &strings(&after(&path)), depth);
            }
        }
        leads
    }
}

fn strings(path: &[String]) -> Vec<&str> {
    path.iter().map(String::as_str).collect()
}
