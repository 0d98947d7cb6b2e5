//! The imports between source files: each path of code that begins with `crate`, `self`, `super` or the
//! name of an imported module, with the file that defines the item.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

/// A module's path from the root of its crate, as `["store", "dns"]`.
pub type Module = Vec<String>;

/// The modules of a crate and the names that each of them imports.
pub struct Crate {
    code: BTreeMap<Module, String>,
    names: BTreeMap<Module, BTreeMap<String, Vec<String>>>,
}

impl Crate {
    /// Reads the sources in a directory; the root module is `lib.rs` or `main.rs`.
    pub fn read(directory: &Path) -> Self {
        let files = sources(directory).into_iter().map(|path| {
            let name = path.strip_prefix(directory).unwrap().with_extension("");
            let module = name.iter().map(|part| part.to_str().unwrap().to_owned());
            let root = ["lib", "main"].iter().any(|root| name == Path::new(root));
            let text = fs::read_to_string(&path).unwrap();
            (if root { Module::new() } else { module.collect() }, text)
        });
        Self::of(files.collect())
    }

    /// A crate of these modules and their text.
    pub fn of(text: BTreeMap<Module, String>) -> Self {
        let code: BTreeMap<_, _> = text.into_iter().map(|(m, text)| (m, code_of(&text))).collect();
        let names = code.iter().map(|(module, code)| (module.clone(), imported(code)));
        Self { names: names.collect(), code }
    }

    /// The modules, with their code without comments and tests.
    pub fn modules(&self) -> impl Iterator<Item = (&Module, &str)> {
        self.code.iter().map(|(module, code)| (module, &**code))
    }

    /// The modules that define what this one uses. Its own ancestors are left out.
    pub fn uses(&self, module: &Module) -> BTreeSet<Module> {
        let found = paths(&self.code[module]).into_iter();
        let found = found.filter_map(|path| self.absolute(module, &path));
        let found = found.map(|path| self.defines(&path, 0));
        found.filter(|target| !module.starts_with(target)).collect()
    }

    /// A chain of modules that use each other and ends where it begins.
    pub fn circle(&self) -> Option<Vec<Module>> {
        let mut done = BTreeSet::new();
        self.code.keys().find_map(|module| self.circle_from(module, &mut Vec::new(), &mut done))
    }

    fn circle_from(
        &self,
        module: &Module,
        chain: &mut Vec<Module>,
        done: &mut BTreeSet<Module>,
    ) -> Option<Vec<Module>> {
        if let Some(at) = chain.iter().position(|known| known == module) {
            let rest = chain.get(at..)?.iter().chain([module]);
            return Some(rest.cloned().collect());
        }
        if !done.contains(module) {
            chain.push(module.clone());
            let found = self.uses(module).into_iter().filter(|used| self.code.contains_key(used));
            let found = found.into_iter().find_map(|used| self.circle_from(&used, chain, done));
            if found.is_some() {
                return found;
            }
            chain.pop();
            done.insert(module.clone());
        }
        None
    }

    /// The path from the crate's root; none for paths into other crates.
    fn absolute(&self, module: &Module, path: &[String]) -> Option<Vec<String>> {
        let (first, rest) = path.split_first()?;
        let mut base = match &**first {
            "crate" => Module::new(),
            "self" => module.clone(),
            "super" => module[..module.len().checked_sub(1)?].to_vec(),
            name => {
                let child = [module.as_slice(), &[name.to_owned()]].concat();
                let import = self.names[module].get(name);
                match import {
                    _ if self.code.contains_key(&child) => child,
                    Some(import) if import[0] != *name => self.absolute(module, import)?,
                    _ => return None,
                }
            }
        };
        for part in rest {
            if part == "super" {
                base.pop();
            } else {
                base.push(part.clone())
            }
        }
        Some(base)
    }

    /// The module that defines the item at a path: the last module of the path, or the one that it
    /// imports the item from.
    fn defines(&self, path: &[String], depth: usize) -> Module {
        let known = (0..=path.len()).rev().find(|n| self.code.contains_key(&path[..*n]));
        let (module, rest) = path.split_at(known.unwrap_or(0));
        let import = rest.first().and_then(|item| self.names.get(module)?.get(item));
        let import = import.and_then(|import| self.absolute(&module.to_vec(), import));
        match import {
            Some(import) if depth < 8 => self.defines(&import, depth + 1),
            _ => module.to_vec(),
        }
    }
}

fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs")
            && !["tests.rs", "properties.rs"].iter().any(|name| path.ends_with(name))
            && !directory.ends_with("tests")
        {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The text without comments, and without the tests at its end.
fn code_of(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.map(|line| format!("{line}\n")).collect()
}

/// The names that `use` brings into a module, each with its path.
fn imported(code: &str) -> BTreeMap<String, Vec<String>> {
    let mut names = BTreeMap::new();
    for line in code.lines() {
        let line = line.trim_start();
        let line = line
            .split_once("use ")
            .filter(|(before, _)| before.is_empty() || before.starts_with("pub"));
        let Some((_, path)) = line else { continue };
        let path = path.trim_end_matches(';');
        let (path, name) = path.split_once(" as ").unwrap_or((path, path));
        let path: Vec<String> = path.split("::").map(str::to_owned).collect();
        names.insert(name.rsplit("::").next().unwrap().to_owned(), path);
    }
    names
}

/// All paths of at least two parts.
fn paths(code: &str) -> Vec<Vec<String>> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut found = Vec::new();
    let mut rest = code;
    while let Some(start) = rest.find(is_word) {
        let mut path = Vec::new();
        rest = &rest[start..];
        loop {
            let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            path.push(rest[..end].to_owned());
            rest = &rest[end..];
            match rest.strip_prefix("::") {
                Some(more) if more.starts_with(is_word) => rest = more,
                _ => break,
            }
        }
        if path.len() > 1 {
            found.push(path);
        }
    }
    found
}
