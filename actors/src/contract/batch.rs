//! A batch: the unit in which records move between subtasks.

/// A batch closes at this many records.
pub const BATCH_RECORDS_MAX: usize = 1024;

/// A batch closes at this many bytes of payload, as counted by its source or codec.
pub const BATCH_BYTES_MAX: usize = 256 * 1024;

/// Records that travel together, in order.
#[derive(Clone, Debug)]
pub struct Batch<T> {
    /// The records.
    pub records: Vec<T>,
    /// Payload bytes of the records as counted by the source or codec that made them; 0 where nobody counts.
    pub bytes: usize,
}

impl<T> Batch<T> {
    /// An empty batch that has not allocated.
    pub const fn new() -> Self {
        Self { records: Vec::new(), bytes: 0 }
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Whether it has reached a limit and must be closed.
    pub fn is_full(&self) -> bool {
        self.records.len() >= BATCH_RECORDS_MAX || self.bytes >= BATCH_BYTES_MAX
    }

    /// Appends a record that counts for `bytes` bytes of payload.
    pub fn push(&mut self, record: T, bytes: usize) {
        self.records.push(record);
        self.bytes += bytes;
    }

    /// Drops all records and keeps the allocation.
    pub fn clear(&mut self) {
        self.records.clear();
        self.bytes = 0;
    }

    /// The share of [`bytes`](Self::bytes) that the first `records` records stand for.
    pub fn bytes_of(&self, records: usize) -> usize {
        if self.bytes == 0 || self.records.is_empty() { 0 } else { self.bytes * records / self.records.len() }
    }
}

impl<T> Default for Batch<T> {
    fn default() -> Self {
        Self::new()
    }
}
