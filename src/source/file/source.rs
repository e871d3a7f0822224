//! The description of a file source.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use millstream_actors::contract::{
    Boundedness, Source, SourceContext, SourceError, SourceReader, SplitPosition, Threading,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::changed_pattern;
use super::decoder::{CsvDecoder, Decoder, Format, JsonDecoder, LineDecoder};
use super::follow::{Follow, FollowPosition, FollowReader};
use super::listing;
use super::malformed::OnMalformed;
use super::reader::{FilePosition, FileReader};
use crate::source::SplitQueue;
use crate::source::position::described;

/// Reads files: lines, CSV or JSON lines. Bounded, unless it is told to [`follow`](Self::follow) its files; what is said here is of one
/// that is not.
///
/// The pattern is a file, a directory (its visible files), or a glob. The files are listed once, before the first
/// record, and the list is in the positions: after a restore, files that have appeared since are not read. A file is a
/// split, named by its path as listed; at parallelism 1 files are read in the order of their paths. Files ending in
/// `.gz` are decompressed, all members of each; to resume, they are decompressed again up to the position.
///
/// In a glob `*`, `?` and `[..]` match within a name, `**` any number of directories, and none of them a leading dot. `**` does
/// not go through links to directories; links that are named, or matched by another wildcard, are followed. A file that is
/// matched several times through symbolic links is read once; two hard links are two files. A directory that cannot be
/// read and a match that cannot be looked at are errors, since they may hold or be what is to be read.
///
/// A job that is started with *another pattern* on its store lists anew: files that are known are read on where they were,
/// new ones from their beginning. A file that is not read to its end and does not match any more is an error.
///
/// Files must not change while the job reads them. A file that was read to its end is not looked at again.
///
/// Lines end with `\n` or `\r\n`, the last one perhaps with neither; the byte order mark of UTF-8 is skipped, that of another
/// encoding is an error. What is not UTF-8, or longer than [`max_record_bytes`](Self::max_record_bytes), is malformed.
///
/// ```
/// use millstream::prelude::*;
/// use serde::Deserialize;
///
/// #[derive(Deserialize)]
/// struct Sale {
///     item: String,
///     cents: u64,
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let dir = folder.path().display();
/// # std::fs::write(folder.path().join("monday.csv"), "item,cents\ntea,250\nmilk,120\n")?;
/// # let sink = CollectSink::new();
/// # let cents = sink.handle();
/// let env = StreamEnvironment::new("sales");
/// env.source("sales", FileSource::csv::<Sale>(format!("{dir}/*.csv")))
///     .filter(|sale| sale.item != "milk")
///     .map(|sale| sale.cents)
///     .sink("cents", sink);
/// env.start()?.wait()?;
/// assert_eq!(cents.snapshot(), [250]);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// A mistake in the [configuration](SourceError::configuration) if nothing matches; [`SourceError::position`] for a file
/// shorter than its position; with a [`FileSourceError`](super::FileSourceError) as reason if a file or directory cannot be
/// read (a listed file that is gone, too), is no gzip file although it is named so, is encoded otherwise, or a record does not
/// parse.
pub struct FileSource<T, R = T> {
    pattern: String,
    format: Format,
    record_bytes_max: usize,
    on_malformed: OnMalformed,
    malformed: Arc<AtomicU64>,
    decoder: fn(Format) -> Box<dyn Decoder<T>>,
    finish: fn(RecordPlace<'_>, T) -> R,
    follow: Option<Follow>,
}

/// Where a record stands.
pub(super) struct RecordPlace<'a> {
    pub(super) path: &'a Arc<str>,
    pub(super) line: u64,
    pub(super) index: u64,
}

/// A record with its place in the input, which stays the same over restarts.
///
/// ```
/// use millstream::prelude::*;
/// use millstream::source::Positioned;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("words.txt").display().to_string();
/// # std::fs::write(&path, "tea\nmilk\n")?;
/// # let sink = CollectSink::new();
/// # let places = sink.handle();
/// let env = StreamEnvironment::new("places");
/// env.source("words", FileSource::lines(path).positioned())
///     .map(|word: Positioned<String>| (word.line, word.value))
///     .sink("places", sink);
/// env.start()?.wait()?;
/// assert_eq!(places.snapshot(), [(1, "tea".to_owned()), (2, "milk".to_owned())]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Positioned<T> {
    /// Its file.
    pub path: Arc<str>,
    /// The line it starts in, from 1; a header counts.
    pub line: u64,
    /// Its number in the file, from 0: header and blank lines do not count, malformed records do.
    pub record_index: u64,
    /// The record.
    pub value: T,
}

impl FileSource<String> {
    const RECORD_BYTES_MAX: usize = 16 << 20;

    fn of<T>(pattern: impl Into<String>, format: Format, decoder: fn(Format) -> Box<dyn Decoder<T>>) -> FileSource<T> {
        FileSource {
            pattern: pattern.into(),
            format,
            record_bytes_max: Self::RECORD_BYTES_MAX,
            on_malformed: OnMalformed::default(),
            malformed: Arc::default(),
            decoder,
            finish: |_, record| record,
            follow: None,
        }
    }

    /// Each line is a record, without its line end; empty lines too.
    pub fn lines(pattern: impl Into<String>) -> Self {
        Self::of(pattern, Format::Lines, |_| Box::new(LineDecoder))
    }

    /// Each row is a record: `T` by the names in the header row, or by position for tuples and sequences. Fields may be
    /// quoted, and then hold delimiters, doubled quotes and line ends (RFC 4180). A row must have as many fields as the
    /// header. Blank lines are skipped.
    pub fn csv<T: DeserializeOwned + Send + 'static>(pattern: impl Into<String>) -> FileSource<T> {
        Self::of(pattern, Format::Csv { delimiter: b',', has_header: true }, |format| {
            let Format::Csv { delimiter, .. } = format else { unreachable!("the format of a CSV source stays CSV") };
            Box::new(CsvDecoder::new(delimiter))
        })
    }

    /// Each line that is not blank is a JSON value.
    pub fn json_lines<T: DeserializeOwned + Send + 'static>(pattern: impl Into<String>) -> FileSource<T> {
        Self::of(pattern, Format::JsonLines, |_| Box::new(JsonDecoder))
    }
}

impl<T, R> FileSource<T, R> {
    /// The first row is data, and fields go by position. CSV only; elsewhere without effect.
    pub fn without_header(mut self) -> Self {
        if let Format::Csv { has_header, .. } = &mut self.format {
            *has_header = false;
        }
        self
    }

    /// What stands between fields; `,` by default. An ASCII character other than a quote, a line end and NUL. CSV only;
    /// elsewhere without effect.
    pub fn delimiter(mut self, byte: u8) -> Self {
        if let Format::Csv { delimiter, .. } = &mut self.format {
            *delimiter = byte;
        }
        self
    }

    /// A longer record is malformed. In bytes, at least 1; 16 MiB by default. Bounds the memory of a reader.
    pub fn max_record_bytes(mut self, bytes: usize) -> Self {
        self.record_bytes_max = bytes;
        self
    }

    /// What to do with records that do not parse; fails by default. A malformed header row always fails.
    pub fn on_malformed(mut self, policy: OnMalformed) -> Self {
        self.on_malformed = policy;
        self
    }

    /// Follows the files: reads what is appended to them, and files that come, until the job ends. Unbounded.
    ///
    /// - A record is read when its line end is there: what has none waits, over restarts too, and is not read by
    ///   `JobHandle::finish`, which reads what is there and ends.
    /// - A file is a split known by device, inode and the first bytes of its content, not by its path. So one that is *renamed*, as
    ///   by a rotation, is read on, also under a name that the pattern does not match, and several paths to one file, by symbolic and
    ///   hard links, are one. After a restart it is looked for where it was, in the folder where it was, and in those of
    ///   [`Follow::look_in`], on the same file system. That it is met at all takes a name that the pattern matches when a checkpoint is taken: let the pattern
    ///   match the names to which files are renamed, too, where they are renamed often.
    /// - A file that is *cut short* or written anew is an error ([`FileSourceError::Rewritten`](super::FileSourceError)): what was in it
    ///   may not have been read. So is one that has gone before it was known to be read to its end
    ///   ([`FileSourceError::Lost`](super::FileSourceError)). [`Follow::accept_loss`] goes on.
    /// - A file that was read to its end and has not grown for long is [settled](Follow::settled_after): it may go. A last line that
    ///   never had its line end keeps no file from that. So the state has an
    ///   entry for each file that is there, and for those that have gone of late.
    /// - With a strategy for watermarks each file has event time of its own, until it is settled, or is read to its end and renamed to
    ///   a name that the pattern does not match. One that has no records for a while holds event time back but for the
    ///   [idleness](crate::time::WatermarkStrategy::with_idleness) of the strategy.
    /// - Files are read in turn, none in the order of its name; the path of [`positioned`](FileSource::positioned) records is that under
    ///   which their file was met.
    /// - A field of CSV may hold line ends. Of one whose quotes are not closed within [`max_record_bytes`](Self::max_record_bytes) nobody
    ///   knows where its record ends: the first line of it is malformed, and if that is no error, reading goes on with the next line.
    /// - Nothing needs to match at the start. What may not be read by the program, or is compressed, is left out with a warning in the log
    ///   (`millstream::source`); the first is tried again.
    ///
    /// Where the system does not number its files, which is elsewhere than on Unix, this is a mistake in the settings. The numbers
    /// must outlive a restart, as on local disks.
    pub fn follow(mut self, follow: Follow) -> Self {
        self.follow = Some(follow);
        self
    }

    /// Counts the malformed records of all subtasks in this process. Take it before the job starts. Those that are read
    /// again after a restart count again.
    pub fn malformed_count(&self) -> Arc<AtomicU64> {
        self.malformed.clone()
    }
}

impl<T> FileSource<T> {
    /// Tells each record's place.
    pub fn positioned(self) -> FileSource<T, Positioned<T>> {
        FileSource {
            pattern: self.pattern,
            format: self.format,
            record_bytes_max: self.record_bytes_max,
            on_malformed: self.on_malformed,
            malformed: self.malformed,
            decoder: self.decoder,
            finish: |place, value| Positioned {
                path: place.path.clone(),
                line: place.line,
                record_index: place.index,
                value,
            },
            follow: self.follow,
        }
    }
}

impl<T, R> fmt::Debug for FileSource<T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileSource")
            .field("pattern", &self.pattern)
            .field("format", &self.format)
            .finish_non_exhaustive()
    }
}

impl<T: 'static, R: Send + 'static> Source for FileSource<T, R> {
    type Item = R;

    fn boundedness(&self) -> Boundedness {
        if self.follow.is_some() { Boundedness::Unbounded } else { Boundedness::Bounded }
    }

    fn threading(&self) -> Threading {
        Threading::Blocking
    }

    fn mistake(&self) -> Option<String> {
        if let Format::Csv { delimiter, .. } = self.format
            && (matches!(delimiter, b'\n' | b'\r' | b'"' | 0) || !delimiter.is_ascii())
        {
            return Some("a delimiter is an ASCII character other than a quote, a line end and NUL".to_owned());
        }
        if self.record_bytes_max == 0 {
            return Some("max_record_bytes(0) makes every record malformed".to_owned());
        }
        let follow = self.follow.as_ref();
        follow.and_then(|follow| follow.mistake(&self.pattern)).or_else(|| listing::mistake(&self.pattern))
    }

    fn open(
        &self,
        cx: &SourceContext,
        restored: Option<Vec<SplitPosition>>,
    ) -> Result<Box<dyn SourceReader<Item = R>>, SourceError> {
        if let Some(mistake) = self.mistake() {
            return Err(SourceError::configuration(mistake));
        }
        if let Some(follow) = &self.follow {
            return Ok(Box::new(FollowReader::open(self, (&self.pattern, follow), cx, restored)?));
        }
        let restored = restored.map(|positions| changed_pattern::adopt(cx, &self.pattern, positions)).transpose()?;
        let list = || changed_pattern::unread(&self.pattern);
        let splits = SplitQueue::open(cx, restored, list)?.sorted_by_key(|split| split.id.clone());
        Ok(Box::new(FileReader::new(splits, self)))
    }

    fn ends_on_finish(&self) -> bool {
        self.follow.is_some()
    }

    fn describe_position(&self, position: &[u8]) -> String {
        if self.follow.is_some() {
            return described(position, |position: FollowPosition| position.to_string());
        }
        described(position, |position: FilePosition| position.to_string())
    }
}

impl<T, R> FileSource<T, R> {
    pub(super) fn format(&self) -> Format {
        self.format
    }

    pub(super) fn record_bytes_max(&self) -> usize {
        self.record_bytes_max
    }

    pub(super) fn new_decoder(&self) -> fn(Format) -> Box<dyn Decoder<T>> {
        self.decoder
    }

    pub(super) fn malformed_records(&self) -> super::malformed::MalformedRecords {
        super::malformed::MalformedRecords::new(self.on_malformed.clone(), self.malformed.clone())
    }

    pub(super) fn finish(&self) -> fn(RecordPlace<'_>, T) -> R {
        self.finish
    }
}
