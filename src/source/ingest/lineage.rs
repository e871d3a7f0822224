//! Which records a log had when: a *life* is an opening of the log in which records were added. Kafka's leader epochs.
//!
//! A log whose newest part is lost takes new records at the offsets of lost ones. A position names the life of the record
//! before it, so a job that has read a lost record is told so, whatever is at that offset now.

use xxhash_rust::xxh3::xxh3_64;

use super::log_file::SplitRow;
use crate::packed::packed;

const VERSION: u8 = 1;
const SUM: usize = 8;

/// The life of the record before the first.
const NONE: u64 = 0;

/// The lives of the records that are kept, and of those right before them, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Lineage(Vec<Life>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Life {
    /// No other life has it.
    id: u64,
    /// By split, the offset of its first record, or where that would have been.
    begins: Vec<u64>,
}

impl Lineage {
    /// What was stored.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn load(stored: &[u8], splits: usize) -> Result<Self, String> {
        let (sum, bytes) = stored.split_first_chunk::<SUM>().ok_or("it is too short")?;
        if *sum != xxh3_64(bytes).to_le_bytes() {
            return Err("its checksum does not fit".to_owned());
        }
        let (version, lives): (u8, Vec<(u64, Vec<u64>)>) =
            rmp_serde::from_slice(bytes).map_err(|error| error.to_string())?;
        if version != VERSION {
            return Err(format!("version {version}, known is {VERSION}"));
        }
        if lives.iter().any(|(_, begins)| begins.len() != splits) {
            return Err(format!("it is not of {splits} splits"));
        }
        Ok(Self(lives.into_iter().map(|(id, begins)| Life { id, begins }).collect()))
    }

    /// As it is stored.
    pub(super) fn stored(&self) -> Vec<u8> {
        let lives: Vec<_> = self.0.iter().map(|life| (life.id, &life.begins)).collect();
        let bytes = packed(&(VERSION, lives));
        [&xxh3_64(&bytes).to_le_bytes(), &*bytes].concat()
    }

    /// Begins a life where the splits end, and forgets those that no position can name that is not before the first record.
    pub(super) fn begin(mut self, id: u64, rows: &[SplitRow]) -> Self {
        self.0.push(Life { id, begins: rows.iter().map(|row| row.end).collect() });
        let ends: Vec<_> = self.0.iter().skip(1).map(|life| life.begins.clone()).collect();
        let mut ends = ends.into_iter();
        self.0.retain(|life| {
            let Some(ends) = ends.next() else { return true };
            let mut splits = rows.iter().zip(life.begins.iter().zip(ends));
            splits.any(|(row, (begin, end))| *begin < end && end >= row.start.max(1))
        });
        self
    }

    /// The present life.
    pub(super) fn present(&self) -> u64 {
        self.0.last().map_or(NONE, |life| life.id)
    }

    /// Of which life the record before this offset is, as far as that is in the log or right before it.
    pub(super) fn life_before(&self, split: u32, offset: u64) -> u64 {
        self.before(split, offset).map_or(NONE, |life| life.id)
    }

    fn before(&self, split: u32, offset: u64) -> Option<&Life> {
        self.0.iter().rfind(|life| life.begins[split as usize] < offset)
    }

    /// Up to where the log holds what was read up to `offset` in this life, if not all of it.
    pub(super) fn lost_from(&self, split: u32, life: u64, offset: u64) -> Option<u64> {
        let there = self.before(split, offset);
        if there.map_or(NONE, |there| there.id) == life {
            return None;
        }
        // What was read in a life that is known is there up to the next one.
        let known = self.0.iter().position(|known| known.id == life);
        let next = known.and_then(|place| self.0.get(place + 1)).or(there);
        Some(next.map_or(0, |next| next.begins[split as usize].min(offset)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(start: u64, end: u64) -> SplitRow {
        SplitRow { start, end, bytes: 0 }
    }

    #[test]
    fn position_is_of_the_life_of_the_record_before_it_and_lost_where_that_is_another() {
        let lineage = Lineage::default().begin(7, &[row(0, 0)]).begin(8, &[row(0, 10)]).begin(9, &[row(0, 15)]);
        let lives: Vec<_> = [0, 1, 10, 11, 15, 16, 99].map(|offset| lineage.life_before(0, offset)).into();
        assert_eq!(lives, [NONE, 7, 7, 8, 8, 9, 9]);
        for (life, offset, lost_from) in [
            (NONE, 0, None),
            (7, 10, None),
            (8, 11, None),
            (8, 15, None),
            (9, 20, None),
            (8, 18, Some(15)),
            (7, 12, Some(10)),
            (5, 20, Some(15)),
            (5, 8, Some(0)),
        ] {
            assert_eq!(lineage.lost_from(0, life, offset), lost_from, "{life}, {offset}");
        }
    }

    #[test]
    fn lives_are_kept_while_a_record_of_them_or_right_behind_them_is() {
        let lives = |lineage: &Lineage| lineage.0.iter().map(|life| life.id).collect::<Vec<_>>();
        let first = Lineage::default().begin(1, &[row(0, 0), row(0, 0)]).begin(2, &[row(0, 5), row(0, 0)]);
        assert_eq!(lives(&first), [1, 2]);
        assert_eq!(lives(&first.clone().begin(3, &[row(0, 5), row(0, 0)])), [1, 3], "2 has no record");
        let third = first.begin(3, &[row(0, 6), row(0, 4)]);
        assert_eq!(lives(&third.clone().begin(4, &[row(5, 9), row(0, 4)])), [1, 2, 3, 4]);
        assert_eq!(lives(&third.clone().begin(4, &[row(6, 9), row(0, 4)])), [2, 3, 4]);
        assert_eq!(lives(&third.clone().begin(4, &[row(7, 9), row(4, 4)])), [2, 3, 4]);
        assert_eq!(
            lives(&third.begin(4, &[row(9, 9), row(4, 4)])),
            [2, 3, 4],
            "2 has the record before the second's end"
        );
    }

    #[test]
    fn stored_lineage_comes_back_and_damage_is_noticed() {
        let lineage = Lineage::default().begin(7, &[row(0, 0), row(0, 3)]).begin(8, &[row(0, 10), row(0, 3)]);
        let stored = lineage.stored();
        assert_eq!(Lineage::load(&stored, 2), Ok(lineage));
        assert!(Lineage::load(&stored, 3).is_err());
        for at in 0..stored.len() {
            let mut bytes = stored.clone();
            bytes[at] ^= 1;
            assert!(Lineage::load(&bytes, 2).is_err() && Lineage::load(&stored[..at], 2).is_err());
        }
    }
}
