//! What a module names: imports, and paths in code and in macros.

use proc_macro2::{Ident, TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, ImplItem, Item, ItemUse, Macro, Meta, UseTree};

/// A path, as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mention {
    pub(super) path: Vec<String>,
    pub(super) line: usize,
}

/// What the items of a module import and name.
#[derive(Debug, Default)]
pub(super) struct Uses {
    /// A name, and the path that it stands for.
    pub(super) imports: Vec<(String, Vec<String>)>,
    /// The modules of which everything is imported.
    pub(super) globs: Vec<Vec<String>>,
    pub(super) mentions: Vec<Mention>,
}

impl Uses {
    /// Adds those of an item.
    pub(super) fn add(&mut self, item: &Item) {
        self.visit_item(item);
    }
}

impl<'ast> Visit<'ast> for Uses {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_test(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        let is_test = match item {
            ImplItem::Const(it) => is_test(&it.attrs),
            ImplItem::Fn(it) => is_test(&it.attrs),
            _ => false,
        };
        if !is_test {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        // A path that begins with `::` is of another crate.
        if item.leading_colon.is_none() {
            self.import(&mut Vec::new(), &item.tree);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.leading_colon.is_none() {
            let line = path.segments.first().map_or(0, |it| it.ident.span().start().line);
            let path_names = path.segments.iter().map(|it| it.ident.to_string()).collect();
            self.mention(path_names, line);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, of: &'ast Macro) {
        visit::visit_macro(self, of);
        self.tokens(of.tokens.clone());
    }

    /// Attributes name macros and derives of other crates.
    fn visit_attribute(&mut self, _: &'ast Attribute) {}
}

impl Uses {
    fn mention(&mut self, path: Vec<String>, line: usize) {
        self.mentions.push(Mention { path, line });
    }

    /// `above` are the names that lead to this part of the import.
    fn import(&mut self, above: &mut Vec<String>, tree: &UseTree) {
        match tree {
            UseTree::Path(it) => {
                above.push(it.ident.to_string());
                self.import(above, &it.tree);
                above.pop();
            }
            UseTree::Group(it) => it.items.iter().for_each(|tree| self.import(above, tree)),
            UseTree::Name(it) if it.ident == "self" => {
                let name = above.last().cloned().unwrap_or_default();
                self.bring(above.clone(), name, &it.ident);
            }
            UseTree::Name(it) => {
                let name = it.ident.to_string();
                self.bring(joined(above, &name), name, &it.ident);
            }
            UseTree::Rename(it) => {
                let (ident, name) = (it.ident.to_string(), it.rename.to_string());
                let path = if ident == "self" { above.clone() } else { joined(above, &ident) };
                self.bring(path, name, &it.ident);
            }
            UseTree::Glob(it) => {
                self.mention(above.clone(), it.star_token.spans[0].start().line);
                self.globs.push(above.clone());
            }
        }
    }

    fn bring(&mut self, path: Vec<String>, name: String, at: &Ident) {
        self.mention(path.clone(), at.span().start().line);
        self.imports.push((name, path));
    }

    /// Paths among the tokens of a macro, which nobody but the macro can parse.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut line = 0;
        // The punctuation since the last name.
        let mut between = String::new();
        for token in tokens {
            match token {
                TokenTree::Ident(ident) if between == "::" && !path.is_empty() => {
                    path.push(ident.to_string());
                    between.clear();
                }
                TokenTree::Ident(ident) => {
                    self.end(&mut path, line);
                    // What follows a dot is a field or a method; what follows `::` is of another crate.
                    if !between.ends_with('.') && between != "::" {
                        line = ident.span().start().line;
                        path.push(ident.to_string());
                    }
                    between.clear();
                }
                TokenTree::Punct(punct) => between.push(punct.as_char()),
                TokenTree::Group(group) => {
                    self.end(&mut path, line);
                    between.clear();
                    self.tokens(group.stream());
                }
                TokenTree::Literal(_) => {
                    self.end(&mut path, line);
                    between.clear();
                }
            }
        }
        self.end(&mut path, line);
    }

    fn end(&mut self, path: &mut Vec<String>, line: usize) {
        if !path.is_empty() {
            self.mention(std::mem::take(path), line);
        }
    }
}

fn joined(above: &[String], name: &str) -> Vec<String> {
    above.iter().cloned().chain([name.to_owned()]).collect()
}

pub(super) fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(it) => &it.attrs,
        Item::Enum(it) => &it.attrs,
        Item::Fn(it) => &it.attrs,
        Item::Impl(it) => &it.attrs,
        Item::Macro(it) => &it.attrs,
        Item::Mod(it) => &it.attrs,
        Item::Static(it) => &it.attrs,
        Item::Struct(it) => &it.attrs,
        Item::Trait(it) => &it.attrs,
        Item::Type(it) => &it.attrs,
        Item::Union(it) => &it.attrs,
        Item::Use(it) => &it.attrs,
        _ => &[],
    }
}

/// Whether something exists in tests alone.
pub(super) fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::List(list) if list.path.is_ident("cfg") => {
            let condition = list.tokens.to_string();
            condition == "test" || condition.replace(' ', "").starts_with("all(test,")
        }
        _ => false,
    })
}
