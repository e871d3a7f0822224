//! Records that a program pushes into its job: acknowledged when they are durable, and then in the output exactly once.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;

mod disk;
mod gate;
mod jobs;
mod kills;
mod positions;
mod sending;
mod trimming;

use std::path::Path;

use millstream::prelude::*;
use millstream::source::{IngestHandle, IngestLogError, IngestOptions, Source, SourceError};
use millstream::testing::{SourceRun, read_source, source_context};

/// The log in this folder.
pub(crate) fn open(folder: &Path, options: IngestOptions) -> (IngestSource<u64>, IngestHandle<u64>) {
    IngestSource::open(folder.join("log"), options).unwrap()
}

/// Has the source come to an end behind what is in it, as `JobHandle::finish` does.
pub(crate) fn finish(source: &IngestSource<u64>) {
    source.open(&source_context(0, 1), None).unwrap().finish();
}

/// Closes the log.
pub(crate) fn close((source, handle): (IngestSource<u64>, IngestHandle<u64>)) {
    drop(source);
    wait(handle.closed());
}

/// All records that are in it, read by one subtask.
pub(crate) fn read_all(source: &IngestSource<u64>) -> SourceRun<u64> {
    finish(source);
    read_source(source, 1, None, None)
}

/// Why a reader does not open, or does not read.
pub(crate) fn log_error(error: &SourceError) -> &IngestLogError {
    error.reason().downcast_ref().unwrap_or_else(|| panic!("no error of the log: {error}"))
}

/// Blocks on a future that needs no runtime.
pub(crate) fn wait<R>(future: impl Future<Output = R>) -> R {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}
