//! Positions that do not fit the log.

use std::fs;

use millstream::prelude::*;
use millstream::source::{IngestLogError, IngestOptions, IngestRecord, OffsetReset, Source};
use millstream::testing::{read_source, source_context};
use serde::{Deserialize, Serialize};

use crate::{close, finish, log_error, open, wait};

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
