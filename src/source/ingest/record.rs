//! What is sent into an ingest log, and what its sender is told.

use std::hash::Hash;

use actix::Message;

use super::askers::Asker;
use super::{IngestError, IngestPosition};
use crate::state::stable_hash;

/// A record on its way to an [`IngestSource`](super::IngestSource), with what decides where it goes and whether it counts:
/// Kafka's `ProducerRecord`. A bare record is one without keys, so [`IngestHandle::send`](super::IngestHandle::send) takes
/// either. As a message to the `Addr` of a started [`IngestHandle`](super::IngestHandle) it is answered when it is durable.
///
/// ```
/// use millstream::source::IngestRecord;
///
/// let order = IngestRecord::new(("customer 7", 20)).key("customer 7").idempotency_key("order 4711");
/// assert_eq!(order.record().1, 20);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[rtype(result = "Result<IngestReceipt, IngestError>")]
pub struct IngestRecord<T> {
    pub(crate) record: T,
    pub(crate) key_hash: Option<u64>,
    pub(crate) idempotency_key: Option<String>,
}

impl<T> IngestRecord<T> {
    /// A record without keys: splits take such records in turn.
    pub fn new(record: T) -> Self {
        Self { record, key_hash: None, idempotency_key: None }
    }

    /// Records of one key are in one split, by the key's hash, and so are read in the order in which they were taken in.
    pub fn key<K: Hash + ?Sized>(mut self, key: &K) -> Self {
        self.key_hash = Some(stable_hash(key));
        self
    }

    /// Of the records with one idempotency key the first that is durable counts, and later ones are acknowledged with its
    /// receipt, for [`idempotency_retention`](super::IngestOptions::idempotency_retention), whichever splits they would have
    /// gone to. At most 255 bytes, longer ones are refused.
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.idempotency_key = Some(key.into());
        self
    }

    /// The record.
    pub fn record(&self) -> &T {
        &self.record
    }

    /// The record, without its keys.
    pub fn into_record(self) -> T {
        self.record
    }
}

impl<T> From<T> for IngestRecord<T> {
    fn from(record: T) -> Self {
        Self::new(record)
    }
}

/// Records that are sent in one message, to be durable together: either all of them are in the log or none is. The answer has
/// a receipt for each, in order.
///
/// ```
/// use millstream::prelude::*;
/// use millstream::source::{IngestAll, IngestOptions, IngestRecord};
/// use actix::Actor;
///
/// # actix_rt::System::new().block_on(async {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("log");
/// let (_source, handle) = IngestSource::<u64>::open(path, IngestOptions::new())?;
/// let addr = handle.start();
/// let receipts = addr.send(IngestAll(vec![IngestRecord::new(1), IngestRecord::new(2)])).await??;
/// assert_eq!(receipts.len(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[rtype(result = "Result<Vec<IngestReceipt>, IngestError>")]
pub struct IngestAll<T>(pub Vec<IngestRecord<T>>);

/// Where a durable record is: Kafka's `RecordMetadata`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub struct IngestReceipt {
    /// The number of its split, from 0.
    pub split: u32,
    /// Its place in the split, from 0: without gaps, in the order in which records are read.
    pub offset: u64,
    /// An earlier record with its idempotency key is there, and this one was not added.
    pub is_repeated: bool,
    pub(super) position: IngestPosition,
}

impl IngestReceipt {
    /// Where the record is, for queries that are to be answered [not before](crate::query::StateQuery::not_before) the job has taken it.
    pub fn position(&self) -> IngestPosition {
        self.position
    }
}

/// A record as it is stored, before it has a place.
#[derive(Debug)]
pub(crate) struct EncodedRecord {
    pub(crate) bytes: Vec<u8>,
    pub(crate) key_hash: Option<u64>,
    pub(crate) idempotency_key: Option<String>,
    /// Who waits for its answer.
    pub(crate) asker: Option<Asker>,
}

impl EncodedRecord {
    /// What it takes of the bounds on bytes: its own, and its idempotency key's.
    pub(super) fn size(&self) -> usize {
        self.bytes.len() + self.idempotency_key.as_ref().map_or(0, String::len)
    }
}
