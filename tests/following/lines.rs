//! What is appended, and what comes.

use std::os::unix::fs::symlink;
use std::sync::atomic::Ordering;
use std::time::Duration;

use millstream::prelude::*;
use millstream::source::{Positioned, ReadStatus, Source};
use millstream::testing::{read_source, source_context};

use crate::rig::{EVERY, Followers, Logs, follow};

#[test]
fn appended_lines_and_new_files_are_read_and_a_line_without_its_end_waits_over_a_restart() {
    let logs = Logs::new();
    let source = logs.lines("*.log");
    let mut followers = Followers::open(&source, 1);
    assert!(followers.at_hand().unwrap().is_empty(), "nothing needs to be there");
    logs.append("a.log", "one\ntw");
    assert_eq!(followers.next().unwrap(), ["one"]);
    logs.append("a.log", "o");
    logs.append("b.log", "fi");
    assert!(followers.next().unwrap().is_empty());
    let mut followers = Followers::restore(&source, 3, Some(followers.positions())).unwrap();
    assert!(followers.at_hand().unwrap().is_empty());
    logs.append("a.log", "\r\nthree\nfo");
    logs.append("b.log", "rst\n");
    let mut read = followers.next().unwrap();
    read.sort();
    assert_eq!(read, ["first", "three", "two"]);
    logs.append("a.log", "ur\n");
    logs.append("c.txt", "another\n");
    assert_eq!(followers.next().unwrap(), ["four"]);
}

#[test]
fn finish_reads_what_is_there_and_ends_without_the_line_that_waits() {
    let logs = Logs::new();
    logs.append("a.log", "one\n");
    let source = logs.lines("*.log");
    let mut followers = Followers::open(&source, 2);
    assert_eq!(followers.at_hand().unwrap(), ["one"]);
    logs.append("a.log", "two\nthr");
    logs.append("b.log", &"more\n".repeat(3_000));
    followers.finish();
    assert_eq!(followers.at_hand().unwrap().len(), 3_001);
    for subtask in 0..2 {
        assert_eq!(followers.read(subtask, 10).unwrap().0, ReadStatus::End);
    }
}

#[test]
fn several_paths_to_one_file_are_one_split() {
    let logs = Logs::new();
    logs.append("a.log", "one\n");
    std::fs::hard_link(logs.path("a.log"), logs.path("b.log")).unwrap();
    symlink(logs.path("a.log"), logs.path("c.log")).unwrap();
    symlink(logs.path("nowhere"), logs.path("d.log")).unwrap();
    let source = logs.lines("*.log");
    let mut followers = Followers::open(&source, 2);
    assert_eq!(followers.at_hand().unwrap(), ["one"]);
    logs.append("c.log", "two\n");
    logs.remove("a.log");
    assert_eq!(followers.next().unwrap(), ["two"]);
    logs.append("b.log", "three\n");
    let mut followers = Followers::restore(&source, 3, Some(followers.positions())).unwrap();
    assert_eq!(followers.at_hand().unwrap(), ["three"]);
}

#[test]
fn rows_with_line_ends_in_fields_wait_until_they_are_closed_and_the_header_until_it_is_there() {
    let logs = Logs::new();
    let source = FileSource::csv::<(u32, String)>(logs.pattern("*.csv")).follow(follow());
    let mut followers = Followers::open(&source, 1);
    logs.append("a.csv", "\nid,no");
    assert!(followers.next().unwrap().is_empty());
    logs.append("a.csv", "te\n");
    assert!(followers.next().unwrap().is_empty());
    let mut followers = Followers::restore(&source, 2, Some(followers.positions())).unwrap();
    for part in ["1,\"a", "\n", "b\n"] {
        logs.append("a.csv", part);
        assert!(followers.next().unwrap().is_empty());
    }
    let mut followers = Followers::restore(&source, 3, Some(followers.positions())).unwrap();
    logs.append("a.csv", "\"\n2,c\n");
    assert_eq!(followers.next().unwrap(), [(1, "a\nb\n".to_owned()), (2, "c".to_owned())]);
    logs.append("a.csv", "3,d\n");
    assert_eq!(followers.next().unwrap(), [(3, "d".to_owned())]);
}

#[test]
fn line_beyond_the_bound_is_malformed_once_it_has_come_to_its_end() {
    let logs = Logs::new();
    let source = FileSource::lines(logs.pattern("*.log"))
        .max_record_bytes(1_000)
        .on_malformed(OnMalformed::Skip)
        .follow(follow());
    let malformed = source.malformed_count();
    let mut followers = Followers::open(&source, 1);
    for _ in 0..20 {
        logs.append("a.log", &"long".repeat(100_000));
        assert!(followers.next().unwrap().is_empty());
    }
    assert_eq!(malformed.load(Ordering::Relaxed), 0);
    logs.append("a.log", "\nshort\n");
    assert_eq!(followers.next().unwrap(), ["short"]);
    assert_eq!(malformed.load(Ordering::Relaxed), 1);
}

#[test]
fn place_of_a_record_stays_the_same_over_renames_and_restarts() {
    let logs = Logs::new();
    logs.append("a.log", "one\n");
    let source = logs.lines("*.log").positioned();
    let mut followers = Followers::open(&source, 1);
    let place = |record: &Positioned<String>| (record.path.ends_with("a.log"), record.line, record.record_index);
    assert_eq!(followers.at_hand().unwrap().iter().map(place).collect::<Vec<_>>(), [(true, 1, 0)]);
    logs.rename("a.log", "z.log");
    logs.append("z.log", "two\n");
    let mut followers = Followers::restore(&source, 1, Some(followers.positions())).unwrap();
    assert_eq!(followers.at_hand().unwrap().iter().map(place).collect::<Vec<_>>(), [(true, 2, 1)]);
}

#[test]
fn more_files_than_may_be_open_are_followed() {
    let logs = Logs::new();
    let source = FileSource::lines(logs.pattern("*.log")).follow(follow().open_files_max(3));
    let mut followers = Followers::open(&source, 2);
    for round in 0..5 {
        for file in 0..40 {
            logs.append(&format!("{file}.log"), &format!("file {file} round {round}\n"));
        }
        assert_eq!(followers.next().unwrap().len(), 40);
    }
    assert_eq!(followers.positions().len(), 40);
}

#[test]
fn large_files_are_read_in_turn() {
    let logs = Logs::new();
    for name in ["a.log", "b.log"] {
        logs.append(name, &format!("{name} {}\n", "x".repeat(1_000)).repeat(12_000));
    }
    let source = logs.lines("*.log");
    let mut followers = Followers::open(&source, 1);
    let read = followers.at_hand().unwrap();
    assert_eq!(read.len(), 24_000);
    let turns = read.windows(2).filter(|pair| pair[0][..5] != pair[1][..5]).count();
    assert!((3..=8).contains(&turns), "{turns} turns");
}

#[test]
fn settings_that_cannot_be_are_refused() {
    let logs = Logs::new();
    let lines = || FileSource::lines(logs.pattern("a.log"));
    let mistaken = [
        FileSource::lines(logs.pattern("*.gz")).follow(follow()),
        lines().follow(Follow::every(Duration::ZERO)),
        lines().follow(follow().open_files_max(0)),
        lines().follow(follow().settled_after(Duration::ZERO)),
        lines().follow(follow().settled_after(EVERY - Duration::from_millis(1))),
    ];
    for source in mistaken {
        let env = StreamEnvironment::new("mistaken");
        env.source("lines", source).sink("out", CollectSink::new());
        assert!(matches!(env.start(), Err(StartError::Graph(_))));
    }
}

#[test]
fn positions_of_a_source_that_did_not_follow_are_refused_and_the_other_way_round() {
    let logs = Logs::new();
    logs.append("a.log", &"line\n".repeat(2_000));
    let (bounded, follows) = (FileSource::lines(logs.pattern("*.log")), logs.lines("*.log"));
    let stored = read_source(&bounded, 1, None, Some(1)).positions;
    let error = Followers::restore(&follows, 1, Some(stored)).err().unwrap();
    assert!(error.to_string().contains("did not follow") && !error.is_retryable(), "{error}");
    let stored = Followers::open(&follows, 1).positions();
    assert!(follows.describe_position(&stored[0].position).ends_with("a.log' line 1 (byte 0)"));
    let error = bounded.open(&source_context(0, 1), Some(stored)).err().unwrap();
    assert!(!error.is_retryable(), "{error}");
}
