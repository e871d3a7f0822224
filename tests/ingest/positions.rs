//! Positions that do not fit the log.

use std::fs;

use millstream::CheckpointId;
use millstream::prelude::*;
use millstream::source::{CompletedPositions, IngestLogError, IngestOptions, IngestRecord, OffsetReset, Source};
use millstream::testing::{read_source, source_context};
use serde::{Deserialize, Serialize};

use crate::{close, finish, log_error, open, read_all, wait};

#[test]
fn log_that_was_replaced_or_has_lost_its_end_is_told_and_read_on_where_that_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let options = || IngestOptions::new().splits(1);
    let (source, handle) = open(folder.path(), options());
    wait(handle.send_all(0..10)).unwrap();
    close((source, handle));
    fs::copy(&path, folder.path().join("older")).unwrap();
    let (source, handle) = open(folder.path(), options());
    wait(handle.send_all(10..20)).unwrap();
    finish(&source);
    let read = read_source(&source, 1, None, None);
    assert_eq!(read.records.len(), 20);
    close((source, handle));

    let other = || {
        fs::remove_file(&path).unwrap();
        close(open(folder.path(), options()));
    };
    let older = || assert!(fs::copy(folder.path().join("older"), &path).unwrap() > 0);
    for (is_lost, put) in [(true, &older as &dyn Fn()), (false, &other)] {
        put();
        let (source, handle) = open(folder.path(), options());
        let error = source.open(&source_context(0, 1), Some(read.positions.clone())).err().unwrap();
        assert!(!error.is_retryable());
        match log_error(&error) {
            IngestLogError::Lost { position: 20, end: 10, .. } => assert!(is_lost),
            IngestLogError::OtherLog { expected, found, .. } => assert!(!is_lost && expected != found),
            other => panic!("{other}"),
        }
        close((source, handle));
        let (source, handle) = open(folder.path(), options().offset_reset(OffsetReset::Earliest));
        wait(handle.send(99)).unwrap();
        finish(&source);
        let rest = read_source(&source, 1, Some(read.positions.clone()), None).records;
        assert_eq!(rest.last(), Some(&99));
        assert_eq!(rest.len(), if is_lost { 11 } else { 1 });
        close((source, handle));
    }
}

/// Cause: a log that had lost its end and taken other records at the same offsets passed for the one that the job had read. Repair:
/// positions name the life of the log in which the record before them was added.
#[test]
fn lost_end_is_told_also_once_other_records_are_in_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let (path, older) = (folder.path().join("log"), folder.path().join("older"));
    let open = || open(folder.path(), IngestOptions::new().splits(1));
    let positions_behind = |records: std::ops::Range<u64>| {
        let (source, handle) = open();
        wait(handle.send_all(records)).unwrap();
        let positions = read_all(&source).positions;
        close((source, handle));
        positions
    };
    let at_10 = positions_behind(0..10);
    fs::copy(&path, &older).unwrap();
    let at_20 = positions_behind(10..20);
    for others in [5, 10, 30] {
        fs::copy(&older, &path).unwrap();
        positions_behind(1_000..1_000 + others);
        let (source, handle) = open();
        wait(handle.send(99)).unwrap();
        let error = source.open(&source_context(0, 1), Some(at_20.clone())).err().unwrap();
        assert!(matches!(log_error(&error), IngestLogError::Lost { position: 20, .. }), "{others}: {error}");
        if others >= 10 {
            assert!(error.to_string().contains("from offset 10 on"), "{error}");
        }
        finish(&source);
        // A savepoint of before is no reason to refuse the copy that was kept with it.
        let rest = read_source(&source, 1, Some(at_10.clone()), None).records;
        assert!(rest.into_iter().eq((1_000..1_000 + others).chain([99])));
        close((source, handle));
    }
}

#[test]
fn positions_are_known_over_lives_of_the_log_and_over_what_is_trimmed() {
    let folder = tempfile::tempdir().unwrap();
    let mut positions = None;
    for life in 0..20 {
        let (source, handle) = open(folder.path(), IngestOptions::new().splits(1));
        // Some lives take nothing.
        let records = if life % 3 == 2 { 0..0 } else { life * 10..life * 10 + 4 };
        wait(handle.send_all(records.clone())).unwrap();
        let mut reader = source.open(&source_context(0, 1), positions.clone()).unwrap();
        reader.finish();
        let read = read_source(&source, 1, positions, None);
        assert!(read.records.into_iter().eq(records));
        positions = Some(read.positions.clone());
        let completed = CompletedPositions::new(CheckpointId(life + 1), read.positions.clone(), Some(read.positions));
        reader.checkpoint_completed(&completed).unwrap();
        close((source, handle));
    }
}

#[test]
fn positions_of_another_source_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (source, _handle) = open(folder.path(), IngestOptions::new());
    let foreign = read_source(&SequenceSource::new(0..10), 1, None, None).positions;
    let error = source.open(&source_context(0, 1), Some(foreign)).err().unwrap();
    assert!(error.to_string().contains("position"), "{error}");
    let read = read_source(&source, 1, None, Some(0)).positions;
    assert_eq!(source.describe_position(&read[0].position), "offset 0");
}

#[derive(Serialize, Deserialize)]
struct Before {
    number: u64,
    gone: String,
}

#[derive(Serialize, Deserialize)]
struct After {
    #[serde(default)]
    added: u64,
    number: u64,
}

#[derive(Serialize, Deserialize)]
struct Other {
    text: String,
}

#[test]
fn records_of_a_type_that_has_changed_are_read_by_the_names_of_their_fields_or_refused_with_their_offset() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let options = || IngestOptions::new().splits(1);
    let (source, handle) = IngestSource::<Before>::open(&path, options()).unwrap();
    for number in 0..3 {
        wait(handle.send(Before { number, gone: "gone".to_owned() })).unwrap();
    }
    drop(source);
    let (source, handle) = IngestSource::<After>::open(&path, options()).unwrap();
    wait(handle.send(IngestRecord::new(After { added: 7, number: 3 }))).unwrap();
    source.open(&source_context(0, 1), None).unwrap().finish();
    let read = read_source(&source, 1, None, None).records;
    assert!(read.iter().map(|record| (record.number, record.added)).eq([(0, 0), (1, 0), (2, 0), (3, 7)]));
    drop(source);
    let (source, _handle) = IngestSource::<Other>::open(&path, options()).unwrap();
    let mut reader = source.open(&source_context(0, 1), None).unwrap();
    let error = reader.read(&mut millstream::source::Batch::new()).unwrap_err();
    let error = log_error(&error);
    assert!(
        matches!(error, IngestLogError::Undecodable { offset: 0, .. }) && error.to_string().contains("text"),
        "{error}"
    );
}
