//! Imports point in one direction: a folder of `src/` imports only from those that `src/lib.rs` lists
//! before it, and files have no import cycles.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// The top-level modules: each may import from those before it.
const ORDER: [&str; 15] = [
    "sys", "bpf", "record", "names", "capture", "pipeline", "config", "page", "metrics", "http",
    "cli", "daemon", "trace", "doctor", "main",
];

/// A file of `src/` as a module path: `["capture", "buffer", "perf"]`.
type Module = Vec<String>;

/// A file, and the other modules that it uses outside of its tests.
struct File {
    module: Module,
    uses: BTreeSet<Module>,
}

/// Reads all files below `src`, except unit tests.
fn files(src: &Path) -> Vec<File> {
    let mut paths = Vec::new();
    collect(src, &mut paths);
    let modules: BTreeSet<Module> = paths.iter().map(|path| module(src, path)).collect();
    let file = |path: &String| {
        let module = module(src, path);
        let text = fs::read_to_string(path).unwrap();
        let tokens: Vec<_> = text.parse::<TokenStream>().unwrap().into_iter().collect();
        let mut found = Vec::new();
        find_paths(&tokens, &mut found);
        let uses = found
            .into_iter()
            .filter_map(|path| resolve(&module, path, &modules));
        let uses = uses.filter(|used| *used != module).collect();
        File { module, uses }
    };
    paths.iter().map(file).collect()
}

fn collect(folder: &Path, paths: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let is_test = path.file_stem().is_some_and(|name| name == "tests");
        if path.is_dir() {
            collect(&path, paths);
        } else if path.extension().is_some_and(|end| end == "rs") && !is_test {
            paths.push(path.to_str().unwrap().to_owned());
        }
    }
}

fn module(src: &Path, path: &str) -> Module {
    let path = Path::new(path)
        .strip_prefix(src)
        .unwrap()
        .with_extension("");
    let mut module: Module = path
        .iter()
        .map(|part| part.to_str().unwrap().to_owned())
        .collect();
    if module.last().is_some_and(|last| last == "mod") {
        module.pop();
    }
    if module == ["lib"] {
        Vec::new()
    } else {
        module
    }
}

/// Adds all paths of two segments or more to `found`, including each branch of a `use` tree.
/// Arguments of macros are searched like other code.
fn find_paths(tokens: &[TokenTree], found: &mut Vec<Vec<String>>) {
    let mut i = 0;
    while i < tokens.len() {
        if is_test_attribute(&tokens[i..]) {
            i += 2;
            // The item that follows ends with its body or with a semicolon.
            while let Some(token) = tokens.get(i) {
                i += 1;
                if is_punct(token, ';') || is_group(token, Delimiter::Brace) {
                    break;
                }
            }
        } else if is_visibility(&tokens[i..]) {
            i += 2; // `pub(in crate::module)` is not an import
        } else if let TokenTree::Ident(_) = &tokens[i] {
            i += find_path(&tokens[i..], &[], found);
        } else {
            if let TokenTree::Group(group) = &tokens[i] {
                let inner: Vec<_> = group.stream().into_iter().collect();
                find_paths(&inner, found);
            }
            i += 1;
        }
    }
}

/// Reads one path that continues `start`, and adds it to `found`. Returns the number of tokens read.
fn find_path(tokens: &[TokenTree], start: &[String], found: &mut Vec<Vec<String>>) -> usize {
    let mut path = start.to_vec();
    let mut i = 0;
    while let Some(TokenTree::Ident(name)) = tokens.get(i) {
        path.push(name.to_string());
        i += 1;
        let is_separated = |i: usize| tokens.get(i).is_some_and(|token| is_punct(token, ':'));
        if !(is_separated(i) && is_separated(i + 1)) {
            break;
        }
        i += 2;
        if let Some(TokenTree::Group(group)) = tokens.get(i) {
            let inner: Vec<_> = group.stream().into_iter().collect();
            for branch in inner.split(|token| is_punct(token, ',')) {
                find_path(branch, &path, found);
            }
            return i + 1;
        }
    }
    if path.len() > 1 {
        found.push(path);
    }
    i.max(1)
}

fn is_punct(token: &TokenTree, c: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == c)
}

fn is_group(token: &TokenTree, delimiter: Delimiter) -> bool {
    matches!(token, TokenTree::Group(group) if group.delimiter() == delimiter)
}

fn is_test_attribute(tokens: &[TokenTree]) -> bool {
    matches!(tokens, [hash, TokenTree::Group(group), ..]
        if is_punct(hash, '#') && group.stream().to_string().replace(' ', "") == "cfg(test)")
}

fn is_visibility(tokens: &[TokenTree]) -> bool {
    matches!(tokens, [TokenTree::Ident(name), group, ..]
        if name == "pub" && is_group(group, Delimiter::Parenthesis))
}

/// Returns the file in `src/` that a path in `module` refers to, if there is one.
fn resolve(module: &Module, path: Vec<String>, modules: &BTreeSet<Module>) -> Option<Module> {
    let mut absolute = match path[0].as_str() {
        "crate" | "execsnoopd" => Vec::new(),
        "self" | "super" => module.clone(),
        // A child module, as in `mod child;` and `child::function()`.
        child => {
            let mut path = module.clone();
            path.push(child.to_owned());
            if !modules.contains(&path) {
                return None;
            }
            module.clone()
        }
    };
    for segment in path {
        match segment.as_str() {
            "crate" | "execsnoopd" | "self" => {}
            "super" => {
                absolute.pop();
            }
            _ => absolute.push(segment),
        }
    }
    while !modules.contains(&absolute) {
        absolute.pop()?;
    }
    Some(absolute)
}

/// Returns the files that a file uses, directly or through others. They include the file itself if it
/// is part of an import cycle.
fn reachable<'a>(
    file: &Module,
    uses: &BTreeMap<&'a Module, &'a BTreeSet<Module>>,
) -> BTreeSet<&'a Module> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<&Module> = uses[file].iter().collect();
    while let Some(file) = next.pop() {
        if reached.insert(file) {
            next.extend(uses[file]);
        }
    }
    reached
}

/// Returns every import against the order of the folders, and every import cycle.
fn violations(src: &Path) -> Vec<String> {
    let files = files(src);
    let mut violations = Vec::new();
    let position = |module: &Module| {
        ORDER
            .iter()
            .position(|name| Some(*name) == module.first().map(String::as_str))
    };
    let uses: BTreeMap<_, _> = files
        .iter()
        .map(|file| (&file.module, &file.uses))
        .collect();
    let reached: BTreeMap<_, _> = uses
        .keys()
        .map(|file| (*file, reachable(file, &uses)))
        .collect();
    for file in &files {
        for used in &file.uses {
            if let (Some(from), Some(to)) = (position(&file.module), position(used))
                && from < to
            {
                violations.push(format!("{} uses {}", file.module.join("/"), used.join("/")));
            }
        }
        if !file.module.is_empty() && position(&file.module).is_none() {
            violations.push(format!("{} is not in the order", file.module.join("/")));
        }
    }
    let cycles: BTreeSet<BTreeSet<String>> = reached
        .iter()
        .filter(|(file, others)| others.contains(**file))
        .map(|(file, others)| {
            let cycle = others
                .iter()
                .filter(|other| reached[*other].contains(*file));
            cycle.map(|module| module.join("/")).collect()
        })
        .collect();
    violations.extend(cycles.iter().map(|cycle| format!("cycle: {cycle:?}")));
    violations
}

fn src() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))
}

#[test]
fn imports_follow_the_order_of_the_folders_and_have_no_cycles() {
    let violations = violations(src());
    assert!(violations.is_empty(), "{violations:#?}");
}

#[test]
fn an_import_against_the_order_and_a_cycle_of_files_are_found() {
    let files = [
        ("lib.rs", "mod record;\nmod http;"),
        (
            "record/mod.rs",
            "use crate::{http::routes::{self, App}, record::ledger};",
        ),
        ("record/ledger.rs", "fn f() { html! { (super::seen()) } }"),
        ("http/mod.rs", "mod routes;"),
        (
            "http/routes.rs",
            "#[cfg(test)]\nmod tests { use crate::doctor; }\npub(in crate::http) use std::fmt;",
        ),
    ];
    let src = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = src.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    assert_eq!(
        violations(src.path()),
        [
            "record uses http/routes",
            "cycle: {\"record\", \"record/ledger\"}",
        ]
    );
}
