//! Reads the files of one subtask.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;

use millstream_actors::contract::{Batch, ReadStatus, SideRecord, SourceError, SourceReader, SplitPosition, SplitRead};
use serde::{Deserialize, Serialize};

use super::decoder::{Decoder, Format};
use super::error::FileSourceError;
use super::framing::{Frame, Framer, Place};
use super::gzip::{GzipFlaw, GzipReader};
use super::malformed::{Flaw, MalformedRecords};
use super::source::{FileSource, RecordPlace};
use crate::source::{Split, SplitQueue};

const BUFFER_BYTES: usize = 256 * 1024;
/// A read gives way after this many malformed records, which fill no batch.
pub(super) const MALFORMED_PER_READ_MAX: u64 = 1024;

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

/// A file being read.
struct OpenFile<T> {
    framer: Framer,
    decoder: Box<dyn Decoder<T>>,
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
    malformed: MalformedRecords,
    text: Vec<u8>,
    format: Format,
    record_bytes_max: usize,
    new_decoder: fn(Format) -> Box<dyn Decoder<T>>,
    finish: fn(RecordPlace<'_>, T) -> R,
}

impl<T: 'static, R> FileReader<T, R> {
    pub(super) fn new(splits: SplitQueue<FilePosition>, source: &FileSource<T, R>) -> Self {
        let reading = Reading {
            open: None,
            path: "".into(),
            malformed: source.malformed_records(),
            text: Vec::new(),
            format: source.format(),
            record_bytes_max: source.record_bytes_max(),
            new_decoder: source.new_decoder(),
            finish: source.finish(),
        };
        Self { splits, reading }
    }
}

impl<T: 'static, R> Reading<T, R> {
    /// Opens a file at its position, its header read.
    fn open(&mut self, split: &FileSplit) -> Result<OpenFile<T>, SourceError> {
        let position = split.position;
        let place = Place { offset: position.offset, line: position.line };
        let mut framer = Framer::new(split.input(0)?, self.format.framing(), self.record_bytes_max);
        let mut decoder = (self.new_decoder)(self.format);
        if self.format.has_header() {
            self.read_header(split, &mut framer, &mut *decoder)?;
        }
        if place.offset > framer.place().offset {
            framer.continue_at(split.input(place.offset)?, place);
        }
        Ok(OpenFile { framer, decoder })
    }

    fn read_header(
        &mut self,
        split: &FileSplit,
        framer: &mut Framer,
        decoder: &mut dyn Decoder<T>,
    ) -> Result<(), SourceError> {
        loop {
            let start = framer.place();
            let frame = self.next_frame(split, framer)?;
            if frame == Frame::End {
                return Ok(());
            }
            let header = text_of(frame, &self.text, self.record_bytes_max);
            if header.as_ref().is_ok_and(|text| text.is_empty()) {
                continue;
            }
            return header.and_then(|text| decoder.header(text)).map_err(|flaw| {
                let Flaw { line, column, reason } = flaw;
                let path = PathBuf::from(&split.id);
                FileSourceError::Malformed { path, line: start.line + line, column, reason }.into()
            });
        }
    }

    fn next_frame(&mut self, split: &FileSplit, framer: &mut Framer) -> Result<Frame, SourceError> {
        match framer.next(&mut self.text).map_err(split.io("read"))? {
            Frame::Foreign(encoding) => {
                Err(FileSourceError::Encoding { path: PathBuf::from(&split.id), encoding }.into())
            }
            frame => Ok(frame),
        }
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
        let malformed_max = self.malformed.seen() + MALFORMED_PER_READ_MAX;
        while !batch.is_full() && self.malformed.seen() < malformed_max {
            let start = open.framer.place();
            let frame = self.next_frame(split, &mut open.framer)?;
            let end = open.framer.place();
            (split.position.offset, split.position.line) = (end.offset, end.line);
            if frame == Frame::End {
                split.position.done = true;
                return Ok(true);
            }
            let text = text_of(frame, &self.text, self.record_bytes_max);
            match text.and_then(|text| open.decoder.decode(text)) {
                Ok(None) => continue,
                Ok(Some(record)) => {
                    let place = RecordPlace { path: &self.path, line: start.line, index: split.position.record_index };
                    batch.push((self.finish)(place, record), self.text.len());
                }
                Err(flaw) => self.malformed.take(&self.path, start, flaw, &self.text)?,
            }
            split.position.record_index += 1;
        }
        self.open = Some(open);
        Ok(false)
    }
}

/// The text of a frame, or what is wrong with it.
pub(super) fn text_of(frame: Frame, text: &[u8], record_bytes_max: usize) -> Result<&str, Flaw> {
    let reason = match frame {
        Frame::TooLong => format!("longer than {record_bytes_max} bytes"),
        Frame::Unclosed => "a quoted field is not closed".into(),
        Frame::Record | Frame::End | Frame::Foreign(_) => {
            return str::from_utf8(text).map_err(|error| {
                let valid = &text[..error.valid_up_to()];
                let line = valid.iter().filter(|byte| **byte == b'\n').count() as u64;
                let column = valid.iter().rev().take_while(|byte| **byte != b'\n').count() as u64 + 1;
                Flaw { line, column, reason: "not UTF-8".into() }
            });
        }
    };
    Err(Flaw { line: 0, column: 1, reason })
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
            self.reading.malformed.summarise();
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
        self.reading.malformed.take_side_records()
    }
}
