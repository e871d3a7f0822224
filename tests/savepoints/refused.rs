//! What cannot be restored, or not all of it. Proves S6.

use std::fs;

use millstream::prelude::*;
use millstream::{JobEventKind, NoRestore, StartError};

use crate::crash_common::job::Figures;
use crate::listener::events_of;
use crate::rig::{self, Place, assert_exact, from, on};
use crate::run::{Trap, block_on};

/// Runs the job and stops it with a savepoint.
fn stopped() -> Place {
    let place = Place::new();
    block_on("a job that stops with a savepoint", async {
        let job = rig::start(on(&place, "first", 2), &Trap::default(), &place.at("out")).unwrap();
        events_of(&job).checkpoints(2).await;
        job.stop_with_savepoint(place.at("savepoint")).await.unwrap();
    });
    place
}

#[test]
fn damaged_savepoint_is_refused_at_the_start_or_when_the_damaged_chunk_is_read() {
    let place = stopped();
    let bytes = fs::read(place.at("savepoint")).unwrap();
    let with_flipped = |at: usize| {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x10;
        fs::write(place.at("savepoint-bad"), &flipped).unwrap();
        let out = place.at("out-bad");
        block_on("a start from a damaged savepoint", async {
            let env = from(&place, &format!("store-{at}"), 2, "savepoint-bad");
            rig::start(env, &Trap::default(), &out).map(|job| async { job.await.unwrap_err() })
        })
    };
    for at in [0, 9, 13, 30, 200] {
        let refused = with_flipped(at).err().unwrap();
        assert!(
            matches!(refused, StartError::Savepoint(_)) && refused.to_string().contains("savepoint-bad"),
            "{refused}"
        );
    }
    let mut flipped = bytes.clone();
    *flipped.last_mut().unwrap() ^= 0x10;
    fs::write(place.at("savepoint-bad"), &flipped).unwrap();
    let error = block_on("a job whose savepoint has a damaged chunk", async {
        let env = from(&place, "store-last", 2, "savepoint-bad");
        rig::start(env, &Trap::default(), &place.at("out-bad")).unwrap().await.unwrap_err()
    });
    let JobError::Damaged { error, reason: NoRestore::NoOlder, .. } = &error else { panic!("{error}") };
    assert!(error.to_string().contains("savepoint-bad"), "{error}");
    // The sound one, on the store that the damaged one left empty.
    block_on("a job from the sound one", async {
        let job = rig::start(from(&place, "store-last", 2, "savepoint"), &Trap::default(), &place.at("out")).unwrap();
        rig::finish(job).await;
    });
    assert_exact(&place.at("out"));
}

/// A job of the same name that has one of the two sources and none of the keyed operators.
fn smaller(env: StreamEnvironment, sink: CollectSink<u64>) -> Result<JobHandle, StartError> {
    env.source("left", SequenceSource::new(0..900_000).rate_per_second(5_000)).parallelism(1).sink("kept", sink);
    env.start()
}

#[test]
fn operators_that_are_gone_are_all_named_and_dropped_only_if_that_is_allowed() {
    let place = stopped();
    let refuse =
        |env: StreamEnvironment| block_on("a smaller job", async { smaller(env, CollectSink::new()) }.map_err_only());
    let refused = refuse(from(&place, "other", 1, "savepoint"));
    let StartError::UnmatchedState { store, operators, .. } = &refused else { panic!("{refused}") };
    assert_eq!(*store, place.at("savepoint").display().to_string());
    assert_eq!(operators.iter().map(|operator| operator.id.as_str()).collect::<Vec<_>>(), ["figures", "right"]);
    assert!(operators.iter().all(|operator| operator.states.iter().any(|(_, bytes)| *bytes > 0)), "{operators:?}");
    assert!(refused.to_string().contains("allow_unmatched_state"), "{refused}");
    // The same rule for the checkpoint of a store, which holds the sink's list, too.
    let refused = refuse(on(&place, "first", 1));
    let StartError::UnmatchedState { operators, .. } = &refused else { panic!("{refused}") };
    assert_eq!(operators.iter().map(|operator| operator.id.as_str()).collect::<Vec<_>>(), ["figures", "out", "right"]);

    for env in [from(&place, "other", 1, "savepoint"), on(&place, "first", 1)] {
        let sink = CollectSink::new();
        let collected = sink.handle();
        block_on("a smaller job that drops state", async {
            let job = smaller(env.allow_unmatched_state(true), sink).unwrap();
            // A source that is paced reads nothing at first.
            while collected.snapshot().is_empty() {
                job.checkpoint().await.unwrap();
            }
            job.drain().await.unwrap();
        });
        let numbers = collected.snapshot();
        let first = *numbers.first().unwrap();
        assert!(first > 0, "it did not go on where the savepoint was taken");
        assert!(numbers.iter().copied().eq(first..first + numbers.len() as u64));
    }
    // What was dropped is in no later checkpoint.
    block_on("the smaller job again", async {
        let job = smaller(on(&place, "other", 1), CollectSink::new()).unwrap();
        assert!(
            job.history().iter().any(|event| matches!(event.kind, JobEventKind::Started { restores: Some(_), .. }))
        );
        job.cancel().await.unwrap();
    });
}

trait MapErrOnly {
    fn map_err_only(self) -> impl Future<Output = StartError>;
}

impl<F: Future<Output = Result<JobHandle, StartError>>> MapErrOnly for F {
    async fn map_err_only(self) -> StartError {
        self.await.unwrap_err()
    }
}

#[test]
fn target_that_is_taken_or_out_of_reach_is_refused_before_the_job_is_disturbed() {
    let place = Place::new();
    let out = place.at("out");
    fs::write(place.at("savepoint-taken"), "mine").unwrap();
    block_on("a job", async {
        let job = rig::start(on(&place, "store", 2), &Trap::default(), &out).unwrap();
        events_of(&job).checkpoints(1).await;
        for (target, words) in [
            ("savepoint-taken", "exists and is not replaced"),
            ("no-folder/savepoint", "cannot create"),
            ("store/savepoint", "cannot"),
        ] {
            let refused = [
                job.savepoint(place.at(target)).await.unwrap_err(),
                job.stop_with_savepoint(place.at(target)).await.unwrap_err(),
            ];
            for error in refused {
                assert!(error.to_string().contains(words) && error.to_string().contains(target), "{error}");
            }
        }
        events_of(&job).checkpoints(1).await;
        assert_eq!(job.status().restarts, 0);
        rig::finish(job).await;
    });
    assert_eq!(fs::read_to_string(place.at("savepoint-taken")).unwrap(), "mine");
    assert_eq!(place.savepoints(), ["savepoint-taken"]);
    assert_exact(&out);
}

/// The type of the job's records is what the sink writes.
#[test]
fn sink_of_another_kind_starts_from_a_savepoint() {
    let place = stopped();
    let sink = CollectSink::<Figures>::new();
    let collected = sink.handle();
    block_on("the job with another sink", async {
        let env = from(&place, "other", 2, "savepoint");
        crate::crash_common::job::write(&env, rig::shape(2), |_| {}, sink);
        let job = env.start().unwrap();
        while collected.snapshot().is_empty() {
            job.checkpoint().await.unwrap();
        }
        job.finish().await.unwrap();
    });
}
