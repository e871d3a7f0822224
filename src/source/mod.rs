//! Sources: where records come from, replayable from any position.
//!
//! | source | reads | ends |
//! |---|---|---|
//! | [`FileSource`] | files: lines, CSV, JSON lines, also compressed by gzip | yes, unless it [follows](FileSource::follow) them |
//! | [`VecSource`] | the elements of a `Vec` | yes |
//! | [`SequenceSource`] | numbers, at a given rate if wanted | with a range yes, else never |
//! | [`IngestSource`] | records that the program pushes in, from a log on disk | with `finish` |
//! | [`JobEventSource`] | the events of another job | with that job |
//! | [`StreamSource`] | asynchronous streams of positions and records | where the streams do |
//! | [`Throttled`] | any other source, more slowly | as that one |
//!
//! One of your own implements [`Source`] and [`SourceReader`]. Parts for it: [`SplitQueue`] shares splits among subtasks and
//! restores their positions, [`SourceWaker`] says that something has arrived, [`SourceError`] says what failed and whether it
//! may pass. `docs/connectors.md` goes through it step by step, and
//! [`assert_resumes_anywhere`](crate::testing::assert_resumes_anywhere) tests it.

pub(crate) mod fed;
mod file;
pub(crate) mod ingest;
mod job_events;
pub(crate) mod position;
mod sequence;
mod splits;
mod spread;
mod stream_source;
mod throttled;
mod timed;
mod vec;

pub use file::{FileSource, FileSourceError, Follow, MalformedRecord, OnMalformed, Positioned};
pub use ingest::{
    Acknowledgement, IngestAll, IngestError, IngestHandle, IngestLogError, IngestOptions, IngestPosition,
    IngestReceipt, IngestRecord, IngestSource, IngestStatus, InvalidPosition, OffsetReset, SplitOffsets, TrySendError,
};
pub use job_events::JobEventSource;
pub use position::{decode_position, encode_position};
pub use sequence::SequenceSource;
pub use splits::{Split, SplitQueue};
pub use spread::spread_split_id;
pub use stream_source::{CompletedSplit, StreamSource, StreamSourceError};
pub use throttled::Throttled;
pub use timed::Timed;
pub(crate) use timed::WAIT_FOR_OTHERS;
pub use vec::VecSource;

pub use millstream_actors::contract::{
    Batch, Boundedness, CompletedPositions, EventTimes, Hold, Located, OperatorCounters, ReadStatus, SideRecord,
    Source, SourceBacklog, SourceContext, SourceError, SourceReader, SourceTime, SourceWaker, SplitBacklog,
    SplitPosition, SplitRead, Threading,
};
pub use millstream_actors::protocol::may_pass;
