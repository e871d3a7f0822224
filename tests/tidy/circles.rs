//! Which files take from each other in a circle.

use std::collections::{BTreeMap, BTreeSet};

use crate::File;
use crate::arrows::{is_of_tests, paths_from_crate, test_modules};

/// Most files of a circle: each of them can only be understood with all the others.
const CIRCLE_FILES_MAX: usize = 4;

/// What each file takes from others, by the paths from the root of its crate in `source`. What a path leads to is the file that its names
/// lead to furthest; a `mod.rs` is only a table of contents.
fn arrows(source: &str, files: &[File]) -> BTreeMap<String, BTreeSet<String>> {
    let tests = test_modules(files);
    let module = |file: &File| {
        let path = file.path.trim_start_matches(source).trim_end_matches(".rs").trim_end_matches("/mod");
        (!is_of_tests(&file.path, &tests)).then(|| path.to_owned())
    };
    let is_contents = |file: &&File| file.path.ends_with("/mod.rs") || file.path.ends_with("/lib.rs");
    let modules: BTreeSet<String> = files.iter().filter(|file| !is_contents(file)).filter_map(module).collect();
    let file_of = |path: &str| {
        let names: Vec<&str> = path.split("::").collect();
        (1..=names.len()).rev().map(|named| names[..named].join("/")).find(|path| modules.contains(path))
    };
    let mut arrows = BTreeMap::new();
    for file in files {
        let Some(from) = module(file).filter(|from| modules.contains(from)) else { continue };
        let taken = paths_from_crate(&file.text).into_iter().filter_map(|(path, _)| file_of(&path));
        let taken = taken.filter(|to| *to != from).collect();
        arrows.insert(from, taken);
    }
    arrows
}

/// The files to which arrows lead from this one, over others, too.
fn reached<'a>(arrows: &'a BTreeMap<String, BTreeSet<String>>, from: &'a str) -> BTreeSet<&'a str> {
    let (mut left, mut reached) = (vec![from], BTreeSet::new());
    while let Some(file) = left.pop() {
        let next = arrows.get(file).into_iter().flatten().map(String::as_str);
        left.extend(next.filter(|file| reached.insert(*file)));
    }
    reached
}

/// The files of each circle.
fn circles(arrows: &BTreeMap<String, BTreeSet<String>>) -> BTreeSet<BTreeSet<&str>> {
    let reached: BTreeMap<&str, _> = arrows.keys().map(|file| (file.as_str(), reached(arrows, file))).collect();
    let back_from = |file: &str| reached[file].iter().copied().filter(|other| reached[other].contains(file)).collect();
    reached.keys().map(|file| back_from(file)).filter(|circle: &BTreeSet<_>| !circle.is_empty()).collect()
}

#[test]
fn no_circle_of_files_is_long() {
    for source in ["actors/src/", "src/"] {
        let files = crate::files(&[source], "rs");
        let arrows = arrows(source, &files);
        assert!(arrows.values().map(BTreeSet::len).sum::<usize>() > 100, "arrows of {source} are not found");
        let long: Vec<_> = circles(&arrows).into_iter().filter(|circle| circle.len() > CIRCLE_FILES_MAX).collect();
        assert!(long.is_empty(), "files of {source} that take from each other in a circle: {long:?}");
    }
}

#[test]
fn circles_are_found_over_files_and_not_over_tables_of_contents() {
    let file = |path: &str, text: &str| File { path: format!("s/{path}"), text: text.to_owned() };
    let files = [
        file("mod.rs", "use crate::a::A;"),
        file("a.rs", "use crate::{b::{self, B}, d};\n#[cfg(test)]\nuse crate::e::E;"),
        file("b.rs", "fn f() { crate::c::inner::g::<crate::a::A>() }"),
        file("c/mod.rs", "use crate::a::A;"),
        file("c/inner.rs", "use crate::a::A;"),
        file("d.rs", "use crate::c::Unknown;"),
        file("e.rs", "use crate::a::A;"),
    ];
    let arrows = arrows("s/", &files);
    let circles = circles(&arrows);
    assert_eq!(circles, BTreeSet::from([BTreeSet::from(["a", "b", "c/inner"])]), "{arrows:?}");
}
