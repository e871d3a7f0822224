//! Where working files are, what they are called, and how those that a dead process left are removed.

use std::fmt::Write;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use millstream_actors::protocol::OperatorId;

use crate::claim;
use crate::unique::unique;

const SUFFIX: &str = ".millstream-state";

/// Where the working files of one subtask go.
#[derive(Clone, Debug)]
pub struct SpillPlace {
    /// The directory, which exists. Several jobs may share it.
    pub dir: PathBuf,
    /// The job.
    pub job: String,
    /// The operator.
    pub operator: OperatorId,
    /// The subtask's index.
    pub subtask: u32,
}

impl SpillPlace {
    /// A path that no other file has.
    pub(super) fn fresh(&self) -> PathBuf {
        let (job, operator) = (plain(&self.job), plain(self.operator.as_str()));
        self.dir.join(format!("{job}.{operator}.{}.{}{SUFFIX}", self.subtask, unique()))
    }
}

/// The name with what is not a letter, digit, `-` or `_` written as `%xx`, so that parts of a file name can be told
/// apart by their dots.
fn plain(name: &str) -> String {
    let mut plain = String::new();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => plain.push(char::from(byte)),
            _ => write!(plain, "%{byte:02x}").expect("a string takes what is written"),
        }
    }
    plain
}

/// Makes sure that working files can be created in `dir`, and removes those of `job` that no living process uses. Files
/// of other jobs, and all that are no working files, stay.
///
/// # Errors
/// If the directory does not exist, is none, or cannot be written to.
pub(crate) fn prepare_dir(dir: &Path, job: &str) -> io::Result<()> {
    let prefix = format!("{}.", plain(job));
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let is_own = path.file_name().and_then(|name| name.to_str());
        let is_own = is_own.is_some_and(|name| name.starts_with(&prefix) && name.ends_with(SUFFIX));
        if is_own && claim::remove_left_over(&path)? {
            log::info!(target: "millstream::state", "removed {}, which a former process left", path.display());
        }
    }
    let (probe, _file) = claim::create(|| dir.join(format!("{prefix}{}.probe{SUFFIX}", unique())))?;
    fs::remove_file(probe)
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn only_unused_working_files_of_the_job_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let place =
            |job: &str| SpillPlace { dir: dir.path().into(), job: job.to_owned(), operator: "a/b".into(), subtask: 3 };
        let (stale, used, other) = (place("job").fresh(), place("job").fresh(), place("job.2").fresh());
        let foreign = dir.path().join("job.notes");
        for path in [&stale, &used, &other, &foreign] {
            File::create_new(path).unwrap();
        }
        let holder = File::open(&used).unwrap();
        holder.try_lock().unwrap();
        prepare_dir(dir.path(), "job").unwrap();
        assert_eq!([&stale, &used, &other, &foreign].map(|path| path.exists()), [false, true, true, true]);
        assert!(used.file_name().unwrap().to_str().unwrap().starts_with("job.a%2fb.3."));
        assert!(prepare_dir(&dir.path().join("missing"), "job").is_err());
    }
}
