//! Functions that may fail on a record: their errors are a stream beside that of their results.

use std::panic::Location;

use super::{DataStream, KeyedStream};
use crate::graph::Prototype;
use crate::keyed::TryKeyedProcessFunction;
use crate::operator::{Diverting, Emitter, FlatMap, KeySelector, OutputTag, TryProcessFunction};

/// The side output of an operator that has its errors.
fn errors<E: Send + 'static>() -> OutputTag<E> {
    OutputTag::new("errors")
}

impl<T: Send + 'static> DataStream<T> {
    /// Gives `function` of each record: a stream of what it gives, and one of its errors, each in order and with the event times
    /// of the records. An error is a record like any other: it may have the record that led to it, and is in the output of a
    /// sink exactly once if that is such a sink. The job goes on. A stream of errors that is let go of drops them.
    ///
    /// ```
    /// use millstream::prelude::*;
    ///
    /// # actix_rt::System::new().block_on(async {
    /// # let (sink, refused) = (CollectSink::new(), CollectSink::new());
    /// # let (parsed, failed) = (sink.handle(), refused.handle());
    /// let env = StreamEnvironment::new("parse");
    /// let (numbers, errors) = env
    ///     .source("texts", VecSource::new(["7", "x", "9"].map(str::to_owned).to_vec()))
    ///     .try_map(|text: String| text.parse::<u32>().map_err(|error| format!("{text:?}: {error}")));
    /// numbers.sink("numbers", sink);
    /// errors.sink("refused", refused);
    /// env.start()?.await?;
    ///
    /// assert_eq!(parsed.snapshot(), [7, 9]);
    /// assert_eq!(failed.snapshot(), [r#""x": invalid digit found in string"#]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    #[track_caller]
    pub fn try_map<U: Send + 'static, E: Send + 'static>(
        self,
        function: impl Fn(T) -> Result<U, E> + Clone + Send + 'static,
    ) -> (DataStream<U>, DataStream<E>) {
        let call = move |record, out: &mut Emitter<'_, U>| function(record).map(|made| out.emit(made));
        self.trying("try_map", call, Location::caller())
    }

    /// Gives all that `function` emits for each record, and beside that its errors, as [`try_map`](Self::try_map) does. A call that
    /// fails takes nothing back: what it has emitted before stays so. The side output named `errors` is that of the errors;
    /// others may be emitted to as in [`flat_map`](Self::flat_map).
    ///
    /// ```
    /// use millstream::prelude::*;
    ///
    /// # actix_rt::System::new().block_on(async {
    /// # let (sink, refused) = (CollectSink::new(), CollectSink::new());
    /// # let (parsed, failed) = (sink.handle(), refused.handle());
    /// let env = StreamEnvironment::new("parse-lines").parallelism(1);
    /// let lines = ["1 2", "3 x 4", "5"].map(str::to_owned);
    /// let (numbers, errors) = env
    ///     .source("lines", VecSource::new(lines.to_vec()))
    ///     .try_flat_map(|line: String, out| {
    ///         let numbers = line.split(' ').map(str::parse::<u32>).collect::<Result<Vec<_>, _>>();
    ///         numbers.map_err(|_| line)?.into_iter().for_each(|number| out.emit(number));
    ///         Ok::<_, String>(())
    ///     });
    /// numbers.sink("numbers", sink);
    /// errors.sink("refused", refused);
    /// env.start()?.await?;
    ///
    /// assert_eq!(parsed.snapshot(), [1, 2, 5]);
    /// assert_eq!(failed.snapshot(), ["3 x 4"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    #[track_caller]
    pub fn try_flat_map<U: Send + 'static, E: Send + 'static>(
        self,
        function: impl Fn(T, &mut Emitter<'_, U>) -> Result<(), E> + Clone + Send + 'static,
    ) -> (DataStream<U>, DataStream<E>) {
        self.trying("try_flat_map", function, Location::caller())
    }

    /// As [`process`](Self::process) with a function that may fail: what it emits, and its errors.
    #[track_caller]
    pub fn try_process<F: TryProcessFunction<T>>(
        self,
        id: &str,
        function: F,
    ) -> (DataStream<F::Out>, DataStream<F::Error>) {
        let results = self.process(id, Diverting { function, errors: errors() });
        let errors = results.side_output(&errors());
        (results, errors)
    }

    fn trying<U: Send + 'static, E: Send + 'static>(
        self,
        name: &str,
        function: impl Fn(T, &mut Emitter<'_, U>) -> Result<(), E> + Clone + Send + 'static,
        at: &'static Location<'static>,
    ) -> (DataStream<U>, DataStream<E>) {
        let function = Prototype::new(function);
        let results = self.operator(name, None, at, move |cx| {
            let (tag, function) = (errors(), function.fresh());
            let call = move |record, out: &mut Emitter<'_, U>| {
                if let Err(error) = function(record, out) {
                    out.emit_to(&tag, error);
                }
            };
            FlatMap::new(cx.id.clone(), cx.subtask.limits.emit_per_call_max, call).side_outputs(cx.sides)
        });
        let errors = results.side_output(&errors());
        (results, errors)
    }
}

impl<T: Send + 'static, S: KeySelector<T>> KeyedStream<T, S> {
    /// As [`process`](Self::process) with a function that may fail: what it emits, and its errors.
    #[track_caller]
    pub fn try_process<F: TryKeyedProcessFunction<S::Key, T>>(
        self,
        id: &str,
        function: F,
    ) -> (DataStream<F::Out>, DataStream<F::Error>)
    where
        S::Held: 'static,
    {
        let results = self.process(id, Diverting { function, errors: errors() });
        let errors = results.side_output(&errors());
        (results, errors)
    }
}
