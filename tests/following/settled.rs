//! Files that were read to their end long ago.

use std::fs;

use crate::rig::{EVERY, Followers, Logs, SETTLED_AFTER};

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
    followers.wait(2 * SETTLED_AFTER);
    assert!(followers.at_hand().unwrap().is_empty());
    logs.remove("app.log");
    assert!(Followers::restore(&source, 1, Some(followers.positions())).is_err(), "a line waits in it");
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
