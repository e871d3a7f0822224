//! Style, checked by a test: what a reader relies on without looking.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

#[path = "tidy/arrows.rs"]
mod arrows;
#[path = "tidy/circles.rs"]
mod circles;
#[path = "tidy/code.rs"]
mod code;
#[path = "tidy/examples.rs"]
mod examples;
#[path = "tidy/functions.rs"]
mod functions;
#[path = "tidy/names.rs"]
mod names;

/// Longest source file, in lines.
const LINES_MAX: usize = 500;

/// A file of the workspace.
struct File {
    /// From the workspace's root, with `/`.
    path: String,
    text: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Files with this extension under these folders (or these files), sorted. A folder that does not exist holds none.
fn files(places: &[&str], extension: &str) -> Vec<File> {
    let mut left: Vec<PathBuf> = places.iter().map(|place| root().join(place)).collect();
    let mut found = Vec::new();
    while let Some(path) = left.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let entries = entries.map(|entry| entry.unwrap_or_else(|error| panic!("{}: {error}", path.display())));
            left.extend(entries.map(|entry| entry.path()).filter(|path| !path.ends_with("target")));
        } else if path.is_file() && path.extension().is_some_and(|found| found == extension) {
            let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let path = path.strip_prefix(root()).expect("all places are under the root");
            found.push(File { path: path.to_string_lossy().replace('\\', "/"), text });
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// Every source file.
fn all_sources() -> Vec<File> {
    let files = files(&["src", "actors", "tests", "examples", "benches"], "rs");
    assert!(files.len() > 20, "only {} source files found", files.len());
    files
}

/// Every source file but this one and its modules, which name what they forbid.
fn sources() -> Vec<File> {
    let mut files = all_sources();
    files.retain(|file| !file.path.starts_with("tests/tidy"));
    files
}

/// The lines of these files that contain one of the words, as `path:line: word`.
fn lines_with<'a>(files: impl IntoIterator<Item = &'a File>, words: &[&str]) -> String {
    let mut found = String::new();
    for file in files {
        for (number, line) in (1..).zip(file.text.lines()) {
            for word in words.iter().filter(|word| has_word(line, word)) {
                writeln!(found, "{}:{number}: {word}", file.path).expect("a string takes all");
            }
        }
    }
    found
}

/// Whether the text contains the word, not as a part of a longer one.
fn has_word(text: &str, word: &str) -> bool {
    let is_part = |part: Option<char>| part.is_some_and(|part| part.is_alphanumeric() || part == '_');
    text.match_indices(word).any(|(at, _)| {
        let (before, after) = (text[..at].chars().next_back(), text[at + word.len()..].chars().next());
        !(is_part(before) && is_part(word.chars().next()) || is_part(after) && is_part(word.chars().next_back()))
    })
}

#[test]
fn words_are_found_whole() {
    assert!(has_word("use redb::Database;", "redb"));
    assert!(!has_word("the scattered boxes", "redb") && !has_word("a redbrick", "redb"));
    assert!(has_word("std::thread::sleep(x)", "thread::sleep"));
    assert!(has_word("todo!()", "todo!"));
}

#[test]
fn engine_knows_nothing_of_stores_and_formats() {
    let mut engine = files(&["actors"], "rs");
    engine.extend(files(&["actors"], "toml"));
    let found = lines_with(&engine, &["redb", "csv", "serde_json", "glob"]);
    assert!(found.is_empty(), "the arrow points from `src` to `actors`:\n{found}");
}

#[test]
fn protocol_knows_no_actor_thread_or_clock() {
    let protocol = files(&["actors/src/protocol"], "rs");
    assert!(protocol.len() > 5, "only {} files of the protocol found", protocol.len());
    let found = lines_with(&protocol, &["actix", "actix_rt", "tokio", "std::thread", "Instant", "SystemTime"]);
    assert!(found.is_empty(), "the protocol is pure:\n{found}");
}

/// The rooms of the engine, each above those before it: a room imports from itself and from rooms before it.
const ENGINE_ROOMS: [&str; 6] = ["protocol", "contract", "runtime", "data", "task", "control"];

#[test]
fn rooms_of_the_engine_import_only_what_is_below_them() {
    let mut upwards = String::new();
    for (floor, room) in ENGINE_ROOMS.iter().enumerate() {
        let files = files(&[&format!("actors/src/{room}")], "rs");
        assert!(!files.is_empty(), "there is no room '{room}'");
        let above: Vec<String> = ENGINE_ROOMS[floor + 1..].iter().map(|room| format!("crate::{room}")).collect();
        let words: Vec<&str> = above.iter().map(String::as_str).collect();
        upwards += &lines_with(&files, &words);
    }
    assert!(upwards.is_empty(), "a fact or an order lives with who says it, or below:\n{upwards}");
}

#[test]
fn files_are_short() {
    let long: Vec<_> = all_sources().into_iter().filter(|file| file.text.lines().count() > LINES_MAX).collect();
    let names: Vec<_> = long.iter().map(|file| &file.path).collect();
    assert!(names.is_empty(), "more than {LINES_MAX} lines, split: {names:?}");
}

#[test]
fn nothing_is_unfinished() {
    let found = lines_with(&sources(), &["todo!", "unimplemented!", "dbg!", "for now", "For now", "FIXME", "XXX"]);
    assert!(found.is_empty(), "unfinished:\n{found}");
}

#[test]
fn nothing_waits_by_sleeping() {
    // An HTTP client that asks again and again has no other clock.
    let polls = "examples/embedded_service/check.rs";
    let engine: Vec<File> = sources().into_iter().filter(|file| file.path != polls).collect();
    let mut found = lines_with(&engine, &["thread::sleep", "time::sleep"]);
    // The clocks' own tests sleep by the clock under test.
    let others: Vec<File> = sources().into_iter().filter(|file| !file.path.starts_with("src/time/")).collect();
    found += &lines_with(&others, &["sleep(Duration", "sleep(std::time::Duration"]);
    assert!(found.is_empty(), "use the injected clock, or wait for a message:\n{found}");
}

#[test]
fn unsafe_code_is_in_one_place() {
    let mut others = files(&["src", "actors/src"], "rs");
    others.retain(|file| file.path != "src/state/prefetch.rs");
    let found = lines_with(&others, &["unsafe {", "unsafe fn", "unsafe impl"]);
    assert!(found.is_empty(), "hints to the processor are all that needs it:\n{found}");
}

#[test]
fn exceptions_give_their_reason() {
    let mut found = String::new();
    for file in sources() {
        for attribute in ["[allow(", "[expect(", "[ignore"] {
            for (at, _) in file.text.match_indices(attribute).filter(|&(at, _)| is_attribute(&file.text, at)) {
                let end = end_of_attribute(&file.text[at..]);
                let attribute = &file.text[at..at + end];
                if !attribute.contains("reason = \"") && !attribute.starts_with("[ignore = \"") {
                    let line = file.text[..at].lines().count();
                    writeln!(found, "{}:{line}: {attribute}", file.path).expect("a string takes all");
                }
            }
        }
    }
    assert!(found.is_empty(), "say why:\n{found}");
}

/// Whether the bracket at `at` follows `#` or `#!`.
fn is_attribute(text: &str, at: usize) -> bool {
    text[..at].ends_with('#') || text[..at].ends_with("#!")
}

/// Up to the bracket that closes the first one; brackets in strings do not count.
fn end_of_attribute(text: &str) -> usize {
    let (mut depth, mut in_string) = (0_usize, false);
    for (at, character) in text.char_indices() {
        match character {
            '"' => in_string = !in_string,
            '[' if !in_string => depth += 1,
            ']' if !in_string => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
    }
    text.len()
}

#[test]
fn attributes_are_read_to_their_end() {
    assert_eq!(end_of_attribute("[ignore = \"see [1]\"] fn"), 20);
    assert!(is_attribute("#[allow(x)]", 1) && !is_attribute("a[allow(x)]", 1));
}

#[test]
fn links_of_the_documents_lead_somewhere() {
    let documents = files(&["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs"], "md");
    let mut dead = String::new();
    for document in &documents {
        let folder = root().join(&document.path).parent().expect("a file is in a folder").to_path_buf();
        for target in links(&document.text) {
            let path = target.split('#').next().unwrap_or_default();
            let is_elsewhere = target.contains("://") || target.starts_with("mailto:") || path.is_empty();
            if !is_elsewhere && !folder.join(path).exists() {
                writeln!(dead, "{}: {target}", document.path).expect("a string takes all");
            }
        }
    }
    assert!(dead.is_empty(), "dead links:\n{dead}");
}

/// The targets of `[text](target)` outside fenced code, and of `[label]: target`.
fn links(text: &str) -> Vec<&str> {
    let mut targets = Vec::new();
    let mut in_code = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        targets.extend(line.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next()));
        if let Some((label, target)) = line.split_once("]: ")
            && label.starts_with('[')
            && !label.starts_with("[^")
        {
            targets.extend(target.split_whitespace().next());
        }
    }
    targets
}

#[test]
fn links_are_found() {
    let text = "See [a](docs/a.md#x) and [b](b.md \"title\").\n```\n[no](no.md)\n```\n[c]: c.md\n[^1]: a note";
    assert_eq!(links(text), ["docs/a.md#x", "b.md", "c.md"]);
}

/// What the documents name in backticks as a file or folder of the workspace.
#[test]
fn paths_in_the_documents_are_there() {
    let mut gone = String::new();
    for document in files(&["docs"], "md") {
        for path in document.text.split("```").step_by(2).flat_map(|text| text.split('`').skip(1).step_by(2)) {
            let is_path =
                ["src/", "actors/", "tests/", "examples/", "benches/"].iter().any(|top| path.starts_with(top));
            if is_path && !path.contains([' ', '*', '\n']) && !root().join(path).exists() {
                writeln!(gone, "{}: {path}", document.path).expect("a string takes all");
            }
        }
    }
    assert!(gone.is_empty(), "these have moved, or were never there:\n{gone}");
}
