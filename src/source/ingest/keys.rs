//! The idempotency keys that are known.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

use crate::packed::packed;
use crate::without_values::without_values;

const VERSION: u8 = 2;
const SUM: usize = 8;

/// Where a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub(crate) split: u32,
    pub(crate) offset: u64,
}

/// Keys by their record's place, each until its time has passed.
#[derive(Debug)]
pub(super) struct KnownKeys {
    places: HashMap<Arc<str>, Place>,
    /// Those that became durable together, oldest first.
    rows: VecDeque<Row>,
    next_number: u64,
    retention_ms: u64,
    keys_max: usize,
    /// Wall time never goes back here.
    newest_ms: u64,
    /// Rows up to this one are forgotten, and may still be in the file.
    forgotten: Option<u64>,
    /// Of a log of requests: the places of the keys.
    answerable: Option<Answerable>,
}

/// Places of which an answer is kept: as long as their key is known.
#[derive(Debug, Default)]
struct Answerable {
    /// With the life of each record: the lineage forgets those of records that were trimmed.
    places: HashMap<Place, u64>,
    /// Their keys are forgotten, and the file may still hold their answers.
    forgotten: Vec<Place>,
}

#[derive(Debug)]
struct Row {
    number: u64,
    unix_ms: u64,
    keys: Vec<Arc<str>>,
}

impl KnownKeys {
    /// `has_answers`: answers are kept for as long as keys are known.
    pub(super) fn new(retention: Duration, keys_max: usize, has_answers: bool) -> Self {
        Self {
            places: HashMap::new(),
            rows: VecDeque::new(),
            next_number: 0,
            retention_ms: u64::try_from(retention.as_millis()).unwrap_or(u64::MAX),
            keys_max,
            newest_ms: 0,
            forgotten: None,
            answerable: has_answers.then(Answerable::default),
        }
    }

    /// Takes in a row as it was stored. Of one that is of later than the wall time `now_ms`, before which the clock was put right,
    /// the time begins now.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn load(&mut self, number: u64, stored: &[u8], now_ms: u64) -> Result<(), String> {
        let (sum, bytes) = stored.split_first_chunk::<SUM>().ok_or("it is too short")?;
        if *sum != xxh3_64(bytes).to_le_bytes() {
            return Err("its checksum does not fit".to_owned());
        }
        type Stored = (u8, u64, u64, Vec<(String, u32, u64)>);
        let (version, unix_ms, life, keys): Stored =
            rmp_serde::from_slice(bytes).map_err(|error| without_values(&error.to_string()))?;
        if version != VERSION {
            return Err(format!("version {version}, known is {VERSION}"));
        }
        let keys = keys.into_iter().map(|(key, split, offset)| (Arc::from(key), Place { split, offset })).collect();
        let unix_ms = unix_ms.min(now_ms);
        self.next_number = number;
        self.newest_ms = self.newest_ms.max(unix_ms);
        self.add(NewKeys { number, unix_ms, life, keys });
        Ok(())
    }

    /// Forgets what is too old at the wall time `unix_ms`.
    pub(super) fn forget(&mut self, unix_ms: u64) {
        self.newest_ms = self.newest_ms.max(unix_ms);
        while self.rows.front().is_some_and(|row| self.newest_ms - row.unix_ms >= self.retention_ms) {
            let Some(row) = self.rows.pop_front() else { break };
            self.forgotten = Some(row.number);
            for key in row.keys {
                let place = self.places.remove(&key);
                if let (Some(answerable), Some(place)) = (&mut self.answerable, place) {
                    answerable.places.remove(&place);
                    answerable.forgotten.push(place);
                }
            }
        }
    }

    /// Up to which row the file need not hold any.
    pub(super) fn forgotten(&self) -> Option<u64> {
        self.forgotten
    }

    /// Places whose answers the file need not hold.
    pub(super) fn forgotten_places(&self) -> &[Place] {
        self.answerable.as_ref().map_or(&[], |answerable| &answerable.forgotten)
    }

    /// The file has forgotten as much.
    pub(super) fn is_forgotten(&mut self) {
        self.forgotten = None;
        if let Some(answerable) = &mut self.answerable {
            answerable.forgotten.clear();
        }
    }

    /// In which life the record at this place was added, if its key is known: then its answer is kept.
    pub(super) fn life(&self, place: Place) -> Option<u64> {
        self.answerable.as_ref()?.places.get(&place).copied()
    }

    pub(super) fn place(&self, key: &str) -> Option<Place> {
        self.places.get(key).copied()
    }

    /// Whether there is room for so many more.
    pub(super) fn has_room(&self, keys: usize) -> bool {
        self.places.len() + keys <= self.keys_max
    }

    /// The number of the next row.
    pub(super) fn next_number(&self) -> u64 {
        self.next_number
    }

    /// What is to be stored with the records of these keys, which are added in this life.
    pub(super) fn row(&self, life: u64, keys: Vec<(Arc<str>, Place)>) -> NewKeys {
        NewKeys { number: self.next_number, unix_ms: self.newest_ms, life, keys }
    }

    /// A row is durable.
    pub(super) fn add(&mut self, NewKeys { number, unix_ms, life, keys }: NewKeys) {
        self.next_number = number + 1;
        let mut row = Row { number, unix_ms, keys: Vec::with_capacity(keys.len()) };
        for (key, place) in keys {
            row.keys.push(key.clone());
            if let Some(answerable) = &mut self.answerable {
                answerable.places.insert(place, life);
            }
            self.places.insert(key, place);
        }
        self.rows.push_back(row);
    }
}

/// Keys that become durable together.
#[derive(Debug)]
pub(super) struct NewKeys {
    pub(super) number: u64,
    unix_ms: u64,
    life: u64,
    keys: Vec<(Arc<str>, Place)>,
}

impl NewKeys {
    /// As they are stored.
    pub(super) fn stored(&self) -> Vec<u8> {
        let keys: Vec<_> = self.keys.iter().map(|(key, place)| (&**key, place.split, place.offset)).collect();
        let bytes = packed(&(VERSION, self.unix_ms, self.life, keys));
        [&xxh3_64(&bytes).to_le_bytes(), &*bytes].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(offset: u64) -> Place {
        Place { split: 3, offset }
    }

    fn add(known: &mut KnownKeys, keys: &[(&str, u64)]) -> (u64, Vec<u8>) {
        let keys = keys.iter().map(|(key, offset)| (Arc::from(*key), place(*offset))).collect();
        let row = known.row(7, keys);
        let stored = (row.number, row.stored());
        known.add(row);
        stored
    }

    #[test]
    fn keys_are_known_for_their_time_also_after_a_restart_and_never_shorter_when_the_clock_goes_back() {
        let mut known = KnownKeys::new(Duration::from_millis(100), 10, false);
        known.forget(1_000);
        let first = add(&mut known, &[("a", 1), ("b", 2)]);
        known.forget(900);
        let second = add(&mut known, &[("c", 3)]);
        let mut again = KnownKeys::new(Duration::from_millis(100), 10, false);
        for (number, stored) in [&first, &second] {
            again.load(*number, stored, 1_050).unwrap();
        }
        for known in [&mut known, &mut again] {
            known.forget(1_099);
            assert_eq!((known.place("a"), known.place("c"), known.forgotten()), (Some(place(1)), Some(place(3)), None));
            known.forget(1_100);
            assert_eq!((known.place("a"), known.place("c"), known.forgotten()), (None, None, Some(1)));
            assert_eq!(known.next_number(), 2);
        }
    }

    #[test]
    fn room_is_bounded_and_damaged_rows_are_refused() {
        let mut known = KnownKeys::new(Duration::from_secs(1), 3, false);
        let (number, stored) = add(&mut known, &[("a", 1), ("b", 2)]);
        assert!(known.has_room(1) && !known.has_room(2));
        for at in 0..stored.len() {
            let mut bytes = stored.clone();
            bytes[at] ^= 1;
            assert!(known.load(number, &bytes, 0).is_err());
            assert!(known.load(number, &stored[..at], 0).is_err());
        }
    }

    /// Cause: keys of a time when the clock was far ahead were known until that time came. Repair: theirs begins with the next start.
    #[test]
    fn keys_of_a_clock_that_was_ahead_are_known_for_their_time_from_the_next_start_on() {
        let mut known = KnownKeys::new(Duration::from_millis(100), 10, false);
        known.forget(1_000_000);
        let (number, stored) = add(&mut known, &[("a", 1)]);
        let mut again = KnownKeys::new(Duration::from_millis(100), 10, false);
        again.load(number, &stored, 1_000).unwrap();
        again.forget(1_099);
        assert_eq!(again.place("a"), Some(place(1)));
        again.forget(1_100);
        assert_eq!(again.place("a"), None);
    }
}
