//! Records pushed into a log: how many a second become durable, and how long their senders wait, beside what the bare sync of
//! the same disk costs.
//!
//! `cargo bench --bench ingest`, or with `-- <folder>` for another disk than that of the target folder

use std::fs::OpenOptions;
use std::io::{Seek, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use millstream::Clock as _;
use millstream::prelude::*;
use millstream::source::{IngestHandle, IngestOptions};
use millstream::time::SystemClock;
use serde::{Deserialize, Serialize};

/// For so long each case runs in a round.
const RUN: Duration = Duration::from_secs(2);
const ROUNDS: usize = 9;
const SENDERS: [usize; 3] = [1, 16, 256];

/// What a service may be told: some 60 bytes as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Event {
    customer: u64,
    amount: f64,
    note: String,
}

impl Event {
    fn new(n: u64) -> Self {
        Self { customer: n % 10_000, amount: n as f64 / 100.0, note: "paid by card".to_owned() }
    }
}

/// What was measured.
struct Measured {
    done: usize,
    took: Duration,
    p50: Duration,
    p99: Duration,
}

impl Measured {
    fn of(mut waits: Vec<Duration>, took: Duration) -> Self {
        waits.sort_unstable();
        let at = |share: f64| waits[((waits.len() - 1) as f64 * share) as usize];
        Self { done: waits.len(), took, p50: at(0.5), p99: at(0.99) }
    }

    fn rate(&self) -> f64 {
        self.done as f64 / self.took.as_secs_f64()
    }
}

/// Median, least and greatest.
fn spread(of: impl Iterator<Item = f64>) -> (f64, f64, f64) {
    let mut values: Vec<f64> = of.collect();
    values.sort_by(f64::total_cmp);
    (values[values.len() / 2], values[0], values[values.len() - 1])
}

/// What all rounds have measured of one case, and of what it is compared with in the same round.
fn print(what: &str, rounds: &[Measured], others: &[&[Measured]]) {
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let (rate, least, most) = spread(rounds.iter().map(Measured::rate));
    let (p50, ..) = spread(rounds.iter().map(|of| ms(of.p50)));
    let (p99, ..) = spread(rounds.iter().map(|of| ms(of.p99)));
    print!("{what:<28}{rate:>10.0} ({least:>7.0} to {most:>7.0}){p50:>9.3}{p99:>9.3}");
    for other in others {
        let ratios = rounds.iter().zip(*other).map(|(one, other)| one.rate() / other.rate());
        let (ratio, least, most) = spread(ratios);
        print!("{ratio:>8.1} ({least:>5.1} to {most:>5.1})");
    }
    println!();
}

/// Writes of 4 KiB over each other, each followed by a sync of its data.
fn bare_sync(folder: &Path) -> Measured {
    let clock = SystemClock::new();
    let path = folder.join("bare");
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).open(&path).expect("a new file");
    file.write_all(&[0; 1 << 20]).and_then(|()| file.sync_all()).expect("written");
    let mut waits = Vec::new();
    let mut write = |n: u64| {
        let before = clock.now();
        file.seek(SeekFrom::Start(n % 256 * 4096)).expect("within the file");
        file.write_all(&n.to_le_bytes().repeat(512)).and_then(|()| file.sync_data()).expect("written");
        waits.push(clock.now() - before);
    };
    let mut n = 0;
    while clock.now() < RUN {
        write(n);
        n += 1;
    }
    let took = clock.now();
    Measured::of(waits, took)
}

/// So many tasks on a runtime of two threads, each of which sends a record when the one before is acknowledged.
fn send(handle: &IngestHandle<Event>, senders: usize) -> Measured {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
    let (next, clock) = (Arc::new(AtomicU64::new(0)), Arc::new(SystemClock::new()));
    let sender = |_| {
        let (handle, next, clock) = (handle.clone(), next.clone(), clock.clone());
        runtime.spawn(async move {
            let mut waits = Vec::new();
            loop {
                let before = clock.now();
                if before > RUN {
                    return waits;
                }
                handle.send(Event::new(next.fetch_add(1, Ordering::Relaxed))).await.expect("taken");
                waits.push(clock.now() - before);
            }
        })
    };
    let tasks: Vec<_> = (0..senders).map(sender).collect();
    let waits = runtime.block_on(async {
        let mut waits = Vec::new();
        for task in tasks {
            waits.extend(task.await.expect("no panic"));
        }
        waits
    });
    Measured::of(waits, clock.now())
}

/// The same to a log that nobody reads, or that a job reads which takes checkpoints.
fn case(folder: &Path, senders: usize, is_read: bool) -> Measured {
    std::fs::create_dir_all(folder).expect("a folder");
    let path = folder.join(format!("log-{senders}-{is_read}"));
    let (source, handle) = IngestSource::<Event>::open(path, IngestOptions::new()).expect("opens");
    if !is_read {
        let measured = send(&handle, senders);
        drop(source);
        return measured;
    }
    let env = StreamEnvironment::new("reads")
        .parallelism(1)
        .snapshot_store(MemoryStore::new())
        .checkpointing(Checkpointing::every(Duration::from_millis(500)));
    let read = Arc::new(AtomicU64::new(0));
    let seen = read.clone();
    env.source("events", source).for_each("read", move |_| {
        seen.fetch_add(1, Ordering::Relaxed);
    });
    let job = env.start().expect("starts");
    let measured = send(&handle, senders);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(job.finish()).expect("the job ends well");
    assert_eq!(read.load(Ordering::Relaxed), measured.done as u64);
    measured
}

fn main() {
    let folder = std::env::args().skip(1).find(|arg| !arg.starts_with("--"));
    let folder = folder.map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    let folder = tempfile::tempdir_in(folder).expect("a folder");
    let mut sync = Vec::new();
    let mut cases = [const { [const { Vec::new() }; SENDERS.len()] }; 2];
    for round in 0..ROUNDS {
        sync.push(bare_sync(folder.path()));
        for (is_read, cases) in [false, true].into_iter().zip(&mut cases) {
            for (senders, measured) in SENDERS.into_iter().zip(cases) {
                measured.push(case(&folder.path().join(round.to_string()), senders, is_read));
            }
        }
    }
    println!("{:<28}{:>31}{:>9}{:>9}{:>25}{:>25}", "", "records/s", "p50 ms", "p99 ms", "x sync", "x one");
    print("bare sync, one by one", &sync, &[]);
    for (reads, cases) in ["", ", read by a job"].into_iter().zip(&cases) {
        // One commit for each record.
        print(&format!("1 sender{reads}"), &cases[0], &[&sync]);
        for (senders, measured) in SENDERS.into_iter().zip(cases).skip(1) {
            print(&format!("{senders} senders{reads}"), measured, &[&sync, &cases[0]]);
        }
    }
}
