//! What checkpoints cost the data path: a keyed job updates `u64 -> (u64, u64)` at full rate, without checkpoints and
//! with one each second to redb; all keys changing, and one in a hundred.
//!
//! `cargo bench --bench snapshot`; `MILLSTREAM_KEYS=100000,1000000` for other sizes, `MILLSTREAM_SECONDS=10` for
//! longer runs, `MILLSTREAM_STORE=memory` to see what the store costs.

use std::time::Duration;

use millstream::JobEventKind;
use millstream::prelude::*;

mod common;
use common::updates::{Meter, Plan, updates};

/// Runs without and with checkpoints, one after the other, so that both meet the same noise.
const PAIRS: usize = 3;

fn main() {
    let setting = |name: &str| std::env::var(name).ok();
    let keys = setting("MILLSTREAM_KEYS").unwrap_or_else(|| "100000,1000000,10000000".to_owned());
    let seconds: u64 = setting("MILLSTREAM_SECONDS").and_then(|n| n.parse().ok()).unwrap_or(6);
    println!(
        "keys        changing  checkpoints  M records/s  ratio  longest gap  gaps >1/4/8 ms  per checkpoint: took, written, state"
    );
    for keys in keys.split(',').filter_map(|keys| keys.trim().parse().ok()) {
        for one_in in [1, 100] {
            // A first run tells how many records make up the time.
            let probe = run(Plan { keys, one_in, updates: 20_000_000, panic_after: None }, false);
            let updates = (probe.meter.rate() * seconds as f64) as u64;
            let plan = Plan { keys, one_in, updates, panic_after: None };
            let mut ratios = Vec::new();
            for _ in 0..PAIRS {
                let off = run(plan, false);
                let on = run(plan, true);
                report(plan, &off, None);
                report(plan, &on, Some(off.meter.rate()));
                ratios.push(on.meter.rate() / off.meter.rate());
            }
            ratios.sort_by(f64::total_cmp);
            println!("{keys:<11} 1 in {one_in:<4} median of {PAIRS} ratios: {:.3}", ratios[PAIRS / 2]);
        }
    }
}

struct Run {
    meter: std::sync::Arc<Meter>,
    /// Time, bytes written and bytes of state of each checkpoint of the second half.
    checkpoints: Vec<(Duration, u64, u64)>,
}

fn run(plan: Plan, checkpoints: bool) -> Run {
    let scratch = tempfile::tempdir().expect("a temporary folder");
    let (meter, history) = actix_rt::System::new().block_on(async {
        let mut env = StreamEnvironment::new("updates").parallelism(2);
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

fn report(plan: Plan, run: &Run, off: Option<f64>) {
    let rate = run.meter.rate();
    let ratio = off.map_or("     ".to_owned(), |off| format!("{:.3}", rate / off));
    let [one, four, eight] = run.meter.gaps_of_ms();
    let checkpoints = if off.is_some() { "each second" } else { "off" };
    print!(
        "{:<11} 1 in {:<4} {checkpoints:<12} {:>10.2}  {ratio}  {:>8.2} ms  {:>14}",
        plan.keys,
        plan.one_in,
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
