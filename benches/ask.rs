//! Requests that a job answers: how long each waits for its answer, at 10 and at 1,000 requests a second, and how many share a
//! checkpoint; beside what the bare sync of the same disk costs.
//!
//! `cargo bench --bench ask`, or with `-- <folder>` for another disk than that of the target folder

use std::fs::OpenOptions;
use std::io::{Seek, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use millstream::Clock as _;
use millstream::prelude::*;
use millstream::request::{Ask, RequestOptions};
use millstream::time::SystemClock;
use serde::{Deserialize, Serialize};

/// For so long each case asks.
const RUN: Duration = Duration::from_secs(15);

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Deposit {
    account: u64,
    amount: u64,
}

/// How long each of several waited.
struct Waits(Vec<Duration>);

impl Waits {
    fn of(mut waits: Vec<Duration>) -> Self {
        waits.sort_unstable();
        Self(waits)
    }

    fn print(&self, what: &str, shared: &str) {
        let at = |share: f64| self.0[((self.0.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
        println!("{what:<40}{:>10}{:>10.2}{:>10.2}{:>10.2}{shared:>10}", self.0.len(), at(0.5), at(0.99), at(1.0));
    }
}

/// Writes of 4 KiB over each other, each followed by a sync of its data.
fn bare_sync(folder: &Path) -> Waits {
    let clock = SystemClock::new();
    let path = folder.join("bare");
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).open(&path).expect("a new file");
    file.write_all(&[0; 1 << 20]).and_then(|()| file.sync_all()).expect("written");
    let sync = |n: u64| {
        let before = clock.now();
        file.seek(SeekFrom::Start(n % 256 * 4096)).expect("within the file");
        file.write_all(&n.to_le_bytes().repeat(512)).and_then(|()| file.sync_data()).expect("written");
        clock.now() - before
    };
    Waits::of((0..2_000).map(sync).collect())
}

/// The balance of each account, after each deposit.
fn start(folder: &Path, name: &str, parallelism: u32) -> (JobHandle, Requests<Deposit, u64>) {
    let (log, store) = (folder.join(format!("{name}.log")), folder.join(format!("{name}.redb")));
    let (source, requests) = RequestSource::<Deposit, u64>::open(log, RequestOptions::new()).expect("opens");
    let env = StreamEnvironment::new(name)
        .parallelism(parallelism)
        .snapshot_store(RedbStore::open(store).expect("opens"))
        .checkpointing(Checkpointing::every(Duration::from_secs(5)));
    env.source("deposits", source)
        .key_by(|request: &Request<Deposit>| request.body().account)
        .fold_map(
            "balance",
            (0, None),
            |(balance, newest), request: Request<Deposit>| {
                *balance += request.body().amount;
                *newest = Some(request);
            },
            |_, (balance, newest)| newest.as_ref().map(|request: &Request<Deposit>| request.answer(*balance)),
        )
        .filter_map(|answer| answer)
        .sink("answers", requests.answers());
    (env.start().expect("starts"), requests)
}

/// Asks at this rate, whether or not the requests before are answered.
fn case(folder: &Path, rate: u64, with_keys: bool, parallelism: u32) -> (Waits, u64) {
    let (job, requests) = start(folder, &format!("bank-{rate}-{with_keys}-{parallelism}"), parallelism);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
    let clock = Arc::new(SystemClock::new());
    let waits = runtime.block_on(async {
        requests.ask(Deposit { account: 0, amount: 0 }).await.expect("the job runs");
        let begin = clock.now();
        let mut asks = Vec::new();
        for n in 0..rate * RUN.as_secs() {
            let due = begin + Duration::from_secs(n) / u32::try_from(rate).expect("a small number");
            clock.sleep(due.saturating_sub(clock.now())).await;
            let ask = Ask::new(Deposit { account: n % 1_000, amount: n }).key(&(n % 1_000));
            let ask = if with_keys { ask.idempotency_key(n.to_string()) } else { ask };
            let (answer, clock, before) = (requests.ask(ask), clock.clone(), clock.now());
            asks.push(tokio::spawn(async move {
                answer.await.expect("an answer");
                clock.now() - before
            }));
        }
        let mut waits = Vec::new();
        for ask in asks {
            waits.push(ask.await.expect("no panic"));
        }
        waits
    });
    let checkpoints = job.status().checkpoints;
    runtime.block_on(job.drain()).expect("the job ends well");
    (Waits::of(waits), checkpoints)
}

fn main() {
    let folder = std::env::args().skip(1).find(|arg| !arg.starts_with("--"));
    let folder = folder.map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    let folder = tempfile::tempdir_in(folder).expect("a folder");
    println!("{:<40}{:>10}{:>10}{:>10}{:>10}{:>10}", "", "number", "p50 ms", "p99 ms", "most ms", "each");
    bare_sync(folder.path()).print("bare sync, one by one", "");
    for (rate, with_keys, parallelism) in
        [(10, true, 1), (1_000, true, 1), (10, false, 1), (1_000, false, 1), (10, true, 2), (1_000, true, 2)]
    {
        let (waits, checkpoints) = case(folder.path(), rate, with_keys, parallelism);
        let keys = if with_keys { "with keys" } else { "without" };
        let shared = format!("{:.1}", waits.0.len() as f64 / checkpoints as f64);
        waits.print(&format!("{rate} requests/s, {keys}, parallelism {parallelism}"), &shared);
    }
}
