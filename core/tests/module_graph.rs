//! The order of the modules: no file of the crate imports, directly or through others, a file that imports it.
//!
//! The graph is read from the sources. A file imports a module when it declares that module, or names it in a path
//! that begins with `crate`, `super` or `self`. What is compiled only for unit tests does not count.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};
use syn::{Attribute, ImplItem, Item, ItemMod, UseTree};

/// The modules that each module imports, by their paths. The root of the crate is `crate`.
type Graph = BTreeMap<String, BTreeSet<String>>;

const ROOT: &str = "crate";

#[test]
fn no_module_imports_a_module_that_imports_it() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let graph = graph(&|file| fs::read_to_string(source.join(file)).ok());
    for module in ["node", "state_dir", "log", "fork::generation"] {
        assert!(graph.contains_key(module), "{module} is missing from {:?}", graph.keys());
    }
    if let Some(circle) = circle(&graph) {
        panic!("these modules import one another: {}", circle.join(" → "));
    }
}

/// Rust says nothing about a file that no `mod` names, so the tests in it would be lost.
#[test]
fn every_file_is_a_module() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let modules = RefCell::new(BTreeSet::new());
    graph(&|file| {
        modules.borrow_mut().insert(source.join(file));
        fs::read_to_string(source.join(file)).ok()
    });
    for file in source_files(&source) {
        let parent = file.parent().expect("below src").with_extension("rs");
        let is_test = file.ends_with("tests.rs")
            && fs::read_to_string(parent).is_ok_and(|parent| parent.contains("#[cfg(test)]\nmod tests;"));
        assert!(is_test || modules.borrow().contains(&file), "no module declares {}", file.display());
    }
}

fn source_files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("readable").path());
    entries.flat_map(|path| if path.is_dir() { source_files(&path) } else { vec![path] }).collect()
}

#[test]
fn the_graph_has_every_kind_of_import() {
    let graph = graph_of(&[
        ("lib.rs", "mod a; mod b; pub use a::Thing; mod inline { mod deep; }"),
        (
            "a.rs",
            "mod child; use crate::b::{self, Type as Other}; fn f() { log!(x, crate::inline::deep::y) }",
        ),
        ("a/child.rs", "fn f() -> super::super::b::Type { match x { self::X => crate::b::g() } }"),
        ("b.rs", "#[cfg_attr(windows, path = \"b/windows.rs\")] mod system;"),
        ("b/system.rs", "/// [`crate::a::Thing`]\n pub(super) fn f() {} pub(in crate::a) fn g() {}"),
        ("b/windows.rs", "use crate::inline::deep;"),
        ("inline/deep.rs", "struct S { field: Vec<super::super::b::Type> }"),
    ]);
    let expected = [
        (ROOT, &["a", "b", "inline::deep"][..]),
        ("a", &["a::child", "b", "inline::deep"]),
        ("a::child", &["b"]),
        ("b", &["b::system"]),
        ("b::system", &["inline::deep"]),
        ("inline::deep", &["b"]),
    ];
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    let expected: Graph = expected.iter().map(|(module, to)| ((*module).to_owned(), names(to))).collect();
    assert_eq!(graph, expected);
    assert_eq!(circle(&graph), Some(["b", "b::system", "inline::deep", "b"].map(String::from).to_vec()));
}

#[test]
fn a_circle_is_found_around_corners() {
    let graph = graph_of(&[
        ("lib.rs", "mod a; mod b; mod c;"),
        ("a.rs", "use crate::b::f;"),
        ("b.rs", "pub fn f() { crate::c::g() }"),
        ("c.rs", "pub fn g() -> super::a::Thing {}"),
    ]);
    assert_eq!(circle(&graph), Some(["a", "b", "c", "a"].map(String::from).to_vec()));
}

#[test]
fn a_child_must_not_import_its_parent() {
    for import in ["use super::Thing;", "use super::*;", "fn f() { crate::parent::g() }"] {
        let graph = graph_of(&[
            ("lib.rs", "mod parent;"),
            ("parent.rs", "mod child; mod sibling;"),
            ("parent/child.rs", import),
            ("parent/sibling.rs", "use super::child::Thing;"),
        ]);
        let expected = ["parent", "parent::child", "parent"].map(String::from).to_vec();
        assert_eq!(circle(&graph), Some(expected), "{import}");
    }
}

#[test]
fn nothing_may_import_the_root() {
    let graph =
        graph_of(&[("lib.rs", "mod a; pub const VERSION: u32 = 1;"), ("a.rs", "use crate::VERSION;")]);
    assert_eq!(circle(&graph), Some(["a", ROOT, "a"].map(String::from).to_vec()));
}

#[test]
fn unit_tests_do_not_count() {
    let graph = graph_of(&[
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "use crate::b::f; #[cfg(test)] mod tests;"),
        ("a/tests.rs", "use super::*;"),
        (
            "b.rs",
            "#[cfg(test)] use crate::a::x; #[cfg(test)] mod tests { use crate::a::y; } \
             impl S { #[cfg(test)] fn f() { crate::a::z() } }",
        ),
    ]);
    assert_eq!(circle(&graph), None);
    assert!(graph["b"].is_empty());
}

fn graph_of(files: &[(&str, &str)]) -> Graph {
    graph(&|file| {
        let found = files.iter().find(|(name, _)| Path::new(name) == file);
        found.map(|(_, source)| (*source).to_owned())
    })
}

/// Reads the graph of the crate whose sources `read` returns, by their paths below `src`.
fn graph(read: &dyn Fn(&Path) -> Option<String>) -> Graph {
    let mut files = Vec::new();
    collect_files(read, Path::new("lib.rs"), &[], &mut files);
    let modules: BTreeSet<_> = files.iter().map(|file| file.module.clone()).collect();
    let mut graph = Graph::new();
    for file in files {
        let name = |module: &[String]| {
            if module.is_empty() { ROOT.to_owned() } else { module.join("::") }
        };
        let imports = file.imports.iter().map(|path| {
            // The longest beginning that is a module: the rest are the names in it.
            let longest = (0..=path.len()).rev().find(|&length| modules.contains(&path[..length]));
            name(&path[..longest.expect("the root is a module")])
        });
        let importer = name(&file.module);
        let imports: BTreeSet<_> = imports.filter(|import| *import != importer).collect();
        graph.entry(importer).or_default().extend(imports);
    }
    graph
}

struct SourceFile {
    module: Vec<String>,
    /// The paths that it names, from the root.
    imports: BTreeSet<Vec<String>>,
}

fn collect_files(
    read: &dyn Fn(&Path) -> Option<String>,
    file: &Path,
    module: &[String],
    files: &mut Vec<SourceFile>,
) {
    let source = read(file).unwrap_or_else(|| panic!("{} cannot be read", file.display()));
    let syntax = syn::parse_file(&source).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let mut imports = Imports { scope: module.to_vec(), paths: BTreeSet::new(), children: Vec::new() };
    imports.visit_file(&syntax);
    files.push(SourceFile { module: module.to_vec(), imports: imports.paths });
    for child in imports.children {
        // `#[path]` is relative to this file, and the default is below its own directory.
        let default: PathBuf = child.module.iter().collect();
        let named = child.paths.iter().map(|path| file.with_file_name(path));
        let candidates = named.chain([default.with_extension("rs"), default.join("mod.rs")]);
        let found: BTreeSet<_> = candidates.filter(|candidate| read(candidate).is_some()).collect();
        assert!(!found.is_empty(), "{} declares {:?}, which has no file", file.display(), child.module);
        for file in found {
            collect_files(read, &file, &child.module, files);
        }
    }
}

/// A `mod child;`.
struct Child {
    module: Vec<String>,
    /// The values of its `#[path]` and `#[cfg_attr(…, path)]`.
    paths: Vec<String>,
}

struct Imports {
    /// The module in which the visitor is.
    scope: Vec<String>,
    paths: BTreeSet<Vec<String>>,
    children: Vec<Child>,
}

impl Imports {
    /// Notes a path if it begins with `crate`, `super` or `self`.
    fn add(&mut self, segments: &[String]) {
        let mut segments = segments.iter().peekable();
        let mut path = match segments.peek().map(|first| first.as_str()) {
            Some("crate") => Vec::new(),
            Some("super" | "self") => self.scope.clone(),
            _ => return,
        };
        for segment in segments {
            match segment.as_str() {
                "crate" | "self" => {}
                "super" => drop(path.pop()),
                name => path.push(name.to_owned()),
            }
        }
        self.paths.insert(path);
    }

    fn add_tree(&mut self, tree: &UseTree, prefix: &[String]) {
        let with = |name: &syn::Ident| [prefix, &[name.to_string()]].concat();
        match tree {
            UseTree::Path(path) => self.add_tree(&path.tree, &with(&path.ident)),
            UseTree::Name(name) => self.add(&with(&name.ident)),
            UseTree::Rename(rename) => self.add(&with(&rename.ident)),
            UseTree::Glob(_) => self.add(prefix),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.add_tree(tree, prefix)),
        }
    }
}

impl<'ast> Visit<'ast> for Imports {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_for_tests(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        let attributes: &[Attribute] = match item {
            ImplItem::Fn(function) => &function.attrs,
            ImplItem::Const(constant) => &constant.attrs,
            _ => &[],
        };
        if !is_for_tests(attributes) {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        self.scope.push(item.ident.to_string());
        if item.content.is_some() {
            visit::visit_item_mod(self, item);
        } else {
            self.paths.insert(self.scope.clone());
            self.children.push(Child { module: self.scope.clone(), paths: paths(&item.attrs) });
        }
        self.scope.pop();
    }

    fn visit_use_tree(&mut self, tree: &'ast UseTree) {
        self.add_tree(tree, &[]);
    }

    /// The path in `pub(crate)` or `pub(super)` is no import.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.add(&segments);
        visit::visit_path(self, path);
    }

    /// What is between the brackets of a macro need not be Rust, but its paths are.
    fn visit_macro(&mut self, called: &'ast syn::Macro) {
        visit::visit_macro(self, called);
        let tokens = called.tokens.to_string().replace("::", " :: ");
        let words: Vec<_> = tokens.split_whitespace().collect();
        let mut rest = words.as_slice();
        while let [first, following @ ..] = rest {
            let names = following.chunks_exact(2).take_while(|pair| pair[0] == "::").map(|pair| pair[1]);
            let segments: Vec<_> = [*first].into_iter().chain(names).map(String::from).collect();
            self.add(&segments);
            rest = &following[2 * (segments.len() - 1)..];
        }
    }
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test"))
    })
}

/// The file names in `path = "…"`.
fn paths(attributes: &[Attribute]) -> Vec<String> {
    let relevant = attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("path") || attribute.path().is_ident("cfg_attr"));
    let texts = relevant.filter_map(|attribute| match &attribute.meta {
        syn::Meta::List(list) => Some(list.tokens.to_string()),
        syn::Meta::NameValue(pair) => match &pair.value {
            syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) => {
                Some(format!("{:?}", text.value()))
            }
            _ => None,
        },
        syn::Meta::Path(_) => None,
    });
    texts
        .flat_map(|text| text.split('"').map(String::from).collect::<Vec<_>>())
        .filter(|part| part.ends_with(".rs"))
        .collect()
}

/// A shortest circle, from its first module in the alphabet back to it.
fn circle(graph: &Graph) -> Option<Vec<String>> {
    let circles = graph.keys().filter_map(|start| way_back(graph, start));
    circles.min_by_key(|circle| (circle.len(), circle.clone()))
}

fn way_back(graph: &Graph, start: &str) -> Option<Vec<String>> {
    let mut seen = BTreeSet::new();
    let mut ways = vec![vec![start.to_owned()]];
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            let last = way.last().expect("a way has a beginning");
            for next in graph.get(last).into_iter().flatten() {
                let way = [&way[..], std::slice::from_ref(next)].concat();
                if next == start {
                    return Some(way);
                }
                if seen.insert(next.clone()) {
                    longer.push(way);
                }
            }
        }
        ways = longer;
    }
    None
}
