//! Processes that are killed while they ask. The child processes are this same test binary, told by an environment variable.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write as _};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use futures_util::future::join_all;
use millstream::prelude::*;
use serde::{Deserialize, Serialize};

use crate::common::child;
use crate::{Balance, assert_each_once, bank, deposit, open, options};

const ORDERS: &str = "MILLSTREAM_ASKING_CHILD";
const ASKERS: usize = 16;

/// What a child is to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Orders {
    folder: PathBuf,
    parallelism: u32,
    /// To be asked.
    numbers: Vec<u64>,
    interval_ms: u64,
}

impl Orders {
    /// Has a child follow them. It is killed after so many answers, if it does not end before. Each answer must be that which
    /// was given before.
    fn follow(&self, kill_after: usize, given: &mut BTreeMap<u64, Balance>) {
        let mut child = child("kills::life", ORDERS, serde_json::to_string(self).unwrap());
        let mut answers = 0;
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            let Some(answer) = line.strip_prefix("answer ") else { continue };
            let (number, balance): (u64, Balance) = serde_json::from_str(answer).unwrap();
            let known = given.entry(number).or_insert_with(|| balance.clone());
            assert_eq!(*known, balance, "deposit {number} was answered otherwise before");
            answers += 1;
            if answers == kill_after {
                child.kill().unwrap();
            }
        }
        let status = child.wait().unwrap();
        assert!(status.success() || answers >= kill_after, "{status}");
    }
}

#[test]
#[ignore = "run by the other tests, in a process of its own"]
fn life() {
    let Ok(orders) = std::env::var(ORDERS) else { return };
    let orders: Orders = serde_json::from_str(&orders).unwrap();
    let (source, requests) = open(&orders.folder, options());
    let env = StreamEnvironment::new("bank")
        .parallelism(orders.parallelism)
        .snapshot_store(RedbStore::open(orders.folder.join("store")).unwrap())
        .checkpointing(Checkpointing::every(Duration::from_millis(orders.interval_ms)));
    bank(&env, (source, &requests), || {});
    let job = env.start().unwrap();
    let left = Mutex::new(orders.numbers);
    let asker = || async {
        loop {
            let Some(number) = left.lock().unwrap().pop() else { return };
            let answer = requests.ask(deposit(number)).await.unwrap();
            let mut stdout = std::io::stdout().lock();
            let line = serde_json::to_string(&(number, answer)).unwrap();
            // Nobody reads any more: the parent is gone.
            if writeln!(stdout, "\nanswer {line}").and_then(|()| stdout.flush()).is_err() {
                std::process::exit(1);
            }
        }
    };
    crate::wait(async {
        join_all((0..ASKERS).map(|_| asker())).await;
        job.drain().await.unwrap();
    });
}

// Guarantees A1, A2.
#[test]
fn requests_asked_again_after_kills_with_their_idempotency_keys_are_processed_once_and_answered_alike() {
    let folder = tempfile::tempdir().unwrap();
    let mut given = BTreeMap::new();
    for (life, kill_after) in [1, 40, 7, 200, 3, 111, 16, 64, usize::MAX].into_iter().enumerate() {
        // All, in another order each time: those that were answered, and those that were not.
        let mut numbers: Vec<u64> = (1..=400).collect();
        numbers.rotate_left(150 * life % 400);
        let parallelism = [2, 1, 4][life % 3];
        let interval_ms = [3_600_000, 5][life % 2];
        Orders { folder: folder.path().to_owned(), parallelism, numbers, interval_ms }.follow(kill_after, &mut given);
    }
    assert_eq!(given.len(), 400);
    assert_each_once(&given.into_iter().collect::<Vec<_>>());
}
