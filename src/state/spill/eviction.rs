//! How rows leave the cache.

use std::mem;

use millstream_actors::contract::StateError;

use super::batch::Batch;
use super::cached_row::Account;
use super::rows::put_row;
use super::table::{Cached, RedbBackend};
use crate::state::barrier::Barriers;
use crate::state::codec::put_key;
use crate::state::{StateKey, StateRows, StateSet, stable_hash};

/// Rows that are written in one transaction, at most. Those of one group are close together in the file: with a tenth
/// of its rows in the batch each page that is touched is changed for several.
const BATCH_ROWS_MAX: usize = 16 << 10;

/// Bytes in one transaction, but for the last row's.
const BATCH_BYTES_MAX: usize = 8 << 20;

impl<K: StateKey, S: StateSet> RedbBackend<K, S> {
    /// Evicts rows if there are too many: while the last ones are still being written, only if there are far too many.
    pub(super) fn make_room(&mut self) -> Result<(), StateError> {
        if let Some(disk) = &mut self.disk {
            disk.poll(false)?;
        }
        if const { S::HAS_TIMERS } {
            self.timers.make_room(|| self.shared.file().cloned())?;
        }
        while self.cached > self.limits.rows || self.pages_press() {
            if self.disk.as_ref().is_some_and(|disk| disk.is_writing()) {
                if self.cached <= self.limits.rows_max && !self.pages_press_hard() {
                    return Ok(());
                }
                self.open_disk()?.poll(true)?;
            }
            self.evict()?;
        }
        Ok(())
    }

    /// Has the rows of the next groups leave that were not used since it came by, until there is some room or enough to
    /// write.
    fn evict(&mut self) -> Result<(), StateError> {
        let (mut batch, waiting) = (Batch::default(), self.shared.pages.waiting_bytes());
        self.add_settled(&mut batch)?;
        // A transaction costs about as much as a thousand rows.
        let enough = self.limits.rows - self.limits.rows / 16;
        while self.cached > 0
            && (self.cached > enough || self.has_too_many_pages())
            && batch.len() < BATCH_ROWS_MAX
            && batch.bytes() + self.shared.pages.waiting_bytes() < BATCH_BYTES_MAX
        {
            if self.evict_from(self.hand, &mut batch)? {
                self.trim(self.hand);
                self.hand = (self.hand + 1) % self.groups.len();
            }
        }
        if mem::needs_drop::<Cached<K, S::Row>>() && !batch.is_empty() {
            // A map that is in pages from here on was in the row.
            let bytes = batch.bytes() + self.shared.pages.waiting_bytes().saturating_sub(waiting);
            self.limits = self.shared.limits.counting_heap::<Cached<K, S::Row>>(bytes / batch.len());
        }
        if batch.is_empty() && self.shared.pages.waiting_bytes() == 0 { Ok(()) } else { self.send(batch) }
    }

    /// Goes on in the group where it was. True when it is through with it, or half of its rows have left: if all did,
    /// the groups whose turn is last would hold twice as many as the average.
    fn evict_from(&mut self, index: usize, batch: &mut Batch) -> Result<bool, StateError> {
        let Self { states, shared, groups, range, barriers, cached, scratch, .. } = self;
        let Barriers { capture, current, base, .. } = barriers;
        let encode_error =
            |(state, reason): (usize, String)| shared.cannot_store(states, state, range.start + index as u32, reason);
        let group = &mut groups[index];
        let mut capture = capture.as_mut().filter(|capture| !capture.reach[index].is_done());
        let keys = group.live + group.tombstones;
        let mut stay = group.table.len();
        let stay_min = stay / 2;
        while group.hand < group.table.num_buckets() {
            let bytes = batch.bytes() + shared.pages.waiting_bytes();
            if batch.len() >= BATCH_ROWS_MAX || bytes >= BATCH_BYTES_MAX {
                return Ok(false);
            }
            if stay == stay_min {
                return Ok(true);
            }
            let bucket = group.hand;
            group.hand += 1;
            let Some(leaving) = group.table.get_bucket_mut(bucket) else { continue };
            if mem::take(&mut leaving.marks.is_used) {
                continue;
            }
            if let Some(capture) = &mut capture {
                // On the disk the sweep must not find it again, and in the cache it would not find it any more.
                let is_ahead = capture.is_ahead(index, bucket);
                let mut account =
                    Account { dirt: &mut group.dirt, live: &mut group.live, tombstones: &mut group.tombstones };
                account.move_on(capture, states, (index, is_ahead), leaving, *current);
            }
            let Cached { key, row, marks } = leaving;
            let (hash, stamp) = (stable_hash(key), S::stamp(row));
            if S::is_clear(row) && stamp <= *base {
                // No base to come has the key.
                group.tombstones -= usize::from(stamp > 0);
                if marks.is_on_disk {
                    scratch.clear();
                    put_key(key, scratch).map_err(|reason| encode_error((0, reason)))?;
                    batch.push_gone(hash, scratch);
                }
            } else {
                if marks.is_changed || !marks.is_on_disk {
                    batch
                        .push(hash, |bytes| put_row(states, (key, row), &shared.own_pages, scratch, bytes))
                        .map_err(encode_error)?;
                }
                if stamp > *base {
                    group.dirt.left(hash, keys);
                }
            }
            if let Ok(found) = group.table.get_bucket_entry(bucket) {
                found.remove();
                *cached -= 1;
                stay -= 1;
            }
        }
        group.hand = 0;
        Ok(true)
    }

    /// The marks of removals on the disk that a sweep found needless, but for those of keys that are in the cache again.
    fn add_settled(&mut self, batch: &mut Batch) -> Result<(), StateError> {
        let mut settled = mem::take(&mut self.settled);
        settled.sort_unstable();
        settled.dedup();
        for (hash, stored) in settled {
            if !self.has_cached(hash, &stored)? {
                batch.push_gone(hash, &stored);
                let index = self.index_of(hash);
                self.groups[index].tombstones -= 1;
            }
        }
        Ok(())
    }
}
