//! Files and records that cannot be read end no job where nothing is lost in silence: F6.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::Ordering;

use millstream::prelude::*;
use millstream::source::{FileSourceError, ReadStatus};

use crate::rig::{Followers, Logs, follow, of_file};

/// Whether files can be kept from this process at all: not from the superuser.
fn is_kept_out(logs: &Logs) -> bool {
    logs.append("probe", "");
    fs::set_permissions(logs.path("probe"), Permissions::from_mode(0o0)).unwrap();
    fs::File::open(logs.path("probe")).is_err()
}

fn set_mode(logs: &Logs, name: &str, mode: u32) {
    fs::set_permissions(logs.path(name), Permissions::from_mode(mode)).unwrap();
}

#[test]
fn compressed_files_and_names_that_are_not_utf_8_are_left_out() {
    let logs = Logs::new();
    logs.append("a.log", "one\n");
    logs.append("a.log.1.gz", "whatever it holds\n");
    fs::write(logs.0.path().join(OsStr::from_bytes(b"b\xff.log")), "no\n").unwrap();
    let source = logs.lines("*");
    let mut followers = Followers::open(&source, 2);
    assert_eq!(followers.at_hand().unwrap(), ["one"]);
    assert!(followers.next().unwrap().is_empty());
    logs.append("a.log", "two\n");
    // The same file under another name, which a rotation may give it before it is compressed.
    logs.rename("a.log", "a.log.2.gz");
    assert_eq!(followers.next().unwrap(), ["two"]);
    followers.finish();
    assert!(followers.at_hand().unwrap().is_empty());
}

#[test]
fn file_that_may_not_be_read_is_read_once_it_may_be() {
    let logs = Logs::new();
    if !is_kept_out(&logs) {
        return;
    }
    logs.append("a.log", "one\n");
    logs.append("b.log", "two\n");
    set_mode(&logs, "a.log", 0);
    let source = FileSource::lines(logs.pattern("*.log")).follow(follow().open_files_max(1));
    let mut followers = Followers::open(&source, 1);
    assert_eq!(followers.at_hand().unwrap(), ["two"]);
    set_mode(&logs, "a.log", 0o600);
    assert_eq!(followers.next().unwrap(), ["one"]);
    // One that is known, and not held open.
    logs.append("b.log", "three\n");
    set_mode(&logs, "b.log", 0);
    assert!(followers.next().unwrap().is_empty());
    let positions = followers.positions();
    set_mode(&logs, "b.log", 0o600);
    assert_eq!(followers.next().unwrap(), ["three"]);
    set_mode(&logs, "b.log", 0);
    let mut followers = Followers::restore(&source, 1, Some(positions)).unwrap();
    assert!(followers.at_hand().unwrap().is_empty());
    followers.finish();
    let error = followers.at_hand().unwrap_err();
    assert!(matches!(of_file(&error), FileSourceError::Io { .. }), "its end cannot be the end of the input: {error}");
}

#[test]
fn quotes_that_are_not_closed_within_the_bound_make_their_first_line_malformed() {
    for policy in [OnMalformed::Fail, OnMalformed::Skip] {
        for long in [3, 90, 300] {
            let logs = Logs::new();
            let is_skipped = matches!(policy, OnMalformed::Skip);
            let source = FileSource::csv::<(u32, String)>(logs.pattern("*.csv"))
                .max_record_bytes(100)
                .on_malformed(policy.clone())
                .follow(follow());
            let malformed = source.malformed_count();
            let mut followers = Followers::open(&source, 1);
            logs.append("a.csv", &format!("id,note\n1,\"{}", "a".repeat(long)));
            assert!(followers.next().unwrap().is_empty());
            logs.append("a.csv", "\n2,b\n");
            let mut read = Vec::new();
            if long < 100 {
                assert!(followers.next().unwrap().is_empty());
            }
            logs.append("a.csv", &"2,b\n".repeat(49));
            let result = followers.next();
            if !is_skipped {
                let error = result.unwrap_err();
                assert!(matches!(of_file(&error), FileSourceError::Malformed { line: 2, .. }), "{error}");
                continue;
            }
            read.extend(result.unwrap());
            let mut followers = Followers::restore(&source, 2, Some(followers.positions())).unwrap();
            logs.append("a.csv", "3,c\n");
            read.extend(followers.next().unwrap());
            let mut expected = vec![(2, "b".to_owned()); 50];
            expected.push((3, "c".to_owned()));
            assert_eq!(read, expected, "{long} bytes");
            assert_eq!(malformed.load(Ordering::Relaxed), 1);
            followers.finish();
            assert!(followers.at_hand().unwrap().is_empty());
            assert_eq!(followers.read(0, 1).unwrap().0, ReadStatus::End);
        }
    }
}
