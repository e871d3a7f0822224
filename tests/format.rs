//! The store and the savepoint in `tests/format/` are read: formats do not change unnoticed.
//!
//! Until a release nothing stored need be read by a later version, so a format that changes keeps its number, and the
//! files are made anew: `cargo test --test format --test format_states -- --ignored`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::Duration;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use millstream::prelude::*;
use millstream::snapshot::SavepointFile;
use millstream::{CheckpointId, JobEventKind, Limits};
use serde::{Deserialize, Serialize};

use copying::copy_all;

#[path = "common/copying.rs"]
mod copying;
#[path = "crash_common/watchdog.rs"]
mod watchdog;

/// What is kept.
const KEPT: &str = "tests/format/job";
/// One number per line. Its path is in the checkpoint.
const INPUT: &str = "tests/format/numbers.jsonl";
/// Lines of the input, and numbers of the sequence.
const NUMBERS: u64 = 2_500;
const KEYS: u64 = 5;

/// A state that is stored entry by entry, with named fields.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Extremes {
    least: Option<u64>,
    most: u64,
    seen: String,
}

/// What is written for each number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Figures {
    key: (String, u64),
    sum: u64,
    extremes: Extremes,
}

/// Keeps a number, which is stored as a column, and a struct, which is not.
#[derive(Clone)]
struct Running;

impl KeyedProcessFunction<(String, u64), (String, u64)> for Running {
    type Out = Figures;
    type State = (ValueState<u64>, ValueState<Extremes>);

    fn state(&self) -> Self::State {
        (ValueState::new("sum"), ValueState::new("extremes"))
    }

    fn process(
        &mut self,
        (_, number): (String, u64),
        (mut sum, mut extremes): Row<'_, Self, (String, u64), (String, u64)>,
        ctx: &mut KeyedContext<'_, (String, u64)>,
        out: &mut Emitter<'_, Figures>,
    ) {
        let (key, sum_before, extremes_before) = (ctx.key().clone(), sum.get().copied(), extremes.get().cloned());
        let figures = add(key, sum_before.unwrap_or(0), extremes_before.unwrap_or_default(), number);
        sum.set(figures.sum);
        extremes.set(figures.extremes.clone());
        out.emit(figures);
    }
}

fn add(key: (String, u64), sum: u64, extremes: Extremes, number: u64) -> Figures {
    let Extremes { least, most, mut seen } = extremes;
    if seen.len() < 20 {
        seen += &format!("{number},");
    }
    let extremes =
        Extremes { least: Some(least.map_or(number, |least| least.min(number))), most: most.max(number), seen };
    Figures { key, sum: sum + number, extremes }
}

/// Starts the job in `dir`, with its sources as slow as that.
fn start(dir: &Path, per_second: u64) -> JobHandle {
    let mut limits = Limits::default();
    // That of the restore is followed by those of many checkpoints.
    limits.history_len = 1 << 16;
    let env = StreamEnvironment::new("format")
        .parallelism(2)
        .limits(limits)
        .checkpointing(Checkpointing::every(Duration::from_millis(20)))
        .snapshot_store(RedbStore::open(dir.join("store.redb")).unwrap());
    let tagged = |numbers: DataStream<u64>, tag: &'static str| {
        numbers.parallelism(1).map(move |number| (tag.to_owned(), number)).parallelism(1)
    };
    let lines = tagged(env.source("lines", Throttled::new(FileSource::json_lines(INPUT), per_second)), "lines");
    let sequence = SequenceSource::new(0..NUMBERS).rate_per_second(per_second);
    lines
        .union(tagged(env.source("sequence", sequence), "sequence"))
        .key_by(|(tag, number)| (tag.clone(), number % KEYS))
        .process("running", Running)
        .sink("out", FileSink::json_lines(dir.join("out")));
    env.start().unwrap()
}

fn block_on<T>(what: &str, future: impl Future<Output = T>) -> T {
    let _watchdog = watchdog::Watchdog::watch(what, Duration::from_secs(50));
    actix_rt::System::new().block_on(future)
}

/// The published figures of each key, in order.
fn published(out: &Path) -> BTreeMap<(String, u64), Vec<Figures>> {
    let mut files: Vec<(Vec<u64>, String)> = Vec::new();
    for path in glob::glob(&format!("{}/part-*.jsonl", out.display())).unwrap() {
        let path = path.unwrap();
        let numbers = path.file_stem().unwrap().to_str().unwrap().split('-').skip(2);
        files.push((numbers.map(|number| number.parse().unwrap()).collect(), fs::read_to_string(path).unwrap()));
    }
    files.sort();
    let mut published: BTreeMap<_, Vec<Figures>> = BTreeMap::new();
    for line in files.iter().flat_map(|(_, text)| text.lines()) {
        let figures: Figures = serde_json::from_str(line).unwrap();
        published.entry(figures.key.clone()).or_default().push(figures);
    }
    published
}

fn expected() -> BTreeMap<(String, u64), Vec<Figures>> {
    let mut expected: BTreeMap<(String, u64), Vec<Figures>> = BTreeMap::new();
    for (tag, number) in ["lines", "sequence"].into_iter().flat_map(|tag| (0..NUMBERS).map(move |number| (tag, number)))
    {
        let key = (tag.to_owned(), number % KEYS);
        let figures = expected.entry(key.clone()).or_default();
        let (sum, extremes) = figures.last().map(|last| (last.sum, last.extremes.clone())).unwrap_or_default();
        figures.push(add(key, sum, extremes, number));
    }
    expected
}

#[test]
fn kept_store_is_resumed_where_it_ended() {
    let (kept, dir) = (Path::new(KEPT), tempfile::tempdir().unwrap());
    copy_all(&kept.join("out"), &dir.path().join("out"));
    let mut store = GzDecoder::new(File::open(kept.join("store.redb.gz")).unwrap());
    io::copy(&mut store, &mut File::create(dir.path().join("store.redb")).unwrap()).unwrap();
    let before: usize = published(&dir.path().join("out")).values().map(Vec::len).sum();
    assert!(before > 100 && before < 2 * NUMBERS as usize, "{before} records were published before");

    let (outcome, restored) = block_on("a resumed job", async {
        let job = start(dir.path(), 1_000_000);
        let outcome = job.clone().await.unwrap();
        let history = job.history();
        let restored = history.iter().find_map(|event| match event.kind {
            JobEventKind::Restored { checkpoint, .. } => Some(checkpoint),
            _ => None,
        });
        (outcome, restored)
    });
    assert_eq!((outcome.kind, outcome.already_complete, outcome.restarts), (OutcomeKind::Finished, false, 0));
    assert!(restored > Some(CheckpointId::NONE), "{restored:?}");
    assert!(published(&dir.path().join("out")) == expected(), "the output differs");
}

#[test]
fn kept_savepoint_is_read() {
    let file = SavepointFile::open(format!("{KEPT}/job.savepoint")).unwrap();
    let header = file.header();
    assert_eq!((header.job.as_str(), header.max_parallelism, header.is_final), ("format", 128, false));
    assert_eq!(header.written_by, "0.1.0");
    assert_eq!(header.checkpoint, file.manifest().checkpoint);
    let states: Vec<_> = header.states.iter().map(|state| (state.operator.as_str(), &*state.state)).collect();
    assert_eq!(
        states,
        [("lines", "positions"), ("running", "extremes"), ("running", "sum"), ("sequence", "positions")]
    );
    assert!(header.states.iter().all(|state| state.bytes > 0), "{header:?}");
    assert_eq!(file.verify().unwrap(), header.states.iter().map(|state| state.bytes).sum::<u64>());
}

#[test]
#[ignore = "writes the savepoint that is kept anew"]
fn write_the_savepoint() {
    let (target, dir) = (Path::new(KEPT).join("job.savepoint"), tempfile::tempdir().unwrap());
    fs::create_dir_all(KEPT).unwrap();
    let _ = fs::remove_file(&target);
    block_on("a job that stops with a savepoint", async {
        let job = start(dir.path(), 10_000);
        job.checkpoint().await.unwrap();
        job.stop_with_savepoint(target).await.unwrap();
    });
}

#[test]
#[ignore = "writes the store that is kept anew"]
fn write_the_store() {
    let (target, dir) = (Path::new(KEPT), tempfile::tempdir().unwrap());
    fs::create_dir_all(target).unwrap();
    let _ = fs::remove_dir_all(target.join("out"));
    block_on("a job that is drained", async {
        let job = start(dir.path(), 2_000);
        job.checkpoint().await.unwrap();
        job.checkpoint().await.unwrap();
        assert_eq!(job.drain().await.unwrap().kind, OutcomeKind::Drained);
    });
    copy_all(&dir.path().join("out"), &target.join("out"));
    let mut store = GzEncoder::new(File::create(target.join("store.redb.gz")).unwrap(), Compression::best());
    io::copy(&mut File::open(dir.path().join("store.redb")).unwrap(), &mut store).unwrap();
    store.finish().unwrap();
}
