//! A followed file while it is its turn to be read.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;
use std::sync::Arc;

use millstream_actors::contract::{Batch, SourceError};

use super::disk::{Key, ReadFrom, cannot};
use super::files::Followed;
use crate::source::file::FileSource;
use crate::source::file::decoder::{Decoder, Format};
use crate::source::file::error::FileSourceError;
use crate::source::file::framing::{Frame, Framer, Place, RecordEnd};
use crate::source::file::malformed::{Flaw, MalformedRecords};
use crate::source::file::reader::{MALFORMED_PER_READ_MAX, text_of};
use crate::source::file::source::RecordPlace;

const BUFFER_BYTES: usize = 256 * 1024;
/// Behind so many bytes another file has its turn.
const TURN_BYTES: u64 = 4 << 20;

/// The file whose turn it is.
pub(super) struct Turn<T> {
    pub(super) key: Key,
    file: Arc<File>,
    framer: Framer,
    decoder: Box<dyn Decoder<T>>,
    ends_at: u64,
}

/// What reading takes, whatever file it is.
pub(super) struct Parts<T, R> {
    pub(super) malformed: MalformedRecords,
    text: Vec<u8>,
    format: Format,
    record_bytes_max: usize,
    new_decoder: fn(Format) -> Box<dyn Decoder<T>>,
    finish: fn(RecordPlace<'_>, T) -> R,
}

impl<T: 'static, R> Parts<T, R> {
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

    /// Begins a turn of the file, its header read; `None` if no record has come to its end.
    pub(super) fn begin(
        &mut self,
        key: Key,
        open: Arc<File>,
        file: &mut Followed,
    ) -> Result<Option<Turn<T>>, SourceError> {
        if file.position.searched_to > file.position.offset {
            let searched_to = file.position.searched_to;
            let (searched_to, is_ended) = search(&open, searched_to).map_err(|error| failed(file, error))?;
            file.is_searched_to(searched_to);
            if !is_ended {
                return Ok(None);
            }
        }
        let mut framer = Framer::new(input(&open, 0), self.format.framing(), self.record_bytes_max);
        let mut decoder = (self.new_decoder)(self.format);
        if self.format.has_header() && !self.read_header(file, &mut framer, &mut *decoder)? {
            file.is_searched_to(framer.place().offset);
            return Ok(None);
        }
        let (place, behind_header) = (file.position.place(), framer.place());
        if place.offset < behind_header.offset {
            (file.position.offset, file.position.line) = (behind_header.offset, behind_header.line);
            file.is_moved = true;
        }
        if place.offset > behind_header.offset {
            framer.continue_at(input(&open, place.offset), place);
        }
        let ends_at = file.len.min(file.position.offset.saturating_add(TURN_BYTES));
        Ok(Some(Turn { key, file: open, framer, decoder, ends_at }))
    }

    /// Whether the header is there, or nothing else than blank lines is.
    fn read_header(
        &mut self,
        file: &Followed,
        framer: &mut Framer,
        decoder: &mut dyn Decoder<T>,
    ) -> Result<bool, SourceError> {
        loop {
            let start = framer.place();
            let frame = self.next_frame(file, framer)?;
            if frame == Frame::End || framer.record_end() != RecordEnd::Line {
                return Ok(false);
            }
            let header = text_of(frame, &self.text, self.record_bytes_max);
            if header.as_ref().is_ok_and(|text| text.is_empty()) {
                continue;
            }
            let read = header.and_then(|text| decoder.header(text));
            return read.map(|()| true).map_err(|flaw| malformed(file, start, flaw));
        }
    }

    fn next_frame(&mut self, file: &Followed, framer: &mut Framer) -> Result<Frame, SourceError> {
        match framer.next(&mut self.text).map_err(|error| failed(file, error))? {
            Frame::Foreign(encoding) => {
                Err(FileSourceError::Encoding { path: PathBuf::from(&file.position.path), encoding }.into())
            }
            frame => Ok(frame),
        }
    }

    /// Reads on in the file whose turn it is. Whether its turn goes on.
    pub(super) fn read(
        &mut self,
        turn: &mut Turn<T>,
        file: &mut Followed,
        batch: &mut Batch<R>,
    ) -> Result<bool, SourceError> {
        let malformed_max = self.malformed.seen() + MALFORMED_PER_READ_MAX;
        let mut goes_on = true;
        while !batch.is_full() && self.malformed.seen() < malformed_max {
            let start = turn.framer.place();
            goes_on = start.offset < turn.ends_at;
            if !goes_on {
                break;
            }
            let frame = self.next_frame(file, &mut turn.framer)?;
            let end = turn.framer.place();
            if frame == Frame::End || turn.framer.record_end() != RecordEnd::Line {
                let is_endless = turn.framer.record_end() == RecordEnd::OpenQuote
                    && end.offset - start.offset > self.record_bytes_max as u64;
                if is_endless && self.leave_out_line(turn, file, start)? {
                    continue;
                }
                file.is_searched_to(end.offset);
                goes_on = false;
                break;
            }
            self.take(turn, file, (start, frame), batch)?;
            (file.position.offset, file.position.line) = (end.offset, end.line);
            file.is_moved = true;
        }
        if !file.position.know(&turn.file).map_err(|error| failed(file, error))? {
            // It is not the file that it was: the next look tells.
            (file.look, goes_on) = (None, false);
        }
        Ok(goes_on)
    }

    /// Where a record whose quotes are not closed would end cannot be told: its first line is the malformed record, and reading goes
    /// on behind that. Answers whether that line has come to its end.
    fn leave_out_line(&mut self, turn: &mut Turn<T>, file: &mut Followed, start: Place) -> Result<bool, SourceError> {
        let line_end = self.text.iter().position(|byte| *byte == b'\n').map(|at| start.offset + at as u64);
        let (line_end, is_ended) = match line_end {
            Some(line_end) => (line_end, true),
            None => search(&turn.file, start.offset + self.text.len() as u64).map_err(|error| failed(file, error))?,
        };
        if !is_ended {
            return Ok(false);
        }
        let kept = usize::try_from(line_end - start.offset).map_or(self.text.len(), |bytes| bytes.min(self.text.len()));
        self.malformed.take(&file.position.named, start, self.endless(), &self.text[..kept])?;
        let next = Place { offset: line_end + 1, line: start.line + 1 };
        turn.framer.continue_at(input(&turn.file, next.offset), next);
        (file.position.offset, file.position.line) = (next.offset, next.line);
        file.position.record_index += 1;
        file.is_moved = true;
        Ok(true)
    }

    fn take(
        &mut self,
        turn: &mut Turn<T>,
        file: &mut Followed,
        (start, frame): (Place, Frame),
        batch: &mut Batch<R>,
    ) -> Result<(), SourceError> {
        let path = &file.position.named;
        let text = text_of(frame, &self.text, self.record_bytes_max);
        match text.and_then(|text| turn.decoder.decode(text)) {
            Ok(None) => return Ok(()),
            Ok(Some(record)) => {
                let place = RecordPlace { path, line: start.line, index: file.position.record_index };
                batch.push((self.finish)(place, record), self.text.len());
            }
            Err(flaw) => self.malformed.take(path, start, flaw, &self.text)?,
        }
        file.position.record_index += 1;
        Ok(())
    }

    fn endless(&self) -> Flaw {
        let reason = format!("a quoted field is not closed within {} bytes", self.record_bytes_max);
        Flaw { line: 0, column: 1, reason }
    }
}

fn input(file: &Arc<File>, at: u64) -> Box<dyn BufRead + Send> {
    Box::new(BufReader::with_capacity(BUFFER_BYTES, ReadFrom { file: file.clone(), at }))
}

fn failed(file: &Followed, error: io::Error) -> SourceError {
    cannot("read", file.position.path())(error).into()
}

fn malformed(file: &Followed, start: Place, flaw: Flaw) -> SourceError {
    let Flaw { line, column, reason } = flaw;
    let path = PathBuf::from(&file.position.path);
    FileSourceError::Malformed { path, line: start.line + line, column, reason }.into()
}

/// Looks for a line end from a place on: where it is, or to where it has looked and there is none. So the beginning of a long line is not
/// read again each time that the line has grown.
fn search(file: &Arc<File>, from: u64) -> io::Result<(u64, bool)> {
    let (mut input, mut at) = (input(file, from), from);
    loop {
        let bytes = input.fill_buf()?;
        let (len, line_end) = (bytes.len(), bytes.iter().position(|byte| *byte == b'\n'));
        if len == 0 || line_end.is_some() {
            return Ok((at + line_end.unwrap_or(0) as u64, len > 0));
        }
        input.consume(len);
        at += len as u64;
    }
}
