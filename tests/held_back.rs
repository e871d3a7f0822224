//! What holds event time back is told: by the status of the job, and by an event and its line in the log.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use millstream::prelude::*;
use millstream::time::ManualClock;
use millstream::{Clock, HeldBack, JobEventKind, RegionId};

use common::{InputEnd, QueueSource, SteppedSource, events_of, run, watched};

mod common;

const MINUTE: Duration = Duration::from_secs(60);

fn environment(clock: &ManualClock) -> StreamEnvironment {
    let checkpointing = Checkpointing::every(Duration::from_secs(1_000_000)).timeout(Duration::from_secs(1_000_000));
    let limits = Limits::default().event_time_held_after(MINUTE);
    StreamEnvironment::new("held back").parallelism(1).clock(clock.clone()).checkpointing(checkpointing).limits(limits)
}

/// What is held back once all that can be read has been: a barrier is behind it.
async fn held_back(job: &JobHandle) -> Option<HeldBack> {
    job.checkpoint().await.unwrap();
    job.status().held_back.remove(&RegionId(0))
}

#[test]
fn status_and_one_event_name_the_source_that_is_behind_and_for_how_long() {
    run("a job with a slow source", |handles| async move {
        let clock = ManualClock::new();
        let env = environment(&clock);
        let [clicks, orders] = ["clicks", "orders"].map(|id| {
            let source = QueueSource::default();
            let strategy = WatermarkStrategy::monotonous(|at: &u64| *at as i64);
            (source.clone(), env.source_with_watermarks(id, source, strategy))
        });
        let (clicks, orders) = ((clicks.0, clicks.1.union(orders.1)), orders.0);
        clicks.1.for_each("see", |_| {});
        let clicks = clicks.0;
        let job = env.start().unwrap();
        watched(&handles, &job);
        let mut events = events_of(&job);
        assert_eq!(held_back(&job).await, None, "neither is ahead");
        clicks.push([5_000]);
        let held = held_back(&job).await.expect("one source has said nothing");
        assert_eq!((held.operator.to_string().as_str(), held.watermark, held.ahead), ("orders", None, 4_999));
        orders.push([1_000]);
        clock.advance(MINUTE / 2);
        let held = held_back(&job).await.unwrap();
        assert_eq!((held.operator.to_string().as_str(), held.subtask, held.split.as_deref()), ("orders", 0, None));
        assert_eq!((held.watermark, held.ahead), (Some(999), 4_999));
        let from = clock.now() - held.held_for;
        // The supervisor looks now and then.
        let told = loop {
            clock.advance(Duration::from_secs(5));
            job.checkpoint().await.unwrap();
            let told = job.history().into_iter().find_map(|event| match event.kind {
                JobEventKind::EventTimeHeldBack { region, held_back, .. } => Some((region, held_back)),
                _ => None,
            });
            if let Some(told) = told {
                break told;
            }
        };
        assert!(told.1.held_for >= MINUTE && told.1.held_for <= clock.now() - from, "{told:?}");
        assert_eq!((told.0, &told.1.operator, told.1.watermark), (RegionId(0), &held.operator, held.watermark));
        let line = events.until(|kind| matches!(kind, JobEventKind::EventTimeHeldBack { .. })).await.to_string();
        assert!(line.starts_with("region=0 'orders' subtask 0 holds event time back at 999 for "), "{line}");
        orders.push([9_000]);
        let held = held_back(&job).await.unwrap();
        assert_eq!((held.operator.to_string().as_str(), held.ahead), ("clicks", 8_999));
        job.cancel().await.unwrap();
        assert!(job.status().held_back.is_empty(), "nothing is read any more");
    });
}

#[test]
fn status_names_the_split_that_is_behind_and_a_subtask_in_mid_stream() {
    for in_mid_stream in [false, true] {
        run("a job with a slow split", move |handles| async move {
            let env = environment(&ManualClock::new());
            let time = |id: u64| if id % 4 == 3 { id as i64 } else { 10_000 + id as i64 };
            let source = SteppedSource::new("numbers", 400, 400, &InputEnd::default()).hold_at(50);
            if in_mid_stream {
                env.source("numbers", source)
                    .map(|(_, id)| id)
                    .parallelism(1)
                    .partition_by(|id, _| u32::from(id % 4 == 3))
                    .assign_timestamps_and_watermarks("times", WatermarkStrategy::monotonous(move |id| time(*id)))
                    .parallelism(2)
                    .for_each("see", |_| {});
            } else {
                let strategy = WatermarkStrategy::monotonous(move |(_, id): &(&'static str, u64)| time(*id));
                env.source_with_watermarks("numbers", source, strategy).for_each("see", |_| {});
            }
            let job = env.start().unwrap();
            watched(&handles, &job);
            let held = loop {
                let held = held_back(&job).await;
                if let Some(held) = held.filter(|held| held.watermark == Some(198) && held.ahead == 10_197) {
                    break held;
                }
            };
            let found = (held.operator.to_string(), held.subtask, held.split.as_deref().map(str::to_owned));
            let split = Some("numbers-3".to_owned());
            let (source, times) = (("numbers".to_owned(), 0, split), ("times".to_owned(), 1, None));
            assert_eq!(found, if in_mid_stream { times } else { source });
            job.cancel().await.unwrap();
        });
    }
}
