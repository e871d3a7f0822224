//! When is looked, and what the last look finds.

use std::collections::BTreeSet;
use std::fs;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use millstream::Clock;
use millstream::prelude::*;
use millstream::source::{Batch, FileSourceError, ReadStatus, Source, SourceContext};
use millstream::testing::source_context;
use millstream::time::ManualClock;

use crate::rig::{EVERY, Followers, Logs, follow, of_file};

/// At each sight much time has passed, as where looking at a network takes long.
struct Hasty(ManualClock, AtomicU64);

impl Clock for Hasty {
    fn now(&self) -> Duration {
        self.0.now() + 3 * EVERY * self.1.fetch_add(1, Ordering::Relaxed) as u32
    }

    fn unix_ms(&self) -> u64 {
        self.0.unix_ms()
    }

    fn sleep(&self, delay: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        self.0.sleep(delay)
    }
}

/// Cause: a look that takes as long as the interval was followed by the next one. Repair: something is read in between.
#[test]
fn looks_that_take_longer_than_the_interval_do_not_keep_files_from_being_read() {
    let logs = Logs::new();
    for number in 0..20 {
        logs.append(&format!("{number}.log"), &format!("line {number}\n"));
    }
    let clock = Arc::new(Hasty(ManualClock::new(), AtomicU64::new(0)));
    let cx = SourceContext { clock, ..source_context(0, 1) };
    let mut reader = logs.lines("*.log").open(&cx, None).unwrap();
    let mut read = BTreeSet::new();
    for _ in 0..60 {
        let mut batch = Batch::new();
        reader.read(&mut batch).unwrap();
        read.extend(batch.drain());
    }
    assert_eq!(read.len(), 20);
}

#[test]
fn finish_looks_until_it_knows_what_has_become_of_each_file() {
    for name in ["a.log", "b.log"] {
        let logs = Logs::new();
        logs.append("a.log", "one\n");
        logs.append("b.log", "one\n");
        // One of them is held open.
        let source = FileSource::lines(logs.pattern("*.log")).follow(follow().open_files_max(1));
        let mut followers = Followers::open(&source, 1);
        assert_eq!(followers.at_hand().unwrap().len(), 2);
        logs.append(name, "two\n");
        logs.remove(name);
        followers.finish();
        match followers.at_hand() {
            Ok(read) => {
                assert_eq!(read, ["two"]);
                assert_eq!(followers.read(0, 10).unwrap().0, ReadStatus::End);
            }
            Err(error) => assert!(matches!(of_file(&error), FileSourceError::Lost { offset: 4, .. }), "{error}"),
        }
    }
}

#[test]
fn finish_finds_a_file_that_is_renamed_behind_its_look() {
    let logs = Logs::new();
    for name in ["a.log", "b.log", "c.log"] {
        logs.append(name, "one\n");
    }
    let source = FileSource::lines(logs.pattern("*.log")).follow(follow().open_files_max(1));
    let mut followers = Followers::open(&source, 1);
    assert_eq!(followers.at_hand().unwrap().len(), 3);
    for name in ["a.log", "b.log", "c.log"] {
        logs.append(name, "two\n");
    }
    followers.finish();
    assert_eq!(followers.read(0, 10).unwrap(), (ReadStatus::More, vec![]), "the look");
    for name in ["a", "b", "c"] {
        logs.rename(&format!("{name}.log"), &format!("{name}.old"));
    }
    assert_eq!(followers.at_hand().unwrap(), ["two", "two", "two"]);
    assert_eq!(followers.read(0, 10).unwrap().0, ReadStatus::End);
}

/// What is asked of all files at each read is known without looking at each.
#[test]
fn reads_of_thousands_of_files_are_not_looks_at_thousands_of_files() {
    let logs = Logs::new();
    for number in 0..3_000 {
        fs::write(logs.path(&format!("{number}.log")), format!("line {number}\n")).unwrap();
    }
    let mut followers = Followers::open(&logs.lines("*.log"), 1);
    assert_eq!(followers.at_hand().unwrap().len(), 3_000);
    assert!(followers.next().unwrap().is_empty());
    assert_eq!(followers.positions().len(), 3_000);
}
