//! A record whose key is known, and selected by reference, costs no allocation: neither where it is sent, nor where it is
//! counted.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use millstream::keyed::KeyedOperator;
use millstream::operator::{
    Batch, BatchOperator, ByRef, Emitted, KeyGroupPartitioner, Output, Partitioner, Progress, RunBudget, SideOutputs,
};
use millstream::prelude::*;
use millstream_actors::protocol::KeyGroupRange;

/// Counts the allocations of the thread.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

#[expect(unsafe_code, reason = "an allocator can only be counted by one; both calls pass on what they are given")]
// SAFETY: every call is passed on unchanged to the system's allocator. What is not overridden allocates by `alloc`.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // A thread that ends allocates after its locals are gone.
        let _ = ALLOCATIONS.try_with(|allocations| allocations.set(allocations.get() + 1));
        // SAFETY: the caller's promise is the one asked for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is the one asked for.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const GROUPS: KeyGroupRange = KeyGroupRange { start: 0, end: 128 };
const SUBTASKS: u32 = 4;
const WORDS: u64 = 500;
/// Batches of 1,000 records.
const BATCHES: usize = 10;
/// What may be made once, whatever the number of records. None is, at present.
const ALLOCATIONS_MAX: u64 = 8;
/// More than a text can hold without an allocation, if its type should have a place for short ones.
const LETTERS: usize = 40;

/// Counts a word, and emits the count.
#[derive(Clone)]
struct Count;

impl KeyedProcessFunction<String, String> for Count {
    type Out = u64;
    type State = ValueState<u64>;

    fn state(&self) -> Self::State {
        ValueState::new("count")
    }

    fn process(
        &mut self,
        _: String,
        mut count: Row<'_, Self, String, String>,
        _: &mut KeyedContext<'_, String>,
        out: &mut Emitter<'_, u64>,
    ) {
        let count = count.get_or_insert_with(|| 0);
        *count += 1;
        out.emit(*count);
    }
}

fn word(n: u64) -> String {
    format!("{n:0>LETTERS$}")
}

/// So many batches, the words of which are numbered from `first` on and come as often as each other.
fn batches(batches: usize, first: u64) -> Vec<Batch<String>> {
    let batch = |_| (0..1_000).map(|n| word(first + n * 7 % WORDS)).collect();
    (0..batches).map(batch).collect()
}

/// A function on words, and what sends them to it.
struct Counts<Op> {
    partitioner: Box<dyn Partitioner<String>>,
    operator: Op,
    targets: Vec<u32>,
    out: Output<u64>,
}

fn counts() -> Counts<impl BatchOperator<In = String, Out = u64>> {
    let selector = || ByRef::new(|word: &String| word.as_str());
    let partitioner = Box::new(KeyGroupPartitioner::new(selector(), GROUPS.end));
    let operator = KeyedOperator::new("counts".into(), GROUPS, GROUPS.end, selector(), Count, SideOutputs::default());
    Counts { partitioner, operator, targets: Vec::new(), out: Output::new() }
}

impl<Op: BatchOperator<In = String, Out = u64>> Counts<Op> {
    /// Works on the batches. Gives the number of records that were emitted, and that of allocations.
    fn work_on(&mut self, mut batches: Vec<Batch<String>>) -> (usize, u64) {
        let (mut emitted, before) = (0, ALLOCATIONS.get());
        for batch in &mut batches {
            self.targets.clear();
            self.partitioner.assign(batch, SUBTASKS, &mut self.targets);
            assert_eq!(self.targets.len(), batch.len());
            loop {
                let progress = self.operator.process(batch, &mut self.out, &mut RunBudget::start());
                self.out.drain(|part| match part {
                    Emitted::Batch(counts) => emitted += counts.drain().len(),
                    Emitted::Mark(mark) => panic!("{mark:?}"),
                });
                if progress.expect("it does not fail") == Progress::Done {
                    break;
                }
            }
        }
        (emitted, ALLOCATIONS.get() - before)
    }
}

#[test]
fn record_with_a_known_key_costs_no_allocation() {
    let mut counts = counts();
    counts.work_on(batches(2, 0));
    for times in [1, 4] {
        let records = times * BATCHES * 1_000;
        let (emitted, allocations) = counts.work_on(batches(times * BATCHES, 0));
        assert_eq!(emitted, records);
        assert!(allocations <= ALLOCATIONS_MAX, "{allocations} for {records} records");
    }
}

/// What shows that allocations are counted.
#[test]
fn new_key_costs_an_allocation() {
    let mut counts = counts();
    counts.work_on(batches(2, 0));
    let (_, allocations) = counts.work_on(batches(1, WORDS));
    assert!(allocations >= WORDS, "{allocations} for {WORDS} new words");
}
