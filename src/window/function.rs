//! What windows keep of their records, and what they give.

use std::fmt;
use std::marker::PhantomData;

use millstream_actors::protocol::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Elements, Evictor, Window};
use crate::keyed::KeyedContext;
use crate::operator::Emitter;
use crate::state::AggregateFunction;

/// What the function of a window knows when the window gives a result.
pub struct WindowContext<'a, K> {
    window: Window,
    of: &'a KeyedContext<'a, K>,
}

impl<'a, K> WindowContext<'a, K> {
    pub(super) fn new(window: Window, of: &'a KeyedContext<'a, K>) -> Self {
        Self { window, of }
    }

    /// The window.
    #[inline]
    pub fn window(&self) -> Window {
        self.window
    }

    /// The key.
    #[inline]
    pub fn key(&self) -> &K {
        self.of.key()
    }

    /// The watermark up to which this key has been worked on, or is being worked on.
    pub fn watermark(&self) -> Timestamp {
        self.of.watermark()
    }

    /// The index of this subtask. Results that depend on it change when the parallelism does.
    pub fn subtask(&self) -> u32 {
        self.of.subtask()
    }

    /// The job's clock. Results that depend on it may differ when records are worked on again after a restart.
    pub fn clock(&self) -> &dyn millstream_actors::contract::Clock {
        self.of.clock()
    }
}

impl<K: fmt::Debug> fmt::Debug for WindowContext<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WindowContext").field("window", &self.window).field("of", self.of).finish()
    }
}

/// Works on all records of a window when it gives a result. Follows Flink's `ProcessWindowFunction`. For a
/// closure there is [`apply`](crate::stream::WindowedStream::apply).
///
/// ```
/// use std::time::Duration;
///
/// use millstream::prelude::*;
/// use millstream::window::{TumblingWindows, WindowContext, WindowFunction};
///
/// /// The median of a sensor's readings.
/// #[derive(Clone)]
/// struct Median;
///
/// impl WindowFunction<u32, (u32, i64, f64)> for Median {
///     type Out = (u32, i64, f64);
///
///     fn process(
///         &mut self,
///         readings: &[(u32, i64, f64)],
///         ctx: &WindowContext<'_, u32>,
///         out: &mut Emitter<'_, Self::Out>,
///     ) {
///         let mut values: Vec<f64> = readings.iter().map(|(_, _, value)| *value).collect();
///         values.sort_by(f64::total_cmp);
///         out.emit((*ctx.key(), ctx.window().end(), values[values.len() / 2]));
///     }
/// }
///
/// # actix_rt::System::new().block_on(async {
/// # let (sink, env) = (CollectSink::new(), StreamEnvironment::new("sensors"));
/// # let medians = sink.handle();
/// let readings = VecSource::new(vec![(7, 100, 0.5), (7, 300, 9.0), (7, 200, 0.75), (7, 1_500, 2.0)]);
/// let bound = Duration::from_millis(200);
/// let strategy = WatermarkStrategy::bounded_out_of_orderness(bound, |(_, at, _): &(u32, i64, f64)| *at);
/// env.source_with_watermarks("readings", readings, strategy)
///     .key_by(|(sensor, ..)| *sensor)
///     .window(TumblingWindows::event_time(Duration::from_secs(1)))
///     .process("medians", Median)
///     .sink("out", sink);
/// # env.start()?.await?;
/// # assert_eq!(medians.snapshot(), [(7, 1_000, 0.75), (7, 2_000, 2.0)]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a function on windows of records `{T}` with keys `{K}`",
    note = "a `WindowFunction` is a type of your own, `Clone + Send`; a closure is for `apply`"
)]
pub trait WindowFunction<K, T>: Clone + Send + 'static {
    /// What it emits.
    type Out: Send + 'static;

    /// Takes the records of a window, at least one, in the order in which they have come. They stay in the window if lateness is
    /// allowed, or the trigger does not purge it.
    ///
    /// # Panics
    /// A panic fails the task; the region restarts from its last checkpoint.
    fn process(&mut self, records: &[T], ctx: &WindowContext<'_, K>, out: &mut Emitter<'_, Self::Out>);
}

/// What panes keep, and what they give.
pub(crate) trait PaneFunction<K, T>: Clone + Send + 'static {
    type Kept: Serialize + DeserializeOwned + Send + 'static;
    type Out: Send + 'static;

    /// Whether panes of parts of a window give together, merged, what a pane of the window does. Parts are merged in the order of their
    /// times: what depends on the order in which records come does not share.
    const SHARES: bool;

    fn add(&self, kept: &mut Option<Self::Kept>, record: T, time: Timestamp);

    fn merge(&self, kept: &mut Self::Kept, later: Self::Kept);

    /// A copy, for a pane that shares it. Asked only of what does.
    fn copy(&self, kept: &Self::Kept) -> Self::Kept;

    /// Whether nothing is left after what [`emit`](Self::emit) has dropped.
    fn is_empty(&self, kept: &Self::Kept) -> bool {
        let _ = kept;
        false
    }

    fn emit(&mut self, kept: &mut Self::Kept, ctx: &WindowContext<'_, K>, out: &mut Emitter<'_, Self::Out>);
}

/// Keeps an accumulator, and gives what `emit` makes of its result.
#[derive(Clone)]
pub(crate) struct Aggregated<A, E> {
    pub(crate) function: A,
    pub(crate) emit: E,
}

impl<K, T, A, E, U> PaneFunction<K, T> for Aggregated<A, E>
where
    A: AggregateFunction<In = T> + Clone,
    A::Accumulator: Clone,
    E: Fn(&WindowContext<'_, K>, A::Out) -> U + Clone + Send + 'static,
    U: Send + 'static,
{
    type Kept = A::Accumulator;
    type Out = U;

    const SHARES: bool = true;

    #[inline]
    fn add(&self, kept: &mut Option<A::Accumulator>, record: T, _: Timestamp) {
        self.function.add(kept.get_or_insert_with(|| self.function.create()), record);
    }

    fn merge(&self, kept: &mut A::Accumulator, later: A::Accumulator) {
        self.function.merge(kept, later);
    }

    fn copy(&self, kept: &A::Accumulator) -> A::Accumulator {
        kept.clone()
    }

    fn emit(&mut self, kept: &mut A::Accumulator, ctx: &WindowContext<'_, K>, out: &mut Emitter<'_, U>) {
        out.emit((self.emit)(ctx, self.function.result(kept)));
    }
}

/// Keeps what its records are reduced to, and gives what `emit` makes of that.
#[derive(Clone)]
pub(crate) struct Reduced<F, E> {
    pub(crate) function: F,
    pub(crate) emit: E,
}

impl<K, T, F, E, U> PaneFunction<K, T> for Reduced<F, E>
where
    T: Clone + Serialize + DeserializeOwned + Send + 'static,
    F: Fn(T, T) -> T + Clone + Send + 'static,
    E: Fn(&WindowContext<'_, K>, T) -> U + Clone + Send + 'static,
    U: Send + 'static,
{
    type Kept = T;
    type Out = U;

    const SHARES: bool = true;

    #[inline]
    fn add(&self, kept: &mut Option<T>, record: T, _: Timestamp) {
        *kept = Some(match kept.take() {
            Some(kept) => (self.function)(kept, record),
            None => record,
        });
    }

    fn merge(&self, kept: &mut T, later: T) {
        *kept = (self.function)(kept.clone(), later);
    }

    fn copy(&self, kept: &T) -> T {
        kept.clone()
    }

    fn emit(&mut self, kept: &mut T, ctx: &WindowContext<'_, K>, out: &mut Emitter<'_, U>) {
        out.emit((self.emit)(ctx, kept.clone()));
    }
}

/// Keeps all records, and gives what a function makes of them.
pub(crate) struct Processed<T, F, V> {
    function: F,
    evictor: V,
    of: PhantomData<fn(T)>,
}

impl<T, F, V> Processed<T, F, V> {
    pub(crate) fn new(function: F, evictor: V) -> Self {
        Self { function, evictor, of: PhantomData }
    }
}

impl<T, F: Clone, V: Clone> Clone for Processed<T, F, V> {
    fn clone(&self) -> Self {
        Self::new(self.function.clone(), self.evictor.clone())
    }
}

impl<K, T, F, V> PaneFunction<K, T> for Processed<T, F, V>
where
    T: Serialize + DeserializeOwned + Send + 'static,
    F: WindowFunction<K, T>,
    V: Evictor<T>,
{
    type Kept = Elements<T>;
    type Out = F::Out;

    const SHARES: bool = false;

    #[inline]
    fn add(&self, kept: &mut Option<Elements<T>>, record: T, time: Timestamp) {
        kept.get_or_insert_default().push(record, time);
    }

    fn merge(&self, kept: &mut Elements<T>, later: Elements<T>) {
        kept.append(later);
    }

    fn copy(&self, _: &Elements<T>) -> Elements<T> {
        unreachable!("records are not shared")
    }

    fn is_empty(&self, kept: &Elements<T>) -> bool {
        kept.records().is_empty()
    }

    fn emit(&mut self, kept: &mut Elements<T>, ctx: &WindowContext<'_, K>, out: &mut Emitter<'_, F::Out>) {
        self.evictor.before(ctx.window(), kept);
        if !kept.records().is_empty() {
            self.function.process(kept.records(), ctx, out);
        }
        self.evictor.after(ctx.window(), kept);
    }
}

/// A closure as a [`WindowFunction`].
pub(crate) struct EachWindow<F, U> {
    function: F,
    of: PhantomData<fn() -> U>,
}

impl<F, U> EachWindow<F, U> {
    pub(crate) fn new(function: F) -> Self {
        Self { function, of: PhantomData }
    }
}

impl<F: Clone, U> Clone for EachWindow<F, U> {
    fn clone(&self) -> Self {
        Self::new(self.function.clone())
    }
}

impl<K, T, F, U> WindowFunction<K, T> for EachWindow<F, U>
where
    F: Fn(&[T], &WindowContext<'_, K>, &mut Emitter<'_, U>) + Clone + Send + 'static,
    U: Send + 'static,
{
    type Out = U;

    fn process(&mut self, records: &[T], ctx: &WindowContext<'_, K>, out: &mut Emitter<'_, U>) {
        (self.function)(records, ctx, out);
    }
}
