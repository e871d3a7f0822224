//! Reads the files of one subtask.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use flate2::read::MultiGzDecoder;
use millstream_actors::contract::{Batch, ReadStatus, SideRecord, SourceError, SourceReader, SplitPosition};
use serde::{Deserialize, Serialize};

use super::decoder::{Decoder, Format};
use super::framing::{Frame, Framer, Place};
use super::malformed::{Flaw, MalformedRecords};
use super::source::{FileSource, RecordPlace};
use crate::source::position;

const BUFFER_BYTES: usize = 256 * 1024;
/// A read gives way after this many malformed records, which fill no batch.
const MALFORMED_PER_READ_MAX: u64 = 1024;

/// How far a file has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FilePosition {
    /// Where the next record starts, in decompressed bytes.
    offset: u64,
    /// The line it starts in, from 1.
    line: u64,
    /// Its number.
    record_index: u64,
    /// Whether there is none.
    done: bool,
}

/// One file.
pub(super) struct FileSplit {
    pub(super) path: Arc<str>,
    pub(super) position: FilePosition,
}

impl FileSplit {
    pub(super) fn unread(path: String) -> Self {
        Self { path: path.into(), position: FilePosition { offset: 0, line: 1, record_index: 0, done: false } }
    }

    fn io(&self, action: &'static str) -> impl Fn(io::Error) -> SourceError + use<> {
        let path = self.path.clone();
        move |source| SourceError::Io { path: Path::new(&*path).to_owned(), action, source }
    }

    fn too_short(&self, len: u64) -> SourceError {
        let reason = format!("it is at byte {}, the file has {len}", self.position.offset);
        SourceError::Position { split: self.path.as_ref().into(), reason }
    }

    /// The decompressed bytes from `offset` on.
    fn input(&self, offset: u64) -> Result<Box<dyn BufRead + Send>, SourceError> {
        let mut file = File::open(&*self.path).map_err(self.io("open"))?;
        if !self.path.ends_with(".gz") {
            let len = file.metadata().map_err(self.io("examine"))?.len();
            if len < offset {
                return Err(self.too_short(len));
            }
            file.seek(SeekFrom::Start(offset)).map_err(self.io("seek in"))?;
            return Ok(Box::new(BufReader::with_capacity(BUFFER_BYTES, file)));
        }
        let mut input = BufReader::with_capacity(BUFFER_BYTES, MultiGzDecoder::new(BufReader::new(file)));
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
    splits: VecDeque<FileSplit>,
    /// The file at the front of `splits`.
    open: Option<OpenFile<T>>,
    /// Read to the end, or further, since the last report.
    done: Vec<FileSplit>,
    /// How many at the front of `splits` are to be reported: all at first, later the one being read.
    moved: usize,
    malformed: MalformedRecords,
    text: Vec<u8>,
    format: Format,
    record_bytes_max: usize,
    new_decoder: fn(Format) -> Box<dyn Decoder<T>>,
    finish: fn(RecordPlace<'_>, T) -> R,
}

impl<T: 'static, R> FileReader<T, R> {
    pub(super) fn new(splits: Vec<FileSplit>, source: &FileSource<T, R>) -> Self {
        let (done, unread): (Vec<_>, VecDeque<_>) = partition(splits);
        Self {
            moved: unread.len(),
            splits: unread,
            open: None,
            done,
            malformed: source.malformed_records(),
            text: Vec::new(),
            format: source.format(),
            record_bytes_max: source.record_bytes_max(),
            new_decoder: source.new_decoder(),
            finish: source.finish(),
        }
    }

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
            let frame = framer.next(&mut self.text).map_err(split.io("read"))?;
            if frame == Frame::End {
                return Ok(());
            }
            let header = text_of(frame, &self.text, self.record_bytes_max);
            if header.as_ref().is_ok_and(|text| text.is_empty()) {
                continue;
            }
            return header.and_then(|text| decoder.header(text)).map_err(|flaw| SourceError::Malformed {
                path: Path::new(&*split.path).to_owned(),
                line: start.line + flaw.line,
                column: flaw.column,
                reason: flaw.reason,
            });
        }
    }

    /// Reads on in `split`. True at its end.
    fn read_split(&mut self, split: &mut FileSplit, batch: &mut Batch<R>) -> Result<bool, SourceError> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.open(split)?,
        };
        let malformed_max = self.malformed.seen() + MALFORMED_PER_READ_MAX;
        while !batch.is_full() && self.malformed.seen() < malformed_max {
            let start = open.framer.place();
            let frame = open.framer.next(&mut self.text).map_err(split.io("read"))?;
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
                    let place = RecordPlace { path: &split.path, line: start.line, index: split.position.record_index };
                    batch.push((self.finish)(place, record), self.text.len());
                }
                Err(flaw) => self.malformed.take(&split.path, start, flaw, &self.text)?,
            }
            split.position.record_index += 1;
        }
        self.open = Some(open);
        Ok(false)
    }
}

fn partition(splits: Vec<FileSplit>) -> (Vec<FileSplit>, VecDeque<FileSplit>) {
    let (done, unread): (Vec<_>, Vec<_>) = splits.into_iter().partition(|split| split.position.done);
    (done, unread.into())
}

fn text_of(frame: Frame, text: &[u8], record_bytes_max: usize) -> Result<&str, Flaw> {
    let reason = match frame {
        Frame::TooLong => format!("longer than {record_bytes_max} bytes"),
        Frame::Unclosed => "a quoted field is not closed".into(),
        Frame::Record | Frame::End => {
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
        while let Some(mut split) = self.splits.pop_front() {
            self.moved = self.moved.max(1);
            let outcome = self.read_split(&mut split, batch);
            if !matches!(outcome, Ok(true)) {
                self.splits.push_front(split);
                return outcome.map(|_| ReadStatus::More);
            }
            self.done.push(split);
            self.moved -= 1;
        }
        self.malformed.summarise();
        Ok(ReadStatus::End)
    }

    fn report_positions(&mut self, moved: &mut Vec<SplitPosition>) {
        let moving = self.splits.iter().take(std::mem::take(&mut self.moved));
        moved.extend(self.done.iter().chain(moving).map(|split| position::encode(&split.path, &split.position)));
        self.done.clear();
    }

    fn take_side_records(&mut self) -> Vec<SideRecord> {
        self.malformed.take_side_records()
    }
}
