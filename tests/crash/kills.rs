//! Kills from outside, at any moment.

use std::fs;
use std::path::Path;

use crate::child::Orders;
use crate::crash_common::job::Shape;
use crate::crash_common::published::{self, Files};
use crate::random::Random;
use crate::timed::{self, Given};

const KILLS: usize = 50;
/// A life of the job that nobody kills has about so many marks, at the shape below.
const MARKS_MAX: u64 = 1_200;

fn seed() -> u64 {
    let seed = std::env::var("MILLSTREAM_CRASH_SEED").ok().map(|seed| seed.parse().unwrap());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()) << 20 | 0x5eed);
    println!("MILLSTREAM_CRASH_SEED={seed}");
    seed
}

/// So many of the job that goes by event time.
const TIMED_KILLS: usize = 12;

/// What may be seen after a crash: whole lines, no repeats, no gaps, and every file that was there before.
fn look(out: &Path, shape: Shape, before: &Files) -> Files {
    let files = published::files(out);
    published::assert_prefix(&published::records(&files), shape);
    assert_kept(&files, before);
    files
}

fn assert_kept(files: &Files, before: &Files) {
    for (file, bytes) in before {
        assert!(files.get(file) == Some(bytes), "{file:?} was published, and has changed since");
    }
}

/// T3, T7, T11, T12: windows, a join, timers and a pattern, over lives that end at any moment and others at other parallelisms.
#[test]
fn results_by_event_time_of_a_process_that_is_killed_are_those_of_a_whole_run() {
    let mut random = Random(seed());
    let shape = Shape { records: 1_200, per_second: 4_000, parallelism: 2, checkpoint_ms: 5 };
    let expected = timed::expected(shape);
    let (mut kills, mut jobs) = (0, 0);
    while kills < TIMED_KILLS {
        let dir = tempfile::tempdir().unwrap();
        let mut orders = Orders { is_timed: true, ..Orders::new(dir.path(), shape) };
        let mut seen = Files::new();
        loop {
            let marks = if kills < TIMED_KILLS { 1 + random.below(2 * MARKS_MAX) } else { u64::MAX };
            let ended = orders.spawn().kill_at(marks);
            let files = published::files(&orders.out());
            assert_kept(&files, &seen);
            let mut given: Vec<Given> = published::lines_of(&files);
            given.sort_unstable();
            let mut whole = expected.iter();
            let is_part = given.iter().all(|one| whole.any(|other| other == one));
            assert!(is_part, "something is given that is not in a whole run, or is given twice, after {kills} kills");
            seen = files;
            if let Some(status) = ended {
                assert!(status.success(), "{status} after {kills} kills");
                assert!(given == expected, "{} results of {}", given.len(), expected.len());
                break;
            }
            kills += 1;
            orders.shape.parallelism = [1, 2, 3][random.below(3) as usize];
        }
        jobs += 1;
    }
    println!("{kills} kills in {jobs} jobs by event time");
}

#[test]
fn process_killed_at_fifty_random_moments_resumes_with_identical_output() {
    let mut random = Random(seed());
    let (mut kills, mut jobs) = (0, 0);
    while kills < KILLS {
        let dir = tempfile::tempdir().unwrap();
        let shape = Shape { records: 2_400, per_second: 6_000, parallelism: 2, checkpoint_ms: 5 };
        let mut orders = Orders::new(dir.path(), shape);
        let mut seen = Files::new();
        loop {
            let marks = if kills < KILLS { 1 + random.below(MARKS_MAX) } else { u64::MAX };
            let ended = orders.spawn().kill_at(marks);
            seen = look(&orders.out(), shape, &seen);
            match ended {
                Some(status) => {
                    assert!(status.success(), "{status} after {kills} kills");
                    break;
                }
                None => kills += 1,
            }
            orders.shape.parallelism = [1, 2, 4][random.below(3) as usize];
        }
        crate::assert_complete(&orders.out(), shape);
        let mut left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["out", "store.redb"]);
        jobs += 1;
    }
    println!("{kills} kills in {jobs} jobs");
}
