//! Requests that a job answers: [`Requests::ask`] gives what the job makes of one, once that is durable.
//!
//! | part | where |
//! |---|---|
//! | [`RequestSource`] | begins the job: a stream of [`Request`]s, each durable in a log before the job reads it |
//! | [`Request::answer`], [`Request::reject`] | in the job: make an [`Answer`] |
//! | [`AnswerSink`] | ends the job: takes the answers, exactly once |
//! | [`Requests`] | in the service: asks, and waits |
//!
//! `docs/requests.md` tells what is promised, and what it costs.

mod answer;
mod answer_sink;
mod ask;
mod asked;
mod error;
mod options;
mod requests;
mod source;
mod stored;

pub use answer::Answer;
pub use answer_sink::AnswerSink;
pub use ask::Ask;
pub use asked::{Request, RequestId};
pub use error::AskError;
pub use options::RequestOptions;
pub use requests::{RequestStatus, Requests};
pub use source::RequestSource;
