//! Stores that are whole.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::process::Stdio;

use flate2::read::GzDecoder;
use serde_json::Value;

use crate::counts_job::{HELD_AT, counted, counts_by_positions, drained, exported_counts, ids};
use crate::tool::{Called, call, command, export};

#[test]
fn inspect_shows_checkpoints_and_states_and_leaves_the_file_alone() {
    let (_dir, job) = drained();
    let before = fs::read(&job.store).unwrap();
    let report = call("inspect", &job.store, &["--json"]).fine().json();
    assert_eq!(report["job"], "counts");
    assert_eq!(report["file_bytes"], before.len());
    let ids = ids(&report);
    assert!(ids.len() >= 16 && ids.is_sorted(), "{ids:?}");
    let newest = report["checkpoints"].as_array().unwrap().last().unwrap();
    assert_eq!(report["shown"], newest["id"]);
    assert_eq!((&newest["operators"], &newest["max_parallelism"]), (&Value::from(3), &Value::from(128)));
    assert!(newest["written_bytes"].as_u64() < newest["bytes"].as_u64(), "changes alone were written: {newest}");
    assert!(newest["triggered"].as_str().unwrap().starts_with("20"));

    let states = report["states"].as_array().unwrap();
    let state = |operator: &str| states.iter().find(|state| state["operator"] == operator).unwrap();
    let counts = state("count");
    assert_eq!(counts["entries"], counted(|id| id < HELD_AT).len());
    assert_eq!((&counts["keys"], &counts["values"]), (&Value::from("MessagePack"), &Value::from("u64")));
    assert_eq!((&counts["scope"], &counts["damage"]), (&Value::from("key_group"), &Value::Null));
    assert!(counts["longest_chain"].as_u64() > Some(1), "{counts}");
    assert_eq!((&state("words")["entries"], &state("words")["scope"]), (&Value::from(4), &Value::from("subtask")));
    let bytes: u64 = states.iter().map(|state| state["bytes"].as_u64().unwrap()).sum();
    assert_eq!(newest["bytes"], bytes);

    let quick = call("inspect", &job.store, &["--json", "--no-entries"]).fine().json();
    assert!(quick["states"].as_array().unwrap().iter().all(|state| state["entries"].is_null()));
    let oldest = ids[0].to_string();
    assert_eq!(call("inspect", &job.store, &["--json", "--checkpoint", &oldest]).fine().json()["shown"], ids[0]);
    let table = call("inspect", &job.store, &[]).fine().out;
    assert!(
        table.contains("store of job 'counts'") && table.contains("CHECKPOINT") && table.contains("MessagePack"),
        "{table}"
    );
    assert!(fs::read(&job.store).unwrap() == before, "the file was changed");
}

#[test]
fn every_checkpoint_exports_the_counts_of_its_positions() {
    let (_dir, job) = drained();
    let ids = ids(&call("inspect", &job.store, &["--json", "--no-entries"]).fine().json());
    for id in &ids {
        assert_eq!(exported_counts(&job.store, *id), counts_by_positions(&job.store, *id), "checkpoint {id}");
    }
    let newest = exported_counts(&job.store, *ids.last().unwrap());
    assert_eq!(newest, counted(|id| id < HELD_AT));
    let again = call("export", &job.store, &["--operator", "count", "--state", "accumulator"]).fine().json_lines();
    assert_eq!(
        again,
        export(&job.store, *ids.last().unwrap(), "count", "accumulator"),
        "the newest, in the same order"
    );
}

#[test]
fn verify_finds_a_whole_store_whole() {
    let (_dir, job) = drained();
    let report = call("verify", &job.store, &["--json"]).fine().json();
    assert_eq!((&report["is_whole"], &report["unknown_sections"]), (&Value::from(true), &Value::from(0)));
    assert_eq!(report["findings"], Value::Array(Vec::new()));
    let inspected = call("inspect", &job.store, &["--json", "--no-entries"]).fine().json();
    assert_eq!(report["manifests"], ids(&inspected).len());
    let named: u64 = inspected["checkpoints"].as_array().unwrap().iter().map(|c| c["chunks"].as_u64().unwrap()).sum();
    let chunks = report["chunks"].as_u64().unwrap();
    assert!(chunks > 100 && chunks < named / 2, "each once: {chunks} of {named}");
    assert!(call("verify", &job.store, &[]).fine().out.contains(": whole; verified"));
}

/// Keys of the counts by what became of them.
fn changes(lines: &[Value]) -> BTreeMap<String, Vec<(String, Value, Value)>> {
    let mut changes: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for line in lines.iter().filter(|line| line["operator"] == "count") {
        let change = line["change"].as_str().unwrap().to_owned();
        let key = line["key"].as_str().unwrap().to_owned();
        changes.entry(change).or_default().push((key, line["before"].clone(), line["after"].clone()));
    }
    changes.values_mut().for_each(|of| of.sort_by(|a, b| a.0.cmp(&b.0)));
    changes
}

#[test]
fn diff_tells_what_two_exports_differ_in() {
    let (_dir, job) = drained();
    let ids = ids(&call("inspect", &job.store, &["--json", "--no-entries"]).fine().json());
    let (from, to) = (ids[4], ids[ids.len() - 1]);
    for (from, to) in [(from, to), (to, from), (ids[2], ids[3])] {
        let (before, after) = (exported_counts(&job.store, from), exported_counts(&job.store, to));
        let mut expected: BTreeMap<String, Vec<_>> = BTreeMap::new();
        let value = |count: Option<&u64>| count.map_or(Value::Null, |count| Value::from(*count));
        let mut words: Vec<&String> = before.keys().chain(after.keys()).collect();
        words.sort();
        words.dedup();
        for word in words {
            let change = match (before.get(word), after.get(word)) {
                (Some(a), Some(b)) if a == b => continue,
                (Some(_), Some(_)) => "changed",
                (None, _) => "added",
                (_, None) => "removed",
            };
            let entry = (word.clone(), value(before.get(word)), value(after.get(word)));
            expected.entry(change.to_owned()).or_default().push(entry);
        }
        let (a, b) = (from.to_string(), to.to_string());
        let mut lines = call("diff", &job.store, &[&a, &b, "--keys", "--json"]).fine().json_lines();
        let summary = lines.pop().unwrap();
        assert_eq!(changes(&lines), expected, "{from} to {to}");
        let states = summary["states"].as_array().unwrap();
        let counts = states.iter().find(|state| state["operator"] == "count").unwrap();
        for change in ["added", "changed", "removed"] {
            assert_eq!(counts[change], expected.get(change).map_or(0, Vec::len), "{change} from {from} to {to}");
        }
        let plain = call("diff", &job.store, &[&a, &b, "--json"]).fine().json();
        assert_eq!(plain, summary, "the same without keys");
    }
}

#[test]
fn diff_does_not_read_what_is_the_same_and_says_by_its_status_whether_anything_differs() {
    let (_dir, job) = drained();
    let ids = ids(&call("inspect", &job.store, &["--json", "--no-entries"]).fine().json());
    let (from, to) = (ids[ids.len() - 3].to_string(), ids[ids.len() - 2].to_string());
    let asked = ["--operator", "count", "--state", "accumulator", "--exit-code"];
    let differing = call("diff", &job.store, &[&[&*from, &*to, "--json"], &asked[..]].concat());
    assert_eq!(differing.code, 3, "{differing:?}");
    let states = differing.json()["states"].clone();
    assert_eq!(states.as_array().unwrap().len(), 1, "one state was asked for");
    assert!(
        states[0]["same_parts"].as_u64() > states[0]["read_parts"].as_u64(),
        "40 words are in few groups: {states}"
    );
    let same = call("diff", &job.store, &[&[&*from, &*from, "--json"], &asked[..]].concat()).fine().json();
    assert_eq!((&same["states"][0]["read_parts"], &same["states"][0]["changed"]), (&Value::from(0), &Value::from(0)));
    let table = call("diff", &job.store, &[&from, &to, "--keys"]).fine().out;
    assert!(table.contains("~ count/accumulator \"word ") && table.contains("SAME PARTS"), "{table}");
}

#[test]
fn what_is_not_there_is_named_with_what_is() {
    let (_dir, job) = drained();
    let trouble = |called: Called, words: &[&str]| {
        assert_eq!((called.code, &*called.out), (2, ""), "{called:?}");
        assert!(words.iter().all(|word| called.err.contains(word)), "{called:?}");
    };
    let export = |rest: &[&str]| call("export", &job.store, rest);
    trouble(export(&["--operator", "count", "--state", "nothing"]), &["'nothing'", "'accumulator' of 'count'"]);
    trouble(
        export(&["--operator", "count", "--state", "accumulator", "--checkpoint", "999"]),
        &["999", "there are 1, 2"],
    );
    trouble(call("diff", &job.store, &["1", "999"]), &["999"]);
    trouble(call("inspect", &job.store.with_file_name("missing.redb"), &[]), &["missing.redb"]);
    trouble(call("inspect", &job.store, &["--unheard-of"]), &["--unheard-of"]);
}

#[test]
fn kept_store_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store.redb");
    let mut kept = GzDecoder::new(File::open("tests/format/job/store.redb.gz").unwrap());
    io::copy(&mut kept, &mut File::create(&store).unwrap()).unwrap();
    call("verify", &store, &[]).fine();
    let report = call("inspect", &store, &["--json"]).fine().json();
    let newest = report["shown"].as_u64().unwrap();
    let sums = export(&store, newest, "running", "sum");
    let extremes = export(&store, newest, "running", "extremes");
    // Five keys of each of two sources; see `tests/format.rs`.
    assert_eq!((sums.len(), extremes.len()), (10, 10));
    for (sum, extremes) in sums.iter().zip(&extremes) {
        assert_eq!((&sum["key"], &sum["key_group"]), (&extremes["key"], &extremes["key_group"]));
        let (residue, least) = (sum["key"][1].as_u64().unwrap(), extremes["value"]["least"].as_u64().unwrap());
        let most = extremes["value"]["most"].as_u64().unwrap();
        assert_eq!((residue, most % 5), (least, residue));
        assert_eq!(sum["value"], (residue..=most).step_by(5).sum::<u64>(), "{sum} {extremes}");
    }
}

/// Whole sections and changes of values, lists and maps, some with a time to live, some compact.
#[test]
fn states_of_every_kind_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store.redb");
    let mut kept = GzDecoder::new(File::open("tests/format/states.redb.gz").unwrap());
    io::copy(&mut kept, &mut File::create(&store).unwrap()).unwrap();
    let verified = call("verify", &store, &["--json"]).fine().json();
    assert_eq!(verified["unknown_sections"], 0, "{verified}");
    let report = call("inspect", &store, &["--json"]).fine().json();
    let newest = report["shown"].as_u64().unwrap();
    let mut states = 0;
    for state in report["states"].as_array().unwrap().iter().filter(|state| state["entries"].is_u64()) {
        let (operator, name) = (state["operator"].as_str().unwrap(), state["state"].as_str().unwrap());
        let entries = export(&store, newest, operator, name);
        assert_eq!(entries.len() as u64, state["entries"].as_u64().unwrap(), "{name}");
        assert!(entries.iter().all(|entry| !entry["value"].is_null()), "{name}: {entries:?}");
        states += 1;
    }
    assert!(states >= 8, "{report}");
}

#[test]
fn a_reader_that_leaves_early_is_no_failure() {
    let (_dir, job) = drained();
    let arguments = ["export", job.store.to_str().unwrap(), "--operator", "count", "--state", "accumulator"];
    let mut child = command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    let mut reader = BufReader::with_capacity(16, child.stdout.take().unwrap());
    reader.read_line(&mut first).unwrap();
    drop(reader);
    serde_json::from_str::<Value>(&first).unwrap();
    let called = Called::from(child.wait_with_output().unwrap());
    assert_eq!((called.code, &*called.err), (0, ""), "{called:?}");
}
