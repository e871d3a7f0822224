//! Runs keyed functions whose rows are nearly all in a file, with clock and side outputs as in memory.

use std::borrow::Borrow;
use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;

use super::operator_run::{MAX_PARALLELISM, Place, Spread};
use super::operator_snapshot::OPERATOR;
use super::two_input_harness::{hash_of, merged};
use super::{BoxedOperator, OperatorHarness};
use crate::keyed::{KeyedCoOperator, KeyedCoProcessFunction, KeyedOperator, KeyedProcessFunction};
use crate::operator::{Either, KeySelector};
use crate::state::{RedbBackend, group_of_hash};

/// As many rows stay in memory, so that all go to the file and back.
const ROWS_IN_MEMORY: usize = 10;

impl<In: Clone + Send + 'static, Out: Debug + PartialEq + Send + 'static> OperatorHarness<In, Out> {
    /// As [`keyed`](Self::keyed), with a working file in `dir`.
    pub(crate) fn keyed_in_file<S, F>(selector: S, function: F, dir: &Path) -> Self
    where
        S: KeySelector<In, Held: 'static>,
        F: KeyedProcessFunction<S::Key, In, Out = Out>,
    {
        let (of_record, dir) = (selector.clone(), dir.to_owned());
        let group_of = move |record: &In| Some(group_of_hash(hash_of(&of_record, record), MAX_PARALLELISM));
        let factory = move |place: Place| -> BoxedOperator<In, Out> {
            let range = place.range();
            let backend = RedbBackend::tiny(function.state(), range, MAX_PARALLELISM, &dir, ROWS_IN_MEMORY, true);
            let (id, function) = (OPERATOR.into(), function.clone());
            let operator = KeyedOperator::with_backend(id, backend, selector.clone(), function, place.side_outputs);
            Box::new(operator.share(place.share).clock(Arc::new(place.clock)))
        };
        Self::of(factory, Spread::ByGroup(Box::new(group_of)))
    }
}

impl<A, B, Out> OperatorHarness<Either<A, B>, Out>
where
    A: Clone + Send + 'static,
    B: Clone + Send + 'static,
    Out: Debug + PartialEq + Send + 'static,
{
    /// As [`keyed_two_inputs`](Self::keyed_two_inputs), with a working file in `dir`.
    pub(crate) fn keyed_two_inputs_in_file<SA, SB, F>((first, second): (SA, SB), function: F, dir: &Path) -> Self
    where
        SA: KeySelector<A, Held: 'static>,
        SB: KeySelector<B, Key = SA::Key, Held: 'static>,
        SA::Key: Borrow<SB::Query>,
        F: KeyedCoProcessFunction<SA::Key, A, B, Out = Out>,
    {
        let (of_record, dir) = ((first.clone(), second.clone()), dir.to_owned());
        let group_of = move |record: &Either<A, B>| {
            let hash = match record {
                Either::First(record) => hash_of(&of_record.0, record),
                Either::Second(record) => hash_of(&of_record.1, record),
            };
            Some(group_of_hash(hash, MAX_PARALLELISM))
        };
        let factory = move |place: Place| -> BoxedOperator<Either<A, B>, Out> {
            let range = place.range();
            let backend = RedbBackend::tiny(function.state(), range, MAX_PARALLELISM, &dir, ROWS_IN_MEMORY, true);
            let (id, selectors) = (OPERATOR.into(), (first.clone(), second.clone()));
            let operator = KeyedCoOperator::with_backend(id, backend, selectors, function.clone(), place.side_outputs);
            merged(operator.share(place.share).clock(Arc::new(place.clock)))
        };
        Self::of(factory, Spread::ByGroup(Box::new(group_of)))
    }
}
