//! A keyed stream whose records are cut into windows.

use std::fmt;
use std::panic::Location;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{DataStream, KeyedStream};
use crate::graph::GraphError;
use crate::keyed::Process;
use crate::operator::{ByValue, Emitter, KeySelector, OutputTag};
use crate::state::AggregateFunction;
use crate::window::{
    Aggregated, EachWindow, Evictor, NoEvictor, PaneFunction, Processed, Reduced, Trigger, WindowAssigner,
    WindowContext, WindowFunction, Windowed, Windowing,
};

/// A keyed stream whose records are cut into windows. Follows Flink's `WindowedStream`.
///
/// | operation | keeps of a window | gives |
/// |---|---|---|
/// | [`reduce`](Self::reduce), [`reduce_with`](Self::reduce_with) | one record | that; what a function makes of window and record |
/// | [`aggregate`](Self::aggregate), [`aggregate_with`](Self::aggregate_with) | an accumulator | its result; what a function makes of window and result |
/// | [`process`](Self::process), [`apply`](Self::apply) | all records | what a function emits |
///
/// What a window of event time gives has the window's [last millisecond](crate::window::Window::max_timestamp) as event time, so
/// windows of the same size behind it have it in the same span; what one of processing time gives has none; in
/// [`GlobalWindows`](crate::window::GlobalWindows) it is that of the record that made it fire. Results leave before the watermark
/// that completed their windows.
///
/// Each operation takes the stable id under which its state is found again. A snapshot of changes has all windows of the keys
/// that have changed.
///
/// ```
/// use std::time::Duration;
///
/// use millstream::prelude::*;
/// use millstream::window::TumblingWindows;
/// use millstream::aggregates::Count;
///
/// # actix_rt::System::new().block_on(async {
/// let (sink, late_sink) = (CollectSink::new(), CollectSink::new());
/// let (counts, late) = (sink.handle(), late_sink.handle());
/// let too_late = OutputTag::new("too late");
///
/// let env = StreamEnvironment::new("clicks").parallelism(1);
/// let strategy = WatermarkStrategy::monotonous(|(_, at): &(&str, i64)| *at);
/// let clicks = vec![("Ann", 100), ("Ben", 300), ("Ann", 900), ("Ann", 2_500), ("Ben", 800)];
/// let counted = env
///     .source_with_watermarks("clicks", VecSource::new(clicks), strategy)
///     .key_by(|(user, _)| user.to_string())
///     .window(TumblingWindows::event_time(Duration::from_secs(1)))
///     .allowed_lateness(Duration::from_millis(500))
///     .late_output(&too_late)
///     .aggregate_with("clicks-per-second", Count::new(), |ctx, count| (ctx.key().clone(), ctx.window().end(), count));
/// counted.side_output(&too_late).sink("late", late_sink);
/// counted.sink("counts", sink);
/// env.start()?.await?;
/// // Ben's last click comes after Ann's. Whether it is late depends on how many clicks are read at once.
/// assert_eq!(counts.snapshot().iter().map(|(.., count)| count).sum::<u64>() + late.snapshot().len() as u64, 5);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[must_use = "a windowed stream does nothing until an operation is called on it"]
pub struct WindowedStream<T, S, A, Tr, V = NoEvictor>
where
    S: KeySelector<T>,
{
    keyed: KeyedStream<T, S>,
    windowing: Windowing<T, A, Tr>,
    evictor: V,
    lateness: Duration,
    /// One subtask has all windows.
    is_alone: bool,
}

/// A stream all of whose records are cut into windows, whatever their keys: what
/// [`DataStream::window_all`] gives.
pub type AllWindows<T, A> = WindowedStream<T, ByValue<fn(&T)>, A, <A as WindowAssigner<T>>::Trigger>;

impl<T: Send + 'static, S: KeySelector<T>, A: WindowAssigner<T>> WindowedStream<T, S, A, A::Trigger> {
    pub(super) fn new(keyed: KeyedStream<T, S>, assigner: A, is_alone: bool) -> Self {
        let trigger = assigner.trigger();
        let windowing = Windowing { assigner, trigger, has_own_trigger: true, lateness: 0, late: None };
        Self { keyed, windowing, evictor: NoEvictor, lateness: Duration::ZERO, is_alone }
    }
}

impl<T, S, A, Tr, V> WindowedStream<T, S, A, Tr, V>
where
    T: Clone + Send + 'static,
    S: KeySelector<T>,
    S::Held: 'static,
    A: WindowAssigner<T>,
    Tr: Trigger<T>,
{
    /// Has windows give results when `trigger` says so, instead of the trigger that they have of their own.
    pub fn trigger<Other: Trigger<T>>(self, trigger: Other) -> WindowedStream<T, S, A, Other, V> {
        let Self { keyed, windowing, evictor, lateness, is_alone } = self;
        let Windowing { assigner, late, .. } = windowing;
        let windowing = Windowing { assigner, trigger, has_own_trigger: false, lateness: 0, late };
        WindowedStream { keyed, windowing, evictor, lateness, is_alone }
    }

    /// Has windows drop records when they give a result, before [`process`](WindowedStream::process) or
    /// [`apply`](WindowedStream::apply) see them or after.
    pub fn evictor<Other: Evictor<T>>(self, evictor: Other) -> WindowedStream<T, S, A, Tr, Other> {
        let Self { keyed, windowing, lateness, is_alone, .. } = self;
        WindowedStream { keyed, windowing, evictor, lateness, is_alone }
    }

    /// Keeps windows of event time for so long after they were complete: each record that comes in that time has its windows give
    /// a result once more. Whole milliseconds; none by default.
    pub fn allowed_lateness(mut self, lateness: Duration) -> Self {
        self.lateness = lateness;
        self
    }

    /// Sends the records that come after all their windows were over to a side output of the operator. They are dropped
    /// otherwise.
    pub fn late_output(mut self, tag: &OutputTag<T>) -> Self {
        self.windowing.late = Some(tag.clone());
        self
    }

    /// Gives all records of a window to a function when the window gives a result.
    #[track_caller]
    pub fn process<F: WindowFunction<S::Key, T>>(self, id: &str, function: F) -> DataStream<F::Out>
    where
        T: Serialize + DeserializeOwned,
        V: Evictor<T>,
    {
        let (Self { keyed, windowing, evictor, lateness, is_alone }, at) = (self, Location::caller());
        if let Err(reason) = evictor.check() {
            keyed.mistake(GraphError::InvalidWindows { operator: id.into(), reason, at });
        }
        let stream = WindowedStream { keyed, windowing, evictor: NoEvictor, lateness, is_alone };
        stream.run(id, Processed::new(function, evictor), at)
    }

    /// As [`process`](Self::process), for a closure.
    #[track_caller]
    pub fn apply<U: Send + 'static>(
        self,
        id: &str,
        function: impl Fn(&[T], &WindowContext<'_, S::Key>, &mut Emitter<'_, U>) + Clone + Send + 'static,
    ) -> DataStream<U>
    where
        T: Serialize + DeserializeOwned,
        V: Evictor<T>,
    {
        self.process(id, EachWindow::new(function))
    }
}

/// What needs no records one by one, so that there are none to be dropped.
impl<T, S, A, Tr> WindowedStream<T, S, A, Tr>
where
    T: Clone + Send + 'static,
    S: KeySelector<T>,
    S::Held: 'static,
    A: WindowAssigner<T>,
    Tr: Trigger<T>,
{
    /// Combines the records of a window by `function` (the value so far, the record), and gives the value.
    ///
    /// In [`SlidingWindows`](crate::window::SlidingWindows) and [`SessionWindows`](crate::window::SessionWindows) it also combines
    /// values, the earlier one first, so how records are divided must not matter.
    #[track_caller]
    pub fn reduce(self, id: &str, function: impl Fn(T, T) -> T + Clone + Send + 'static) -> DataStream<T>
    where
        T: Serialize + DeserializeOwned,
    {
        self.reduce_with(id, function, |_, value| value)
    }

    /// As [`reduce`](Self::reduce), but gives what `emit` makes of window and value.
    #[track_caller]
    pub fn reduce_with<U: Send + 'static>(
        self,
        id: &str,
        function: impl Fn(T, T) -> T + Clone + Send + 'static,
        emit: impl Fn(&WindowContext<'_, S::Key>, T) -> U + Clone + Send + 'static,
    ) -> DataStream<U>
    where
        T: Serialize + DeserializeOwned,
    {
        self.run(id, Reduced { function, emit }, Location::caller())
    }

    /// Gathers the records of a window in an accumulator, and gives its result.
    #[track_caller]
    pub fn aggregate<G>(self, id: &str, function: G) -> DataStream<G::Out>
    where
        G: AggregateFunction<In = T> + Clone,
        G::Accumulator: Clone,
        G::Out: Send + 'static,
    {
        self.aggregate_with(id, function, |_, result| result)
    }

    /// As [`aggregate`](Self::aggregate), but gives what `emit` makes of window and result.
    #[track_caller]
    pub fn aggregate_with<G, U>(
        self,
        id: &str,
        function: G,
        emit: impl Fn(&WindowContext<'_, S::Key>, G::Out) -> U + Clone + Send + 'static,
    ) -> DataStream<U>
    where
        G: AggregateFunction<In = T> + Clone,
        G::Accumulator: Clone,
        U: Send + 'static,
    {
        self.keyed.check_aggregate(id, &function, Location::caller());
        self.run(id, Aggregated { function, emit }, Location::caller())
    }
}

impl<T, S, A, Tr> WindowedStream<T, S, A, Tr>
where
    T: Clone + Send + 'static,
    S: KeySelector<T>,
    S::Held: 'static,
    A: WindowAssigner<T>,
    Tr: Trigger<T>,
{
    fn run<F: PaneFunction<S::Key, T>>(
        self,
        id: &str,
        function: F,
        at: &'static Location<'static>,
    ) -> DataStream<F::Out> {
        let Self { keyed, mut windowing, lateness, is_alone, .. } = self;
        for reason in windowing.check(lateness) {
            keyed.mistake(GraphError::InvalidWindows { operator: id.into(), reason, at });
        }
        let stream = keyed.on_kernel(id, Process(Windowed::new(windowing, function)), at).withholding_timers();
        if is_alone { stream.parallelism(1) } else { stream }
    }
}

impl<T, S: KeySelector<T>, A, Tr, V> fmt::Debug for WindowedStream<T, S, A, Tr, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WindowedStream").field(&self.keyed).finish()
    }
}
