//! The sink of answers.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::marker::PhantomData;

use millstream_actors::contract::{
    Batch, CheckpointRequests, PendingCommit, Retry, Sink, SinkContext, SinkError, SinkGuarantee, SinkRestore,
    SinkWriter, Threading,
};
use millstream_actors::protocol::CheckpointId;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::requests::Desk;
use super::{Answer, stored};
use crate::source::IngestError;
use crate::source::ingest::{Given, Place};

/// Takes the [`Answer`]s of a job and gives them to those who [ask](super::Requests::ask), exactly once: when the checkpoint that
/// covers an answer is complete. By [`Requests::answers`](super::Requests::answers); for the job that reads the requests.
///
/// An answer that was given stands. A later one to the same request, of a job that answers twice or that went back to an older
/// checkpoint, is left out and [counted](super::RequestStatus::surplus_answers), with a line in the log of the program. So the job
/// may fall back to an older checkpoint.
///
/// ```
/// use millstream::prelude::*;
/// use millstream::request::RequestOptions;
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("requests");
/// let (source, requests) = RequestSource::<u8, u8>::open(path, RequestOptions::new())?;
/// let sink: AnswerSink<u8> = requests.answers();
/// let env = StreamEnvironment::new("same");
/// env.source("requests", source).map(|request: Request<u8>| request.answer(*request.body())).sink("answers", sink);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct AnswerSink<A> {
    desk: Desk,
    answers: PhantomData<fn(A)>,
}

impl<A> AnswerSink<A> {
    pub(super) fn new(desk: Desk) -> Self {
        Self { desk, answers: PhantomData }
    }
}

impl<A> fmt::Debug for AnswerSink<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AnswerSink({})", self.desk.log.name)
    }
}

impl<A: Serialize + DeserializeOwned + Send + 'static> Sink for AnswerSink<A> {
    type Item = Answer<A>;

    fn guarantee(&self) -> SinkGuarantee {
        SinkGuarantee::ExactlyOnce
    }

    /// An answer that was given stands.
    fn can_withdraw(&self) -> bool {
        true
    }

    fn threading(&self) -> Threading {
        Threading::Blocking
    }

    fn exclusive_output(&self) -> Option<String> {
        Some(format!("the answers to the requests of log {}", self.desk.log.name))
    }

    fn open(
        &self,
        cx: &SinkContext,
        restored: SinkRestore,
    ) -> Result<Box<dyn SinkWriter<Item = Answer<A>>>, SinkError> {
        for pending in &restored.pending {
            let given = stored::of_pending(&pending.data);
            give(&self.desk, given.map_err(|reason| SinkError::pending(pending.checkpoint, reason))?)?;
        }
        self.desk.log.askers.writer_opened(cx.subtask_index, cx.parallelism, cx.checkpoints.clone());
        Ok(Box::new(AnswerWriter {
            desk: self.desk.clone(),
            subtask: cx.subtask_index,
            checkpoints: cx.checkpoints.clone(),
            has_asked: false,
            answers: Answers::default(),
            prepared: Vec::new(),
            item: PhantomData,
        }))
    }
}

/// Has answers written, and waits until they are durable.
fn give(desk: &Desk, given: Vec<Given>) -> Result<(), SinkError> {
    if given.is_empty() {
        return Ok(());
    }
    let log = &desk.log;
    let answer = log
        .queue
        .give(given)
        .and_then(|answer| answer.blocking_recv().unwrap_or_else(|_| Err(log.queue.left_without_answer())));
    answer.map_err(|error| {
        let retry = match &error {
            IngestError::Log(error) if error.is_retryable() => Retry::Call,
            _ => Retry::Never,
        };
        SinkError::external(format!("answers in ingest log {}", log.name), error, retry)
    })
}

/// Those since the last barrier, one for each request, in the order of their coming.
#[derive(Default)]
struct Answers {
    given: Vec<Given>,
    /// Where each request's is, and how many have come.
    of: HashMap<(u64, Place), (usize, u64)>,
}

impl Answers {
    fn add(&mut self, given: Given) {
        match self.of.entry((given.life, given.place)) {
            Entry::Vacant(entry) => {
                entry.insert((self.given.len(), 1));
                self.given.push(given);
            }
            Entry::Occupied(mut entry) => {
                let (at, count) = entry.get_mut();
                *count += 1;
                self.given[*at].body = stored::several(*count);
            }
        }
    }

    fn take(&mut self) -> Vec<Given> {
        self.of.clear();
        std::mem::take(&mut self.given)
    }
}

struct AnswerWriter<A> {
    desk: Desk,
    subtask: u32,
    checkpoints: CheckpointRequests,
    /// A checkpoint is wanted, and its barrier has not come.
    has_asked: bool,
    answers: Answers,
    /// Oldest first.
    prepared: Vec<(PendingCommit, Vec<Given>)>,
    item: PhantomData<fn(A)>,
}

impl<A: Serialize + DeserializeOwned + Send + 'static> SinkWriter for AnswerWriter<A> {
    type Item = Answer<A>;

    fn write(&mut self, batch: &mut Batch<Answer<A>>) -> Result<(), SinkError> {
        for answer in batch.drain() {
            let body = stored::answer(&answer, self.desk.answer_bytes_max);
            let given = stored::given(answer.id, answer.is_keyed, body);
            if !self.has_asked && self.desk.log.askers.is_waited_for(&given) {
                self.has_asked = true;
                self.checkpoints.request();
            }
            self.answers.add(given);
        }
        Ok(())
    }

    fn prepare(&mut self, checkpoint: CheckpointId) -> Result<Vec<PendingCommit>, SinkError> {
        self.has_asked = false;
        let given = self.answers.take();
        if !given.is_empty() {
            self.prepared.push((PendingCommit { checkpoint, data: stored::pending(&given) }, given));
        }
        Ok(self.prepared.iter().map(|(pending, _)| pending.clone()).collect())
    }

    fn commit(&mut self, up_to: CheckpointId) -> Result<(), SinkError> {
        let count = self.prepared.partition_point(|(pending, _)| pending.checkpoint <= up_to);
        // They stay until they are durable.
        give(&self.desk, self.prepared[..count].iter().flat_map(|(_, given)| given.iter().cloned()).collect())?;
        self.prepared.drain(..count);
        self.desk.log.askers.writer_committed(self.subtask, up_to);
        Ok(())
    }
}
