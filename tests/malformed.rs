//! Input that does not parse, input and output that are not there, and closures that panic: what a job makes of each.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use millstream::prelude::*;
use millstream::sink::{Collected, FileSinkError};
use millstream::source::{FileSourceError, MalformedRecord};
use millstream::{Cause, Fault, JobEventKind, TaskError};
use serde::{Deserialize, Serialize};

#[path = "crash_common/watchdog.rs"]
mod watchdog;

use watchdog::Watchdog;

/// More rows before and after the mistakes than fit into a batch.
const ROWS: u32 = 3_000;
/// Rows that do not parse.
const BAD: [u32; 2] = [1_500, 2_999];

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Row {
    id: u32,
    note: String,
}

#[derive(Clone, Copy, Debug)]
enum Format {
    Csv,
    Json,
}

impl Format {
    fn source(self, path: &Path) -> FileSource<Row> {
        let path = path.to_str().unwrap();
        match self {
            Self::Csv => FileSource::csv(path),
            Self::Json => FileSource::json_lines(path),
        }
    }

    /// Writes rows, of which those in `bad` have a word for a number.
    fn write(self, dir: &Path, bad: &[u32]) -> PathBuf {
        let mut text = String::new();
        if let Self::Csv = self {
            text += "note,id\n";
        }
        for id in 0..ROWS {
            let number = if bad.contains(&id) { "seven".into() } else { id.to_string() };
            text += &match self {
                Self::Csv => format!("n{id},{number}\n"),
                Self::Json => format!("{{\"note\":\"n{id}\",\"id\":{number}}}\n"),
            };
        }
        let path = dir.join("rows.txt");
        fs::write(&path, text).unwrap();
        path
    }

    /// Line and column of the mistake in row `id`.
    fn place(self, id: u32) -> (u64, u64) {
        let digits = id.to_string().len() as u64;
        match self {
            Self::Csv => (u64::from(id) + 2, 1 + digits + 2),
            // Where the JSON parser gives up: at the word's first letter.
            Self::Json => (u64::from(id) + 1, format!("{{\"note\":\"n{id}\",\"id\":").len() as u64 + 1),
        }
    }
}

fn block_on<T>(what: &str, future: impl Future<Output = T>) -> T {
    let _watchdog = Watchdog::watch(what, Duration::from_secs(50));
    actix_rt::System::new().block_on(future)
}

/// Runs a job over `source`. Its end, what it collected, and how often a region was restarted.
fn run(source: FileSource<Row>) -> (Result<JobOutcome, JobError>, Collected<Row>, usize) {
    let sink = CollectSink::new();
    let collected = sink.handle();
    let (outcome, restarts) = block_on("a job over rows", async {
        let env = StreamEnvironment::new("rows");
        env.source("rows", source).sink("collected", sink);
        let job = env.start().unwrap();
        (job.clone().await, restarts(&job))
    });
    (outcome, collected, restarts)
}

fn restarts(job: &JobHandle) -> usize {
    let history = job.history();
    history.iter().filter(|event| matches!(event.kind, JobEventKind::RegionRestarting { .. })).count()
}

/// All rows but those in `bad`.
fn rows_without(bad: &[u32]) -> Vec<Row> {
    let good = (0..ROWS).filter(|id| !bad.contains(id));
    good.map(|id| Row { id, note: format!("n{id}") }).collect()
}

#[test]
fn malformed_record_ends_the_job_at_once_with_file_line_and_column() {
    for format in [Format::Csv, Format::Json] {
        let dir = tempfile::tempdir().unwrap();
        let input = format.write(dir.path(), &BAD);
        let (outcome, _, restarts) = run(format.source(&input));
        let error = outcome.unwrap_err();
        let Some(TaskError::Source(source)) = error.task_error() else { panic!("{error}") };
        let Some(FileSourceError::Malformed { path, line, column, reason, .. }) = source.reason().downcast_ref() else {
            panic!("{error}")
        };
        assert_eq!((path, (*line, *column)), (&input, format.place(BAD[0])), "{format:?}: {reason}");
        assert!(matches!(error, JobError::Failed { .. }) && restarts == 0, "{restarts} restarts do not mend a file");
        assert_eq!(error.fault(), Fault::External);
        let place = format!("{}:{line}:{column}", input.display());
        assert!(error.to_string().contains(&place) && error.to_string().contains("on_malformed"), "{error}");
    }
}

#[test]
fn mended_input_is_read_on_from_the_last_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let life = |input: &Path| {
        block_on("a life", async {
            let env = StreamEnvironment::new("rows")
                .checkpointing(Checkpointing::every(Duration::from_millis(2)))
                .snapshot_store(RedbStore::open(dir.path().join("store.redb")).unwrap());
            let rows = Throttled::new(Format::Json.source(input), 30_000);
            env.source("rows", rows).sink("out", FileSink::json_lines(&out));
            env.start().unwrap().await
        })
    };
    let input = Format::Json.write(dir.path(), &BAD);
    assert!(matches!(life(&input), Err(JobError::Failed { .. })));
    Format::Json.write(dir.path(), &[]);
    assert_eq!(life(&input).unwrap().kind, OutcomeKind::Finished);
    let mut rows: Vec<Row> = Vec::new();
    for path in glob::glob(&format!("{}/part-*", out.display())).unwrap() {
        let text = fs::read_to_string(path.unwrap()).unwrap();
        rows.extend(text.lines().map(|line| serde_json::from_str::<Row>(line).unwrap()));
    }
    rows.sort();
    assert!(rows == rows_without(&[]), "{} rows", rows.len());
}

#[test]
fn skipped_records_are_counted_and_the_rest_goes_on() {
    for format in [Format::Csv, Format::Json] {
        let dir = tempfile::tempdir().unwrap();
        let source = format.source(&format.write(dir.path(), &BAD)).on_malformed(OnMalformed::Skip);
        let count = source.malformed_count();
        let (outcome, collected, restarts) = run(source);
        assert_eq!((outcome.unwrap().kind, restarts), (OutcomeKind::Finished, 0));
        assert!(collected.snapshot() == rows_without(&BAD), "{format:?}: {} rows", collected.len());
        assert_eq!(count.load(Ordering::Relaxed), 2);
    }
}

#[test]
fn side_output_gets_malformed_records_with_their_places() {
    for format in [Format::Csv, Format::Json] {
        let dir = tempfile::tempdir().unwrap();
        let input = format.write(dir.path(), &BAD);
        let tag = OutputTag::<MalformedRecord>::new("malformed");
        let (good, bad) = (CollectSink::new(), CollectSink::new());
        let (collected, malformed) = (good.handle(), bad.handle());
        block_on("a job with a side output", async {
            let env = StreamEnvironment::new("rows");
            let rows = format.source(&input).on_malformed(OnMalformed::SideOutput(tag.clone()));
            let rows = env.source("rows", rows);
            rows.side_output(&tag).sink("malformed", bad);
            rows.sink("rows-out", good);
            env.start().unwrap().await.unwrap()
        });
        assert!(collected.snapshot() == rows_without(&BAD), "{format:?}: {} rows", collected.len());
        let malformed = malformed.snapshot();
        let places: Vec<_> = malformed.iter().map(|record| (record.line, record.column)).collect();
        assert_eq!(places, BAD.map(|id| format.place(id)));
        for (record, id) in malformed.iter().zip(BAD) {
            assert_eq!(&*record.path, input.to_str().unwrap());
            assert!(record.text.contains("seven") && record.text.contains(&format!("n{id}")), "{record:?}");
        }
    }
}

#[test]
fn missing_input_ends_the_job_at_once_with_the_pattern() {
    for pattern in ["missing.csv", "missing/*.csv", "*.csv"] {
        let dir = tempfile::tempdir().unwrap();
        let pattern = dir.path().join(pattern);
        let (outcome, _, restarts) = run(FileSource::csv(pattern.to_str().unwrap()));
        let error = outcome.unwrap_err();
        let Some(TaskError::Source(source)) = error.task_error() else { panic!("{error}") };
        assert_eq!(source.location(), "source configuration", "{error}");
        assert!(matches!(error, JobError::Failed { .. }) && restarts == 0, "{error}, {restarts} restarts");
        assert_eq!(error.fault(), Fault::User);
        assert!(error.to_string().contains(pattern.to_str().unwrap()), "{error}");
    }
}

// Cause: what fails again by nature was retried as often as the strategy says, for two minutes. Repair: the cause decides.
#[test]
fn input_that_no_retry_mends_ends_the_job_at_once() {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in
        [("plain.gz", &b"note,id\n"[..]), ("cut.gz", b"\x1F\x8B\x08\0"), ("utf-16.csv", b"\xFF\xFEn\0")]
    {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        let (outcome, _, restarts) = run(FileSource::csv(path.to_str().unwrap()));
        let error = outcome.unwrap_err();
        let Some(TaskError::Source(source)) = error.task_error() else { panic!("{error}") };
        let reason = source.reason().downcast_ref();
        assert!(matches!(reason, Some(FileSourceError::Gzip { .. } | FileSourceError::Encoding { .. })), "{error}");
        assert!(matches!(error, JobError::Failed { .. }) && restarts == 0, "{restarts} restarts do not mend a file");
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn record_of_which_json_would_lose_a_number_ends_the_job_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (error, restarts) = block_on("a job that writes NaN", async {
        let env = StreamEnvironment::new("rows");
        env.source("numbers", SequenceSource::new(0..10))
            .map(|n| (n, [1.0 / n as f64, (n as f64 - 7.0).sqrt().ln()]))
            .sink("out", FileSink::json_lines(dir.path()));
        let job = env.start().unwrap();
        (job.clone().await.unwrap_err(), restarts(&job))
    });
    let Some(TaskError::Sink(sink)) = error.task_error() else { panic!("{error}") };
    let Some(FileSinkError::Lossy { field, .. }) = sink.reason().downcast_ref() else { panic!("{error}") };
    assert_eq!((field.as_str(), restarts, error.fault()), ("[1][0]", 0, Fault::User), "{error}");
}

#[test]
fn output_directory_with_a_file_in_the_way_is_an_error_that_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let way = dir.path().join("out");
    fs::write(&way, "not a directory").unwrap();
    let error = block_on("a job without a directory", async {
        let retries = RestartStrategy::fixed_delay(2, Duration::from_millis(1));
        let env = StreamEnvironment::new("rows").restart_strategy(retries);
        env.source("numbers", SequenceSource::new(0..10)).sink("out", FileSink::json_lines(way.join("deeper")));
        env.start().unwrap().await.unwrap_err()
    });
    let Some(TaskError::Sink(sink)) = error.task_error() else { panic!("{error}") };
    assert!(matches!(sink.reason().downcast_ref(), Some(FileSinkError::Io { .. })), "{error}");
    assert!(error.to_string().contains(way.to_str().unwrap()), "{error}");
    assert_eq!(fs::read_to_string(&way).unwrap(), "not a directory");
}

#[test]
fn closure_that_always_panics_is_restarted_as_often_as_the_strategy_says() {
    let (error, restarts) = block_on("a job that panics", async {
        let retries = RestartStrategy::fixed_delay(3, Duration::from_millis(1));
        let env = StreamEnvironment::new("panics").restart_strategy(retries);
        env.source("numbers", SequenceSource::new(0..10))
            .map(|number| if number == 7 { panic!("no sevens here") } else { number })
            .sink("out", CollectSink::new());
        let job = env.start().unwrap();
        (job.clone().await.unwrap_err(), restarts(&job))
    });
    let JobError::GaveUp { failures, history, .. } = &error else { panic!("{error}") };
    assert_eq!((*failures, history.len(), restarts), (4, 4, 3));
    for failure in history {
        let Cause::Panicked(report) = &failure.cause else { panic!("{failure}") };
        assert_eq!(report.message, "no sevens here");
        assert!(report.location.as_ref().is_some_and(|location| location.contains("malformed.rs")), "{report}");
    }
    assert!(error.task_error().is_none() && error.fault() == Fault::User);
}
