//! Records that a program pushes into its jobs, durable before they are acknowledged.

mod answering;
mod answers;
mod askers;
mod batch;
mod error;
mod handle;
mod keys;
mod lineage;
mod log;
mod log_file;
mod open_logs;
mod options;
mod place_in_log;
mod published;
mod queue;
mod reader;
mod record;
mod source;
mod writer;

pub(crate) use askers::{Given, Told};
pub(crate) use keys::Place;
pub(crate) use log::{Holds, IngestLog};
pub(crate) use queue::Phase;
pub(crate) use reader::{IngestReader, Position, Start};
pub(crate) use record::EncodedRecord;

pub use error::{IngestError, IngestLogError, TrySendError};
pub use handle::{Acknowledgement, IngestHandle, IngestStatus, SplitOffsets};
pub use options::{IngestOptions, OffsetReset};
pub use place_in_log::{IngestPosition, InvalidPosition};
pub use record::{IngestAll, IngestReceipt, IngestRecord};
pub use source::IngestSource;
