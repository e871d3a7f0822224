//! A batch: the unit in which records move between subtasks.

use std::{iter, mem, slice, vec};

pub use crate::protocol::BATCH_RECORDS_MAX;
use crate::protocol::{NO_TIME, Timestamp};

/// A batch closes at this many bytes of payload, as counted by its source or codec.
pub const BATCH_BYTES_MAX: usize = 256 * 1024;

/// Records that travel together, in order, and what is known of them.
///
/// Its columns change together, by methods that work on many records at once. Bytes are counted for the batch as a whole,
/// and records that leave it take an equal share each. Where nobody counts (0 bytes), no method does anything for them
/// per record; where no record has an event time there is no column of times either.
///
/// ```
/// use millstream::operator::Batch;
///
/// let mut batch = Batch::from_iter([1, 2, 3]);
/// batch.push(4, 8);                                           // a record, and how many bytes it counts for
/// assert_eq!((batch.len(), batch.bytes(), batch.is_full()), (4, 8, false));
/// assert_eq!(batch.drain().sum::<i32>(), 10);
/// assert!(batch.is_empty());
/// ```
#[derive(Clone, Debug)]
pub struct Batch<T> {
    records: Vec<T>,
    /// Event times of the first records; those behind them have none. So a record without one costs nothing.
    times: Vec<Timestamp>,
    /// Payload bytes of the records as counted by the source or codec that made them; 0 where nobody counts.
    bytes: usize,
    /// It is full with so many records.
    records_max: usize,
}

impl<T> Batch<T> {
    /// An empty batch that has not allocated.
    pub const fn new() -> Self {
        Self::counted(Vec::new(), 0)
    }

    /// Records that count for `bytes` bytes of payload together.
    pub const fn counted(records: Vec<T>, bytes: usize) -> Self {
        Self { records, times: Vec::new(), bytes, records_max: BATCH_RECORDS_MAX }
    }

    /// Number of records.
    #[inline]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is no record.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Payload bytes of all records together; 0 where nobody counts.
    #[inline]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Most records that it is to hold: [`BATCH_RECORDS_MAX`], or fewer if they are for a slow task.
    #[inline]
    pub fn records_max(&self) -> usize {
        self.records_max
    }

    /// Lets it be full with so many records, at least one and at most [`BATCH_RECORDS_MAX`], until it is
    /// [cleared](Self::clear).
    #[inline]
    pub fn limit_to(&mut self, records: usize) {
        self.records_max = records.clamp(1, BATCH_RECORDS_MAX);
    }

    /// How many more records it takes.
    #[inline]
    pub fn room(&self) -> usize {
        self.records_max.saturating_sub(self.records.len())
    }

    /// Whether it has reached a limit and must be closed.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.records.len() >= self.records_max || self.bytes >= BATCH_BYTES_MAX
    }

    /// The records.
    #[inline]
    pub fn as_slice(&self) -> &[T] {
        &self.records
    }

    /// The event time of the record at this place; `None` if it has none.
    #[inline]
    pub fn time(&self, place: usize) -> Option<Timestamp> {
        self.times.get(place).copied().filter(|time| *time != NO_TIME)
    }

    /// Gives each record the event time that `time` says, which is told the one that the record has.
    pub fn set_times(&mut self, mut time: impl FnMut(&T, Option<Timestamp>) -> Timestamp) {
        let known = self.times.len();
        for (place, record) in self.records.iter().enumerate() {
            if place < known {
                let before = self.times[place];
                self.times[place] = time(record, Some(before).filter(|before| *before != NO_TIME));
            } else {
                self.times.push(time(record, None));
            }
        }
    }

    /// The records, in order.
    pub fn iter(&self) -> slice::Iter<'_, T> {
        self.records.iter()
    }

    /// Appends a record that counts for `bytes` bytes of payload.
    #[inline]
    pub fn push(&mut self, record: T, bytes: usize) {
        self.records.push(record);
        self.bytes += bytes;
    }

    /// Appends a record that counts for `bytes` bytes of payload and has this event time, or [`NO_TIME`].
    #[inline]
    pub fn push_at(&mut self, record: T, bytes: usize, time: Timestamp) {
        if time != NO_TIME {
            self.times.resize(self.records.len(), NO_TIME);
            self.times.push(time);
        }
        self.push(record, bytes);
    }

    /// Counts bytes for records that are in it.
    #[inline]
    pub fn add_bytes(&mut self, bytes: usize) {
        self.bytes += bytes;
    }

    /// Drops all records and keeps the allocation. Its limit is [`BATCH_RECORDS_MAX`] records again.
    pub fn clear(&mut self) {
        self.records.clear();
        self.times.clear();
        (self.bytes, self.records_max) = (0, BATCH_RECORDS_MAX);
    }

    /// Takes all records out, without their event times, and keeps the allocation.
    pub fn drain(&mut self) -> vec::Drain<'_, T> {
        self.bytes = 0;
        self.times.clear();
        self.records.drain(..)
    }

    /// Moves all records of `other` behind its own.
    pub fn append(&mut self, other: &mut Self) {
        other.move_times(other.len(), self.len(), self);
        self.records.append(&mut other.records);
        self.bytes += mem::take(&mut other.bytes);
    }

    /// Puts copies of all records of `other` behind its own.
    pub fn append_copy(&mut self, other: &Self, copy: impl Fn(&T) -> T) {
        if !other.times.is_empty() {
            self.times.resize(self.records.len(), NO_TIME);
            self.times.extend(&other.times);
        }
        self.records.extend(other.records.iter().map(copy));
        self.bytes += other.bytes;
    }

    /// Moves the first `records` records behind those of `to`, as they are.
    ///
    /// # Panics
    /// If there are fewer, as in all methods that take a number of first records.
    #[inline]
    pub fn move_front(&mut self, records: usize, to: &mut Self) {
        to.bytes += self.take_bytes(records);
        let before = to.len();
        to.records.extend(self.records.drain(..records));
        self.move_times(records, before, to);
    }

    /// Moves the first `records` records behind those of `to`, changed by `map`.
    #[inline]
    pub fn map_front<U>(&mut self, records: usize, to: &mut Batch<U>, map: impl FnMut(T) -> U) {
        to.bytes += self.take_bytes(records);
        let before = to.len();
        let same_layout = const { size_of::<T>() == size_of::<U>() && align_of::<T>() == align_of::<U>() };
        if same_layout && records == self.len() && to.is_empty() {
            map_in_place(&mut self.records, &mut to.records, map);
        } else {
            to.records.extend(self.records.drain(..records).map(map));
        }
        self.move_times(records, before, to);
    }

    /// Moves those of the first `records` records for which `keep` holds behind those of `to`, in order, and drops the
    /// others. Without a branch on the answer of `keep`, which cannot be predicted: each record is pushed, and popped again
    /// if it was refused.
    #[inline]
    pub fn filter_front(&mut self, records: usize, to: &mut Self, mut keep: impl FnMut(&T) -> bool) {
        if !self.times.is_empty() {
            return self.filter_map_timed(records, to, &mut |record| keep(&record).then_some(record));
        }
        let (bytes, before) = (self.take_bytes(records), to.len());
        // A vector of this function alone that cannot grow: its length stays in a register.
        let mut kept = mem::take(&mut to.records);
        kept.reserve(records);
        for record in self.records.drain(..records) {
            assert!(kept.len() < kept.capacity(), "there is room for all records");
            let keeps = keep(&record);
            kept.push(record);
            if !keeps {
                kept.pop();
            }
        }
        to.records = kept;
        to.bytes += share(bytes, to.len() - before, records);
    }

    /// Takes the first `records` records out and puts what `map` gives of them behind the records of `to`.
    #[inline]
    pub fn filter_map_front<U>(&mut self, records: usize, to: &mut Batch<U>, mut map: impl FnMut(T) -> Option<U>) {
        if !self.times.is_empty() {
            return self.filter_map_timed(records, to, &mut map);
        }
        let (bytes, before) = (self.take_bytes(records), to.len());
        to.records.extend(self.records.drain(..records).filter_map(map));
        to.bytes += share(bytes, to.len() - before, records);
    }

    /// The first `records` records, to be taken one by one; those that are not taken stay in front.
    pub fn front(&mut self, records: usize) -> Front<'_, T> {
        assert!(records <= self.len(), "{records} of {} records", self.len());
        let before = self.len();
        Front { rest: mem::take(&mut self.records).into_iter(), batch: self, before, left: records }
    }

    /// Moves each record to the batch that `open` gives of the channel with the record's number in `targets`, and empties
    /// itself. A batch that has become full is closed by `close`.
    ///
    /// # Errors
    /// The first number that is none of a channel. Records before that one have been moved.
    pub fn scatter<C>(
        &mut self,
        targets: &[u32],
        channels: &mut [C],
        open: impl Fn(&mut C) -> &mut Self,
        mut close: impl FnMut(&mut C),
    ) -> Result<(), u32> {
        let bytes_each = share(self.bytes, 1, self.len());
        if !self.times.is_empty() {
            return self.scatter_timed(bytes_each, targets, channels, open, close);
        }
        let mut records = self.drain().zip(targets);
        if bytes_each == 0 {
            return records.try_for_each(|(record, &target)| {
                let channel = channels.get_mut(target as usize).ok_or(target)?;
                let batch = open(channel);
                batch.records.push(record);
                if batch.records.len() >= batch.records_max {
                    close(channel);
                }
                Ok(())
            });
        }
        records.try_for_each(|(record, &target)| {
            let channel = channels.get_mut(target as usize).ok_or(target)?;
            let batch = open(channel);
            batch.push(record, bytes_each);
            if batch.is_full() {
                close(channel);
            }
            Ok(())
        })
    }

    /// As [`filter_map_front`](Self::filter_map_front) does it where records have event times. By reference and never inlined, so
    /// that the loops without them are compiled as if they stood alone.
    #[inline(never)]
    fn filter_map_timed<U>(&mut self, records: usize, to: &mut Batch<U>, map: &mut impl FnMut(T) -> Option<U>) {
        let (bytes, before) = (self.take_bytes(records), to.len());
        let timed = records.min(self.times.len());
        to.times.resize(before, NO_TIME);
        let times = self.times.drain(..timed).chain(iter::repeat(NO_TIME));
        for (record, time) in self.records.drain(..records).zip(times) {
            if let Some(mapped) = map(record) {
                to.records.push(mapped);
                to.times.push(time);
            }
        }
        to.bytes += share(bytes, to.len() - before, records);
    }

    /// As [`scatter`](Self::scatter) does it where records have event times.
    #[inline(never)]
    fn scatter_timed<C>(
        &mut self,
        bytes_each: usize,
        targets: &[u32],
        channels: &mut [C],
        open: impl Fn(&mut C) -> &mut Self,
        mut close: impl FnMut(&mut C),
    ) -> Result<(), u32> {
        self.bytes = 0;
        // Each open batch has a time for each of its records from here on.
        for channel in &mut *channels {
            let batch = open(channel);
            batch.times.resize(batch.records.len(), NO_TIME);
        }
        let times = self.times.drain(..).chain(iter::repeat(NO_TIME));
        for ((record, time), &target) in self.records.drain(..).zip(times).zip(targets) {
            let channel = channels.get_mut(target as usize).ok_or(target)?;
            let batch = open(channel);
            batch.records.push(record);
            batch.times.push(time);
            batch.bytes += bytes_each;
            if batch.is_full() {
                close(channel);
            }
        }
        Ok(())
    }

    /// Moves the event times of the first `records` records to where these go: behind the first `before` records of `to`.
    #[inline]
    fn move_times<U>(&mut self, records: usize, before: usize, to: &mut Batch<U>) {
        if !self.times.is_empty() {
            self.move_known_times(records, before, to);
        }
    }

    #[inline(never)]
    fn move_known_times<U>(&mut self, records: usize, before: usize, to: &mut Batch<U>) {
        let timed = records.min(self.times.len());
        if before == 0 && timed == self.times.len() {
            mem::swap(&mut self.times, &mut to.times);
            return;
        }
        to.times.resize(before, NO_TIME);
        to.times.extend(self.times.drain(..timed));
    }

    /// Takes the bytes of the first `records` records, which are about to go, off the count.
    fn take_bytes(&mut self, records: usize) -> usize {
        let bytes = share(self.bytes, records, self.len());
        self.bytes -= bytes;
        bytes
    }
}

/// The share of `bytes` that `part` of `all` records stand for.
#[inline]
fn share(bytes: usize, part: usize, all: usize) -> usize {
    if bytes == 0 || all == 0 { 0 } else { bytes * part / all }
}

/// Maps all of `input` into `out`, which is empty, and exchanges their allocations: collecting a vector's own iterator
/// reuses its allocation where the layouts are the same. A chain then works in one buffer, which stays in the
/// processor's first cache.
#[inline]
fn map_in_place<T, U>(input: &mut Vec<T>, out: &mut Vec<U>, map: impl FnMut(T) -> U) {
    let spare = mem::take(out);
    *out = mem::take(input).into_iter().map(map).collect();
    *input = spare.into_iter().filter_map(|_| None).collect();
}

impl<T> Extend<T> for Batch<T> {
    /// Appends records for which nobody counts bytes.
    fn extend<I: IntoIterator<Item = T>>(&mut self, records: I) {
        self.records.extend(records);
    }
}

impl<T> FromIterator<T> for Batch<T> {
    /// A batch of records for which nobody counts bytes.
    fn from_iter<I: IntoIterator<Item = T>>(records: I) -> Self {
        Self::counted(records.into_iter().collect(), 0)
    }
}

impl<T> Default for Batch<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// The first records of a batch, taken one by one by [`Batch::front`]. When it is dropped, those that were not taken are
/// in front of the batch again.
#[derive(Debug)]
pub struct Front<'a, T> {
    batch: &'a mut Batch<T>,
    rest: vec::IntoIter<T>,
    /// Number of records of the batch, before.
    before: usize,
    /// How many may still be taken.
    left: usize,
}

impl<T> Front<'_, T> {
    /// Those of the first records that are not taken.
    #[inline]
    pub fn as_slice(&self) -> &[T] {
        &self.rest.as_slice()[..self.left]
    }

    /// The record that is taken next, if one may be.
    #[inline]
    pub fn peek(&self) -> Option<&T> {
        self.as_slice().first()
    }

    /// The bytes of one record.
    #[inline]
    pub fn bytes_each(&self) -> usize {
        self.batch.bytes / self.before.max(1)
    }

    /// The event time of the next record, or [`NO_TIME`].
    #[inline]
    pub fn time(&self) -> Timestamp {
        self.batch.times.get(self.taken()).copied().unwrap_or(NO_TIME)
    }

    /// How many were taken.
    #[inline]
    pub fn taken(&self) -> usize {
        self.before - self.rest.len()
    }
}

impl<T> Iterator for Front<'_, T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        self.left = self.left.checked_sub(1)?;
        self.rest.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<T> ExactSizeIterator for Front<'_, T> {}

impl<T> Drop for Front<'_, T> {
    fn drop(&mut self) {
        let taken = self.taken();
        self.batch.bytes -= share(self.batch.bytes, taken, self.before);
        let timed = taken.min(self.batch.times.len());
        self.batch.times.drain(..timed);
        // In place: the allocation goes on.
        self.batch.records = mem::take(&mut self.rest).take(self.before).collect();
    }
}

#[cfg(test)]
#[path = "batch_tests.rs"]
mod tests;
