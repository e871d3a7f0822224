//! The parts of a checkpoint in which all keys have changed, each by itself and by the time that its thread has used:
//! records before the sweep has come to their keys, the sweep with encoding and checksums, and the store.
//!
//! `cargo bench --bench capture`; `MILLSTREAM_KEYS=1000000` for another size. One operator with `u64 -> (u64, u64)`, and
//! then one with a million structured values of several shapes, which are read back by sample as they are written: what that
//! adds is told as a share of the sweep, beside what the plain serializer takes for the same values.

use std::cell::Cell;
use std::time::Duration;

use millstream::keyed::{KeyedOperator, fold_pairs};
use millstream::operator::{BatchOperator, ByValue, Output, Progress, RunBudget, SectionWriter, SideOutputs, Stateful};
use millstream::prelude::*;
use millstream_actors::contract::{Batch, Chunk, Manifest, SnapshotStore};
use millstream_actors::protocol::{CheckpointId, Incarnation, KeyGroupRange};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

mod common;
use common::{splitmix64, thread_cpu_time};

const GROUPS: KeyGroupRange = KeyGroupRange { start: 0, end: 64 };
const BATCH: usize = 1024;
/// Each figure is the least of so many.
const RUNS: u64 = 6;
/// Bytes that the store is given at once, as by a job.
const PUT_BYTES: usize = 16 << 20;

fn main() {
    let keys = std::env::var("MILLSTREAM_KEYS").ok().and_then(|n| n.parse().ok()).unwrap_or(5_000_000usize);
    let stream: Vec<u64> = (0..keys as u64).map(|n| splitmix64(n) % keys as u64).collect();
    let fold = fold_pairs((0u64, 0u64), |sum: &mut (u64, u64), n: u64| *sum = (sum.0 + 1, sum.1.wrapping_add(n)));
    let selector = ByValue::new(|key: &u64| *key);
    let sides = SideOutputs::default();
    let mut operator = KeyedOperator::new("sums".into(), GROUPS, GROUPS.end, selector, fold, sides);
    feed(&mut operator, &(0..keys as u64).collect::<Vec<_>>());

    let scratch = tempfile::tempdir().expect("a temporary folder");
    let store = RedbStore::open(scratch.path().join("capture.redb")).expect("a fresh store");
    store.open_job("capture", Incarnation(1)).expect("a fresh store");
    store.reserve_ids(CheckpointId(RUNS)).expect("the disk works");
    let mut least = [Duration::MAX; 5];
    let (mut longest, mut written) = (Duration::ZERO, 0);
    let mut spare = Vec::new();
    for checkpoint in 1..=RUNS {
        let records = keys / 2;
        let steady = feed(&mut operator, &stream[..records]);
        let mut writer = SectionWriter::new(CheckpointId(checkpoint), CheckpointId::NONE, 0);
        writer.set_operator(&"sums".into());
        writer.recycle(std::mem::take(&mut spare));
        let (progress, barrier) =
            cpu_time(|| state_of(&mut operator).snapshot(&mut writer).expect("it can be written"));
        // In every other run records come before the sweep. What they write is then missing in the time of the sweep.
        let is_ahead = checkpoint % 2 == 0;
        let ahead = if is_ahead { feed(&mut operator, &stream[..records]) } else { Duration::MAX };
        let (swept, sweep, longest_slice) = sweep(&mut operator, &mut writer, progress);
        longest = longest.max(barrier).max(longest_slice);
        let (mut chunks, contribution) = writer.finish();
        chunks.splice(0..0, swept);
        let ((), put) = cpu_time(|| put(&store, &chunks));
        let mut references = contribution.chunks;
        references.sort_by(|a, b| a.address.cmp(&b.address));
        written = references.iter().map(|chunk| chunk.len as usize).sum();
        let manifest = manifest(checkpoint, references);
        let (finalised, finalise) = cpu_time(|| store.finalise(&manifest, 1));
        finalised.expect("the disk works");
        spare.extend(chunks.into_iter().map(|chunk| chunk.bytes));
        let sweep = if is_ahead { Duration::MAX } else { sweep };
        for (least, now) in least.iter_mut().zip([steady, ahead, sweep, put, finalise]) {
            *least = now.min(*least);
        }
    }
    let [steady, ahead, sweep, put, finalise] = least;
    let firsts = {
        let mut seen = stream[..keys / 2].to_vec();
        seen.sort_unstable();
        seen.dedup();
        seen.len()
    };
    let per = |time: Duration, n: usize| time.as_nanos() as f64 / n as f64;
    println!("{keys} keys, {:.1} MiB a checkpoint; CPU time, the least of {RUNS} runs", mib(written));
    println!("a record                                      {:>7.1} ns", per(steady, keys / 2));
    let more = ahead.saturating_sub(steady);
    println!("more for the first of its key since a barrier {:>7.1} ns", per(more, firsts));
    println!("sweep, with encoding and checksums            {:>7.1} ns a key", per(sweep, keys));
    println!("longest that records wait: barrier or slice    {:>7.2} ms", longest.as_secs_f64() * 1e3);
    println!("store, chunks                                 {:>7.1} ms for 100 MiB", per_100_mib(put, written));
    println!("store, the rest                               {:>7.1} ms for 100 MiB", per_100_mib(finalise, written));
    drop(operator);
    structured(keys.min(1_000_000));
}

#[derive(Clone, Serialize, Deserialize)]
struct Account {
    owner: String,
    balance: i64,
    kind: Kind,
    last: Option<Transfer>,
    limits: Vec<u32>,
}

#[derive(Clone, Serialize, Deserialize)]
enum Kind {
    Private,
    Business { name: String, employees: u32 },
}

#[derive(Clone, Serialize, Deserialize)]
struct Transfer {
    at: i64,
    amount: f64,
    to: Option<u64>,
}

impl Account {
    fn of(n: u64) -> Self {
        let business = |name| Kind::Business { name, employees: (n % 1_000) as u32 };
        Self {
            owner: format!("owner {n}"),
            balance: n as i64 - 500_000,
            kind: if n.is_multiple_of(3) { business(format!("business {n}")) } else { Kind::Private },
            last: (!n.is_multiple_of(5)).then(|| Transfer {
                at: n as i64 * 1_000,
                amount: n as f64 / 7.0,
                to: Some(n),
            }),
            limits: (0..n % 4).map(|limit| limit as u32 * 100).collect(),
        }
    }
}

/// An account that tells how long it is read back. That begins with the only call of its deserializer here, and after it the value
/// that was written and the one that was read are serialized once each, to be compared.
#[derive(Clone)]
struct Watched(Account);

thread_local! {
    /// Since when a value is read back, and how many of the two have been serialized.
    static READING_BACK: Cell<Option<(Duration, u32)>> = const { Cell::new(None) };
    /// The time of all that were read back, and their number.
    static READ_BACK: Cell<(Duration, u64)> = const { Cell::new((Duration::ZERO, 0)) };
}

impl Serialize for Watched {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let written = self.0.serialize(serializer);
        match READING_BACK.take() {
            None => {}
            Some((since, 0)) => READING_BACK.set(Some((since, 1))),
            Some((since, _)) => {
                let (time, values) = READ_BACK.get();
                READ_BACK.set((time + (thread_cpu_time() - since), values + 1));
            }
        }
        written
    }
}

impl<'de> Deserialize<'de> for Watched {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        READING_BACK.set(Some((thread_cpu_time(), 0)));
        Account::deserialize(deserializer).map(Self)
    }
}

/// The time in which all of so many structured values are captured, what of it they are read back, and what the plain serializer takes.
fn structured(keys: usize) {
    let fold = fold_pairs(Watched(Account::of(0)), |account: &mut Watched, n: u64| account.0 = Account::of(n));
    let selector = ByValue::new(|key: &u64| *key);
    let mut operator =
        KeyedOperator::new("accounts".into(), GROUPS, GROUPS.end, selector, fold, SideOutputs::default());
    feed(&mut operator, &(0..keys as u64).collect::<Vec<_>>());
    let (mut least, mut bytes, mut spare) = ((Duration::MAX, (Duration::ZERO, 0)), 0, Vec::new());
    for checkpoint in 1..=2 * RUNS {
        let mut writer = SectionWriter::new(CheckpointId(checkpoint), CheckpointId::NONE, 0);
        writer.set_operator(&"accounts".into());
        writer.recycle(std::mem::take(&mut spare));
        let progress = state_of(&mut operator).snapshot(&mut writer).expect("it can be written");
        READ_BACK.set((Duration::ZERO, 0));
        let (mut chunks, took, _) = sweep(&mut operator, &mut writer, progress);
        chunks.append(&mut writer.finish().0);
        bytes = chunks.iter().map(|chunk| chunk.bytes.len()).sum();
        spare.extend(chunks.into_iter().map(|chunk| chunk.bytes));
        least = least.min((took, READ_BACK.get()));
    }
    let (sweep, (back, values)) = least;
    let (per_key, size) = (|time: Duration| time.as_nanos() as f64 / keys as f64, mib(bytes));
    let share = back.as_secs_f64() / sweep.as_secs_f64() * 100.0;
    println!(
        "{keys} structured values, {size:.1} MiB: sweep {:>7.1} ns a key, the least of {} runs",
        per_key(sweep),
        2 * RUNS
    );
    println!("of that reading back {values} of them {:>7.1} ns a key, {share:.2} %", per_key(back));
    let mut buffer = Vec::new();
    let plain = (0..RUNS).map(|_| plainly(keys, &mut buffer)).min().unwrap_or_default();
    println!("the plain serializer, same values    {:>7.1} ns a key", per_key(plain));
}

/// The time in which rmp-serde alone writes so many structured values.
fn plainly(keys: usize, buffer: &mut Vec<u8>) -> Duration {
    let accounts: Vec<_> = (0..keys as u64).map(Account::of).collect();
    buffer.clear();
    let ((), took) = cpu_time(|| {
        for account in &accounts {
            account.serialize(&mut rmp_serde::Serializer::new(&mut *buffer).with_struct_map()).expect("to memory");
        }
    });
    took
}

fn feed(operator: &mut impl BatchOperator<In = u64>, records: &[u64]) -> Duration {
    let (mut out, mut input) = (Output::new(), Batch::new());
    let mut all = Duration::ZERO;
    for batch in records.chunks(BATCH) {
        input.extend(batch.iter().copied());
        let ((), took) = cpu_time(|| {
            while operator.process(&mut input, &mut out, &mut RunBudget::start()).expect("it does not fail")
                == Progress::Suspended
            {
                discard(&mut out);
            }
        });
        all += took;
        discard(&mut out);
    }
    all
}

fn discard<T>(out: &mut Output<T>) {
    out.drain(|_| ());
}

/// The chunks, the time of all slices, and that of the longest.
fn sweep(
    operator: &mut impl BatchOperator,
    writer: &mut SectionWriter,
    mut progress: Progress,
) -> (Vec<Chunk>, Duration, Duration) {
    let state = state_of(operator);
    let (mut chunks, mut all, mut longest) = (Vec::new(), Duration::ZERO, Duration::ZERO);
    while progress == Progress::Suspended {
        let slice = || state.continue_snapshot(writer, &mut RunBudget::start()).expect("it can be written");
        let (now, took) = cpu_time(slice);
        (progress, all, longest) = (now, all + took, longest.max(took));
        chunks.append(&mut writer.take_chunks());
    }
    (chunks, all, longest)
}

fn put(store: &RedbStore, chunks: &[Chunk]) {
    let mut rest = chunks;
    while let [first, ..] = rest {
        let now = rest.len().min((PUT_BYTES / first.bytes.len().max(1)).max(1));
        store.put_chunks(&rest[..now]).expect("the disk works");
        rest = &rest[now..];
    }
}

fn manifest(checkpoint: u64, chunks: Vec<millstream_actors::contract::ChunkRef>) -> Manifest {
    Manifest {
        checkpoint: CheckpointId(checkpoint),
        job: "capture".to_owned(),
        incarnation: Incarnation(1),
        triggered_unix_ms: 0,
        max_parallelism: GROUPS.end,
        is_final: false,
        durations: Default::default(),
        chunks,
    }
}

/// What `work` gives, and the CPU time of this thread that it took.
fn cpu_time<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let started = thread_cpu_time();
    let result = work();
    (result, thread_cpu_time() - started)
}

fn mib(bytes: usize) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn per_100_mib(time: Duration, bytes: usize) -> f64 {
    time.as_secs_f64() * 1e3 / mib(bytes) * 100.0
}

fn state_of(operator: &mut impl BatchOperator) -> &mut dyn Stateful {
    operator.stateful().expect("a keyed operator has state")
}
