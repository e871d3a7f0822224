//! A request on its way through a job.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Answer;
use crate::source::ingest::Place;

/// Which request it is: no other has it, also not over restarts, or where a log was replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RequestId {
    /// The opening of the log in which it was taken in.
    life: u64,
    split: u32,
    offset: u64,
}

impl RequestId {
    pub(super) fn new(life: u64, Place { split, offset }: Place) -> Self {
        Self { life, split, offset }
    }

    pub(super) fn life(self) -> u64 {
        self.life
    }

    pub(super) fn place(self) -> Place {
        Place { split: self.split, offset: self.offset }
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} of {:016x}", self.split, self.offset, self.life)
    }
}

/// A request that a job has read, which it [answers](Self::answer) or [rejects](Self::reject). May be kept in state, and
/// answered later.
///
/// ```
/// use millstream::prelude::*;
/// use millstream::request::RequestOptions;
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("requests");
/// let (source, requests) = RequestSource::<u32, u32>::open(path, RequestOptions::new())?;
/// let env = StreamEnvironment::new("halves");
/// env.source("numbers", source)
///     .map(|request: Request<u32>| match request.body() {
///         even if even % 2 == 0 => request.answer(even / 2),
///         odd => request.reject(format!("{odd} is odd")),
///     })
///     .sink("answers", requests.answers());
/// # let job = env.start()?;
/// # actix_rt::System::new().block_on(async {
/// assert_eq!(requests.ask(8).await?, 4);
/// assert!(matches!(requests.ask(7).await, Err(AskError::Rejected { reason }) if reason == "7 is odd"));
/// # job.finish().await?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Request<Q> {
    pub(super) id: RequestId,
    /// Whoever asked may ask again.
    pub(super) is_keyed: bool,
    pub(super) body: Q,
}

impl<Q> Request<Q> {
    /// Which it is.
    pub fn id(&self) -> RequestId {
        self.id
    }

    /// What was asked.
    pub fn body(&self) -> &Q {
        &self.body
    }

    /// The same request with another body, as with what an operator has made of it.
    pub fn map<R>(self, make: impl FnOnce(Q) -> R) -> Request<R> {
        let Self { id, is_keyed, body } = self;
        Request { id, is_keyed, body: make(body) }
    }

    /// The answer to it, for an [`AnswerSink`](super::AnswerSink).
    pub fn answer<A>(&self, answer: A) -> Answer<A> {
        Answer { id: self.id, is_keyed: self.is_keyed, outcome: Ok(answer) }
    }

    /// Says that it gets no answer, and why: [`AskError::Rejected`](super::AskError::Rejected). As durable as an answer, so that
    /// it is for requests which cannot be processed, also those in a dead-letter output.
    pub fn reject<A>(&self, reason: impl Into<String>) -> Answer<A> {
        Answer { id: self.id, is_keyed: self.is_keyed, outcome: Err(reason.into()) }
    }
}
