//! Stores that begin with a checkpoint of another.

use std::fs::{self, File};

use millstream::snapshot::{RedbStore, SnapshotError, SnapshotStore};
use millstream::{CheckpointId, Incarnation};

use crate::common::{copy_all, run, watched};
use crate::counts_job::{CountsJob, HELD_AT, counts_by_positions, drained, exported_counts, ids};
use crate::tool::call;

#[test]
fn job_on_a_fork_goes_on_from_the_checkpoint_and_the_original_is_untouched() {
    let (dir, original) = drained();
    let at = *ids(&call("inspect", &original.store, &["--json", "--no-entries"]).fine().json()).last().unwrap();
    // The output as it was at the checkpoint; the original job goes on, and its newest checkpoint is a later one.
    let elsewhere = tempfile::tempdir().unwrap();
    copy_all(&original.out, &elsewhere.path().join("out"));
    assert_eq!(original.run_to_end(), CheckpointId(at));
    assert_eq!(original.lines(), CountsJob::expected_lines());
    let before = fs::read(&original.store).unwrap();

    let forked = CountsJob::new(elsewhere.path());
    let to = forked.store.to_str().unwrap();
    let id = at.to_string();
    let report = call("fork", &original.store, &["--checkpoint", &id, "--to", to, "--json"]).fine().json();
    assert_eq!((&report["checkpoint"], &report["job"]), (&at.into(), &"counts".into()));
    let inspected = call("inspect", &forked.store, &["--json"]).fine().json();
    assert_eq!(ids(&inspected), [at]);
    assert!(inspected["reserved_up_to"].as_u64() > Some(at), "ids that the original has used are not used again");
    call("verify", &forked.store, &[]).fine();
    assert_eq!(exported_counts(&forked.store, at), exported_counts(&original.store, at));

    assert_eq!(forked.run_to_end(), CheckpointId(at), "where the fork starts");
    assert_eq!(forked.lines(), CountsJob::expected_lines());
    assert!(fs::read(&original.store).unwrap() == before, "the original was changed");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "store and output, no left-overs");
}

#[test]
fn older_checkpoint_is_forked_whole_and_its_pending_commits_are_told() {
    let (dir, job) = drained();
    let ids = ids(&call("inspect", &job.store, &["--json", "--no-entries"]).fine().json());
    let at = ids[ids.len() / 2];
    let to = dir.path().join("fork.redb");
    let rest = ["--checkpoint", &at.to_string(), "--to", to.to_str().unwrap()];
    let forked = call("fork", &job.store, &rest).fine();
    assert!(forked.out.contains("starts job 'counts'"), "{forked:?}");
    assert!(forked.err.contains("warning") && forked.err.contains("sink 'lines'"), "{forked:?}");
    assert_eq!(exported_counts(&to, at), exported_counts(&job.store, at));
    let verified = call("verify", &to, &["--json"]).fine().json();
    assert_eq!((&verified["manifests"], &verified["unreferenced_chunks"]), (&1.into(), &0.into()));
}

#[test]
fn fork_may_be_for_another_job() {
    let (dir, job) = drained();
    let at = ids(&call("inspect", &job.store, &["--json", "--no-entries"]).fine().json())[0];
    let to = dir.path().join("fork.redb");
    let rest = ["--checkpoint", &at.to_string(), "--to", to.to_str().unwrap(), "--job", "trial"];
    call("fork", &job.store, &rest).fine();
    let store = RedbStore::open(&to).unwrap();
    assert!(matches!(store.open_job("counts", Incarnation(1)), Err(SnapshotError::OtherJob { .. })));
    let opening = store.open_job("trial", Incarnation(1)).unwrap();
    let retained: Vec<_> = opening.retained.iter().map(|manifest| (manifest.checkpoint.0, &*manifest.job)).collect();
    assert_eq!(retained, [(at, "trial")]);
}

#[test]
fn what_a_killed_fork_has_left_is_removed_by_the_next_and_by_the_job_that_starts_there() {
    let (dir, job) = drained();
    let to = dir.path().join("fork.redb");
    let left = |unique: &str| dir.path().join(format!("fork.redb.forking-{unique}"));
    let lefts = [
        left("0123456789abcdef"),
        left("0123456789abcdef.lock"),
        left("0123456789abcdef.creating-fedcba9876543210"),
        left("0123456789abcdef.creating-fedcba9876543210.lock"),
    ];
    let leave = || lefts.iter().for_each(|left| fs::write(left, "half of").unwrap());
    leave();
    let used = [left("89abcdef01234567"), left("89abcdef01234567.lock")];
    let [_, lock] = used.each_ref().map(|path| File::create_new(path).unwrap());
    lock.try_lock().unwrap();
    let at = ids(&call("inspect", &job.store, &["--json", "--no-entries"]).fine().json())[0];
    let rest = ["--checkpoint", &at.to_string(), "--to", to.to_str().unwrap()];
    call("fork", &job.store, &rest).fine();
    assert!(lefts.iter().all(|left| !left.exists()));
    leave();
    drop(RedbStore::open(&to).unwrap());
    assert!(lefts.iter().all(|left| !left.exists()) && used.iter().all(|used| used.exists()));
}

#[test]
fn what_has_the_name_already_stays() {
    let (dir, job) = drained();
    let taken = dir.path().join("taken");
    fs::write(&taken, "precious").unwrap();
    for to in [&taken, &job.store] {
        let before = fs::read(to).unwrap();
        let called = call("fork", &job.store, &["--checkpoint", "1", "--to", to.to_str().unwrap()]);
        assert!(called.code == 2 && called.err.contains("is not replaced"), "{called:?}");
        assert!(fs::read(to).unwrap() == before);
    }
    let nowhere = dir.path().join("missing/fork.redb");
    assert_eq!(call("fork", &job.store, &["--checkpoint", "1", "--to", nowhere.to_str().unwrap()]).code, 2);
}

#[test]
fn savepoint_is_looked_into_as_a_store_is_and_may_become_one() {
    let dir = tempfile::tempdir().unwrap();
    let job = CountsJob::new(dir.path());
    let path = dir.path().join("counts.savepoint");
    let (running, to) = (job.clone(), path.clone());
    let taken = run("a job of which a savepoint is taken", move |handles| async move {
        let (handle, input) = running.start(HELD_AT);
        watched(&handles, &handle);
        while input.records_read() < HELD_AT {
            handle.checkpoint().await.unwrap();
        }
        let savepoint = handle.savepoint(&to).await.unwrap();
        handle.drain().await.unwrap();
        savepoint.checkpoint.0
    });
    let report = call("inspect", &path, &["--json"]).fine().json();
    assert_eq!((&report["kind"], ids(&report)), (&"savepoint".into(), vec![taken]));
    call("verify", &path, &["--copy"]).fine();
    assert_eq!(exported_counts(&path, taken), counts_by_positions(&path, taken));
    let forked = CountsJob::new(&dir.path().join("elsewhere"));
    copy_all(&job.out, &forked.out);
    let rest = ["--checkpoint", &taken.to_string(), "--to", forked.store.to_str().unwrap()];
    call("fork", &path, &rest).fine();
    assert_eq!(exported_counts(&forked.store, taken), exported_counts(&path, taken));

    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let damaged = call("verify", &path, &["--json"]);
    assert_eq!((damaged.code, damaged.json()["findings"].as_array().unwrap().len()), (1, 1), "{damaged:?}");
    fs::write(&path, &bytes[..last]).unwrap();
    let cut = call("inspect", &path, &[]);
    assert!(cut.code == 1 && cut.err.contains("damaged"), "{cut:?}");
}
