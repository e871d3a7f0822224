//! Maps whose keys, within the state of a key, are of another type.

use millstream::prelude::*;
use millstream::stream::DataStream;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::keys::ends_with;
use crate::lives::{CLEARS, KEYS, Version, rounds, with_each_backend};
use crate::refused::mistakes;

/// Sums of many keys in the map of each of a few.
#[derive(Clone)]
struct InMaps<I> {
    state: fn() -> MapState<I, u64>,
    name: fn(u64) -> I,
}

impl<I> KeyedProcessFunction<u64, u64> for InMaps<I>
where
    I: Clone + Ord + Serialize + DeserializeOwned + Send + 'static,
{
    type Out = (u64, u64);
    type State = MapState<I, u64>;

    fn state(&self) -> MapState<I, u64> {
        (self.state)()
    }

    fn process(
        &mut self,
        n: u64,
        mut sums: Row<'_, Self, u64, u64>,
        _: &mut KeyedContext<'_, u64>,
        out: &mut Emitter<'_, (u64, u64)>,
    ) {
        let name = (self.name)(n % KEYS);
        if n >= CLEARS {
            sums.remove(&name);
            return out.emit((n % KEYS, 0));
        }
        let sum = sums.get(&name).copied().unwrap_or(0) + n;
        sums.insert(name, sum);
        out.emit((n % KEYS, sum));
    }
}

fn in_maps<I>(numbers: DataStream<u64>, state: fn() -> MapState<I, u64>, name: fn(u64) -> I) -> DataStream<(u64, u64)>
where
    I: Clone + Ord + Serialize + DeserializeOwned + Send + 'static,
{
    numbers.key_by(|n| n % 4).process("sums", InMaps { state, name })
}

fn by_number() -> MapState<u64, u64> {
    MapState::new("sums")
}

fn text(key: u64) -> String {
    format!("key {key}")
}

fn by_text() -> MapState<String, u64> {
    MapState::new("sums").version(2).migrate(1, |sum: u64| sum).migrate_keys(1, text)
}

/// The values have changed in between, and the keys not.
fn by_pair() -> MapState<(String, bool), u64> {
    let state = MapState::new("sums").version(4).migrate_keys(1, text).migrate(1, |sum: u64| sum as u32);
    let state = state.migrate(2, |sum: u32| u64::from(sum)).migrate_keys(3, |key: String| (key, true));
    state.migrate(3, |sum: u64| sum)
}

const NUMBERS: Version = |numbers| in_maps(numbers, by_number, |key| key);
const TEXTS: Version = |numbers| in_maps(numbers, by_text, text);
const PAIRS: Version = |numbers| in_maps(numbers, by_pair, |key| (text(key), true));

/// As [`rounds`], and keys that are removed and come again.
fn with_removals() -> Vec<std::ops::Range<u64>> {
    vec![0..400, CLEARS..CLEARS + 20, 400..410, CLEARS + 30..CLEARS + 40, 0..5]
}

#[test]
fn keys_of_maps_are_migrated_in_whole_maps_and_in_changes_of_them() {
    with_each_backend(|mut place| {
        place.live(2, NUMBERS, with_removals());
        place.live(3, TEXTS, with_removals());
        place.live(1, TEXTS, rounds());
        let today: Version = |numbers| in_maps(numbers, || MapState::new("sums").version(2), text);
        place.live(2, today, rounds());
    });
}

#[test]
fn keys_of_maps_go_through_each_step_from_their_version() {
    with_each_backend(|mut place| {
        place.live_in(place.on("store.redb", 2), NUMBERS, with_removals(), Some("savepoint"));
        place.live_in(place.on("other.redb", 3).from("savepoint"), PAIRS, rounds(), None);
    });
}

#[test]
fn keys_of_maps_that_cannot_be_brought_over_end_the_job_with_the_remedy() {
    with_each_backend(|mut place| {
        place.live(2, NUMBERS, rounds());
        let error = ends_with(&place, |numbers| in_maps(numbers, || MapState::new("sums"), text));
        assert!(error.contains("version(..)") && error.contains("migrate_keys(..)"), "{error}");
        assert!(!error.contains("key_version"), "that is of other keys: {error}");
        let values_alone: Version = |numbers| {
            let state = || MapState::new("sums").version(2).migrate(1, |sum: u64| sum);
            in_maps(numbers, state, text)
        };
        let error = ends_with(&place, values_alone);
        assert!(error.contains("migrate_keys(..)"), "{error}");
        let keys_alone: Version = |numbers| {
            let state = || MapState::new("sums").version(2).migrate_keys(1, text);
            in_maps(numbers, state, text)
        };
        let error = ends_with(&place, keys_alone);
        assert!(error.contains("migrate(1, ..)"), "{error}");
        let merged: Version = |numbers| {
            let state = || {
                let state = MapState::new("sums").version(2).migrate(1, |sum: u64| sum);
                state.migrate_keys(1, |_: u64| String::new())
            };
            in_maps(numbers, state, text)
        };
        let error = ends_with(&place, merged);
        assert!(error.contains("migrate_keys(..) gives one key for two"), "{error}");
        place.live(2, TEXTS, rounds());
    });
}

#[test]
fn steps_of_keys_of_maps_that_do_not_fit_together_are_mistakes_of_the_graph() {
    let cases: [(Version, &str); 3] = [
        (|n| in_maps(n, || MapState::new("a").migrate_keys(1, text), text), "today's is 1"),
        (
            |n| {
                let state = || MapState::new("a").version(2).migrate(1, |sum: u64| sum).migrate_keys(1, |key: u32| key);
                in_maps(n, state, text)
            },
            "gives u32",
        ),
        (
            |n| {
                let state = || by_text().migrate_keys(1, text);
                in_maps(n, state, text)
            },
            "two migrations from version 1",
        ),
    ];
    for (version, reason) in cases {
        let errors: Vec<String> = mistakes(version).iter().map(ToString::to_string).collect();
        assert!(errors.len() == 1 && errors[0].contains(reason), "{errors:?}");
        assert!(errors[0].contains("keys of maps") && errors[0].contains("map_keys.rs:"), "{errors:?}");
    }
}
