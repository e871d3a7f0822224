//! A followed file while it is its turn to be read.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::sync::Arc;

use millstream_actors::contract::{Batch, SourceError};

use super::disk::{Key, ReadFrom, cannot};
use super::files::Followed;
use crate::source::file::framing::{Frame, Place, RecordEnd};
use crate::source::file::malformed::Flaw;
use crate::source::file::records::{BUFFER_BYTES, OpenFile, Records};

/// Behind so many bytes another file has its turn.
const TURN_BYTES: u64 = 4 << 20;

/// The file whose turn it is.
pub(super) struct Turn<T> {
    pub(super) key: Key,
    file: Arc<File>,
    open: OpenFile<T>,
    ends_at: u64,
}

impl<T: 'static> Turn<T> {
    /// Begins a turn of the file, its header read; `None` if no record has come to its end.
    pub(super) fn begin<R>(
        records: &mut Records<T, R>,
        key: Key,
        file: Arc<File>,
        followed: &mut Followed,
    ) -> Result<Option<Self>, SourceError> {
        if followed.position.searched_to > followed.position.offset {
            let searched_to = followed.position.searched_to;
            let (searched_to, is_ended) = search(&file, searched_to).map_err(|error| failed(followed, error))?;
            followed.is_searched_to(searched_to);
            if !is_ended {
                return Ok(None);
            }
        }
        let mut open = records.begin(input(&file, 0));
        let has_header = records.read_header(
            &followed.position.path,
            &mut open,
            |error| failed(followed, error),
            |frame, framer| frame == Frame::End || framer.record_end() != RecordEnd::Line,
        )?;
        if !has_header {
            followed.is_searched_to(open.framer.place().offset);
            return Ok(None);
        }
        let (place, behind_header) = (followed.position.place(), open.framer.place());
        if place.offset < behind_header.offset {
            (followed.position.offset, followed.position.line) = (behind_header.offset, behind_header.line);
            followed.is_moved = true;
        }
        if place.offset > behind_header.offset {
            open.framer.continue_at(input(&file, place.offset), place);
        }
        let ends_at = followed.len.min(followed.position.offset.saturating_add(TURN_BYTES));
        Ok(Some(Self { key, file, open, ends_at }))
    }

    /// Reads on in the file whose turn it is. Whether its turn goes on.
    pub(super) fn read<R>(
        &mut self,
        records: &mut Records<T, R>,
        file: &mut Followed,
        batch: &mut Batch<R>,
    ) -> Result<bool, SourceError> {
        let malformed_max = records.malformed_max();
        let mut goes_on = true;
        while !batch.is_full() && records.malformed.seen() < malformed_max {
            let start = self.open.framer.place();
            goes_on = start.offset < self.ends_at;
            if !goes_on {
                break;
            }
            let path = &file.position.path;
            let frame = records.next_frame(path, &mut self.open.framer, |error| failed(file, error))?;
            let (end, record_end) = (self.open.framer.place(), self.open.framer.record_end());
            if frame == Frame::End || record_end != RecordEnd::Line {
                let is_endless =
                    record_end == RecordEnd::OpenQuote && end.offset - start.offset > records.record_bytes_max as u64;
                if is_endless && self.leave_out_line(records, file, start)? {
                    continue;
                }
                file.is_searched_to(end.offset);
                goes_on = false;
                break;
            }
            let place = (frame, start, file.position.record_index);
            let taken = records.take(&file.position.named, &mut self.open, place, batch)?;
            file.position.record_index += u64::from(taken);
            (file.position.offset, file.position.line) = (end.offset, end.line);
            file.is_moved = true;
        }
        if !file.position.know(&self.file).map_err(|error| failed(file, error))? {
            // It is not the file that it was: the next look tells.
            (file.look, goes_on) = (None, false);
        }
        Ok(goes_on)
    }

    /// Where a record whose quotes are not closed would end cannot be told: its first line is the malformed record, and reading goes
    /// on behind that. Answers whether that line has come to its end.
    fn leave_out_line<R>(
        &mut self,
        records: &mut Records<T, R>,
        file: &mut Followed,
        start: Place,
    ) -> Result<bool, SourceError> {
        let Records { text, malformed, record_bytes_max, .. } = records;
        let line_end = text.iter().position(|byte| *byte == b'\n').map(|at| start.offset + at as u64);
        let (line_end, is_ended) = match line_end {
            Some(line_end) => (line_end, true),
            None => search(&self.file, start.offset + text.len() as u64).map_err(|error| failed(file, error))?,
        };
        if !is_ended {
            return Ok(false);
        }
        let kept = usize::try_from(line_end - start.offset).map_or(text.len(), |bytes| bytes.min(text.len()));
        let reason = format!("a quoted field is not closed within {record_bytes_max} bytes");
        malformed.take(&file.position.named, start, Flaw { line: 0, column: 1, reason }, &text[..kept])?;
        let next = Place { offset: line_end + 1, line: start.line + 1 };
        self.open.framer.continue_at(input(&self.file, next.offset), next);
        (file.position.offset, file.position.line) = (next.offset, next.line);
        file.position.record_index += 1;
        file.is_moved = true;
        Ok(true)
    }
}

fn input(file: &Arc<File>, at: u64) -> Box<dyn BufRead + Send> {
    Box::new(BufReader::with_capacity(BUFFER_BYTES, ReadFrom { file: file.clone(), at }))
}

fn failed(file: &Followed, error: io::Error) -> SourceError {
    cannot("read", file.position.path())(error).into()
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
