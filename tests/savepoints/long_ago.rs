//! A job that falls back to a savepoint behind many checkpoints. Proves G2 and S4: all that they published is withdrawn.

use std::sync::Arc;
use std::time::Duration;

use millstream::JobEventKind;
use millstream::prelude::*;
use millstream::testing::{FaultyStore, StoreCall, StoreFault};

use crate::crash_common::published;
use crate::faults::damage_newest;
use crate::listener::{events_from_the_start, events_of};
use crate::rig::{self, Place, assert_exact, from, on, shape};
use crate::run::{Trap, block_on};

/// Checkpoints of each life after the savepoint.
const LATER: usize = 40;
/// So many in a row fail, in the middle of one of the lives.
const GIVEN_UP: usize = 70;

/// One life on the store called `fresh`, of which only the newest checkpoint is retained.
fn live_long(place: &Place, parallelism: u32, given_up: usize) {
    let store = FaultyStore::new(Arc::new(place.store("fresh")));
    let checkpointing = Checkpointing::every(Duration::from_millis(2)).retain(1);
    let env = shape(parallelism).environment().checkpointing(checkpointing).restore_from(place.at("savepoint"));
    block_on("a long life", async {
        let job = rig::start(env.snapshot_store(store.clone()), &Trap::default(), &place.at("out")).unwrap();
        let mut events = events_of(&job);
        events.checkpoints(LATER / 2).await;
        for _ in 0..given_up {
            store.inject_next(StoreCall::Finalise, StoreFault::Fail);
            events.until(|kind| matches!(kind, JobEventKind::CheckpointAborted { .. })).await;
        }
        events.checkpoints(LATER / 2).await;
        job.cancel().await.unwrap();
    });
}

#[test]
fn all_that_was_published_since_a_savepoint_long_ago_is_withdrawn() {
    let place = Place::new();
    let out = place.at("out");
    let taken = block_on("a job that stops with a savepoint", async {
        let job = rig::start(on(&place, "first", 2), &Trap::default(), &out).unwrap();
        events_of(&job).checkpoints(2).await;
        job.stop_with_savepoint(place.at("savepoint")).await.unwrap().1.checkpoint
    });
    for (parallelism, given_up) in [(2, 0), (1, GIVEN_UP), (3, 0)] {
        live_long(&place, parallelism, given_up);
    }
    damage_newest(&place.at("fresh"));
    let checkpoints = published::files(&out).into_keys().map(|(checkpoint, ..)| checkpoint);
    let later = checkpoints.filter(|checkpoint| *checkpoint > taken.0).count();
    assert!(later > 2 * 64, "{later} files are to be withdrawn");
    block_on("a fallback", async {
        let job = rig::start(from(&place, "fresh", 2, "savepoint"), &Trap::default(), &out).unwrap();
        let mut events = events_from_the_start(&job);
        events.until(|kind| matches!(kind, JobEventKind::FellBack { to, .. } if *to == taken)).await;
        events.until(|kind| matches!(kind, JobEventKind::Restored { checkpoint, .. } if *checkpoint == taken)).await;
        rig::finish(job).await;
    });
    assert_exact(&out);
}
