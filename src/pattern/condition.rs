//! What must hold of a record.

use std::sync::Arc;

use super::Matched;

type Plain<T> = dyn Fn(&T) -> bool + Send + Sync;
type SoFar<T> = dyn Fn(&T, &Matched<'_, T>) -> bool + Send + Sync;

/// One thing that must hold of a record.
enum Test<T> {
    Plain(Arc<Plain<T>>),
    /// Looks at what the match has so far, which the record is not among.
    SoFar(Arc<SoFar<T>>),
}

/// What must hold of a record, all of it.
pub(super) struct Condition<T>(Vec<Test<T>>);

impl<T> Condition<T> {
    pub(super) fn plain(test: impl Fn(&T) -> bool + Send + Sync + 'static) -> Self {
        Self(vec![Test::Plain(Arc::new(test))])
    }

    pub(super) fn so_far(test: impl Fn(&T, &Matched<'_, T>) -> bool + Send + Sync + 'static) -> Self {
        Self(vec![Test::SoFar(Arc::new(test))])
    }

    /// Has this hold as well.
    pub(super) fn add(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }

    /// Whether it holds of a record. `matched` gives what the match has so far; it is not called if nothing looks at that.
    pub(super) fn holds<'m, 'r: 'm>(&self, record: &T, matched: &dyn Fn() -> &'m Matched<'r, T>) -> bool
    where
        T: 'r,
    {
        self.0.iter().all(|test| match test {
            Test::Plain(test) => test(record),
            Test::SoFar(test) => test(record, matched()),
        })
    }
}

impl<T> Clone for Condition<T> {
    fn clone(&self) -> Self {
        let tests = self.0.iter().map(|test| match test {
            Test::Plain(test) => Test::Plain(test.clone()),
            Test::SoFar(test) => Test::SoFar(test.clone()),
        });
        Self(tests.collect())
    }
}
