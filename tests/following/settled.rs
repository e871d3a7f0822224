//! Files that were read to their end long ago.

use std::fs;

use millstream::prelude::*;

use crate::rig::{EVERY, Followers, Logs, SETTLED_AFTER, follow};

#[test]
fn settled_file_may_be_removed_while_the_job_does_not_run() {
    let logs = Logs::new();
    logs.append("app.log", "one\n");
    let source = logs.lines("app.*");
    let mut followers = Followers::open(&source, 1);
    assert_eq!(followers.at_hand().unwrap(), ["one"]);
    followers.wait(SETTLED_AFTER);
    assert!(followers.at_hand().unwrap().is_empty());
    let positions = followers.positions();
    drop(followers);
    logs.remove("app.log");
    logs.append("app.log", "new\n");
    let mut followers = Followers::restore(&source, 2, Some(positions)).unwrap();
    assert_eq!(followers.at_hand().unwrap(), ["new"]);
}

#[test]
fn settled_file_that_grows_is_read_on_and_must_not_go_then() {
    let logs = Logs::new();
    logs.append("app.log", "one\n");
    let source = logs.lines("app.*");
    let mut followers = Followers::open(&source, 1);
    followers.at_hand().unwrap();
    followers.wait(SETTLED_AFTER);
    followers.at_hand().unwrap();
    logs.append("app.log", "two\nthr");
    let mut followers = Followers::restore(&source, 1, Some(followers.positions())).unwrap();
    assert_eq!(followers.at_hand().unwrap(), ["two"]);
    logs.remove("app.log");
    assert!(Followers::restore(&source, 1, Some(followers.positions())).is_err(), "a line waits in it");
}

/// Cause: a file whose writer had died in a line never settled, and ended the job when it was removed days later.
#[test]
fn last_line_that_has_waited_for_its_end_for_long_goes_with_its_file() {
    for (is_restarted, open_files) in [(false, 1), (false, 2), (true, 2)] {
        let logs = Logs::new();
        logs.append("a.log", "one\ntw");
        logs.append("b.log", "one\ntw");
        let source = FileSource::lines(logs.pattern("*.log")).follow(follow().open_files_max(open_files));
        let mut followers = Followers::open(&source, 1);
        assert_eq!(followers.at_hand().unwrap().len(), 2);
        followers.wait(SETTLED_AFTER);
        assert!(followers.at_hand().unwrap().is_empty());
        let positions = followers.positions();
        logs.append("a.log", "o\n");
        assert_eq!(followers.next().unwrap(), ["two"], "settled is not ended");
        logs.remove("b.log");
        if is_restarted {
            followers = Followers::restore(&source, 2, Some(positions)).unwrap();
            assert_eq!(followers.at_hand().unwrap(), ["two"]);
        }
        for _ in 0..3 {
            followers.wait(SETTLED_AFTER);
            assert!(followers.at_hand().unwrap().is_empty());
        }
        assert_eq!(followers.positions().len(), 1);
        followers.finish();
        assert!(followers.at_hand().unwrap().is_empty());
    }
}

/// Cause: how long a file had been quiet, or gone, was counted anew by each attempt.
#[test]
fn files_settle_and_are_forgotten_though_the_job_is_restarted_again_and_again() {
    let logs = Logs::new();
    logs.append("a.log", "one\n");
    logs.append("b.log", "one\ntw");
    let source = logs.lines("*.log");
    let mut followers = Followers::open(&source, 1);
    assert_eq!(followers.at_hand().unwrap().len(), 2);
    let restart = |followers: &mut Followers<String>, parallelism| {
        followers.wait(SETTLED_AFTER / 3);
        let mut next = followers.restart(&source, parallelism).unwrap();
        assert!(next.at_hand().unwrap().is_empty());
        *followers = next;
    };
    (1..=4).for_each(|parallelism| restart(&mut followers, parallelism));
    let positions = followers.positions();
    logs.remove("a.log");
    logs.remove("b.log");
    restart(&mut followers, 1);
    assert_eq!(followers.positions().len(), positions.len(), "they may come back");
    (1..=4).for_each(|parallelism| restart(&mut followers, parallelism));
    assert!(followers.positions().is_empty());
}

#[test]
fn file_that_is_missed_once_is_not_forgotten_however_soon_files_settle() {
    let logs = Logs::new();
    fs::create_dir(logs.path("away")).unwrap();
    logs.append("app.log", "one\n");
    let source = FileSource::lines(logs.pattern("*.log")).follow(follow().settled_after(EVERY));
    let mut followers = Followers::open(&source, 1);
    assert_eq!(followers.at_hand().unwrap(), ["one"]);
    for _ in 0..3 {
        assert!(followers.next().unwrap().is_empty());
    }
    logs.rename("app.log", "away/app.log");
    assert!(followers.next().unwrap().is_empty());
    logs.rename("away/app.log", "app.log");
    assert!(followers.next().unwrap().is_empty());
}

#[test]
fn state_of_files_that_have_gone_is_forgotten() {
    let logs = Logs::new();
    let source = logs.lines("app.log");
    let mut followers = Followers::open(&source, 2);
    for day in 0..60 {
        if day > 0 {
            for n in (1..=5).rev().filter(|n| logs.path(&format!("app.log.{n}")).exists()) {
                logs.rename(&format!("app.log.{n}"), &format!("app.log.{}", n + 1));
            }
            logs.rename("app.log", "app.log.1");
            let _ = fs::remove_file(logs.path("app.log.6"));
        }
        logs.append("app.log", &format!("day {day}\n"));
        assert_eq!(followers.next().unwrap(), [format!("day {day}")]);
        followers.wait(SETTLED_AFTER);
        assert!(followers.at_hand().unwrap().is_empty());
        assert!(followers.positions().len() <= 9, "day {day}: {}", followers.positions().len());
        if day % 7 == 0 {
            followers = Followers::restore(&source, 1 + day % 3, Some(followers.positions())).unwrap();
        }
    }
    followers.wait(EVERY);
    assert!(followers.at_hand().unwrap().is_empty());
}
