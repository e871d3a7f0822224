//! The first record of each key.

use std::marker::PhantomData;

use super::{KeyedContext, KeyedProcessFunction, Row};
use crate::operator::Emitter;
use crate::state::{Expiring, State, StateTtl, ValueState};

const NAME: &str = "seen";

/// Gives the first record of each key.
pub(crate) struct First<In>(PhantomData<fn(In)>);

impl<In> First<In> {
    pub(crate) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<In> Clone for First<In> {
    fn clone(&self) -> Self {
        Self::new()
    }
}

impl<K, In: Send + 'static> KeyedProcessFunction<K, In> for First<In> {
    type Out = In;
    type State = ValueState<()>;

    fn state(&self) -> Self::State {
        ValueState::new(NAME)
    }

    #[inline]
    fn process(
        &mut self,
        record: In,
        mut seen: Row<'_, Self, K, In>,
        _: &mut KeyedContext<'_, K>,
        out: &mut Emitter<'_, In>,
    ) {
        if seen.get().is_none() {
            seen.set(());
            out.emit(record);
        }
    }
}

/// Gives the first record of each key since the key was forgotten.
pub(crate) struct FirstSince<In> {
    ttl: StateTtl,
    of: PhantomData<fn(In)>,
}

impl<In> FirstSince<In> {
    pub(crate) fn new(ttl: StateTtl) -> Self {
        Self { ttl, of: PhantomData }
    }
}

impl<In> Clone for FirstSince<In> {
    fn clone(&self) -> Self {
        Self::new(self.ttl)
    }
}

impl<K, In: Send + 'static> KeyedProcessFunction<K, In> for FirstSince<In> {
    type Out = In;
    type State = Expiring<ValueState<()>>;

    fn state(&self) -> Self::State {
        ValueState::new(NAME).with_ttl(self.ttl)
    }

    #[inline]
    fn process(
        &mut self,
        record: In,
        mut seen: Row<'_, Self, K, In>,
        _: &mut KeyedContext<'_, K>,
        out: &mut Emitter<'_, In>,
    ) {
        if seen.get().is_none() {
            seen.set(());
            out.emit(record);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::*;
    use crate::operator::ByValue;
    use crate::testing::OperatorHarness;

    fn key_of(n: &u64) -> u64 {
        n * n % 101
    }

    #[test]
    fn each_key_comes_once_in_every_way_of_running() {
        let mut seen = BTreeSet::new();
        let expected = (0..500).filter(|n| seen.insert(key_of(n))).collect::<Vec<u64>>();
        OperatorHarness::keyed(ByValue::new(key_of), First::new()).batch(0..500).check_by(key_of, expected);
    }

    #[test]
    fn a_key_comes_again_when_it_was_forgotten() {
        let minute = Duration::from_secs(60);
        let kept = FirstSince::new(StateTtl::processing_time(minute));
        OperatorHarness::keyed(ByValue::new(|n: &u64| n % 10), kept)
            .batch([1, 2, 11])
            .advance(minute - Duration::from_millis(1))
            .batch([21, 3])
            .advance(Duration::from_millis(1))
            .batch([31, 13, 2])
            .check_by(|n| n % 10, [1, 2, 3, 31, 2]);

        let kept = FirstSince::new(StateTtl::processing_time(minute).refresh_on_read());
        let mut run = OperatorHarness::keyed(ByValue::new(|n: &u64| n % 10), kept).start(1);
        run.feed([1]);
        run.advance(minute / 2);
        run.feed([11]);
        run.advance(minute / 2 + Duration::from_secs(10));
        run.feed([21]);
        assert_eq!(run.take_output(), [1], "it was seen 40 seconds ago");
    }
}
