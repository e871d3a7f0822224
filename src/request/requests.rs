//! By which a service asks its job.

use std::fmt;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use millstream_actors::contract::{Clock, Sleep};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use super::{AnswerSink, Ask, AskError, stored};
use crate::refused_in_turn::refused_in_turn;
use crate::source::ingest::{EncodedRecord, IngestLog, Told};
use crate::source::{IngestError, IngestStatus};

/// What handles and sinks of one log share.
#[derive(Clone)]
pub(super) struct Desk {
    pub(super) log: Arc<IngestLog>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) timeout: Duration,
    pub(super) answer_bytes_max: usize,
}

/// Asks the job that reads a [`RequestSource`](super::RequestSource), and gives its answers. Clones are one; any thread may use it,
/// and await it on any runtime, before the job starts and across its restarts.
///
/// An answer is given once a checkpoint is complete that covers all that the request has led to. While somebody waits, checkpoints are taken
/// one after the other, each for all answers that are there by then (group commit).
///
/// ```
/// use std::time::Duration;
///
/// use millstream::prelude::*;
/// use millstream::request::{Ask, RequestOptions};
///
/// # actix_rt::System::new().block_on(async {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("requests");
/// let (source, requests) = RequestSource::<String, usize>::open(path, RequestOptions::new())?;
/// let env = StreamEnvironment::new("lengths");
/// env.source("texts", source).map(|text: Request<String>| text.answer(text.body().len())).sink("answers", requests.answers());
/// let ask = requests.ask(Ask::new("four".to_owned()).idempotency_key("a").timeout(Duration::from_secs(9)));
/// let job = env.start()?;
/// assert_eq!(ask.await?, 4);
/// job.drain().await?;
/// assert!(requests.ask("late".to_owned()).await.unwrap_err().is_retryable());       // after the next start
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
pub struct Requests<Q, A> {
    desk: Desk,
    types: PhantomData<fn(Q) -> A>,
}

impl<Q, A> Clone for Requests<Q, A> {
    fn clone(&self) -> Self {
        Self::new(self.desk.clone())
    }
}

impl<Q, A> fmt::Debug for Requests<Q, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Requests({})", self.desk.log.name)
    }
}

/// What is asked and waited for. See [`Requests::status`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RequestStatus {
    /// Requests whose answer somebody waits for, once they are durable.
    pub waiting: usize,
    /// Answers that were left out since the log was opened: their request had another, which stands. Only of requests whose
    /// idempotency key is known. More than some after a fall-back to an older checkpoint tell that the job answers requests twice.
    pub surplus_answers: u64,
    /// How full the log is.
    pub log: IngestStatus,
}

impl<Q, A> Requests<Q, A> {
    pub(super) fn new(desk: Desk) -> Self {
        Self { desk, types: PhantomData }
    }

    /// How many wait, and how full the log is, as it is while this is called.
    pub fn status(&self) -> RequestStatus {
        let (waiting, surplus_answers) = self.desk.log.askers.figures();
        RequestStatus { waiting, surplus_answers, log: self.desk.log.status() }
    }

    /// Resolves when the log is closed, and another may open it: soon after its job has ended, or its source was dropped.
    pub fn closed(&self) -> impl Future<Output = ()> + Send + use<Q, A> {
        self.desk.log.closed()
    }
}

impl<Q, A> Requests<Q, A>
where
    Q: Serialize + DeserializeOwned + 'static,
    A: Serialize + DeserializeOwned + Send + 'static,
{
    /// The sink that takes the answers of the job. A job has one of them: answers of several streams meet in a `union` first.
    pub fn answers(&self) -> AnswerSink<A> {
        AnswerSink::new(self.desk.clone())
    }

    /// Has the job process a request, and resolves with its answer, when that and all that the request has led to are durable. With
    /// an [idempotency key](Ask::idempotency_key) that is known already it asks no second time, but resolves with the stored answer,
    /// or when the first request is answered.
    ///
    /// # Errors
    /// [`AskError`] says of each what becomes of the request.
    ///
    /// # Cancellation
    /// The request is encoded at once and sent when the future is first polled. If that is dropped before it resolves, the request is
    /// in the log once or not at all, and is processed if it is.
    pub fn ask<R: Into<Ask<Q>>>(&self, request: R) -> impl Future<Output = Result<A, AskError>> + Send + use<Q, A, R> {
        let Ask { record, timeout } = request.into();
        let after = timeout.unwrap_or(self.desk.timeout);
        let (desk, (asker, told)) = (self.desk.clone(), oneshot::channel());
        let encoded = stored::request(&record.record, record.idempotency_key.is_some());
        let encoded = encoded.map_err(|reason| IngestError::Encode { reason }).and_then(|bytes| {
            let (key_hash, idempotency_key) = (record.key_hash, record.idempotency_key);
            let encoded = EncodedRecord { bytes, key_hash, idempotency_key, asker: Some(asker) };
            desk.log.check(&encoded).map(|()| encoded)
        });
        refused_in_turn(async move {
            let mut sleep = desk.clock.sleep(after);
            let appended = within(desk.log.append(vec![encoded?]), &mut sleep).await;
            appended.ok_or(AskError::TimedOut { after, is_durable: false })??;
            let told = within(told, &mut sleep).await.ok_or(AskError::TimedOut { after, is_durable: true })?;
            match told {
                Ok(Told::Answer(body)) => stored::outcome(&body),
                Ok(Told::Unanswered) => Err(AskError::Unanswered),
                Ok(Told::Unreadable(error)) => Err(AskError::Unreadable(error)),
                Err(_) => Err(AskError::Ended { log: desk.log.name.clone() }),
            }
        })
    }
}

/// What a future resolves with, unless the time is up before.
async fn within<F: Future>(future: F, sleep: &mut Sleep) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => sleep.as_mut().poll(cx).map(|()| None),
    })
    .await
}
