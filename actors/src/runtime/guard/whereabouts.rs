//! Where in user code a task is when it fails, kept for whoever reports that.
//!
//! Nothing is noted for a record that does not fail: a call is surrounded by a value whose `Drop` runs only when the stack
//! unwinds.

use std::cell::RefCell;

use super::panics::unheard;
use crate::protocol::{FailedRecord, OperatorId, PanickedRecord};

thread_local! {
    static NOTED: RefCell<Noted> = const { RefCell::new(Noted::NOTHING) };
}

/// What the calls that failed have said, from the innermost outwards.
pub(super) struct Noted {
    pub(super) record: FailedRecord,
    /// It was a batch that the task was working off, no mark.
    pub(super) in_batch: bool,
    /// The record had been held back, and is none of that batch.
    pub(super) was_held: bool,
    /// The operator was given records.
    pub(super) with_records: bool,
    /// Which it is, if the operator works carefully.
    pub(super) panicked: Option<PanickedRecord>,
    /// What the operator does is for no record or timer, though one may be at hand.
    pub(super) of_none: bool,
}

impl Noted {
    const NOTHING: Self = Self {
        record: FailedRecord { operator: None, key: None, record: None, index: None, input: None, read: Vec::new() },
        in_batch: false,
        was_held: false,
        with_records: false,
        panicked: None,
        of_none: false,
    };
}

/// Takes what this thread has noted.
pub(super) fn take_noted() -> Noted {
    NOTED.replace(Noted::NOTHING)
}

/// The operator in whose call the task fails, and whether that was given a batch.
pub(crate) fn note_operator(operator: Option<&OperatorId>, in_batch: bool) {
    NOTED.with_borrow_mut(|noted| {
        noted.record.operator = operator.cloned();
        noted.in_batch = in_batch;
    });
}

/// The key at whose call the task fails, and the record's place in the batch, from 0.
pub fn note_key(key: String, index: Option<usize>) {
    NOTED.with_borrow_mut(|noted| {
        noted.record.key = Some(key);
        noted.record.index = index;
    });
}

/// The record, as JSON if there is that of it, at whose call the task fails, and which the operator had held back before.
pub fn note_record(record: Option<String>) {
    NOTED.with_borrow_mut(|noted| {
        noted.record.record = record;
        noted.was_held = true;
    });
}

/// The operator in whose call the task fails was given records, and no mark.
pub(crate) fn note_with_records() {
    NOTED.with_borrow_mut(|noted| noted.with_records = true);
}

/// What fails is for no record or timer, though the operator may have been given one: it opens, say.
pub fn note_of_none() {
    NOTED.with_borrow_mut(|noted| noted.of_none = true);
}

/// The record at whose call the task fails, of an operator that works carefully; `None` if it could not be encoded. It was alone in its
/// batch.
pub(crate) fn note_careful(record: Option<PanickedRecord>) {
    NOTED.with_borrow_mut(|noted| {
        if noted.of_none {
            return;
        }
        noted.record.index = None;
        noted.record.record = record.as_ref().and_then(|record| record.text.clone());
        noted.panicked = record;
    });
}

/// The timer at whose call the task fails, of an operator that works carefully.
pub(crate) fn note_firing(firing: PanickedRecord) {
    NOTED.with_borrow_mut(|noted| noted.panicked = Some(firing));
}

/// Calls `note` when it is dropped while the stack unwinds.
struct OnUnwind<N: FnMut()>(N);

impl<N: FnMut()> Drop for OnUnwind<N> {
    #[cold]
    fn drop(&mut self) {
        unheard(&mut self.0);
    }
}

/// Calls `call`. If that fails or panics, `note` is called then, to say where.
///
/// # Errors
/// That of `call`.
#[inline]
pub fn noting<T, E>(call: impl FnOnce() -> Result<T, E>, mut note: impl FnMut()) -> Result<T, E> {
    let on_unwind = OnUnwind(&mut note);
    let result = call();
    // No unwinding: it has nothing to do, and nothing to let go of.
    std::mem::forget(on_unwind);
    if result.is_err() {
        unheard(note);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::guard::catch_panic;
    use crate::runtime::guard::panics::install_hook;

    #[test]
    fn call_that_panics_or_fails_is_noted_and_one_that_does_not_leaves_nothing() {
        let note = || note_key("7".to_owned(), Some(3));
        assert_eq!(noting(|| Ok::<_, ()>(1), note), Ok(1));
        assert!(take_noted().record.is_empty());
        assert_eq!(noting(|| Err::<(), _>("fails"), note), Err("fails"));
        assert_eq!(take_noted().record.index, Some(3));
        let panics = || -> Result<(), ()> { panic!("injected") };
        assert_eq!(catch_panic(|| noting(panics, note)).expect_err("it panicked").message, "injected");
        assert_eq!(take_noted().record.key.as_deref(), Some("7"));
    }

    #[test]
    fn note_that_panics_takes_nothing_from_the_panic_that_it_was_for() {
        install_hook();
        let call = || -> Result<(), ()> { panic!("the first") };
        let report = catch_panic(|| noting(call, || panic!("the second"))).expect_err("it panicked");
        assert_eq!(report.message, "the first");
        assert!(report.location.is_some_and(|place| place.contains("whereabouts")));
    }
}
