//! From the text of a record to the record.

use std::io::{self, Read};

use csv::{ByteRecord, DeserializeErrorKind, ErrorKind, ReaderBuilder};
use serde::de::DeserializeOwned;

use super::framing::{CsvState, Framing};
use super::malformed::Flaw;
use crate::without_values::without_values;

/// Decodes the records of one file, in order.
pub(super) trait Decoder<T>: Send {
    /// Takes the header, where the format has one.
    fn header(&mut self, text: &str) -> Result<(), Flaw> {
        let _ = text;
        Ok(())
    }

    /// The record; `None` for a text that is none, as a blank line.
    fn decode(&mut self, text: &str) -> Result<Option<T>, Flaw>;
}

/// The format of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Lines,
    Csv { delimiter: u8, has_header: bool },
    JsonLines,
}

impl Format {
    pub(super) fn framing(self) -> Framing {
        match self {
            Self::Lines | Self::JsonLines => Framing::Lines,
            Self::Csv { delimiter, .. } => Framing::Csv { delimiter },
        }
    }

    pub(super) fn has_header(self) -> bool {
        matches!(self, Self::Csv { has_header: true, .. })
    }
}

/// Every line is a record.
pub(super) struct LineDecoder;

impl Decoder<String> for LineDecoder {
    fn decode(&mut self, text: &str) -> Result<Option<String>, Flaw> {
        Ok(Some(text.to_owned()))
    }
}

/// Every line that is not blank is a JSON value.
pub(super) struct JsonDecoder;

impl<T: DeserializeOwned> Decoder<T> for JsonDecoder {
    fn decode(&mut self, text: &str) -> Result<Option<T>, Flaw> {
        if text.trim_ascii().is_empty() {
            return Ok(None);
        }
        serde_json::from_str(text).map(Some).map_err(|error| {
            // The line is always the first of the record, and the flaw has the column.
            let (said, place) = (error.to_string(), format!(" at line {} column {}", error.line(), error.column()));
            let reason = without_values(said.strip_suffix(&place).unwrap_or(&said));
            Flaw { line: 0, column: (error.column() as u64).max(1), reason }
        })
    }
}

/// Every record that is not blank is a row of CSV.
pub(super) struct CsvDecoder {
    reader: csv::Reader<Feed>,
    delimiter: u8,
    header: Option<ByteRecord>,
    row: ByteRecord,
}

impl CsvDecoder {
    pub(super) fn new(delimiter: u8) -> Self {
        Self { reader: csv_reader(delimiter), delimiter, header: None, row: ByteRecord::new() }
    }

    /// Splits the text into the fields of `row`.
    fn split(&mut self, text: &str) -> Result<(), Flaw> {
        self.reader.get_mut().fill(text);
        let read = self.reader.read_byte_record(&mut self.row);
        let clean = self.reader.get_ref().is_empty();
        match read {
            Ok(true) if clean => Ok(()),
            outcome => {
                // Its buffer may hold a rest; such a reader is of no more use.
                self.reader = csv_reader(self.delimiter);
                let reason = outcome.err().map_or("not one CSV record".into(), |error| error.to_string());
                Err(Flaw { line: 0, column: 1, reason })
            }
        }
    }

    /// Line (from 0) and column (from 1) in `text` where field `index` starts.
    fn start_of_field(&self, text: &str, index: u64) -> (u64, u64) {
        let (mut line, mut column, mut field, mut state) = (0, 1, 0, CsvState::FieldStart);
        for byte in text.bytes() {
            if field == index {
                break;
            }
            state = state.after(byte, self.delimiter);
            field += u64::from(state == CsvState::FieldStart);
            (line, column) = if byte == b'\n' { (line + 1, 1) } else { (line, column + 1) };
        }
        (line, column)
    }

    fn flaw(&self, text: &str, error: &csv::Error) -> Flaw {
        let ErrorKind::Deserialize { err, .. } = error.kind() else {
            return Flaw { line: 0, column: 1, reason: error.to_string() };
        };
        let reason = match err.kind() {
            DeserializeErrorKind::Message(message) => without_values(message),
            kind => kind.to_string(),
        };
        let Some(index) = err.field() else {
            return Flaw { line: 0, column: 1, reason };
        };
        let (line, column) = self.start_of_field(text, index);
        let name = self.header.as_ref().and_then(|header| header.get(index as usize)).map(String::from_utf8_lossy);
        let field = name.map_or_else(|| format!("field {}", index + 1), |name| format!("field '{name:.100}'"));
        Flaw { line, column, reason: format!("{field}: {reason}") }
    }
}

impl<T: DeserializeOwned> Decoder<T> for CsvDecoder {
    fn header(&mut self, text: &str) -> Result<(), Flaw> {
        self.split(text)?;
        self.header = Some(self.row.clone());
        Ok(())
    }

    fn decode(&mut self, text: &str) -> Result<Option<T>, Flaw> {
        if text.is_empty() {
            return Ok(None);
        }
        self.split(text)?;
        if let Some(header) = &self.header
            && header.len() != self.row.len()
        {
            let reason = format!("{} fields, the header has {}", self.row.len(), header.len());
            return Err(Flaw { line: 0, column: 1, reason });
        }
        self.row.deserialize(self.header.as_ref()).map(Some).map_err(|error| self.flaw(text, &error))
    }
}

/// The framer has found the end of the record already, so a lone `\r` is data and only the `\n` that [`Feed`] adds is
/// a line end.
fn csv_reader(delimiter: u8) -> csv::Reader<Feed> {
    let terminator = csv::Terminator::Any(b'\n');
    ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter)
        .terminator(terminator)
        .from_reader(Feed { text: Vec::new(), at: 0 })
}

/// Gives the CSV reader one record at a time.
struct Feed {
    text: Vec<u8>,
    at: usize,
}

impl Feed {
    fn fill(&mut self, text: &str) {
        self.text.clear();
        self.text.extend_from_slice(text.as_bytes());
        self.text.push(b'\n');
        self.at = 0;
    }

    fn is_empty(&self) -> bool {
        self.at == self.text.len()
    }
}

impl Read for Feed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = &self.text[self.at..];
        let len = rest.len().min(buffer.len());
        buffer[..len].copy_from_slice(&rest[..len]);
        self.at += len;
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Row {
        name: String,
        size: Option<u32>,
    }

    fn decoder() -> CsvDecoder {
        let mut decoder = CsvDecoder::new(b',');
        Decoder::<Row>::header(&mut decoder, "name,size").unwrap();
        decoder
    }

    #[test]
    fn flaw_names_field_line_and_column_and_the_next_row_decodes() {
        let mut decoder = decoder();
        let flaw = Decoder::<Row>::decode(&mut decoder, "\"a\nb\",x7").unwrap_err();
        assert_eq!((flaw.line, flaw.column), (1, 4));
        assert_eq!(flaw.reason, "field 'size': invalid digit found in string");
        let flaw = Decoder::<Row>::decode(&mut decoder, "a,1,2").unwrap_err();
        assert!(flaw.reason.contains("3 fields"), "{}", flaw.reason);
        let row: Row = decoder.decode("\"c \"\"d\"\"\r\",").unwrap().unwrap();
        assert_eq!(row, Row { name: "c \"d\"\r".into(), size: None });
        assert_eq!(Decoder::<Row>::decode(&mut decoder, "").unwrap(), None);
    }

    #[test]
    fn row_longer_than_the_readers_buffer_decodes() {
        let mut decoder = decoder();
        let long = "x".repeat(100_000);
        for _ in 0..3 {
            let row: Row = decoder.decode(&format!("{long},5")).unwrap().unwrap();
            assert_eq!(row, Row { name: long.clone(), size: Some(5) });
        }
    }

    #[test]
    fn bad_json_names_the_column() {
        let flaw = Decoder::<Vec<u8>>::decode(&mut JsonDecoder, "[1,2,x]").unwrap_err();
        assert_eq!((flaw.line, flaw.column, &*flaw.reason), (0, 6, "expected value"));
    }

    #[test]
    fn no_flaw_tells_a_value() {
        let json = |text| Decoder::<Row>::decode(&mut JsonDecoder, text).unwrap_err().reason;
        assert_eq!(json(r#"{"name": "a", "size": "s3cret"}"#), "invalid type: string, expected u32");
        assert_eq!(json(r#"{"name": "a", "s3cret": "#), "EOF while parsing a value");
        assert_eq!(json(r#""s3cret""#), "invalid type: string, expected struct Row");
        let csv = |text| Decoder::<(char, bool)>::decode(&mut CsvDecoder::new(b','), text).unwrap_err().reason;
        assert_eq!(csv("s3cret,true"), "field 1: expected single character but got 6 characters");
        assert_eq!(csv("s,s3cret"), "field 2: provided string was not `true` or `false`");
    }
}
