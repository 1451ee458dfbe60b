//! Uses between modules, lifted to siblings, and the circles among them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// The path of a module: the names of its ancestors below the crate's root, and its own.
pub(super) type ModulePath = Vec<String>;

/// A module names something of another one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Edge {
    pub(super) from: ModulePath,
    pub(super) to: ModulePath,
    /// As it is written.
    pub(super) named: String,
    pub(super) file: PathBuf,
    pub(super) line: usize,
}

/// Siblings of which each uses the next, and the last the first. The smallest stands first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Circle {
    siblings: Vec<ModulePath>,
    /// The first use of the next one by each of them.
    uses: Vec<Edge>,
}

/// What siblings use of each other: by the user, then by the used, the first line in the sources.
type Uses = BTreeMap<ModulePath, BTreeMap<ModulePath, Edge>>;

/// The shortest circles: every use that is part of any circle is part of one of these.
pub(super) fn circles(edges: &[Edge]) -> Vec<Circle> {
    let mut uses = Uses::new();
    for edge in edges {
        if let Some((from, to)) = siblings(&edge.from, &edge.to) {
            let first = uses.entry(from).or_default().entry(to).or_insert_with(|| edge.clone());
            if (&edge.file, edge.line) < (&first.file, first.line) {
                *first = edge.clone();
            }
        }
    }
    let mut found = BTreeSet::new();
    for (from, used) in &uses {
        for to in used.keys() {
            if let Some(mut siblings) = way(&uses, to, from) {
                let smallest = (0..siblings.len()).min_by_key(|index| &siblings[*index]);
                siblings.rotate_left(smallest.unwrap_or(0));
                let next = siblings.iter().cycle().skip(1);
                let uses = siblings.iter().zip(next).map(|(one, next)| uses[one][next].clone());
                found.insert(Circle { uses: uses.collect(), siblings });
            }
        }
    }
    found.into_iter().collect()
}

/// The two children of the lowest common ancestor; `None` if one module is the other's ancestor, or is the other.
fn siblings(from: &ModulePath, to: &ModulePath) -> Option<(ModulePath, ModulePath)> {
    let common = from.iter().zip(to).take_while(|(one, other)| one == other).count();
    let of = |path: &ModulePath| path.get(..=common).map(<[String]>::to_vec);
    Some((of(from)?, of(to)?))
}

/// The shortest way from one module to another, both included.
fn way(uses: &Uses, from: &ModulePath, to: &ModulePath) -> Option<Vec<ModulePath>> {
    let mut came_from: BTreeMap<&ModulePath, &ModulePath> = BTreeMap::new();
    let mut queue = VecDeque::from([from]);
    while let Some(at) = queue.pop_front() {
        if at == to {
            let mut way = vec![at.clone()];
            let mut at = at;
            while at != from {
                at = came_from[at];
                way.push(at.clone());
            }
            way.reverse();
            return Some(way);
        }
        for next in uses.get(at).into_iter().flat_map(BTreeMap::keys) {
            if next != from && !came_from.contains_key(next) {
                came_from.insert(next, at);
                queue.push_back(next);
            }
        }
    }
    None
}

impl Circle {
    /// Lines to be read: the modules, and a place in the sources for each use. Files are named below `root`.
    pub(super) fn describe(&self, package: &str, root: &Path) -> String {
        let names: Vec<String> = self.siblings.iter().map(|path| path.join("::")).collect();
        let all = names.join(", ");
        let mut text = format!("{package}: the modules {all} know each other in a circle");
        let next = names.iter().cycle().skip(1);
        for ((user, used), edge) in names.iter().zip(next).zip(&self.uses) {
            let file = edge.file.strip_prefix(root).unwrap_or(&edge.file);
            let (file, line, named) = (file.display(), edge.line, &edge.named);
            let _ = write!(text, "\n    {user} uses {used}: {named} ({file}:{line})");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> ModulePath {
        text.split("::").map(str::to_owned).collect()
    }

    fn edges(of: &[(&str, &str)]) -> Vec<Edge> {
        let edge = |(from, to): &(&str, &str)| Edge {
            from: path(from),
            to: path(to),
            named: String::new(),
            file: PathBuf::new(),
            line: 1,
        };
        of.iter().map(edge).collect()
    }

    #[test]
    fn a_use_is_lifted_to_the_siblings_beneath_which_it_happens() {
        let lifted = siblings(&path("a::x::p"), &path("a::y::q::r"));
        assert_eq!(lifted, Some((path("a::x"), path("a::y"))));
        assert_eq!(siblings(&path("a"), &path("a::x")), None);
        assert_eq!(siblings(&path("a::x"), &path("a")), None);
        assert_eq!(siblings(&path("a"), &path("a")), None);
    }

    #[test]
    fn every_use_in_a_circle_is_in_one_that_is_told() {
        let found = circles(&edges(&[("a", "b"), ("b", "a"), ("b", "c"), ("c", "a"), ("c", "d")]));
        let siblings: Vec<_> = found.iter().map(|circle| circle.siblings.concat()).collect();
        assert_eq!(siblings, [vec!["a", "b"], vec!["a", "b", "c"]]);
    }

    #[test]
    fn a_line_of_uses_is_no_circle() {
        assert!(circles(&edges(&[("a", "b"), ("b", "c"), ("a", "c")])).is_empty());
    }
}
