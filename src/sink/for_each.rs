//! A sink that is a function.

use std::fmt;
use std::marker::PhantomData;
use std::sync::{Mutex, PoisonError};

use millstream_actors::contract::{
    Batch, PendingCommit, Sink, SinkContext, SinkError, SinkRestore, SinkWriter, Threading,
};
use millstream_actors::protocol::CheckpointId;

/// Calls a function with each record. At least once: it is called at once, and again after a restart.
///
/// Each subtask of each attempt calls a clone of its own, in the order of its input. For a function that cannot fail there
/// is [`for_each`](crate::stream::DataStream::for_each).
///
/// ```
/// use std::io::{Error, Write};
/// use std::net::TcpStream;
///
/// use millstream::prelude::*;
/// use millstream::sink::{ForEachSink, Retry, SinkError};
///
/// let send = |line: String| {
///     let sent = TcpStream::connect("127.0.0.1:4000").and_then(|mut stream| stream.write_all(line.as_bytes()));
///     sent.map_err(|error: Error| SinkError::external("127.0.0.1:4000", error, Retry::Call))
/// };
/// # let env = StreamEnvironment::new("lines");
/// env.source("lines", VecSource::new(vec!["a".to_owned()])).sink("send", ForEachSink::new(send).blocking());
/// # env.explain().unwrap();
/// ```
pub struct ForEachSink<T, F> {
    // Written once; the lock makes it `Sync` whatever the function is.
    function: Mutex<F>,
    threading: Threading,
    of: PhantomData<fn(T)>,
}

impl<T, F: Fn(T) -> Result<(), SinkError> + Clone + Send + 'static> ForEachSink<T, F> {
    /// Calls `function`; what it fails with fails the attempt, or is tried again as it says.
    pub fn new(function: F) -> Self {
        Self { function: Mutex::new(function), threading: Threading::Inline, of: PhantomData }
    }

    /// The function blocks: it is called on a thread of its own, which holds up no other subtask.
    pub fn blocking(mut self) -> Self {
        self.threading = Threading::Blocking;
        self
    }
}

impl<T: Send + 'static, F: Fn(T) -> Result<(), SinkError> + Clone + Send + 'static> Sink for ForEachSink<T, F> {
    type Item = T;

    fn threading(&self) -> Threading {
        self.threading
    }

    fn open(&self, _: &SinkContext, _: SinkRestore) -> Result<Box<dyn SinkWriter<Item = T>>, SinkError> {
        let function = self.function.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(Box::new(Writer { function, of: PhantomData }))
    }
}

impl<T, F> fmt::Debug for ForEachSink<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForEachSink").field("threading", &self.threading).finish_non_exhaustive()
    }
}

struct Writer<T, F> {
    function: F,
    of: PhantomData<fn(T)>,
}

impl<T: Send + 'static, F: Fn(T) -> Result<(), SinkError> + Send + 'static> SinkWriter for Writer<T, F> {
    type Item = T;

    fn write(&mut self, batch: &mut Batch<T>) -> Result<(), SinkError> {
        batch.drain().try_for_each(&self.function)?;
        batch.clear();
        Ok(())
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
    use std::io;
    use std::sync::mpsc;

    use millstream_actors::contract::Retry;

    use super::*;
    use crate::testing::sink_context;

    #[test]
    fn each_record_is_given_in_order_until_one_fails() {
        let (sender, received) = mpsc::channel();
        let sink = ForEachSink::new(move |n: u32| {
            sender.send(n).expect("the test listens");
            if n == 3 { Err(SinkError::external("there", io::Error::other("no"), Retry::Attempt)) } else { Ok(()) }
        });
        let mut writer = sink.open(&sink_context(0, 1), SinkRestore::default()).unwrap();
        let mut batch = Batch::counted(vec![1, 2], 8);
        writer.write(&mut batch).unwrap();
        assert!(batch.is_empty());
        writer.write(&mut Batch::counted(vec![3, 4], 8)).unwrap_err();
        assert_eq!(received.try_iter().collect::<Vec<_>>(), [1, 2, 3]);
    }
}
