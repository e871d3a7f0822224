//! Which folder of `src` may know which.

use crate::File;
use crate::code::{body, code, line};

/// Folders and files of `src` by floor, the ground first: each may know those of its own floor and of the floors below.
/// A folder that does not exist is empty. What stands on no floor is above them all.
const FLOORS: [&[&str]; 6] = [
    &["packed", "decoder", "unique", "claim", "file_identity", "refused_in_turn", "without_values"],
    &["time", "state"],
    &["operator", "keyed", "aggregates"],
    &["window", "join", "pattern", "async_io", "source", "sink", "request", "service", "query", SNAPSHOT],
    &["graph", "stream", "metrics"],
    &["environment", "restore", "start_error"],
];

/// Is written over the contract of the engine alone.
const SNAPSHOT: &str = "snapshot";

/// Is for tests.
const TESTING: &str = "testing";

/// Arrows that the rules forbid: from which files, to what, and why.
const EXCEPTIONS: [(&str, &str, &str); 2] = [
    ("src/snapshot/inspection/", "state", "shows the state that is in a store, so it must decode it"),
    ("src/snapshot/object_copy/options.rs", "time", "the clock that copies use unless they are given another"),
];

/// What a file takes from the crate in code that is no test's: the first part of each path from the root, and its line.
fn taken_from_crate(text: &str) -> Vec<(String, usize)> {
    let mut taken: Vec<_> =
        paths_behind(text, "crate::").into_iter().map(|(path, line)| (first_name(&path), line)).collect();
    taken.dedup();
    taken
}

/// What goes on behind this word in code that is no test's, as paths, each with its line. A group in braces is as many paths.
pub(crate) fn paths_behind(text: &str, word: &str) -> Vec<(String, usize)> {
    let code = without_tests(&code(text));
    let mut found = Vec::new();
    for (at, _) in code.match_indices(word) {
        let is_part =
            code[..at].ends_with(|before: char| before.is_alphanumeric() || ['_', ':', '$'].contains(&before));
        if !is_part {
            add_paths(&code, at + word.len(), "", &mut found);
        }
    }
    found
}

/// Adds the paths that go on at this place.
fn add_paths(code: &str, at: usize, before: &str, found: &mut Vec<(String, usize)>) {
    let is_part = |part: &char| part.is_alphanumeric() || ['_', ':'].contains(part);
    let path = format!("{before}{}", code[at..].chars().take_while(is_part).collect::<String>());
    let group = at + path.len() - before.len();
    match body(code, group).filter(|&(start, _)| start == group && (path.is_empty() || path.ends_with("::"))) {
        Some((start, end)) => {
            heads_of_group(&code[start..end]).into_iter().for_each(|name| add_paths(code, start + name, &path, found));
        }
        None => found.push((path.trim_end_matches(':').to_owned(), line(code, at))),
    }
}

/// Where in a group of paths in braces each of them begins.
fn heads_of_group(group: &str) -> Vec<usize> {
    let (mut depth, mut is_between, mut heads) = (0_usize, true, Vec::new());
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => is_between = true,
            _ if depth == 1 && is_between && !character.is_whitespace() => {
                heads.push(at);
                is_between = false;
            }
            _ => {}
        }
    }
    heads
}

pub(crate) fn first_name(path: &str) -> String {
    path.chars().take_while(|&part| part.is_alphanumeric() || part == '_').collect()
}

/// The code without the items that are compiled for tests only.
fn without_tests(code: &str) -> String {
    let mut left = code.to_owned();
    while let Some(at) = left.find("#[cfg(test)]") {
        let end = end_of_item(&left, at);
        let lines = left[at..end].matches('\n').count();
        left.replace_range(at..end, &"\n".repeat(lines));
    }
    left
}

/// Where the item ends that begins at `from`: with its body, or with a semicolon.
fn end_of_item(code: &str, from: usize) -> usize {
    let semicolon = code[from..].find(';').map_or(code.len(), |at| from + at + 1);
    match body(code, from) {
        Some((start, _)) if code[from..start].contains("use ") => semicolon,
        Some((_, end)) => end,
        None => semicolon,
    }
}

/// The modules that are declared for tests only, as paths without ending.
pub(crate) fn test_modules(files: &[File]) -> Vec<String> {
    let mut modules = Vec::new();
    for File { path, text } in files {
        let folder = match path.strip_suffix("/mod.rs") {
            Some(folder) => folder,
            None => path.trim_end_matches(".rs"),
        };
        let code = code(text);
        for (at, _) in code.match_indices("#[cfg(test)]") {
            let item = &code[at..end_of_item(&code, at)];
            if let Some((_, name)) = item.split_once("mod ").filter(|_| item.ends_with(';')) {
                modules.push(format!("{folder}/{}", name.trim_end_matches(';')));
            }
        }
    }
    modules
}

/// Whether the whole file is a test or a tool of tests, by its name or because it is in one of these modules.
pub(crate) fn is_of_tests(path: &str, modules: &[String]) -> bool {
    let is_in = |module: &String| path.strip_prefix(module.as_str()).is_some_and(|rest| rest.starts_with(['/', '.']));
    path.ends_with("_tests.rs") || modules.iter().any(is_in)
}

/// The folder, or the file without its ending, that stands in `src`.
fn place_of(path: &str) -> &str {
    path.trim_start_matches("src/").split(['/', '.']).next().unwrap_or_default()
}

fn floor_of(place: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&place))
}

/// Whether production code in one place may take something from another.
fn may_take(place: &str, taken: &str) -> bool {
    let floor = floor_of(place).unwrap_or(FLOORS.len());
    place == taken
        || match floor_of(taken) {
            Some(ground @ 0) => ground <= floor,
            Some(_) if place == SNAPSHOT => false,
            Some(below) => below <= floor,
            // A name that the crate's root exports: only what is above the floors takes it from there.
            None => floor == FLOORS.len() && taken != TESTING,
        }
}

#[test]
fn folders_of_src_know_only_what_is_below_them() {
    let files = crate::files(&["src"], "rs");
    let modules = test_modules(&files);
    let mut found = String::new();
    let mut unused: Vec<_> = EXCEPTIONS.to_vec();
    for File { path, text } in files.iter().filter(|file| !is_of_tests(&file.path, &modules)) {
        for (taken, line) in taken_from_crate(text).into_iter().filter(|(taken, _)| !may_take(place_of(path), taken)) {
            let is_exception = |(from, to, _): &(&str, &str, &str)| path.starts_with(from) && *to == taken;
            if EXCEPTIONS.iter().any(is_exception) {
                unused.retain(|exception| !is_exception(exception));
            } else {
                found += &format!("{path}:{line}: crate::{taken}\n");
            }
        }
    }
    assert!(found.is_empty(), "an arrow that runs up:\n{found}");
    assert!(unused.is_empty(), "exceptions that are none any more: {unused:?}");
}

#[test]
fn stores_know_only_the_contract_and_the_facts_of_the_engine() {
    let files = crate::files(&["src/snapshot"], "rs");
    let rooms = ["runtime", "data", "task", "control"].map(|room| format!("millstream_actors::{room}"));
    let found = crate::lines_with(&files, &rooms.each_ref().map(String::as_str));
    assert!(found.is_empty(), "a store is written over the contract:\n{found}");
}

#[test]
fn paths_from_the_root_are_found_but_not_in_tests() {
    let text = "use crate::state::{self, a};\nuse crate::{\n    graph::{b, c},\n    Limits,\n};\n\
                #[cfg(test)]\nuse crate::testing::{d, e};\n\
                fn f() { crate::time::now() } // crate::sink\n\
                #[cfg(test)]\nmod tests {\n    use crate::source;\n}\n\
                macro_rules! m { () => { $crate::sink::x() } }\nfn g() -> crate::operator::O {}\n";
    let found = taken_from_crate(text);
    let found: Vec<_> = found.iter().map(|(name, line)| (name.as_str(), *line)).collect();
    assert_eq!(found, [("state", 1), ("graph", 3), ("Limits", 4), ("time", 8), ("operator", 14)]);
}

#[test]
fn paths_are_whole_also_in_groups() {
    let text = "use crate::a::{self, b::{C, D}, E as F};\nfn f(x: crate::g::H) { crate::i::J::<K>::new() }\n";
    let found: Vec<_> = paths_behind(text, "crate::").into_iter().map(|(path, _)| path).collect();
    assert_eq!(found, ["a::self", "a::b::C", "a::b::D", "a::E", "g::H", "i::J"]);
}

#[test]
fn arrow_that_runs_up_is_refused() {
    assert!(may_take("stream", "operator") && may_take("source", "sink") && may_take("environment", "snapshot"));
    assert!(!may_take("state", "operator") && !may_take("operator", "graph") && !may_take("graph", "environment"));
    assert!(may_take("snapshot", "packed") && !may_take("snapshot", "state") && !may_take("snapshot", "time"));
    assert!(may_take("cli", "environment") && may_take("testing", "testing") && !may_take("cli", "testing"));
    assert!(may_take("prelude", "Limits") && !may_take("graph", "Limits"));
}

#[test]
fn modules_of_tests_are_known_by_how_they_are_declared() {
    let file = |path: &str, text: &str| File { path: path.to_owned(), text: text.to_owned() };
    let declared = "mod rows;\n#[cfg(test)]\nmod properties;\n#[cfg(test)]\nmod tests {}\n";
    let modules = test_modules(&[file("src/state/mod.rs", declared), file("src/a/b.rs", "#[cfg(test)]\nmod kit;")]);
    assert_eq!(modules, ["src/state/properties", "src/a/b/kit"]);
    assert!(is_of_tests("src/state/properties.rs", &modules) && is_of_tests("src/a/b/kit/x.rs", &modules));
    assert!(is_of_tests("src/x_tests.rs", &modules) && !is_of_tests("src/state/rows.rs", &modules));
}
