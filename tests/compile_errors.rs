//! What the compiler says of mistakes that are often made: each snippet fails with the advice that helps, and does not fail once
//! the advice is taken.
//!
//! The compiler is asked directly, with the library that this test was linked with: a snippet takes a fraction of a second.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The library as it was built for this test: the last one that was there before it.
fn library() -> PathBuf {
    let test = std::env::current_exe().expect("a test is a file");
    let changed = |path: &Path| path.metadata().and_then(|metadata| metadata.modified()).expect("a file has a time");
    let built = changed(&test);
    let folder = test.parent().expect("a test lies in a folder").read_dir().expect("the folder is there");
    folder
        .map(|entry| entry.expect("the folder is there").path())
        .filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with("libmillstream-") && name.ends_with(".rlib") && changed(path) <= built
        })
        .max_by_key(|path| changed(path))
        .expect("a test is built after the library")
}

/// What every snippet has. `$` in it is the snippet: the body of a function.
const AROUND: &str = "\
use std::rc::Rc;
use millstream::prelude::*;

struct Seat { row: u64 }

fn program(env: &StreamEnvironment) {
    let numbers = env.source(\"numbers\", SequenceSource::new(0..100));
    let names = env.source(\"names\", VecSource::new(vec![(String::from(\"a\"), 1u64)]));
    $
}
";

/// Whether it compiles as a part of a program, and what the compiler says.
fn compiled(snippet: &str) -> (bool, String) {
    let (library, scratch) = (library(), tempfile::tempdir().expect("a temporary folder"));
    let (source, output) = (scratch.path().join("program.rs"), scratch.path().join("program.rmeta"));
    std::fs::write(&source, AROUND.replace('$', snippet)).expect("the disk works");
    let dependencies = library.parent().expect("it lies in a folder");
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.args(["--edition=2024", "--crate-type=lib", "--crate-name=program", "--emit=metadata", "--color=never"]);
    rustc.args(["-Adead_code", "-Aunused_imports", "-Aunused_variables", "-Dunused_must_use"]);
    rustc.arg("-o").arg(&output).arg("-L").arg(format!("dependency={}", dependencies.display()));
    rustc.arg("--extern").arg(format!("millstream={}", library.display())).arg(&source);
    let said = rustc.output().expect("the compiler that has built this test");
    (said.status.success(), String::from_utf8(said.stderr).expect("messages are text"))
}

/// `wrong` is refused with this advice, and `right` is not refused.
#[track_caller]
fn refused(wrong: &str, advice: &[&str], right: &str) {
    let (succeeds, said) = compiled(wrong);
    assert!(!succeeds, "it compiles: {wrong}\n{said}");
    for words in advice {
        assert!(said.contains(words), "{words:?} is not said of {wrong}\nbut this:\n{said}");
    }
    let (succeeds, said) = compiled(right);
    assert!(succeeds, "it does not compile: {right}\n{said}");
}

/// A function of the user's own with states of this type, used after `key_by`.
fn with_state(state: &str, new: &str) -> String {
    "#[derive(Clone)]
    struct Last;
    impl KeyedProcessFunction<u64, u64> for Last {
        type Out = u64;
        type State = {state};
        fn state(&self) -> Self::State {
            {new}
        }
        fn process(&mut self, n: u64, _: Row<'_, Self, u64, u64>, _: &mut KeyedContext<'_, u64>, out: &mut Emitter<'_, u64>) {
            out.emit(n);
        }
    }
    numbers.key_by(|n| n % 10).process(\"last\", Last).sink(\"out\", CollectSink::new());"
        .replace("{state}", state)
        .replace("{new}", new)
}

#[test]
fn borrowed_key_is_sent_to_key_by_ref() {
    let right = "let _ = names.key_by_ref(|(name, _)| name.as_str());";
    refused(
        "let _ = names.key_by(|(name, _)| name);",
        &["`&String` cannot be a key", "is for `key_by_ref`: key_by_ref(|r| r.name.as_str())"],
        right,
    );
    // Lifetimes are looked at last, where no message is ours: these are the words by which the documentation of `key_by` is found.
    refused("let _ = names.key_by(|(name, _)| name.as_str());", &["lifetime may not live long enough"], right);
}

#[test]
fn key_that_is_not_hashed_or_stored_is_told_its_derives() {
    let derives = "needs #[derive(Hash, PartialEq, Eq, Clone, serde::Serialize, serde::Deserialize)]";
    refused(
        "let _ = numbers.key_by(|n| Seat { row: n / 10 });",
        &["`Seat` cannot be a key", derives],
        "let _ = numbers.key_by(|n| n / 10);",
    );
    refused(
        "let _ = numbers.key_by(|n| *n as f64 / 10.0);",
        &["`f64` cannot be a key", "a floating-point number is no key: choose its bits"],
        "let _ = numbers.key_by(|n| (*n as f64 / 10.0).to_bits());",
    );
}

#[test]
fn async_closure_is_sent_to_async_map() {
    let right = "use std::time::Duration;
        let wait = AsyncWait::ordered(Duration::from_secs(1));
        numbers.async_map(\"plus\", wait, |n| async move { Ok(n + 1) }).sink(\"out\", CollectSink::<u64>::new());";
    let advice = &["if the records are futures", "`async_map` awaits them, `map` does not"];
    refused("numbers.map(async |n| n + 1).sink(\"out\", CollectSink::<u64>::new());", advice, right);
    refused("numbers.map(|n| async move { n + 1 }).sink(\"out\", CollectSink::<u64>::new());", advice, right);
}

#[test]
fn sink_of_other_records_is_told_which_the_stream_has() {
    refused(
        "numbers.map(|n| n.to_string()).sink(\"out\", CollectSink::<u64>::new());",
        &[
            "`millstream::prelude::CollectSink<u64>` is not a sink of records `String`",
            "the stream's records are `String`",
        ],
        "numbers.map(|n| n.to_string()).sink(\"out\", CollectSink::<String>::new());",
    );
    refused(
        "numbers.sink(\"out\", |n: u64| println!(\"{n}\"));",
        &["is not a sink of records `u64`", "a closure is for `for_each`"],
        "numbers.for_each(\"out\", |n: u64| println!(\"{n}\"));",
    );
    refused(
        "numbers.map(|row| Seat { row }).sink(\"out\", PrintSink::new());",
        &["`Seat` doesn't implement `std::fmt::Display`"],
        "numbers.map(|row| Seat { row }.row).sink(\"out\", PrintSink::new());",
    );
    refused(
        "numbers.filter(|n| *n).sink(\"out\", CollectSink::new());",
        &["expected `bool`, found `u64`"],
        "numbers.filter(|n| *n > 7).sink(\"out\", CollectSink::new());",
    );
}

#[test]
fn closure_or_collection_in_the_place_of_a_type_is_told_what_it_is_for() {
    refused(
        "numbers.process(\"double\", |n: u64| 2 * n).sink(\"out\", CollectSink::new());",
        &["is not a function on records `u64`", "a closure is for `map`, `filter_map` and `flat_map`"],
        "numbers.map(|n: u64| 2 * n).sink(\"out\", CollectSink::new());",
    );
    refused(
        "numbers.key_by(|n| n % 10).process(\"sum\", |sum: &mut u64, n: u64| *sum += n).sink(\"out\", CollectSink::new());",
        &["is not a function on records `u64` with keys `u64`", "a closure is for `reduce`, `fold` and `fold_map`"],
        "numbers.key_by(|n| n % 10).fold(\"sum\", 0, |sum: &mut u64, n: u64| *sum += n).sink(\"out\", CollectSink::new());",
    );
    refused(
        "env.source(\"three\", vec![1, 2, 3]).sink(\"out\", CollectSink::new());",
        &["is not a source", "for `VecSource::new(..)`"],
        "env.source(\"three\", VecSource::new(vec![1, 2, 3])).sink(\"out\", CollectSink::new());",
    );
}

#[test]
fn what_is_no_window_trigger_aggregate_or_store_is_told_what_is() {
    let minute = "std::time::Duration::from_secs(60)";
    let windowed = |windows: &str| {
        format!(
            "numbers.key_by(|n| n % 10).window({windows}).reduce(\"sums\", |a, b| a + b).sink(\"out\", CollectSink::new());"
        )
    };
    let tumbling = format!("TumblingWindows::event_time({minute})");
    refused(
        &windowed(minute),
        &["does not assign records `u64` to windows", "windows are `TumblingWindows::event_time(length)`"],
        &windowed(&tumbling),
    );
    refused(
        &windowed(&format!("{tumbling}).trigger(100")),
        &["is not a trigger for windows of records `u64`", "such as `CountTrigger::of(100)`"],
        &windowed(&format!("{tumbling}).trigger(millstream::window::CountTrigger::of(100)")),
    );
    let aggregated = |function: &str| {
        format!("numbers.key_by(|n| n % 10).aggregate(\"sums\", {function}).sink(\"out\", CollectSink::new());")
    };
    refused(
        &aggregated("|a: u64, b: u64| a + b"),
        &["is not an aggregate function", "closures are for `reduce` and `fold`"],
        &aggregated("millstream::aggregates::Count::new()"),
    );
    refused(
        "let _ = StreamEnvironment::new(\"other\").snapshot_store(\"job.redb\");",
        &["is not a store for snapshots", "a store is opened before it is given"],
        "let _ = StreamEnvironment::new(\"other\").snapshot_store(RedbStore::open(\"job.redb\").unwrap());",
    );
}

#[test]
fn what_cannot_go_to_another_thread_or_into_a_snapshot_is_named() {
    refused(
        "let one = Rc::new(1); numbers.map(move |n| n + *one).sink(\"out\", CollectSink::new());",
        &["`Rc<u64>` cannot be sent between threads safely", "required by a bound in `DataStream::<T>::map`"],
        "let one = std::sync::Arc::new(1); numbers.map(move |n| n + *one).sink(\"out\", CollectSink::new());",
    );
    let right = with_state("ValueState<u64>", "ValueState::new(\"last\")");
    let values = "values of a state are `Serialize + DeserializeOwned + Send + 'static`";
    refused(
        &with_state("ValueState<Rc<u64>>", "ValueState::new(\"last\")"),
        &["ValueState<Rc<u64>>` is not a set of states", values, "use no `Rc`"],
        &right,
    );
    refused(
        &with_state("ValueState<Seat>", "ValueState::new(\"last\")"),
        &["ValueState<Seat>` is not a set of states", values, "derive the first two from serde"],
        &right,
    );
    refused(
        &with_state("u64", "0"),
        &["`u64` is not a set of states", "a set is one state, such as `ValueState<u64>`"],
        &right,
    );
}

#[test]
fn what_leads_nowhere_is_told_what_is_missing() {
    let ends = ".sink(\"out\", CollectSink::new());";
    for (wrong, said) in [
        ("numbers.map(|n| n + 1);", "a stream leads nowhere until it ends in a sink or in for_each"),
        ("numbers.key_by(|n| n % 10);", "a keyed stream does nothing until an operation is called on it"),
        ("StreamEnvironment::new(\"sums\");", "a job runs only once it is started"),
    ] {
        refused(wrong, &[said], &format!("numbers.key_by(|n| n % 10).fold(\"sum\", 0, |sum, n| *sum += n){ends}"));
    }
}
