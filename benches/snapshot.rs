//! What checkpoints cost the data path: a keyed job updates `u64 -> (u64, u64)` at full rate, without checkpoints and
//! with one each second to redb; all keys changing, and one in a hundred, behind a shuffle; and all of them, in the task of
//! the source.
//!
//! `cargo bench --bench snapshot`; `MILLSTREAM_KEYS=100000,1000000` for other sizes, `MILLSTREAM_BACKEND=memory` or `redb`
//! for one, `MILLSTREAM_PAIRS=1` for fewer runs, `MILLSTREAM_SECONDS=10` for longer ones, `MILLSTREAM_STORE=memory` to see
//! what the store costs.

use std::time::Duration;

use millstream::JobEventKind;
use millstream::prelude::*;

mod common;
use common::updates::{Backend, Meter, Plan, updates};

fn main() {
    let setting = |name: &str| std::env::var(name).ok();
    let keys = setting("MILLSTREAM_KEYS").unwrap_or_else(|| "100000,1000000,10000000".to_owned());
    let seconds: u64 = setting("MILLSTREAM_SECONDS").and_then(|n| n.parse().ok()).unwrap_or(6);
    // Runs without and with checkpoints, one after the other, so that both meet the same noise.
    let pairs: usize = setting("MILLSTREAM_PAIRS").and_then(|n| n.parse().ok()).unwrap_or(3).max(1);
    println!(
        "backend  keys        changing  behind     checkpoints  M records/s  ratio  longest gap  gaps >1/4/8 ms  per checkpoint: took, written, state"
    );
    for backend in Backend::chosen() {
        for keys in keys.split(',').filter_map(|keys| keys.trim().parse().ok()) {
            for (one_in, is_chained) in [(1, false), (100, false), (1, true)] {
                measure(backend, Plan { one_in, is_chained, ..Plan::of(keys, 0) }, seconds, pairs);
            }
        }
    }
}

fn measure(backend: Backend, plan: Plan, seconds: u64, pairs: usize) {
    // A first run tells how many records make up the time.
    let probed = match backend {
        Backend::Memory => 20_000_000,
        Backend::Redb => 500_000,
    };
    let probe = run(backend, Plan { updates: probed, ..plan }, false);
    let plan = Plan { updates: (probe.meter.rate() * seconds as f64) as u64, ..plan };
    let behind = if plan.is_chained { "its source" } else { "a shuffle" };
    let head = format!("{backend:<8} {:<11} 1 in {:<4} {behind:<10}", plan.keys, plan.one_in);
    let mut ratios = Vec::new();
    for _ in 0..pairs {
        let off = run(backend, plan, false);
        let on = run(backend, plan, true);
        report(&head, &off, None);
        report(&head, &on, Some(off.meter.rate()));
        ratios.push(on.meter.rate() / off.meter.rate());
    }
    ratios.sort_by(f64::total_cmp);
    println!("{head} median of {pairs} ratios: {:.3}", ratios[pairs / 2]);
}

struct Run {
    meter: std::sync::Arc<Meter>,
    /// Time, bytes written and bytes of state of each checkpoint of the second half.
    checkpoints: Vec<(Duration, u64, u64)>,
}

fn run(backend: Backend, plan: Plan, checkpoints: bool) -> Run {
    let scratch = tempfile::tempdir().expect("a temporary folder");
    let (meter, history) = actix_rt::System::new().block_on(async {
        let mut env = StreamEnvironment::new("updates").parallelism(if plan.is_chained { 1 } else { 2 });
        env = env.state_backend(backend.in_dir(scratch.path()));
        env = if checkpoints {
            let env = env.checkpointing(Checkpointing::every(Duration::from_secs(1)));
            if std::env::var("MILLSTREAM_STORE").is_ok_and(|store| store == "memory") {
                env.snapshot_store(MemoryStore::new())
            } else {
                env.snapshot_store(RedbStore::open(scratch.path().join("updates.redb")).expect("a fresh store"))
            }
        } else {
            env.checkpointing(Checkpointing::disabled())
        };
        let meter = updates(&env, plan);
        let job = env.start().expect("a valid job");
        job.clone().await.expect("a job that ends");
        (meter, job.history())
    });
    let completed = history.iter().filter_map(|event| match &event.kind {
        JobEventKind::CheckpointCompleted { took, written_bytes, state_bytes, .. } => {
            Some((*took, *written_bytes, *state_bytes))
        }
        _ => None,
    });
    let completed: Vec<_> = completed.collect();
    let filling = completed.len() - completed.len() / 2;
    Run { meter, checkpoints: completed[filling..].to_vec() }
}

fn report(head: &str, run: &Run, off: Option<f64>) {
    let rate = run.meter.rate();
    let ratio = off.map_or("     ".to_owned(), |off| format!("{:.3}", rate / off));
    let [one, four, eight] = run.meter.gaps_of_ms();
    let checkpoints = if off.is_some() { "each second" } else { "off" };
    print!(
        "{head} {checkpoints:<12} {:>10.2}  {ratio}  {:>8.2} ms  {:>14}",
        rate / 1e6,
        run.meter.longest_gap().as_secs_f64() * 1e3,
        format!("{one}/{four}/{eight}"),
    );
    let count = run.checkpoints.len() as u64;
    if count > 0 {
        let took: Duration = run.checkpoints.iter().map(|(took, ..)| *took).sum();
        let written: u64 = run.checkpoints.iter().map(|(_, written, _)| *written).sum();
        let state = run.checkpoints.last().map_or(0, |(.., state)| *state);
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        print!(
            "  {count}: {:.0} ms, {:.2} MiB, {:.0} MiB",
            took.as_secs_f64() * 1e3 / count as f64,
            mib(written / count),
            mib(state)
        );
    }
    println!();
}
