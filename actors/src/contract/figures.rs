//! What a subtask counts of its work, while it works.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;

use super::backlog::{Backlog, SourceBacklog};
use super::time_use::{Doing, TimeUse};
use crate::protocol::{Mark, NO_TIME, OperatorId, Timestamp};

/// What counting costs is measured against a program in which nothing is counted: `RUSTFLAGS="--cfg millstream_uncounted"`.
pub(crate) const IS_COUNTED: bool = cfg!(not(millstream_uncounted));

/// A figure that one thread writes and any thread reads: a plain store, no read-modify-write.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts so many more. By one thread.
    #[inline]
    pub fn add(&self, more: u64) {
        self.set(self.get() + more);
    }

    /// Counts so much more time, in nanoseconds. By one thread.
    #[inline]
    pub fn add_time(&self, more: Duration) {
        self.add(u64::try_from(more.as_nanos()).unwrap_or(u64::MAX));
    }

    /// What it is now. By one thread.
    #[inline]
    pub fn set(&self, now: u64) {
        if IS_COUNTED {
            self.0.store(now, Ordering::Relaxed);
        }
    }

    /// What it was when it was written last.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A figure that is counted at times, as one thread writes it: nothing before the first time.
#[derive(Debug)]
pub struct CountedAtTimes(AtomicU64);

/// It was not counted yet. No count comes to that.
const NOT_COUNTED: u64 = u64::MAX;

impl Default for CountedAtTimes {
    fn default() -> Self {
        Self(AtomicU64::new(NOT_COUNTED))
    }
}

impl CountedAtTimes {
    /// It was counted. By one thread.
    pub fn set(&self, count: u64) {
        self.0.store(count, Ordering::Relaxed);
    }

    /// What it was when it was counted last.
    pub fn get(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|count| *count != NOT_COUNTED)
    }
}

/// How far event time has come at some place, as one thread writes it: [`NO_TIME`] stands for nowhere yet, and for the end.
#[derive(Debug)]
pub struct EventTimeMark(AtomicI64);

impl Default for EventTimeMark {
    fn default() -> Self {
        Self(AtomicI64::new(NO_TIME))
    }
}

impl EventTimeMark {
    /// A mark has come: a watermark, or one that says that there will be no more, after which nothing is late.
    pub fn follow(&self, mark: Mark) {
        match mark {
            Mark::Watermark(at) => self.set(at),
            Mark::End => self.set(NO_TIME),
            Mark::Idle | Mark::Milestone(_) => {}
        }
    }

    /// It is there, or nowhere: [`NO_TIME`].
    pub fn set(&self, at: Timestamp) {
        if IS_COUNTED {
            self.0.store(at, Ordering::Relaxed);
        }
    }

    /// Where it was when it was written last.
    pub fn get(&self) -> Option<Timestamp> {
        Some(self.0.load(Ordering::Relaxed)).filter(|at| *at != NO_TIME)
    }
}

/// Declares counters, which one thread writes, and the figures that are read of them: a new figure is a line below, and where it is
/// counted.
macro_rules! figures {
    (
        $(#[$counters_doc:meta])+ $counters:ident { $($own:ident: $own_type:ty,)* }
        $(#[$figures_doc:meta])+ $figures:ident
        counted { $($(#[$counted_doc:meta])+ $counted:ident,)* }
        at_present { $($(#[$present_doc:meta])+ $present:ident,)* }
        at_barriers { $($(#[$barrier_doc:meta])+ $at_barrier:ident,)* }
        marks { $($(#[$mark_doc:meta])+ $mark:ident,)* }
        summed { $($(#[$summed_doc:meta])+ $summed:ident,)* }
        summed_at_present { $($(#[$holding_doc:meta])+ $holding:ident,)* }
    ) => {
        $(#[$counters_doc])+
        // On cache lines of their own: they are written at each batch, and what lies beside them may be another thread's.
        #[repr(align(128))]
        #[derive(Debug, Default)]
        pub struct $counters {
            $($(#[$counted_doc])+ pub $counted: Counter,)*
            $($(#[$present_doc])+ pub $present: Counter,)*
            $($(#[$barrier_doc])+ pub $at_barrier: CountedAtTimes,)*
            $($(#[$mark_doc])+ pub $mark: EventTimeMark,)*
            $($own: $own_type,)*
        }

        $(#[$figures_doc])+
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
        #[non_exhaustive]
        pub struct $figures {
            $($(#[$counted_doc])+ pub $counted: u64,)*
            $($(#[$present_doc])+ pub $present: u64,)*
            $($(#[$barrier_doc])+ pub $at_barrier: Option<u64>,)*
            $($(#[$mark_doc])+ pub $mark: Option<Timestamp>,)*
            $($(#[$summed_doc])+ pub $summed: u64,)*
            $($(#[$holding_doc])+ pub $holding: u64,)*
        }

        impl $counters {
            fn values(&self) -> $figures {
                $figures {
                    $($counted: self.$counted.get(),)*
                    $($present: self.$present.get(),)*
                    $($at_barrier: self.$at_barrier.get(),)*
                    $($mark: self.$mark.get(),)*
                    $($summed: 0,)*
                    $($holding: 0,)*
                }
            }
        }

        impl $figures {
            /// These, of attempts before, and `newer`: what is counted adds up, of what is at present the newer one holds.
            #[must_use]
            pub fn and_then(self, newer: Self) -> Self {
                Self {
                    $($counted: self.$counted + newer.$counted,)*
                    $($present: newer.$present,)*
                    $($at_barrier: newer.$at_barrier,)*
                    $($mark: newer.$mark,)*
                    $($summed: self.$summed + newer.$summed,)*
                    $($holding: newer.$holding,)*
                }
            }
        }
    };
}

figures! {
    /// The figures of one subtask in one attempt, as its task writes them.
    Counters {
        time: TimeUse,
        operators: Mutex<Vec<(OperatorId, Arc<OperatorCounters>)>>,
        channels: Mutex<Vec<(ChannelPlace, Arc<ChannelCounters>)>>,
    }
    /// Figures of a subtask. Each is right by itself; between two of them a batch may have come.
    Figures
    counted {
        /// Records taken: read by a source, received by another task.
        records_in,
        /// Batches taken.
        batches_in,
        /// Payload bytes of the batches taken, where the source or the operator before counts them.
        bytes_in,
        /// Snapshots written to their end.
        snapshots,
        /// Slices of snapshots, each written between two batches.
        snapshot_slices,
        /// Bytes of snapshots sent to the store.
        snapshot_bytes,
        /// Nanoseconds in which writing snapshots held up records.
        snapshot_ns,
    }
    at_present {}
    at_barriers {}
    marks {}
    summed {
        /// Records sent to other tasks, each as often as it was sent. What waits for a batch to fill is not among them.
        records_out,
        /// Batches sent.
        batches_out,
        /// Payload bytes of the batches sent.
        bytes_out,
        /// Records that windows, joins, patterns and functions of users found late, whether or not they went to an output.
        late_records,
        /// Records withheld from functions that panic at them, by record directives. As with all that is counted, those are counted
        /// again that are withheld again after a restart.
        withheld_records,
        /// Nanoseconds in which the task ran.
        busy_ns,
        /// Nanoseconds in which it had work and its turn had not come: other tasks share its arbiter.
        waiting_ns,
        /// Nanoseconds in which an output, or the thread of a sink, took nothing more.
        blocked_ns,
        /// Nanoseconds in which there was no input.
        idle_ns,
    }
    summed_at_present {
        /// Batches that may be sent before another credit comes, over all outgoing channels.
        credits,
        /// Batches that wait for credit, over all outgoing channels.
        waiting_batches,
        /// Batches that are sent and not worked off, over all outgoing channels.
        batches_under_way,
    }
}

figures! {
    /// The figures of one operator of a subtask in one attempt, as its task writes them.
    OperatorCounters { backlog: Mutex<Option<Backlog>>, }
    /// Figures of one operator of a subtask.
    OperatorFigures
    counted {
        /// Records taken, whether they came over a channel or from the operator before in the task; read, by a source.
        records_in,
        /// Their payload bytes, where they are counted.
        bytes_in,
        /// Records emitted to the main output, each once, however many streams consume it. Of a sink 0.
        records_out,
        /// Their payload bytes, where they are counted.
        bytes_out,
        /// Records emitted to side outputs.
        side_records_out,
        /// Records that it found late, whether or not they went to an output.
        late_records,
        /// Records withheld from its function by record directives.
        withheld_records,
        /// Look-ups of keys whose row was in memory, or had not been anywhere, where state may be larger than memory.
        cache_hits,
        /// Look-ups of keys whose row had to be looked for on the disk, where state may be larger than memory.
        cache_misses,
    }
    at_present {}
    at_barriers {
        /// Keys with state, as of the newest barrier or restore. `None` before, so in a job without checkpoints, and of an operator without
        /// keyed state.
        state_entries,
        /// Times at which some key may have a timer, or a window, that waits in memory; as of the newest barrier or restore. `None` as
        /// `state_entries` is.
        timers,
    }
    marks {
        /// The watermark that came last, of all inputs; none before the first, and after the end.
        watermark_in,
        /// The watermark that was passed on last.
        watermark_out,
    }
    summed {}
    summed_at_present {}
}

figures! {
    /// The figures of one channel in one attempt, as its sender writes them.
    ChannelCounters {}
    /// Figures of one channel: from one subtask to one subtask.
    ChannelFigures
    counted {
        /// Records sent.
        records,
        /// Batches sent.
        batches,
        /// Payload bytes sent.
        bytes,
    }
    at_present {
        /// Batches that may be sent before another credit comes.
        credits,
        /// Batches that wait for credit.
        waiting_batches,
        /// Batches that are sent and not worked off.
        batches_under_way,
    }
    at_barriers {}
    marks {}
    summed {}
    summed_at_present {}
}

/// Which channel of a subtask: the number of the edge among those that leave its task, and the number of the channel in that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChannelPlace {
    /// Of the edge.
    pub output: u32,
    /// Of the channel: the receiving subtask, or 0 if the edge goes from each subtask to one.
    pub channel: u32,
}

impl Counters {
    /// What an operator of the subtask counts with.
    pub fn operator(&self, operator: &OperatorId) -> Arc<OperatorCounters> {
        let mut operators = lock(&self.operators);
        if let Some((_, known)) = operators.iter().find(|(id, _)| id == operator) {
            return known.clone();
        }
        let counters = Arc::<OperatorCounters>::default();
        operators.push((operator.clone(), counters.clone()));
        counters
    }

    /// What a channel that leaves the subtask counts with.
    pub fn channel(&self, place: ChannelPlace) -> Arc<ChannelCounters> {
        let counters = Arc::<ChannelCounters>::default();
        lock(&self.channels).push((place, counters.clone()));
        counters
    }

    /// What the task does from now on, at the time `now` of the process. By one thread.
    pub fn turns_to(&self, doing: Doing, now: Duration) {
        self.time.turns_to(doing, now);
    }

    /// What they are at the time `now` of the process; of what the task does at present the time so far is in it.
    pub fn read(&self, now: Duration) -> Figures {
        let [idle_ns, blocked_ns, waiting_ns, busy_ns] = self.time.read(now);
        let mut figures = Figures { idle_ns, blocked_ns, waiting_ns, busy_ns, ..self.values() };
        for (_, operator) in &*lock(&self.operators) {
            figures.late_records += operator.late_records.get();
            figures.withheld_records += operator.withheld_records.get();
        }
        for (_, channel) in &*lock(&self.channels) {
            let ChannelFigures { records, batches, bytes, credits, waiting_batches, batches_under_way } =
                channel.values();
            figures.records_out += records;
            figures.batches_out += batches;
            figures.bytes_out += bytes;
            figures.credits += credits;
            figures.waiting_batches += waiting_batches;
            figures.batches_under_way += batches_under_way;
        }
        figures
    }

    /// Those of its operators, in the order of their chain.
    pub fn read_operators(&self) -> Vec<(OperatorId, OperatorFigures)> {
        lock(&self.operators).iter().map(|(id, operator)| (id.clone(), operator.values())).collect()
    }

    /// What waits before its sources.
    pub fn read_backlogs(&self) -> Vec<(OperatorId, SourceBacklog)> {
        let operators = lock(&self.operators).clone();
        operators.into_iter().filter_map(|(id, operator)| Some((id, operator.read_backlog()?))).collect()
    }

    /// Those of its channels.
    pub fn read_channels(&self) -> Vec<(ChannelPlace, ChannelFigures)> {
        let mut channels: Vec<_> =
            lock(&self.channels).iter().map(|(place, channel)| (*place, channel.values())).collect();
        channels.sort_unstable_by_key(|(place, _)| *place);
        channels
    }
}

impl OperatorCounters {
    /// Says how what waits before a source is asked for, by any thread and at any time: it must neither block nor panic.
    ///
    /// ```
    /// use millstream::source::SourceBacklog;
    /// use millstream::testing::source_context;
    ///
    /// let cx = source_context(0, 1);
    /// cx.counters.set_backlog(|| SourceBacklog { pending_records: Some(12), ..SourceBacklog::default() });
    /// ```
    pub fn set_backlog(&self, read: impl Fn() -> SourceBacklog + Send + Sync + 'static) {
        *lock(&self.backlog) = Some(Backlog(Arc::new(read)));
    }

    /// Counts a read of a source: records and their bytes, and records of its side outputs. By one thread.
    pub fn count_read(&self, records: usize, bytes: usize, side_records: usize) {
        let (records, bytes) = (records as u64, bytes as u64);
        self.records_in.add(records);
        self.records_out.add(records);
        self.bytes_in.add(bytes);
        self.bytes_out.add(bytes);
        self.side_records_out.add(side_records as u64);
    }

    fn read_backlog(&self) -> Option<SourceBacklog> {
        let read = lock(&self.backlog).as_ref().map(|backlog| backlog.0.clone());
        read.map(|read| read())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_attempts_add_up_and_the_newest_present_holds() {
        let counters = Counters::default();
        counters.records_in.add(3);
        let (operator, place) = (OperatorId::new("windows"), ChannelPlace { output: 0, channel: 1 });
        counters.operator(&operator).late_records.add(2);
        counters.operator(&operator).watermark_in.follow(Mark::Watermark(9));
        let channel = counters.channel(place);
        channel.records.add(5);
        channel.credits.set(7);
        let first = counters.read(Duration::ZERO);
        assert_eq!((first.records_in, first.records_out, first.late_records, first.credits), (3, 5, 2, 7));
        let newer = Figures { records_in: 2, credits: 1, ..Figures::default() };
        let both = first.and_then(newer);
        assert_eq!((both.records_in, both.records_out, both.credits), (5, 5, 1));
        assert_eq!(counters.read_operators()[0].1.watermark_in, Some(9));
        counters.operator(&operator).watermark_in.follow(Mark::End);
        assert_eq!(counters.read_operators()[0].1.watermark_in, None);
    }
}
