//! Stores of jobs that run, and of jobs that were killed.

use std::fs;

use crate::common::{run, watched};
use crate::counts_job::{CountsJob, HELD_AT, counted, counts_by_positions, exported_counts, ids};
use crate::tool::call;

#[test]
fn store_in_use_is_refused_with_a_hint_and_its_copy_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let job = CountsJob::new(dir.path());
    run("a job whose store is looked into", move |handles| async move {
        let (handle, input) = job.start(HELD_AT);
        watched(&handles, &handle);
        while input.records_read() < HELD_AT {
            handle.checkpoint().await.unwrap();
        }
        let newest = handle.checkpoint().await.unwrap().0;
        for verb in ["inspect", "verify"] {
            let locked = call(verb, &job.store, &[]);
            assert_eq!((locked.code, &*locked.out), (2, ""), "{locked:?}");
            assert!(locked.err.contains("in use") && locked.err.contains("hint: ") && locked.err.contains("--copy"));
        }
        let report = call("inspect", &job.store, &["--json", "--copy"]).fine().json();
        assert_eq!(ids(&report).last(), Some(&newest));
        assert_eq!(report["store"], job.store.to_str().unwrap(), "it is called what it was called");
        let rest = ["--operator", "count", "--state", "accumulator", "--copy"];
        let lines = call("export", &job.store, &rest).fine().json_lines();
        assert_eq!(lines.len(), counted(|id| id < HELD_AT).len());
        call("verify", &job.store, &["--copy"]).fine();

        // What is left when the machine goes down now: readable without a writer, and not changed by reading.
        let crashed = job.store.with_file_name("crashed.redb");
        fs::copy(&job.store, &crashed).unwrap();
        let image = fs::read(&crashed).unwrap();
        assert_eq!(ids(&call("inspect", &crashed, &["--json"]).fine().json()).last(), Some(&newest));
        call("verify", &crashed, &[]).fine();
        assert_eq!(exported_counts(&crashed, newest), counts_by_positions(&crashed, newest));
        assert!(fs::read(&crashed).unwrap() == image, "the file was changed");
        // The job still has its lock.
        assert_eq!(call("inspect", &job.store, &[]).code, 2);
        handle.drain().await.unwrap();
        call("verify", &job.store, &[]).fine();
    });
}

#[test]
fn copies_of_a_store_that_is_written_to_are_whole_or_refused() {
    let dir = tempfile::tempdir().unwrap();
    let job = CountsJob::new(dir.path());
    run("a job whose store is copied", move |handles| async move {
        let (handle, _) = job.start(HELD_AT);
        watched(&handles, &handle);
        let (mut whole, mut tries) = (0, 0);
        // Each copy may be overtaken, if the tool is not given a processor while commits go on.
        while tries < 4 || whole == 0 {
            tries += 1;
            let store = job.store.clone();
            let mut copied = actix_rt::task::spawn_blocking(move || call("verify", &store, &["--copy", "--json"]));
            let called = loop {
                // Commits go on until the copy has been looked at.
                tokio::select! {
                    called = &mut copied => break called.unwrap(),
                    taken = handle.checkpoint() => drop(taken.unwrap()),
                }
            };
            match called.code {
                0 => whole += 1,
                2 => assert!(called.err.contains("wrote over") || called.err.contains("no checkpoint"), "{called:?}"),
                _ => panic!("a torn copy passed for damage: {called:?}"),
            }
        }
        handle.drain().await.unwrap();
    });
}
