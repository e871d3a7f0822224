//! What user functions emit into.

use std::fmt;

use millstream_actors::contract::Output;
use millstream_actors::protocol::{OperatorId, TaskError, Timestamp};

use super::{OutputTag, SideOutputs};

/// What the functions of users emit into: the stream that their operator makes, and its side outputs. Follows Flink's
/// `Collector`.
///
/// What is emitted has the event time of the record that the function was called with, if that has one.
///
/// Emitting never blocks. Records of one output leave in the order of emission. One call of a function may emit at most
/// [`Limits::emit_per_call_max`](crate::Limits::emit_per_call_max) records, counted over all outputs; what is above is
/// dropped, and the task fails when the call returns.
///
/// ```
/// use millstream::prelude::*;
///
/// # actix_rt::System::new().block_on(async {
/// let (words, refused) = (CollectSink::new(), CollectSink::new());
/// let (collected, empty) = (words.handle(), refused.handle());
/// let tag = OutputTag::new("empty lines");
/// let empty_lines = tag.clone();
/// let split = move |line: String, out: &mut Emitter<'_, String>| {
///     if line.is_empty() {
///         out.emit_to(&empty_lines, line);
///     } else {
///         line.split(' ').for_each(|word| out.emit(word.to_owned()));
///     }
/// };
///
/// let env = StreamEnvironment::new("words").parallelism(1);
/// let lines = ["to be", "", "or not"].map(str::to_owned);
/// let stream = env.source("lines", VecSource::new(lines.to_vec())).flat_map(split);
/// stream.side_output(&tag).sink("refused", refused);
/// stream.sink("words", words);
/// env.start()?.await?;
/// assert_eq!(collected.snapshot(), ["to", "be", "or", "not"]);
/// assert_eq!(empty.snapshot().len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
pub struct Emitter<'a, T> {
    out: &'a mut Output<T>,
    side_outputs: &'a mut SideOutputs,
    /// Event time of what is emitted, or [`NO_TIME`].
    time: Timestamp,
    /// How many records the call may still emit.
    left: usize,
    exceeded: bool,
}

impl<T> Emitter<'_, T> {
    /// Emits a record to the stream that the operator makes.
    #[inline]
    pub fn emit(&mut self, record: T) {
        if self.counts() {
            self.out.emit_at(record, self.time);
        }
    }

    /// Emits a record to a side output. Dropped if nobody consumes the tag, but counted.
    ///
    /// # Panics
    /// If the tag's name is in use with another type.
    #[inline]
    pub fn emit_to<S: 'static>(&mut self, tag: &OutputTag<S>, record: S) {
        if self.counts() {
            self.side_outputs.emit(tag, record, self.time);
        }
    }

    /// The event time of what is emitted, or [`NO_TIME`].
    #[inline]
    pub(crate) fn time(&self) -> Timestamp {
        self.time
    }

    /// Gives what is emitted from now on another event time.
    #[inline]
    pub(crate) fn set_time(&mut self, time: Timestamp) {
        self.time = time;
    }

    /// Counts one more record; false if it is above the limit.
    #[inline]
    fn counts(&mut self) -> bool {
        match self.left.checked_sub(1) {
            Some(left) => self.left = left,
            None => self.exceeded = true,
        }
        !self.exceeded
    }
}

impl<T> fmt::Debug for Emitter<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Emitter").field("left", &self.left).field("exceeded", &self.exceeded).finish_non_exhaustive()
    }
}

/// What the calls of one operator instance emit by, beside its main output: its side outputs, and the limit.
#[derive(Debug)]
pub(crate) struct Emission {
    operator: OperatorId,
    side_outputs: SideOutputs,
    per_call_max: usize,
}

impl Emission {
    pub(crate) fn new(operator: OperatorId, side_outputs: SideOutputs, per_call_max: usize) -> Self {
        Self { operator, side_outputs, per_call_max }
    }

    pub(crate) fn side_outputs(&mut self, side_outputs: SideOutputs) {
        self.side_outputs = side_outputs;
    }

    pub(crate) fn per_call_max(&mut self, records: usize) {
        self.per_call_max = records;
    }

    /// Makes one call of a function. What it emits has this event time, or [`NO_TIME`], and what it emits to `out` counts for
    /// `bytes` bytes of payload together.
    ///
    /// # Errors
    /// If it emits more than the limit.
    #[inline]
    pub(crate) fn call<T>(
        &mut self,
        out: &mut Output<T>,
        bytes: usize,
        time: Timestamp,
        function: impl FnOnce(&mut Emitter<'_, T>),
    ) -> Result<(), TaskError> {
        let before = if bytes > 0 { out.len() } else { 0 };
        let side_outputs = &mut self.side_outputs;
        let mut emitter = Emitter { out: &mut *out, side_outputs, time, left: self.per_call_max, exceeded: false };
        function(&mut emitter);
        if emitter.exceeded {
            return Err(self.limit_exceeded());
        }
        if bytes > 0 && out.len() > before {
            out.add_bytes(bytes);
        }
        Ok(())
    }

    #[cold]
    fn limit_exceeded(&self) -> TaskError {
        TaskError::EmitLimit { operator: self.operator.clone(), limit: self.per_call_max }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use millstream_actors::protocol::NO_TIME;

    use super::*;

    fn emission(per_call_max: usize) -> (Emission, Rc<RefCell<Vec<usize>>>) {
        let side: Rc<RefCell<Vec<usize>>> = Rc::default();
        let mut side_outputs = SideOutputs::default();
        let taken = side.clone();
        side_outputs.connect("side".into(), move |record: usize, _| taken.borrow_mut().push(record));
        (Emission::new("op".into(), side_outputs, per_call_max), side)
    }

    #[test]
    fn both_outputs_together_are_counted_against_the_limit() {
        let tag: OutputTag<usize> = OutputTag::new("side");
        for (main, to_side) in [(4, 0), (0, 4), (2, 2), (3, 2), (0, 5), (5, 0)] {
            let (mut emission, side) = emission(4);
            let mut out = Output::new();
            let called = emission.call(&mut out, 0, NO_TIME, |out| {
                (0..main).for_each(|n| out.emit(n));
                (0..to_side).for_each(|n| out.emit_to(&tag, n));
            });
            assert_eq!(called.is_ok(), main + to_side <= 4, "{main} and {to_side}");
            assert_eq!(out.len() + side.borrow().len(), 4, "no more than the limit is kept");
        }
    }

    #[test]
    fn each_call_may_emit_up_to_the_limit() {
        let (mut emission, _) = emission(2);
        let mut out = Output::new();
        for _ in 0..3 {
            emission.call(&mut out, 0, NO_TIME, |out| (0..2).for_each(|n| out.emit(n))).unwrap();
        }
        let error = emission.call(&mut out, 0, NO_TIME, |out| (0..3).for_each(|n| out.emit(n))).unwrap_err();
        assert!(matches!(&error, TaskError::EmitLimit { operator, limit: 2 } if *operator == "op".into()), "{error}");
    }

    #[test]
    fn a_record_nobody_consumes_is_counted_and_dropped() {
        let (mut emission, side) = emission(1);
        let (mut out, tag) = (Output::<u32>::new(), OutputTag::new("nobody"));
        emission.call(&mut out, 10, NO_TIME, |out| out.emit_to(&tag, 1u8)).unwrap();
        assert_eq!((out.open_batch().bytes(), side.borrow().len()), (0, 0));
        assert!(emission.call(&mut out, 0, NO_TIME, |out| (0..2).for_each(|_| out.emit_to(&tag, 1u8))).is_err());
    }

    #[test]
    fn bytes_count_for_calls_that_emit_to_the_main_output() {
        let (mut emission, _) = emission(5);
        let (mut out, tag) = (Output::new(), OutputTag::new("side"));
        emission.call(&mut out, 10, NO_TIME, |out| out.emit_to(&tag, 1usize)).unwrap();
        emission.call(&mut out, 10, NO_TIME, |out| (0..3).for_each(|n| out.emit(n))).unwrap();
        emission.call(&mut out, 10, NO_TIME, |_| {}).unwrap();
        assert_eq!(out.open_batch().bytes(), 10);
    }
}
