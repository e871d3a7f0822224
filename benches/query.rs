//! Live queries of a keyed job that runs at full rate: how long an answer takes, and what 10,000 a second cost the job.
//!
//! `cargo bench --bench query`
//!
//! Rounds without queries, with one client that asks again as soon as it is answered, and with 10,000 queries a second take turns.
//! The clients are a thread of their own, so they take processor time from the job, too.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use millstream::Clock as _;
use millstream::prelude::*;
use millstream::query::StateQuery;
use millstream::time::SystemClock;

mod common;
use common::{SumSink, splitmix64};

const N: u64 = 16_000_000;
const KEYS: u64 = 100_000;
const ROUNDS: usize = 5;
const A_MS: Duration = Duration::from_millis(1);
/// Of the paced client, in each millisecond.
const QUERIES_EACH_MS: u64 = 10;

/// What asks while a round runs.
#[derive(Clone, Copy, Debug)]
enum Client {
    Nobody,
    OneByOne,
    Paced,
}

/// What a round has shown.
struct Round {
    records_per_second: f64,
    queries_per_second: f64,
    /// Of each answer, ascending.
    latencies: Vec<Duration>,
}

fn main() {
    let clients = [Client::Nobody, Client::OneByOne, Client::Paced];
    let mut rounds = clients.map(|_| Vec::new());
    run(Client::Nobody);
    for _ in 0..ROUNDS {
        for (client, rounds) in clients.into_iter().zip(&mut rounds) {
            rounds.push(run(client));
        }
    }
    for (client, rounds) in clients.into_iter().zip(rounds) {
        let rates = rounds.iter().map(|round| round.records_per_second / 1e6);
        let queries = rounds.iter().map(|round| round.queries_per_second);
        let mut latencies: Vec<Duration> = rounds.iter().flat_map(|round| round.latencies.clone()).collect();
        latencies.sort_unstable();
        println!("{client:?}: {:.2} M records/s (median of {ROUNDS} rounds)", median(rates));
        if let Some(last) = latencies.len().checked_sub(1) {
            let at = |share: f64| latencies[(last as f64 * share) as usize];
            println!(
                "  {:.0} queries/s; p50 {:?}, p99 {:?}, p99.9 {:?}, most {:?}",
                median(queries),
                at(0.5),
                at(0.99),
                at(0.999),
                latencies[last]
            );
        }
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn run(client: Client) -> Round {
    let sink = SumSink::new(|(count, _): &(u64, u64)| *count);
    let env = StreamEnvironment::new("query").parallelism(2).checkpointing(Checkpointing::disabled());
    env.source("numbers", SequenceSource::new(0..N))
        .key_by(|i| splitmix64(*i) % KEYS)
        .fold_map("sums", 0u64, |sum, _| *sum += 1, |key, sum| (*sum, *key))
        .sink("sum", sink);
    let started = Instant::now();
    let job = env.start().expect("a valid job");
    let query = job.query::<u64, u64>("sums", "accumulator");
    let is_over = AtomicBool::new(false);
    let (latencies, took) = thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            runtime.block_on(async {
                match client {
                    Client::Nobody => Vec::new(),
                    Client::OneByOne => one_by_one(&query, &is_over).await,
                    Client::Paced => paced(&query, &is_over).await,
                }
            })
        });
        job.wait().expect("a job that ends");
        let took = started.elapsed();
        is_over.store(true, Ordering::Relaxed);
        (asking.join().expect("no panic"), took)
    });
    Round {
        records_per_second: N as f64 / took.as_secs_f64(),
        queries_per_second: latencies.len() as f64 / took.as_secs_f64(),
        latencies,
    }
}

/// Asks for one key; `None` where the job does not run yet, or any more.
async fn ask(query: &StateQuery<u64, u64>, key: u64) -> Option<Duration> {
    let asked = Instant::now();
    query.get(&(splitmix64(key) % KEYS)).await.ok().map(|_| asked.elapsed())
}

async fn one_by_one(query: &StateQuery<u64, u64>, is_over: &AtomicBool) -> Vec<Duration> {
    let (mut latencies, clock) = (Vec::new(), SystemClock::new());
    for key in 0.. {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        match ask(query, key).await {
            Some(latency) => latencies.push(latency),
            None => clock.sleep(A_MS).await,
        }
    }
    latencies
}

async fn paced(query: &StateQuery<u64, u64>, is_over: &AtomicBool) -> Vec<Duration> {
    let (mut latencies, clock, begun) = (Vec::new(), SystemClock::new(), Instant::now());
    for tick in 1.. {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        let asked = (0..QUERIES_EACH_MS).map(|n| ask(query, tick * QUERIES_EACH_MS + n));
        latencies.extend(join_all(asked).await.into_iter().flatten());
        clock.sleep((begun + Duration::from_millis(tick)).saturating_duration_since(Instant::now())).await;
    }
    latencies
}
