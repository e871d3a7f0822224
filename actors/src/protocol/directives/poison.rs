//! A record at which a function panics, as the engine knows it.

use xxhash_rust::xxh3::{xxh3_128, xxh3_128_with_seed};

use crate::protocol::PortId;

/// What stands for an input where a timer fires.
pub const FIRINGS: PortId = PortId(u8::MAX);

/// A record as careful work knows it: by its operator's input and the hash of its bytes. Records of the same bytes are one to it. A
/// timer that fires is as if its key and time came by an input of their own, [`FIRINGS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordIdentity {
    port: PortId,
    hash: u128,
}

impl RecordIdentity {
    /// That of a record with these bytes, which came by `port` of its operator.
    pub fn of(port: PortId, bytes: &[u8]) -> Self {
        Self { port, hash: xxh3_128(bytes) }
    }

    /// That of the copy of such a record that this subtask gets, where each subtask gets one.
    pub(crate) fn of_copy(port: PortId, bytes: &[u8], subtask: u32) -> Self {
        Self { port, hash: xxh3_128_with_seed(bytes, u64::from(subtask) + 1) }
    }

    /// Whether it is a timer that fires.
    pub(crate) fn is_firing(self) -> bool {
        self.port == FIRINGS
    }

    /// The input that it came by.
    pub(crate) fn port(self) -> PortId {
        self.port
    }
}

/// The record in whose call a function panicked at careful work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PanickedRecord {
    /// Which it is.
    pub identity: RecordIdentity,
    /// The record as JSON, at most some 200 bytes of it; `None` if it cannot be told so. Of a timer its time.
    pub text: Option<String>,
}

/// The call of an operator in which a function panicked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PanickedCall {
    /// Whether the operator was given records. If not it was given a mark, or was woken.
    pub with_records: bool,
    /// Which record or timer it was, if the operator worked carefully and it could be encoded.
    pub record: Option<PanickedRecord>,
}

/// What is known of the panics for which a record is withheld.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PanicFacts {
    /// The last panic's message.
    pub message: String,
    /// `file:line` of it, where known.
    pub location: Option<String>,
    /// The record's key as JSON, at most some 200 bytes of it, if the operator is keyed.
    pub key: Option<String>,
    /// The index of the subtask that panicked last.
    pub subtask: u32,
    /// Panics at the record that were seen at careful work.
    pub panics: u32,
    /// When the last one was, Unix milliseconds of the job's clock.
    pub failed_unix_ms: u64,
}
