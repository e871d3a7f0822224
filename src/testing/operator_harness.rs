//! Runs one operator in every way the engine may run it, and demands the same result each time. The idea is that of
//! Hazelcast Jet's `TestSupport`.

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Debug;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use millstream_actors::contract::{BATCH_RECORDS_MAX, BatchOperator};
use millstream_actors::protocol::{KeyGroupRange, Limits, OperatorId, Timestamp};

use super::operator_run::{GroupOf, MAX_PARALLELISM, OperatorRun, Pace, Place, Spread, Subject};
use super::operator_snapshot::{OPERATOR, OperatorSnapshot};
use super::side_records::{Expected, ExpectedSide, assert_same};
use crate::keyed::{KeyedOperator, KeyedProcessFunction};
use crate::operator::{Emitter, FlatMap, KeySelector, OutputTag, ProcessFunction, ProcessOperator};
use crate::state::{group_of_hash, stable_hash};

/// An operator whose types are known, in a box: what [`OperatorHarness::new`] runs, and has an example of.
pub type BoxedOperator<In, Out> = Box<dyn BatchOperator<In = In, Out = Out>>;

/// An operator, its input, and the ways of running it.
///
/// [`batch`](Self::batch), [`advance`](Self::advance) and [`watermark`](Self::watermark) say what comes, in their order, and then
/// the input ends. [`check`](Self::check) and its siblings run that straight through; saved and restored into a new instance
/// after each small batch; with an output that takes one record and then refuses; with no time beyond one slice; and, as far as
/// order permits, restored at other parallelisms in the middle. Main output and side outputs must be the same each time.
///
/// | to test | begin with |
/// |---|---|
/// | a [`KeyedProcessFunction`], [`Reduce`](crate::keyed::Reduce), [`Fold`](crate::keyed::Fold) | [`keyed`](Self::keyed) |
/// | a [`ProcessFunction`] | [`process`](Self::process) |
/// | a closure of `flat_map` | [`flat_map`](Self::flat_map) |
/// | an asynchronous function | [`async_map`](Self::async_map) |
/// | functions of connected streams | [`two_inputs`](Self::two_inputs), [`co_flat_map`](Self::co_flat_map), [`keyed_two_inputs`](Self::keyed_two_inputs) |
/// | a [`BatchOperator`] of one's own | [`stateless`](Self::stateless), [`new`](Self::new); [`clocked`](Self::clocked) if it is to be woken |
/// | what is emitted when | any of them, and [`start`](Self::start) |
///
/// ```
/// use std::time::Duration;
///
/// use millstream::operator::ByValue;
/// use millstream::prelude::*;
/// use millstream::testing::OperatorHarness;
///
/// /// Counts the visits of a user, and forgets them a minute after the last one. The first of each goes to a side output.
/// #[derive(Clone)]
/// struct Visits(OutputTag<u32>);
///
/// impl KeyedProcessFunction<u32, u32> for Visits {
///     type Out = (u32, u32);
///     type State = Expiring<ValueState<u32>>;
///
///     fn state(&self) -> Self::State {
///         ValueState::new("visits").with_ttl(StateTtl::processing_time(Duration::from_secs(60)))
///     }
///
///     fn process(
///         &mut self,
///         user: u32,
///         mut visits: Row<'_, Self, u32, u32>,
///         _: &mut KeyedContext<'_, u32>,
///         out: &mut Emitter<'_, Self::Out>,
///     ) {
///         let count = visits.get().map_or(1, |visits| visits + 1);
///         visits.set(count);
///         if count == 1 {
///             out.emit_to(&self.0, user);
///         }
///         out.emit((user, count));
///     }
/// }
///
/// let first = OutputTag::new("first visits");
/// OperatorHarness::keyed(ByValue::new(|user: &u32| *user), Visits(first.clone()))
///     .batch([1, 2, 1])
///     .advance(Duration::from_secs(60))
///     .batch([2])
///     .side_output(&first, [1, 2, 2])
///     .check_by(|(user, _)| *user, [(1, 1), (2, 1), (1, 2), (2, 1)]);
/// ```
pub struct OperatorHarness<In, Out> {
    subject: Subject<In, Out>,
    steps: Vec<Step<In>>,
    sides: Vec<Box<dyn ExpectedSide>>,
}

/// What comes to the operator.
#[derive(Clone)]
enum Step<In> {
    Batch(Vec<In>),
    /// The clock moves.
    Advance(Duration),
    Watermark(Timestamp),
}

/// How one run goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Straight,
    RestoredAfterEachElement,
    OutputTakesOne,
    NoTime,
    Rescaled,
}

/// The ways of running one subtask.
const ALONE: [Way; 4] = [Way::Straight, Way::RestoredAfterEachElement, Way::OutputTakesOne, Way::NoTime];

/// The parallelisms of runs that are rescaled, one after the other.
const RESCALED: [&[u32]; 3] = [&[1, 3, 2, 4], &[4, 1], &[2, 128, 7]];

impl<In: Clone + Send + 'static, Out: Debug + PartialEq + Send + 'static> OperatorHarness<In, Out> {
    /// Runs what `factory` makes for the key groups of one subtask and the number of groups. `group_of` is the key
    /// group of a record; `None` if the operator is not keyed, and then it is not rescaled.
    ///
    /// ```
    /// use millstream::operator::Filter;
    /// use millstream::testing::OperatorHarness;
    ///
    /// let even = |number: &u64| number % 2 == 0;
    /// OperatorHarness::new(move |_, _| Box::new(Filter::new(even)), None).batch(0..6).check([0, 2, 4]);
    /// ```
    pub fn new(
        factory: impl Fn(KeyGroupRange, u32) -> BoxedOperator<In, Out> + 'static,
        group_of: Option<GroupOf<In>>,
    ) -> Self {
        let spread =
            group_of.map_or(Spread::Alone, |group_of| Spread::ByGroup(Box::new(move |record| Some(group_of(record)))));
        Self::of(move |place| factory(place.range(), MAX_PARALLELISM), spread)
    }

    /// Runs an operator that has no state.
    ///
    /// ```
    /// use millstream::operator::Map;
    /// use millstream::testing::OperatorHarness;
    ///
    /// OperatorHarness::stateless(|| Map::new(|number: u64| number * 2)).batch(1..4).check([2, 4, 6]);
    /// ```
    pub fn stateless<Op: BatchOperator<In = In, Out = Out>>(factory: impl Fn() -> Op + 'static) -> Self {
        Self::new(move |_, _| Box::new(factory()), None)
    }

    /// Runs a keyed function.
    ///
    /// ```
    /// use millstream::keyed::{Reduce, fold_pairs};
    /// use millstream::operator::ByValue;
    /// use millstream::testing::OperatorHarness;
    ///
    /// let highest = Reduce::new(|a: (char, u32), b: (char, u32)| (a.0, a.1.max(b.1)));
    /// OperatorHarness::keyed(ByValue::new(|bid: &(char, u32)| bid.0), highest)
    ///     .batch([('a', 3), ('b', 9), ('a', 7), ('b', 8)])
    ///     .check_by(|bid| bid.0, [('a', 3), ('b', 9), ('a', 7), ('b', 9)]);
    ///
    /// let count = fold_pairs(0, |count: &mut u32, _: u64| *count += 1);
    /// OperatorHarness::keyed(ByValue::new(|number: &u64| number % 2), count)
    ///     .batch([4, 5, 6])
    ///     .check_by(|(key, _)| *key, [(0, 1), (1, 1), (0, 2)]);
    /// ```
    pub fn keyed<S, F>(selector: S, function: F) -> Self
    where
        S: KeySelector<In, Held: 'static>,
        F: KeyedProcessFunction<S::Key, In, Out = Out>,
    {
        let of_record = selector.clone();
        let group_of = Box::new(move |record: &In| {
            let held = of_record.hold(record);
            Some(group_of_hash(stable_hash(of_record.query(record, &held)), MAX_PARALLELISM))
        });
        let factory = move |place: Place| -> BoxedOperator<In, Out> {
            let (id, range, share, clock) = (OperatorId::from(OPERATOR), place.range(), place.share, place.clock);
            let (selector, function, sides) = (selector.clone(), function.clone(), place.side_outputs);
            let operator = KeyedOperator::new(id, range, MAX_PARALLELISM, selector, function, sides);
            Box::new(operator.share(share).clock(Arc::new(clock)))
        };
        Self::of(factory, Spread::ByGroup(group_of))
    }

    /// Runs a function that is not keyed. At parallelisms above 1 records are dealt out in turn.
    ///
    /// ```
    /// use millstream::prelude::*;
    /// use millstream::testing::OperatorHarness;
    ///
    /// /// Packs what comes into parcels of two.
    /// #[derive(Clone)]
    /// struct Pack;
    ///
    /// impl ProcessFunction<u64> for Pack {
    ///     type Out = (u64, u64);
    ///     type State = OperatorListState<u64>;
    ///
    ///     fn state(&self) -> Self::State {
    ///         OperatorListState::new("packed")
    ///     }
    ///
    ///     fn process(
    ///         &mut self,
    ///         record: u64,
    ///         mut packed: States<'_, Self, u64>,
    ///         _: &mut ProcessContext<'_>,
    ///         out: &mut Emitter<'_, Self::Out>,
    ///     ) {
    ///         packed.push(record);
    ///         if packed.len() == 2 {
    ///             let parcel = packed.take();
    ///             out.emit((parcel[0], parcel[1]));
    ///         }
    ///     }
    /// }
    ///
    /// OperatorHarness::process(Pack).batch(0..5).check([(0, 1), (2, 3)]);
    /// ```
    pub fn process<F: ProcessFunction<In, Out = Out>>(function: F) -> Self {
        let factory = move |place: Place| -> BoxedOperator<In, Out> {
            let (id, clock) = (OperatorId::from(OPERATOR), Arc::new(place.clock));
            Box::new(ProcessOperator::new(id, place.share, function.clone(), place.side_outputs).clock(clock))
        };
        Self::of(factory, Spread::InTurn(Box::new(|_| false)))
    }

    /// Runs a function as `flat_map` of a stream does.
    ///
    /// ```
    /// use millstream::prelude::*;
    /// use millstream::testing::OperatorHarness;
    ///
    /// let refused = OutputTag::new("refused");
    /// let tag = refused.clone();
    /// let parse = move |text: &'static str, out: &mut Emitter<'_, u32>| match text.parse() {
    ///     Ok(number) => out.emit(number),
    ///     Err(_) => out.emit_to(&tag, text),
    /// };
    /// OperatorHarness::flat_map(parse).batch(["1", "one", "2"]).side_output(&refused, ["one"]).check([1, 2]);
    /// ```
    pub fn flat_map(function: impl Fn(In, &mut Emitter<'_, Out>) + Clone + 'static) -> Self {
        let emit_max = Limits::default().emit_per_call_max;
        let factory = move |place: Place| -> BoxedOperator<In, Out> {
            let operator = FlatMap::new(OperatorId::from(OPERATOR), emit_max, function.clone());
            Box::new(operator.side_outputs(place.side_outputs))
        };
        Self::of(factory, Spread::Alone)
    }

    pub(super) fn of(factory: impl Fn(Place) -> BoxedOperator<In, Out> + 'static, spread: Spread<In>) -> Self {
        let subject = Subject { factory: Rc::new(factory), spread: Rc::new(spread), event_time: None };
        Self { subject, steps: Vec::new(), sides: Vec::new() }
    }

    /// Every subtask gets the records for which `is_broadcast` holds. For functions that are not keyed.
    pub fn broadcast(mut self, is_broadcast: impl Fn(&In) -> bool + 'static) -> Self {
        self.subject.spread = Rc::new(Spread::InTurn(Box::new(is_broadcast)));
        self
    }

    /// Adds a batch to the input, or several if there are more records than a batch may have.
    pub fn batch(mut self, records: impl IntoIterator<Item = In>) -> Self {
        let records: Vec<In> = records.into_iter().collect();
        if records.is_empty() {
            self.steps.push(Step::Batch(records));
        } else {
            self.steps.extend(records.chunks(BATCH_RECORDS_MAX).map(|batch| Step::Batch(batch.to_vec())));
        }
        self
    }

    /// Gives records the event times that `event_time` tells. They have none otherwise.
    ///
    /// ```
    /// use millstream::prelude::*;
    /// use millstream::testing::OperatorHarness;
    ///
    /// /// Tells the event times of records.
    /// #[derive(Clone)]
    /// struct Times;
    ///
    /// impl ProcessFunction<i64> for Times {
    ///     type Out = Option<Timestamp>;
    ///     type State = ();
    ///
    ///     fn state(&self) {}
    ///
    ///     fn process(&mut self, _: i64, _: (), ctx: &mut ProcessContext<'_>, out: &mut Emitter<'_, Self::Out>) {
    ///         out.emit(ctx.timestamp());
    ///     }
    /// }
    ///
    /// OperatorHarness::process(Times).event_times(|minute| minute * 60_000).batch([1, 2]).check([Some(60_000), Some(120_000)]);
    /// ```
    pub fn event_times(mut self, event_time: impl Fn(&In) -> Timestamp + 'static) -> Self {
        self.subject.event_time = Some(Rc::new(event_time));
        self
    }

    /// Moves the clock forward, between the batch before and the batch behind it: by it values expire, and operators are woken
    /// ([`BatchOperator::due`]). Where a run is restored after each element, the time passes while the operator is down.
    pub fn advance(mut self, by: Duration) -> Self {
        self.steps.push(Step::Advance(by));
        self
    }

    /// Moves event time forward, in milliseconds of the Unix epoch, as [`advance`](Self::advance) does the clock.
    pub fn watermark(mut self, to: Timestamp) -> Self {
        self.steps.push(Step::Watermark(to));
        self
    }

    /// Says what is to come out at a side output: in this order where there is one subtask, in any order where there are
    /// several. A check fails if a side output has records and it is not said which they are to be.
    pub fn side_output<T>(mut self, tag: &OutputTag<T>, expected: impl IntoIterator<Item = T>) -> Self
    where
        T: Debug + PartialEq + Send + 'static,
    {
        self.sides.push(Box::new(Expected { tag: tag.clone(), records: expected.into_iter().collect() }));
        self
    }

    /// Begins a run at this parallelism, from 1 to 128, without the input that was added: the test gives records, moves the
    /// clock and looks at outputs as it likes. [`OperatorRun`] has an example.
    ///
    /// # Panics
    /// If the parallelism is not 1 and the operator is neither keyed nor a process function.
    pub fn start(&self, parallelism: u32) -> OperatorRun<In, Out> {
        OperatorRun::new(self.subject.clone(), Pace::Free, parallelism, None)
    }

    /// Begins a run from a snapshot: of this operator at any parallelism, or of an older version of it. Its clock shows what it
    /// showed when the snapshot was taken.
    ///
    /// ```
    /// use millstream::keyed::fold_pairs;
    /// use millstream::operator::ByValue;
    /// use millstream::testing::OperatorHarness;
    ///
    /// let old = fold_pairs(0, |count: &mut u32, _: u64| *count += 1);
    /// let mut run = OperatorHarness::keyed(ByValue::new(|number: &u64| number % 2), old).start(1);
    /// run.feed([4, 5, 6]);
    ///
    /// let new = fold_pairs(0, |count: &mut u64, _: u64| *count += 1).version(2).migrate(1, |count: u32| u64::from(count));
    /// let harness = OperatorHarness::keyed(ByValue::new(|number: &u64| number % 2), new);
    /// let mut restored = harness.restore(&run.snapshot(), 3);
    /// restored.feed([8]);
    /// assert_eq!(restored.take_output(), [(0, 3)]);
    /// ```
    ///
    /// # Panics
    /// If the snapshot does not fit, and as [`start`](Self::start).
    pub fn restore(&self, snapshot: &OperatorSnapshot, parallelism: u32) -> OperatorRun<In, Out> {
        OperatorRun::new(self.subject.clone(), Pace::Free, parallelism, Some(snapshot))
    }

    /// Runs it in every way with one subtask and compares the whole output.
    ///
    /// # Panics
    /// If an output differs, or the operator breaks its contract.
    pub fn check(&self, expected: impl IntoIterator<Item = Out>) {
        self.check_alone(&expected.into_iter().collect::<Vec<Out>>());
    }

    /// Runs it in every way and compares the output as a whole, whatever its order, and so its side outputs.
    ///
    /// # Panics
    /// If an output differs, or the operator breaks its contract.
    pub fn check_in_any_order(&self, expected: impl IntoIterator<Item = Out>)
    where
        Out: Ord,
    {
        let sorted = |mut outputs: Vec<Out>| {
            outputs.sort();
            outputs
        };
        let expected = sorted(expected.into_iter().collect());
        let alone = ALONE.into_iter().map(|way| (way, &[1][..]));
        for (way, parallelisms) in alone.chain(self.rescaled()) {
            assert_same(&format!("{way:?}"), &sorted(self.run(way, parallelisms, false)), &expected);
        }
    }

    /// Runs it in every way and compares the output: as a whole where there is one subtask, key by key where there are
    /// several.
    ///
    /// # Panics
    /// If an output differs, or the operator breaks its contract.
    pub fn check_by<Q: Ord>(&self, key_of: impl Fn(&Out) -> Q, expected: impl IntoIterator<Item = Out>) {
        let expected: Vec<Out> = expected.into_iter().collect();
        self.check_alone(&expected);
        let by_key = |outputs: Vec<Out>| {
            let mut keys: BTreeMap<Q, Vec<Out>> = BTreeMap::new();
            outputs.into_iter().for_each(|out| keys.entry(key_of(&out)).or_default().push(out));
            keys.into_values().flatten().collect::<Vec<Out>>()
        };
        let expected = by_key(expected);
        for (way, parallelisms) in self.rescaled() {
            assert_same(&format!("{way:?}"), &by_key(self.run(way, parallelisms, false)), &expected);
        }
    }

    fn check_alone(&self, expected: &[Out]) {
        for way in ALONE {
            assert_same(&format!("{way:?}"), &self.run(way, &[1], true), expected);
        }
    }

    /// The ways of running it at several parallelisms, if it can be.
    fn rescaled(&self) -> impl Iterator<Item = (Way, &'static [u32])> + use<In, Out> {
        let runs: &[&[u32]] = if matches!(*self.subject.spread, Spread::Alone) { &[] } else { &RESCALED };
        runs.iter().map(|parallelisms| (Way::Rescaled, *parallelisms))
    }

    /// The elements of a run: the batches as they are, or cut into batches of 1, 2, 3, ... records.
    fn elements(&self, way: Way) -> Vec<Step<In>> {
        if !matches!(way, Way::RestoredAfterEachElement | Way::Rescaled) {
            return self.steps.clone();
        }
        let mut elements = Vec::new();
        for step in &self.steps {
            let Step::Batch(batch) = step else {
                elements.push(step.clone());
                continue;
            };
            let mut rest = &batch[..];
            while !rest.is_empty() {
                let (element, later) = rest.split_at(rest.len().min(elements.len() % 97 + 1));
                elements.push(Step::Batch(element.to_vec()));
                rest = later;
            }
        }
        elements
    }

    /// One run, at these parallelisms one after the other. Compares its side outputs, and gives the main one.
    fn run(&self, way: Way, parallelisms: &[u32], in_order: bool) -> Vec<Out> {
        let pace = match way {
            Way::OutputTakesOne => Pace::OutputTakesOne,
            Way::NoTime => Pace::NoTime,
            Way::Straight | Way::RestoredAfterEachElement | Way::Rescaled => Pace::Free,
        };
        let elements = self.elements(way);
        let per_stage = elements.len().div_ceil(parallelisms.len()).max(1);
        let mut run = OperatorRun::new(self.subject.clone(), pace, parallelisms[0], None);
        let is_restored = way == Way::RestoredAfterEachElement;
        for (index, element) in elements.into_iter().enumerate() {
            let parallelism = parallelisms[index / per_stage];
            if is_restored || index > 0 && index % per_stage == 0 {
                run.go_on_restored(parallelism, Duration::ZERO);
            }
            match element {
                Step::Batch(records) => run.feed(records),
                Step::Advance(by) if is_restored => run.go_on_restored(parallelism, by),
                Step::Advance(by) => run.advance(by),
                Step::Watermark(to) => run.watermark(to),
            }
        }
        run.end_of_input();
        let outputs = run.take_output();
        let name = format!("{way:?}");
        self.sides.iter().for_each(|side| side.check(&name, in_order, run.sides()));
        let unexpected = run.sides().left();
        let advice = "say by `side_output` what is expected of them";
        assert!(unexpected.is_empty(), "{name}: side outputs {unexpected:?} have records; {advice}");
        self.check_end_is_kept(&name, parallelisms[0], run);
        outputs
    }

    /// What is restored from after the end does not emit anything again.
    fn check_end_is_kept(&self, way: &str, parallelism: u32, mut ended: OperatorRun<In, Out>) {
        ended.go_on_restored(parallelism, Duration::ZERO);
        ended.end_of_input();
        let (again, sides) = (ended.take_output(), ended.sides().left());
        assert!(again.is_empty(), "{way}: emitted again after a restore from after the end: {again:?}");
        assert!(
            sides.is_empty(),
            "{way}: side outputs {sides:?} have records again after a restore from after the end"
        );
    }
}

impl<In, Out> fmt::Debug for OperatorHarness<In, Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OperatorHarness({} steps, {} side outputs)", self.steps.len(), self.sides.len())
    }
}

#[cfg(test)]
#[path = "operator_harness_tests.rs"]
mod tests;
