//! Event time given on the way.

use std::panic::Location;

use super::DataStream;
use crate::graph::{GraphError, StateNames};
use crate::operator::TimestampsAndWatermarks;
use crate::state::Share;
use crate::time::WatermarkStrategy;

impl<T: Send + 'static> DataStream<T> {
    /// Gives records event times, and the stream watermarks, by this strategy: for streams whose source has none, or another one
    /// than is wanted behind this. Follows Flink's method of this name. `id` is the stable id under which it is found again how far
    /// event time had come.
    ///
    /// What the stream had said of event time before ends here: its watermarks, and that it was idle. Where the source can be given
    /// the strategy ([`StreamEnvironment::source_with_watermarks`](crate::StreamEnvironment::source_with_watermarks)), that
    /// is better: it knows its splits, each of which is in an order of its own. Here a generator sees all that comes to its subtask,
    /// of whatever split and from however many subtasks before it, in the order in which that happens to come. So a bound on how
    /// late records may be has to be large enough for that, after a restore or a change of parallelism too.
    ///
    /// A watermark follows right behind the records that were taken together with those that moved it. After a failure each
    /// subtask first says again what it had said, at another parallelism the least that any had said, and its generator goes on
    /// from there.
    ///
    /// A subtask that gets no records holds event time back for all that is behind it, unless the strategy is
    /// [`with_idleness`](WatermarkStrategy::with_idleness), or until its input ends. One that is
    /// [`with_alignment`](WatermarkStrategy::with_alignment) is refused, since only sources can wait.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use millstream::prelude::*;
    /// use millstream::aggregates::Count;
    ///
    /// # actix_rt::System::new().block_on(async {
    /// let lines = ["1700000000000 login", "1700000001000 logout", "#", "1700000065000 login"].map(str::to_owned);
    /// let sink = CollectSink::new();
    /// let per_minute = sink.handle();
    /// let strategy = WatermarkStrategy::bounded_out_of_orderness(Duration::from_secs(5), |(at, _): &(i64, String)| *at)
    ///     .with_idleness(Duration::from_secs(30));
    ///
    /// let env = StreamEnvironment::new("events").parallelism(1);
    /// env.source("lines", VecSource::new(lines.to_vec()))
    ///     .filter_map(|line: String| {
    ///         let (at, what) = line.split_once(' ')?;
    ///         Some((at.parse().ok()?, what.to_owned()))
    ///     })
    ///     .assign_timestamps_and_watermarks("event time", strategy)
    ///     .window_all(TumblingWindows::event_time(Duration::from_secs(60)))
    ///     .aggregate("per minute", Count::new())
    ///     .sink("counts", sink);
    /// env.start()?.await?;
    /// assert_eq!(per_minute.snapshot(), [2, 1]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Panics
    /// The strategy's functions fail the task if they panic, as any function of a stream does.
    #[track_caller]
    pub fn assign_timestamps_and_watermarks(self, id: &str, strategy: WatermarkStrategy<T>) -> Self {
        let at = Location::caller();
        if let Some(reason) = strategy.mistake_in_mid_stream() {
            let operator = id.into();
            self.graph.borrow_mut().errors.push(GraphError::InvalidWatermarks { operator, reason, at });
        }
        let stream = self.operator(id, Some(id), at, move |cx| {
            let share = Share { subtask: cx.subtask.subtask.index, parallelism: cx.subtask.parallelism };
            TimestampsAndWatermarks::new(cx.id.clone(), share, &strategy, cx.subtask.clock.clone())
                .event_times(cx.subtask.event_times.clone())
                .reading(cx.subtask.reading.clone())
        });
        stream.declaring(StateNames::default())
    }
}
