//! What becomes of partial matches whose time is over.

use super::Matched;
use crate::operator::{Emitter, OutputTag};

/// What becomes of partial matches whose time is over. Made by
/// [`PatternStream::timed_out`](crate::stream::PatternStream::timed_out); not to be implemented outside.
#[doc(hidden)]
pub trait OnTimeout<T>: Clone + Send + 'static {
    /// Takes one.
    fn give<U>(&self, matched: &Matched<'_, T>, out: &mut Emitter<'_, U>);
}

/// They are dropped.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Dropped;

impl<T> OnTimeout<T> for Dropped {
    fn give<U>(&self, _: &Matched<'_, T>, _: &mut Emitter<'_, U>) {}
}

/// What a function makes of them goes to a side output.
pub(crate) struct TimedOutTo<V, F> {
    tag: OutputTag<V>,
    function: F,
}

impl<V, F> TimedOutTo<V, F> {
    pub(crate) fn new(tag: OutputTag<V>, function: F) -> Self {
        Self { tag, function }
    }
}

impl<V, F: Clone> Clone for TimedOutTo<V, F> {
    fn clone(&self) -> Self {
        Self { tag: self.tag.clone(), function: self.function.clone() }
    }
}

impl<T, V, F> OnTimeout<T> for TimedOutTo<V, F>
where
    V: Send + 'static,
    F: Fn(&Matched<'_, T>) -> V + Clone + Send + 'static,
{
    fn give<U>(&self, matched: &Matched<'_, T>, out: &mut Emitter<'_, U>) {
        out.emit_to(&self.tag, (self.function)(matched));
    }
}
