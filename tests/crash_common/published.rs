//! What the job has published, and whether it is what an undisturbed run would have.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::de::DeserializeOwned;

use super::job::{Figures, KEYS, SOURCES, Shape};

/// Finished files by checkpoint, subtask, sequence number and name.
pub(crate) type Files = BTreeMap<(u64, u32, u64, String), Vec<u8>>;

/// Reads the finished files in `dir`.
pub(crate) fn files(dir: &Path) -> Files {
    let mut files = Files::new();
    let Ok(entries) = fs::read_dir(dir) else { return files };
    for entry in entries {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if name.starts_with('.') {
            continue;
        }
        let numbers = name.strip_prefix("part-").and_then(|name| name.strip_suffix(".jsonl"));
        let numbers = numbers.unwrap_or_else(|| panic!("{name} does not belong there"));
        let numbers: Vec<u64> = numbers.split('-').map(|number| number.parse().unwrap()).collect();
        let [_incarnation, checkpoint, subtask, seq] = numbers[..] else { panic!("{name} is no finished file") };
        files.insert((checkpoint, subtask as u32, seq, name), fs::read(entry.path()).unwrap());
    }
    files
}

/// The records in `files`, in order.
///
/// # Panics
/// If a file is not made of whole lines.
pub(crate) fn records(files: &Files) -> Vec<Figures> {
    lines_of(files)
}

/// As [`records`], of any type.
pub(crate) fn lines_of<T: DeserializeOwned>(files: &Files) -> Vec<T> {
    let mut records = Vec::new();
    for ((.., name), bytes) in files {
        assert_eq!(bytes.last(), Some(&b'\n'), "{name} does not end with a whole line");
        for line in std::str::from_utf8(bytes).unwrap().lines() {
            records.push(serde_json::from_str(line).unwrap_or_else(|error| panic!("{name}: {error}: {line}")));
        }
    }
    records
}

/// # Panics
/// If `records` are not, for each key and source, the first figures of an undisturbed run, in order, without a gap or a
/// repeat.
pub(crate) fn assert_prefix(records: &[Figures], shape: Shape) {
    let mut next: BTreeMap<(u64, u8), (u64, u64)> = BTreeMap::new();
    for figures in records {
        let Figures { key, source, count, sum } = *figures;
        let (counted, summed) = next.entry((key, source)).or_default();
        let number = number_of(key, source, *counted);
        assert!(number < Shape::first(source) + shape.records, "one too many: {figures:?}");
        *counted += 1;
        *summed += number;
        assert_eq!((count, sum), (*counted, *summed), "next figures of key {key} of source {source}");
    }
}

/// # Panics
/// If the files in `dir` are not exactly the output of an undisturbed run over the first records of each source, or
/// something else is left there.
pub(crate) fn assert_ended(dir: &Path, shape: Shape) {
    let records = records(&files(dir));
    assert_prefix(&records, shape);
    for source in 0..SOURCES {
        let numbers = records.iter().filter(|figures| figures.source == source);
        let mut numbers: Vec<u64> =
            numbers.map(|Figures { key, count, .. }| number_of(*key, source, count - 1)).collect();
        numbers.sort_unstable();
        let first = Shape::first(source);
        assert!(numbers.iter().copied().eq(first..first + numbers.len() as u64), "source {source} has gaps");
    }
    assert_tidy(dir);
}

/// The `index`th number of a key of a source.
fn number_of(key: u64, source: u8, index: u64) -> u64 {
    let first = Shape::first(source);
    first + (key + KEYS - first % KEYS) % KEYS + index * KEYS
}

/// # Panics
/// If the sink's own folder holds more than the notes that stay for the next start.
fn assert_tidy(dir: &Path) {
    for entry in fs::read_dir(dir.join(".figures-out")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let note = name == "owner" || name.starts_with("committed-");
        assert!(note && !name.ends_with(".new"), "{name} was left over");
    }
}
