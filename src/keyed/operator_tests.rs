use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use millstream_actors::contract::{RestoredSection, RestoredState, SectionWriter, StateError, StateScope};
use millstream_actors::protocol::CheckpointId;

use super::*;
use crate::keyed::{KeyedContext, Row};
use crate::operator::{ByRef, ByValue, Emitted, Emitter, OutputTag};
use crate::state::{ValueState, group_of_key};
use crate::testing::OperatorHarness;

/// Counts the records of a word, remembers the longest line; forgets the word at a line that is empty.
#[derive(Clone)]
struct Words;

type Line = (String, String);

impl KeyedProcessFunction<String, Line> for Words {
    type Out = (String, u64, Option<String>);
    type State = (ValueState<u64>, ValueState<String>);

    fn state(&self) -> Self::State {
        (ValueState::new("count"), ValueState::new("longest"))
    }

    fn process(
        &mut self,
        (_, line): Line,
        (mut count, mut longest): Row<'_, Self, String, Line>,
        ctx: &mut KeyedContext<'_, String>,
        out: &mut Emitter<'_, Self::Out>,
    ) {
        if line.is_empty() {
            count.clear();
            longest.clear();
            out.emit_to(&OutputTag::new("forgotten"), ctx.key().clone());
            return;
        }
        let count = count.get_or_insert_with(|| 0);
        *count += 1;
        if *count > 2 && longest.get().is_none_or(|longest| longest.len() < line.len()) {
            longest.set(line);
        }
        out.emit((ctx.key().clone(), *count, longest.get().cloned()));
    }
}

fn lines(n: u64) -> Vec<Line> {
    (0..n)
        .map(|i| {
            (
                format!("word {}", i * i % 211),
                if i % 13 == 12 { String::new() } else { "x".repeat((i % 40 + 1) as usize) },
            )
        })
        .collect()
}

fn expected(lines: &[Line]) -> Vec<(String, u64, Option<String>)> {
    let mut words: std::collections::BTreeMap<String, (u64, Option<String>)> = Default::default();
    let mut out = Vec::new();
    for (word, line) in lines {
        if line.is_empty() {
            words.remove(word);
            continue;
        }
        let (count, longest) = words.entry(word.clone()).or_default();
        *count += 1;
        if *count > 2 && longest.as_ref().is_none_or(|longest| longest.len() < line.len()) {
            *longest = Some(line.clone());
        }
        out.push((word.clone(), *count, longest.clone()));
    }
    out
}

fn by_ref() -> ByRef<impl Fn(&Line) -> &str + Clone + Send, str> {
    ByRef::new(|line: &Line| line.0.as_str())
}

#[test]
fn every_way_of_running_gives_the_same_with_keys_by_reference_and_by_value() {
    let lines = lines(3000);
    let forgotten = || lines.iter().filter(|(_, line)| line.is_empty()).map(|(word, _)| word.clone());
    OperatorHarness::keyed(by_ref(), Words)
        .batch(lines.clone())
        .side_output(&OutputTag::new("forgotten"), forgotten())
        .check_by(|out| out.0.clone(), expected(&lines));
    OperatorHarness::keyed(ByValue::new(|line: &Line| line.0.clone()), Words)
        .batch(lines.clone())
        .side_output(&OutputTag::new("forgotten"), forgotten())
        .check_by(|out| out.0.clone(), expected(&lines));
}

fn all_groups() -> KeyGroupRange {
    KeyGroupRange { start: 0, end: 128 }
}

fn budget() -> RunBudget {
    RunBudget::start()
}

fn run<Op: BatchOperator>(operator: &mut Op, records: Vec<Op::In>) -> Result<Vec<Op::Out>, TaskError> {
    let (mut input, mut out, mut outputs) = (Batch::counted(records, 0), Output::new(), Vec::new());
    loop {
        let progress = operator.process(&mut input, &mut out, &mut budget())?;
        out.drain(|emitted| {
            let Emitted::Batch(batch) = emitted else { panic!("no mark was emitted") };
            outputs.extend(batch.drain());
        });
        if progress == Progress::Done {
            return Ok(outputs);
        }
    }
}

#[test]
fn a_key_whose_states_are_all_clear_is_forgotten_and_side_outputs_get_their_records() {
    let forgotten: Rc<RefCell<Vec<String>>> = Rc::default();
    let mut side_outputs = SideOutputs::default();
    let sink = forgotten.clone();
    side_outputs.connect("forgotten".into(), move |word: String, _| sink.borrow_mut().push(word));
    let mut operator = KeyedOperator::new("words".into(), all_groups(), 128, by_ref(), Words, side_outputs);
    let line = |word: &str, line: &str| (word.to_owned(), line.to_owned());
    run(&mut operator, vec![line("a", "x"), line("b", "x"), line("c", "")]).unwrap();
    assert_eq!(operator.keys(), 2);
    run(&mut operator, vec![line("a", "")]).unwrap();
    assert_eq!(operator.keys(), 1);
    assert_eq!(*forgotten.borrow(), ["c", "a"]);
}

#[test]
fn a_key_outside_the_groups_fails_with_operator_and_group() {
    let range = KeyGroupRange { start: 0, end: 64 };
    let mut operator = KeyedOperator::new("words".into(), range, 128, by_ref(), Words, SideOutputs::default());
    let foreign = (0..).map(|i| format!("word {i}")).find(|word| group_of_key(word, 128) >= 64).unwrap();
    let error = run(&mut operator, vec![(foreign.clone(), "x".to_owned())]).unwrap_err();
    let TaskError::State(error) = error else { panic!("{error}") };
    let group = group_of_key(&foreign, 128);
    assert!(matches!(&*error, StateError::ForeignKey { group: of, start: 0, end: 64, .. } if *of == group), "{error}");
    assert_eq!(operator.keys(), 0);
}

pub(super) fn saved<Op: BatchOperator>(operator: &mut Op) -> Vec<RestoredSection> {
    let operator = operator.stateful().unwrap();
    let mut writer = SectionWriter::new(CheckpointId(1), CheckpointId::NONE, 0);
    writer.set_operator(&"words".into());
    let mut progress = operator.snapshot(&mut writer).unwrap();
    while progress == Progress::Suspended {
        progress = operator.continue_snapshot(&mut writer, &mut RunBudget::start_by(Some(|| Duration::ZERO))).unwrap();
    }
    let chunks = writer.finish().0.into_iter().map(|chunk| (chunk.reference.address, chunk.bytes));
    RestoredState::from_chunks(chunks).take(&"words".into())
}

fn words(range: KeyGroupRange) -> impl BatchOperator<In = Line, Out = (String, u64, Option<String>)> {
    KeyedOperator::new("words".into(), range, 128, by_ref(), Words, SideOutputs::default())
}

pub(super) fn restore<Op: BatchOperator>(operator: &mut Op, sections: &[RestoredSection]) -> Result<(), StateError> {
    let operator = operator.stateful().unwrap();
    let mut loader = operator.group_loader().unwrap();
    let of_group = |group| sections.iter().filter(move |section| section.scope == StateScope::KeyGroup(group));
    for group in 0..128 {
        let sections: Vec<_> = of_group(group).cloned().collect();
        if !sections.is_empty() {
            operator.restore_group(loader.load(group, &sections)?)?;
        }
    }
    operator.restored(CheckpointId(1)).unwrap();
    Ok(())
}

#[test]
fn a_state_alone_can_be_left_out_of_a_restore() {
    let mut operator = words(all_groups());
    run(&mut operator, lines(500)).unwrap();
    let mut sections = saved(&mut operator);
    sections.retain(|section| &*section.state == "count");
    let mut restored = words(all_groups());
    restore(&mut restored, &sections).unwrap();
    let mut again = saved(&mut restored);
    again.retain(|section| &*section.state == "count");
    let bytes = |sections: &[RestoredSection]| -> Vec<_> {
        sections.iter().map(|section| (section.scope, section.bytes.len())).collect()
    };
    assert_eq!(bytes(&again), bytes(&sections));
}

#[test]
fn entries_stored_under_another_group_are_moved_to_their_own() {
    let mut operator = words(all_groups());
    run(&mut operator, lines(500)).unwrap();
    let sections = saved(&mut operator);
    let moved = sections.iter().cloned().map(|mut section| {
        let StateScope::KeyGroup(group) = section.scope else { panic!("keyed") };
        section.scope = StateScope::KeyGroup((group + 1) % 128);
        section
    });
    let moved: Vec<_> = moved.collect();
    let mut restored = words(all_groups());
    restore(&mut restored, &moved).unwrap();
    let again = saved(&mut restored);
    let scopes = |sections: &[RestoredSection]| -> Vec<_> {
        sections.iter().map(|section| (section.state.clone(), section.scope, section.bytes.len())).collect()
    };
    assert_eq!(scopes(&again), scopes(&sections));
    let StateScope::KeyGroup(group) = moved[0].scope else { panic!("keyed") };
    let mut one_group = words(KeyGroupRange { start: group, end: group + 1 });
    let error = restore(&mut one_group, &moved[..1]).unwrap_err();
    assert!(error.to_string().contains("another subtask"), "{error}");
}

#[test]
fn sections_that_do_not_belong_are_refused() {
    let section = |state: &str, scope, bytes: &[u8]| {
        [RestoredSection {
            state: state.into(),
            scope,
            checkpoint: CheckpointId(1),
            is_renamed: false,
            bytes: bytes.to_vec(),
        }]
    };
    let error = restore(&mut words(all_groups()), &section("total", StateScope::KeyGroup(1), &[])).unwrap_err();
    assert!(matches!(&error, StateError::Mismatch { .. }) && error.to_string().contains("total"), "{error}");
    let stored_as_list = section("count", StateScope::Subtask(1), &[]).to_vec();
    let error = words(all_groups()).stateful().unwrap().restore(stored_as_list).unwrap_err();
    assert!(matches!(&error, StateError::Mismatch { .. }), "{error}");
    let error = restore(&mut words(all_groups()), &section("count", StateScope::KeyGroup(3), &[9])).unwrap_err();
    let StateError::Decode { operator, state, scope, .. } = &error else { panic!("{error}") };
    assert_eq!((operator.as_str(), &**state, *scope), ("words", "count", StateScope::KeyGroup(3)));
}

#[derive(Clone)]
struct Flood;

impl KeyedProcessFunction<u64, u64> for Flood {
    type Out = u64;
    type State = ValueState<u64>;
    fn state(&self) -> ValueState<u64> {
        ValueState::new("unused")
    }
    fn process(
        &mut self,
        n: u64,
        _: Row<'_, Self, u64, u64>,
        _: &mut KeyedContext<'_, u64>,
        out: &mut Emitter<'_, u64>,
    ) {
        (0..n).for_each(|i| out.emit(i));
    }
}

#[test]
fn a_function_that_emits_above_the_limit_fails() {
    let selector = ByValue::new(|x: &u64| *x);
    let new = || KeyedOperator::new("flood".into(), all_groups(), 128, selector.clone(), Flood, SideOutputs::default());
    assert_eq!(run(&mut new().emit_per_call_max(5000), vec![100, 5000, 100]).unwrap().len(), 5200);
    let error = run(&mut new().emit_per_call_max(5000), vec![100, 5001]).unwrap_err();
    assert!(matches!(error, TaskError::EmitLimit { limit: 5000, .. }), "{error}");
}

/// Emits half of the records to a side output that nobody consumes.
#[derive(Clone)]
struct FloodBoth;

impl KeyedProcessFunction<u64, u64> for FloodBoth {
    type Out = u64;
    type State = ValueState<u64>;
    fn state(&self) -> ValueState<u64> {
        ValueState::new("unused")
    }
    fn process(
        &mut self,
        n: u64,
        _: Row<'_, Self, u64, u64>,
        _: &mut KeyedContext<'_, u64>,
        out: &mut Emitter<'_, u64>,
    ) {
        let tag = OutputTag::new("nobody");
        (0..n).for_each(|i| if i % 2 == 0 { out.emit(i) } else { out.emit_to(&tag, i) });
    }
}

#[test]
fn side_outputs_count_against_the_limit_of_a_keyed_function() {
    let selector = ByValue::new(|x: &u64| *x);
    let sides = SideOutputs::default;
    let new = || KeyedOperator::new("flood".into(), all_groups(), 128, selector.clone(), FloodBoth, sides());
    assert_eq!(run(&mut new().emit_per_call_max(5000), vec![100, 5000]).unwrap().len(), 2550);
    let error = run(&mut new().emit_per_call_max(5000), vec![5001]).unwrap_err();
    assert!(matches!(error, TaskError::EmitLimit { limit: 5000, .. }), "{error}");
}

#[test]
fn a_table_larger_than_a_cache_counts_as_exactly() {
    let selector = ByValue::new(|x: &u64| x % 200_000);
    let fold = crate::keyed::fold_pairs(0u64, |count: &mut u64, _: u64| *count += 1);
    let mut operator = KeyedOperator::new("count".into(), all_groups(), 128, selector, fold, SideOutputs::default());
    for start in (0..600_000).step_by(1000) {
        for (key, count) in run(&mut operator, (start..start + 1000).collect()).unwrap() {
            assert!(key < 200_000 && count == start / 200_000 + 1, "key {key}: {count} from {start}");
        }
    }
    assert!(operator.run.kernel.backend.allocated_bytes() > 4 << 20);
    assert_eq!(operator.keys(), 200_000);
}

#[test]
fn context_knows_the_subtask_and_the_clock_with_and_without_a_record() {
    #[derive(Clone)]
    struct WhoAmI;
    impl WhoAmI {
        fn seen(ctx: &KeyedContext<'_, u64>) -> (u64, u32, u32, u64) {
            (*ctx.key(), ctx.subtask(), ctx.parallelism(), ctx.clock().unix_ms())
        }
    }
    impl KeyedProcessFunction<u64, u64> for WhoAmI {
        type Out = (u64, u32, u32, u64);
        type State = ValueState<u64>;
        fn state(&self) -> Self::State {
            ValueState::new("last")
        }
        fn process(
            &mut self,
            n: u64,
            mut last: Row<'_, Self, u64, u64>,
            ctx: &mut KeyedContext<'_, u64>,
            out: &mut Emitter<'_, Self::Out>,
        ) {
            last.set(n);
            out.emit(Self::seen(ctx));
        }
        fn end_of_input(
            &mut self,
            _: Row<'_, Self, u64, u64>,
            ctx: &mut KeyedContext<'_, u64>,
            out: &mut Emitter<'_, Self::Out>,
        ) {
            out.emit(Self::seen(ctx));
        }
    }
    let clock = crate::time::ManualClock::new();
    let (selector, sides) = (ByValue::new(|x: &u64| *x), SideOutputs::default());
    let new = KeyedOperator::new("who".into(), all_groups(), 128, selector, WhoAmI, sides);
    let mut operator = new.share(Share { subtask: 2, parallelism: 5 }).clock(Arc::new(clock.clone()));
    let before = clock.unix_ms();
    assert_eq!(run(&mut operator, vec![7]).unwrap(), [(7, 2, 5, before)]);
    clock.advance(Duration::from_millis(30));
    let mut out = Output::new();
    let ended = operator.mark(Mark::End, &mut out, &mut crate::state::test_kit::all_the_time()).unwrap();
    assert_eq!(ended, Progress::Done);
    let mut seen = Vec::new();
    out.drain(|emitted| {
        if let Emitted::Batch(batch) = emitted {
            seen.extend(batch.drain());
        }
    });
    assert_eq!(seen, [(7, 2, 5, before + 30)]);
}
