//! How long careful work lasts: from the restore to the first checkpoint beyond the failure.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use millstream::JobEventKind;
use millstream::prelude::*;
use millstream::source::IngestOptions;

use crate::common::{Events, checkpointed, events_of, run, sorted, watched};

/// At this number an operator panics that has no directive, once.
const BOMB: u64 = 1_000;

/// Waits until careful work has ended. Gives what has become of it, a letter each: it begins, a record is withheld, it ends; and the
/// event of its end.
async fn careful_work(events: &mut Events) -> (String, JobEventKind) {
    let mut story = String::new();
    loop {
        let kind = events.until(|_| true).await;
        match &kind {
            JobEventKind::CarefulWorkBegins { .. } => story.push('b'),
            JobEventKind::RecordWithheld { .. } => story.push('w'),
            JobEventKind::CarefulWorkEnded { .. } => return (story + "e", kind),
            _ => {}
        }
    }
}

/// Where in the history is what fits, for the last time.
fn last(job: &JobHandle, fits: impl Fn(&JobEventKind) -> bool) -> Option<u64> {
    job.history().iter().rev().find(|event| fits(&event.kind)).map(|event| event.seq)
}

/// That careful work ended with a checkpoint that covers the record which was withheld last: one that was triggered in the attempt
/// which withheld it, and is complete.
fn assert_covers(job: &JobHandle, ended: &JobEventKind) {
    let JobEventKind::CarefulWorkEnded { checkpoint: covering, withheld: 1, not_met: 0, .. } = ended else {
        panic!("{ended}")
    };
    let withheld = last(job, |kind| matches!(kind, JobEventKind::RecordWithheld { .. }));
    let restored = last(job, |kind| matches!(kind, JobEventKind::RegionRunning { .. }));
    let triggered = last(
        job,
        |kind| matches!(kind, JobEventKind::CheckpointTriggered { checkpoint, .. } if checkpoint == covering),
    );
    let completed = last(
        job,
        |kind| matches!(kind, JobEventKind::CheckpointCompleted { checkpoint, .. } if checkpoint == covering),
    );
    let ended = last(job, |kind| matches!(kind, JobEventKind::CarefulWorkEnded { .. }));
    let order = [withheld, restored, triggered, completed, ended];
    assert!(order.iter().all(Option::is_some) && order.is_sorted(), "{order:?}");
}

// Guarantees D1, D2.
#[test]
fn careful_work_ends_with_a_checkpoint_beyond_the_record_and_the_next_one_panics_at_full_speed() {
    for parallelism in [1, 2] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("numbers");
        let (output, dead) = run("careful work that ends", move |handles| async move {
            let (sink, dead) = (CollectSink::new(), CollectSink::<DeadLetter<u64>>::new());
            let (output, letters) = (sink.handle(), dead.handle());
            let (source, numbers) = IngestSource::<u64>::open(path, IngestOptions::new().splits(1)).unwrap();
            let env = checkpointed("full-speed", parallelism, None)
                .snapshot_store(MemoryStore::new())
                .restart_strategy(RestartStrategy::fixed_delay(6, Duration::from_millis(1)))
                .tell_panic_hook(false);
            let (tag, has_burst) = (OutputTag::new("dead"), Arc::new(AtomicBool::new(false)));
            let stream = env
                .source("numbers", source)
                .inspect(move |n| assert!(*n != BOMB || has_burst.swap(true, Ordering::SeqCst), "the bomb"))
                .map(|n: u64| if n % 100 == 57 { panic!("poison") } else { n })
                .on_panic(OnPanic::dead_letter(&tag));
            stream.side_output(&tag).sink("dead", dead);
            stream.sink("out", sink);
            let job = env.start().unwrap();
            watched(&handles, &job);
            let mut events = events_of(&job);

            numbers.send_all(0..100).await.unwrap();
            let (story, ended) = careful_work(&mut events).await;
            assert_eq!(story, "bwe");
            assert_covers(&job, &ended);
            // What it restores has the record behind it: it does not come again.
            numbers.send(BOMB).await.unwrap();
            let restored = events.until(|kind| matches!(kind, JobEventKind::Restored { .. })).await;
            let (JobEventKind::Restored { checkpoint: from, .. }, JobEventKind::CarefulWorkEnded { checkpoint, .. }) =
                (&restored, &ended)
            else {
                panic!("{restored}")
            };
            assert!(from >= checkpoint, "{from} and {checkpoint}");

            // At full speed nobody knows at which record a function panics: it begins anew.
            numbers.send_all(100..200).await.unwrap();
            let (story, ended) = careful_work(&mut events).await;
            assert_eq!(story, "bwe");
            assert_covers(&job, &ended);
            job.finish().await.unwrap();
            (sorted(output.snapshot()), sorted(letters.snapshot().into_iter().map(|letter| letter.record).collect()))
        });
        assert_eq!(dead, [57u64, 157]);
        assert!(output.iter().copied().eq((0..200).filter(|n| n % 100 != 57).chain([BOMB])), "{output:?}");
    }
}
