//! What the event of a failure knows of the record that it happened at.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::sync::{Arc, Mutex};

use millstream::prelude::*;
use millstream::sink::{Batch, PendingCommit, Sink, SinkContext, SinkError, SinkRestore, SinkWriter};
use millstream::{Cause, CheckpointId, FailedRecord, JobEventKind, Limits, ReadRange};

/// Records that a keyed operator works on at a time: a longer batch has several such blocks.
const BLOCK_RECORDS: usize = 128;

/// A line of the file.
fn line(number: u64) -> String {
    format!("line {number}")
}

/// Runs a job that fails once for good, and gives what its event knows, and its line in the log.
fn failure(env: StreamEnvironment) -> (Cause, FailedRecord, String) {
    let env = env.checkpointing(Checkpointing::disabled()).restart_strategy(RestartStrategy::none());
    let job = env.start().expect("the job starts");
    job.wait().expect_err("it gives up");
    let failures = job.history().into_iter().filter_map(|event| match event.kind {
        JobEventKind::SubtaskFailed { ref cause, ref at, .. } => {
            Some((cause.clone(), *at.clone().expect("it is known"), event.kind.to_string()))
        }
        _ => None,
    });
    let failures: Vec<_> = failures.collect();
    let [only] = &failures[..] else { panic!("{failures:?}") };
    only.clone()
}

#[test]
fn panic_in_a_keyed_function_is_told_with_key_place_in_the_batch_and_the_lines_that_the_batch_has() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("in.txt");
    let mut file = std::fs::File::create(&path).expect("a file");
    (1..=3_000).for_each(|number| writeln!(file, "{}", line(number)).expect("written"));
    let env = StreamEnvironment::new("keyed").parallelism(1);
    env.source("lines", FileSource::lines(path.display().to_string()))
        .key_by(|line: &String| line.clone())
        .fold("seen", 0u64, |_, line| assert_ne!(line, "line 1500", "injected"))
        .sink("all", CollectSink::new());
    let (cause, at, text) = failure(env);
    assert!(matches!(&cause, Cause::Panicked(report) if report.message.contains("injected")), "{cause}");
    assert_eq!(at.operator.as_ref().map(ToString::to_string).as_deref(), Some("seen"));
    assert_eq!(at.key.as_deref(), Some("\"line 1500\""));
    // The function stands first in its task, so the two say together which record it was.
    let (first, last) = at.input.expect("it was in a batch");
    assert_eq!(first + at.index.expect("it is known") as u64, 1500);
    assert!(first <= 1500 && 1500 <= last && last - first < 1024, "{first} to {last}");
    let [read] = &at.read[..] else { panic!("{:?}", at.read) };
    assert_eq!((read.split.as_str(), read.source.to_string().as_str()), (path.to_str().expect("text"), "lines"));
    let line_of = |text: &str| text.strip_prefix("line ")?.split(' ').next()?.parse::<u64>().ok();
    assert_eq!((read.from.as_deref().and_then(line_of), line_of(&read.to)), (Some(first), Some(last + 1)));
    assert!(
        text.contains("at key \"line 1500\"") && text.contains(&format!("input records {first} to {last}")),
        "{text}"
    );
}

/// Panics at one record, and says which records each subtask has been given, that one last.
#[derive(Clone)]
struct Given {
    panics_at: u64,
    given: Arc<Mutex<[Vec<u64>; 2]>>,
    /// How many records it emits for each.
    emits: u64,
}

impl KeyedProcessFunction<u64, u64> for Given {
    type State = ValueState<u64>;
    type Out = u64;

    fn state(&self) -> ValueState<u64> {
        ValueState::new("last")
    }

    fn process(
        &mut self,
        n: u64,
        mut last: Row<'_, Self, u64, u64>,
        ctx: &mut KeyedContext<'_, u64>,
        out: &mut Emitter<'_, u64>,
    ) {
        self.given.lock().expect("nobody panics with it")[ctx.subtask() as usize].push(n);
        if n == self.panics_at {
            panic!("injected");
        }
        last.set(n);
        (0..self.emits).for_each(|_| out.emit(n));
    }
}

/// The input of a task behind an exchange is counted over all its channels.
#[test]
fn panic_in_a_keyed_function_behind_an_exchange_is_told_with_key_and_place_and_not_with_the_batchs_end() {
    let (mut subtasks, mut index_max) = (BTreeSet::new(), 0);
    // How long the batches are depends on how busy the machine is. So it goes on until a record in a later block of its batch
    // has failed, too.
    for (round, panics_at) in (5_000..).step_by(71).take(64).enumerate() {
        if round >= 9 && subtasks.len() == 2 && index_max >= BLOCK_RECORDS {
            break;
        }
        let given = Arc::<Mutex<[Vec<u64>; 2]>>::default();
        let env = StreamEnvironment::new("exchange").parallelism(2);
        env.source("numbers", SequenceSource::new(0..64_000))
            .key_by(|n| n % 1_000)
            .process("given", Given { panics_at, given: given.clone(), emits: 0 })
            .sink("all", CollectSink::new());
        let (cause, at, text) = failure(env);
        assert!(matches!(&cause, Cause::Panicked(report) if report.message.contains("injected")), "{cause}");
        assert_eq!(at.operator.as_ref().map(ToString::to_string).as_deref(), Some("given"));
        let key = (panics_at % 1_000).to_string();
        assert_eq!(at.key.as_deref(), Some(&*key));
        let given = given.lock().expect("nobody panics with it");
        let subtask = given.iter().position(|given| given.last() == Some(&panics_at)).expect("one has got it");
        let (number, index) = (given[subtask].len() as u64, at.index.expect("it is known"));
        let (first, last) = at.input.expect("it was in a batch");
        assert_eq!(first + index as u64, number, "of {first} to {last}");
        assert!(number <= last && last - first < 1_024, "{number} of {first} to {last}");
        assert!(at.read.is_empty(), "it has not read them itself: {:?}", at.read);
        let place =
            format!("at key {key}, record {index} from 0 of its batch, among its input records {first} to {last}");
        assert!(text.contains(&format!("subtask={}/2 panicked: 'injected'", subtask + 1)), "{text}");
        assert!(text.ends_with(&format!("in operator 'given', {place}")), "{text}");
        subtasks.insert(subtask);
        index_max = index_max.max(index);
    }
    assert!(index_max >= BLOCK_RECORDS, "all were in the first block of their batch: {index_max}");
    assert_eq!(subtasks.len(), 2, "both have failed at one");
}

/// The output fills up at each eleventh record, in the middle of a block, and the operator goes on with the rest of the batch.
#[test]
fn place_in_the_batch_is_right_where_the_output_has_filled_up_before() {
    for panics_at in [1_300, 1_777] {
        let given = Arc::<Mutex<[Vec<u64>; 2]>>::default();
        let env = StreamEnvironment::new("full").parallelism(1);
        env.source("numbers", SequenceSource::new(0..64_000))
            .key_by(|n| n % 1_000)
            .process("given", Given { panics_at, given: given.clone(), emits: 100 })
            .sink("all", CollectSink::new());
        let (_, at, text) = failure(env);
        let number = given.lock().expect("nobody panics with it")[0].len();
        let (first, _) = at.input.expect("it was in a batch");
        let index = at.index.expect("it is known");
        assert_eq!(first as usize + index, number, "{text}");
        assert!(index >= BLOCK_RECORDS, "it was in the first block of its batch: {text}");
    }
}

#[test]
fn error_of_a_function_is_told_with_its_operator_and_the_numbers_that_the_batch_has() {
    let mut limits = Limits::default();
    limits.emit_per_call_max = 10;
    let env = StreamEnvironment::new("error").parallelism(1).limits(limits);
    env.source("numbers", SequenceSource::new(0..64_000))
        .flat_map(|n: u64, out| (0..if n == 2_500 { 11 } else { 1 }).for_each(|_| out.emit(n)))
        .name("many")
        .sink("all", CollectSink::new());
    let (cause, at, _) = failure(env);
    assert!(matches!(cause, Cause::Failed(_)), "{cause}");
    assert!(at.operator.is_some_and(|operator| operator.to_string().starts_with("flat_map")));
    assert_eq!((at.key, at.index), (None, None), "nothing is guessed");
    let (first, last) = at.input.expect("it was in a batch");
    assert!((first..=last).contains(&2_501), "{first} to {last}");
    // No barrier was before: from the beginning of its split on.
    let number = |text: Option<&str>| text.and_then(|text| text.strip_prefix("number ")?.parse::<u64>().ok());
    let holds = |read: &ReadRange| number(read.from.as_deref()) <= Some(2_500) && Some(2_500) < number(Some(&read.to));
    assert!(matches!(&at.read[..], [read] if holds(read)), "{:?}", at.read);
}

/// Refuses the batch with record 2,500.
struct Refuses;

impl Sink for Refuses {
    type Item = u64;

    fn open(&self, _: &SinkContext, _: SinkRestore) -> Result<Box<dyn SinkWriter<Item = u64>>, SinkError> {
        Ok(Box::new(Self))
    }
}

impl SinkWriter for Refuses {
    type Item = u64;

    fn write(&mut self, batch: &mut Batch<u64>) -> Result<(), SinkError> {
        assert!(!batch.as_slice().contains(&2_500), "injected");
        batch.clear();
        Ok(())
    }

    fn prepare(&mut self, _: CheckpointId) -> Result<Vec<PendingCommit>, SinkError> {
        Ok(Vec::new())
    }

    fn commit(&mut self, _: CheckpointId) -> Result<(), SinkError> {
        Ok(())
    }
}

#[test]
fn sink_that_panics_is_told_with_the_records_that_it_was_to_write() {
    let env = StreamEnvironment::new("sink").parallelism(1);
    env.source("numbers", VecSource::new((0..64_000).collect())).sink("refuses", Refuses);
    let (_, at, _) = failure(env);
    assert_eq!(at.operator.map(|operator| operator.to_string()).as_deref(), Some("refuses"));
    let (first, last) = at.input.expect("it was a batch");
    assert!((first..=last).contains(&2_501), "{first} to {last}");
    assert!(at.read.is_empty(), "it has not read them itself");
}

#[test]
fn failure_outside_a_batch_names_no_record() {
    let env = StreamEnvironment::new("end").parallelism(1);
    env.source("numbers", SequenceSource::new(0..10))
        .key_by(|n| n % 3)
        .process("ends", EndPanics)
        .sink("all", CollectSink::new());
    let (_, at, text) = failure(env);
    assert!(at.key.is_some_and(|key| key.parse::<u64>().is_ok_and(|key| key < 3)));
    assert_eq!((at.index, at.input, at.read.len()), (None, None, 0), "{text}");
}

/// Panics at the end of the input of its first key.
#[derive(Clone)]
struct EndPanics;

impl KeyedProcessFunction<u64, u64> for EndPanics {
    type State = ValueState<u64>;
    type Out = u64;

    fn state(&self) -> ValueState<u64> {
        ValueState::new("count")
    }

    fn process(
        &mut self,
        _: u64,
        mut count: Row<'_, Self, u64, u64>,
        _: &mut KeyedContext<'_, u64>,
        _: &mut Emitter<'_, u64>,
    ) {
        count.set(1);
    }

    fn end_of_input(&mut self, _: Row<'_, Self, u64, u64>, _: &mut KeyedContext<'_, u64>, _: &mut Emitter<'_, u64>) {
        panic!("injected at the end");
    }
}
