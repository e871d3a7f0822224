//! How records are stored: those of one split that became durable together, as one value. Kafka's record batch.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | version, 1 |
//! | 8 | xxh3 of what follows, seeded with the offset of the first record, little-endian |
//! | 4 | number of records, little-endian |
//! | for each | 4 bytes of length, little-endian, and the record as MessagePack with named fields |

use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64_with_seed;

const VERSION: u8 = 1;
const HEADER: usize = 1 + 8 + COUNT;
const COUNT: usize = 4;
const LENGTH: usize = 4;

/// A batch is closed before it is larger than this, unless by one record: a value of 2^18 bytes would take two times the room.
const BATCH_BYTES_MAX: usize = (1 << 18) - 128;

/// What a record adds to the log beside its own bytes, at most: as if each had a batch of its own.
pub(super) const RECORD_OVERHEAD: usize = HEADER + LENGTH;

/// Records of one split with consecutive offsets.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RecordBatch {
    first: u64,
    count: u32,
    bytes: Vec<u8>,
}

impl RecordBatch {
    /// The offset of its first record.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// The offset behind its last record.
    pub(super) fn end(&self) -> u64 {
        self.first + u64::from(self.count)
    }

    /// As it is stored.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What was stored for the offset `first`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(first: u64, bytes: &[u8]) -> Result<Self, String> {
        let Some((header, mut records)) = bytes.split_at_checked(HEADER) else {
            return Err(format!("{} bytes are too few", bytes.len()));
        };
        if header[0] != VERSION {
            return Err(format!("version {}, known is {VERSION}", header[0]));
        }
        if header[1..9] != xxh3_64_with_seed(&bytes[9..], first).to_le_bytes() {
            return Err("its checksum does not fit".to_owned());
        }
        let count = u32::from_le_bytes(header[9..].try_into().expect("four bytes are left"));
        for _ in 0..count {
            let (_, rest) = split_record(records).ok_or("a record is cut")?;
            records = rest;
        }
        if !records.is_empty() {
            return Err(format!("{} bytes follow its records", records.len()));
        }
        Ok(Self { first, count, bytes: bytes.to_owned() })
    }
}

fn split_record(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<LENGTH>()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}

/// A batch that is not closed yet.
#[derive(Debug)]
pub(super) struct OpenBatch {
    first: u64,
    count: u32,
    bytes: Vec<u8>,
}

impl OpenBatch {
    /// One that begins with this offset.
    pub(super) fn new(first: u64) -> Self {
        Self { first, count: 0, bytes: vec![0; HEADER] }
    }

    /// Whether there is room for a record of so many bytes; always for the first.
    pub(super) fn takes(&self, record: usize) -> bool {
        self.count == 0 || self.bytes.len() + LENGTH + record <= BATCH_BYTES_MAX
    }

    /// Adds a record of at most 4 GiB, and answers its offset.
    pub(super) fn push(&mut self, record: &[u8]) -> u64 {
        let length = u32::try_from(record.len()).expect("larger records were refused");
        self.bytes.extend_from_slice(&length.to_le_bytes());
        self.bytes.extend_from_slice(record);
        self.count += 1;
        self.next() - 1
    }

    /// The offset of the record that would be added next.
    pub(super) fn next(&self) -> u64 {
        self.first + u64::from(self.count)
    }

    pub(super) fn close(self) -> RecordBatch {
        let Self { first, count, mut bytes } = self;
        bytes[9..HEADER].copy_from_slice(&count.to_le_bytes());
        let sum = xxh3_64_with_seed(&bytes[9..], first);
        bytes[0] = VERSION;
        bytes[1..9].copy_from_slice(&sum.to_le_bytes());
        RecordBatch { first, count, bytes }
    }
}

/// Goes through the records of a batch.
#[derive(Debug)]
pub(super) struct BatchCursor {
    batch: Arc<RecordBatch>,
    at: usize,
    next: u64,
}

impl BatchCursor {
    /// At the record `from`, or at the end if it is behind all.
    pub(super) fn new(batch: Arc<RecordBatch>, from: u64) -> Self {
        let mut cursor = Self { next: batch.first, at: HEADER, batch };
        while cursor.next < from && cursor.take().is_some() {}
        cursor
    }

    /// The next record.
    pub(super) fn take(&mut self) -> Option<&[u8]> {
        let (record, _) = split_record(self.batch.bytes.get(self.at..)?)?;
        self.at += LENGTH + record.len();
        self.next += 1;
        Some(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch_of(first: u64, records: &[&[u8]]) -> RecordBatch {
        let mut open = OpenBatch::new(first);
        for (offset, record) in (first..).zip(records) {
            assert_eq!(open.push(record), offset);
        }
        open.close()
    }

    #[test]
    fn stored_batch_reads_back_from_any_record_on() {
        let records: [&[u8]; 3] = [b"one", b"", b"three"];
        let batch = batch_of(7, &records);
        let read = Arc::new(RecordBatch::read(7, batch.bytes()).unwrap());
        assert_eq!((&*read, read.first(), read.end()), (&batch, 7, 10));
        for from in 7..11 {
            let mut cursor = BatchCursor::new(read.clone(), from);
            for record in &records[(from - 7) as usize..] {
                assert_eq!(cursor.take(), Some(*record));
            }
            assert_eq!(cursor.take(), None);
        }
    }

    #[test]
    fn every_flipped_bit_every_cut_and_another_place_are_noticed() {
        let batch = batch_of(7, &[b"one", b"two"]);
        let whole = batch.bytes();
        for at in 0..whole.len() * 8 {
            let mut bytes = whole.to_owned();
            bytes[at / 8] ^= 1 << (at % 8);
            assert!(RecordBatch::read(7, &bytes).is_err(), "bit {at}");
        }
        for len in 0..whole.len() {
            assert!(RecordBatch::read(7, &whole[..len]).is_err(), "cut to {len}");
        }
        assert!(RecordBatch::read(8, whole).is_err());
        let longer = [whole, &[0]].concat();
        assert!(RecordBatch::read(7, &longer).is_err());
    }

    #[test]
    fn batch_is_full_before_its_bytes_are_a_power_of_two_but_takes_one_record_of_any_size() {
        let mut open = OpenBatch::new(0);
        assert!(open.takes(10 << 20));
        while open.takes(1000) {
            open.push(&[1; 1000]);
        }
        let len = open.close().bytes().len();
        assert!((BATCH_BYTES_MAX - 2000..=BATCH_BYTES_MAX).contains(&len), "{len}");
    }
}
