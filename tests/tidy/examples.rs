//! Types that a program names show how they are used.

use std::fmt::Write as _;

use crate::names::exported;

/// Types that programs name and the prelude does not have, and that need an example all the same.
const OUTSIDE_THE_PRELUDE: [&str; 57] = [
    "AggregateFunction",
    "BatchOperator",
    "CheckpointError",
    "CheckpointMode",
    "Clock",
    "CompletedPositions",
    "ContinuousTrigger",
    "CountEvictor",
    "CountTrigger",
    "DeltaEvictor",
    "DeltaTrigger",
    "Elements",
    "Evictor",
    "FailureRecord",
    "FaultyDisk",
    "FaultyStore",
    "FileSinkError",
    "FileSourceError",
    "GraphError",
    "GraphErrors",
    "IngestError",
    "IngestHandle",
    "IngestOptions",
    "IngestRecord",
    "JobEventKind",
    "JobStatus",
    "ManualClock",
    "OperatorHarness",
    "Partitioner",
    "PurgingTrigger",
    "Savepoint",
    "SavepointError",
    "SavepointFile",
    "SavepointFileError",
    "Sink",
    "SinkContext",
    "SinkError",
    "SinkHarness",
    "SinkOf",
    "SinkRestore",
    "SinkWriter",
    "SnapshotError",
    "Source",
    "SourceContext",
    "SourceError",
    "SplitPosition",
    "SplitQueue",
    "StateKey",
    "StreamSinkError",
    "SystemClock",
    "TaskError",
    "TestDriver",
    "TimeEvictor",
    "Trigger",
    "TrySendError",
    "TwoInputOperator",
    "WatermarkAlignment",
];

/// The doc comment of the type with this name, where these files declare it. An alias is no type of its own.
fn documentation(files: &[crate::File], name: &str) -> Option<String> {
    files.iter().find_map(|file| {
        let lines: Vec<&str> = file.text.lines().collect();
        let declared = lines.iter().position(|line| {
            ["pub struct ", "pub enum ", "pub trait "].iter().any(|kind| {
                let rest = line.strip_prefix(kind).and_then(|rest| rest.strip_prefix(name));
                rest.is_some_and(|rest| !rest.starts_with(|next: char| next.is_alphanumeric() || next == '_'))
            })
        })?;
        let above = lines[..declared].iter().rev().take_while(|line| !line.is_empty() && !line.starts_with('}'));
        let comment: Vec<&str> = above.filter_map(|line| line.strip_prefix("///")).collect();
        Some(comment.into_iter().rev().fold(String::new(), |text, line| text + line + "\n"))
    })
}

/// Whether it has code that runs as a test.
fn has_example(documentation: &str) -> bool {
    let fences = documentation.lines().filter_map(|line| line.trim_start().strip_prefix("```"));
    fences.step_by(2).any(str::is_empty)
}

#[test]
fn types_that_programs_name_have_an_example() {
    let prelude = crate::files(&["src/prelude.rs"], "rs");
    let mut names = exported(&prelude[0].text);
    // A handle is shown by the example of its state.
    names.retain(|name| name.starts_with(char::is_uppercase) && (!name.ends_with("Handle") || name == "JobHandle"));
    assert!(names.len() > 40, "only {} types found in the prelude", names.len());
    let sources = crate::files(&["src", "actors/src"], "rs");
    let mut without = String::new();
    for name in names {
        if documentation(&sources, &name).is_some_and(|text| !has_example(&text)) {
            writeln!(without, "{name}").expect("a string takes all");
        }
    }
    for name in OUTSIDE_THE_PRELUDE {
        let text = documentation(&sources, name).unwrap_or_else(|| panic!("{name} is gone: take it off the list"));
        if !has_example(&text) {
            writeln!(without, "{name}").expect("a string takes all");
        }
    }
    assert!(without.is_empty(), "types that programs name, without an example that runs:\n{without}");
}

#[test]
fn examples_speak_of_the_package_that_programs_have() {
    let mut found = String::new();
    for file in crate::files(&["src", "actors/src"], "rs") {
        let comments = file.text.lines().map(str::trim_start).zip(1..).filter(|(line, _)| line.starts_with("//"));
        for (_, number) in comments.filter(|(line, _)| line.contains("use millstream_actors")) {
            writeln!(found, "{}:{number}", file.path).expect("a string takes all");
        }
    }
    assert!(found.is_empty(), "programs depend on `millstream` alone:\n{found}");
}

#[test]
fn engine_uses_millstream_in_its_examples_only() {
    let mut found = String::new();
    for file in crate::files(&["actors"], "rs") {
        let code = crate::code::code(&file.text);
        for (line, number) in code.lines().zip(1..) {
            if crate::has_word(line, "millstream") {
                writeln!(found, "{}:{number}", file.path).expect("a string takes all");
            }
        }
    }
    assert!(found.is_empty(), "the arrow points from `src` to `actors`:\n{found}");
}

#[test]
fn documentation_is_found() {
    let text = "/// A.\n///\n/// ```\n/// a();\n/// ```\n#[derive(Debug)]\npub struct A<T>(T);\n\n/// Not A.\npub enum Ab {}\n\
                /// ```json\n/// 1\n/// ```\npub trait B {}\n";
    let files = [crate::File { path: "a.rs".to_owned(), text: text.to_owned() }];
    assert!(has_example(&documentation(&files, "A").unwrap()));
    assert_eq!(documentation(&files, "Ab").unwrap(), " Not A.\n");
    assert!(!has_example(&documentation(&files, "B").unwrap()));
    assert!(documentation(&files, "C").is_none());
}
