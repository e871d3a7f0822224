//! Keys whose type has changed.

use std::ops::Range;

use millstream::JobError;
use millstream::prelude::*;
use millstream::stream::DataStream;

use crate::common::{QueueSource, Tagged, TaggedSink, run, watched};
use crate::lives::{CLEARS, KEYS, Place, Sums, Version, rounds, with_each_backend};

const SUMS: Sums = Sums(|| ValueState::new("sum"));

const NUMBERS: Version = |numbers| numbers.key_by(|n| n % KEYS).process("sums", SUMS);

const TEXTS: Version = |numbers| {
    let keyed = numbers.key_by(|n| format!("key {}", n % KEYS));
    keyed.key_version(2).migrate_keys(1, |key: u64| format!("key {key}")).process("sums", SUMS)
};

const PAIRS: Version = |numbers| {
    let keyed = numbers.key_by(|n| (format!("key {}", n % KEYS), n % KEYS % 7));
    let keyed = keyed.key_version(3).migrate_keys(1, |key: u64| format!("key {key}"));
    let pair = |key: String| {
        let number: u64 = key["key ".len()..].parse().unwrap();
        (key, number % 7)
    };
    keyed.migrate_keys(2, pair).process("sums", SUMS)
};

/// As [`rounds`], and keys that are removed and come again, within and between checkpoints.
fn with_removals() -> Vec<Range<u64>> {
    vec![0..400, CLEARS..CLEARS + 20, 400..410, CLEARS + 30..CLEARS + 40, 0..5]
}

#[test]
fn keys_of_another_type_have_the_states_that_they_had_whichever_subtask_has_them_now() {
    with_each_backend(|mut place| {
        place.live(2, NUMBERS, with_removals());
        place.live(3, TEXTS, with_removals());
        place.live(1, TEXTS, rounds());
        let keyed: Version = |numbers| {
            let keyed = numbers.key_by(|n| format!("key {}", n % KEYS));
            keyed.key_version(2).process("sums", SUMS)
        };
        place.live(4, keyed, rounds());
    });
}

#[test]
fn keys_go_through_every_version_between_that_of_the_savepoint_and_todays() {
    with_each_backend(|mut place| {
        let start = place.on("store.redb", 2);
        place.live_in(start, NUMBERS, with_removals(), Some("savepoint"));
        let start = place.on("other.redb", 3).from("savepoint");
        place.live_in(start, PAIRS, rounds(), None);
    });
}

/// The error with which a job of this version ends, started from what is there.
pub(crate) fn ends_with(place: &Place, version: Version) -> String {
    let start = place.on("store.redb", 2);
    let error = run("a life that ends", move |handles| async move {
        let env = start.environment();
        version(env.source("numbers", QueueSource::default()).parallelism(1))
            .sink("given", TaggedSink(Tagged::default()));
        let job = env.start().unwrap();
        watched(&handles, &job);
        job.await.unwrap_err()
    });
    assert!(matches!(error, JobError::Failed { .. }), "finally: {error}");
    error.to_string()
}

fn by<K>(numbers: DataStream<u64>, key: fn(u64) -> K, version: u32) -> DataStream<(u64, u64)>
where
    K: std::hash::Hash + Eq + Clone + serde::Serialize + serde::de::DeserializeOwned + Send + 'static,
{
    numbers.key_by(move |n| key(n % KEYS)).key_version(version).process("sums", SUMS)
}

#[test]
fn keys_of_another_type_without_a_version_or_a_step_end_the_job_with_the_remedy() {
    with_each_backend(|mut place| {
        place.live(2, NUMBERS, rounds());
        let same_version: Version = |numbers| by(numbers, |n| n.to_string(), 1);
        let error = ends_with(&place, same_version);
        assert!(error.contains("key_version(..)") && error.contains("migrate_keys(..)"), "{error}");
        let without_step: Version = |numbers| by(numbers, |n| n.to_string(), 2);
        let error = ends_with(&place, without_step);
        assert!(error.contains("from it to 2") && error.contains("migrate_keys(1, ..)"), "{error}");
        place.live(2, TEXTS, rounds());
    });
}

#[test]
fn two_keys_that_become_one_end_the_job_whether_of_one_key_group_or_of_several() {
    with_each_backend(|mut place| {
        place.live(2, NUMBERS, rounds());
        let merging: Version = |numbers| {
            let keyed = numbers.key_by(|n| (n % KEYS / 2).to_string()).key_version(2);
            keyed.migrate_keys(1, |key: u64| (key / 2).to_string()).process("sums", SUMS)
        };
        let error = ends_with(&place, merging);
        assert!(error.contains("two rows of one key") && error.contains("migrate_keys"), "{error}");
        let one: Version = |numbers| {
            let keyed = numbers.key_by(|_| String::new()).key_version(2);
            keyed.migrate_keys(1, |_: u64| String::new()).process("sums", SUMS)
        };
        assert!(ends_with(&place, one).contains("two rows of one key"));
        place.live(3, TEXTS, rounds());
    });
}
