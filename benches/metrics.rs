//! What it costs a job that its figures are read ten times a second: the chain, unchained, at full rate, read and not read in turn.
//!
//! `cargo bench --bench metrics`
//!
//! What counting itself costs is told by two builds, run in turn: `cargo bench --bench metrics -- --once` runs the job once, and prints millions
//! of records a second; with `RUSTFLAGS="--cfg millstream_uncounted"` nothing is counted.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]

use std::sync::atomic::Ordering;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use millstream::metrics::prometheus;
use millstream::prelude::*;

mod common;
use common::{SumSink, splitmix64};

const N: u64 = 20_000_000;
const ROUNDS: usize = 11;
/// A thorough scraper: others ask each ten seconds.
const INTERVAL: Duration = Duration::from_millis(100);

fn main() {
    if std::env::args().any(|argument| argument == "--once") {
        println!("{:.2}", run(false));
        return;
    }
    run(false);
    let mut pairs: Vec<(f64, f64)> = (0..ROUNDS).map(|_| (run(false), run(true))).collect();
    println!("unread and read, M records/s: {pairs:.2?}");
    pairs.sort_by(|one, other| (one.1 / one.0).total_cmp(&(other.1 / other.0)));
    let ratios: Vec<f64> = pairs.iter().map(|(unread, read)| read / unread).collect();
    println!("read/unread: median {:.3}, from {:.3} to {:.3}", ratios[ROUNDS / 2], ratios[0], ratios[ROUNDS - 1]);
}

/// Millions of records a second.
fn run(is_read: bool) -> f64 {
    let sink = SumSink::new(|x: &u64| *x);
    let sum = sink.sum();
    let env = StreamEnvironment::new("read").chaining(false).checkpointing(Checkpointing::disabled());
    env.source("numbers", SequenceSource::new(0..N)).map(splitmix64).filter(|x| !x.is_multiple_of(3)).sink("sum", sink);
    let started = Instant::now();
    let job = env.start().expect("starts");
    let (stop, stopped) = channel::<()>();
    let watched = job.clone();
    let reader = is_read.then(|| {
        thread::spawn(move || {
            let mut bytes = 0;
            while stopped.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                bytes += prometheus(&[watched.metrics()]).len();
            }
            bytes
        })
    });
    job.wait().expect("finished");
    let took = started.elapsed();
    drop(stop);
    if let Some(reader) = reader {
        reader.join().expect("no panic");
    }
    assert_ne!(sum.load(Ordering::Relaxed), 0);
    N as f64 / took.as_secs_f64() / 1e6
}
