//! Which key is to be looked at when: the order in which the timers of a subtask come due.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use millstream_actors::protocol::Timestamp;

use super::TimeDomain;

/// A time, and the hash of a key that may have a timer then.
pub(crate) type Due = (Timestamp, u64);

/// Keys by the time at which they are to be looked at, for each domain. A key may have more than one entry, of which only
/// the one that its [`DueTimes`](super::kinds::DueTimes) know counts; keys with one hash look alike.
#[derive(Debug, Default)]
pub(crate) struct TimerQueues([Queue; 2]);

/// A bucket with no more entries is sorted, one with more is divided.
const RUN_MAX: usize = if cfg!(test) { 4 } else { 128 };

/// A bucket for each bit in which a time may differ from another, and one for times that do not.
const BUCKETS: usize = u64::BITS as usize + 1;

/// An emptied bucket keeps the memory of so many entries.
const KEPT_MAX: usize = 4096;

/// A radix heap (Ahuja, Mehlhorn, Orlin and Tarjan, "Faster Algorithms for the Shortest Path Problem", 1990), in front of which the
/// earliest entries are sorted. Times that come due only go on, as a rule, so that an entry is moved from bucket to bucket some
/// times and never searched for a place. What comes for a time that has been begun on already has a heap of its own.
#[derive(Debug)]
struct Queue {
    /// The earliest that were in buckets, the first of them at the end.
    run: Vec<Entry>,
    /// What has come for times below `next` since these left their bucket.
    behind: BinaryHeap<Reverse<Entry>>,
    /// Buckets have no times below this one.
    next: u64,
    /// The time by which entries are in buckets: not above any of theirs.
    base: u64,
    /// The number of a bucket is that of the highest bit in which its times differ from `base`, plus one.
    buckets: Box<[Bucket]>,
    /// Which buckets have entries.
    filled: u128,
    len: usize,
}

/// A time by its rank among all times, and a hash.
type Entry = (u64, u64);

#[derive(Clone, Debug)]
struct Bucket {
    entries: Vec<Entry>,
    /// The earliest of their times.
    first: u64,
}

impl Default for Queue {
    fn default() -> Self {
        let empty = Bucket { entries: Vec::new(), first: u64::MAX };
        Self {
            run: Vec::new(),
            behind: BinaryHeap::new(),
            next: 0,
            base: 0,
            buckets: vec![empty; BUCKETS].into(),
            filled: 0,
            len: 0,
        }
    }
}

/// Its place among all times.
#[inline]
fn rank(at: Timestamp) -> u64 {
    at.cast_unsigned() ^ (1 << 63)
}

#[inline]
fn time_of(rank: u64) -> Timestamp {
    (rank ^ (1 << 63)).cast_signed()
}

impl Queue {
    #[inline]
    fn insert(&mut self, (at, hash): Due) {
        self.len += 1;
        let entry = (rank(at), hash);
        if entry.0 < self.next {
            self.insert_behind(entry);
        } else {
            self.put(entry);
        }
    }

    fn insert_behind(&mut self, entry: Entry) {
        if entry.0 < self.base || self.behind.len() < RUN_MAX.max(self.run.len()) {
            return self.behind.push(Reverse(entry));
        }
        // The run goes far ahead of its first time: it is given up.
        self.next = self.base;
        let begun: Vec<Entry> = self.run.drain(..).chain(self.behind.drain().map(|Reverse(entry)| entry)).collect();
        for entry in begun.into_iter().chain([entry]) {
            if entry.0 < self.base {
                self.behind.push(Reverse(entry));
            } else {
                self.put(entry);
            }
        }
    }

    /// Puts an entry into its bucket.
    #[inline]
    fn put(&mut self, entry: Entry) {
        let number = u64::BITS - (entry.0 ^ self.base).leading_zeros();
        let bucket = &mut self.buckets[number as usize];
        bucket.first = bucket.first.min(entry.0);
        bucket.entries.push(entry);
        self.filled |= 1 << number;
    }

    /// Takes all of a bucket, and the earliest of its times.
    fn take_bucket(&mut self, number: usize) -> (Vec<Entry>, u64) {
        self.filled &= !(1 << number);
        let bucket = &mut self.buckets[number];
        (std::mem::take(&mut bucket.entries), std::mem::replace(&mut bucket.first, u64::MAX))
    }

    /// Whether the earliest entry is the one behind the run.
    #[inline]
    fn is_behind(&self) -> bool {
        match (self.run.last(), self.behind.peek()) {
            (Some(of_run), Some(Reverse(behind))) => behind < of_run,
            (None, Some(_)) => true,
            (_, None) => false,
        }
    }

    #[inline]
    fn first_time(&self) -> Option<Timestamp> {
        let begun = match self.behind.peek() {
            Some(Reverse((behind, _))) if self.is_behind() => Some(*behind),
            _ => self.run.last().map(|(at, _)| *at),
        };
        let in_buckets = || (self.filled != 0).then(|| self.buckets[self.filled.trailing_zeros() as usize].first);
        begun.or_else(in_buckets).map(time_of)
    }

    #[inline]
    fn first(&mut self) -> Option<Due> {
        if self.run.is_empty() && self.behind.is_empty() {
            self.sort_next(usize::MAX);
        }
        let (at, hash) = if self.is_behind() { self.behind.peek()?.0 } else { *self.run.last()? };
        Some((time_of(at), hash))
    }

    /// Takes the earliest out, if none of their time has come before the others: those of the first time if they are so many, or
    /// more. Then this is the time, and how many they were.
    fn take_many(&mut self, least: usize) -> Option<(Timestamp, usize)> {
        if !self.run.is_empty() || !self.behind.is_empty() {
            return None;
        }
        let before = self.len;
        let at = time_of(self.sort_next(least)?);
        Some((at, before - self.len))
    }

    /// Makes a run of the earliest that are in buckets, if any are. If they have one time and are `many`, or more, they are dropped,
    /// and this is the time.
    #[cold]
    fn sort_next(&mut self, many: usize) -> Option<u64> {
        while self.filled != 0 {
            let number = self.filled.trailing_zeros() as usize;
            let (mut entries, first) = self.take_bucket(number);
            let is_one_time = entries.iter().all(|(at, _)| *at == first);
            if is_one_time && entries.len() >= many {
                self.next = first.saturating_add(1);
                self.len -= entries.len();
                entries.clear();
                self.keep(number, entries);
                return Some(first);
            }
            if entries.len() <= RUN_MAX || is_one_time {
                entries.sort_unstable_by(|one, other| other.cmp(one));
                self.next = entries.first().map_or(self.next, |(last, _)| last.saturating_add(1));
                let emptied = std::mem::replace(&mut self.run, entries);
                self.keep(number, emptied);
                return None;
            }
            // They all have the bits in which the entries of higher buckets differ from the old base.
            self.base = first;
            entries.drain(..).for_each(|entry| self.put(entry));
            self.keep(number, entries);
        }
        None
    }

    /// An emptied bucket has this memory from here on.
    fn keep(&mut self, number: usize, emptied: Vec<Entry>) {
        if self.buckets[number].entries.is_empty() && emptied.capacity() <= KEPT_MAX {
            self.buckets[number].entries = emptied;
        }
    }

    #[inline]
    fn take_first(&mut self) -> Option<Due> {
        let (at, _) = self.first()?;
        let (_, hash) = if self.is_behind() { self.behind.pop()?.0 } else { self.run.pop()? };
        self.len -= 1;
        Some((at, hash))
    }

    fn take_latest(&mut self, most: usize) -> Vec<Due> {
        let mut latest: Vec<Entry> = Vec::new();
        while latest.len() < most && self.filled != 0 {
            let number = self.filled.ilog2() as usize;
            let wanted = most - latest.len();
            let entries = &mut self.buckets[number].entries;
            if entries.len() <= wanted {
                latest.append(&mut self.take_bucket(number).0);
            } else {
                let stay = entries.len() - wanted;
                entries.select_nth_unstable(stay);
                latest.extend(entries.drain(stay..));
            }
        }
        if latest.len() < most {
            self.run.extend(self.behind.drain().map(|Reverse(entry)| entry));
            self.run.sort_unstable_by(|one, other| other.cmp(one));
            latest.extend(self.run.drain(..self.run.len().min(most - latest.len())));
        }
        self.len -= latest.len();
        latest.sort_unstable();
        latest.into_iter().map(|(at, hash)| (time_of(at), hash)).collect()
    }
}

impl TimerQueues {
    #[inline]
    pub(crate) fn insert(&mut self, domain: TimeDomain, due: Due) {
        self.0[domain as usize].insert(due);
    }

    /// The time of the earliest.
    #[inline]
    pub(crate) fn first_time(&self, domain: TimeDomain) -> Option<Timestamp> {
        self.0[domain as usize].first_time()
    }

    /// The earliest. Those of one time come by their hashes, as the rows of their keys lie in memory.
    #[inline]
    pub(crate) fn first(&mut self, domain: TimeDomain) -> Option<Due> {
        self.0[domain as usize].first()
    }

    /// Takes those of the earliest time out if they are so many, or more, and none of them has been asked for; gives the time, and
    /// their number.
    #[inline]
    pub(crate) fn take_many(&mut self, domain: TimeDomain, least: usize) -> Option<(Timestamp, usize)> {
        self.0[domain as usize].take_many(least)
    }

    /// The hash that probably comes so many entries behind the earliest, if that has been asked for.
    #[inline]
    pub(crate) fn ahead(&self, domain: TimeDomain, entries: usize) -> Option<u64> {
        let run = &self.0[domain as usize].run;
        run.len().checked_sub(entries + 1).map(|place| run[place].1)
    }

    /// Takes the earliest out.
    #[inline]
    pub(crate) fn take_first(&mut self, domain: TimeDomain) -> Option<Due> {
        self.0[domain as usize].take_first()
    }

    /// Number of entries of both domains.
    pub(crate) fn entries(&self) -> usize {
        TimeDomain::ALL.into_iter().map(|domain| self.len(domain)).sum()
    }

    /// Number of entries of a domain.
    pub(crate) fn len(&self, domain: TimeDomain) -> usize {
        self.0[domain as usize].len
    }

    /// Takes so many of the latest out, ascending.
    pub(crate) fn take_latest(&mut self, domain: TimeDomain, most: usize) -> Vec<Due> {
        self.0[domain as usize].take_latest(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::test_kit::Random;

    #[test]
    fn what_comes_between_a_time_that_is_due_and_one_far_ahead_goes_to_buckets() {
        let mut queue = Queue::default();
        [0, 1 << 40].into_iter().for_each(|at| queue.insert((at, 0)));
        assert_eq!(queue.take_first(), Some((0, 0)));
        for at in (1..1000).rev() {
            queue.insert((at, 1));
            assert!(queue.behind.len() <= RUN_MAX);
        }
        let mut all: Vec<_> = (1..1000).map(|at| (at, 1)).collect();
        all.push((1 << 40, 0));
        assert!(std::iter::from_fn(|| queue.take_first()).eq(all));
    }

    #[test]
    fn entries_leave_by_time_from_both_ends() {
        let (mut random, mut queues, mut all) = (Random(7), TimerQueues::default(), Vec::new());
        let domain = TimeDomain::Processing;
        for _ in 0..2000 {
            match random.below(4) {
                0 if !all.is_empty() => {
                    let (first, peeked) = (queues.first(domain).unwrap(), queues.take_first(domain).unwrap());
                    assert_eq!(first, peeked);
                    assert_eq!(Some(first), all.iter().copied().min());
                    all.remove(all.iter().position(|due| *due == first).unwrap());
                }
                1 => {
                    let latest = queues.take_latest(domain, random.below(5) as usize);
                    assert!(latest.is_sorted());
                    for due in &latest {
                        all.remove(all.iter().position(|other| other == due).unwrap());
                    }
                    let least = latest.first().map_or(Timestamp::MAX, |due| due.0);
                    assert!(all.iter().all(|(at, _)| *at <= least));
                }
                _ => {
                    let at = match random.below(8) {
                        0 => random.below(1 << 40) as Timestamp,
                        1 => [Timestamp::MIN, Timestamp::MAX][random.below(2) as usize],
                        _ => random.below(20) as Timestamp - 10,
                    };
                    let due = (at, random.below(30));
                    queues.insert(domain, due);
                    all.push(due);
                }
            }
            assert_eq!((queues.len(domain), queues.len(TimeDomain::Event)), (all.len(), 0));
        }
        assert_eq!(queues.take_latest(domain, usize::MAX).len(), all.len());
        assert_eq!((queues.first(domain), queues.take_first(domain)), (None, None));
    }
}
