//! By which records get into an ingest log.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, ResponseFuture, WrapFuture};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use super::log::IngestLog;
use super::queue::{Answer, Receipts, Size};
use super::record::EncodedRecord;
use super::{IngestAll, IngestError, IngestReceipt, IngestRecord, TrySendError};
use crate::refused_in_turn::refused_in_turn;
use crate::state::codec::put_packed;

/// Sends records to an [`IngestSource`](super::IngestSource). Clones are one; any thread may use it, and await it on any
/// runtime, before the job starts and across its restarts. Started as an actor it takes the same records as messages.
///
/// | | waits for room | answers when durable |
/// |---|---|---|
/// | [`send`](Self::send), [`send_all`](Self::send_all) | yes | yes |
/// | [`try_send`](Self::try_send) | no | what it gives does, when it is awaited |
/// | `addr.send(IngestRecord)`, `addr.send(IngestAll)` | yes: the actor handles no further message meanwhile | yes |
///
/// Everything that waits becomes durable together (group commit), so many senders share a sync. An acknowledged
/// record survives the process and a power cut, as far as the disk keeps what it reported as synced. A record whose
/// sender was not told, because it gave up or the process died, is in the log once or not at all. Records with one
/// [`key`](IngestRecord::key), and all in a log of one split, are read in the order in which they were taken in: those
/// that one task awaits one after another in that order.
///
/// ```
/// use millstream::prelude::*;
/// use millstream::source::{IngestOptions, IngestRecord};
///
/// # actix_rt::System::new().block_on(async {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("log");
/// let (_source, handle) = IngestSource::<u64>::open(path, IngestOptions::new())?;
/// handle.send(1).await?;
/// handle.send_all([2, 3]).await?;
///
/// let payment = || IngestRecord::new(4).idempotency_key("payment 4");
/// let first = handle.send(payment()).await?;
/// let again = handle.send(payment()).await?;                          // after a crash, say
/// assert!(again.is_repeated && again.offset == first.offset);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
pub struct IngestHandle<T> {
    log: Arc<IngestLog>,
    records: PhantomData<fn(T)>,
}

impl<T> Clone for IngestHandle<T> {
    fn clone(&self) -> Self {
        Self::new(self.log.clone())
    }
}

impl<T> fmt::Debug for IngestHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IngestHandle({})", self.log.name)
    }
}

impl<T> IngestHandle<T> {
    pub(super) fn new(log: Arc<IngestLog>) -> Self {
        Self { log, records: PhantomData }
    }

    /// Resolves when the log is closed, and another may open it: soon after its job has ended, or its source was dropped. What was
    /// acknowledged is in the file then, which may be copied or moved.
    pub fn closed(&self) -> impl Future<Output = ()> + Send + use<T> {
        self.log.closed()
    }

    /// How full the log is, as it is while this is called.
    pub fn status(&self) -> IngestStatus {
        self.log.status()
    }
}

/// How full an ingest log is. See [`IngestHandle::status`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct IngestStatus {
    /// Records that wait to become durable.
    pub waiting_records: usize,
    /// Their bytes.
    pub waiting_bytes: usize,
    /// Bytes of the records in the log, of which [`log_bytes_max`](super::IngestOptions::log_bytes_max) is the bound.
    pub log_bytes: u64,
    /// What is in it, by the number of the split.
    pub splits: Vec<SplitOffsets>,
}

/// The records of one split that are in an ingest log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SplitOffsets {
    /// Offset of the first: those before it were trimmed.
    pub start: u64,
    /// Offset of the next that will be added.
    pub end: u64,
}

impl<T: Serialize + DeserializeOwned + 'static> IngestHandle<T> {
    /// Sends a record, and resolves when it is durable. Waits while there is no room, behind all that wait.
    ///
    /// # Errors
    /// The record does not count then. [`IngestError::Draining`] and [`IngestError::Ended`] if the job is about to end or has ended;
    /// [`IngestError::TooLarge`], [`IngestError::KeyTooLong`] and [`IngestError::Encode`] if it can never be stored;
    /// [`IngestError::KeysFull`] if its idempotency key is one too many; [`IngestError::Log`] if the log could not be written.
    ///
    /// # Cancellation
    /// The record is encoded at once and sent when the future is first polled. If that is dropped before it resolves, the record is
    /// in the log once or not at all.
    pub fn send<R: Into<IngestRecord<T>>>(
        &self,
        record: R,
    ) -> impl Future<Output = Result<IngestReceipt, IngestError>> + Send + use<T, R> {
        let (log, encoded) = (self.log.clone(), self.encode(&record.into()));
        refused_in_turn(async move { Ok(only(&log.append(vec![encoded?]).await?)) })
    }

    /// Sends records that become durable together, either all of them or none, and resolves with a receipt for each, in
    /// order. A call costs the sender as much as sending one record.
    ///
    /// # Errors
    /// As [`send`](Self::send), if any of them is refused, and [`IngestError::TooLarge`] if they are more than the
    /// [buffer](super::IngestOptions::buffer) takes. None of them counts then.
    ///
    /// # Cancellation
    /// As with [`send`](Self::send): all of them are in the log once, or none is.
    pub fn send_all<I>(
        &self,
        records: I,
    ) -> impl Future<Output = Result<Vec<IngestReceipt>, IngestError>> + Send + use<T, I>
    where
        I: IntoIterator,
        I::Item: Into<IngestRecord<T>>,
    {
        let encoded = self.encode_all(records.into_iter().map(Into::into));
        let log = self.log.clone();
        refused_in_turn(async move {
            let records = encoded?;
            if records.is_empty() { Ok(Vec::new()) } else { Ok(log.append(records).await?.into_vec()) }
        })
    }

    /// Sends a record if there is room now, and nobody waits for it. It is on its way then; what is given resolves when it is
    /// durable, and may be dropped.
    ///
    /// # Errors
    /// [`TrySendError`] with the record: [`IngestError::Full`] if there is no room, or why it is not taken at all.
    pub fn try_send<R: Into<IngestRecord<T>>>(&self, record: R) -> Result<Acknowledgement, TrySendError<T>> {
        let record = record.into();
        let send = || {
            let records = vec![self.encode(&record)?];
            self.log.queue.try_admit(Size::of(&records))?.fill(records)
        };
        match send() {
            Ok(answer) => Ok(Acknowledgement { log: self.log.clone(), answer }),
            Err(error) => Err(TrySendError { record, error }),
        }
    }

    fn encode(&self, record: &IngestRecord<T>) -> Result<EncodedRecord, IngestError> {
        let mut bytes = Vec::new();
        put_packed(&record.record, &mut bytes).map_err(|reason| IngestError::Encode { reason })?;
        let idempotency_key = record.idempotency_key.clone();
        let encoded = EncodedRecord { bytes, key_hash: record.key_hash, idempotency_key, asker: None };
        self.log.check(&encoded)?;
        Ok(encoded)
    }

    /// Encodes records that are sent together, as long as there may be so many.
    fn encode_all(&self, records: impl Iterator<Item = IngestRecord<T>>) -> Result<Vec<EncodedRecord>, IngestError> {
        let (mut all, mut size) = (Vec::new(), Size::default());
        for record in records {
            let record = self.encode(&record)?;
            size = Size { records: size.records + 1, bytes: size.bytes + record.size() };
            self.log.queue.check_size(size)?;
            all.push(record);
        }
        Ok(all)
    }

    /// Sends what a message holds. While there is no room, the actor handles no other message.
    fn handle_all(
        &self,
        records: Vec<IngestRecord<T>>,
        ctx: &mut Context<Self>,
    ) -> ResponseFuture<Result<Receipts, IngestError>> {
        let records = match self.encode_all(records.into_iter()) {
            Err(error) => return Box::pin(std::future::ready(Err(error))),
            Ok(records) if records.is_empty() => return Box::pin(std::future::ready(Ok(Receipts::new()))),
            Ok(records) => records,
        };
        let log = self.log.clone();
        match log.queue.try_admit(Size::of(&records)) {
            Err(IngestError::Full { .. }) => {
                let (let_in, answer) = oneshot::channel();
                let admitted = {
                    let log = log.clone();
                    async move { log.admit(Size::of(&records)).await?.fill(records) }
                };
                ctx.wait(admitted.into_actor(self).map(|answer, _, _| {
                    // Whoever sent the message may have given up.
                    let _ = let_in.send(answer);
                }));
                Box::pin(async move {
                    let answer = answer.await.unwrap_or_else(|_| Err(log.queue.left_without_answer()))?;
                    log.receipts(answer).await
                })
            }
            admitted => {
                // Now, so that messages keep their order.
                let filled = admitted.and_then(|room| room.fill(records));
                Box::pin(async move { log.receipts(filled?).await })
            }
        }
    }
}

fn only(receipts: &Receipts) -> IngestReceipt {
    *receipts.first().expect("one record, one receipt")
}

/// Resolves when a record is durable that was sent by [`IngestHandle::try_send`]. Dropping it takes nothing back.
#[must_use = "a record that was sent is durable when this resolves"]
pub struct Acknowledgement {
    log: Arc<IngestLog>,
    answer: Answer,
}

impl fmt::Debug for Acknowledgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Acknowledgement({})", self.log.name)
    }
}

impl Future for Acknowledgement {
    type Output = Result<IngestReceipt, IngestError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let answer = Pin::new(&mut self.answer).poll(cx);
        answer.map(|answer| {
            let receipts = answer.unwrap_or_else(|_| Err(self.log.queue.left_without_answer()))?;
            Ok(only(&receipts))
        })
    }
}

impl<T: 'static> Actor for IngestHandle<T> {
    type Context = Context<Self>;
}

impl<T: Serialize + DeserializeOwned + Send + 'static> Handler<IngestRecord<T>> for IngestHandle<T> {
    type Result = ResponseFuture<Result<IngestReceipt, IngestError>>;

    fn handle(&mut self, record: IngestRecord<T>, ctx: &mut Context<Self>) -> Self::Result {
        let answer = self.handle_all(vec![record], ctx);
        Box::pin(async move { Ok(only(&answer.await?)) })
    }
}

impl<T: Serialize + DeserializeOwned + Send + 'static> Handler<IngestAll<T>> for IngestHandle<T> {
    type Result = ResponseFuture<Result<Vec<IngestReceipt>, IngestError>>;

    fn handle(&mut self, IngestAll(records): IngestAll<T>, ctx: &mut Context<Self>) -> Self::Result {
        let answer = self.handle_all(records, ctx);
        Box::pin(async move { Ok(answer.await?.into_vec()) })
    }
}
