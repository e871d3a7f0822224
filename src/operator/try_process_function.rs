//! What users write where working on a record may fail, on streams that are not keyed.

use super::{Emitter, OutputTag, ProcessContext, ProcessFunction};
use crate::state::OperatorStateSet;

/// A [`ProcessFunction`] that may fail on a record. Its errors are records of a stream of their own, and the job goes on.
///
/// A call that fails takes nothing back: what it has emitted and changed before stays so. Check first, then change.
///
/// ```
/// use millstream::prelude::*;
///
/// /// Numbers lines; those that are too long are refused.
/// #[derive(Clone)]
/// struct Number;
///
/// impl TryProcessFunction<String> for Number {
///     type Out = (u64, String);
///     type Error = String;
///     type State = OperatorListState<u64>;
///
///     fn state(&self) -> Self::State {
///         OperatorListState::new("numbered")
///     }
///
///     fn process(
///         &mut self,
///         line: String,
///         mut numbered: TryStates<'_, Self, String>,
///         _: &mut ProcessContext<'_>,
///         out: &mut Emitter<'_, Self::Out>,
///     ) -> Result<(), String> {
///         if line.len() > 5 {
///             return Err(line);
///         }
///         let number = numbered.iter().sum::<u64>() + 1;
///         numbered.set(vec![number]);
///         out.emit((number, line));
///         Ok(())
///     }
/// }
///
/// # actix_rt::System::new().block_on(async {
/// # let (sink, errors) = (CollectSink::new(), CollectSink::new());
/// # let (collected, failed) = (sink.handle(), errors.handle());
/// let env = StreamEnvironment::new("numbers").parallelism(1);
/// let lines = ["tea", "chocolate", "milk"].map(str::to_owned);
/// let (numbered, refused) = env.source("lines", VecSource::new(lines.to_vec())).try_process("number", Number);
/// numbered.sink("numbered", sink);
/// refused.sink("refused", errors);
/// env.start()?.await?;
/// assert_eq!(collected.snapshot(), [(1, "tea".to_owned()), (2, "milk".to_owned())]);
/// assert_eq!(failed.snapshot(), ["chocolate"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a function on records `{In}` that may fail",
    note = "a `TryProcessFunction` is a type of your own, `Clone + Send`; a closure is for `try_map` and `try_flat_map`"
)]
pub trait TryProcessFunction<In>: Clone + Send + 'static {
    /// What it emits.
    type Out: Send + 'static;
    /// What it answers where it fails: all that is to be known of that, the record too if it is wanted.
    type Error: Send + 'static;
    /// Its states: `()`, one, or a tuple of up to eight.
    type State: OperatorStateSet;

    /// As [`ProcessFunction::state`].
    fn state(&self) -> Self::State;

    /// As [`ProcessFunction::open`].
    ///
    /// # Panics
    /// As in [`process`](Self::process).
    fn open(&mut self, states: TryStates<'_, Self, In>, ctx: &mut ProcessContext<'_>) {
        let _ = (states, ctx);
    }

    /// As [`ProcessFunction::process`].
    ///
    /// # Errors
    /// Whatever is to go to the stream of errors, with the event time of the record.
    ///
    /// # Panics
    /// A panic fails the task; the region restarts from its last checkpoint.
    fn process(
        &mut self,
        record: In,
        states: TryStates<'_, Self, In>,
        ctx: &mut ProcessContext<'_>,
        out: &mut Emitter<'_, Self::Out>,
    ) -> Result<(), Self::Error>;

    /// As [`ProcessFunction::end_of_input`].
    ///
    /// # Errors
    /// As [`process`](Self::process), without event time.
    ///
    /// # Panics
    /// As in [`process`](Self::process).
    fn end_of_input(
        &mut self,
        states: TryStates<'_, Self, In>,
        ctx: &mut ProcessContext<'_>,
        out: &mut Emitter<'_, Self::Out>,
    ) -> Result<(), Self::Error> {
        let _ = (states, out);
        ctx.does_nothing_at_end();
        Ok(())
    }
}

/// The state handles of a [`TryProcessFunction`] `F`, for use in its signature.
pub type TryStates<'a, F, In> = <<F as TryProcessFunction<In>>::State as OperatorStateSet>::Handles<'a>;

/// A function whose errors go to a side output.
pub(crate) struct Diverting<F, E> {
    pub(crate) function: F,
    pub(crate) errors: OutputTag<E>,
}

impl<F: Clone, E> Clone for Diverting<F, E> {
    fn clone(&self) -> Self {
        Self { function: self.function.clone(), errors: self.errors.clone() }
    }
}

impl<In, F: TryProcessFunction<In>> ProcessFunction<In> for Diverting<F, F::Error> {
    type Out = F::Out;
    type State = F::State;

    fn state(&self) -> F::State {
        self.function.state()
    }

    fn open(&mut self, states: TryStates<'_, F, In>, ctx: &mut ProcessContext<'_>) {
        self.function.open(states, ctx);
    }

    fn process(
        &mut self,
        record: In,
        states: TryStates<'_, F, In>,
        ctx: &mut ProcessContext<'_>,
        out: &mut Emitter<'_, F::Out>,
    ) {
        if let Err(error) = self.function.process(record, states, ctx, out) {
            out.emit_to(&self.errors, error);
        }
    }

    fn end_of_input(
        &mut self,
        states: TryStates<'_, F, In>,
        ctx: &mut ProcessContext<'_>,
        out: &mut Emitter<'_, F::Out>,
    ) {
        if let Err(error) = self.function.end_of_input(states, ctx, out) {
            out.emit_to(&self.errors, error);
        }
    }
}
