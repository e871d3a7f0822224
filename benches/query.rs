//! Live queries of a keyed job that runs at full rate: how long an answer takes, and what 10,000 a second cost the job.
//!
//! `cargo bench --bench query`
//!
//! Rounds without queries, with one client that asks again as soon as it is answered, and with 10,000 queries a second take turns.
//! The clients are a thread of their own, so they take processor time from the job, too. `MILLSTREAM_PARALLELISM` (2) is the job's: as
//! many threads are busy.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use futures_util::future::{pending, select};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use millstream::Clock as _;
use millstream::prelude::*;
use millstream::query::StateQuery;
use millstream::time::SystemClock;

mod common;
use common::{SumSink, splitmix64};

const N: u64 = 32_000_000;
const KEYS: u64 = 100_000;
const ROUNDS: usize = 21;
const A_MS: Duration = Duration::from_millis(1);
/// Of the paced client.
const QUERY_EACH: Duration = Duration::from_micros(100);

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
    let undisturbed: Vec<f64> = rounds[0].iter().map(|round| round.records_per_second).collect();
    for (client, rounds) in clients.into_iter().zip(rounds) {
        let rates = rounds.iter().map(|round| round.records_per_second / 1e6);
        let ratios = sorted(rounds.iter().zip(&undisturbed).map(|(round, nobody)| round.records_per_second / nobody));
        let queries = rounds.iter().map(|round| round.queries_per_second);
        let mut latencies: Vec<Duration> = rounds.iter().flat_map(|round| round.latencies.clone()).collect();
        latencies.sort_unstable();
        println!("{client:?}: {:.2} M records/s (median of {ROUNDS} rounds)", median(rates));
        println!(
            "  of the rate with nobody, in the same round: median {:.3}, quartiles {:.3} and {:.3}",
            ratios[ROUNDS / 2],
            ratios[ROUNDS / 4],
            ratios[ROUNDS - 1 - ROUNDS / 4]
        );
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
    let values = sorted(values);
    values[values.len() / 2]
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

fn run(client: Client) -> Round {
    let sink = SumSink::new(|(count, _): &(u64, u64)| *count);
    let parallelism = std::env::var("MILLSTREAM_PARALLELISM").ok().and_then(|n| n.parse().ok()).unwrap_or(2);
    let env = StreamEnvironment::new("query").parallelism(parallelism).checkpointing(Checkpointing::disabled());
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

/// Asks for one key, which was to be asked `due`; `None` where the job does not run yet, or any more.
async fn ask(query: &StateQuery<u64, u64>, key: u64, due: Instant) -> Option<Duration> {
    query.get(&(splitmix64(key) % KEYS)).await.ok().map(|_| due.elapsed())
}

async fn one_by_one(query: &StateQuery<u64, u64>, is_over: &AtomicBool) -> Vec<Duration> {
    let (mut latencies, clock) = (Vec::new(), SystemClock::new());
    for key in 0.. {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        match ask(query, key, Instant::now()).await {
            Some(latency) => latencies.push(latency),
            None => clock.sleep(A_MS).await,
        }
    }
    latencies
}

/// Asks at its pace, whether or not those before are answered. A query waits from when it was due.
async fn paced(query: &StateQuery<u64, u64>, is_over: &AtomicBool) -> Vec<Duration> {
    let (mut latencies, clock, begun) = (Vec::new(), SystemClock::new(), Instant::now());
    let (mut waiting, mut asked) = (FuturesUnordered::new(), 0);
    while !is_over.load(Ordering::Relaxed) {
        while begun + QUERY_EACH * asked <= Instant::now() {
            waiting.push(ask(query, u64::from(asked), begun + QUERY_EACH * asked));
            asked += 1;
        }
        let collect = async {
            while let Some(answer) = waiting.next().await {
                latencies.extend(answer);
            }
            pending::<()>().await;
        };
        select(pin!(collect), clock.sleep(A_MS)).await;
    }
    latencies
}
