//! Processes that are killed while they send. The child processes are this same test binary, told by an environment variable.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::Mutex;

use futures_util::future::join_all;
use millstream::prelude::*;
use millstream::source::{IngestLogError, IngestOptions, IngestRecord};
use serde::{Deserialize, Serialize};

use crate::common::{checkpointed, child, committed_lines, sorted};
use crate::open;

const ORDERS: &str = "MILLSTREAM_INGEST_CHILD";
const SENDERS: usize = 16;

/// What a child is to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Orders {
    folder: PathBuf,
    parallelism: u32,
    /// To be sent.
    numbers: Vec<u64>,
    with_keys: bool,
}

/// What a child has said before it died.
#[derive(Debug, Default)]
struct Heard {
    tried: BTreeSet<u64>,
    acknowledged: BTreeSet<u64>,
}

impl Orders {
    /// Has a child follow them. It is killed after so many acknowledgements, if it does not end before.
    fn follow(&self, kill_after: usize, heard: &mut Heard) {
        let mut child = child("kills::life", ORDERS, serde_json::to_string(self).unwrap());
        let (mut acknowledged, mut was_locked) = (0, true);
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            let number = |word| line.strip_prefix(word).map(|number: &str| number.parse::<u64>().unwrap());
            heard.tried.extend(number("try "));
            if let Some(number) = number("ack ") {
                heard.acknowledged.insert(number);
                acknowledged += 1;
                if acknowledged == kill_after {
                    was_locked = is_locked(&self.folder);
                    child.kill().unwrap();
                }
            }
        }
        let status = child.wait().unwrap();
        assert!(status.success() || acknowledged >= kill_after, "{status}");
        // It may have done all before its words were read.
        assert!(was_locked || acknowledged == self.numbers.len(), "its log was open to others");
    }
}

/// Another process has it open.
fn is_locked(folder: &Path) -> bool {
    match IngestSource::<u64>::open(folder.join("log"), IngestOptions::new()) {
        Err(IngestLogError::Locked { .. }) => true,
        Err(error) => panic!("{error}"),
        Ok(log) => {
            crate::close(log);
            false
        }
    }
}

#[test]
#[ignore = "run by the other tests, in a process of its own"]
fn life() {
    let Ok(orders) = std::env::var(ORDERS) else { return };
    let orders: Orders = serde_json::from_str(&orders).unwrap();
    let (source, handle) =
        open(&orders.folder, IngestOptions::new().splits(3).buffer(100, 4_000).record_bytes_max(100));
    let env = checkpointed("killed", orders.parallelism, None)
        .snapshot_store(RedbStore::open(orders.folder.join("store")).unwrap());
    env.source("numbers", source).sink("out", FileSink::json_lines(orders.folder.join("out")));
    let job = env.start().unwrap();
    let left = Arc::new(Mutex::new(orders.numbers));
    let say = |word: &str, number: u64| {
        let mut stdout = std::io::stdout().lock();
        // Nobody reads any more: the parent is gone.
        if writeln!(stdout, "\n{word} {number}").and_then(|()| stdout.flush()).is_err() {
            std::process::exit(1);
        }
    };
    let sender = || async {
        loop {
            let Some(number) = left.lock().unwrap().pop() else { return };
            say("try", number);
            let record = IngestRecord::new(number);
            let record = if orders.with_keys { record.idempotency_key(number.to_string()) } else { record };
            handle.send(record).await.unwrap();
            say("ack", number);
        }
    };
    crate::wait(async {
        join_all((0..SENDERS).map(|_| sender())).await;
        job.drain().await.unwrap();
    });
}

/// What the job has put out in the end.
fn output(folder: &Path) -> Vec<u64> {
    let (source, _handle) = open(folder, IngestOptions::new());
    let env = checkpointed("killed", 2, None).snapshot_store(RedbStore::open(folder.join("store")).unwrap());
    env.source("numbers", source).sink("out", FileSink::json_lines(folder.join("out")));
    crate::wait(env.start().unwrap().finish()).unwrap();
    sorted(committed_lines(&folder.join("out")).iter().map(|line| line.parse().unwrap()).collect())
}

#[test]
fn process_killed_while_it_sends_has_each_acknowledged_record_in_its_output_once_and_no_other_twice() {
    let folder = tempfile::tempdir().unwrap();
    let mut heard = Heard::default();
    for (life, kill_after) in [1, 40, 7, 200, 100, 16, 333, 2].into_iter().enumerate() {
        let first = 10_000 * life as u64;
        let parallelism = [1, 2, 4][life % 3];
        let numbers = (first..first + 1_000).collect();
        let orders = Orders { folder: folder.path().to_owned(), parallelism, numbers, with_keys: false };
        orders.follow(kill_after, &mut heard);
    }
    let output = output(folder.path());
    let once: BTreeSet<u64> = output.iter().copied().collect();
    assert_eq!(once.len(), output.len(), "some twice");
    let lost: Vec<_> = heard.acknowledged.difference(&once).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    let invented: Vec<_> = once.difference(&heard.tried).collect();
    assert!(invented.is_empty(), "never sent: {invented:?}");
}

#[test]
fn records_sent_again_after_kills_with_their_idempotency_keys_count_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut heard = Heard::default();
    let all = 0..1_500_u64;
    for (life, kill_after) in [30, 100, 1, 250, 64, usize::MAX].into_iter().enumerate() {
        // All that is not known to be there, and the last ones that are.
        let known: Vec<u64> =
            heard.acknowledged.iter().copied().take(heard.acknowledged.len().saturating_sub(50)).collect();
        let numbers = all.clone().filter(|n| known.binary_search(n).is_err()).collect();
        let parallelism = [2, 1, 4][life % 3];
        let orders = Orders { folder: folder.path().to_owned(), parallelism, numbers, with_keys: true };
        orders.follow(kill_after, &mut heard);
    }
    assert!(output(folder.path()).into_iter().eq(all));
}
