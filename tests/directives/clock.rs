//! Windows that fire since time has passed, and not since a record has come: careful work has to last until then.

use std::collections::BTreeMap;
use std::time::Duration;

use millstream::JobEventKind;
use millstream::prelude::*;

use crate::common::{BOUND_MS, InputEnd, SteppedSource, checkpointed, events_of, run, sorted, time_of, watched};
use crate::rig::{Record, withheld};

const KEYS: u64 = 4;

/// Guarantee D3. Checkpoints cover all that was read long before a silent source counts as idle.
#[test]
fn window_that_fires_when_a_source_is_idle_is_diverted_and_the_others_give_their_results() {
    let (output, firings) = run("idle", |handles| async move {
        let (sink, dead) = (CollectSink::new(), CollectSink::new());
        let (output, firings) = (sink.handle(), dead.handle());
        let env = checkpointed("idle", 1, None).snapshot_store(MemoryStore::new()).tell_panic_hook(false);
        let (tag, end) = (OutputTag::<DeadFiring>::new("dead"), InputEnd::default());
        let bound = Duration::from_millis(BOUND_MS);
        let strategy = || WatermarkStrategy::bounded_out_of_orderness(bound, |(_, n): &Record| time_of(*n));
        let quiet = strategy().with_idleness(Duration::from_millis(400));
        let quiet = env.source_with_watermarks("quiet", SteppedSource::new("q", 4, 1, &end).hold_at(0), quiet);
        let numbers = SteppedSource::new("n", 400, 400, &end).hold_at(50);
        let windows = env
            .source_with_watermarks("numbers", numbers, strategy())
            .union(quiet)
            .map(|(_, n): Record| n)
            .key_by(|n| n % KEYS)
            .window(TumblingWindows::event_time(Duration::from_secs(1)))
            .apply("count", |records: &[u64], ctx, out: &mut Emitter<'_, (u64, usize)>| {
                assert!(*ctx.key() != 2, "no result");
                out.emit((*ctx.key(), records.len()));
            })
            .on_panic(OnPanic::<u64>::skip().firings(&tag));
        windows.side_output(&tag).sink("dead", dead);
        windows.sink("out", sink);
        let job = env.start().unwrap();
        watched(&handles, &job);
        let mut events = events_of(&job);
        events.until(withheld).await;
        events.until(|kind| matches!(kind, JobEventKind::CarefulWorkEnded { .. })).await;
        // What was taken before is committed by then.
        events.checkpoints(3).await;
        job.cancel().await.unwrap();
        (sorted(output.snapshot()), firings.snapshot())
    });
    // Those that are over by the times of the records that are not held back.
    let mut windows = BTreeMap::<(u64, i64), usize>::new();
    let numbers = (0..200).filter(|n| time_of(*n) < 1_000);
    numbers.for_each(|n| *windows.entry((n % KEYS, time_of(n).div_euclid(1_000) * 1_000 + 999)).or_default() += 1);
    let (gone, come): (Vec<_>, Vec<_>) = windows.into_iter().partition(|((key, _), _)| *key == 2);
    assert_eq!(output, sorted(come.into_iter().map(|((key, _), count)| (key, count)).collect()));
    let firings: Vec<_> = firings.into_iter().map(|firing| (firing.key, firing.timer)).collect();
    assert_eq!(
        firings,
        gone.into_iter().map(|((key, last), _)| (key.to_string(), Timer::EventTime(last))).collect::<Vec<_>>()
    );
}
