//! Kills from outside, at any moment.

use std::fs;
use std::path::Path;

use crate::child::Orders;
use crate::crash_common::job::Shape;
use crate::crash_common::published::{self, Files};

const KILLS: usize = 50;
/// A life of the job that nobody kills has about so many marks, at the shape below.
const MARKS_MAX: u64 = 1_200;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

fn seed() -> u64 {
    let seed = std::env::var("MILLSTREAM_CRASH_SEED").ok().map(|seed| seed.parse().unwrap());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()) << 20 | 0x5eed);
    println!("MILLSTREAM_CRASH_SEED={seed}");
    seed
}

/// What may be seen after a crash: whole lines, no repeats, no gaps, and every file that was there before.
fn look(out: &Path, shape: Shape, before: &Files) -> Files {
    let files = published::files(out);
    published::assert_prefix(&published::records(&files), shape);
    for (file, bytes) in before {
        assert!(files.get(file) == Some(bytes), "{file:?} was published, and has changed since");
    }
    files
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
