//! G1, G10: dates of chrono and options within options, in keys and in values, come back from a checkpoint as they were.
//!
//! A nil behind one `Some` and one behind none were stored alike once: `Some(None)` came back as `None`, and the rows of
//! keys that differ in that alone became one.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, FixedOffset, NaiveDate, NaiveTime, TimeDelta, Utc, Weekday};
use millstream::prelude::*;
use serde::{Deserialize, Serialize};

use common::{QueueSource, run, watched};

mod common;

/// Keys that a record may have: `n % KEYS`.
const KEYS: u64 = 300;

/// This record makes the job panic, where it is read first in an attempt.
const TRAP: u64 = u64::MAX;

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
struct Key {
    at: DateTime<Utc>,
    /// Keys of each three numbers in a row differ in this alone.
    till: Option<Option<NaiveTime>>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Seen {
    count: u64,
    last: Option<Option<DateTime<FixedOffset>>>,
    days: BTreeMap<Option<Option<NaiveDate>>, Weekday>,
    gaps: Vec<Option<Option<TimeDelta>>>,
}

/// Nothing, nothing in something, or this.
fn nested<T>(n: u64, value: impl FnOnce() -> T) -> Option<Option<T>> {
    match n % 3 {
        0 => None,
        1 => Some(None),
        _ => Some(Some(value())),
    }
}

fn key_of(n: u64) -> Key {
    let (key, midnight) = (n % KEYS, NaiveTime::MIN);
    // Before 1970 too, and with more digits than milliseconds have.
    let at =
        DateTime::<Utc>::UNIX_EPOCH + TimeDelta::nanoseconds((key / 3) as i64 * 1_234_567_890_123 - 60_000_000_000_001);
    Key { at, till: nested(key, || midnight + TimeDelta::nanoseconds(key as i64 * 7_000_000_001)) }
}

impl Seen {
    /// What there is of a key after record `n` too.
    fn see(&mut self, n: u64) {
        self.count += n;
        let day = NaiveDate::from_ymd_opt(-3, 2, 27).unwrap() + TimeDelta::days(n as i64 * 97);
        let east = FixedOffset::east_opt((n % 27) as i32 * 1_800 - 36_000).unwrap();
        self.last = nested(n / 7, || DateTime::<Utc>::from_timestamp(n as i64, 1).unwrap().with_timezone(&east));
        self.days.insert(nested(n / 5, || day), Weekday::try_from((n % 7) as u8).unwrap());
        self.gaps.push(nested(n / 2, || TimeDelta::nanoseconds(-(n as i64))));
    }
}

/// Keeps what it has seen of each key, and shows it with each record.
#[derive(Clone)]
struct Shows;

impl KeyedProcessFunction<Key, u64> for Shows {
    type Out = String;
    type State = ValueState<Seen>;

    fn state(&self) -> ValueState<Seen> {
        ValueState::new("seen")
    }

    fn process(
        &mut self,
        n: u64,
        mut seen: Row<'_, Self, Key, u64>,
        ctx: &mut KeyedContext<'_, Key>,
        out: &mut Emitter<'_, String>,
    ) {
        let shown = {
            let seen = seen.get_or_insert_with(Seen::default);
            seen.see(n);
            format!("{:?} {seen:?}", ctx.key())
        };
        out.emit(shown);
    }
}

/// One life: goes on from what the store has, reads each range, takes a checkpoint, panics, goes on from that, and is cancelled.
/// Gives what was shown.
fn life(dir: &Path, is_spilled: bool, parallelism: u32, rounds: Vec<Range<u64>>) -> Vec<String> {
    let dir = dir.to_owned();
    run("a life", move |handles| async move {
        let backend = if is_spilled { StateBackend::redb(&dir).cache_bytes(1) } else { StateBackend::memory() };
        let env = StreamEnvironment::new("dates")
            .parallelism(parallelism)
            .snapshot_store(RedbStore::open(dir.join("store.redb")).unwrap())
            .state_backend(backend)
            .restart_strategy(RestartStrategy::fixed_delay(10, Duration::ZERO))
            .checkpointing(Checkpointing::disabled());
        let (numbers, shown) = (QueueSource::default(), Arc::<Mutex<Vec<String>>>::default());
        let shows = shown.clone();
        let read = env.source("numbers", numbers.clone()).parallelism(1);
        read.inspect(|n| assert_ne!(*n, TRAP, "injected"))
            .parallelism(1)
            .key_by(|n| key_of(*n))
            .process("shows", Shows)
            .for_each("shown", move |text| shows.lock().unwrap().push(text));
        let job = env.start().unwrap();
        watched(&handles, &job);
        let mut expected = 0;
        for (round, records) in rounds.into_iter().enumerate() {
            if round > 0 {
                numbers.push([TRAP]);
                while job.status().restarts < round as u64 {
                    // Answered after the restart, or refused by a job that is just failing.
                    let _ = job.checkpoint().await;
                }
            }
            expected += records.clone().count();
            numbers.push(records);
            // The source does not read again: all must be in a checkpoint that was begun behind it.
            loop {
                let are_all_shown = shown.lock().unwrap().len() == expected;
                job.checkpoint().await.unwrap();
                if are_all_shown {
                    break;
                }
            }
        }
        job.cancel().await.unwrap();
        std::mem::take(&mut *shown.lock().unwrap())
    })
}

#[test]
fn dates_and_nested_options_in_keys_and_values_survive_restarts_and_new_lives_at_another_parallelism() {
    assert_eq!((0..KEYS).map(key_of).collect::<BTreeSet<_>>().len() as u64, KEYS, "keys are different");
    for is_spilled in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let mut all: BTreeMap<Key, Seen> = BTreeMap::new();
        for (parallelism, rounds) in [(2, vec![0..400, 400..410, 410..700]), (3, vec![700..720, 720..1_100])] {
            let mut expected = Vec::new();
            for n in rounds.iter().cloned().flatten() {
                let seen = all.entry(key_of(n)).or_default();
                seen.see(n);
                expected.push(format!("{:?} {seen:?}", key_of(n)));
            }
            let mut shown = life(dir.path(), is_spilled, parallelism, rounds);
            shown.sort_unstable();
            expected.sort_unstable();
            let wrong = shown.iter().zip(&expected).find(|(shown, expected)| shown != expected);
            assert_eq!((shown.len(), wrong), (expected.len(), None), "spilled: {is_spilled}");
        }
    }
}
