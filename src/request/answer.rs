//! An answer on its way through a job.

use serde::{Deserialize, Serialize};

use super::RequestId;

/// What a job has made of a request, by [`Request::answer`](super::Request::answer) or [`Request::reject`](super::Request::reject):
/// for an [`AnswerSink`](super::AnswerSink).
///
/// ```
/// use millstream::prelude::*;
///
/// fn total(order: Request<Vec<u64>>) -> Answer<u64> {
///     let answer = order.answer(order.body().iter().sum());
///     assert_eq!(answer.request(), order.id());
///     answer
/// }
/// # let _ = total;
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Answer<A> {
    pub(super) id: RequestId,
    pub(super) is_keyed: bool,
    /// The answer, or why there is none.
    pub(super) outcome: Result<A, String>,
}

impl<A> Answer<A> {
    /// To which request.
    pub fn request(&self) -> RequestId {
        self.id
    }

    /// The answer, or why the request was rejected.
    ///
    /// # Errors
    /// The reason that [`Request::reject`](super::Request::reject) was given.
    pub fn outcome(&self) -> Result<&A, &str> {
        self.outcome.as_ref().map_err(String::as_str)
    }
}
