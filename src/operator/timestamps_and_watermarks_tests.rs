use millstream_actors::contract::{Emitted, RestoredState};
use millstream_actors::protocol::{CheckpointId, NO_TIME};

use super::*;
use crate::operator::{ProcessContext, ProcessFunction, ProcessOperator, SideOutputs, States};
use crate::state::OperatorListState;
use crate::state::test_kit::Random;
use crate::testing::OperatorHarness;
use crate::time::{ManualClock, WatermarkGenerator};

/// Records are out of order by less than this.
const BOUND_MS: i64 = 50;

/// What came out: a record with its time, or a mark.
type Told = Result<(i64, Option<Timestamp>), Mark>;

fn bounded(bound_ms: i64) -> WatermarkStrategy<i64> {
    WatermarkStrategy::bounded_out_of_orderness(Duration::from_millis(bound_ms as u64), |time: &i64| *time)
}

fn operator(strategy: &WatermarkStrategy<i64>, subtask: u32, parallelism: u32) -> TimestampsAndWatermarks<i64> {
    let share = Share { subtask, parallelism };
    TimestampsAndWatermarks::new("times".into(), share, strategy, Arc::new(ManualClock::new()))
}

fn budget() -> RunBudget {
    RunBudget::start_by(Some(|| Duration::ZERO))
}

fn told(out: &mut Output<i64>) -> Vec<Told> {
    let mut told = Vec::new();
    out.drain(|emitted| match emitted {
        Emitted::Mark(mark) => told.push(Err(mark)),
        Emitted::Batch(batch) => {
            let times: Vec<_> = (0..batch.len()).map(|place| batch.time(place)).collect();
            told.extend(batch.drain().zip(times).map(Ok));
        }
    });
    told
}

/// Gives it one batch, and takes its output whenever it has some.
fn feed(operator: &mut TimestampsAndWatermarks<i64>, records: &[i64]) -> Vec<Told> {
    let (mut input, mut out, mut all) = (records.iter().copied().collect(), Output::new(), Vec::new());
    while operator.process(&mut input, &mut out, &mut budget()).unwrap() == Progress::Suspended {
        all.extend(told(&mut out));
    }
    all.extend(told(&mut out));
    all
}

fn marked(operator: &mut TimestampsAndWatermarks<i64>, mark: Mark) -> Vec<Told> {
    let mut out = Output::new();
    assert_eq!(operator.mark(mark, &mut out, &mut budget()).unwrap(), Progress::Done);
    told(&mut out)
}

fn woken(operator: &mut TimestampsAndWatermarks<i64>) -> Vec<Told> {
    let mut out = Output::new();
    assert_eq!(operator.wake(&mut out, &mut budget()).unwrap(), Progress::Done);
    told(&mut out)
}

fn saved(operator: &mut dyn Stateful, subtask: u32) -> Vec<RestoredSection> {
    let mut writer = SectionWriter::new(CheckpointId(1), CheckpointId::NONE, subtask);
    writer.set_operator(&"times".into());
    assert_eq!(operator.snapshot(&mut writer).unwrap(), Progress::Done);
    let chunks = writer.finish().0.into_iter().map(|chunk| (chunk.reference.address, chunk.bytes));
    RestoredState::from_chunks(chunks).take(&"times".into())
}

fn at(record: i64) -> Told {
    Ok((record, Some(record)))
}

fn watermark(at: Timestamp) -> Told {
    Err(Mark::Watermark(at))
}

#[test]
fn records_get_new_times_and_the_watermark_follows_behind_the_batch() {
    let mut times = operator(&bounded(5), 0, 1);
    let mut input: Batch<i64> = [10, 30, 20].into_iter().collect();
    input.set_times(|record, _| -record);
    let mut out = Output::new();
    assert_eq!(times.process(&mut input, &mut out, &mut budget()).unwrap(), Progress::Done);
    assert_eq!(told(&mut out), [at(10), at(30), at(20), watermark(24)]);
    assert_eq!(feed(&mut times, &[25, 12]), [at(25), at(12)], "nothing new is known");
    let long: Vec<i64> = (100..3_000).collect();
    let all = feed(&mut times, &long);
    assert_eq!(all.len(), long.len() + 1, "one watermark for a batch, in however many pieces it is worked off");
    assert_eq!(all.last(), Some(&watermark(2_993)));
}

#[test]
fn times_that_records_have_already_are_told_to_the_generator() {
    struct Later;
    impl WatermarkGenerator<i64> for Later {
        fn timestamp(&mut self, record: &i64, known: Option<Timestamp>) -> Timestamp {
            known.map_or(NO_TIME, |known| known + record)
        }
        fn watermark(&mut self) -> Option<Timestamp> {
            Some(Timestamp::MAX)
        }
    }
    let mut times = operator(&WatermarkStrategy::custom(|| Later), 0, 1);
    let (mut input, mut out) = (Batch::new(), Output::new());
    input.push_at(3, 8, 100);
    input.push(4, 8);
    assert_eq!(times.process(&mut input, &mut out, &mut budget()).unwrap(), Progress::Done);
    assert_eq!(told(&mut out), [Ok((3, Some(103))), Ok((4, None)), watermark(Timestamp::MAX - 1)]);
}

#[test]
fn what_the_stream_before_says_of_event_time_ends_here_and_its_end_does_not() {
    let mut times = operator(&bounded(0), 0, 1);
    assert_eq!(feed(&mut times, &[10]), [at(10), watermark(9)]);
    assert!(marked(&mut times, Mark::Watermark(500)).is_empty() && marked(&mut times, Mark::Idle).is_empty());
    assert_eq!(feed(&mut times, &[20]), [at(20), watermark(19)]);
    assert_eq!(marked(&mut times, Mark::End), [Err(Mark::End)]);
}

#[test]
fn punctuation_moves_time_behind_its_batch() {
    let punctuated = WatermarkStrategy::punctuated(|time: &i64| *time, |_, time| (time % 10 == 0).then_some(time));
    let mut times = operator(&punctuated, 0, 1);
    assert_eq!(feed(&mut times, &[7]), [at(7)]);
    assert_eq!(feed(&mut times, &[20, 21, 10]), [at(20), at(21), at(10), watermark(20)]);
    let stored = saved(&mut times, 0);
    let mut restored = operator(&punctuated, 0, 1);
    restored.restore(stored).unwrap();
    assert_eq!(feed(&mut restored, &[20, 25]), [watermark(20), at(20), at(25)], "what was said is not said anew");
    assert_eq!(feed(&mut restored, &[30]), [at(30), watermark(30)]);
}

#[test]
fn a_restored_one_says_what_it_had_said_before_anything_else() {
    let mut times = operator(&bounded(5), 0, 1);
    let nothing = saved(&mut times, 0);
    feed(&mut times, &[100]);
    let said = saved(&mut times, 0);
    let restored = |sections: &[RestoredSection]| {
        let mut restored = operator(&bounded(5), 0, 1);
        restored.restore(sections.to_vec()).unwrap();
        restored
    };
    assert_eq!(feed(&mut restored(&said), &[90, 101]), [watermark(94), at(90), at(101), watermark(95)]);
    assert_eq!(marked(&mut restored(&said), Mark::End), [watermark(94), Err(Mark::End)]);
    let mut woken_first = restored(&said);
    assert_eq!(woken_first.due(), Some(Duration::ZERO), "it does not wait for input");
    assert_eq!(woken(&mut woken_first), [watermark(94)]);
    assert_eq!((woken_first.due(), feed(&mut woken_first, &[90])), (None, vec![at(90)]), "once");
    let mut had_said_nothing = restored(&nothing);
    assert_eq!((had_said_nothing.due(), feed(&mut had_said_nothing, &[3])), (None, vec![at(3), watermark(-3)]));
}

/// What each of `to` subtasks says first after a restore of subtasks that had each said one of these, or nothing.
fn rescaled(said: &[Option<i64>], to: u32) -> Vec<Option<Told>> {
    let parallelism = said.len() as u32;
    let subtasks = (0..parallelism).zip(said).map(|(subtask, said)| {
        let mut times = operator(&bounded(0), subtask, parallelism);
        said.iter().for_each(|at| drop(feed(&mut times, &[at + 1])));
        saved(&mut times, subtask)
    });
    let sections: Vec<_> = subtasks.flatten().collect();
    let first = |subtask| {
        let mut restored = operator(&bounded(0), subtask, to);
        restored.restore(sections.clone()).unwrap();
        assert_eq!(restored.due(), restored.is_to_repeat.then_some(Duration::ZERO));
        woken(&mut restored).first().copied()
    };
    (0..to).map(first).collect()
}

#[test]
fn each_has_its_own_watermark_back_and_at_another_parallelism_the_least_of_all() {
    let own = [Some(watermark(50)), Some(watermark(20)), Some(watermark(90))];
    assert_eq!(rescaled(&[Some(50), Some(20), Some(90)], 3), own);
    for to in [1, 2, 4] {
        assert_eq!(rescaled(&[Some(50), Some(20), Some(90)], to), vec![Some(watermark(20)); to as usize]);
        assert_eq!(rescaled(&[Some(50), None, Some(90)], to), vec![None; to as usize], "one of them had said nothing");
    }
    assert_eq!(rescaled(&[Some(50), None, Some(90)], 3), [own[0], None, own[2]]);
}

/// Watches an operator: emits each record with its time, and holds that it is not late, that watermarks increase, and that the
/// restored one comes first.
struct Watched {
    times: TimestampsAndWatermarks<i64>,
    said: Output<i64>,
    /// That of the snapshot, until something comes out.
    restored: Option<Timestamp>,
    watermark: Timestamp,
}

impl Watched {
    fn new(share: Share, clock: Arc<dyn Clock>) -> Self {
        let strategy = bounded(BOUND_MS).with_idleness(Duration::from_secs(1));
        let times = TimestampsAndWatermarks::new("times".into(), share, &strategy, clock);
        Self { times, said: Output::new(), restored: None, watermark: Timestamp::MIN }
    }

    fn watch(&mut self, out: &mut Output<(i64, Timestamp)>) {
        for told in told(&mut self.said) {
            match told {
                Err(Mark::Watermark(at)) => {
                    assert!(at > self.watermark, "{at} after {}", self.watermark);
                    assert!(self.restored.take().is_none_or(|restored| restored == at));
                    self.watermark = at;
                }
                Err(mark) => out.mark(mark),
                Ok((record, time)) => {
                    assert_eq!(self.restored, None, "{record} is before the restored watermark");
                    assert!(time > Some(self.watermark), "{record} is late, behind {}", self.watermark);
                    out.emit((record, time.unwrap_or(NO_TIME)));
                }
            }
        }
    }
}

impl BatchOperator for Watched {
    type In = i64;
    type Out = (i64, Timestamp);

    fn process(
        &mut self,
        input: &mut Batch<i64>,
        out: &mut Output<Self::Out>,
        budget: &mut RunBudget,
    ) -> Result<Progress, TaskError> {
        if out.is_full() {
            return Ok(Progress::Suspended);
        }
        let progress = self.times.process(input, &mut self.said, budget)?;
        self.watch(out);
        Ok(progress)
    }

    fn mark(&mut self, mark: Mark, out: &mut Output<Self::Out>, budget: &mut RunBudget) -> Result<Progress, TaskError> {
        let progress = self.times.mark(mark, &mut self.said, budget)?;
        self.watch(out);
        Ok(progress)
    }

    fn due(&self) -> Option<Duration> {
        self.times.due()
    }

    fn wake(&mut self, out: &mut Output<Self::Out>, budget: &mut RunBudget) -> Result<Progress, TaskError> {
        let progress = self.times.wake(&mut self.said, budget)?;
        self.watch(out);
        Ok(progress)
    }

    fn stateful(&mut self) -> Option<&mut dyn Stateful> {
        Some(self)
    }
}

impl Stateful for Watched {
    fn snapshot(&mut self, writer: &mut SectionWriter) -> Result<Progress, StateError> {
        self.times.snapshot(writer)
    }

    fn restore(&mut self, sections: Vec<RestoredSection>) -> Result<(), StateError> {
        self.times.restore(sections)?;
        self.restored = Some(self.times.watermark).filter(|watermark| *watermark > Timestamp::MIN);
        Ok(())
    }
}

fn out_of_order(records: i64) -> Vec<i64> {
    let mut random = Random(7);
    (0..records).map(|n| n * 3 - random.below(BOUND_MS as u64) as i64).collect()
}

#[test]
fn every_way_of_running_gives_times_and_watermarks_behind_which_no_record_is_late() {
    let records = out_of_order(3_000);
    let timed = records.iter().map(|record| (*record, *record));
    OperatorHarness::dealt(Watched::new)
        .batch(records[..1_000].to_vec())
        .watermark(1_000_000)
        .batch(records[1_000..1_500].to_vec())
        .advance(Duration::from_secs(5))
        .advance(Duration::from_secs(5))
        .batch(records[1_500..].to_vec())
        .check_by(|out| *out, timed);
}

#[test]
fn every_way_of_running_passes_each_record_on_once_and_in_order() {
    let make = |share, clock| TimestampsAndWatermarks::new("times".into(), share, &bounded(BOUND_MS), clock);
    let records = out_of_order(3_000);
    OperatorHarness::dealt(make).batch(records.clone()).batch([]).check(records.clone());
    OperatorHarness::dealt(make).batch(records.clone()).check_in_any_order(records);
}

#[test]
fn it_is_idle_after_a_time_without_records_and_active_with_the_next() {
    let clock = ManualClock::new();
    let strategy = bounded(0).with_idleness(Duration::from_secs(1));
    let share = Share { subtask: 0, parallelism: 1 };
    let mut times = TimestampsAndWatermarks::new("times".into(), share, &strategy, Arc::new(clock.clone()));
    // Wakes it as the engine does while nothing waits.
    let advance = |times: &mut TimestampsAndWatermarks<i64>, millis| {
        clock.advance(Duration::from_millis(millis));
        let mut all = Vec::new();
        while times.due().is_some_and(|due| due <= clock.now()) {
            all.extend(woken(times));
        }
        all
    };
    for from in [10, 20] {
        assert_eq!(feed(&mut times, &[from]), [at(from), watermark(from - 1)]);
        assert!(advance(&mut times, 100).is_empty() && advance(&mut times, 999).is_empty());
        assert!(marked(&mut times, Mark::Watermark(70)).is_empty() && marked(&mut times, Mark::Idle).is_empty());
        assert_eq!(advance(&mut times, 1), [Err(Mark::Idle)]);
        assert_eq!((advance(&mut times, 60_000), times.due()), (vec![], None), "that is said once");
    }
    // The task is blocked for a minute, and a record waits.
    feed(&mut times, &[30]);
    advance(&mut times, 100);
    clock.advance(Duration::from_secs(60));
    assert!(woken(&mut times).is_empty());
    assert_eq!(feed(&mut times, &[40]), [at(40), watermark(39)]);
    assert!(advance(&mut times, 0).is_empty(), "it was not silent");
}

#[test]
fn waking_one_whose_output_is_full_says_nothing() {
    let mut times = operator(&bounded(0), 0, 1);
    feed(&mut times, &[10]);
    let stored = saved(&mut times, 0);
    times.restore(stored).unwrap();
    let mut out = Output::new();
    out.mark(Mark::Idle);
    assert_eq!(times.wake(&mut out, &mut budget()).unwrap(), Progress::Suspended);
    let mut input: Batch<i64> = [20].into_iter().collect();
    assert_eq!(times.process(&mut input, &mut out, &mut budget()).unwrap(), Progress::Suspended);
    assert_eq!((told(&mut out), input.len()), (vec![Err(Mark::Idle)], 1));
    assert_eq!(woken(&mut times), [watermark(9)]);
}

/// Keeps a list, and does something at the end.
#[derive(Clone)]
struct Keeps;

impl ProcessFunction<i64> for Keeps {
    type Out = i64;
    type State = OperatorListState<i64>;

    fn state(&self) -> Self::State {
        OperatorListState::new("kept")
    }

    fn process(
        &mut self,
        record: i64,
        mut kept: States<'_, Self, i64>,
        _: &mut ProcessContext<'_>,
        _: &mut crate::operator::Emitter<'_, i64>,
    ) {
        kept.push(record);
    }
}

#[test]
fn state_of_another_operator_is_a_mismatch() {
    let share = Share { subtask: 0, parallelism: 1 };
    let mut other = ProcessOperator::new("times".into(), share, Keeps, SideOutputs::default());
    let error = operator(&bounded(0), 0, 1).restore(saved(other.stateful().unwrap(), 0)).unwrap_err();
    let StateError::Mismatch { operator: id, reason } = &error else { panic!("{error}") };
    assert!(&*id.to_string() == "times" && reason.contains("'kept'"), "{error}");
    let mut damaged = saved(&mut operator(&bounded(0), 0, 1), 0);
    damaged[0].bytes.truncate(3);
    let error = operator(&bounded(0), 0, 1).restore(damaged).unwrap_err();
    assert!(error.to_string().contains("own-watermark"), "{error}");
}
