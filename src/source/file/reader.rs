//! Reads the files of one subtask.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;

use millstream_actors::contract::{Batch, ReadStatus, SideRecord, SourceError, SourceReader, SplitPosition, SplitRead};
use serde::{Deserialize, Serialize};

use super::error::FileSourceError;
use super::framing::{Frame, Place};
use super::gzip::{GzipFlaw, GzipReader};
use super::records::{BUFFER_BYTES, OpenFile, Records};
use super::source::FileSource;
use crate::source::{Split, SplitQueue};

/// How far a file has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FilePosition {
    /// The [mark](super::changed_pattern::mark) of the pattern that listed it.
    pub(super) listed_by: u64,
    /// Where the next record starts, in decompressed bytes.
    offset: u64,
    /// The line it starts in, from 1.
    line: u64,
    /// Its number.
    record_index: u64,
    /// Whether there is none.
    pub(super) done: bool,
}

impl FilePosition {
    /// The beginning of a file.
    pub(super) fn start(listed_by: u64) -> Self {
        Self { listed_by, offset: 0, line: 1, record_index: 0, done: false }
    }

    /// The same place in a file that another pattern lists.
    pub(super) fn relisted(self, listed_by: u64) -> Self {
        Self { listed_by, ..self }
    }
}

impl fmt::Display for FilePosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.done { f.write_str("its end") } else { write!(f, "line {} (byte {})", self.line, self.offset) }
    }
}

/// One file.
pub(super) type FileSplit = Split<FilePosition>;

impl FileSplit {
    fn io(&self, action: &'static str) -> impl Fn(io::Error) -> SourceError + use<> {
        let path = PathBuf::from(&self.id);
        move |source| {
            let path = path.clone();
            match source.get_ref().and_then(|inner| inner.downcast_ref::<GzipFlaw>()) {
                Some(flaw) => FileSourceError::Gzip { path, reason: flaw.to_string() }.into(),
                None => FileSourceError::Io { path, action, source }.into(),
            }
        }
    }

    fn too_short(&self, len: u64) -> SourceError {
        let reason = format!("it is at byte {}, the file has {len}", self.position.offset);
        SourceError::position(&self.id, reason)
    }

    /// The decompressed bytes from `offset` on.
    fn input(&self, offset: u64) -> Result<Box<dyn BufRead + Send>, SourceError> {
        let mut file = File::open(&self.id).map_err(self.io("open"))?;
        if !self.id.ends_with(".gz") {
            let len = file.metadata().map_err(self.io("examine"))?.len();
            if len < offset {
                return Err(self.too_short(len));
            }
            file.seek(SeekFrom::Start(offset)).map_err(self.io("seek in"))?;
            return Ok(Box::new(BufReader::with_capacity(BUFFER_BYTES, file)));
        }
        let mut input = BufReader::with_capacity(BUFFER_BYTES, GzipReader::new(BufReader::new(file)));
        let len = io::copy(&mut input.by_ref().take(offset), &mut io::sink()).map_err(self.io("decompress"))?;
        if len < offset {
            return Err(self.too_short(len));
        }
        Ok(Box::new(input))
    }
}

/// Reads its files one after another.
pub(super) struct FileReader<T, R> {
    splits: SplitQueue<FilePosition>,
    reading: Reading<T, R>,
}

/// The file that is being read, and what reading takes.
struct Reading<T, R> {
    /// The current split's.
    open: Option<OpenFile<T>>,
    /// Its path, for the records' places.
    path: Arc<str>,
    records: Records<T, R>,
}

impl<T: 'static, R> FileReader<T, R> {
    pub(super) fn new(splits: SplitQueue<FilePosition>, source: &FileSource<T, R>) -> Self {
        Self { splits, reading: Reading { open: None, path: "".into(), records: Records::of(source) } }
    }
}

impl<T: 'static, R> Reading<T, R> {
    /// Opens a file at its position, its header read.
    fn open(&mut self, split: &FileSplit) -> Result<OpenFile<T>, SourceError> {
        let position = split.position;
        let place = Place { offset: position.offset, line: position.line };
        let mut open = self.records.begin(split.input(0)?);
        self.records.read_header(&split.id, &mut open, split.io("read"), |frame, _| frame == Frame::End)?;
        if place.offset > open.framer.place().offset {
            open.framer.continue_at(split.input(place.offset)?, place);
        }
        Ok(open)
    }

    /// Reads on in `split`. True at its end.
    fn read_split(&mut self, split: &mut FileSplit, batch: &mut Batch<R>) -> Result<bool, SourceError> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => {
                self.path = split.id.as_str().into();
                self.open(split)?
            }
        };
        let Self { path, records, .. } = self;
        let malformed_max = records.malformed_max();
        while !batch.is_full() && records.malformed.seen() < malformed_max {
            let start = open.framer.place();
            let frame = records.next_frame(&split.id, &mut open.framer, split.io("read"))?;
            let end = open.framer.place();
            (split.position.offset, split.position.line) = (end.offset, end.line);
            if frame == Frame::End {
                split.position.done = true;
                return Ok(true);
            }
            let taken = records.take(path, &mut open, (frame, start, split.position.record_index), batch)?;
            split.position.record_index += u64::from(taken);
        }
        self.open = Some(open);
        Ok(false)
    }
}

impl<T: 'static, R: Send + 'static> SourceReader for FileReader<T, R> {
    type Item = R;

    fn read(&mut self, batch: &mut Batch<R>) -> Result<ReadStatus, SourceError> {
        let Some(split) = self.splits.current() else { return Ok(ReadStatus::End) };
        // A file that was read to its end before a restore may be gone.
        if split.position.done || self.reading.read_split(split, batch)? {
            self.splits.finish();
        }
        if self.splits.is_finished() {
            self.reading.records.malformed.summarise();
            return Ok(ReadStatus::End);
        }
        Ok(ReadStatus::More)
    }

    fn report_positions(&mut self, moved: &mut Vec<SplitPosition>) {
        self.splits.report(moved);
    }

    fn last_read(&self) -> Option<SplitRead<'_>> {
        self.splits.last_read()
    }

    fn take_side_records(&mut self) -> Vec<SideRecord> {
        self.reading.records.malformed.take_side_records()
    }
}
