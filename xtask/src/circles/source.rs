//! The modules of a library or binary, as its files declare them.

use super::graph::ModulePath;
use super::uses::{Mention, Uses, attributes, is_test};
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use syn::{Item, ItemMod};

/// All modules of a library or binary. The crate's root has the empty path.
#[derive(Debug, Default)]
pub(super) struct Tree {
    pub(super) modules: BTreeMap<ModulePath, Module>,
}

/// A module: what its names mean, and what it names.
#[derive(Debug)]
pub(super) struct Module {
    pub(super) file: PathBuf,
    /// A name may be a module, a function and a macro at once.
    pub(super) names: BTreeMap<String, Vec<Meaning>>,
    /// The modules of which it imports everything.
    pub(super) globs: Vec<Vec<String>>,
    pub(super) mentions: Vec<Mention>,
}

/// What a name means in a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Something that is defined here.
    Item,
    /// A module of its own.
    Child,
    /// It is imported under this path.
    Import(Vec<String>),
}

impl Tree {
    /// Reads a library or binary from its root file.
    pub(super) fn read(file: &Path) -> Result<Self> {
        let mut tree = Self::default();
        let folder = file.parent().context("a root file without a folder")?;
        tree.read_file(file, folder, ModulePath::new())?;
        Ok(tree)
    }

    /// `folder` is where the files of its children are.
    fn read_file(&mut self, file: &Path, folder: &Path, path: ModulePath) -> Result<()> {
        let text = std::fs::read_to_string(file).with_context(|| format!("{}", file.display()))?;
        let parsed = syn::parse_file(&text).with_context(|| format!("{}", file.display()))?;
        self.add(file, folder, path, &parsed.items)
    }

    fn add(&mut self, file: &Path, folder: &Path, path: ModulePath, items: &[Item]) -> Result<()> {
        let mut names: BTreeMap<String, Vec<Meaning>> = BTreeMap::new();
        let mut uses = Uses::default();
        for item in items.iter().filter(|item| !is_test(attributes(item))) {
            if let Some((name, meaning)) = defined(item) {
                names.entry(name).or_default().push(meaning);
            }
            let Item::Mod(child) = item else {
                uses.add(item);
                continue;
            };
            let name = child.ident.to_string();
            let mut below = path.clone();
            below.push(name.clone());
            match &child.content {
                Some((_, items)) => self.add(file, &folder.join(&name), below, items)?,
                None => {
                    let (file, folder) = file_of(child, folder)?;
                    self.read_file(&file, &folder, below)?;
                }
            }
        }
        let Uses { imports, globs, mentions } = uses;
        for (name, path) in imports {
            names.entry(name).or_default().push(Meaning::Import(path));
        }
        self.modules.insert(path, Module { file: file.to_owned(), names, globs, mentions });
        Ok(())
    }
}

/// The file of a module, and the folder of its children.
fn file_of(child: &ItemMod, folder: &Path) -> Result<(PathBuf, PathBuf)> {
    let name = child.ident.to_string();
    let (flat, nested) = (folder.join(format!("{name}.rs")), folder.join(&name).join("mod.rs"));
    for file in [flat, nested] {
        if file.exists() {
            return Ok((file, folder.join(&name)));
        }
    }
    bail!("the module {name} has no file in {}", folder.display())
}

/// The name that an item brings into its module.
fn defined(item: &Item) -> Option<(String, Meaning)> {
    let ident = match item {
        Item::Mod(it) => return Some((it.ident.to_string(), Meaning::Child)),
        Item::Const(it) => &it.ident,
        Item::Enum(it) => &it.ident,
        Item::Fn(it) => &it.sig.ident,
        Item::Macro(it) => it.ident.as_ref()?,
        Item::Static(it) => &it.ident,
        Item::Struct(it) => &it.ident,
        Item::Trait(it) => &it.ident,
        Item::Type(it) => &it.ident,
        Item::Union(it) => &it.ident,
        _ => return None,
    };
    Some((ident.to_string(), Meaning::Item))
}
