//! Files that are renamed, removed, cut short and written anew.

use std::fs;
use std::os::unix::fs::symlink;

use millstream::prelude::*;
use millstream::source::FileSourceError;

use crate::rig::{EVERY, Followers, Logs, follow, of_file};

#[test]
fn renamed_file_is_read_on_under_a_name_that_does_not_match() {
    let logs = Logs::new();
    logs.append("app.log", "one\n");
    let source = logs.lines("app.log");
    let mut followers = Followers::open(&source, 1);
    assert_eq!(followers.at_hand().unwrap(), ["one"]);
    logs.rename("app.log", "app.log.1");
    // The program writes on where it was until it opens the new file.
    logs.append("app.log.1", "two\n");
    assert_eq!(followers.next().unwrap(), ["two"]);
    logs.append("app.log", "three\n");
    logs.append("app.log.1", "last of the old\n");
    let mut read = followers.next().unwrap();
    read.sort();
    assert_eq!(read, ["last of the old", "three"]);
    logs.append("app.log.1", "more\n");
    logs.rename("app.log.1", "app.log.2");
    logs.rename("app.log", "app.log.1");
    logs.append("app.log.1", "four\n");
    logs.append("app.log", "five\n");
    let mut followers = Followers::restore(&source, 3, Some(followers.positions())).unwrap();
    let mut read = followers.at_hand().unwrap();
    read.sort();
    assert_eq!(read, ["five", "four", "more"]);
}

#[test]
fn file_that_is_removed_while_it_is_held_open_is_read_to_its_end() {
    let logs = Logs::new();
    logs.append("app.log", "one\n");
    let source = logs.lines("app.log");
    let mut followers = Followers::open(&source, 1);
    assert_eq!(followers.at_hand().unwrap(), ["one"]);
    logs.append("app.log", "two\n");
    logs.remove("app.log");
    logs.append("app.log", "new\n");
    let mut read = followers.next().unwrap();
    read.extend(followers.next().unwrap());
    read.sort();
    assert_eq!(read, ["new", "two"]);
    // That it has gone, and was read, is in the positions.
    followers.next().unwrap();
    let mut followers = Followers::restore(&source, 2, Some(followers.positions())).unwrap();
    assert!(followers.at_hand().unwrap().is_empty());
}

#[test]
fn file_that_is_moved_to_another_folder_is_looked_for_there_if_that_is_said() {
    let logs = Logs::new();
    fs::create_dir(logs.path("old")).unwrap();
    logs.append("app.log", "one\n");
    let source = logs.lines("app.log");
    let mut followers = Followers::open(&source, 1);
    assert_eq!(followers.at_hand().unwrap(), ["one"]);
    logs.append("app.log", "two\n");
    logs.rename("app.log", "old/app.log");
    let error = Followers::restore(&source, 1, Some(followers.positions())).err().unwrap();
    let FileSourceError::Lost { path, offset: 4, .. } = of_file(&error) else { panic!("{error}") };
    assert!(path.ends_with("app.log") && !error.is_retryable() && error.to_string().contains("look_in"), "{error}");
    let source = FileSource::lines(logs.pattern("app.log")).follow(follow().look_in(logs.path("old")));
    let mut restored = Followers::restore(&source, 1, Some(followers.positions())).unwrap();
    assert_eq!(restored.at_hand().unwrap(), ["two"]);
    // The job that had it open needs not look.
    assert_eq!(followers.next().unwrap(), ["two"]);
}

#[test]
fn file_that_has_gone_between_two_starts_is_an_error_or_its_loss_is_accepted() {
    let logs = Logs::new();
    logs.append("app.log", "one\n");
    let source = logs.lines("app.*");
    let mut followers = Followers::open(&source, 1);
    assert_eq!(followers.at_hand().unwrap(), ["one"]);
    logs.append("app.log", "two\n");
    logs.remove("app.log");
    let positions = followers.positions();
    drop(followers);
    let error = Followers::restore(&source, 1, Some(positions.clone())).err().unwrap();
    assert!(matches!(of_file(&error), FileSourceError::Lost { offset: 4, .. }), "{error}");
    let accepting = FileSource::lines(logs.pattern("app.*")).follow(follow().accept_loss());
    let mut followers = Followers::restore(&accepting, 1, Some(positions)).unwrap();
    assert!(followers.at_hand().unwrap().is_empty() && followers.positions().is_empty());
    logs.append("app.log", "new\n");
    assert_eq!(followers.next().unwrap(), ["new"]);
}

#[test]
fn file_that_is_cut_short_or_written_anew_is_an_error_or_read_from_its_beginning() {
    let cases: [(&str, &[&str]); 4] = [
        ("", &[]),
        ("a\n", &["a"]),
        ("one\nanother content that is longer\n", &["one", "another content that is longer"]),
        ("anew, and longer than it was\n", &["anew, and longer than it was"]),
    ];
    for (content, lines) in cases {
        for is_restarted in [false, true] {
            let logs = Logs::new();
            logs.append("app.log", "one\ntwo\nthree\n");
            let source = logs.lines("app.log");
            let mut followers = Followers::open(&source, 1);
            assert_eq!(followers.at_hand().unwrap().len(), 3);
            let positions = followers.positions();
            // As `copytruncate` and `>` do: the same file.
            fs::write(logs.path("app.log"), content).unwrap();
            let error = match is_restarted {
                true => Followers::restore(&source, 1, Some(positions.clone())).err().unwrap(),
                false => followers.next().unwrap_err(),
            };
            let FileSourceError::Rewritten { path, offset: 14, len, .. } = of_file(&error) else { panic!("{error}") };
            assert!(path.ends_with("app.log") && *len == content.len() as u64 && !error.is_retryable(), "{error}");
            drop(followers);
            let accepting = FileSource::lines(logs.pattern("app.log")).follow(follow().accept_loss());
            let mut followers = Followers::restore(&accepting, 2, Some(positions)).unwrap();
            let mut read = followers.at_hand().unwrap();
            followers.wait(EVERY);
            read.extend(followers.at_hand().unwrap());
            assert_eq!(read, lines, "{content:?}");
            logs.append("app.log", "more\n");
            assert_eq!(followers.next().unwrap(), ["more"]);
            assert_eq!(followers.positions().len(), 1);
        }
    }
}

/// As container runtimes lay out logs: links lead to files that are rotated where they are.
#[test]
fn file_that_a_link_led_to_is_looked_for_in_its_own_folder() {
    let logs = Logs::new();
    fs::create_dir(logs.path("pods")).unwrap();
    fs::create_dir(logs.path("containers")).unwrap();
    logs.append("pods/0.log", "one\n");
    symlink(logs.path("pods/0.log"), logs.path("containers/app.log")).unwrap();
    let source = logs.lines("containers/*.log");
    let mut followers = Followers::open(&source, 1);
    assert_eq!(followers.at_hand().unwrap(), ["one"]);
    logs.append("pods/0.log", "two\n");
    logs.rename("pods/0.log", "pods/0.log.1");
    logs.append("pods/0.log", "three\n");
    let mut restored = Followers::restore(&source, 2, Some(followers.positions())).unwrap();
    let mut read = restored.at_hand().unwrap();
    read.sort();
    assert_eq!(read, ["three", "two"]);
    logs.append("pods/0.log.1", "four\n");
    logs.rename("pods/0.log.1", "pods/0.log.2");
    assert_eq!(restored.next().unwrap(), ["four"]);
}
