//! No circles between the files of one crate: which file uses which, read from its paths.
//!
//! A file uses another one by a path that begins with `crate`, `super` or `self`, or with a module that it declares. A
//! file may use what its own folder's `mod.rs` has, and the crate's `lib.rs`: they were one file once, so these two
//! directions are no edges; all others are, also those from a `mod.rs` to what is in its folder.

use std::collections::{BTreeMap, BTreeSet};

use crate::text::parts;
use crate::{ROOMS, sources, without_inline_tests};

/// A module by its path within the crate; the crate itself is empty.
type Module = Vec<String>;

/// What each module uses.
type Graph = BTreeMap<Module, BTreeSet<Module>>;

/// How many files of a crate are in circles: a number that may only fall. A crate that is not listed has none.
const IN_CIRCLES: [(&str, usize); 6] =
    [("store", 27), ("jobs", 11), ("client", 5), ("service", 2), ("scheduler", 2), ("gristmill", 7)];

fn module(file: &str) -> Module {
    let mut path: Module = file.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if path.last().is_some_and(|last| ["mod", "lib"].contains(&last.as_str())) {
        path.pop();
    }
    path
}

/// The paths of a tree such as `crate::{a, b::{c, d as e}}`.
fn tree(text: &str) -> Vec<String> {
    let text = text.trim();
    let Some((before, inner)) = text.split_once('{') else {
        let path = text.split(" as ").next().unwrap_or_default().trim();
        return vec![path.to_owned()];
    };
    let inner = inner.trim_end().strip_suffix('}').unwrap_or(inner);
    let (mut depth, mut branches) = (0, vec![String::new()]);
    for c in inner.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                branches.push(String::new());
                continue;
            }
            _ => {}
        }
        branches.last_mut().expect("there is one").push(c);
    }
    let filled = branches.iter().filter(|branch| !branch.trim().is_empty());
    filled.flat_map(|branch| tree(branch)).map(|path| format!("{}{path}", before.trim())).collect()
}

/// Every path in code that a file may name another one by.
fn paths(code: &str) -> Vec<String> {
    let (mut found, mut rest) = (Vec::new(), String::new());
    for (number, part) in code.split("use ").enumerate() {
        let is_use = number > 0 && part.contains(';');
        let (tree_text, other) = if is_use { part.split_once(';').unwrap_or(("", part)) } else { ("", part) };
        found.extend(
            tree(&tree_text.split_whitespace().collect::<Vec<_>>().join(" ")).into_iter().filter(|p| !p.is_empty()),
        );
        rest.push_str(other);
        rest.push(' ');
    }
    let inline = rest.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
    found.extend(inline.filter(|path| path.contains("::")).map(|path| path.trim_matches(':').to_owned()));
    found
}

/// The modules that a file declares.
fn children(code: &str) -> BTreeSet<String> {
    let declared = code.lines().filter_map(|line| {
        let line = line.trim();
        let name = line.split_once("mod ")?.1.strip_suffix(';')?;
        (line.starts_with("mod ") || line.starts_with("pub")).then(|| name.to_owned())
    });
    declared.collect()
}

/// The module that a path of a module leads to, if it is one of the crate.
fn target(graph: &BTreeMap<Module, String>, from: &Module, path: &str, children: &BTreeSet<String>) -> Option<Module> {
    let mut words: Vec<&str> = path.split("::").map(str::trim).collect();
    let mut base = from.clone();
    match *words.first()? {
        "crate" => base.clear(),
        "self" => {}
        "super" => {
            while words.first() == Some(&"super") {
                base.pop();
                words.remove(0);
            }
            words.insert(0, "");
        }
        child if children.contains(child) => words.insert(0, ""),
        _ => return None,
    }
    base.extend(words[1..].iter().map(|word| (*word).to_owned()));
    while !graph.contains_key(&base) {
        base.pop()?;
    }
    Some(base)
}

/// The graph of a crate, whose files come as their names below `src/` and their text.
fn graph(files: &[(String, String)]) -> Graph {
    let code: BTreeMap<Module, String> =
        files.iter().map(|(name, text)| (module(name), parts(without_inline_tests(text)).code)).collect();
    let uses = |from: &Module, code_of: &str| {
        let children = children(code_of);
        let targets = paths(code_of).into_iter().filter_map(|path| target(&code, from, &path, &children));
        targets.filter(|to| !from.starts_with(to)).collect::<BTreeSet<Module>>()
    };
    code.iter().filter(|(from, _)| !from.is_empty()).map(|(from, text)| (from.clone(), uses(from, text))).collect()
}

/// What a module uses, and what that uses, and so on.
fn reached<'a>(graph: &'a Graph, from: &'a Module) -> BTreeSet<&'a Module> {
    let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
    while let Some(module) = next.pop() {
        for to in graph.get(module).into_iter().flatten() {
            if seen.insert(to) {
                next.push(to);
            }
        }
    }
    seen
}

/// The modules that use themselves by way of others, each circle with its own.
fn circles(graph: &Graph) -> Vec<Vec<String>> {
    let reach: BTreeMap<&Module, BTreeSet<&Module>> = graph.keys().map(|from| (from, reached(graph, from))).collect();
    let mut circles = BTreeSet::new();
    for (from, targets) in &reach {
        if targets.contains(from) {
            let together = targets.iter().filter(|to| reach.get(*to).is_some_and(|back| back.contains(from)));
            circles.insert(together.map(|module| module.join("::")).collect::<Vec<_>>());
        }
    }
    circles.into_iter().collect()
}

#[test]
fn no_file_uses_itself_by_way_of_another() {
    let mut wrong = Vec::new();
    for room in ROOMS {
        let folder = format!("{room}/src/");
        let files: Vec<(String, String)> = sources()
            .into_iter()
            .filter(|(name, _)| !name.contains("/bin/") && !name.ends_with("/main.rs"))
            .filter_map(|(name, text)| Some((name.strip_prefix(&folder)?.to_owned(), text)))
            .collect();
        assert!(!files.is_empty(), "{room} has no files");
        let circles = circles(&graph(&files));
        let found: usize = circles.iter().map(Vec::len).sum();
        let most = IN_CIRCLES.iter().find(|(crate_name, _)| *crate_name == room).map_or(0, |(_, most)| *most);
        println!("{room}: {found} files in circles, {most} are allowed");
        if found > most {
            let circles: Vec<String> = circles.iter().map(|circle| circle.join(" <-> ")).collect();
            wrong.push(format!("{room}: {found} files, {most} at most:\n  {}", circles.join("\n  ")));
        }
    }
    assert!(wrong.is_empty(), "files in circles:\n{}", wrong.join("\n"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<Vec<String>> {
        let files: Vec<_> = files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        circles(&graph(&files))
    }

    #[test]
    fn a_circle_is_found_whichever_way_its_paths_are_written() {
        let by_use =
            [("lib.rs", ""), ("a.rs", "use crate::{c::X, b::{Y, Z as W}};"), ("b.rs", "fn f() { crate::a::g() }")];
        assert_eq!(found(&by_use), [["a", "b"]]);
        let by_super =
            [("d/mod.rs", "pub mod a;\nmod b;"), ("d/a.rs", "use super::b::X;"), ("d/b.rs", "use super::a;")];
        assert_eq!(found(&by_super), [["d::a", "d::b"]]);
        let long = [("a.rs", "use crate::b;"), ("b.rs", "use crate::c::X;"), ("c.rs", "type T = crate::a::X;")];
        assert_eq!(found(&long), [["a", "b", "c"]]);
        let by_child =
            [("d/mod.rs", "mod a;\nuse a::X;"), ("d/a.rs", "use crate::e::X;"), ("e.rs", "use crate::d::Y;")];
        assert_eq!(found(&by_child), [["d", "d::a", "e"]]);
    }

    #[test]
    fn what_is_no_circle_is_none() {
        let down = [("a.rs", "use crate::b::X;"), ("b.rs", "use crate::c::X;"), ("c.rs", "use std::b::X;")];
        assert_eq!(found(&down), Vec::<Vec<String>>::new());
        let family = [
            ("d/mod.rs", "mod a;\nuse a::X;"),
            ("d/a.rs", "use super::Y;\nuse crate::Z;"),
            ("lib.rs", "pub use d::X;"),
        ];
        assert_eq!(found(&family), Vec::<Vec<String>>::new());
        let said = [("a.rs", "// crate::b::X\nconst T: &str = \"use crate::b::X;\";"), ("b.rs", "use crate::a::T;")];
        assert_eq!(found(&said), Vec::<Vec<String>>::new());
        let in_tests = [("a.rs", "#[cfg(test)]\nmod tests { use crate::b::X; }"), ("b.rs", "use crate::a::T;")];
        assert_eq!(found(&in_tests), Vec::<Vec<String>>::new());
    }

    #[test]
    fn two_circles_are_two() {
        let two = [
            ("a.rs", "use crate::b;"),
            ("b.rs", "use crate::a;"),
            ("c.rs", "use crate::{a, d};"),
            ("d.rs", "use crate::c;"),
        ];
        assert_eq!(found(&two), [["a", "b"], ["c", "d"]]);
    }
}
