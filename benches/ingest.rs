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

/// For so long each case runs.
const RUN: Duration = Duration::from_secs(5);

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

    /// Prints it, with how many times the rate of each of `others` it is.
    fn print(&self, what: &str, others: &[&Self]) {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let beside: String = others.iter().map(|other| format!("{:>8.1}", self.rate() / other.rate())).collect();
        println!("{what:<28}{:>12.0}{:>12.3}{:>12.3}{beside}", self.rate(), ms(self.p50), ms(self.p99));
    }
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
    println!("{:<28}{:>12}{:>12}{:>12}{:>8}{:>8}", "", "records/s", "p50 ms", "p99 ms", "x sync", "x one");
    let sync = bare_sync(folder.path());
    sync.print("bare sync, one by one", &[]);
    for is_read in [false, true] {
        // One commit for each record.
        let one = case(folder.path(), 1, is_read);
        let read = if is_read { ", read by a job" } else { "" };
        one.print(&format!("1 sender{read}"), &[&sync]);
        for senders in [16, 256] {
            case(folder.path(), senders, is_read).print(&format!("{senders} senders{read}"), &[&sync, &one]);
        }
    }
}
