//! Which files take from each other in a circle.

use std::collections::{BTreeMap, BTreeSet};

use crate::File;
use crate::arrows::{first_name, is_of_tests, paths_behind, test_modules};

/// Most files of a circle: each of them can only be understood with all the others.
const CIRCLE_FILES_MAX: usize = 4;

/// How paths begin by which files take from each other. Behind `use` they begin with a part of the file.
const ALL_PATHS: &[&str] = &["crate::", "super::", "use "];
/// Those by which they take from other folders.
const PATHS_BETWEEN_FOLDERS: &[&str] = &["crate::"];

/// What each file takes from others.
type Arrows = BTreeMap<String, BTreeSet<String>>;

/// The files of a crate, as paths without ending.
struct Modules {
    /// Those that hold something: a `mod.rs` is a table of contents.
    files: BTreeSet<String>,
    /// What a module hands on of its parts, by its path and the name, as the path from the root that leads there.
    handed_on: BTreeMap<(String, String), String>,
}

impl Modules {
    fn of(source: &str, files: &[File]) -> Self {
        let paths: BTreeSet<String> = files.iter().map(|file| module(source, file)).collect();
        let is_there = |part: &str| paths.contains(part) || paths.contains(&format!("{part}/mod"));
        let mut handed_on = BTreeMap::new();
        for file in files {
            let of = module(source, file);
            let of = of.strip_suffix("/mod").unwrap_or(&of);
            for (path, _) in paths_behind(&file.text, "use ") {
                let (part, name) = (first_name(&path), path.rsplit("::").next().unwrap_or_default());
                if is_there(&format!("{of}/{part}")) {
                    handed_on.insert((of.to_owned(), name.to_owned()), from_root(of, "use ", &path));
                }
            }
        }
        let is_contents = |path: &String| path.ends_with("/mod") || path == "lib";
        Self { files: paths.into_iter().filter(|path| !is_contents(path)).collect(), handed_on }
    }

    /// The file to which the names of a path from the root lead.
    fn file_of(&self, path: &str) -> Option<String> {
        let names: Vec<&str> = path.split('/').collect();
        (1..=names.len()).rev().find_map(|named| {
            let place = names[..named].join("/");
            let name = names.get(named).copied().unwrap_or_default().to_owned();
            match self.handed_on.get(&(place.clone(), name)) {
                Some(further) => self.file_of(further),
                None => self.files.contains(&place).then_some(place),
            }
        })
    }
}

/// The path from the root of a crate's sources, without ending.
fn module(source: &str, file: &File) -> String {
    file.path.trim_start_matches(source).trim_end_matches(".rs").to_owned()
}

/// The path from the root that begins with this word in a file, and goes on like this.
fn from_root(file: &str, word: &str, path: &str) -> String {
    let above = |folder: &str| folder.rsplit_once('/').map_or("", |(above, _)| above).to_owned();
    let (mut folder, mut path) = match word {
        "crate::" => (String::new(), path),
        "super::" => (above(file), path),
        _ => (file.to_owned(), path),
    };
    while let Some(rest) = path.strip_prefix("super::") {
        (folder, path) = (above(&folder), rest);
    }
    format!("{folder}/{}", path.replace("::", "/")).trim_start_matches('/').to_owned()
}

fn arrows(source: &str, files: &[File], words: &[&str]) -> Arrows {
    let (modules, tests) = (Modules::of(source, files), test_modules(files));
    let mut arrows = Arrows::new();
    for file in files.iter().filter(|file| !is_of_tests(&file.path, &tests)) {
        let from = module(source, file);
        if !modules.files.contains(&from) {
            continue;
        }
        let taken = words.iter().flat_map(|word| {
            let paths = paths_behind(&file.text, word).into_iter();
            // All of the module above is taken by a part of it.
            let paths = paths.map(|(path, _)| path).filter(|path| !path.is_empty());
            paths.filter_map(|path| modules.file_of(&from_root(&from, word, &path))).collect::<Vec<_>>()
        });
        let taken = taken.filter(|to| *to != from).collect();
        arrows.insert(from, taken);
    }
    arrows
}

/// The files to which arrows lead from this one, over others, too.
fn reached<'a>(arrows: &'a Arrows, from: &'a str) -> BTreeSet<&'a str> {
    let (mut left, mut reached) = (vec![from], BTreeSet::new());
    while let Some(file) = left.pop() {
        let next = arrows.get(file).into_iter().flatten().map(String::as_str);
        left.extend(next.filter(|file| reached.insert(*file)));
    }
    reached
}

/// The files of each circle.
fn circles(arrows: &Arrows) -> BTreeSet<BTreeSet<&str>> {
    let reached: BTreeMap<&str, _> = arrows.keys().map(|file| (file.as_str(), reached(arrows, file))).collect();
    let leads_back = |other: &str, to: &str| reached.get(other).is_some_and(|files| files.contains(to));
    let circle = |file: &&str| reached[file].iter().copied().filter(|other| leads_back(other, file)).collect();
    reached.keys().map(circle).filter(|circle: &BTreeSet<_>| !circle.is_empty()).collect()
}

/// In `src` files of one folder may take from each other as they like by `super::`: each stream has methods that make others.
#[test]
fn no_circle_of_files_is_long() {
    for (source, words) in [("actors/src/", ALL_PATHS), ("src/", PATHS_BETWEEN_FOLDERS)] {
        let arrows = arrows(source, &crate::files(&[source], "rs"), words);
        assert!(arrows.values().map(BTreeSet::len).sum::<usize>() > 400, "arrows of {source} are not found");
        let long: Vec<_> = circles(&arrows).into_iter().filter(|circle| circle.len() > CIRCLE_FILES_MAX).collect();
        assert!(long.is_empty(), "files of {source} that take from each other in a circle: {long:?}");
    }
}

#[test]
fn circles_are_found_through_tables_of_contents_and_not_in_tests() {
    let file = |path: &str, text: &str| File { path: format!("s/{path}"), text: text.to_owned() };
    let files = [
        file("a.rs", "use crate::{b::{self, B}, d};\n#[cfg(test)]\nuse crate::e::E;"),
        file("b.rs", "fn f() { crate::c::inner::g::<crate::a::A>() }"),
        file("c/mod.rs", "use crate::d::D;\npub use inner::{Inner, other::Other};"),
        file("c/inner.rs", "use crate::a::A;\nmod deep;\npub use deep::Deep;"),
        file("c/inner/deep.rs", "use super::*;\nuse super::super::Inner;"),
        file("d.rs", "use crate::c::inner::Deep;"),
        file("e.rs", "use crate::a::A;"),
    ];
    let all = arrows("s/", &files, ALL_PATHS);
    assert_eq!(circles(&all), BTreeSet::from([BTreeSet::from(["a", "b", "c/inner", "c/inner/deep", "d"])]), "{all:?}");
    let arrows = arrows("s/", &files, PATHS_BETWEEN_FOLDERS);
    assert_eq!(circles(&arrows), BTreeSet::from([BTreeSet::from(["a", "b", "c/inner"])]), "{arrows:?}");
}
