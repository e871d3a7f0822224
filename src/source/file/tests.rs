//! File sources by their contract.

use std::io::Write;
use std::sync::atomic::Ordering;

use millstream_actors::contract::{Batch, Source, SourceError};
use millstream_actors::protocol::Fault;
use serde::Deserialize;
use tempfile::TempDir;

use super::*;
use crate::operator::OutputTag;
use crate::testing::{assert_resumes_anywhere, read_source, source_context};

fn dir_with(files: &[(&str, &[u8])]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in files {
        if name.ends_with(".gz") {
            let file = std::fs::File::create(dir.path().join(name)).unwrap();
            let mut gz = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
            gz.write_all(content).unwrap();
            gz.finish().unwrap();
        } else {
            std::fs::write(dir.path().join(name), content).unwrap();
        }
    }
    dir
}

fn path(dir: &TempDir) -> String {
    dir.path().to_str().unwrap().to_owned()
}

fn numbered(range: std::ops::Range<u32>) -> Vec<u8> {
    range.flat_map(|i| format!("record {i}\n").into_bytes()).collect()
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
struct Row {
    id: u32,
    note: String,
}

fn read_error<S: Source>(source: &S) -> SourceError {
    let mut reader = match source.open(&source_context(0, 1), None) {
        Ok(reader) => reader,
        Err(error) => return error,
    };
    loop {
        if let Err(error) = reader.read(&mut Batch::new()) {
            return error;
        }
    }
}

#[test]
fn lines_of_plain_and_compressed_files_resume_anywhere() {
    let dir = dir_with(&[
        ("a.txt", &numbered(0..2500)),
        ("b.txt.gz", &numbered(2500..5000)),
        ("c.txt", b""),
        ("d.txt", b"\xEF\xBB\xBFlast\r\nwithout end"),
    ]);
    assert_resumes_anywhere(&FileSource::lines(format!("{}/*", path(&dir))), |read| {
        assert_eq!(read.len(), 5002);
        assert!((0..5000).all(|i| read[i] == format!("record {i}")));
        assert_eq!(read[5000..], ["last", "without end"]);
    });
}

#[test]
fn csv_with_line_ends_in_fields_resumes_anywhere_and_keeps_its_places() {
    let mut content = b"\xEF\xBB\xBFnote,id\r\n".to_vec();
    for i in 0..3000 {
        content.extend_from_slice(format!("\"note, \"\"{i}\"\"\nsecond line\",{i}\r\n").as_bytes());
    }
    let dir = dir_with(&[("a.csv", &content), ("b.csv.gz", &content)]);
    let row = |id: u32| Row { id, note: format!("note, \"{id}\"\nsecond line") };
    let source = FileSource::csv::<Row>(path(&dir)).positioned();
    assert_resumes_anywhere(&source, |read| {
        assert_eq!(read.len(), 6000);
        for (i, record) in read.iter().enumerate() {
            let index = i as u64 % 3000;
            assert_eq!(record.value, row(index as u32));
            assert_eq!((record.record_index, record.line), (index, 2 + 2 * index));
            assert_eq!(record.path.ends_with("a.csv"), i < 3000);
        }
    });
}

#[test]
fn delimiter_and_missing_header_are_honoured() {
    let dir = dir_with(&[("a.csv", b"1;x,y\n\n2;\"z;\"\n")]);
    let source = FileSource::csv::<(u32, String)>(path(&dir)).without_header().delimiter(b';');
    assert_eq!(read_source(&source, 1, None, None).records, [(1, "x,y".into()), (2, "z;".into())]);
}

#[test]
fn json_lines_resume_anywhere_and_blank_lines_are_none() {
    let content: Vec<u8> =
        (0..3000).flat_map(|id| format!("{{\"id\":{id},\"note\":\"n\"}}\n \n").into_bytes()).collect();
    let dir = dir_with(&[("a.jsonl", &content)]);
    assert_resumes_anywhere(&FileSource::json_lines::<Row>(path(&dir)), |read| {
        assert!(read.len() == 3000 && (0..3000).all(|i| read[i].id == i as u32));
    });
}

#[test]
fn batch_closes_by_bytes() {
    let dir = dir_with(&[("a.txt", &[vec![b'x'; 100_000], vec![b'\n']].concat().repeat(7))]);
    let run = read_source(&FileSource::lines(path(&dir)), 1, None, None);
    assert_eq!(run.read_bytes, [300_000, 300_000, 100_000]);
}

fn of_file(error: &SourceError) -> Option<&FileSourceError> {
    error.reason().downcast_ref()
}

#[test]
fn malformed_record_fails_with_file_line_and_column() {
    let dir = dir_with(&[("a.csv", b"id,note\n1,a\n2,\"b\n\"\nx3,c\n")]);
    let error = read_error(&FileSource::csv::<Row>(path(&dir)));
    let Some(FileSourceError::Malformed { path: file, line: 5, column: 1, offset: 19, reason }) = of_file(&error)
    else {
        panic!("{error:?}")
    };
    assert!(file.ends_with("a.csv") && reason.contains("'id'") && !error.to_string().contains("x3"), "{error}");
    assert!(error.to_string().contains("a.csv:5:1") && error.to_string().contains("at byte 19"), "{error}");
    assert!(!error.is_retryable());

    let dir = dir_with(&[("a.txt", b"good\nb\xFFd\n")]);
    let error = read_error(&FileSource::lines(path(&dir)));
    assert!(matches!(of_file(&error), Some(FileSourceError::Malformed { line: 2, column: 2, .. })), "{error}");
}

#[test]
fn malformed_records_are_skipped_counted_and_diverted() {
    let dir = dir_with(&[(
        "a.jsonl",
        b"{\"id\":1,\"note\":\"\"}\n{\"id\":oh}\n\xFF\n{\"id\":4,\"note\":\"\"}\ntoo long a line for this one\n",
    )]);
    let tag = OutputTag::new("bad");
    let source = FileSource::json_lines::<Row>(path(&dir)).max_record_bytes(20);
    let skipping = source.on_malformed(OnMalformed::Skip);
    let count = skipping.malformed_count();
    let run = read_source(&skipping, 1, None, None);
    assert_eq!(run.records.iter().map(|row| row.id).collect::<Vec<_>>(), [1, 4]);
    assert_eq!((count.load(Ordering::Relaxed), run.side.len()), (3, 0));

    let diverting = skipping.on_malformed(OnMalformed::SideOutput(tag));
    let positions: Vec<u64> =
        read_source(&diverting, 1, None, None).side.iter().map(|side| malformed(side).line).collect();
    assert_eq!(positions, [2, 3, 5]);
    let run = read_source(&diverting.positioned(), 1, None, None);
    assert_eq!(run.records.iter().map(|record| record.record_index).collect::<Vec<_>>(), [0, 3]);
    let first = malformed(&run.side[0]);
    assert_eq!((first.column, &*first.text, &*run.side[0].tag), (7, "{\"id\":oh}", "bad"));
}

fn malformed(side: &millstream_actors::contract::SideRecord) -> &MalformedRecord {
    side.record.downcast_ref().expect("the tag's type")
}

#[test]
fn unclosed_quote_is_malformed_not_the_end() {
    let dir = dir_with(&[("a.csv", b"id,note\n1,a\n2,\"b\n3,c\n")]);
    let error = read_error(&FileSource::csv::<Row>(path(&dir)));
    assert!(matches!(of_file(&error), Some(FileSourceError::Malformed { line: 3, .. })), "{error}");
}

#[test]
fn file_that_appears_after_the_start_is_not_read_after_a_restore() {
    let dir = dir_with(&[("a.txt", &numbered(0..3)), ("b.txt", &numbered(3..6))]);
    let source = FileSource::lines(path(&dir));
    let before = read_source(&source, 2, None, Some(0));
    std::fs::write(dir.path().join("aa.txt"), "intruder\n").unwrap();
    let mut records = read_source(&source, 3, Some(before.positions), None).records;
    records.sort();
    assert_eq!(records, (0..6).map(|i| format!("record {i}")).collect::<Vec<_>>());
}

#[test]
fn file_missing_or_shorter_than_its_position_is_a_typed_error() {
    for name in ["a.txt", "a.txt.gz"] {
        let dir = dir_with(&[(name, &numbered(0..2000))]);
        let source = FileSource::lines(path(&dir));
        let positions = read_source(&source, 1, None, Some(1)).positions;
        let error_after = |positions: &Vec<_>| {
            let mut reader = source.open(&source_context(0, 1), Some(positions.clone())).unwrap();
            reader.read(&mut Batch::new()).unwrap_err()
        };
        let short = dir_with(&[(name, b"record 0\n")]);
        std::fs::copy(short.path().join(name), dir.path().join(name)).unwrap();
        let error = error_after(&positions);
        assert!(!error.is_retryable() && error.location().contains(name), "{error}");
        std::fs::remove_file(dir.path().join(name)).unwrap();
        let error = error_after(&positions);
        assert!(matches!(of_file(&error), Some(FileSourceError::Io { path, .. }) if path.ends_with(name)), "{error}");
        assert!(!error.is_retryable(), "it does not come back by itself");
    }
}

#[test]
fn finished_file_may_be_taken_away_before_a_restore() {
    let dir = dir_with(&[("a.txt", b"a\n"), ("b.txt", &numbered(0..1500))]);
    let source = FileSource::lines(path(&dir));
    let first = read_source(&source, 1, None, Some(1));
    std::fs::remove_file(dir.path().join("a.txt")).unwrap();
    let rest = read_source(&source, 1, Some(first.positions), None);
    assert_eq!(first.records.len() + rest.records.len(), 1501);
    assert_eq!(rest.positions.len(), 2, "the finished file stays in the list");
}

#[test]
fn bad_header_fails_under_every_policy() {
    let dir = dir_with(&[("a.csv", b"id,\xFF\n1,a\n")]);
    let source = FileSource::csv::<Row>(path(&dir)).on_malformed(OnMalformed::Skip);
    let error = read_error(&source);
    assert!(matches!(of_file(&error), Some(FileSourceError::Malformed { line: 1, column: 4, .. })), "{error}");
}

#[test]
fn nothing_matching_is_a_configuration_error_that_names_the_pattern() {
    let error = read_error(&FileSource::lines("/nowhere/*.txt"));
    assert!(error.fault() == Fault::User && error.to_string().contains("/nowhere/*.txt"), "{error}");
}

#[test]
fn changed_pattern_reads_new_files_and_goes_on_in_those_that_it_still_matches() {
    let dir =
        dir_with(&[("a.txt", &numbered(0..10)), ("b.txt", &numbered(10..3000)), ("c.txt", &numbered(3000..3010))]);
    let before = read_source(&FileSource::lines(format!("{}/[ab].txt", path(&dir))), 1, None, Some(2));
    let rest = |parallelism| {
        let source = FileSource::lines(format!("{}/./[bc].txt", path(&dir)));
        let after = read_source(&source, parallelism, Some(before.positions.clone()), None);
        let mut records = [&before.records[..], &after.records].concat();
        records.sort_by_key(|record| record[7..].parse::<u32>().unwrap());
        assert_eq!(records.join("\n") + "\n", String::from_utf8(numbered(0..3010)).unwrap());
        after.positions
    };
    rest(3);
    // The new pattern is in the positions that follow: what appears later is not read.
    let positions = rest(1);
    std::fs::write(dir.path().join("b.txt.txt"), "intruder\n").unwrap();
    let source = FileSource::lines(format!("{}/./[bc].txt", path(&dir)));
    assert!(read_source(&source, 1, Some(positions), None).records.is_empty());
}

#[test]
fn changed_pattern_that_leaves_out_an_unfinished_file_is_refused_by_name() {
    let dir = dir_with(&[("a.txt", &numbered(0..3000)), ("b.txt", b"b\n")]);
    let at = |name: &str| FileSource::lines(format!("{}/{name}", path(&dir)));
    let begun = read_source(&at("a.txt"), 1, None, Some(1)).positions;
    let error = at("b.txt").open(&source_context(0, 1), Some(begun)).err().unwrap();
    let Some(FileSourceError::PatternChanged { unfinished, .. }) = of_file(&error) else { panic!("{error}") };
    assert_eq!(unfinished, &[dir.path().join("a.txt")]);
    assert!(!error.is_retryable() && error.to_string().contains("a.txt'"), "{error}");

    let finished = read_source(&at("a.txt"), 1, None, None).positions;
    std::fs::remove_file(dir.path().join("a.txt")).unwrap();
    assert_eq!(read_source(&at("b.txt"), 1, Some(finished), None).records, ["b"]);
}

#[test]
fn file_in_another_encoding_is_refused_under_every_policy() {
    let utf_16: Vec<u8> = "\u{feff}a\nb\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for name in ["a.txt", "a.txt.gz"] {
        let dir = dir_with(&[(name, &utf_16)]);
        let error = read_error(&FileSource::lines(path(&dir)).on_malformed(OnMalformed::Skip));
        assert!(matches!(of_file(&error), Some(FileSourceError::Encoding { .. })), "{error}");
        assert!(!error.is_retryable() && error.to_string().contains(name) && error.to_string().contains("UTF-16"));
    }
}

#[test]
fn file_that_is_named_gz_and_is_none_is_not_tried_again() {
    let whole = dir_with(&[("a.gz", &numbered(0..1000))]);
    let whole = std::fs::read(whole.path().join("a.gz")).unwrap();
    for bytes in [&b"plain\n"[..], b"", &whole[..whole.len() / 2], &[&whole[..], b"junk"].concat()] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.gz"), bytes).unwrap();
        let error = read_error(&FileSource::lines(path(&dir)));
        assert!(matches!(of_file(&error), Some(FileSourceError::Gzip { .. })), "{error}");
        assert!(!error.is_retryable() && error.location().ends_with("a.gz"), "{error}");
    }
}
