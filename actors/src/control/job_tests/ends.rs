//! How jobs end when nothing fails.

use std::sync::atomic::Ordering;

use actix_rt::System;

use super::fake_store::*;
use super::running::*;
use super::stub::*;
use crate::control::event::JobEventKind;
use crate::control::event_log::JobState;
use crate::control::outcome::OutcomeKind;
use crate::protocol::{CheckpointId, Checkpointing, SubtaskId};

#[test]
fn bounded_job_finishes_with_one_final_checkpoint_and_lets_go_of_the_store() {
    System::new().block_on(async {
        let setup = Setup::default();
        let store = setup.store.clone();
        let running = setup.launch();
        let outcome = running.handle.clone().await.expect("finished");
        assert_eq!(outcome.kind, OutcomeKind::Finished);
        assert_eq!((outcome.checkpoints, outcome.restarts, outcome.already_complete), (1, 0, false));
        assert_eq!(store.newest(), Some(CheckpointId(1)));
        assert!(store.closed.load(Ordering::Relaxed));
        assert_eq!(running.handle.status().state, JobState::Ended);
    });
}

#[test]
fn job_that_had_ended_starts_its_sinks_alone_and_is_already_complete() {
    System::new().block_on(async {
        let setup = Setup { store: FakeStore::with([(7, true)]), ..Setup::default() };
        let script = setup.script.clone();
        let outcome = setup.launch().handle.await.expect("finished");
        assert!(outcome.already_complete);
        assert_eq!(outcome.last_checkpoint, Some(CheckpointId(7)));
        let restored = script.restored.lock().unwrap().clone();
        assert_eq!(restored.len(), 2);
        assert!(restored.iter().all(|(subtask, from, _)| subtask.task == SINK && *from == Some(CheckpointId(7))));
    });
}

#[test]
fn unbounded_job_checkpoints_each_interval_and_on_demand_until_it_is_drained() {
    System::new().block_on(async {
        let setup = Setup::unbounded();
        let store = setup.store.clone();
        let mut running = setup.launch();
        running.until(|kind| matches!(kind, JobEventKind::RegionRunning { .. })).await;
        let demanded = running.handle.checkpoint().await.expect("complete");
        assert_eq!(store.newest(), Some(demanded));
        running
            .until_with_time(
                |kind| matches!(kind, JobEventKind::CheckpointCompleted { checkpoint, .. } if *checkpoint > demanded),
            )
            .await;
        let outcome = running.handle.drain().await.expect("drained");
        assert_eq!(outcome.kind, OutcomeKind::Drained);
        assert!(store.retained.lock().unwrap().last().is_some_and(|manifest| !manifest.is_final));
    });
}

#[test]
fn finish_makes_the_job_complete_and_cancel_takes_no_checkpoint() {
    System::new().block_on(async {
        let setup = Setup { checkpointing: Checkpointing::disabled(), ..Setup::unbounded() };
        let store = setup.store.clone();
        let outcome = setup.launch().handle.finish().await.expect("finished");
        assert_eq!(outcome.kind, OutcomeKind::Finished);
        assert!(store.retained.lock().unwrap().last().is_some_and(|manifest| manifest.is_final));
        let setup = Setup::unbounded();
        let store = setup.store.clone();
        let outcome = setup.launch().handle.cancel().await.expect("cancelled");
        assert_eq!((outcome.kind, outcome.checkpoints), (OutcomeKind::Cancelled, 0));
        assert_eq!(store.newest(), None);
    });
}

#[test]
fn regions_take_part_in_one_checkpoint() {
    System::new().block_on(async {
        let setup = Setup { regions: 3, ..Setup::default() };
        let outcome = setup.launch().handle.await.expect("finished");
        assert_eq!((outcome.kind, outcome.checkpoints), (OutcomeKind::Finished, 1));
    });
}

#[test]
fn both_ends_of_a_channel_are_told_one_window_and_channels_are_numbered_by_sender() {
    System::new().block_on(async {
        let setup = Setup::default();
        let script = setup.script.clone();
        setup.launch().handle.await.expect("finished");
        let wiring = script.wiring.lock().unwrap().clone();
        for from in 0..2_u32 {
            let outputs = &wiring[&SubtaskId { task: SOURCE, index: from }].outputs;
            assert_eq!(outputs.len(), 1);
            for (to, (channel, window)) in (0..).zip(&outputs[0]) {
                assert_eq!(*channel, from);
                let input = &wiring[&SubtaskId { task: SINK, index: to }].input;
                assert_eq!(input.windows[*channel as usize], *window);
            }
        }
    });
}
