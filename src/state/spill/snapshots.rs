//! How the cache and the disk are written at barriers while rows change and move between them.
//!
//! As in [`KeyedTable`](crate::state::KeyedTable) a row is to be written if its stamp is in the span of the capture, and
//! once it is written and then worked on it has the current stamp. The sweep goes through what each key group has on the
//! disk, by hash, and through its table in the cache, by bucket. A row that moves while its group is not done is written
//! before it moves, if the sweep has not come to where it was, and gets the current stamp: where it then is, it is
//! passed over. So each row is written once, wherever it was.

use std::sync::Arc;

use millstream_actors::contract::{SectionWriter, StateError};

use super::cached_row::Account;
use super::disk::Found;
use super::rows::RowBytes;
use super::table::{Cached, Group, Marks, RedbBackend, bucket_hash, rehash};
use crate::state::barrier::{Barriers, GroupAtBarrier, Reach, Sweep};
use crate::state::codec::take;
use crate::state::{StateKey, StateRows, StateSet, hashes_of};

/// Rows in the cache between two looks at the clock: some 5 us. In tests few, so that much happens within a group.
const CACHED_PER_LOOK: usize = if cfg!(test) { 3 } else { 512 };
/// Rows of the file between two looks at the clock: some 50 us.
const STORED_PER_LOOK: usize = if cfg!(test) { 3 } else { 256 };
/// Rows that are looked up in the file one by one between two looks at the clock: some 50 us.
const LISTED_PER_LOOK: usize = if cfg!(test) { 2 } else { 16 };

/// Fewer marks of removed keys do no harm.
const TOMBSTONES_MIN: usize = 64;

/// How far the sweep is in what a group has on the disk.
#[derive(Debug)]
pub(super) enum DiskReach {
    /// It has not come to the group.
    Ahead,
    /// It reads all rows; this is the next hash.
    Scan(u64),
    /// It looks up these hashes, ascending; the number is the place of the next.
    List(Vec<u64>, usize),
    Done,
}

impl DiskReach {
    /// Whether what the disk has of this hash is still to be written, if it has changed.
    pub(super) fn is_ahead(&self, hash: u64) -> bool {
        match self {
            Self::Ahead => true,
            Self::Scan(next) => hash >= *next,
            Self::List(hashes, next) => hashes.get(*next).is_some_and(|first| hash >= *first),
            Self::Done => false,
        }
    }
}

impl<K: StateKey, S: StateSet> RedbBackend<K, S> {
    /// The barrier.
    pub(super) fn begin(&mut self, names: &[Arc<str>], writer: &mut SectionWriter) {
        self.abandon(Some(writer));
        let now = self.moment();
        let Self { states, groups, barriers, range, .. } = self;
        barriers.begin::<K, S>(states, names, range.start, now, writer, |closed, base| {
            let at_barrier = groups.iter_mut().map(|group| {
                group.dirt.close(closed, base);
                let (keys, live) = (group.live + group.tombstones, group.live);
                // Written in full, what is no longer needed of the marks is found.
                let is_whole = group.tombstones > live.max(TOMBSTONES_MIN);
                GroupAtBarrier { keys, live, changes: group.dirt.count(), is_whole }
            });
            at_barrier.collect()
        });
        self.on_disk = self.groups.iter().map(|_| DiskReach::Ahead).collect();
    }

    /// Sweeps the rest of a group's table at once, since its entries are about to move.
    pub(super) fn finish_cache_sweep_of(&mut self, group: usize) {
        if self.barriers.capture.as_ref().is_some_and(|capture| !capture.reach[group].is_done()) {
            while !self.sweep_cache(group, usize::MAX) {}
        }
    }

    /// Looks at up to `most` buckets of a group's table; true when it is through.
    fn sweep_cache(&mut self, index: usize, most: usize) -> bool {
        let Self { states, groups, barriers: Barriers { capture, .. }, cached, .. } = self;
        let capture = capture.as_mut().expect("a sweep needs a capture");
        let (group, after) = (&mut groups[index], capture.span(index).after);
        let buckets = group.table.num_buckets();
        let from = match &capture.reach[index] {
            Reach::Scan(ahead) => ahead.start,
            _ => 0,
        };
        let to = buckets.min(from.saturating_add(most)).max(from);
        for bucket in from..to {
            let Group { table, dirt, live, tombstones, .. } = &mut *group;
            let Some(cached_row) = table.get_bucket_mut(bucket) else { continue };
            Account { dirt, live, tombstones }.write(capture, states, index, cached_row);
            let Cached { row, marks, .. } = cached_row;
            let is_settled = S::is_clear(row) && S::stamp(row) <= after;
            if is_settled
                && !marks.is_on_disk
                && let Ok(found) = group.table.get_bucket_entry(bucket)
            {
                group.tombstones -= usize::from(S::stamp(&found.get().row) > 0);
                found.remove();
                *cached -= 1;
            }
        }
        // A table that grows later has been swept: there is no bucket beyond.
        capture.reach[index] = Reach::Scan(if to >= buckets { usize::MAX } else { to }..usize::MAX);
        to >= buckets
    }

    /// Reads some of what a group has on the disk.
    fn sweep_disk(&mut self, index: usize) -> Result<(), StateError> {
        self.find_disk()?;
        let reach = std::mem::replace(&mut self.on_disk[index], DiskReach::Done);
        let Some(disk) = &mut self.disk else { return Ok(()) };
        let (first, last) = hashes_of(self.range.start + index as u32, self.max_parallelism);
        let capture = self.barriers.capture.as_ref().expect("a sweep needs a capture");
        let (found, next) = match reach {
            DiskReach::Done => return Ok(()),
            DiskReach::Ahead => {
                // What has expired is on no list.
                let scans = capture.span(index).is_full() || self.states.expires();
                let listed = if scans { None } else { self.groups[index].dirt.list() };
                self.on_disk[index] = match listed {
                    Some(hashes) => DiskReach::List(hashes, 0),
                    None => DiskReach::Scan(first),
                };
                return Ok(());
            }
            DiskReach::Scan(from) => {
                let (found, next) = disk.range(from, last, STORED_PER_LOOK)?;
                (found, next.map_or(DiskReach::Done, DiskReach::Scan))
            }
            DiskReach::List(hashes, from) => {
                let to = hashes.len().min(from + LISTED_PER_LOOK);
                let found = hashes[from..to].iter().map(|hash| disk.get(*hash)).collect::<Result<_, _>>()?;
                (found, if to < hashes.len() { DiskReach::List(hashes, to) } else { DiskReach::Done })
            }
        };
        for found in &found {
            self.write_found(index, found)?;
        }
        self.on_disk[index] = next;
        Ok(())
    }

    /// Writes what the disk has of a hash, as far as it counts and has changed.
    fn write_found(&mut self, index: usize, found: &Found) -> Result<(), StateError> {
        let span = self.barriers.capture.as_ref().expect("a sweep needs a capture").span(index);
        for stored in found.rows() {
            let stored = stored.map_err(|reason| self.damaged(reason))?;
            let is_settled = stored.is_clear && stored.stamp <= self.barriers.base;
            let may_pass = stored.stamp <= span.after && !is_settled && (stored.is_clear || !self.states.expires());
            if may_pass || self.has_cached(found.hash, stored.key)? {
                continue;
            }
            if is_settled {
                self.settled.push((found.hash, stored.key.to_vec()));
                continue;
            }
            let written = self.write_stored(index, found.hash, &stored);
            written.map_err(|reason| self.shared.cannot_read(&stored, reason))?;
        }
        Ok(())
    }

    fn write_stored(&mut self, index: usize, hash: u64, stored: &RowBytes<'_>) -> Result<(), String> {
        let key: K = take(&mut &*stored.key)?;
        let mut row = stored.read(&self.states, &self.shared.looked_at)?;
        let capture = self.barriers.capture.as_mut().expect("a sweep needs a capture");
        capture.write(&self.states, index, &key, &mut row);
        if S::is_clear(&row) && !stored.is_clear && self.cached < self.limits.rows_max {
            // It has expired. The disk gets to know by way of the cache; without room there, at another barrier.
            self.states.touch(&mut row, capture.span(index), self.barriers.current);
            if const { S::HAS_PAGES } {
                // What was looked at has freed nothing.
                let mut own = stored.read(&self.states, &self.shared.own_pages)?;
                self.states.free_pages(&mut own);
            }
            let group = &mut self.groups[index];
            group.dirt.record();
            group.live -= 1;
            group.tombstones += 1;
            self.reserve(index);
            let marks = Marks { is_used: false, is_on_disk: true, is_changed: true };
            self.groups[index].table.insert_unique(bucket_hash(hash), Cached { key, row, marks }, rehash);
            self.cached += 1;
        }
        Ok(())
    }
}

impl<K: StateKey, S: StateSet> Sweep<K> for RedbBackend<K, S> {
    fn barriers(&mut self) -> &mut Barriers {
        &mut self.barriers
    }

    fn sweep_some(&mut self, group: usize) -> Result<bool, StateError> {
        let swept = match self.on_disk[group] {
            DiskReach::Done => Ok(self.sweep_cache(group, CACHED_PER_LOOK)),
            _ => self.sweep_disk(group).map(|()| false),
        };
        // A page that was not read comes before what it has led to.
        let swept = self.check_pages().and(swept);
        // Declining the checkpoint is not enough: the next record must fail, too.
        self.has_failed |= swept.is_err();
        swept
    }

    fn abandon(&mut self, writer: Option<&mut SectionWriter>) {
        self.barriers.abandon(writer);
        self.on_disk.clear();
    }
}
