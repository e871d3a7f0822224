//! Records that a program pushes into its jobs, durable before they are acknowledged.

mod batch;
mod error;
mod handle;
mod keys;
mod lineage;
mod log;
mod log_file;
mod open_logs;
mod options;
mod published;
mod queue;
mod reader;
mod record;
mod source;
mod writer;

pub use error::{IngestError, IngestLogError, TrySendError};
pub use handle::{Acknowledgement, IngestHandle, IngestStatus, SplitOffsets};
pub use options::{IngestOptions, OffsetReset};
pub use record::{IngestAll, IngestReceipt, IngestRecord};
pub use source::IngestSource;
