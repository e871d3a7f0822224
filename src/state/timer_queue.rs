//! Which key is to be looked at when: the order in which the timers of a subtask come due.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use millstream_actors::protocol::Timestamp;

use super::TimeDomain;

/// A time, and the hash of a key that may have a timer then.
pub(crate) type Due = (Timestamp, u64);

/// Keys by the time at which they are to be looked at, for each domain. A key may have more than one entry, of which only
/// the one that its [`DueTimes`](super::kinds::DueTimes) know counts; keys with one hash look alike.
#[derive(Debug, Default)]
pub(crate) struct TimerQueues([Queue; 2]);

#[derive(Debug, Default)]
struct Queue {
    by_time: BTreeMap<Timestamp, Hashes>,
    /// Times that have been begun on, the latest first, each with its hashes, descending. What is inserted for such a time
    /// comes behind them.
    begun: Vec<(Timestamp, Vec<u64>)>,
    len: usize,
}

/// The hashes of one time. As a rule there is one, or there are very many: windows end together.
#[derive(Debug)]
enum Hashes {
    One(u64),
    #[allow(clippy::box_collection, reason = "a vector has three words, and most times have one hash or very many")]
    Many(Box<Vec<u64>>),
}

impl Queue {
    #[inline]
    fn insert(&mut self, (at, hash): Due) {
        self.len += 1;
        self.insert_all(at, Hashes::One(hash));
    }

    fn insert_all(&mut self, at: Timestamp, more: Hashes) {
        match self.by_time.entry(at) {
            Entry::Vacant(entry) => drop(entry.insert(more)),
            Entry::Occupied(mut entry) => match (entry.get_mut(), more) {
                (Hashes::Many(hashes), Hashes::One(hash)) => hashes.push(hash),
                (Hashes::Many(hashes), Hashes::Many(more)) => hashes.extend(*more),
                (Hashes::One(one), more) => {
                    let mut hashes = more.into_vec();
                    hashes.push(*one);
                    entry.insert(Hashes::Many(Box::new(hashes)));
                }
            },
        }
    }

    fn first_time(&self) -> Option<Timestamp> {
        let begun = self.begun.last().map(|(at, _)| *at);
        self.by_time.keys().next().copied().into_iter().chain(begun).min()
    }

    /// Begins on the earliest time, unless that has been begun on.
    fn begin(&mut self) -> Option<&mut (Timestamp, Vec<u64>)> {
        if let Some(first) = self.by_time.first_entry()
            && self.begun.last().is_none_or(|(at, _)| first.key() < at)
        {
            let (at, hashes) = first.remove_entry();
            let mut hashes = hashes.into_vec();
            hashes.sort_unstable_by(|one, other| other.cmp(one));
            self.begun.push((at, hashes));
        }
        self.begun.last_mut()
    }

    fn take_first(&mut self) -> Option<Due> {
        let (at, hashes) = self.begin()?;
        let due = (*at, hashes.pop()?);
        if hashes.is_empty() {
            self.begun.pop();
        }
        self.len -= 1;
        Some(due)
    }

    fn take_latest(&mut self, most: usize) -> Vec<Due> {
        for (at, hashes) in std::mem::take(&mut self.begun) {
            self.insert_all(at, Hashes::Many(Box::new(hashes)));
        }
        let mut latest = Vec::new();
        while latest.len() < most
            && let Some((at, hashes)) = self.by_time.pop_last()
        {
            let mut hashes = hashes.into_vec();
            let stay = hashes.len().saturating_sub(most - latest.len());
            latest.extend(hashes.drain(stay..).map(|hash| (at, hash)));
            if !hashes.is_empty() {
                self.by_time.insert(at, Hashes::Many(Box::new(hashes)));
            }
        }
        self.len -= latest.len();
        latest.sort_unstable();
        latest
    }
}

impl Hashes {
    fn into_vec(self) -> Vec<u64> {
        match self {
            Self::One(hash) => vec![hash],
            Self::Many(hashes) => *hashes,
        }
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

    /// The earliest. Those of one time come by their hashes, as the rows of their keys lie in memory, and behind them what has
    /// been inserted for that time since its first was asked for.
    #[inline]
    pub(crate) fn first(&mut self, domain: TimeDomain) -> Option<Due> {
        let (at, hashes) = self.0[domain as usize].begin()?;
        Some((*at, *hashes.last()?))
    }

    /// The hash that comes so many entries behind the earliest, if that has the same time and has been asked for.
    #[inline]
    pub(crate) fn ahead(&self, domain: TimeDomain, entries: usize) -> Option<u64> {
        let (_, hashes) = self.0[domain as usize].begun.last()?;
        hashes.len().checked_sub(entries + 1).map(|place| hashes[place])
    }

    /// Takes the earliest out.
    #[inline]
    pub(crate) fn take_first(&mut self, domain: TimeDomain) -> Option<Due> {
        self.0[domain as usize].take_first()
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
    fn entries_leave_by_time_from_both_ends() {
        let (mut random, mut queues, mut all) = (Random(7), TimerQueues::default(), Vec::new());
        let domain = TimeDomain::Processing;
        for _ in 0..2000 {
            match random.below(4) {
                0 if !all.is_empty() => {
                    let (first, peeked) = (queues.first(domain).unwrap(), queues.take_first(domain).unwrap());
                    assert_eq!(first, peeked);
                    assert_eq!(Some(first.0), all.iter().map(|(at, _)| *at).min());
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
                    let due = (random.below(20) as Timestamp - 10, random.below(30));
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
