use std::cell::RefCell;
use std::rc::Rc;

use millstream_actors::contract::{RestoredSection, RestoredState, SectionWriter, StateError, StateScope};
use millstream_actors::protocol::{CheckpointId, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::*;
use crate::operator::{Emitted, Emitter, OutputTag, ProcessContext, States};
use crate::state::{BroadcastState, OperatorListState};
use crate::testing::OperatorHarness;

/// A reading of a sensor, or from which value on readings of it count.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Input {
    Rule(u32, u64),
    Reading(u32, u64),
}

/// Packs the readings that count by threes; the rest comes out at the end of input.
#[derive(Clone)]
struct Pack;

impl ProcessFunction<Input> for Pack {
    type Out = (u32, u64);
    type State = (BroadcastState<u32, u64>, OperatorListState<(u32, u64)>);

    fn state(&self) -> Self::State {
        (BroadcastState::new("rules"), OperatorListState::new("packed"))
    }

    fn process(
        &mut self,
        input: Input,
        (mut rules, mut packed): States<'_, Self, Input>,
        _: &mut ProcessContext<'_>,
        out: &mut Emitter<'_, Self::Out>,
    ) {
        match input {
            Input::Rule(sensor, least) => {
                rules.insert(sensor, least);
            }
            Input::Reading(sensor, value) if rules.get(&sensor).is_some_and(|least| value >= *least) => {
                packed.push((sensor, value));
            }
            Input::Reading(sensor, value) => out.emit_to(&OutputTag::new("refused"), (sensor, value)),
        }
        if packed.len() == 3 {
            packed.take().into_iter().for_each(|reading| out.emit(reading));
        }
    }

    fn end_of_input(
        &mut self,
        (_, mut packed): States<'_, Self, Input>,
        _: &mut ProcessContext<'_>,
        out: &mut Emitter<'_, Self::Out>,
    ) {
        packed.take().into_iter().for_each(|reading| out.emit(reading));
    }
}

fn readings(n: u64) -> impl Iterator<Item = Input> {
    (0..n).map(|n| Input::Reading(n as u32 % 5, n))
}

#[test]
fn every_way_of_running_and_rescaling_emits_each_reading_that_counts_once() {
    let rules = [Input::Rule(1, 0), Input::Rule(2, 100)];
    let counts = |input: &Input| match *input {
        Input::Reading(sensor @ (1 | 3), value) => Some((sensor, value)),
        Input::Reading(2, value) if value >= 100 => Some((2, value)),
        _ => None,
    };
    // Sensor 3 has its rule only half-way.
    let early = readings(1000).filter(|input| !matches!(input, Input::Reading(3, _)));
    let inputs: Vec<Input> = rules.into_iter().chain(early).chain([Input::Rule(3, 0)]).chain(readings(1001)).collect();
    let refused = inputs.iter().filter(|input| counts(input).is_none()).filter_map(|input| match *input {
        Input::Reading(sensor, value) => Some((sensor, value)),
        Input::Rule(..) => None,
    });
    OperatorHarness::process(Pack)
        .broadcast(|input| matches!(input, Input::Rule(..)))
        .batch(inputs.clone())
        .side_output(&OutputTag::new("refused"), refused)
        .check_by(|out| *out, inputs.iter().filter_map(counts));
}

fn operator<In, F: ProcessFunction<In>>(function: F, subtask: u32, parallelism: u32) -> ProcessOperator<In, F> {
    let share = Share { subtask, parallelism };
    ProcessOperator::new("pack".into(), share, function, SideOutputs::default())
}

fn run<Op: BatchOperator>(operator: &mut Op, records: Vec<Op::In>) -> Result<Vec<Op::Out>, TaskError> {
    let bytes = records.len() * 10;
    let (mut input, mut out, mut outputs) = (Batch::counted(records, bytes), Output::new(), Vec::new());
    let mut budget = RunBudget::start_by(Some(|| std::time::Duration::ZERO));
    loop {
        let progress = operator.process(&mut input, &mut out, &mut budget)?;
        out.drain(|emitted| {
            let Emitted::Batch(batch) = emitted else { panic!("no mark was emitted") };
            outputs.extend(batch.drain());
        });
        if progress == Progress::Done {
            return Ok(outputs);
        }
    }
}

fn saved<Op: Stateful>(operator: &mut Op, subtask: u32) -> Result<Vec<RestoredSection>, StateError> {
    let mut writer = SectionWriter::new(CheckpointId(1), CheckpointId::NONE, subtask);
    writer.set_operator(&"pack".into());
    assert_eq!(operator.snapshot(&mut writer)?, Progress::Done);
    let chunks = writer.finish().0.into_iter().map(|chunk| (chunk.reference.address, chunk.bytes));
    Ok(RestoredState::from_chunks(chunks).take(&"pack".into()))
}

#[test]
fn side_outputs_get_their_records_and_the_context_knows_the_subtask() {
    #[derive(Clone)]
    struct WhoAmI;
    impl ProcessFunction<u32> for WhoAmI {
        type Out = u32;
        type State = ();
        fn state(&self) {}
        fn process(&mut self, record: u32, (): (), ctx: &mut ProcessContext<'_>, out: &mut Emitter<'_, u32>) {
            out.emit_to(&OutputTag::new("side"), (record, ctx.subtask(), ctx.parallelism()));
            out.emit_to(&OutputTag::new("nobody"), record);
        }
    }
    let seen: Rc<RefCell<Vec<(u32, u32, u32)>>> = Rc::default();
    let mut side_outputs = SideOutputs::default();
    let sink = seen.clone();
    side_outputs.connect("side".into(), move |record, _| sink.borrow_mut().push(record));
    let share = Share { subtask: 2, parallelism: 5 };
    let mut operator = ProcessOperator::new("who".into(), share, WhoAmI, side_outputs);
    assert!(run(&mut operator, vec![7, 8]).unwrap().is_empty());
    assert_eq!(*seen.borrow(), [(7, 2, 5), (8, 2, 5)]);
    assert!(saved(&mut operator.run, 2).unwrap().is_empty(), "no state, no section");
}

/// Emits as many records as it is told, to its output or to the side.
#[derive(Clone)]
struct Many;

impl ProcessFunction<(u32, u32)> for Many {
    type Out = u32;
    type State = ();
    fn state(&self) {}
    fn process(&mut self, (main, side): (u32, u32), (): (), _: &mut ProcessContext<'_>, out: &mut Emitter<'_, u32>) {
        (0..main).for_each(|n| out.emit(n));
        (0..side).for_each(|n| out.emit_to(&OutputTag::new("side"), n));
    }
}

#[test]
fn a_call_that_emits_above_the_limit_in_all_fails_with_operator_and_limit() {
    for (records, is_within) in [((5000, 0), true), ((0, 5000), true), ((2500, 2500), true), ((2500, 2501), false)] {
        let mut operator = operator(Many, 0, 1).emit_per_call_max(5000);
        match run(&mut operator, vec![(1, 1), records]) {
            Ok(outputs) => assert!(is_within && outputs.len() == 1 + records.0 as usize),
            Err(TaskError::EmitLimit { operator, limit: 5000 }) => {
                assert!(!is_within && &*operator.to_string() == "pack")
            }
            Err(error) => panic!("{error}"),
        }
    }
    for records in [(5001, 0), (0, 5001)] {
        run(&mut operator(Many, 0, 1).emit_per_call_max(5000), vec![records]).unwrap_err();
    }
}

#[test]
fn a_full_output_suspends_and_leaves_the_rest_of_the_input() {
    let mut operator = operator(Many, 0, 1);
    let (mut input, mut out) = (Batch::counted(vec![(2000, 0); 3], 30), Output::new());
    let mut budget = RunBudget::start_by(Some(|| std::time::Duration::ZERO));
    for _ in 0..2 {
        assert_eq!(operator.process(&mut input, &mut out, &mut budget).unwrap(), Progress::Suspended);
        assert_eq!((out.len(), input.len(), input.bytes()), (2000, 2, 20), "nothing is worked on while it is full");
    }
}

#[test]
fn end_of_input_comes_once_in_an_attempt_and_again_after_a_restore() {
    let mut first = operator(Pack, 0, 1);
    run(&mut first, vec![Input::Rule(1, 0), Input::Reading(1, 1), Input::Reading(1, 2)]).unwrap();
    let before = saved(&mut first.run, 0).unwrap();
    let ended = |operator: &mut ProcessOperator<Input, Pack>| {
        let mut out = Output::new();
        let mut budget = RunBudget::start_by(Some(|| std::time::Duration::ZERO));
        for mark in [Mark::Watermark(i64::MAX), Mark::Idle] {
            assert_eq!(operator.mark(mark, &mut out, &mut budget).unwrap(), Progress::Done);
        }
        assert_eq!(out.len(), 0, "the input has not ended");
        assert_eq!(operator.mark(Mark::End, &mut out, &mut budget).unwrap(), Progress::Done);
        let records = out.len();
        let mut marks = Vec::new();
        out.drain(|emitted| match emitted {
            Emitted::Mark(mark) => marks.push(mark),
            Emitted::Batch(_) => assert_eq!(marks.len(), 2, "records go ahead of the end"),
        });
        assert_eq!(marks, [Mark::Watermark(i64::MAX), Mark::Idle, Mark::End]);
        records
    };
    assert_eq!(ended(&mut first), 2);
    let after = saved(&mut first.run, 0).unwrap();
    for (sections, records) in [(before, 2), (after, 0)] {
        let mut restored = operator(Pack, 0, 1);
        restored.run.restore(sections).unwrap();
        assert_eq!(ended(&mut restored), records);
    }
}

#[test]
fn state_that_is_not_declared_or_keyed_or_incomplete_is_a_mismatch() {
    let section = |state: &str, scope| RestoredSection {
        state: state.into(),
        scope,
        checkpoint: CheckpointId(1),
        is_renamed: false,
        bytes: vec![0x92, 1, 0x90],
    };
    let subtask = StateScope::Subtask;
    for (sections, reason) in [
        (vec![section("gone", subtask(0))], "'gone', which the function does not declare"),
        (vec![section("packed", StateScope::KeyGroup(3))], "'packed' is not keyed now, it was stored for key group 3"),
        (
            vec![section("packed", subtask(2)), section("packed", subtask(0))],
            "2 parts, and that of subtask 2 is missing",
        ),
    ] {
        let error = operator(Pack, 0, 2).run.restore(sections).unwrap_err();
        let StateError::Mismatch { operator, reason: of } = &error else { panic!("{error}") };
        assert!(&*operator.to_string() == "pack" && of.contains(reason), "{error}");
    }
    let bad = RestoredSection { bytes: vec![0x92, 1, 0x91, 0xc3], ..section("packed", subtask(0)) };
    let error = operator(Pack, 0, 1).run.restore(vec![bad]).unwrap_err();
    let StateError::Decode { operator, state, scope, version: 1, .. } = &error else { panic!("{error}") };
    assert_eq!((operator.to_string(), &**state, *scope), ("pack".to_owned(), "packed", subtask(0)));
}

#[test]
fn serializer_that_refuses_is_an_error_with_operator_state_and_subtask() {
    #[derive(Clone)]
    struct Refuses;
    impl Serialize for Refuses {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("not today"))
        }
    }
    impl<'de> Deserialize<'de> for Refuses {
        fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
            Ok(Self)
        }
    }
    impl ProcessFunction<u32> for Refuses {
        type Out = u32;
        type State = (OperatorListState<u32>, OperatorListState<Refuses>);
        fn state(&self) -> Self::State {
            (OperatorListState::new("good"), OperatorListState::new("bad"))
        }
        fn process(
            &mut self,
            _: u32,
            (_, mut bad): States<'_, Self, u32>,
            _: &mut ProcessContext<'_>,
            _: &mut Emitter<'_, u32>,
        ) {
            bad.push(Self);
        }
    }
    let mut operator = operator(Refuses, 3, 4);
    assert_eq!(saved(&mut operator.run, 3).unwrap().len(), 2, "empty states have sections");
    run(&mut operator, vec![1]).unwrap();
    let error = saved(&mut operator.run, 3).unwrap_err();
    let StateError::Encode { state, scope: StateScope::Subtask(3), reason, .. } = &error else { panic!("{error}") };
    assert!(&**state == "bad" && reason.contains("not today"), "{error}");
}

#[test]
fn watermark_is_that_of_the_subtask_and_does_not_go_back_by_a_restore() {
    #[derive(Clone)]
    struct Tells;
    impl ProcessFunction<u32> for Tells {
        type Out = (u32, Timestamp);
        type State = ();
        fn state(&self) {}
        fn process(&mut self, n: u32, _: (), ctx: &mut ProcessContext<'_>, out: &mut Emitter<'_, Self::Out>) {
            out.emit((n, ctx.watermark()));
        }
        fn end_of_input(&mut self, _: (), ctx: &mut ProcessContext<'_>, out: &mut Emitter<'_, Self::Out>) {
            if ctx.subtask() == 0 {
                out.emit((99, ctx.watermark()));
            }
        }
    }
    let told = [(1, Timestamp::MIN), (2, 7), (3, 7), (4, 9), (99, Timestamp::MAX)];
    OperatorHarness::process(Tells)
        .batch([1])
        .watermark(7)
        .batch([2, 3])
        .watermark(9)
        .batch([4])
        .check_in_any_order(told);

    // At the same number of subtasks each has its own again, at another one the least of all, none if one of them had none.
    let stored = |watermarks: &[Timestamp]| {
        let subtasks = (0..).zip(watermarks).map(|(subtask, watermark)| {
            let mut operator = operator::<u32, _>(Tells, subtask, watermarks.len() as u32);
            if *watermark > Timestamp::MIN {
                let mut budget = RunBudget::start_by(Some(|| std::time::Duration::ZERO));
                let marked = operator.mark(Mark::Watermark(*watermark), &mut Output::new(), &mut budget);
                assert_eq!(marked.unwrap(), Progress::Done);
            }
            saved(&mut operator.run, subtask).unwrap()
        });
        subtasks.flatten().collect::<Vec<_>>()
    };
    let restored = |watermarks: &[Timestamp], subtask, parallelism| {
        let mut operator = operator::<u32, _>(Tells, subtask, parallelism);
        operator.run.restore(stored(watermarks)).unwrap();
        run(&mut operator, vec![0]).unwrap()[0].1
    };
    assert_eq!([0, 1].map(|subtask| restored(&[5, 8], subtask, 2)), [5, 8]);
    assert_eq!([0, 1, 2].map(|subtask| restored(&[5, 8], subtask, 3)), [5; 3]);
    assert_eq!(restored(&[Timestamp::MIN, 8], 0, 1), Timestamp::MIN);
    assert_eq!([0, 1].map(|subtask| restored(&[Timestamp::MIN, 8], subtask, 2)), [Timestamp::MIN, 8]);
}
