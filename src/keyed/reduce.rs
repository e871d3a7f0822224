//! Running values per key, without writing a function type.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{KeyedContext, KeyedProcessFunction};
use crate::operator::Emitter;
use crate::state::{ValueHandle, ValueState};

/// The settings of the one state of a function, of type `ValueState`.
macro_rules! state_settings {
    ($what:literal) => {
        #[doc = concat!("Sets the version of the type of ", $what, ", as [`ValueState::version`] does.")]
        pub fn version(mut self, version: u32) -> Self {
            self.state = self.state.version(version);
            self
        }

        #[doc = concat!("Sets how ", $what, " of version `from` becomes that of the next, as [`ValueState::migrate`] does.")]
        pub fn migrate<Old, New>(mut self, from: u32, migrate: impl Fn(Old) -> New + Send + Sync + 'static) -> Self
        where
            Old: DeserializeOwned + 'static,
            New: 'static,
        {
            self.state = self.state.migrate(from, migrate);
            self
        }

        #[doc = concat!("Takes over the state that older checkpoints have under `name` as ", $what, ", as")]
        /// [`ValueState::formerly`] does.
        pub fn formerly(mut self, name: &str) -> Self {
            self.state = self.state.formerly(name);
            self
        }
    };
}

/// Combines the records of a key by `Fn(T, T) -> T` and emits the running value with each record. Follows Flink's
/// `reduce`. Its state is called `value`.
///
/// [`KeyedStream::reduce`](crate::stream::KeyedStream::reduce) is this; it is written out where the type of the records, and
/// so of the value, has changed since older checkpoints:
///
/// ```
/// use millstream::keyed::Reduce;
/// use millstream::prelude::*;
///
/// # let env = StreamEnvironment::new("highest");
/// env.source("bids", VecSource::new(vec![3.5, 9.0]))
///     .key_by(|_| ())
///     .process("highest", Reduce::new(f64::max).version(2).migrate(1, |cents: u64| cents as f64 / 100.0))
///     .sink("out", CollectSink::new());
/// # env.explain().unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct Reduce<T, F> {
    state: ValueState<T>,
    function: F,
}

impl<T, F> Reduce<T, F> {
    /// Combines by `function`: the value so far, the record.
    pub fn new(function: F) -> Self
    where
        F: Fn(T, T) -> T,
    {
        Self { state: ValueState::new("value"), function }
    }

    state_settings!("the value");
}

impl<K, T, F> KeyedProcessFunction<K, T> for Reduce<T, F>
where
    T: Clone + Serialize + DeserializeOwned + Send + 'static,
    F: Fn(T, T) -> T + Clone + Send + 'static,
{
    type Out = T;
    type State = ValueState<T>;

    fn state(&self) -> ValueState<T> {
        self.state.clone()
    }

    #[inline]
    fn process(
        &mut self,
        record: T,
        mut state: ValueHandle<'_, T>,
        _: &mut KeyedContext<'_, K>,
        out: &mut Emitter<'_, T>,
    ) {
        let value = match state.take() {
            Some(value) => (self.function)(value, record),
            None => record,
        };
        out.emit(value.clone());
        state.set(value);
    }
}

/// Folds the records of a key into an accumulator by `Fn(&mut A, T)`, and emits what `Fn(&K, &A) -> Out` makes of it
/// with each record. Its state is called `accumulator`.
///
/// [`KeyedStream::fold`](crate::stream::KeyedStream::fold) and `fold_map` are this; it is written out where the type of the
/// accumulator has changed since older checkpoints:
///
/// ```
/// use millstream::keyed::fold_pairs;
/// use millstream::prelude::*;
///
/// # let env = StreamEnvironment::new("counts");
/// let count = fold_pairs(0u64, |count: &mut u64, _: u64| *count += 1)
///     .version(2)
///     .migrate(1, |count: u32| u64::from(count));
/// env.source("numbers", SequenceSource::new(0..10))
///     .key_by(|n| n % 2)
///     .process("count", count)
///     .sink("out", CollectSink::new());
/// # env.explain().unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct Fold<A, F, E> {
    state: ValueState<A>,
    initial: A,
    function: F,
    emit: E,
}

impl<A: Clone, F, E> Fold<A, F, E> {
    /// Starts each key with a clone of `initial`, changes it by `function`, and emits what `emit` makes of key and
    /// accumulator.
    pub fn emitting(initial: A, function: F, emit: E) -> Self {
        Self { state: ValueState::new("accumulator"), initial, function, emit }
    }

    state_settings!("the accumulator");
}

/// A [`Fold`] that emits clones of key and accumulator.
pub fn fold_pairs<K: Clone, A: Clone, F>(
    initial: A,
    function: F,
) -> Fold<A, F, impl Fn(&K, &A) -> (K, A) + Clone + Send + 'static> {
    Fold::emitting(initial, function, |key: &K, accumulator: &A| (key.clone(), accumulator.clone()))
}

impl<K, T, A, F, E, Out> KeyedProcessFunction<K, T> for Fold<A, F, E>
where
    A: Clone + Serialize + DeserializeOwned + Send + 'static,
    F: Fn(&mut A, T) + Clone + Send + 'static,
    E: Fn(&K, &A) -> Out + Clone + Send + 'static,
    Out: Send + 'static,
{
    type Out = Out;
    type State = ValueState<A>;

    fn state(&self) -> ValueState<A> {
        self.state.clone()
    }

    #[inline]
    fn process(
        &mut self,
        record: T,
        mut state: ValueHandle<'_, A>,
        ctx: &mut KeyedContext<'_, K>,
        out: &mut Emitter<'_, Out>,
    ) {
        let accumulator = state.get_or_insert_with(|| self.initial.clone());
        (self.function)(accumulator, record);
        out.emit((self.emit)(ctx.key(), accumulator));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::ByValue;
    use crate::testing::OperatorHarness;

    #[test]
    fn every_way_of_running_reduces_alike() {
        let mut sums = [0u64; 10];
        let expected: Vec<u64> = (0..3000u64)
            .map(|x| {
                let sum = &mut sums[(x % 10) as usize];
                *sum += x;
                *sum
            })
            .collect();
        // Each record carries its key, so that the running sum does.
        OperatorHarness::keyed(
            ByValue::new(|x: &(u64, u64)| x.0),
            Reduce::new(|a: (u64, u64), b: (u64, u64)| (a.0, a.1 + b.1)),
        )
        .batch((0..1000).map(|x| (x % 10, x)))
        .batch((1000..3000).map(|x| (x % 10, x)))
        .check_by(|out| out.0, (0..3000).map(|x| (x % 10, expected[x as usize])));
    }

    #[test]
    fn every_way_of_running_folds_alike() {
        let mut counts = [(0u64, 0u64); 7];
        let expected: Vec<_> = (0..2000u64)
            .map(|x| {
                let count = &mut counts[(x % 7) as usize];
                *count = (count.0 + 1, count.1 + x);
                (x % 7, *count)
            })
            .collect();
        let fold = fold_pairs((0u64, 0u64), |total: &mut (u64, u64), x: u64| *total = (total.0 + 1, total.1 + x));
        OperatorHarness::keyed(ByValue::new(|x: &u64| x % 7), fold)
            .batch(0..900)
            .batch(900..2000)
            .check_by(|out| out.0, expected);
    }
}
