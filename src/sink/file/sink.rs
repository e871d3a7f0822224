//! The description of a file sink.

use std::fmt::{self, Display};
use std::path::{Component, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use millstream_actors::contract::{Sink, SinkContext, SinkError, SinkGuarantee, SinkRestore, SinkWriter, Threading};
use serde::Serialize;

use super::disk::{Disk, RealDisk};
use super::format::{CsvEncoder, Encoder, JsonEncoder, LineEncoder};
use super::names::{Naming, WriterId, own_folder};
use super::opening;
use super::publish::Folder;
use super::writer::{FileWriter, Rolling, WriterState};

/// Writes files into a directory: lines, CSV or JSON lines. Exactly once: a file appears complete, under its finished
/// name, once the checkpoint that covers it has completed, and never changes again.
///
/// Every checkpoint closes the open file, so its interval bounds the size and the age of files;
/// [`roll_at_bytes`](Self::roll_at_bytes) and [`roll_every`](Self::roll_every) close files in between. A subtask that
/// got no record since the last checkpoint makes no file. Each subtask's records keep their order, file by file, in the
/// order of checkpoint and sequence number.
///
/// Finished files are named `<prefix>-<incarnation>-<checkpoint>-<subtask>-<sequence><suffix>` and never replace
/// another. They may be read, and moved within the file system or removed, at any time. Two sinks of a job that write
/// into one directory need different prefixes or suffixes, or the job does not start. Should the job have to fall back to an older checkpoint, the
/// files published since are removed; who has read them sees their records again.
///
/// Unfinished files live in the folder `.<job>-<sink id>` in the directory, the only place that is ever cleaned. Of a
/// job that has ended a few small files stay there: which files were published last, so that a start on the same store
/// finds them done even if they were moved away. Two stores must not run one job and sink id into one directory at the
/// same time. The directory's file system must support hard links.
///
/// ```
/// use millstream::prelude::*;
/// use serde::Serialize;
///
/// #[derive(Serialize)]
/// struct Square {
///     n: u64,
///     square: u64,
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let dir = folder.path();
/// let env = StreamEnvironment::new("squares");
/// env.source("numbers", SequenceSource::new(1..4))
///     .map(|n| Square { n, square: n * n })
///     .sink("squares", FileSink::csv(dir).prefix("squares"));
/// env.start()?.wait()?;
///
/// let files: Vec<_> = std::fs::read_dir(dir)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
/// let finished = files.iter().find(|path| path.extension().is_some_and(|extension| extension == "csv"));
/// assert_eq!(std::fs::read_to_string(finished.expect("one file"))?, "n,square\n1,1\n2,4\n3,9\n");
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// With a [`FileSinkError`](super::FileSinkError) as reason: `Occupied` if a finished name is taken by other content;
/// `PendingLost` if an unfinished file that a checkpoint refers to is gone; `DirectoryLost` if the directory is removed or
/// replaced meanwhile; `Io` and `Sync`, from a full disk for example, which decline the checkpoint or fail the attempt.
/// [`SinkError::encode`] for a record that cannot be encoded, with `Lossy` as reason for one of which a part would be lost.
pub struct FileSink<T> {
    dir: PathBuf,
    naming: Naming,
    rolling: Rolling,
    encoder: fn() -> Box<dyn Encoder<T>>,
    disk: Arc<dyn Disk>,
}

impl FileSink<String> {
    fn of<T>(dir: impl Into<PathBuf>, suffix: &str, encoder: fn() -> Box<dyn Encoder<T>>) -> FileSink<T> {
        FileSink {
            dir: dir.into(),
            naming: Naming { prefix: "part".into(), suffix: suffix.into() },
            rolling: Rolling { bytes: u64::MAX, age: Duration::MAX },
            encoder,
            disk: Arc::new(RealDisk),
        }
    }

    /// Each record is a line of text, as it displays itself. One that holds a line feed, or ends with a carriage return,
    /// is an error: it would not be read back as one record. Suffix `.txt`.
    pub fn lines<T: Display + Send + 'static>(dir: impl Into<PathBuf>) -> FileSink<T> {
        Self::of(dir, ".txt", || Box::new(LineEncoder))
    }

    /// Each record is a row of CSV; each file starts with the field names if records are structs. `None`, `()` and an empty
    /// text are all an empty field. A row without fields, a variant with a value of an enum that is not untagged, an option
    /// that holds nothing, and bytes that are not UTF-8 are errors. Suffix `.csv`.
    pub fn csv<T: Serialize + Send + 'static>(dir: impl Into<PathBuf>) -> FileSink<T> {
        Self::of(dir, ".csv", || Box::new(CsvEncoder::new()))
    }

    /// Each record is a line of JSON. Numbers that JSON does not have (NaN and the infinite ones), and options that hold
    /// nothing (`Some(None)`), are errors: they would be written as null. Whole numbers are written with all their digits;
    /// readers that take them for floating-point numbers lose some above 2^53. Suffix `.jsonl`.
    pub fn json_lines<T: Serialize + Send + 'static>(dir: impl Into<PathBuf>) -> FileSink<T> {
        Self::of(dir, ".jsonl", || Box::new(JsonEncoder))
    }
}

impl<T> FileSink<T> {
    /// What file names begin with; `part` by default. No leading dot, no slash or backslash, no control character; prefix
    /// and suffix together at most 181 bytes.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.naming.prefix = prefix.into();
        self
    }

    /// What file names end with; by default as the format says. No slash or backslash, no control character.
    pub fn suffix(mut self, suffix: impl Into<String>) -> Self {
        self.naming.suffix = suffix.into();
        self
    }

    /// Closes a file that has reached this many bytes, at least 1: the record that reaches them is its last.
    pub fn roll_at_bytes(mut self, bytes: u64) -> Self {
        self.rolling.bytes = bytes;
        self
    }

    /// Closes a file of this age, above zero, by the job's clock, when the next records come.
    pub fn roll_every(mut self, age: Duration) -> Self {
        self.rolling.age = age;
        self
    }

    #[cfg(test)]
    pub(super) fn on(mut self, disk: Arc<dyn Disk>) -> Self {
        self.disk = disk;
        self
    }
}

impl<T> fmt::Debug for FileSink<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileSink").field("dir", &self.dir).field("naming", &self.naming).finish_non_exhaustive()
    }
}

impl<T: Send + 'static> Sink for FileSink<T> {
    type Item = T;

    fn guarantee(&self) -> SinkGuarantee {
        SinkGuarantee::ExactlyOnce
    }

    fn can_withdraw(&self) -> bool {
        true
    }

    fn threading(&self) -> Threading {
        Threading::Blocking
    }

    fn mistake(&self) -> Option<String> {
        if self.dir.as_os_str().is_empty() {
            return Some("an empty path is no output directory; the current one is \".\"".to_owned());
        }
        if self.rolling.bytes == 0 {
            return Some("roll_at_bytes(0): no file can be closed before its first byte; at least 1".to_owned());
        }
        if self.rolling.age.is_zero() {
            return Some("roll_every of no time: no file can be closed before it is opened".to_owned());
        }
        self.naming.mistake()
    }

    fn exclusive_output(&self) -> Option<String> {
        let Naming { prefix, suffix } = &self.naming;
        let dir: PathBuf = self.dir.components().filter(|part| *part != Component::CurDir).collect();
        Some(format!("files '{prefix}-...{suffix}' in {}", dir.display()))
    }

    fn open(&self, cx: &SinkContext, restored: SinkRestore) -> Result<Box<dyn SinkWriter<Item = T>>, SinkError> {
        if let Some(mistake) = self.mistake() {
            return Err(SinkError::configuration(mistake));
        }
        let folder = Folder {
            disk: self.disk.clone(),
            dir: self.dir.clone(),
            own: self.dir.join(own_folder(&cx.job, cx.operator.as_str())),
            fence: cx.fenced.clone(),
            me: WriterId::of(cx),
        };
        let record = opening::open(&folder, cx, &self.naming, &restored)?;
        let places = folder.places()?;
        Ok(Box::new(FileWriter {
            folder,
            places,
            naming: self.naming.clone(),
            rolling: self.rolling,
            clock: cx.clock.clone(),
            encoder: (self.encoder)(),
            record,
            state: WriterState::default(),
        }))
    }
}
