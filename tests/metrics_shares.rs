//! What metrics say of bytes and of time: amounts that are nothing in jobs of numbers (M2 of `docs/semantics.md`), and the rates and
//! shares between two looks.

use std::fs;

use millstream::prelude::*;
use millstream::{JobMetrics, OperatorFigures, SubtaskRates};

use common::{HeldSink, run, watched};

mod common;

const LINES: usize = 5_000;

/// Bytes of an operator over its subtasks: those that came in, and those that went out.
fn bytes_of(metrics: &JobMetrics, operator: &str) -> (u64, u64) {
    let operators = metrics.subtasks.iter().flat_map(|subtask| &subtask.operators);
    let figures: Vec<OperatorFigures> =
        operators.filter(|of| of.operator.as_str() == operator).map(|of| of.of_run).collect();
    (figures.iter().map(|of| of.bytes_in).sum(), figures.iter().map(|of| of.bytes_out).sum())
}

/// Runs a job that reads these lines, and sends each on to another task if it `is_shuffled`.
fn read(lines: &[String], is_shuffled: bool) -> JobMetrics {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("lines.txt").to_str().expect("a temporary name").to_owned();
    fs::write(&path, lines.join("\n")).expect("written");
    run("a job that reads lines", move |handles| async move {
        let env = StreamEnvironment::new("bytes").parallelism(2);
        let lines = env.source("lines", FileSource::lines(path)).map(|line| line);
        let lines = if is_shuffled { lines.rebalance() } else { lines };
        lines.map(|line| line.len()).for_each("out", |_| {});
        let job = env.start().expect("starts");
        watched(&handles, &job);
        job.clone().await.expect("finished");
        job.metrics()
    })
}

/// M2.
#[test]
fn bytes_in_and_out_are_those_of_the_lines_that_are_read() {
    let of_all_lengths: Vec<String> = (0..LINES).map(|n| "x".repeat(n * 7 % 97)).collect();
    let of_one_length: Vec<String> = (0..LINES).map(|n| format!("{n:0>33}")).collect();
    for (lines, is_shuffled) in [(of_all_lengths, false), (of_one_length, true)] {
        let total = lines.iter().map(|line| line.len() as u64).sum::<u64>();
        assert!(total > 100_000);
        let metrics = read(&lines, is_shuffled);
        for operator in ["lines", "map#1", "map#2"] {
            assert_eq!(bytes_of(&metrics, operator), (total, total), "{operator} of {metrics:?}");
        }
        assert_eq!(bytes_of(&metrics, "out").0, total, "{metrics:?}");
        let channels = metrics.subtasks.iter().flat_map(|subtask| &subtask.channels);
        let sent = channels.map(|channel| channel.of_run.bytes).sum::<u64>();
        let (received, out): (Vec<u64>, Vec<u64>) =
            metrics.subtasks.iter().map(|subtask| (subtask.of_run.bytes_in, subtask.of_run.bytes_out)).unzip();
        // The sink is a task of its own.
        let over_channels = if is_shuffled { 2 * total } else { total };
        assert_eq!((sent, out.iter().sum::<u64>()), (over_channels, over_channels), "{metrics:?}");
        // What a source reads is what it takes.
        assert_eq!(received.iter().sum::<u64>(), total + over_channels, "{metrics:?}");
    }
}

fn sum_of_shares(rates: &SubtaskRates) -> f64 {
    rates.busy + rates.back_pressured + rates.idle + rates.waiting
}

/// Looks until the rates since `before` are as they are wanted, and the shares of each task come to all of its time. Figures are read
/// shortly after the time of a look is: the longer between two looks, the less that is.
async fn rates(job: &JobHandle, before: &JobMetrics, is_it: impl Fn(&[SubtaskRates]) -> bool) -> Vec<SubtaskRates> {
    loop {
        let rates = job.metrics().rates_since(before);
        for share in rates.iter().flat_map(|of| [of.busy, of.back_pressured, of.idle, of.waiting]) {
            assert!((0.0..=1.0).contains(&share), "{rates:?}");
        }
        if is_it(&rates) && rates.iter().all(|of| (sum_of_shares(of) - 1.0).abs() < 0.02) {
            return rates;
        }
        tokio::task::yield_now().await;
    }
}

#[test]
fn shares_of_a_task_come_to_all_of_its_time_and_one_whose_receiver_is_stuck_is_back_pressured() {
    run("a job whose sink is held", |handles| async move {
        let (sink, release) = HeldSink::new();
        let env = StreamEnvironment::new("held").parallelism(1).checkpointing(Checkpointing::disabled());
        env.source("numbers", SequenceSource::unbounded())
            .map(|n| n)
            .start_new_chain()
            .name("receives")
            .sink("out", sink);
        let job = env.start().expect("starts");
        watched(&handles, &job);
        // The sender has used up its credits, and waits.
        let before = loop {
            let metrics = job.metrics();
            let sender = metrics.subtasks.iter().find(|subtask| subtask.task.contains("numbers"));
            if sender.is_some_and(|sender| sender.of_run.waiting_batches > 0) {
                break metrics;
            }
            tokio::task::yield_now().await;
        };
        let sender = |rates: &[SubtaskRates]| {
            rates.iter().find(|of| of.task.contains("numbers")).cloned().expect("it has started")
        };
        // It may have been kept from its thread before it began to wait: that is less and less of the whole.
        let is_held = |rates: &[SubtaskRates]| {
            let held = sender(rates);
            held.back_pressured > 0.9 && held.busy < 0.1 && held.idle < 0.1
        };
        rates(&job, &before, is_held).await;

        // It goes on once its receiver does.
        let before = job.metrics();
        drop(release);
        let flows = |rates: &[SubtaskRates]| {
            let sender = sender(rates);
            sender.busy > 0.0 && sender.records_out_per_second > 0.0 && sender.back_pressured < 1.0
        };
        rates(&job, &before, flows).await;
        job.cancel().await.expect("cancelled");
    });
}
