//! What has changed in a key group and is not in the newest base, as far as it is not in the cache.

use crate::state::Stamp;

/// Changes under one stamp, or under several that are told apart no more.
#[derive(Debug, Default)]
struct Segment {
    /// The last stamp that it covers.
    up_to: Stamp,
    /// Changes, wherever their rows are.
    count: usize,
    /// Hashes of changed rows that have left the cache; not all if they are not listed.
    hashes: Vec<u64>,
    is_unlisted: bool,
}

/// The changes of one key group since the newest base.
#[derive(Debug, Default)]
pub(super) struct Dirt {
    current: Segment,
    /// Closed by barriers, ascending.
    closed: Vec<Segment>,
}

impl Dirt {
    /// More changed rows than this share of the group's keys are not listed: then it is as quick to read all of them.
    const LISTED_SHARE: usize = 16;
    /// As many are always listed.
    const LISTED_MIN: usize = 64;
    /// Segments kept apart; more barriers than that without a new base are told apart no more.
    const SEGMENTS_MAX: usize = 4;

    /// A row was changed for the first time under the current stamp.
    #[inline]
    pub(super) fn record(&mut self) {
        self.current.count += 1;
    }

    /// A row that the base does not have as it is leaves the cache of a group with `keys`.
    pub(super) fn left(&mut self, hash: u64, keys: usize) {
        let segment = &mut self.current;
        if segment.is_unlisted {
            return;
        }
        if segment.hashes.len() < Self::LISTED_MIN.max(keys / Self::LISTED_SHARE) {
            segment.hashes.push(hash);
        } else {
            segment.is_unlisted = true;
            segment.hashes = Vec::new();
        }
    }

    /// A barrier closes `stamp`; changes up to `base` are in the base.
    ///
    /// A row is listed under the stamp under which it left, which is not below its own: what is forgotten here is in the
    /// base.
    pub(super) fn close(&mut self, stamp: Stamp, base: Stamp) {
        let mut closing = std::mem::take(&mut self.current);
        closing.up_to = stamp;
        let settled = self.closed.partition_point(|segment| segment.up_to <= base);
        self.closed.drain(..settled);
        let is_long = self.closed.len() >= Self::SEGMENTS_MAX;
        match self.closed.last_mut() {
            Some(last) if is_long => {
                last.up_to = stamp;
                last.count += closing.count;
                last.is_unlisted |= closing.is_unlisted;
                last.hashes.append(&mut closing.hashes);
                if last.is_unlisted {
                    last.hashes = Vec::new();
                }
            }
            _ => self.closed.push(closing),
        }
    }

    /// At least as many rows have a stamp that a barrier has closed and no base has.
    pub(super) fn count(&self) -> usize {
        self.closed.iter().map(|segment| segment.count).sum()
    }

    /// The hashes of those that have left the cache, ascending, once each; `None` if they are not known.
    pub(super) fn list(&self) -> Option<Vec<u64>> {
        if self.closed.iter().any(|segment| segment.is_unlisted) {
            return None;
        }
        let mut hashes: Vec<u64> = self.closed.iter().flat_map(|segment| &segment.hashes).copied().collect();
        hashes.sort_unstable();
        hashes.dedup();
        Some(hashes)
    }
}
