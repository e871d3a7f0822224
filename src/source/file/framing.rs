//! Cuts a byte stream into the texts of records, and counts bytes and lines.

use std::io::{self, BufRead, Cursor, Read};

/// How records are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// By line ends.
    Lines,
    /// By line ends outside of quoted fields (RFC 4180, with any delimiter).
    Csv {
        /// Between fields.
        delimiter: u8,
    },
}

/// Where the next record starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// In decompressed bytes.
    pub(super) offset: u64,
    /// From 1.
    pub(super) line: u64,
}

/// What was cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// A record, without its line end.
    Record,
    /// A record longer than the limit: only its beginning was kept.
    TooLong,
    /// The input ended inside a quoted field.
    Unclosed,
    /// The input is in another encoding than UTF-8, as a mark at its beginning says.
    Foreign(&'static str),
    /// The input has ended.
    End,
}

/// Byte order marks and the encodings that they stand for. A mark that another one begins with comes after that one.
const MARKS: [(&[u8], &str); 5] = [
    (b"\xEF\xBB\xBF", UTF_8),
    (b"\xFF\xFE\0\0", "UTF-32 (little-endian)"),
    (b"\0\0\xFE\xFF", "UTF-32 (big-endian)"),
    (b"\xFF\xFE", "UTF-16 (little-endian)"),
    (b"\xFE\xFF", "UTF-16 (big-endian)"),
];
const MARK_BYTES_MAX: u64 = 4;
const UTF_8: &str = "UTF-8";

/// Reads frames from `input`.
pub(super) struct Framer {
    input: Box<dyn BufRead + Send>,
    framing: Framing,
    record_bytes_max: usize,
    place: Place,
    record_end: RecordEnd,
}

/// What ended the record that was cut off last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RecordEnd {
    /// A line end.
    Line,
    /// The end of the input.
    Input,
    /// The end of the input, inside a quoted field.
    OpenQuote,
}

/// How far into a CSV record a scan has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CsvState {
    /// At the start of a field.
    FieldStart,
    /// In a field that did not start with a quote, or after what follows a closing quote.
    Bare,
    /// Between quotes.
    Quoted,
    /// After a quote between quotes: the end of the field, or one half of a doubled quote.
    QuoteInQuoted,
}

impl CsvState {
    pub(super) fn after(self, byte: u8, delimiter: u8) -> Self {
        match (self, byte) {
            (Self::Quoted, b'"') => Self::QuoteInQuoted,
            (Self::Quoted, _) => Self::Quoted,
            (_, byte) if byte == delimiter => Self::FieldStart,
            (Self::FieldStart | Self::QuoteInQuoted, b'"') => Self::Quoted,
            _ => Self::Bare,
        }
    }
}

impl Framer {
    pub(super) fn new(input: Box<dyn BufRead + Send>, framing: Framing, record_bytes_max: usize) -> Self {
        // A few bytes more are read, for the line end.
        let record_bytes_max = record_bytes_max.min(usize::MAX / 2);
        let (place, record_end) = (Place { offset: 0, line: 1 }, RecordEnd::Line);
        Self { input, framing, record_bytes_max, place, record_end }
    }

    /// Replaces the input by one that starts at `place`.
    pub(super) fn continue_at(&mut self, input: Box<dyn BufRead + Send>, place: Place) {
        self.input = input;
        self.place = place;
    }

    pub(super) fn place(&self) -> Place {
        self.place
    }

    /// What ended the record that was cut off last.
    pub(super) fn record_end(&self) -> RecordEnd {
        self.record_end
    }

    /// Cuts off the next record and puts its text into `text`. An empty line is a record with an empty text. The byte
    /// order mark of UTF-8 at the very beginning is skipped.
    ///
    /// # Errors
    /// Those of the input. The framer is of no use afterwards.
    pub(super) fn next(&mut self, text: &mut Vec<u8>) -> io::Result<Frame> {
        text.clear();
        if self.place.offset == 0
            && let Some(encoding) = self.skip_mark()?
        {
            return Ok(Frame::Foreign(encoding));
        }
        let start_offset = self.place.offset;
        let mut state = CsvState::FieldStart;
        let mut too_long = false;
        self.record_end = RecordEnd::Input;
        loop {
            let start = text.len();
            let room = self.record_bytes_max.saturating_sub(start) as u64 + 2;
            let mut read = (&mut self.input).take(room).read_until(b'\n', text)? as u64;
            let line = &text[start..];
            if read == 0 {
                break;
            }
            let mut ended = line.ends_with(b"\n");
            state = self.scan(state, line);
            if !ended && read == room {
                too_long = true;
                let (skipped, found, after) = self.skip_line(state)?;
                (read, ended, state) = (read + skipped, found, after);
            }
            self.place.offset += read;
            self.place.line += u64::from(ended);
            if text.len() > self.record_bytes_max + 2 || (too_long && text.len() > self.record_bytes_max) {
                too_long = true;
                text.truncate(self.record_bytes_max);
            }
            if ended && state != CsvState::Quoted {
                self.record_end = RecordEnd::Line;
                break;
            }
        }
        if state == CsvState::Quoted {
            self.record_end = RecordEnd::OpenQuote;
        }
        if self.place.offset == start_offset {
            return Ok(Frame::End);
        }
        if too_long {
            return Ok(Frame::TooLong);
        }
        if state == CsvState::Quoted {
            return Ok(Frame::Unclosed);
        }
        if text.last() == Some(&b'\n') {
            text.pop();
        }
        if text.last() == Some(&b'\r') {
            text.pop();
        }
        Ok(if text.len() > self.record_bytes_max { Frame::TooLong } else { Frame::Record })
    }

    /// At the very beginning: passes over the mark of UTF-8, so that what follows is looked at as a beginning. Answers an
    /// encoding that is marked and another one.
    fn skip_mark(&mut self) -> io::Result<Option<&'static str>> {
        let mut head = Vec::new();
        (&mut self.input).take(MARK_BYTES_MAX).read_to_end(&mut head)?;
        let mark = MARKS.iter().find(|(mark, _)| head.starts_with(mark));
        if let Some((mark, UTF_8)) = mark {
            self.place.offset = mark.len() as u64;
            head.drain(..mark.len());
        }
        let rest = std::mem::replace(&mut self.input, Box::new(io::empty()));
        self.input = Box::new(Cursor::new(head).chain(rest));
        Ok(mark.map(|(_, encoding)| *encoding).filter(|encoding| *encoding != UTF_8))
    }

    /// The state after `bytes`. In lines there is only one.
    fn scan(&self, state: CsvState, bytes: &[u8]) -> CsvState {
        match self.framing {
            Framing::Lines => CsvState::Bare,
            Framing::Csv { delimiter } if state != CsvState::Quoted && !bytes.contains(&b'"') => {
                if bytes.last() == Some(&delimiter) { CsvState::FieldStart } else { CsvState::Bare }
            }
            Framing::Csv { delimiter } => bytes.iter().fold(state, |state, byte| state.after(*byte, delimiter)),
        }
    }

    /// Drops the rest of a line. Bytes dropped, whether a line end was found, and the state after it.
    fn skip_line(&mut self, mut state: CsvState) -> io::Result<(u64, bool, CsvState)> {
        let mut skipped = 0;
        loop {
            let available = match self.input.fill_buf() {
                Ok(available) => available,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if available.is_empty() {
                return Ok((skipped, false, state));
            }
            let end = available.iter().position(|byte| *byte == b'\n');
            let used = end.map_or(available.len(), |end| end + 1);
            let part = &available[..used];
            if let Framing::Csv { delimiter } = self.framing {
                state = part.iter().fold(state, |state, byte| state.after(*byte, delimiter));
            }
            self.input.consume(used);
            skipped += used as u64;
            if end.is_some() {
                return Ok((skipped, true, state));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CSV: Framing = Framing::Csv { delimiter: b',' };

    fn frames(text: &'static [u8], framing: Framing, max: usize) -> Vec<(Frame, String, u64)> {
        let mut framer = Framer::new(Box::new(text), framing, max);
        let mut frames = Vec::new();
        let mut buffer = Vec::new();
        loop {
            let line = framer.place().line;
            let frame = framer.next(&mut buffer).unwrap();
            if frame == Frame::End {
                assert_eq!(framer.place().offset, text.len() as u64);
                return frames;
            }
            frames.push((frame, String::from_utf8_lossy(&buffer).into_owned(), line));
        }
    }

    fn record(text: &str, line: u64) -> (Frame, String, u64) {
        (Frame::Record, text.into(), line)
    }

    #[test]
    fn line_ends_of_both_kinds_and_a_missing_last_one_are_understood() {
        let want = [record("a", 1), record("", 2), record("b\r", 3), record("c", 4)];
        assert_eq!(frames(b"a\r\n\nb\r\r\nc", Framing::Lines, 10), want);
        assert_eq!(frames(b"", Framing::Lines, 10), []);
    }

    #[test]
    fn byte_order_mark_is_skipped_at_the_beginning_only() {
        let bom = "\u{feff}";
        assert_eq!(
            frames("\u{feff}a\n\u{feff}b".as_bytes(), Framing::Lines, 10),
            [record("a", 1), record(&format!("{bom}b"), 2)]
        );
    }

    // Cause: the mark was taken off after the record was cut, so the quote behind it did not open a field. Repair: it is
    // taken off before anything is looked at.
    #[test]
    fn quoted_line_end_behind_a_mark_belongs_to_the_record() {
        for text in ["\u{feff}\"a\nb\",c\nx,1\n", "\"a\nb\",c\nx,1\n"] {
            assert_eq!(frames(text.as_bytes(), CSV, 100), [record("\"a\nb\",c", 1), record("x,1", 3)]);
        }
        assert_eq!(frames("\u{feff}".as_bytes(), Framing::Lines, 10), []);
        assert_eq!(frames("\u{feff}abcd\nabcde".as_bytes(), Framing::Lines, 4)[0], record("abcd", 1));
        assert_eq!(frames("\u{feff}abcde\n".as_bytes(), Framing::Lines, 4)[0].0, Frame::TooLong);
    }

    #[test]
    fn marks_of_other_encodings_are_told() {
        let all = [
            (&b"\xFF\xFEa\0"[..], "UTF-16 (little-endian)"),
            (b"\xFE\xFF\0a", "UTF-16 (big-endian)"),
            (b"\xFF\xFE\0\0a\0\0\0", "UTF-32 (little-endian)"),
            (b"\0\0\xFE\xFF\0\0\0a", "UTF-32 (big-endian)"),
            (b"\xFF\xFE", "UTF-16 (little-endian)"),
        ];
        for (text, encoding) in all {
            let mut framer = Framer::new(Box::new(text), Framing::Lines, 10);
            assert_eq!(framer.next(&mut Vec::new()).unwrap(), Frame::Foreign(encoding));
        }
    }

    #[test]
    fn quoted_line_end_belongs_to_the_record() {
        let want = [record("1,\"a\n\"\"b\n\",2", 1), record("5\" pipe,x", 4), record("\"q\"r,\"\"", 5)];
        assert_eq!(frames(b"1,\"a\n\"\"b\n\",2\n5\" pipe,x\n\"q\"r,\"\"\n", CSV, 100), want);
    }

    #[test]
    fn unclosed_quote_swallows_the_rest() {
        let got = frames(b"a\n\"b\nc\n", CSV, 100);
        assert_eq!((got.len(), got[1].0, got[1].2), (2, Frame::Unclosed, 2));
    }

    #[test]
    fn record_at_the_limit_is_kept_and_one_byte_more_is_too_long() {
        assert_eq!(
            frames(b"abcd\r\nabcd\nabcd", Framing::Lines, 4),
            [record("abcd", 1), record("abcd", 2), record("abcd", 3)]
        );
        for text in [&b"abcde\nx"[..], b"abcde\r\nx", b"abcdefghijk\nx"] {
            let got = frames(text, Framing::Lines, 4);
            assert_eq!((got[0].0, got[1].clone()), (Frame::TooLong, record("x", 2)), "{text:?}");
        }
        let got = frames(b"\"ab\ncd\nef\ngh\"\nx", CSV, 4);
        assert_eq!((got[0].0, got[1].clone()), (Frame::TooLong, record("x", 5)));
    }
}
