//! Starts that are older than what is published: from a savepoint, and with a store that was lost. Proves S4.

use std::path::Path;

use log::Level;
use millstream::prelude::*;

use crate::captured_log::{capture, lines};
use crate::crash_common::published;
use crate::listener::events_of;
use crate::rig::{self, Place, from, on};
use crate::run::{Trap, block_on};

/// What was told of files in `out`.
fn told_of(out: &Path) -> Vec<String> {
    let out = format!("{} has ", out.display());
    let told = lines("figures")
        .into_iter()
        .filter(|(level, target, line)| *level == Level::Warn && target == "millstream::sink" && line.contains(&out));
    told.map(|(_, _, line)| line).collect()
}

/// One life, of two checkpoints.
fn live(env: StreamEnvironment, out: &Path) {
    block_on("a life", async {
        let job = rig::start(env, &Trap::default(), out).unwrap();
        events_of(&job).checkpoints(2).await;
        job.cancel().await.unwrap();
    });
}

#[test]
fn files_that_are_newer_than_the_start_are_told_of() {
    capture();
    let place = Place::new();
    let out = place.at("out");
    let taken = block_on("a job with a savepoint", async {
        let job = rig::start(on(&place, "first", 2), &Trap::default(), &out).unwrap();
        events_of(&job).checkpoints(2).await;
        let savepoint = job.savepoint(place.at("savepoint")).await.unwrap();
        events_of(&job).checkpoints(2).await;
        job.cancel().await.unwrap();
        savepoint.checkpoint
    });
    live(on(&place, "first", 1), &out);
    assert_eq!(told_of(&out), [""; 0], "it goes on where it was");

    let later = published::files(&out).into_keys().filter(|(checkpoint, ..)| *checkpoint > taken.0).count();
    live(from(&place, "second", 1, "savepoint"), &out);
    let told = told_of(&out);
    assert_eq!(told.len(), 1, "{told:?}");
    let expected = format!(
        "sink=out starts from checkpoint {taken}, and {} has {later} files that the sink published later",
        out.display()
    );
    assert!(told[0].starts_with(&expected), "{told:?}, not {expected}");

    let all = published::files(&out).len();
    live(on(&place, "third", 1), &out);
    let told = told_of(&out);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told[1].contains("starts from the beginning") && told[1].contains(&format!(" has {all} files")),
        "{told:?}"
    );
}
