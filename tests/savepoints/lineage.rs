//! Which store goes with which savepoint. Proves S5.

use millstream::StartError;
use millstream::prelude::*;

use crate::listener::events_of;
use crate::rig::{self, Place, assert_exact, from, on};
use crate::run::{Trap, block_on};

/// Runs the job of `env` for so many checkpoints, or without any, then ends it in a way that leaves it to be gone on with.
fn live(env: StreamEnvironment, place: &Place, checkpoints: usize) -> Result<Option<u64>, StartError> {
    let env = if checkpoints == 0 { env.checkpointing(Checkpointing::disabled()) } else { env };
    block_on("a life", async {
        let job = rig::start(env, &Trap::default(), &place.at("out"))?;
        let restored = job.status().newest_checkpoint.map(|checkpoint| checkpoint.0);
        events_of(&job).checkpoints(checkpoints).await;
        job.cancel().await.unwrap();
        Ok(restored)
    })
}

#[test]
fn same_command_line_goes_on_from_the_store_or_from_the_savepoint_before_its_first_checkpoint() {
    let place = Place::new();
    let taken = block_on("a job that stops with a savepoint", async {
        let job = rig::start(on(&place, "first", 2), &Trap::default(), &place.at("out")).unwrap();
        events_of(&job).checkpoints(2).await;
        job.stop_with_savepoint(place.at("savepoint")).await.unwrap().1.checkpoint.0
    });
    for _ in 0..2 {
        assert_eq!(live(from(&place, "fresh", 3, "savepoint"), &place, 0).unwrap(), Some(taken));
    }
    assert_eq!(live(from(&place, "fresh", 2, "savepoint"), &place, 3).unwrap(), Some(taken));
    // Its own checkpoints from now on, whose ids are above the savepoint's; also after a life without the savepoint.
    let second = live(from(&place, "fresh", 1, "savepoint"), &place, 2).unwrap().unwrap();
    assert!(second > taken, "{second} of {taken}");
    let third = live(on(&place, "fresh", 3), &place, 2).unwrap().unwrap();
    let fourth = live(from(&place, "fresh", 2, "savepoint"), &place, 1).unwrap().unwrap();
    assert!(second < third && third < fourth, "{second}, {third}, {fourth}");

    let refused = live(from(&place, "first", 2, "savepoint-none"), &place, 0).unwrap_err();
    assert!(matches!(refused, StartError::Savepoint(_)), "{refused}");
    block_on("the last life", async {
        let job = rig::start(from(&place, "fresh", 2, "savepoint"), &Trap::default(), &place.at("out")).unwrap();
        rig::finish(job).await;
    });
    assert_exact(&place.at("out"));
}

#[test]
fn store_with_other_checkpoints_is_refused_and_stays_as_it_is() {
    let place = Place::new();
    block_on("a job that goes on after its savepoint", async {
        let job = rig::start(on(&place, "store", 2), &Trap::default(), &place.at("out")).unwrap();
        events_of(&job).checkpoints(1).await;
        job.savepoint(place.at("savepoint")).await.unwrap();
        events_of(&job).checkpoints(2).await;
        job.cancel().await.unwrap();
    });
    let refused = live(from(&place, "store", 2, "savepoint"), &place, 0).unwrap_err();
    let StartError::StoreNotEmpty { store, savepoint, .. } = &refused else { panic!("{refused}") };
    assert_eq!((store, savepoint), (&place.at("store").display().to_string(), &place.at("savepoint")));
    assert!(refused.to_string().contains("fresh store"), "{refused}");
    block_on("the store without the savepoint", async {
        let job = rig::start(on(&place, "store", 1), &Trap::default(), &place.at("out")).unwrap();
        rig::finish(job).await;
    });
    assert_exact(&place.at("out"));
}

#[test]
fn number_of_key_groups_is_the_savepoints() {
    let place = Place::new();
    block_on("a job with 64 key groups", async {
        let env = on(&place, "first", 2).max_parallelism(64);
        let job = rig::start(env, &Trap::default(), &place.at("out")).unwrap();
        events_of(&job).checkpoints(1).await;
        job.stop_with_savepoint(place.at("savepoint")).await.unwrap();
    });
    let refused = live(from(&place, "other", 2, "savepoint").max_parallelism(128), &place, 0).unwrap_err();
    let changed = matches!(refused, StartError::MaxParallelismChanged { stored: 64, configured: 128, .. });
    assert!(changed && refused.to_string().contains("savepoint"), "{refused}");
    live(from(&place, "other", 2, "savepoint").max_parallelism(64), &place, 1).unwrap();
    block_on("a job that does not say how many it has", async {
        let job = rig::start(from(&place, "other", 3, "savepoint"), &Trap::default(), &place.at("out")).unwrap();
        rig::finish(job).await;
    });
    assert_exact(&place.at("out"));
}
