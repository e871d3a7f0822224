//! From records to the text of a file.

use std::error::Error as StdError;
use std::fmt::Display;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use millstream_actors::contract::SinkError;
use serde::Serialize;

use super::error::FileSinkError;
use super::lossless::{Format, check};

/// What readers take from the beginning of a file, and not for a part of its first record.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Encodes the records of one subtask.
pub(super) trait Encoder<T>: Send {
    /// The next record is the first of a file.
    fn begin_file(&mut self) {}

    /// Appends a record to `text`.
    ///
    /// # Errors
    /// [`SinkError::encode`], also for a record of which the format would lose a part; `text` is as before.
    fn encode(&mut self, record: &T, text: &mut Vec<u8>) -> Result<(), SinkError>;
}

/// Appends the record that is the first of a file.
///
/// # Errors
/// As [`Encoder::encode`].
pub(super) fn encode_first<T>(encoder: &mut dyn Encoder<T>, record: &T, text: &mut Vec<u8>) -> Result<(), SinkError> {
    encoder.encode(record, text)?;
    if !text.starts_with(BYTE_ORDER_MARK) {
        return Ok(());
    }
    undo(text, 0, Err(lost("a byte order mark at the beginning of a file is not read back")))
}

/// Takes back what was written since `start` if writing failed.
fn undo<E>(text: &mut Vec<u8>, start: usize, outcome: Result<(), E>) -> Result<(), SinkError>
where
    E: Into<Box<dyn StdError + Send + Sync>>,
{
    outcome.map_err(|error| {
        text.truncate(start);
        SinkError::encode(error)
    })
}

/// The record itself does not fit.
fn lost(reason: &str) -> FileSinkError {
    FileSinkError::Lossy { field: String::new(), reason: reason.to_owned() }
}

fn refuse_loss<T: Serialize>(format: Format, record: &T) -> Result<(), SinkError> {
    check(format, record).map_err(|loss| FileSinkError::Lossy { field: loss.field, reason: loss.reason }.into())
}

pub(super) struct LineEncoder;

impl<T: Display> Encoder<T> for LineEncoder {
    fn encode(&mut self, record: &T, text: &mut Vec<u8>) -> Result<(), SinkError> {
        let start = text.len();
        let outcome = write!(text, "{record}");
        undo(text, start, outcome)?;
        let line = &text[start..];
        if line.contains(&b'\n') || line.ends_with(b"\r") {
            let reason = "a record with a line end would be read back as several, or without it; map it to one line";
            return undo(text, start, Err(lost(reason)));
        }
        text.push(b'\n');
        Ok(())
    }
}

pub(super) struct JsonEncoder;

impl<T: Serialize> Encoder<T> for JsonEncoder {
    fn encode(&mut self, record: &T, text: &mut Vec<u8>) -> Result<(), SinkError> {
        refuse_loss(Format::Json, record)?;
        let start = text.len();
        let outcome = serde_json::to_writer(&mut *text, record);
        undo(text, start, outcome)?;
        text.push(b'\n');
        Ok(())
    }
}

/// Keeps one CSV writer per file, since the header depends on what it has written.
pub(super) struct CsvEncoder {
    tray: Tray,
    writer: csv::Writer<Tray>,
}

impl CsvEncoder {
    pub(super) fn new() -> Self {
        let tray = Tray::default();
        Self { writer: csv::Writer::from_writer(tray.clone()), tray }
    }
}

impl<T: Serialize> Encoder<T> for CsvEncoder {
    fn begin_file(&mut self) {
        *self = Self::new();
    }

    fn encode(&mut self, record: &T, text: &mut Vec<u8>) -> Result<(), SinkError> {
        refuse_loss(Format::Csv, record)?;
        let start = text.len();
        let outcome = self.writer.serialize(record).and_then(|()| Ok(self.writer.flush()?));
        undo(text, start, outcome)?;
        text.append(&mut self.tray.0.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(())
    }
}

/// Where the CSV writer puts its output: it lends out its target for reading only.
#[derive(Clone, Default)]
struct Tray(Arc<Mutex<Vec<u8>>>);

impl Write for Tray {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
