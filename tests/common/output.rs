//! What a file sink has left on disk.

use std::fs;
use std::path::{Path, PathBuf};

/// The lines of all finished files in the order in which their subtasks wrote them: by checkpoint, then subtask, then
/// sequence number. Nothing else may be visible.
pub(crate) fn committed_lines(dir: &Path) -> Vec<String> {
    let mut files: Vec<(Vec<u64>, PathBuf)> = visible(dir)
        .into_iter()
        .map(|path| {
            let name = path.file_stem().and_then(|stem| stem.to_str()).expect("names are text").to_owned();
            let numbers = name.strip_prefix("part-").unwrap_or_else(|| panic!("a stranger: {}", path.display()));
            let numbers: Vec<u64> = numbers.split('-').map(|number| number.parse().expect("a number")).collect();
            assert_eq!(numbers.len(), 4, "{name}");
            // Checkpoint ids go up over incarnations.
            (vec![numbers[1], numbers[2], numbers[0], numbers[3]], path)
        })
        .collect();
    files.sort();
    let mut lines = Vec::new();
    for (_, path) in files {
        let text = fs::read_to_string(&path).expect("a finished file is readable");
        assert!(text.ends_with('\n'), "half-written: {}", path.display());
        lines.extend(text.lines().map(str::to_owned));
    }
    lines
}

/// Temporary files that a job should not have left behind once it has finished.
pub(crate) fn left_over(dir: &Path) -> Vec<String> {
    let mut left = Vec::new();
    for entry in fs::read_dir(dir).expect("the output directory").map(|entry| entry.expect("an entry")) {
        let name = entry.file_name().into_string().expect("text");
        if !name.starts_with('.') {
            continue;
        }
        for hidden in fs::read_dir(entry.path()).expect("the sink's folder").map(|entry| entry.expect("an entry")) {
            let hidden = hidden.file_name().into_string().expect("text");
            // Who owns the folder, and what was published last.
            let record = hidden.starts_with("committed-") && !hidden.ends_with(".new");
            if hidden != "owner" && !record {
                left.push(format!("{name}/{hidden}"));
            }
        }
    }
    left
}

fn visible(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let paths = entries.map(|entry| entry.expect("an entry").path()).filter(|path| path.is_file());
    paths.collect()
}

/// Records whose order does not count.
pub(crate) fn sorted<T: Ord>(mut records: Vec<T>) -> Vec<T> {
    records.sort_unstable();
    records
}
