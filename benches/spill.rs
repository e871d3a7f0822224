//! State larger than memory: a running count and sum per key, `u64 -> (u64, u64)`, with a cache that holds a part of the
//! keys; and a large map per key, as joins keep their records in, with a cache that holds a part of the entries. By one
//! operator, without a job around it.
//!
//! `cargo bench --bench spill`; `MILLSTREAM_ONLY=maps` or `values` for one of them; `MILLSTREAM_MAPS`, `MILLSTREAM_ENTRIES` and
//! `MILLSTREAM_JOINS` for other numbers of maps, of entries of each, and of records that meet some of them; `MILLSTREAM_KEYS=50000000 MILLSTREAM_CACHE_MIB=256` for the large one, which takes
//! minutes and some GiB of disk; `MILLSTREAM_DIR` for a directory on another disk than the temporary one.

use std::fs;
use std::path::Path;
use std::time::Duration;

use millstream::keyed::{KeyedOperator, fold_pairs};
use millstream::operator::{BatchOperator, ByValue, Output, Progress, RunBudget, SectionWriter, SideOutputs};
use millstream::prelude::{Emitter, KeyedContext, KeyedProcessFunction, MapState, Row};
use millstream::state::ValueState;
use millstream::state::internal::{RedbBackend, SpillPlace};
use millstream_actors::contract::{Batch, monotonic};
use millstream_actors::protocol::{CheckpointId, KeyGroupRange};

mod common;
use common::splitmix64;

const GROUPS: u32 = 128;
const BATCH: u64 = 1024;

fn main() {
    let only = std::env::var("MILLSTREAM_ONLY").unwrap_or_default();
    if only != "maps" {
        values();
    }
    if only != "values" {
        maps();
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

fn scratch() -> tempfile::TempDir {
    let scratch = match std::env::var("MILLSTREAM_DIR") {
        Ok(dir) => tempfile::tempdir_in(dir),
        Err(_) => tempfile::tempdir(),
    };
    scratch.expect("a temporary folder")
}

fn place(scratch: &Path) -> SpillPlace {
    SpillPlace { dir: scratch.to_owned(), job: "bench".into(), operator: "sums".into(), subtask: 0 }
}

const RANGE: KeyGroupRange = KeyGroupRange { start: 0, end: GROUPS };

fn values() {
    let (keys, cache_mib) = (setting("MILLSTREAM_KEYS", 2_000_000), setting("MILLSTREAM_CACHE_MIB", 16));
    let updates = setting("MILLSTREAM_UPDATES", keys / 2);
    let scratch = scratch();
    println!("{keys} keys, a cache of {cache_mib} MiB");
    let fold = fold_pairs((0u64, 0u64), |sum: &mut (u64, u64), n: u64| *sum = (sum.0 + 1, sum.1.wrapping_add(n)));
    let (place, cache) = (place(scratch.path()), (cache_mib as usize) << 20);
    let backend = RedbBackend::new(ValueState::new("value"), RANGE, GROUPS, place, cache);
    let selector = ByValue::new(|key: &u64| *key);
    let mut operator = KeyedOperator::with_backend("sums".into(), backend, selector, fold, SideOutputs::default());
    let scratch = scratch.path();
    phase(&mut operator, scratch, "fill, each key once", keys, &|i| i);
    snapshot(&mut operator, "first checkpoint, whole", 1, 0);
    phase(&mut operator, scratch, "updates, 90 % of them to 1 % of the keys", updates, &|i| {
        let random = splitmix64(i);
        if random % 10 < 9 { splitmix64(random) % (keys / 100) } else { splitmix64(random) % keys }
    });
    snapshot(&mut operator, "second checkpoint, of changes", 2, 1);
    phase(&mut operator, scratch, "updates, uniform", updates, &|i| splitmix64(i) % keys);
    snapshot(&mut operator, "third checkpoint, of changes", 3, 2);
    assert_eq!(operator.keys() as u64, keys);
}

/// A record's key, and its number of those of its key: from the same number on, those before it are met.
fn split(record: u64, maps: u64) -> (u64, u64) {
    (record % maps, record / maps)
}

/// Buffers of records by time, as joins have them: a record meets ten that are near it in time, one at the front goes, and it
/// is kept itself.
#[derive(Clone)]
struct Buffers {
    maps: u64,
    entries: u64,
}

impl KeyedProcessFunction<u64, u64> for Buffers {
    type Out = u64;
    type State = MapState<(i64, u64), (u64, u64)>;

    fn state(&self) -> Self::State {
        MapState::new("buffer")
    }

    fn process(
        &mut self,
        record: u64,
        mut buffer: Row<'_, Self, u64, u64>,
        _: &mut KeyedContext<'_, u64>,
        out: &mut Emitter<'_, u64>,
    ) {
        let (_, number) = split(record, self.maps);
        let time = number as i64;
        if number >= self.entries {
            let at = (splitmix64(record) % self.entries) as i64;
            out.emit(buffer.range((at, 0)..(at + 10, 0)).map(|(_, (sum, _))| *sum).sum());
            buffer.pop_first();
        }
        buffer.insert((time, 0), (record, number));
    }
}

fn maps() {
    let (maps, entries) = (setting("MILLSTREAM_MAPS", 40), setting("MILLSTREAM_ENTRIES", 100_000));
    let (joins, cache_mib) = (setting("MILLSTREAM_JOINS", 2_000), setting("MILLSTREAM_CACHE_MIB", 16));
    let scratch = scratch();
    println!("{maps} maps with {entries} entries each, a cache of {cache_mib} MiB");
    let function = Buffers { maps, entries };
    let (place, cache) = (place(scratch.path()), (cache_mib as usize) << 20);
    let backend = RedbBackend::new(function.state(), RANGE, GROUPS, place, cache);
    let selector = ByValue::new(move |record: &u64| split(*record, maps).0);
    let sides = SideOutputs::default();
    let mut operator = KeyedOperator::with_backend("sums".into(), backend, selector, function, sides);
    let scratch = scratch.path();
    phase(&mut operator, scratch, "fill, one map after the other", maps * entries, &|i| {
        i % entries * maps + i / entries
    });
    snapshot(&mut operator, "first checkpoint, whole", 1, 0);
    // Of each map the same number, in an order that changes the map with each record.
    phase(&mut operator, scratch, "records that meet ten, of all keys in turn", joins, &|i| entries * maps + i);
    snapshot(&mut operator, "second checkpoint, of changes", 2, 1);
    assert_eq!(operator.keys() as u64, maps);
}

/// Gives the operator `n` records, and says how that went.
fn phase(operator: &mut impl BatchOperator<In = u64>, scratch: &Path, what: &str, n: u64, key: &dyn Fn(u64) -> u64) {
    let started = monotonic();
    let longest = feed(operator, n, key);
    let took = (monotonic() - started).as_secs_f64();
    println!(
        "{what:<44} {:>9.4} M records/s, longest batch {:>7.1} ms, {:>5} MiB resident, file {:>6} MiB",
        n as f64 / took / 1e6,
        longest.as_secs_f64() * 1e3,
        resident_mib(),
        file_mib(scratch),
    );
}

/// Gives the operator `n` records; the time of the longest batch.
fn feed(operator: &mut impl BatchOperator<In = u64>, n: u64, key: &dyn Fn(u64) -> u64) -> Duration {
    let (mut out, mut longest) = (Output::new(), Duration::ZERO);
    let mut input = Batch::new();
    for first in (0..n).step_by(BATCH as usize) {
        // Bijective, so that each key comes once where `key` is the identity.
        input.extend((first..n.min(first + BATCH)).map(key));
        let started = monotonic();
        loop {
            let progress = operator.process(&mut input, &mut out, &mut RunBudget::start());
            let progress = progress.expect("the disk works");
            out.drain(|_| ());
            if progress == Progress::Done {
                break;
            }
        }
        longest = longest.max(monotonic() - started);
    }
    longest
}

fn snapshot(operator: &mut impl BatchOperator, what: &str, checkpoint: u64, base: u64) {
    let mut writer = SectionWriter::new(CheckpointId(checkpoint), CheckpointId(base), 0);
    writer.set_operator(&"sums".into());
    let state = operator.stateful().expect("a keyed operator has state");
    let started = monotonic();
    let mut progress = state.snapshot(&mut writer).expect("it can be written");
    let (mut bytes, mut longest) = (0, Duration::ZERO);
    while progress == Progress::Suspended {
        let slice = monotonic();
        progress = state.continue_snapshot(&mut writer, &mut RunBudget::start()).expect("it can be written");
        longest = longest.max(monotonic() - slice);
        let chunks = writer.take_chunks();
        bytes += chunks.iter().map(|chunk| chunk.bytes.len()).sum::<usize>();
        writer.recycle(chunks.into_iter().map(|mut chunk| {
            chunk.bytes.clear();
            chunk.bytes
        }));
    }
    bytes += writer.finish().0.iter().map(|chunk| chunk.bytes.len()).sum::<usize>();
    println!(
        "{what:<44} {:>9.1} MiB in {:.2} s, longest slice {:.2} ms",
        bytes as f64 / f64::from(1 << 20),
        (monotonic() - started).as_secs_f64(),
        longest.as_secs_f64() * 1e3,
    );
}

/// Memory of the process, where the system tells; else 0.
fn resident_mib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) >> 10
}

fn file_mib(dir: &Path) -> u64 {
    let files = fs::read_dir(dir).into_iter().flatten().flatten();
    files.filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum::<u64>() >> 20
}
