//! Timers of state larger than memory: those that come due next in memory, the others in the working file, by time.

use std::sync::Arc;

use millstream_actors::contract::StateError;
use millstream_actors::protocol::Timestamp;

use super::file::WorkingFile;
use super::paging::lend;
use super::table::RedbBackend;
use crate::state::{Due, StateKey, StateRows, StateSet, TimeDomain, TimerQueues, stable_hash};

/// Entries that change places between memory and the file in one transaction.
const MOVED_AT_ONCE: usize = if cfg!(test) { 4 } else { 4096 };

/// About as many bytes an entry takes in memory.
const ENTRY_BYTES: usize = 32;

/// The queue of timers.
#[derive(Debug)]
pub(super) struct SpilledTimers {
    /// Those in memory.
    pub(super) near: TimerQueues,
    /// The earliest in the file, of each domain.
    in_file: [Option<Due>; 2],
    /// Above so many of a domain some go to the file.
    near_max: usize,
}

impl SpilledTimers {
    /// A queue that may have about so many bytes in memory.
    pub(super) fn new(bytes: usize) -> Self {
        let near_max = (bytes / ENTRY_BYTES / TimeDomain::ALL.len()).max(2 * MOVED_AT_ONCE);
        Self { near: TimerQueues::default(), in_file: [None; 2], near_max }
    }

    /// The time of the earliest.
    pub(super) fn first_time(&self, domain: TimeDomain) -> Option<Timestamp> {
        let in_file = self.in_file[domain as usize].map(|(at, _)| at);
        self.near.first_time(domain).into_iter().chain(in_file).min()
    }

    /// Has the latest go to the file that are too many.
    pub(super) fn make_room(
        &mut self,
        file: impl Fn() -> Result<Arc<WorkingFile>, StateError>,
    ) -> Result<(), StateError> {
        for domain in TimeDomain::ALL {
            while self.near.len(domain) > self.near_max {
                let latest = self.near.take_latest(domain, MOVED_AT_ONCE);
                file()?.put_timers(domain, &latest)?;
                let in_file = &mut self.in_file[domain as usize];
                *in_file = in_file.iter().chain(latest.first()).min().copied();
            }
        }
        Ok(())
    }

    /// The earliest, which is in memory then. Of one time those in memory come first.
    fn take_first(&mut self, domain: TimeDomain, file: Option<&WorkingFile>) -> Result<Option<Due>, StateError> {
        let in_file = &mut self.in_file[domain as usize];
        while let (Some(first), Some(file)) = (*in_file, file)
            && self.near.first_time(domain).is_none_or(|near| first.0 < near)
        {
            let (earliest, next) = file.take_timers(domain, MOVED_AT_ONCE)?;
            earliest.into_iter().for_each(|due| self.near.insert(domain, due));
            *in_file = next;
        }
        Ok(self.near.first(domain))
    }
}

impl<K: StateKey, S: StateSet> RedbBackend<K, S> {
    /// See [`KeyedBackend::next_timer`](crate::state::KeyedBackend::next_timer).
    pub(super) fn take_next_timer(&mut self, domain: TimeDomain) -> Result<Option<Due>, StateError> {
        self.check_failed()?;
        let first = self.timers.take_first(domain, self.shared.existing_file().map(|file| &**file));
        self.has_failed |= first.is_err();
        first
    }

    /// All groups are there: the timers of those in the cache are queued, and those of others are in the file.
    pub(super) fn enqueue_all(&mut self) -> Result<(), StateError> {
        if const { !S::HAS_TIMERS } {
            return Ok(());
        }
        if let Some(file) = self.shared.existing_file() {
            for domain in TimeDomain::ALL {
                self.timers.in_file[domain as usize] = file.first_timer(domain)?;
            }
        }
        let Self { states, groups, timers, .. } = self;
        for cached in groups.iter_mut().flat_map(|group| group.table.iter_mut()) {
            states.enqueue_timers(&mut cached.row, &mut timers.near, || stable_hash(&cached.key));
        }
        Ok(())
    }

    /// Fires; see [`KeyedBackend::fire_timers`](crate::state::KeyedBackend::fire_timers).
    pub(super) fn fire(
        &mut self,
        domain: TimeDomain,
        each: impl FnMut(&K, Timestamp, S::Handles<'_>),
    ) -> Result<(), StateError> {
        self.check_failed()?;
        let Some(due) = self.timers.near.take_first(domain) else { return Ok(()) };
        let fired = self.fire_rows(domain, due, each);
        self.has_failed |= fired.is_err();
        fired
    }

    fn fire_rows(
        &mut self,
        domain: TimeDomain,
        (at, hash): Due,
        mut each: impl FnMut(&K, Timestamp, S::Handles<'_>),
    ) -> Result<(), StateError> {
        self.find_disk()?;
        self.make_room()?;
        if let Some(disk) = self.disk.as_mut().filter(|disk| disk.may_contain(hash)) {
            let found = disk.get(hash)?;
            self.take_found(&found)?;
        }
        let (index, access) = (self.index_of(hash), self.moment());
        for bucket in self.buckets_of(index, hash) {
            let Some(mut row) = self.row_in(index, bucket) else { continue };
            row.expire(access);
            let cached = row.found.get_mut();
            // What the row knows of the queue changes by this, also where no timer is due.
            cached.marks.is_changed = true;
            if let Some(timer) = row.states.take_due_timer(&mut cached.row, (domain, at), access.stamp) {
                let lent = lend(&mut row, access, |key, states| each(key, timer, states));
                if lent.is_none() {
                    return Err(self.page_lost());
                }
            }
            row.settle();
        }
        self.trim(index);
        self.check_pages()?;
        self.send_pages()
    }
}
