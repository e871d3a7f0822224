//! M4. What the status, and the log, say of a checkpoint that takes long.

use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::Duration;

use actix_rt::System;

use super::running::*;
use super::stub::*;
use crate::control::event::JobEventKind;
use crate::control::progress::CheckpointProgress;
use crate::protocol::{CheckpointId, Checkpointing, Limits, TriggerReason};

const EVERY: Duration = Duration::from_millis(100);

fn setup() -> Setup {
    let limits = Limits::default().checkpoint_progress_every(EVERY);
    Setup { limits, checkpointing: Checkpointing::disabled(), ..Setup::unbounded() }
}

/// Waits, in real time, until the status says so.
async fn until_status(running: &Running, acknowledged: u32, bytes: u64) -> CheckpointProgress {
    loop {
        match running.handle.status().checkpoint_in_progress {
            Some(progress) if (progress.acknowledged, progress.bytes) == (acknowledged, bytes) => return progress,
            _ => tokio::task::yield_now().await,
        }
    }
}

fn told(kind: &JobEventKind) -> Option<(u32, u32, u64, Duration)> {
    match kind {
        JobEventKind::CheckpointInProgress { acknowledged, of, bytes, elapsed, .. } => {
            Some((*acknowledged, *of, *bytes, *elapsed))
        }
        _ => None,
    }
}

/// The next line, however often the clock has to move for that: it may move before the coordinator waits for it anew.
async fn next_line(running: &mut Running) -> JobEventKind {
    loop {
        running.clock.advance(EVERY);
        for _ in 0..1_000 {
            match running.events.try_recv() {
                Ok(event) if told(&event.kind).is_some() => return event.kind,
                Ok(_) => {}
                Err(_) => tokio::task::yield_now().await,
            }
        }
    }
}

#[test]
fn checkpoint_that_waits_for_one_subtask_says_so_in_status_and_log_until_it_is_complete() {
    System::new().block_on(async {
        let (lets_go, until) = mpsc::channel();
        let setup = setup().bad(SINK, When::Barrier, Bad::Hang(until));
        let script = setup.script.clone();
        let mut running = setup.launch();
        running.until(|kind| matches!(kind, JobEventKind::RegionRunning { .. })).await;
        assert_eq!(running.handle.status().checkpoint_in_progress, None);
        running.clock.advance(Duration::from_secs(1));

        let asked = running.handle.checkpoint();
        while script.hangs.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        // Both sources and one of two sinks have acknowledged; the other one holds its thread.
        let known = until_status(&running, 3, 3).await;
        let (checkpoint, reason) = (CheckpointId(1), TriggerReason::OnDemand);
        let expected =
            CheckpointProgress { checkpoint, reason, since_unix_ms: 1_000, acknowledged: 3, of: 4, bytes: 3 };
        assert_eq!(known, expected);

        running.clock.advance(EVERY);
        let line = running.until(|kind| told(kind).is_some()).await;
        assert_eq!(told(&line), Some((3, 4, 3, EVERY)));
        let text = "checkpoint=1 in progress (OnDemand) for 100 ms: 3 of 4 subtasks acknowledged, 3 B stored";
        assert_eq!(line.to_string(), text);
        assert_eq!((line.level(), line.target()), (log::Level::Info, "millstream::checkpoint"));
        let mut last = EVERY;
        for _ in 0..2 {
            let line = next_line(&mut running).await;
            let Some((3, 4, 3, elapsed)) = told(&line) else { panic!("{line}") };
            assert!(elapsed >= last + EVERY, "{line}");
            last = elapsed;
        }
        drop(lets_go);
        asked.await.expect("complete");
        assert_eq!(running.handle.status().checkpoint_in_progress, None);
        running.handle.cancel().await.expect("cancelled");
    });
}

#[test]
fn checkpoint_that_waits_for_the_store_says_that_all_have_acknowledged() {
    System::new().block_on(async {
        let (lets_go, until) = mpsc::channel();
        let setup = setup();
        *setup.store.finalise_waits.lock().unwrap() = Some(until);
        let mut running = setup.launch();
        running.until(|kind| matches!(kind, JobEventKind::RegionRunning { .. })).await;
        let asked = running.handle.checkpoint();
        until_status(&running, 4, 4).await;
        running.clock.advance(EVERY);
        let line = running.until(|kind| told(kind).is_some()).await;
        assert_eq!(told(&line), Some((4, 4, 4, EVERY)));
        drop(lets_go);
        asked.await.expect("complete");
        assert_eq!(running.handle.status().checkpoint_in_progress, None);
        running.handle.cancel().await.expect("cancelled");
    });
}

#[test]
fn short_checkpoints_say_nothing_and_none_between_them_does() {
    System::new().block_on(async {
        let mut running = setup().launch();
        running.until(|kind| matches!(kind, JobEventKind::RegionRunning { .. })).await;
        for _ in 0..3 {
            running.handle.checkpoint().await.expect("complete");
            running.clock.advance(3 * EVERY);
        }
        running.handle.checkpoint().await.expect("complete");
        assert!(running.handle.history().iter().all(|event| told(&event.kind).is_none()));
        running.handle.cancel().await.expect("cancelled");
    });
}
