//! From records to the text of a file.

use std::fmt::Display;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use millstream_actors::contract::SinkError;
use serde::Serialize;

/// Encodes the records of one subtask.
pub(super) trait Encoder<T>: Send {
    /// The next record is the first of a file.
    fn begin_file(&mut self) {}

    /// Appends a record to `text`.
    ///
    /// # Errors
    /// [`SinkError::encode`]; `text` is as before.
    fn encode(&mut self, record: &T, text: &mut Vec<u8>) -> Result<(), SinkError>;
}

/// Takes back what was written since `start` if writing failed.
fn undo<E: Display>(text: &mut Vec<u8>, start: usize, outcome: Result<(), E>) -> Result<(), SinkError> {
    outcome.map_err(|error| {
        text.truncate(start);
        SinkError::encode(error)
    })
}

pub(super) struct LineEncoder;

impl<T: Display> Encoder<T> for LineEncoder {
    fn encode(&mut self, record: &T, text: &mut Vec<u8>) -> Result<(), SinkError> {
        let start = text.len();
        let outcome = writeln!(text, "{record}");
        undo(text, start, outcome)
    }
}

pub(super) struct JsonEncoder;

impl<T: Serialize> Encoder<T> for JsonEncoder {
    fn encode(&mut self, record: &T, text: &mut Vec<u8>) -> Result<(), SinkError> {
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
