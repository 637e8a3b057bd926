//! No circle of files: what a file needs of its crate does not need it in turn. Only the head of a folder
//! and the files in it may know each other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::paths::paths;
use crate::{code, root, sources};

/// A module's place in its crate: `[]` is the root.
type Module = Vec<String>;

/// Which modules each module names.
type Graph = BTreeMap<Module, BTreeSet<Module>>;

/// The folders of all crates but the small ones within those of others.
fn crates() -> Vec<PathBuf> {
    let folders = fs::read_dir(root()).expect("the repository can be read");
    folders
        .map(|folder| folder.expect("an entry").path())
        .filter(|folder| folder.join("Cargo.toml").exists() && folder.join("src").exists())
        .collect()
}

/// The module that a file is, by its place below `src`. Programs are roots as the library is.
fn module(file: &Path) -> Module {
    let mut names: Module = file
        .with_extension("")
        .iter()
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    match names.last().map(String::as_str) {
        Some("mod") => drop(names.pop()),
        Some("lib") if names.len() == 1 => names.clear(),
        _ => {}
    }
    names
}

/// Every module below `folder`, and its code.
fn modules(folder: &Path) -> BTreeMap<Module, String> {
    let modules = sources(folder).into_iter().map(|file| {
        let place = file.strip_prefix(folder).expect("it is below");
        (module(place), code(&file))
    });
    // Unit tests may have a file of their own.
    modules
        .filter(|(module, _)| module.last().is_none_or(|name| name != "tests"))
        .collect()
}

fn graph(modules: &BTreeMap<Module, String>) -> Graph {
    let edges = |from: &Module, code: &str| -> BTreeSet<Module> {
        let named = paths(code);
        let targets = named.iter().filter_map(|path| target(modules, from, path));
        // What a folder's files share stands in its head, which brings them together: that is one room.
        let is_own_head = |to: &Module| !to.is_empty() && from.starts_with(to);
        targets
            .filter(|to| to != from && !is_own_head(to))
            .collect()
    };
    modules
        .iter()
        .map(|(module, code)| (module.clone(), edges(module, code)))
        .collect()
}

/// The module that `path` leads to from the module `from`, if it is one of this crate.
fn target(all: &BTreeMap<Module, String>, from: &Module, path: &[String]) -> Option<Module> {
    let mut place = from.clone();
    let mut rest = path;
    match rest[0].as_str() {
        "crate" => {
            // A program beside a library is the root of its own modules.
            place = Vec::new();
            rest = &rest[1..];
        }
        "self" => rest = &rest[1..],
        "super" => {
            while rest.first().is_some_and(|name| name == "super") {
                place.pop();
                rest = &rest[1..];
            }
        }
        child => {
            let mut below = from.clone();
            below.push(child.to_owned());
            all.contains_key(&below).then_some(())?;
        }
    }
    for name in rest {
        let mut below = place.clone();
        below.push(name.clone());
        if !all.contains_key(&below) {
            break;
        }
        place = below;
    }
    all.contains_key(&place).then_some(place)
}

/// All modules that `from` leads to, by however many steps.
fn reachable(graph: &Graph, from: &Module) -> BTreeSet<Module> {
    let mut seen = BTreeSet::new();
    let mut next: Vec<&Module> = vec![from];
    while let Some(module) = next.pop() {
        for to in &graph[module] {
            if seen.insert(to.clone()) {
                next.push(to);
            }
        }
    }
    seen
}

/// The modules that lead to themselves; each with those of its circle.
fn circles(graph: &Graph) -> BTreeSet<Vec<String>> {
    let reached: BTreeMap<&Module, BTreeSet<Module>> = graph
        .keys()
        .map(|module| (module, reachable(graph, module)))
        .collect();
    let in_circles = reached.iter().filter(|(module, to)| to.contains(**module));
    in_circles
        .map(|(module, to)| {
            let circle = to.iter().filter(|other| reached[other].contains(*module));
            circle.map(|other| other.join("/")).collect()
        })
        .collect()
}

#[test]
fn there_is_no_circle_of_files() {
    let mut found = Vec::new();
    let crates = crates();
    assert!(crates.len() > 8, "{crates:?}");
    for folder in crates {
        let graph = graph(&modules(&folder.join("src")));
        for circle in circles(&graph) {
            found.push(format!("{}: {}", folder.display(), circle.join(" <-> ")));
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn a_circle_would_be_found() {
    let modules = [
        ("", "mod a; mod b; mod c;"),
        ("a", "use crate::b::B;"),
        ("b", "use crate::c;"),
        ("c", "fn f() { super::a::g() }"),
    ]
    .map(|(name, code)| {
        let names = name.split_terminator('/').map(str::to_owned);
        (names.collect(), code.to_owned())
    });
    let found = circles(&graph(&BTreeMap::from(modules)));
    assert_eq!(
        found,
        BTreeSet::from([["a", "b", "c"].map(str::to_owned).to_vec()])
    );
}
