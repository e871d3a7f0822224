//! Counts words, exactly once: the smallest Millstream job.
//!
//! `cargo run --release --example word_count [-- OUT_DIR STORE_FILE]`

use std::time::Duration;

use millstream::prelude::*;

mod common;

const TEXTS: &str = "examples/data/texts/*.txt";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    common::log_to_stderr();
    let scratch = tempfile::tempdir()?;
    let mut args = std::env::args().skip(1);
    let out = args.next().map_or_else(|| scratch.path().join("out"), Into::into);
    let store = args.next().map_or_else(|| scratch.path().join("word-count.redb"), Into::into);

    let outcome = actix_rt::System::new().block_on(async {
        let env = StreamEnvironment::new("word-count")
            .snapshot_store(RedbStore::open(store)?)
            .checkpointing(Checkpointing::every(Duration::from_millis(500)));

        env.source("lines", FileSource::lines(TEXTS))
            .flat_map(|line: String, out| {
                for word in line.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty()) {
                    out.emit(word.to_lowercase());
                }
            })
            .key_by_ref(String::as_str)
            .fold("count", 0u64, |count, _| *count += 1)
            .sink("counts", FileSink::json_lines(&out));

        let job = env.start()?;
        common::drain_on_signal(&job);
        Ok::<_, Box<dyn std::error::Error>>(job.await?)
    })?;

    let words = check(&out)?;
    println!(
        "OK: {words} words counted as in a plain loop, {:?} with {} checkpoints",
        outcome.kind, outcome.checkpoints
    );
    Ok(())
}

/// Compares the highest count of each word with a plain loop over the same files.
fn check(out: &std::path::Path) -> Result<u64, Box<dyn std::error::Error>> {
    use std::collections::BTreeMap;
    let mut expected: BTreeMap<String, u64> = BTreeMap::new();
    for path in glob::glob(TEXTS)? {
        for word in std::fs::read_to_string(path?)?.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty())
        {
            *expected.entry(word.to_lowercase()).or_default() += 1;
        }
    }
    let mut counted: BTreeMap<String, u64> = BTreeMap::new();
    for path in glob::glob(&format!("{}/part-*.jsonl", out.display()))? {
        for line in std::fs::read_to_string(path?)?.lines() {
            let (word, count): (String, u64) = serde_json::from_str(line)?;
            let highest = counted.entry(word).or_default();
            *highest = count.max(*highest);
        }
    }
    if counted != expected {
        return Err(format!("counted {counted:?}\nexpected {expected:?}").into());
    }
    Ok(expected.values().sum())
}
