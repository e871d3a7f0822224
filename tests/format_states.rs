//! The keyed state in `tests/format/states.redb.gz` is read, by the function that wrote it and by one with other types.
//!
//! The store has, of each kind of state, whole sections and changes since. A new kind becomes another state of
//! [`Written`]. `tests/format.rs` says how the file is made anew.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use millstream::prelude::*;
use millstream::snapshot::SnapshotStore;
use millstream::time::SystemClock;
use millstream::{Clock, Incarnation};
use serde::{Deserialize, Serialize};

use common::{QueueSource, Tagged, TaggedSink};

mod common;

const KEYS: u64 = 200;
/// Few, so that there are many keys in each and some changes are a delta.
const KEY_GROUPS: u32 = 4;
const JOB: &str = "format-states";
const KEPT: &str = "tests/format/states.redb.gz";
/// The wall clock when the store was written, Unix milliseconds.
const WRITTEN_MS: u64 = 1_800_000_000_000;
const BRIEF: Duration = Duration::from_secs(10);
const LASTING: Duration = Duration::from_secs(3600);

/// The machine's clock with a wall clock that stands.
struct StandingWall(SystemClock, u64);

impl Clock for StandingWall {
    fn now(&self) -> Duration {
        self.0.now()
    }

    fn unix_ms(&self) -> u64 {
        self.1
    }

    fn sleep(&self, delay: Duration) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
        self.0.sleep(delay)
    }
}

/// What is known of a key, whichever function keeps it.
#[derive(Clone, Debug, Default, PartialEq)]
struct Known {
    sum: Option<u64>,
    least: Option<u64>,
    names: Option<String>,
    last: Option<i64>,
    brief: Option<u64>,
    lasting: Option<String>,
    list: Vec<u64>,
    map: BTreeMap<String, u64>,
    greatest: Option<u64>,
}

impl Known {
    fn add(&mut self, number: u64) {
        self.sum = Some(self.sum.unwrap_or(0) + number);
        self.least = Some(self.least.unwrap_or(u64::MAX).min(number));
        self.names = Some(self.names.take().unwrap_or_default() + &format!("{number},"));
        self.last = Some(-(number as i64));
        self.brief = Some(number);
        self.lasting = Some(format!("{number} lasts"));
        self.list.push(number);
        self.map.insert(format!("n{number}"), number);
        self.greatest = self.greatest.max(Some(number));
    }
}

type Seen = (u64, Known);

/// Stored with named fields.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Extremes {
    least: Option<u64>,
    names: String,
}

/// Stored without the names of its fields, and as version 5.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Last {
    place: u8,
    number: i64,
}

/// The states as they are written: a number, a struct, a struct in compact form, a number and a text that expire, a list,
/// a map that expires, a reduction.
#[derive(Clone)]
struct Written;

impl KeyedProcessFunction<u64, u64> for Written {
    type Out = Seen;
    type State = (
        ValueState<u64>,
        ValueState<Extremes>,
        ValueState<Last>,
        Expiring<ValueState<u64>>,
        Expiring<ValueState<String>>,
        ListState<u64>,
        Expiring<MapState<String, u64>>,
        ReducingState<u64>,
    );

    fn state(&self) -> Self::State {
        (
            ValueState::new("sum"),
            ValueState::new("extremes"),
            ValueState::new("last").version(5).compact(),
            ValueState::new("brief").with_ttl(StateTtl::processing_time(BRIEF)),
            ValueState::new("lasting").version(2).with_ttl(StateTtl::processing_time(LASTING).refresh_on_read()),
            ListState::new("list"),
            MapState::new("map").with_ttl(StateTtl::processing_time(LASTING)),
            ReducingState::new("greatest", u64::max),
        )
    }

    fn process(
        &mut self,
        number: u64,
        (mut sum, mut extremes, mut last, mut brief, mut lasting, mut list, mut map, mut greatest): Row<
            '_,
            Self,
            u64,
            u64,
        >,
        ctx: &mut KeyedContext<'_, u64>,
        out: &mut Emitter<'_, Seen>,
    ) {
        let mut known = Known {
            sum: sum.get().copied(),
            least: extremes.get().and_then(|extremes| extremes.least),
            names: extremes.get().map(|extremes| extremes.names.clone()),
            last: last.get().map(|last| last.number),
            brief: brief.get().copied(),
            lasting: lasting.get().cloned(),
            list: list.get().to_vec(),
            map: map.iter().map(|(name, number)| (name.clone(), *number)).collect(),
            greatest: greatest.get().copied(),
        };
        out.emit((*ctx.key(), known.clone()));
        known.add(number);
        sum.set(known.sum.unwrap());
        extremes.set(Extremes { least: known.least, names: known.names.unwrap() });
        last.set(Last { place: 7, number: known.last.unwrap() });
        brief.set(known.brief.unwrap());
        lasting.set(known.lasting.unwrap());
        list.push(number);
        map.insert(format!("n{number}"), number);
        greatest.add(number);
    }
}

/// What the sum has become: version 3.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Total {
    all: u64,
    is_even: bool,
}

/// What extremes have become without a new version: a field is gone, one was added.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Least {
    least: Option<u64>,
    #[serde(default)]
    greatest: Option<u64>,
}

/// The states after some years: other types, a time to live where there was none, and none where there was one.
#[derive(Clone)]
struct Migrated;

impl KeyedProcessFunction<u64, u64> for Migrated {
    type Out = Seen;
    type State = (
        ValueState<Total>,
        ValueState<Least>,
        Expiring<ValueState<i64>>,
        ValueState<(u64, u64)>,
        ValueState<String>,
        Expiring<ListState<String>>,
        MapState<String, Total>,
        ReducingState<String>,
    );

    fn state(&self) -> Self::State {
        let sum = ValueState::new("sum").version(3).migrate(1, |sum: u64| sum.to_string());
        (
            sum.migrate(2, |sum: String| Total { all: sum.parse().unwrap(), is_even: sum.ends_with(['0', '2', '4']) }),
            ValueState::new("extremes"),
            ValueState::new("last")
                .version(6)
                .migrate(5, |last: Last| last.number)
                .with_ttl(StateTtl::processing_time(BRIEF)),
            ValueState::new("brief").version(2).migrate(1, |brief: u64| (brief, brief)),
            ValueState::new("lasting").version(3).migrate(2, |lasting: String| lasting),
            ListState::new("list")
                .version(2)
                .migrate(1, |number: u64| number.to_string())
                .with_ttl(StateTtl::processing_time(BRIEF)),
            MapState::new("map")
                .version(2)
                .migrate(1, |all: u64| Total { all, is_even: all.is_multiple_of(2) })
                .compact(),
            ReducingState::new("greatest", |a: String, b| a + b.as_str())
                .version(2)
                .migrate(1, |number: u64| number.to_string()),
        )
    }

    fn process(
        &mut self,
        _: u64,
        (sum, extremes, last, brief, lasting, list, map, greatest): Row<'_, Self, u64, u64>,
        ctx: &mut KeyedContext<'_, u64>,
        out: &mut Emitter<'_, Seen>,
    ) {
        let known = Known {
            sum: sum.get().map(|sum| sum.all),
            least: extremes.get().and_then(|extremes| extremes.least.filter(|_| extremes.greatest.is_none())),
            names: None,
            last: last.get().copied(),
            brief: brief.get().map(|brief| brief.0),
            lasting: lasting.get().cloned(),
            list: list.iter().map(|number| number.parse().unwrap()).collect(),
            map: map.iter().map(|(name, total)| (name.clone(), total.all)).collect(),
            greatest: greatest.get().map(|number| number.parse().unwrap()),
        };
        out.emit((*ctx.key(), known));
    }
}

/// The numbers that were written, in parts; after each there is a checkpoint. Keys are numbers modulo [`KEYS`].
fn written() -> [Vec<u64>; 4] {
    let few = |from: u64| (from..from + 12).collect();
    [(0..KEYS).collect(), few(KEYS), few(2 * KEYS + 5), few(3 * KEYS)]
}

fn expected() -> BTreeMap<u64, Known> {
    let mut expected: BTreeMap<u64, Known> = BTreeMap::new();
    written().iter().flatten().for_each(|number| expected.entry(number % KEYS).or_default().add(*number));
    expected
}

/// Runs a job on the store that is given these numbers, part by part, each followed by a checkpoint; what it emitted.
fn run<F>(store: &Path, wall_ms: u64, function: F, parts: &[Vec<u64>]) -> Vec<Seen>
where
    F: KeyedProcessFunction<u64, u64, Out = Seen>,
{
    actix_rt::System::new().block_on(async {
        let env = StreamEnvironment::new(JOB)
            .max_parallelism(KEY_GROUPS)
            .clock(StandingWall(SystemClock::new(), wall_ms))
            .checkpointing(Checkpointing::every(Duration::from_secs(3600)))
            .snapshot_store(RedbStore::open(store).unwrap());
        let (queue, seen) = (QueueSource::default(), Tagged::<Seen>::default());
        let numbers = env.source("numbers", queue.clone()).parallelism(1);
        numbers.key_by(|number| number % KEYS).process("keep", function).sink("seen", TaggedSink(seen.clone()));
        let job = env.start().unwrap();
        let mut given = 0;
        for part in parts {
            given += part.len();
            queue.push(part.iter().copied());
            while seen.lock().unwrap().iter().map(Vec::len).sum::<usize>() < given {
                if let Err(error) = job.checkpoint().await {
                    panic!("{error}: {:?}", job.await);
                }
            }
            // Its barrier comes after all of the part.
            job.checkpoint().await.unwrap();
        }
        assert_eq!(job.drain().await.unwrap().kind, OutcomeKind::Drained);
        seen.lock().unwrap().iter().flatten().cloned().collect()
    })
}

/// What the kept store has of each key, as `function` reads it so many seconds after it was written.
fn kept<F>(function: F, seconds: u64) -> BTreeMap<u64, Known>
where
    F: KeyedProcessFunction<u64, u64, Out = Seen>,
{
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store.redb");
    io::copy(&mut GzDecoder::new(File::open(KEPT).unwrap()), &mut File::create(&store).unwrap()).unwrap();
    check_chains(&store);
    let seen = run(&store, WRITTEN_MS + 1000 * seconds, function, &[(0..KEYS).collect()]);
    assert_eq!(seen.len(), KEYS as usize);
    seen.into_iter().collect()
}

/// Of each state there are whole sections and at least two deltas of one key group.
fn check_chains(store: &Path) {
    let store = RedbStore::open(store).unwrap();
    let opening = store.open_job(JOB, Incarnation(1)).unwrap();
    let newest = opening.retained.last().unwrap();
    let mut chains: BTreeMap<(String, String), BTreeSet<u64>> = BTreeMap::new();
    for chunk in newest.chunks.iter().filter(|chunk| chunk.address.operator.as_str() == "keep") {
        let address = &chunk.address;
        chains.entry((address.state.to_string(), address.scope.to_string())).or_default().insert(address.checkpoint.0);
    }
    for state in ["sum", "extremes", "last", "brief", "lasting", "list", "map", "greatest"] {
        let lengths = chains.iter().filter(|((of, _), _)| of == state).map(|(_, checkpoints)| checkpoints.len());
        assert!(lengths.max() >= Some(3), "{state}: {chains:?}");
    }
    store.close();
}

#[test]
fn kept_states_are_read_by_the_function_that_wrote_them() {
    assert_eq!(kept(Written, 9), expected(), "all of it is alive");
    let mut brief_gone = expected();
    brief_gone.values_mut().for_each(|known| known.brief = None);
    assert_eq!(kept(Written, 10), brief_gone);
    for known in brief_gone.values_mut() {
        known.lasting = None;
        known.map.clear();
    }
    assert_eq!(kept(Written, 3600), brief_gone);
}

#[test]
fn kept_states_are_read_by_a_function_with_other_types() {
    // All deadlines have passed: of states that expire no more nothing is forgotten, and added deadlines begin now.
    let mut expected = expected();
    expected.values_mut().for_each(|known| known.names = None);
    assert_eq!(kept(Migrated, 10_000), expected);
}

#[test]
#[ignore = "writes the states that are kept anew"]
fn write_the_states() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store.redb");
    run(&store, WRITTEN_MS, Written, &written());
    check_chains(&store);
    let mut packed = GzEncoder::new(File::create(KEPT).unwrap(), Compression::best());
    io::copy(&mut File::open(&store).unwrap(), &mut packed).unwrap();
    packed.finish().unwrap();
}
