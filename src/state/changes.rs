//! Which entries of a key group have changed, and since when: so that a snapshot of few changes need not look at all.

use super::Stamp;

/// Places changed under one stamp, or under several that no base told apart.
#[derive(Debug, Default)]
struct Segment {
    /// The last stamp that it covers.
    up_to: Stamp,
    /// Changes counted, whether they are listed or not.
    count: usize,
    /// Places; empty if they are not known.
    places: Vec<u32>,
    is_listed: bool,
}

impl Segment {
    fn new() -> Self {
        Self { up_to: 0, count: 0, places: Vec::new(), is_listed: true }
    }

    fn unlist(&mut self) {
        self.is_listed = false;
        self.places = Vec::new();
    }
}

/// The changes of one key group since the newest base.
#[derive(Debug)]
pub(super) struct Changes {
    current: Segment,
    /// Closed by barriers, ascending.
    closed: Vec<Segment>,
    /// Places of changes that a base has: removed keys among them can be forgotten.
    settled: Vec<u32>,
    /// Keys whose row is clear and that stay as marks of their removal.
    pub(super) tombstones: usize,
    /// A delta over a base that closed an earlier stamp would lack something.
    pub(super) full_floor: Stamp,
}

impl Changes {
    /// More changes than this share of the group are not listed: then it is as quick to look at all.
    const LISTED_SHARE: usize = 8;
    /// As many are always listed.
    const LISTED_MIN: usize = 64;
    /// Segments kept apart; more barriers than that without a new base are told apart no more.
    const SEGMENTS_MAX: usize = 4;

    pub(super) fn new() -> Self {
        Self { current: Segment::new(), closed: Vec::new(), settled: Vec::new(), tombstones: 0, full_floor: 0 }
    }

    /// An entry of a group with `len` keys was changed for the first time under the current stamp.
    #[inline]
    pub(super) fn record(&mut self, place: usize, len: usize) {
        let segment = &mut self.current;
        segment.count += 1;
        if segment.is_listed {
            if segment.places.len() < Self::LISTED_MIN.max(len / Self::LISTED_SHARE) {
                segment.places.push(place as u32);
            } else {
                segment.unlist();
            }
        }
    }

    /// Entries have moved to other places.
    pub(super) fn moved(&mut self) {
        self.current.unlist();
        self.closed.iter_mut().for_each(Segment::unlist);
        self.settled = Vec::new();
    }

    /// A barrier closes `stamp`; changes up to `base` are in the base.
    pub(super) fn close(&mut self, stamp: Stamp, base: Stamp) {
        let mut closing = std::mem::replace(&mut self.current, Segment::new());
        closing.up_to = stamp;
        let settled = self.closed.partition_point(|segment| segment.up_to <= base);
        for mut segment in self.closed.drain(..settled) {
            if self.tombstones > 0 {
                self.settled.append(&mut segment.places);
            }
        }
        let is_long = self.closed.len() >= Self::SEGMENTS_MAX;
        match self.closed.last_mut() {
            Some(last) if is_long => {
                last.up_to = stamp;
                last.count += closing.count;
                if last.is_listed && closing.is_listed {
                    last.places.append(&mut closing.places);
                } else {
                    last.unlist();
                }
            }
            _ => self.closed.push(closing),
        }
    }

    /// At least as many entries have a stamp that a barrier has closed and no base has.
    pub(super) fn count(&self) -> usize {
        self.closed.iter().map(|segment| segment.count).sum()
    }

    /// The places of these entries, ascending, once each; `None` if they are not known.
    pub(super) fn list(&self) -> Option<Vec<u32>> {
        if self.closed.iter().any(|segment| !segment.is_listed) {
            return None;
        }
        let mut places: Vec<u32> = self.closed.iter().flat_map(|segment| &segment.places).copied().collect();
        places.sort_unstable();
        places.dedup();
        Some(places)
    }

    /// The places in which there may be a removed key that every base to come lacks.
    pub(super) fn take_settled(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.settled)
    }
}
