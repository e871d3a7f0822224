//! The file sink by its contract, on a real file system and the simulated one.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use millstream_actors::contract::{Batch, PendingCommit, Sink, SinkContext, SinkError, SinkRestore, SinkWriter};
use millstream_actors::protocol::{CheckpointId, Fault};
use serde::Serialize;
use tempfile::TempDir;

use super::error::FileSinkError;
use super::sim::SimDisk;
use super::sink::FileSink;
use crate::packed::packed;
use crate::sink::driver::context;
use crate::source::FileSource;
use crate::testing::read_source;
use crate::time::ManualClock;

mod former_ids;

fn open<T: Send + 'static>(sink: &FileSink<T>, incarnation: u64) -> Box<dyn SinkWriter<Item = T>> {
    sink.open(&context(incarnation, 1, 0, 1), SinkRestore::default()).unwrap()
}

fn write<T: 'static>(writer: &mut Box<dyn SinkWriter<Item = T>>, records: Vec<T>) {
    let mut batch = Batch::counted(records, 0);
    writer.write(&mut batch).unwrap();
    assert!(batch.is_empty());
}

fn checkpoint<T: 'static>(writer: &mut Box<dyn SinkWriter<Item = T>>, checkpoint: u64) -> Vec<PendingCommit> {
    let pending = writer.prepare(CheckpointId(checkpoint)).unwrap();
    writer.commit(CheckpointId(checkpoint)).unwrap();
    pending
}

fn of_file(error: &SinkError) -> Option<&FileSinkError> {
    error.reason().downcast_ref()
}

fn visible(dir: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let files = entries.filter(|entry| entry.file_type().unwrap().is_file());
    files.map(|f| (f.file_name().into_string().unwrap(), fs::read_to_string(f.path()).unwrap())).collect()
}

fn named(files: &[(&str, &str)]) -> BTreeMap<String, String> {
    files.iter().map(|(name, content)| (name.to_string(), content.to_string())).collect()
}

fn restore(checkpoint: u64, pending: Vec<PendingCommit>) -> SinkRestore {
    SinkRestore { checkpoint: Some(CheckpointId(checkpoint)), pending, ..SinkRestore::default() }
}

fn temp() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn files_show_at_commit_only_and_empty_checkpoints_make_none() {
    let dir = temp();
    let mut writer = open(&FileSink::lines(dir.path().join("new/out")), 5);
    let out = dir.path().join("new/out");
    write(&mut writer, vec!["a", "b"]);
    assert_eq!(writer.prepare(CheckpointId(1)).unwrap().len(), 1);
    assert_eq!(visible(&out), named(&[]));
    write(&mut writer, vec!["c"]);
    assert_eq!(writer.prepare(CheckpointId(2)).unwrap().len(), 2, "what was aborted is carried on");
    writer.commit(CheckpointId(2)).unwrap();
    writer.commit(CheckpointId(2)).unwrap();
    assert!(checkpoint(&mut writer, 3).is_empty());
    assert_eq!(visible(&out), named(&[("part-5-1-0-0.txt", "a\nb\n"), ("part-5-2-0-1.txt", "c\n")]));
}

#[derive(Serialize)]
struct Row {
    name: &'static str,
    size: u32,
}

#[test]
fn formats_roll_by_bytes_and_every_csv_file_has_its_header() {
    let dir = temp();
    let rows = || vec![Row { name: "a,b", size: 1 }, Row { name: "c", size: 2 }, Row { name: "d", size: 3 }];
    let mut csv = open(&FileSink::csv(dir.path()).roll_at_bytes(20), 1);
    write(&mut csv, rows());
    checkpoint(&mut csv, 1);
    let sink = FileSink::json_lines(dir.path()).prefix("j").suffix(".json");
    let mut json = sink.open(&context(1, 1, 3, 4), SinkRestore::default()).unwrap();
    write(&mut json, rows());
    checkpoint(&mut json, 1);
    let want = [
        ("j-1-1-3-0.json", "{\"name\":\"a,b\",\"size\":1}\n{\"name\":\"c\",\"size\":2}\n{\"name\":\"d\",\"size\":3}\n"),
        ("part-1-1-0-0.csv", "name,size\n\"a,b\",1\nc,2\n"),
        ("part-1-1-0-1.csv", "name,size\nd,3\n"),
    ];
    // The first file reaches 20 bytes with its second row.
    assert_eq!("name,size\n\"a,b\",1\n".len(), 18);
    assert_eq!(visible(dir.path()), named(&want));
}

#[test]
fn file_is_closed_by_age_when_the_next_records_come() {
    let dir = temp();
    let clock = ManualClock::new();
    let cx = SinkContext { clock: Arc::new(clock.clone()), ..context(1, 1, 0, 1) };
    let sink = FileSink::lines(dir.path()).roll_every(Duration::from_secs(60));
    let mut writer = sink.open(&cx, SinkRestore::default()).unwrap();
    for seconds in [0, 59, 1] {
        clock.advance(Duration::from_secs(seconds));
        write(&mut writer, vec![seconds]);
    }
    checkpoint(&mut writer, 1);
    assert_eq!(visible(dir.path()), named(&[("part-1-1-0-0.txt", "0\n59\n"), ("part-1-1-0-1.txt", "1\n")]));
}

#[test]
fn record_that_does_not_encode_is_named_and_final() {
    let dir = temp();
    let mut writer = open(&FileSink::json_lines(dir.path()), 1);
    let mut batch = Batch::from_iter([BTreeMap::from([((1, 2), 3)])]);
    let error = writer.write(&mut batch).unwrap_err();
    assert!(error.fault() == Fault::User && !error.is_retryable(), "{error}");
}

#[test]
fn pending_file_is_published_at_the_next_start_and_only_once() {
    let dir = temp();
    let sink = FileSink::lines(dir.path());
    let mut writer = open(&sink, 1);
    write(&mut writer, vec!["a"]);
    let pending = writer.prepare(CheckpointId(1)).unwrap();
    drop(writer);
    let want = named(&[("part-1-1-0-0.txt", "a\n")]);
    for incarnation in 2..4 {
        sink.open(&context(incarnation, 1, 0, 1), restore(1, pending.clone())).unwrap();
        assert_eq!(visible(dir.path()), want);
    }
    // The consumer takes it away, and the job starts again.
    fs::remove_file(dir.path().join("part-1-1-0-0.txt")).unwrap();
    sink.open(&context(4, 1, 0, 1), restore(1, pending)).unwrap();
    assert_eq!(visible(dir.path()), named(&[]));
}

#[test]
fn pending_file_that_is_gone_without_a_record_is_lost_loudly() {
    let disk = SimDisk::default();
    let sink = FileSink::lines("/out").on(Arc::new(disk.clone()));
    let mut writer = open(&sink, 1);
    write(&mut writer, vec!["a"]);
    let pending = writer.prepare(CheckpointId(1)).unwrap();
    disk.delete(Path::new("/out/.job-sink/open-1-0-1-0-0"));
    let error = sink.open(&context(2, 1, 0, 1), restore(1, pending)).err().unwrap();
    assert!(matches!(of_file(&error), Some(FileSinkError::PendingLost { checkpoint: CheckpointId(1), .. })), "{error}");
    assert!(!error.is_retryable());
}

#[test]
fn prepared_file_that_was_damaged_is_not_published() {
    const CONTENT: &str = "first record\nsecond record\n";
    for byte in 0..=CONTENT.len() {
        let disk = SimDisk::default();
        let sink = FileSink::lines("/out").on(Arc::new(disk.clone()));
        let mut writer = open(&sink, 1);
        write(&mut writer, CONTENT.lines().collect());
        let pending = writer.prepare(CheckpointId(1)).unwrap();
        let mut damaged = CONTENT.to_owned().into_bytes();
        match damaged.get_mut(byte) {
            Some(byte) => *byte ^= 1,
            None => drop(damaged.pop()),
        }
        disk.put("/out/.job-sink/open-1-0-1-0-0", std::str::from_utf8(&damaged).unwrap());
        let error = sink.open(&context(2, 1, 0, 1), restore(1, pending)).err().unwrap();
        let expected = FileSinkError::PendingDamaged { path: "".into(), checkpoint: CheckpointId(1) };
        assert!(of_file(&error).is_some_and(|error| error.to_string() == expected.to_string()), "{error}");
        assert!(!error.is_retryable() && error.to_string().contains("open-1-0-1-0-0"), "{error}");
        let shown = disk.files_below("/out").into_iter().filter(|(path, _)| path.parent() == Some(Path::new("/out")));
        assert_eq!(shown.count(), 0, "byte {byte}");
    }
}

#[test]
fn record_that_is_damaged_is_named_and_not_tried_again() {
    let disk = SimDisk::default();
    let sink = FileSink::lines("/out").on(Arc::new(disk.clone()));
    let mut writer = open(&sink, 1);
    write(&mut writer, vec!["a"]);
    checkpoint(&mut writer, 1);
    disk.put("/out/.job-sink/committed-1-0-1-0", "junk");
    let error = sink.open(&context(2, 1, 0, 1), restore(1, Vec::new())).err().unwrap();
    assert!(!error.is_retryable() && error.to_string().contains("committed-1-0-1-0"), "{error}");
}

#[test]
fn occupied_name_is_not_replaced_but_equal_content_is_taken_for_done() {
    for (content, occupied) in [("b\n", true), ("longer\n", true), ("a\n", false)] {
        let disk = SimDisk::default();
        let sink = FileSink::lines("/out").on(Arc::new(disk.clone()));
        let mut writer = open(&sink, 1);
        disk.put("/out/part-1-1-0-0.txt", content);
        write(&mut writer, vec!["a"]);
        writer.prepare(CheckpointId(1)).unwrap();
        let outcome = writer.commit(CheckpointId(1));
        assert_eq!(
            matches!(outcome.as_ref().err().and_then(of_file), Some(FileSinkError::Occupied { .. })),
            occupied,
            "{outcome:?}"
        );
        assert_eq!(outcome.is_ok(), !occupied);
        assert!(disk.files_below("/out").contains(&("/out/part-1-1-0-0.txt".into(), content.into())));
    }
}

#[test]
fn second_run_into_one_directory_keeps_the_first_ones_files() {
    let dir = temp();
    let sink = FileSink::lines(dir.path());
    for (incarnation, record) in [(1, "first"), (2, "second")] {
        let mut writer = open(&sink, incarnation);
        write(&mut writer, vec![record]);
        checkpoint(&mut writer, 1);
    }
    let both = named(&[("part-1-1-0-0.txt", "first\n"), ("part-2-1-0-0.txt", "second\n")]);
    assert_eq!(visible(dir.path()), both);
    // The second falls back to before its first checkpoint: the first one's files are none of its business.
    let restored = SinkRestore { withdraw: vec![CheckpointId(1)], ..SinkRestore::default() };
    sink.open(&context(3, 1, 0, 1), restored).unwrap();
    assert_eq!(visible(dir.path()), named(&[("part-1-1-0-0.txt", "first\n")]));
}

#[test]
fn other_subtasks_files_of_the_same_execution_are_never_removed() {
    let dir = temp();
    let sink = FileSink::lines(dir.path());
    let mut first = sink.open(&context(1, 1, 0, 2), SinkRestore::default()).unwrap();
    write(&mut first, vec!["a"]);
    let mut second = sink.open(&context(1, 1, 1, 2), SinkRestore::default()).unwrap();
    write(&mut second, vec!["b"]);
    checkpoint(&mut first, 1);
    checkpoint(&mut second, 1);
    assert_eq!(visible(dir.path()), named(&[("part-1-1-0-0.txt", "a\n"), ("part-1-1-1-0.txt", "b\n")]));
}

#[test]
fn subtasks_that_open_at_the_same_time_settle_everything() {
    for round in 0..20 {
        let dir = temp();
        let sink = FileSink::lines(dir.path()).roll_at_bytes(1);
        let mut writer = open(&sink, 1);
        write(&mut writer, (0..12).collect::<Vec<u32>>());
        let pending = writer.prepare(CheckpointId(1)).unwrap();
        write(&mut writer, vec![99, 98]);
        drop(writer);
        std::thread::scope(|scope| {
            for index in 0..4 {
                let (mine, elsewhere): (Vec<_>, Vec<_>) =
                    pending.iter().cloned().enumerate().partition(|(i, _)| i % 4 == index);
                let strip = |pending: Vec<(usize, PendingCommit)>| pending.into_iter().map(|(_, p)| p).collect();
                let restored = SinkRestore { pending_elsewhere: strip(elsewhere), ..restore(1, strip(mine)) };
                let sink = &sink;
                scope.spawn(move || sink.open(&context(2, 1, index as u32, 4), restored).map(drop).unwrap());
            }
        });
        assert_eq!(visible(dir.path()).len(), 12, "round {round}");
        let own = fs::read_dir(dir.path().join(".job-sink")).unwrap().map(|entry| entry.unwrap().file_name());
        let left: Vec<_> = own.filter(|name| name.as_encoded_bytes().starts_with(b"open-")).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
fn fenced_writer_has_no_further_effect() {
    let disk = SimDisk::default();
    let sink = FileSink::lines("/out").on(Arc::new(disk.clone()));
    let cx = context(1, 1, 0, 1);
    let mut writer = sink.open(&cx, SinkRestore::default()).unwrap();
    write(&mut writer, vec!["a"]);
    writer.prepare(CheckpointId(1)).unwrap();
    cx.fenced.raise();
    let before = disk.files_below("/out");
    assert!(writer.commit(CheckpointId(1)).unwrap_err().is_fenced());
    assert!(sink.open(&cx, SinkRestore::default()).err().unwrap().is_fenced());
    assert_eq!(disk.files_below("/out"), before);
}

#[test]
fn failed_sync_fails_the_attempt_instead_of_being_tried_again() {
    let disk = SimDisk::default();
    let sink = FileSink::lines("/out").on(Arc::new(disk.clone()));
    let mut writer = open(&sink, 1);
    write(&mut writer, vec!["a"]);
    // Creating was the last step; "a\n" is written in two, then synced.
    disk.fail_at(disk.steps() + 2);
    for _ in 0..2 {
        let error = writer.prepare(CheckpointId(1)).unwrap_err();
        assert!(matches!(of_file(&error), Some(FileSinkError::Sync { .. })) && !error.declines_checkpoint(), "{error}");
    }
}

#[test]
fn full_disk_declines_the_checkpoint_and_the_next_one_has_everything() {
    let disk = SimDisk::default();
    let sink = FileSink::lines("/out").on(Arc::new(disk.clone()));
    let mut writer = open(&sink, 1);
    write(&mut writer, vec!["abcd"]);
    disk.fail_at(disk.steps() + 1);
    let error = writer.prepare(CheckpointId(1)).unwrap_err();
    assert!(matches!(of_file(&error), Some(FileSinkError::Io { .. })) && error.declines_checkpoint(), "{error}");
    checkpoint(&mut writer, 2);
    assert!(disk.files_below("/out").contains(&("/out/part-1-2-0-0.txt".into(), "abcd\n".into())));
}

#[test]
fn records_of_earlier_executions_are_forgotten_in_time() {
    let disk = SimDisk::default();
    let sink = FileSink::lines("/out").on(Arc::new(disk.clone()));
    let records =
        || disk.files_below("/out/.job-sink").iter().filter(|(p, _)| p.to_str().unwrap().contains("committed")).count();
    for incarnation in 1..4 {
        let mut writer = sink.open(&context(incarnation, 1, 0, 1), restore(1, vec![])).unwrap();
        write(&mut writer, vec!["a"]);
        checkpoint(&mut writer, incarnation * 1000);
        assert_eq!(records(), incarnation as usize);
        for next in 1..(if incarnation == 3 { 64 } else { 0 }) {
            checkpoint(&mut writer, incarnation * 1000 + next);
        }
    }
    assert_eq!(records(), 1);
}

#[test]
fn fallback_over_any_number_of_checkpoints_and_lives_withdraws_every_later_file() {
    let dir = temp();
    let mut next = 0;
    for (life, prefix) in [(1, "part"), (2, "other"), (3, "part")] {
        let sink = FileSink::lines(dir.path()).prefix(prefix);
        let mut writer = sink.open(&context(life, 1, 0, 1), restore(next, Vec::new())).unwrap();
        for _ in 0..100 {
            next += 1;
            write(&mut writer, vec![next]);
            checkpoint(&mut writer, next);
        }
        // The store's disk is full for a while: checkpoints are prepared and aborted.
        for _ in 0..100 {
            next += 1;
            write(&mut writer, vec![next]);
            writer.prepare(CheckpointId(next)).unwrap();
        }
        writer.commit(CheckpointId(next)).unwrap();
    }
    assert_eq!(visible(dir.path()).len() as u64, next);
    let first = BTreeMap::from([("part-1-1-0-0.txt".into(), "1\n".into()), ("part-1-2-0-1.txt".into(), "2\n".into())]);
    let fallback = SinkRestore { withdraw: vec![CheckpointId(next)], ..restore(2, Vec::new()) };
    FileSink::lines::<u64>(dir.path()).open(&context(4, 1, 0, 1), fallback).unwrap();
    assert_eq!(visible(dir.path()), first);
}

#[test]
fn folder_of_another_sink_or_a_bad_prefix_is_a_configuration_error() {
    let dir = temp();
    open(&FileSink::<String>::lines::<String>(dir.path()), 1);
    let cx = SinkContext { job: "job-x".into(), ..context(1, 1, 0, 1) };
    FileSink::lines::<String>(dir.path()).open(&cx, SinkRestore::default()).map(drop).unwrap();
    let cx = SinkContext { job: "job".into(), operator: "x-sink".into(), ..cx };
    let error = FileSink::lines::<String>(dir.path()).open(&cx, SinkRestore::default()).err().unwrap();
    assert!(error.fault() == Fault::User, "{error}");
    for prefix in [".hidden", "a/b"] {
        let sink = FileSink::lines::<String>(dir.path()).prefix(prefix);
        let error = sink.open(&context(1, 1, 0, 1), SinkRestore::default()).err().unwrap();
        assert!(error.fault() == Fault::User, "{error}");
    }
}

#[test]
fn pending_commit_that_does_not_decode_or_leads_elsewhere_is_refused() {
    let dir = temp();
    let elsewhere = packed(&(1_u8, "open-1-0-1-0-0", "../../etc/x", 1_u64, 1_u64));
    for data in [vec![], b"junk".to_vec(), elsewhere] {
        let pending = vec![PendingCommit { checkpoint: CheckpointId(1), data }];
        let sink = FileSink::lines::<String>(dir.path());
        let error = sink.open(&context(2, 1, 0, 1), restore(1, pending)).err().unwrap();
        assert!(error.fault() == Fault::Internal, "{error}");
    }
}

/// Why a record is not written, by the sink that is given it.
fn refusal<T: Send + 'static>(sink: FileSink<T>, record: T) -> SinkError {
    let disk = SimDisk::default();
    let mut writer = open(&sink.on(Arc::new(disk.clone())), 1);
    let error = writer.write(&mut Batch::from_iter([record])).unwrap_err();
    assert!(error.fault() == Fault::User && !error.is_retryable(), "{error}");
    error
}

// Cause: formats drop what they have no place for. Repair: the record is looked through before it is encoded.
#[test]
fn record_of_which_the_format_would_lose_a_part_is_refused_with_its_field() {
    let lossy = |error: SinkError| match of_file(&error) {
        Some(FileSinkError::Lossy { field, .. }) => field.clone(),
        _ => panic!("{error}"),
    };
    for text in ["two\nlines", "\n", "ends with\r", "\u{feff}begins with a mark"] {
        assert_eq!(lossy(refusal(FileSink::lines("/out"), text)), "", "{text:?}");
    }
    let json = |value: f64| BTreeMap::from([("reading", vec![Some(0.5), Some(value)])]);
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert_eq!(lossy(refusal(FileSink::json_lines("/out"), json(value))), "[0][1]");
    }
    assert_eq!(lossy(refusal(FileSink::json_lines("/out"), (1, Some(None::<u8>)))), "[1]");
    assert_eq!(lossy(refusal(FileSink::csv("/out"), ("a", Ok::<u8, ()>(1)))), "[1]");
    assert_eq!(lossy(refusal(FileSink::csv("/out"), Vec::<u8>::new())), "");
    assert_eq!(lossy(refusal(FileSink::csv("/out"), ("\u{feff}a", 1))), "");
}

#[test]
fn what_formats_can_hold_is_written_and_read_back() {
    let dir = temp();
    let lines = vec!["", "a\rb", "b\u{feff}"];
    let rows = vec![("\n\"x\",\r".to_owned(), f64::INFINITY, u64::MAX), (String::new(), 0.1, 1 << 60)];
    let values = vec![(i128::MIN, u64::MAX, Some(1.5)), (0, 0, None)];
    let mut writer = open(&FileSink::lines(dir.path().join("l")), 1);
    write(&mut writer, lines.clone());
    checkpoint(&mut writer, 1);
    let mut writer = open(&FileSink::csv(dir.path().join("c")), 1);
    write(&mut writer, rows.clone());
    checkpoint(&mut writer, 1);
    let mut writer = open(&FileSink::json_lines(dir.path().join("j")), 1);
    write(&mut writer, values.clone());
    checkpoint(&mut writer, 1);
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    assert_eq!(read_source(&FileSource::lines(at("l")), 1, None, None).records, lines);
    let csv = FileSource::csv::<(String, f64, u64)>(at("c")).without_header();
    assert_eq!(read_source(&csv, 1, None, None).records, rows);
    let json = FileSource::json_lines::<(i128, u64, Option<f64>)>(at("j"));
    assert_eq!(read_source(&json, 1, None, None).records, values);
}

// Cause: a writer went on in a directory that was not there any more, and prepared and committed what nobody finds. Repair: both
// directories must still be those that it opened in before anything is reported as durable.
#[cfg(unix)]
#[test]
fn directory_that_is_removed_or_replaced_is_told_before_anything_counts_as_durable() {
    for (below, is_replaced) in [("", false), ("", true), (".job-sink", false), (".job-sink", true)] {
        for is_prepared in [false, true] {
            let dir = temp();
            let out = dir.path().join("out");
            let mut writer = open(&FileSink::lines(&out), 1);
            write(&mut writer, vec!["a"]);
            checkpoint(&mut writer, 1);
            write(&mut writer, vec!["b"]);
            if is_prepared {
                writer.prepare(CheckpointId(2)).unwrap();
            }
            let lost = out.join(below);
            fs::rename(&lost, dir.path().join("away")).unwrap();
            if is_replaced {
                fs::create_dir(&lost).unwrap();
            }
            let outcome =
                if is_prepared { writer.commit(CheckpointId(2)) } else { writer.prepare(CheckpointId(2)).map(drop) };
            let error = outcome.unwrap_err();
            let Some(FileSinkError::DirectoryLost { path }) = of_file(&error) else { panic!("{error}") };
            assert!(path == &out || path == &out.join(".job-sink"), "{error}");
            assert!(!error.is_retryable());
        }
    }
}
