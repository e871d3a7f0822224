//! How records are made of the bytes of files, in whatever way these are read.

use std::io::{self, BufRead};
use std::path::PathBuf;
use std::sync::Arc;

use millstream_actors::contract::{Batch, SourceError};

use super::decoder::{Decoder, Format};
use super::error::FileSourceError;
use super::framing::{Frame, Framer, Place};
use super::malformed::{Flaw, MalformedRecords};
use super::source::{FileSource, RecordPlace};

/// Bytes of a file that are read at a time.
pub(super) const BUFFER_BYTES: usize = 256 * 1024;
/// A read gives way after this many malformed records, which fill no batch.
const MALFORMED_PER_READ_MAX: u64 = 1024;

/// A file being read.
pub(super) struct OpenFile<T> {
    pub(super) framer: Framer,
    decoder: Box<dyn Decoder<T>>,
}

/// What makes records, whatever file they are of.
pub(super) struct Records<T, R> {
    pub(super) malformed: MalformedRecords,
    /// Of the frame that was read last.
    pub(super) text: Vec<u8>,
    format: Format,
    pub(super) record_bytes_max: usize,
    new_decoder: fn(Format) -> Box<dyn Decoder<T>>,
    finish: fn(RecordPlace<'_>, T) -> R,
}

impl<T: 'static, R> Records<T, R> {
    pub(super) fn of(source: &FileSource<T, R>) -> Self {
        Self {
            malformed: source.malformed_records(),
            text: Vec::new(),
            format: source.format(),
            record_bytes_max: source.record_bytes_max(),
            new_decoder: source.new_decoder(),
            finish: source.finish(),
        }
    }

    /// Begins a file whose bytes are these.
    pub(super) fn begin(&self, input: Box<dyn BufRead + Send>) -> OpenFile<T> {
        let framer = Framer::new(input, self.format.framing(), self.record_bytes_max);
        OpenFile { framer, decoder: (self.new_decoder)(self.format) }
    }

    /// Up to how many malformed records a read that begins now goes on.
    pub(super) fn malformed_max(&self) -> u64 {
        self.malformed.seen() + MALFORMED_PER_READ_MAX
    }

    /// Reads the header of the file at `path`, if the format has one, and blank lines before it. False if a frame comes before it that
    /// `is_end`.
    pub(super) fn read_header(
        &mut self,
        path: &str,
        open: &mut OpenFile<T>,
        failed: impl Fn(io::Error) -> SourceError,
        is_end: impl Fn(Frame, &Framer) -> bool,
    ) -> Result<bool, SourceError> {
        if !self.format.has_header() {
            return Ok(true);
        }
        loop {
            let start = open.framer.place();
            let frame = self.next_frame(path, &mut open.framer, &failed)?;
            if is_end(frame, &open.framer) {
                return Ok(false);
            }
            let header = text_of(frame, &self.text, self.record_bytes_max);
            if header.as_ref().is_ok_and(|text| text.is_empty()) {
                continue;
            }
            let read = header.and_then(|text| open.decoder.header(text));
            return read.map(|()| true).map_err(|Flaw { line, column, reason }| {
                let (path, line, offset) = (PathBuf::from(path), start.line + line, start.offset);
                FileSourceError::Malformed { path, line, column, offset, reason }.into()
            });
        }
    }

    /// The next frame of the file at `path`, its text in [`text`](Self::text).
    pub(super) fn next_frame(
        &mut self,
        path: &str,
        framer: &mut Framer,
        failed: impl Fn(io::Error) -> SourceError,
    ) -> Result<Frame, SourceError> {
        match framer.next(&mut self.text).map_err(failed)? {
            Frame::Foreign(encoding) => Err(FileSourceError::Encoding { path: path.into(), encoding }.into()),
            frame => Ok(frame),
        }
    }

    /// Makes a record of the frame that was read last, which began at `start`, and is that with this number. False if it is none.
    pub(super) fn take(
        &mut self,
        path: &Arc<str>,
        open: &mut OpenFile<T>,
        (frame, start, index): (Frame, Place, u64),
        batch: &mut Batch<R>,
    ) -> Result<bool, SourceError> {
        let text = text_of(frame, &self.text, self.record_bytes_max);
        match text.and_then(|text| open.decoder.decode(text)) {
            Ok(None) => return Ok(false),
            Ok(Some(record)) => {
                let place = RecordPlace { path, line: start.line, index };
                batch.push((self.finish)(place, record), self.text.len());
            }
            Err(flaw) => self.malformed.take(path, start, flaw, &self.text)?,
        }
        Ok(true)
    }
}

/// The text of a frame, or what is wrong with it.
fn text_of(frame: Frame, text: &[u8], record_bytes_max: usize) -> Result<&str, Flaw> {
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
