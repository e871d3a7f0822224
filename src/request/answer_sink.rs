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

/// From so many bytes of answers on a checkpoint is asked for, whoever waits.
const HELD_BYTES: usize = 8 << 20;

/// Those since the last barrier, one for each request, in the order of their coming.
#[derive(Default)]
struct Answers {
    given: Vec<Given>,
    /// Of what has come, with what is kept for each.
    bytes: usize,
    /// Where each request's is, and how many have come.
    of: HashMap<(u64, Place), (usize, u64)>,
}

impl Answers {
    fn add(&mut self, given: Given) {
        self.bytes += size_of::<Given>() + given.body.len();
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
        self.bytes = 0;
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
    prepared: Vec<(CheckpointId, Vec<Given>)>,
    item: PhantomData<fn(A)>,
}

impl<A: Serialize + DeserializeOwned + Send + 'static> SinkWriter for AnswerWriter<A> {
    type Item = Answer<A>;

    fn write(&mut self, batch: &mut Batch<Answer<A>>) -> Result<(), SinkError> {
        for answer in batch.drain() {
            let body = stored::answer(&answer, self.desk.answer_bytes_max);
            let given = stored::given(answer.id, answer.is_keyed, body);
            let is_told_already = self.has_asked && given.is_keyed;
            let is_waited_for = !is_told_already && self.desk.log.askers.is_waited_for(self.subtask, &given);
            // Nobody can ask for it any more.
            if !given.is_keyed && !is_waited_for {
                continue;
            }
            self.answers.add(given);
            if !self.has_asked && (is_waited_for || self.answers.bytes >= HELD_BYTES) {
                self.has_asked = true;
                self.checkpoints.request();
            }
        }
        Ok(())
    }

    fn prepare(&mut self, checkpoint: CheckpointId) -> Result<Vec<PendingCommit>, SinkError> {
        self.has_asked = false;
        let given = self.answers.take();
        if !given.is_empty() {
            self.prepared.push((checkpoint, given));
        }
        let pending = |(checkpoint, given): &(CheckpointId, Vec<Given>)| PendingCommit {
            checkpoint: *checkpoint,
            data: stored::pending(given),
        };
        Ok(self.prepared.iter().map(pending).collect())
    }

    fn commit(&mut self, up_to: CheckpointId) -> Result<(), SinkError> {
        let count = self.prepared.partition_point(|(checkpoint, _)| *checkpoint <= up_to);
        // They stay until they are durable.
        give(&self.desk, self.prepared[..count].iter().flat_map(|(_, given)| given.iter().cloned()).collect())?;
        self.prepared.drain(..count);
        let holds_others = !self.prepared.is_empty() || !self.answers.given.is_empty();
        self.desk.log.askers.writer_committed(self.subtask, up_to, holds_others);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::request::{RequestId, RequestOptions, RequestSource};
    use crate::testing::sink_context;

    fn answer(offset: u64, is_keyed: bool, bytes: usize) -> Answer<String> {
        Answer { id: RequestId::new(7, Place { split: 0, offset }), is_keyed, outcome: Ok("x".repeat(bytes)) }
    }

    #[test]
    fn answers_that_nobody_can_ask_for_are_not_kept_and_many_have_a_checkpoint_taken() {
        let folder = tempfile::tempdir().unwrap();
        let (_source, requests) =
            RequestSource::<u8, String>::open(folder.path().join("log"), RequestOptions::new()).unwrap();
        let asked = Arc::new(AtomicU64::new(0));
        let count = asked.clone();
        let checkpoints = CheckpointRequests::new(move || {
            count.fetch_add(1, Ordering::SeqCst);
        });
        let cx = SinkContext { checkpoints, ..sink_context(0, 1) };
        let mut writer = requests.answers().open(&cx, SinkRestore::default()).unwrap();
        let write =
            |writer: &mut Box<dyn SinkWriter<Item = Answer<String>>>, is_keyed, offsets: std::ops::Range<u64>| {
                let mut batch = Batch::new();
                offsets.for_each(|offset| batch.push(answer(offset, is_keyed, 1 << 19), 1));
                writer.write(&mut batch).unwrap();
            };
        write(&mut writer, false, 0..40);
        assert!(writer.prepare(CheckpointId(1)).unwrap().is_empty());
        write(&mut writer, true, 0..15);
        assert_eq!(asked.load(Ordering::SeqCst), 0, "nobody waits");
        write(&mut writer, true, 15..40);
        assert_eq!(asked.load(Ordering::SeqCst), 1, "they are more than 8 MiB");
        let prepared = writer.prepare(CheckpointId(2)).unwrap();
        assert_eq!(stored::of_pending(&prepared[0].data).unwrap().len(), 40);
        write(&mut writer, true, 40..41);
        assert_eq!(asked.load(Ordering::SeqCst), 1, "they are counted anew");
    }
}
