//! A sink that prints.

use std::fmt::{Debug, Display};
use std::io::{self, Write};

use millstream_actors::contract::{
    Batch, PendingCommit, Retry, Sink, SinkContext, SinkError, SinkRestore, SinkWriter, Threading,
};
use millstream_actors::protocol::{CheckpointId, may_pass};

/// Prints each record on a line of standard output. At least once: records show at once, and again after a restart.
///
/// Batches of several subtasks are not mixed. A pipe whose reader has gone ends the job: nobody would read on.
///
/// ```
/// use millstream::prelude::*;
///
/// let env = StreamEnvironment::new("hello");
/// env.source("names", VecSource::new(vec!["Ada", "Grace"])).map(|name| format!("hello {name}")).sink("print", PrintSink::new());
/// let outcome = env.start()?.wait()?;
/// assert_eq!(outcome.kind, OutcomeKind::Finished);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct PrintSink<T> {
    line: fn(&T, &mut Vec<u8>) -> io::Result<()>,
}

impl<T: Display + Send + 'static> PrintSink<T> {
    /// Prints records as they display themselves.
    #[expect(clippy::new_without_default, reason = "records that are only Debug are printed by debug()")]
    pub fn new() -> Self {
        Self { line: |record, text| writeln!(text, "{record}") }
    }
}

impl<T: Debug + Send + 'static> PrintSink<T> {
    /// Prints records by their `Debug` form.
    pub fn debug() -> Self {
        Self { line: |record, text| writeln!(text, "{record:?}") }
    }
}

impl<T: Send + 'static> Sink for PrintSink<T> {
    type Item = T;

    fn threading(&self) -> Threading {
        Threading::Blocking
    }

    fn open(&self, _: &SinkContext, _: SinkRestore) -> Result<Box<dyn SinkWriter<Item = T>>, SinkError> {
        Ok(Box::new(PrintWriter { line: self.line, text: Vec::new(), print }))
    }
}

fn print(text: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text)?;
    stdout.flush()
}

struct PrintWriter<T, P> {
    line: fn(&T, &mut Vec<u8>) -> io::Result<()>,
    text: Vec<u8>,
    print: P,
}

impl<T, P> SinkWriter for PrintWriter<T, P>
where
    T: Send + 'static,
    P: FnMut(&[u8]) -> io::Result<()> + Send + 'static,
{
    type Item = T;

    fn write(&mut self, batch: &mut Batch<T>) -> Result<(), SinkError> {
        self.text.clear();
        for record in batch.drain() {
            (self.line)(&record, &mut self.text).map_err(SinkError::encode)?;
        }
        batch.clear();
        (self.print)(&self.text).map_err(|error| {
            let retry = if may_pass(&error) { Retry::Call } else { Retry::Never };
            SinkError::external("standard output", error, retry)
        })
    }

    fn prepare(&mut self, _: CheckpointId) -> Result<Vec<PendingCommit>, SinkError> {
        Ok(Vec::new())
    }

    fn commit(&mut self, _: CheckpointId) -> Result<(), SinkError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(records: &[&'static str]) -> Batch<&'static str> {
        Batch::counted(records.to_vec(), 0)
    }

    #[test]
    fn batch_is_printed_in_one_piece() {
        let (sender, receiver) = std::sync::mpsc::channel();
        let print = move |text: &[u8]| sender.send(text.to_vec()).map_err(io::Error::other);
        let mut writer = PrintWriter { line: PrintSink::<&str>::debug().line, text: Vec::new(), print };
        let mut two = batch(&["a", "b"]);
        writer.write(&mut two).unwrap();
        assert!(two.is_empty());
        assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [b"\"a\"\n\"b\"\n"]);
    }

    #[test]
    fn closed_pipe_is_an_error_that_is_not_tried_again() {
        let print = |_: &[u8]| Err(io::Error::from(io::ErrorKind::BrokenPipe));
        let mut writer = PrintWriter { line: PrintSink::<&str>::new().line, text: Vec::new(), print };
        let error = writer.write(&mut batch(&["a"])).unwrap_err();
        let reason: &io::Error = error.reason().downcast_ref().unwrap();
        assert_eq!(reason.kind(), io::ErrorKind::BrokenPipe);
        assert!(!error.is_retryable());
    }
}
