//! What users write to work on streams that are not keyed.

use std::fmt;

use millstream_actors::protocol::Timestamp;

use crate::state::OperatorStateSet;

use super::{Emitter, TaskView, context_methods};

/// A function on the records of a stream, with states of its own for each subtask. Follows Flink's `ProcessFunction`
/// with `CheckpointedFunction`.
///
/// Each subtask and each attempt runs a fresh clone of the declared value, so nothing but the states survives a
/// failure. How states are dealt out when the parallelism changes is said at
/// [`OperatorListState`](crate::state::OperatorListState) and [`BroadcastState`](crate::state::BroadcastState).
///
/// ```
/// use millstream::prelude::*;
///
/// /// Packs what comes into parcels of ten.
/// #[derive(Clone)]
/// struct Pack;
///
/// impl ProcessFunction<u64> for Pack {
///     type Out = Vec<u64>;
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
///         out: &mut Emitter<'_, Vec<u64>>,
///     ) {
///         packed.push(record);
///         if packed.len() == 10 {
///             out.emit(packed.take());
///         }
///     }
///
///     fn end_of_input(
///         &mut self,
///         mut packed: States<'_, Self, u64>,
///         _: &mut ProcessContext<'_>,
///         out: &mut Emitter<'_, Vec<u64>>,
///     ) {
///         if !packed.is_empty() {
///             out.emit(packed.take());
///         }
///     }
/// }
///
/// # actix_rt::System::new().block_on(async {
/// let sink = CollectSink::new();
/// let parcels = sink.handle();
/// let env = StreamEnvironment::new("parcels").parallelism(1);
/// env.source("numbers", SequenceSource::new(0..25)).process("pack", Pack).sink("parcels", sink);
/// env.start()?.await?;
/// assert_eq!(parcels.snapshot().iter().map(Vec::len).collect::<Vec<_>>(), [10, 10, 5]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a function on records `{In}`",
    note = "a `ProcessFunction` is a type of your own, `Clone + Send`; a closure is for `map`, `filter_map` and `flat_map`"
)]
pub trait ProcessFunction<In>: Clone + Send + 'static {
    /// What it emits.
    type Out: Send + 'static;
    /// Its states: `()`, one, or a tuple of up to eight.
    type State: OperatorStateSet;

    /// Declares the states; the same ones every time.
    fn state(&self) -> Self::State;

    /// Called once for each instance, before its first record: at a start, and after each restore with the states as they
    /// were restored. Does nothing by default.
    ///
    /// # Panics
    /// As in [`process`](Self::process).
    fn open(&mut self, states: States<'_, Self, In>, ctx: &mut ProcessContext<'_>) {
        let _ = (states, ctx);
    }

    /// Takes one record. `states` are those of the subtask, to be changed in place.
    ///
    /// # Panics
    /// A panic fails the task; the region restarts from its last checkpoint.
    fn process(
        &mut self,
        record: In,
        states: States<'_, Self, In>,
        ctx: &mut ProcessContext<'_>,
        out: &mut Emitter<'_, Self::Out>,
    );

    /// The input of this subtask has ended; what is withheld is to be emitted now. Does nothing by default. Not called
    /// when the job is drained or cancelled.
    ///
    /// That it was called is in the snapshots that follow: a subtask that is restored from one of them does not come here
    /// again before it has got another record.
    ///
    /// # Panics
    /// As in [`process`](Self::process).
    fn end_of_input(
        &mut self,
        states: States<'_, Self, In>,
        ctx: &mut ProcessContext<'_>,
        out: &mut Emitter<'_, Self::Out>,
    ) {
        let _ = (states, out);
        ctx.does_nothing_at_end();
    }
}

/// The state handles of a [`ProcessFunction`] `F`, for use in its signature.
pub type States<'a, F, In> = <<F as ProcessFunction<In>>::State as OperatorStateSet>::Handles<'a>;

/// What a function knows while it works on a record.
///
/// ```
/// use millstream::prelude::*;
///
/// /// Says which subtask got a record.
/// #[derive(Clone)]
/// struct Tell;
///
/// impl ProcessFunction<u64> for Tell {
///     type Out = (u32, u64);
///     type State = ();
///
///     fn state(&self) {}
///
///     fn process(&mut self, n: u64, _: (), ctx: &mut ProcessContext<'_>, out: &mut Emitter<'_, (u32, u64)>) {
///         assert!(ctx.subtask() < ctx.parallelism());
///         out.emit((ctx.subtask(), n));
///     }
/// }
///
/// # actix_rt::System::new().block_on(async {
/// let sink = CollectSink::new();
/// let told = sink.handle();
/// let env = StreamEnvironment::new("tell").parallelism(2);
/// env.source("numbers", SequenceSource::new(0..8)).partition_by(|n, of| *n as u32 % of).process("tell", Tell).sink("told", sink);
/// env.start()?.await?;
/// assert!(told.snapshot().iter().all(|(subtask, n)| u64::from(*subtask) == n % 2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
pub struct ProcessContext<'a> {
    time: Timestamp,
    watermark: Timestamp,
    task: &'a TaskView,
    /// The function does nothing at the end of input.
    has_no_end: bool,
}

impl<'a> ProcessContext<'a> {
    pub(crate) fn of(task: &'a TaskView, time: Timestamp, watermark: Timestamp) -> Self {
        Self { time, watermark, task, has_no_end: false }
    }

    pub(super) fn has_no_end(&self) -> bool {
        self.has_no_end
    }

    /// Says that the function does nothing at the end of input.
    pub(super) fn does_nothing_at_end(&mut self) {
        self.has_no_end = true;
    }

    /// How far event time has come in this subtask: `Timestamp::MIN` before the first watermark, `Timestamp::MAX` at the end of input.
    /// It does not go back, by a restore neither; at another parallelism a subtask begins with the least that any had. A record
    /// whose event time is not above it is late.
    #[inline]
    pub fn watermark(&self) -> Timestamp {
        self.watermark
    }

    context_methods!(task, time);
}

impl fmt::Debug for ProcessContext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessContext").field("share", &self.task.share).finish_non_exhaustive()
    }
}
