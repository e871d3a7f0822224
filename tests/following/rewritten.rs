//! What was made of files that were met.

use std::fs;

use millstream::prelude::*;
use millstream::source::FileSourceError;

use crate::rig::{EVERY, Followers, Logs, SETTLED_AFTER, follow, of_file};

fn is_rewritten(result: Result<Vec<String>, millstream::source::SourceError>, offset: u64) {
    let error = result.unwrap_err();
    assert!(matches!(of_file(&error), FileSourceError::Rewritten { offset: at, .. } if *at == offset), "{error}");
}

#[test]
fn file_that_is_written_anew_at_the_same_length_is_told() {
    for lines in ["one\ntwo\n", "one\ntw"] {
        let logs = Logs::new();
        logs.append("app.log", lines);
        let source = logs.lines("app.log");
        let mut followers = Followers::open(&source, 1);
        let read = followers.at_hand().unwrap().len() as u64;
        fs::write(logs.path("app.log"), "six\nten\n".get(..lines.len()).unwrap()).unwrap();
        is_rewritten(followers.next(), 4 * read);
    }
}

#[test]
fn file_that_is_written_anew_before_anything_of_it_was_read_is_told_and_read_by_nobody_twice() {
    for number in 0..12 {
        for accepts in [false, true] {
            let logs = Logs::new();
            logs.append("app.log", "one\ntwo\n");
            let follow = if accepts { follow().accept_loss() } else { follow() };
            let source = FileSource::lines(logs.pattern("app.log")).follow(follow);
            let mut followers = Followers::open(&source, 2);
            fs::write(logs.path("app.log"), format!("anew {number}\nmore {number}\nagain {number}\n")).unwrap();
            if !accepts {
                is_rewritten(followers.at_hand(), 0);
                continue;
            }
            let mut read = followers.at_hand().unwrap();
            read.extend(followers.next().unwrap());
            assert_eq!(read, ["anew", "more", "again"].map(|word| format!("{word} {number}")));
            assert_eq!(followers.positions().len(), 1);
        }
    }
}

#[test]
fn part_of_a_line_that_waits_may_be_written_anew() {
    let logs = Logs::new();
    logs.append("app.log", "one\ntw");
    let source = logs.lines("app.log");
    let mut followers = Followers::open(&source, 1);
    assert_eq!(followers.at_hand().unwrap(), ["one"]);
    fs::write(logs.path("app.log"), "one\n2\n").unwrap();
    assert_eq!(followers.next().unwrap(), ["2"]);
}

/// A checkpoint may have two files of one inode: of one that has gone, and of the one that has the inode now.
#[test]
fn of_two_positions_with_one_inode_that_counts_whose_file_is_there() {
    let (logs, mut both) = (Logs::new(), 0);
    fs::create_dir(logs.path("away")).unwrap();
    for number in 0..40 {
        let source = logs.lines("*.log");
        logs.append("a.log", &format!("old {number}\n"));
        let mut followers = Followers::open(&source, 2);
        assert_eq!(followers.at_hand().unwrap().len(), 1);
        followers.wait(SETTLED_AFTER);
        followers.at_hand().unwrap();
        logs.rename("a.log", "away/x");
        let mut followers = Followers::restore(&source, 2, Some(followers.positions())).unwrap();
        followers.at_hand().unwrap();
        // As by removing the file, and a new one that is given its inode.
        fs::write(logs.path("away/x"), format!("new {number}\nmore {number}\n")).unwrap();
        logs.rename("away/x", "b.log");
        followers.wait(EVERY);
        for subtask in 0..2 {
            // This one looks, the other is held up.
            let mut read = Vec::new();
            for _ in 0..20 {
                read.extend(followers.read(subtask, 100).unwrap().1);
            }
            if followers.positions().len() == 2 {
                both += 1;
                assert_eq!(read.len(), 2);
                let mut followers = Followers::restore(&source, 1, Some(followers.positions())).unwrap();
                assert!(followers.at_hand().unwrap().is_empty());
                assert_eq!(followers.positions().len(), 1, "the one that has gone is forgotten");
                break;
            }
        }
        logs.remove("b.log");
    }
    assert!(both > 0);
}
