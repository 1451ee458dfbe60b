//! The check for circles: modules of a crate that know each other.
//!
//! A module and its own children may know each other: a parent uses its children, and children use what their
//! ancestors hold for all of them. Any other circle is refused. Each use is therefore lifted to the two siblings
//! beneath which it happens: what `lane::commands` takes from `steward::batch` is a use of `steward` by `lane`. What is
//! taken through a re-export counts as a use of both the module that re-exports it and the module that defines it.

mod graph;
mod names;
mod source;
mod uses;

use anyhow::Result;
use cargo_metadata::{Package, TargetKind};
use graph::{Circle, Edge};
use source::Tree;
use std::path::Path;

/// What is wrong with the modules of a package, in lines to be read.
pub(crate) fn of_package(package: &Package, root: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for target in &package.targets {
        let is_ours = |kind: &TargetKind| matches!(kind, TargetKind::Lib | TargetKind::Bin);
        if target.kind.iter().any(is_ours) {
            let circles = of_target(target.src_path.as_std_path())?;
            found.extend(circles.iter().map(|circle| circle.describe(&package.name, root)));
        }
    }
    Ok(found)
}

/// The circles among the modules of a library or a binary.
fn of_target(file: &Path) -> Result<Vec<Circle>> {
    let tree = Tree::read(file)?;
    let mut edges = Vec::new();
    for (path, module) in &tree.modules {
        for mention in &module.mentions {
            for to in names::modules_of(&tree, path, &mention.path) {
                edges.push(Edge {
                    from: path.clone(),
                    to,
                    named: mention.path.join("::"),
                    file: module.file.clone(),
                    line: mention.line,
                });
            }
        }
    }
    Ok(graph::circles(&edges))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The circles of a crate of these files, described.
    fn check(files: &[(&str, &str)]) -> Vec<String> {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            std::fs::write(path, text).expect("a file");
        }
        let circles = of_target(&folder.path().join("lib.rs")).expect("a crate");
        circles.iter().map(|circle| circle.describe("c", folder.path())).collect()
    }

    #[test]
    fn two_siblings_that_use_each_other_are_a_circle() {
        let found = check(&[
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "use crate::b::B;\npub struct A(B);"),
            ("b.rs", "pub struct B;\nfn f() {\n    super::a::new();\n}"),
        ]);
        let expected = "c: the modules a, b know each other in a circle\n    \
                        a uses b: crate::b::B (a.rs:1)\n    b uses a: super::a::new (b.rs:3)";
        assert_eq!(found, [expected]);
    }

    #[test]
    fn a_module_and_its_own_children_may_know_each_other() {
        let found = check(&[
            ("lib.rs", "mod a; pub use a::A; pub struct Root;"),
            ("a.rs", "mod b;\nuse crate::Root;\npub struct A(b::B, Root);"),
            ("a/b.rs", "use super::A;\npub struct B(Option<Box<A>>, Option<crate::Root>);"),
        ]);
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn a_circle_through_two_folders_is_found_between_the_folders() {
        let found = check(&[
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "mod x; mod y;"),
            ("a/x.rs", "use crate::b::z::Z;"),
            ("a/y.rs", "pub struct Y;"),
            ("b.rs", "pub mod z;"),
            ("b/z.rs", "pub struct Z;\npub fn f(_: crate::a::y::Y) {}"),
        ]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("a/x.rs:1") && found[0].contains("b/z.rs:2"), "{found:?}");
    }

    #[test]
    fn a_re_export_leads_to_the_module_that_defines() {
        let found = check(&[
            ("lib.rs", "mod a; mod b; pub use a::A; pub use b::*;"),
            ("a.rs", "use crate::{B, Other};\npub struct A;"),
            ("b.rs", "pub struct B;\nuse super::A;"),
        ]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("crate::B (a.rs:1)"), "{found:?}");
    }

    #[test]
    fn names_that_a_child_takes_from_its_parents_imports_count() {
        let found = check(&[
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "use crate::b::B;\nmod x { use super::*; fn f() -> B { B } }"),
            ("b.rs", "pub struct B;\nfn f() { crate::a::f() }"),
        ]);
        assert_eq!(found.len(), 1, "{found:?}");
    }

    #[test]
    fn paths_within_macros_count() {
        let found = check(&[
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "pub const X: u8 = 1; fn f() { println!(\"{}\", crate::b::Y); }"),
            ("b.rs", "pub const Y: u8 = 1; fn f() { assert!(super::a::X == 1); }"),
        ]);
        assert_eq!(found.len(), 1, "{found:?}");
    }

    #[test]
    fn tests_do_not_count() {
        let found = check(&[
            ("lib.rs", "mod a; mod b; #[cfg(test)] mod tests;"),
            ("a.rs", "pub struct A;\n#[cfg(test)]\nmod tests { use crate::b::B; }"),
            ("b.rs", "use crate::a::A;\npub struct B(A);"),
        ]);
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn other_crates_and_local_names_are_no_modules() {
        let found = check(&[
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "use bytes::b;\nuse ::b::x;\nfn f(b: u8) -> u8 { b }"),
            ("b.rs", "use crate::a;\nfn f() { a::f() }"),
        ]);
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn a_circle_of_three_is_told_once() {
        let found = check(&[
            ("lib.rs", "mod a; mod b; mod c;"),
            ("a.rs", "use crate::b;"),
            ("b.rs", "use crate::c;"),
            ("c.rs", "use crate::a;"),
        ]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("c: the modules a, b, c know"), "{found:?}");
    }
}
