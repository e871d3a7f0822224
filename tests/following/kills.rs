//! Processes that are killed while they follow. The child processes are this same test binary, told by an environment variable.

use std::io::{BufRead, BufReader, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use millstream::prelude::*;
use serde::{Deserialize, Serialize};

use crate::common::{checkpointed, child, committed_lines, sorted};
use crate::jobs::{Writer, draw, expected};
use crate::rig::Logs;

const ORDERS: &str = "MILLSTREAM_FOLLOW_CHILD";

/// What a child is to do.
#[derive(Debug, Serialize, Deserialize)]
struct Orders {
    pattern: String,
    folder: PathBuf,
    parallelism: u32,
    finishes: bool,
}

#[test]
#[ignore = "run by the other test, in a process of its own"]
fn life() {
    let Ok(orders) = std::env::var(ORDERS) else { return };
    let orders: Orders = serde_json::from_str(&orders).unwrap();
    let env = checkpointed("killed", orders.parallelism, None)
        .snapshot_store(RedbStore::open(orders.folder.join("store")).unwrap());
    let source = FileSource::lines(orders.pattern).follow(Follow::every(Duration::from_millis(2)));
    env.source("lines", source).sink("out", FileSink::lines(orders.folder.join("out")));
    let job = env.start().unwrap();
    actix_rt::System::new().block_on(async move {
        if orders.finishes {
            job.finish().await.unwrap();
            return;
        }
        loop {
            job.checkpoint().await.unwrap();
            let mut stdout = std::io::stdout().lock();
            // Nobody reads any more: the parent is gone.
            if writeln!(stdout, "\ncheckpoint").and_then(|()| stdout.flush()).is_err() {
                std::process::exit(1);
            }
        }
    });
}

fn spawn(orders: &Orders) -> std::process::Child {
    child("kills::life", ORDERS, serde_json::to_string(orders).unwrap())
}

#[test]
fn process_killed_while_files_grow_and_are_rotated_has_each_line_in_its_output_once() {
    let (logs, folder) = (Logs::new(), tempfile::tempdir().unwrap());
    let mut writer = Writer { logs: &logs, written: 0, files: 0, draw };
    let orders = |parallelism, finishes| Orders {
        pattern: logs.pattern("app.log*"),
        folder: folder.path().to_owned(),
        parallelism,
        finishes,
    };
    for (life, kill_after) in [1, 5, 2, 12, 7, 3].into_iter().enumerate() {
        let mut child = spawn(&orders([1, 2, 4][life % 3], false));
        let mut checkpoints = 0;
        writer.step();
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            if line.unwrap() == "checkpoint" {
                writer.step();
                checkpoints += 1;
                if checkpoints == kill_after {
                    child.kill().unwrap();
                }
            }
        }
        child.wait().unwrap();
        assert!(checkpoints >= kill_after, "it died by itself");
        writer.step();
    }
    let mut child = spawn(&orders(2, true));
    let out = std::io::read_to_string(child.stdout.take().unwrap()).unwrap();
    assert!(child.wait().unwrap().success(), "{out}");
    assert_eq!(sorted(committed_lines(&folder.path().join("out"))), expected(writer.written));
}
