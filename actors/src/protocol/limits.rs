//! Every limit of the engine, with default, unit and reason, and the configuration of checkpoints.

use std::time::Duration;

/// A batch closes at this many records.
pub const BATCH_RECORDS_MAX: usize = 1024;

/// Bounds on queues, windows, retries and delays.
///
/// ```
/// use std::time::Duration;
///
/// use millstream::Limits;
///
/// let limits = Limits::default().replace_stuck(true).stuck_after(Duration::from_secs(30));
/// assert_eq!(limits.history_len, 256);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Credits, in batches, that a receiving task divides over its channels. 256: a thousand channels would otherwise
    /// hold 64 batches each.
    pub credits_per_task: u32,
    /// Most credits of a channel between two arbiters. 64: windows of 16 cost 2 to 4 times more wake-ups.
    pub credits_per_channel_max: u32,
    /// Fewest credits of a channel whose batches have more than one record, and all that it has at first. 2: one batch is worked
    /// on while the next is on its way.
    pub credits_per_channel_min: u32,
    /// Most credits of a channel between two tasks of one arbiter. 8: the batches stay in the cache.
    pub credits_same_arbiter: u32,
    /// The channels of a task hold at most what it works off in this time, down to one record each, and a step of it takes
    /// half of that. 100 ms: keeps alignment short.
    pub channel_backlog_max: Duration,
    /// Most records that one call of a user function may emit. 4 Mi: the only unbounded unit of memory.
    pub emit_per_call_max: usize,
    /// How long a task may take to stop before its arbiter is condemned. 10 s.
    pub stop_timeout: Duration,
    /// How long a task may hold its arbiter without a sign of life before it is reported. 10 s.
    pub stuck_after: Duration,
    /// How long a split may hold event time back before it is reported, at the next look after stuck tasks. 1 min: sooner, and each
    /// pause of an input would be told.
    pub event_time_held_after: Duration,
    /// Whether a region with a stuck task is restarted on a fresh arbiter. Off: its thread is lost until the call
    /// returns, so this is the user's decision.
    pub replace_stuck: bool,
    /// How often a failed commit of a completed checkpoint is retried before the attempt fails. 3.
    pub commit_retries: u32,
    /// Delay before a commit is retried. 50 ms.
    pub commit_retry_delay: Duration,
    /// Events kept in a job's history. 256.
    pub history_len: usize,
    /// Checkpoint ids reserved durably at a time. 1,000.
    pub checkpoint_ids_per_block: u64,
    /// Batches that a blocking source reads ahead. 4.
    pub read_ahead: usize,
    /// Chunk bytes written in one transaction of the store. 16 MiB.
    pub store_transaction_bytes: usize,
    /// Threads on which the snapshot writers of all jobs of the process call their stores; the largest number that
    /// a job has asked for counts. 4: commits of several stores overlap while each waits for its disk.
    pub store_threads: usize,
    /// How long a store call may wait for one of these threads before those that have been busy all that time are
    /// replaced, since their stores may hang. 1 s: far above what a commit takes.
    pub store_wait_max: Duration,
    /// Bytes of a task's snapshot that may be on their way to the store before its sweep pauses. 32 MiB: the writer
    /// always has work, and what records change meanwhile has room.
    pub capture_bytes_in_flight: usize,
    /// Bytes of a task's snapshot that may be held in all, above which the task declines the checkpoint. 512 MiB.
    pub capture_bytes_max: usize,
    /// Threads of each task that load keyed state at a restart. 2.
    pub restore_threads: usize,
    /// How often a task that loads its state says how far it is. 1 s.
    pub restore_progress_every: Duration,
    /// How often the log says how far a checkpoint is that takes longer than this. 10 s.
    pub checkpoint_progress_every: Duration,
    /// How often the log says how far a savepoint is whose file takes longer to write than this, by the machine's clock. 5 s.
    pub savepoint_progress_every: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            credits_per_task: 256,
            credits_per_channel_max: 64,
            credits_per_channel_min: 2,
            credits_same_arbiter: 8,
            channel_backlog_max: Duration::from_millis(100),
            emit_per_call_max: 4 << 20,
            stop_timeout: Duration::from_secs(10),
            stuck_after: Duration::from_secs(10),
            event_time_held_after: Duration::from_secs(60),
            replace_stuck: false,
            commit_retries: 3,
            commit_retry_delay: Duration::from_millis(50),
            history_len: 256,
            checkpoint_ids_per_block: 1_000,
            read_ahead: 4,
            store_transaction_bytes: 16 << 20,
            store_threads: 4,
            store_wait_max: Duration::from_secs(1),
            capture_bytes_in_flight: 32 << 20,
            capture_bytes_max: 512 << 20,
            restore_threads: 2,
            restore_progress_every: Duration::from_secs(1),
            checkpoint_progress_every: Duration::from_secs(10),
            savepoint_progress_every: Duration::from_secs(5),
        }
    }
}

macro_rules! setters {
    ($($limit:ident: $type:ty,)*) => {
        impl Limits {
            $(
                #[doc = concat!("Sets [`", stringify!($limit), "`](Self#structfield.", stringify!($limit), ").")]
                pub fn $limit(mut self, $limit: $type) -> Self {
                    self.$limit = $limit;
                    self
                }
            )*
        }

        // Each limit has a setter.
        const _: fn(Limits) = |Limits { $($limit: _,)* }| ();
    };
}

setters! {
    credits_per_task: u32,
    credits_per_channel_max: u32,
    credits_per_channel_min: u32,
    credits_same_arbiter: u32,
    channel_backlog_max: Duration,
    emit_per_call_max: usize,
    stop_timeout: Duration,
    stuck_after: Duration,
    event_time_held_after: Duration,
    replace_stuck: bool,
    commit_retries: u32,
    commit_retry_delay: Duration,
    history_len: usize,
    checkpoint_ids_per_block: u64,
    read_ahead: usize,
    store_transaction_bytes: usize,
    store_threads: usize,
    store_wait_max: Duration,
    capture_bytes_in_flight: usize,
    capture_bytes_max: usize,
    restore_threads: usize,
    restore_progress_every: Duration,
    checkpoint_progress_every: Duration,
    savepoint_progress_every: Duration,
}

/// What state shows after a failure.
///
/// ```
/// use std::time::Duration;
///
/// use millstream::CheckpointMode;
/// use millstream::prelude::*;
///
/// // Counts may be too high after a failure, and no record ever waits for a barrier.
/// let checkpointing = Checkpointing::every(Duration::from_secs(30)).at_least_once();
/// assert_eq!(checkpointing.mode(), CheckpointMode::AtLeastOnce);
/// let env = StreamEnvironment::new("roughly").checkpointing(checkpointing);
/// # let _ = env;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointMode {
    /// Each record's effect once.
    ExactlyOnce,
    /// Each record's effect at least once; nothing waits for alignment.
    AtLeastOnce,
}

/// Default of the shortest interval: above what a commit costs on an ordinary disk, 5 to 20 ms.
const INTERVAL_MIN: Duration = Duration::from_millis(100);
/// Default of the longest interval: output of transactional sinks shows only with checkpoints.
const INTERVAL_MAX: Duration = Duration::from_secs(600);

/// When checkpoints are taken and what becomes of those that fail.
///
/// ```
/// use std::time::Duration;
///
/// use millstream::prelude::*;
///
/// let checkpointing = Checkpointing::every(Duration::from_secs(30))
///     .timeout(Duration::from_secs(120))
///     .tolerate_failures(5)
///     .retain(10);
/// assert_eq!(checkpointing.interval(), Some(Duration::from_secs(30)));
///
/// let env = StreamEnvironment::new("orders").checkpointing(checkpointing);
/// # let _ = env;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpointing {
    pub(crate) interval: Option<Duration>,
    pub(crate) mode: CheckpointMode,
    pub(crate) min_pause: Duration,
    pub(crate) timeout: Duration,
    pub(crate) tolerated_failures: u32,
    pub(crate) retained: usize,
    pub(crate) accept_repeats: bool,
    pub(crate) recover_within: Option<Duration>,
    pub(crate) interval_min: Duration,
    pub(crate) interval_max: Duration,
}

impl Default for Checkpointing {
    fn default() -> Self {
        Self::every(Duration::from_secs(10))
    }
}

impl Checkpointing {
    /// A checkpoint each `interval`, exactly once, no minimal pause, timeout 10 min, no limit on failures, 3 retained.
    /// An interval of zero, or above 365 days, is a mistake that `start()` reports.
    pub fn every(interval: Duration) -> Self {
        Self {
            interval: Some(interval),
            mode: CheckpointMode::ExactlyOnce,
            min_pause: Duration::ZERO,
            timeout: Duration::from_secs(600),
            tolerated_failures: u32::MAX,
            retained: 3,
            accept_repeats: false,
            recover_within: None,
            interval_min: INTERVAL_MIN,
            interval_max: INTERVAL_MAX,
        }
    }

    /// No periodic checkpoints: those asked for, those that sinks want for somebody who waits, and the final one only. A failure starts over from the newest.
    pub fn disabled() -> Self {
        Self { interval: None, ..Self::default() }
    }

    /// The same, but that none is periodic: for those who ask for each.
    #[doc(hidden)]
    pub fn on_request(self) -> Self {
        Self { interval: None, min_pause: Duration::ZERO, recover_within: None, ..self }
    }

    /// Lets records pass while barriers align: no waiting, but repeats after a failure.
    pub fn at_least_once(mut self) -> Self {
        self.mode = CheckpointMode::AtLeastOnce;
        self
    }

    /// Least time between the completion of a checkpoint and the next trigger that is periodic or wanted by a sink, at most 365 days.
    pub fn min_pause(mut self, pause: Duration) -> Self {
        self.min_pause = pause;
        self
    }

    /// A checkpoint that takes longer is aborted. Above zero.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How many checkpoints in a row may fail before the job does. By default failing checkpoints do not fail the job; each
    /// is an event and a log line. Whatever is set, the ninth in a row that fails for a reason which does not go away by
    /// itself (a damaged store, state that cannot be stored) fails the job. One that a sink wants is tried again after a second,
    /// then after twice as long each time up to ten, or with the interval if that is sooner: each failure counts.
    pub fn tolerate_failures(mut self, failures: u32) -> Self {
        self.tolerated_failures = failures;
        self
    }

    /// How many completed checkpoints the store keeps, 1 to 64; another number is a mistake that `start()` reports.
    pub fn retain(mut self, checkpoints: usize) -> Self {
        self.retained = checkpoints;
        self
    }

    /// Falls back to an older checkpoint when the newest is damaged even if a transactional sink cannot withdraw what
    /// it published since: its output then holds repeats.
    pub fn accept_repeats(mut self, accept: bool) -> Self {
        self.accept_repeats = accept;
        self
    }

    /// Has the interval follow the job, so that a recovery is over within `objective`: the smaller of what measurements
    /// advise ([`IntervalAdvice::interval`](super::IntervalAdvice::interval), by Young and Daly) and the longest that
    /// meets the objective ([`RecoveryEstimate`](super::RecoveryEstimate) says what is counted, and is in the job's status), within
    /// [`interval_min`](Self::interval_min) and [`interval_max`](Self::interval_max). It is chosen anew after each
    /// checkpoint and each restart, for the next trigger; until the first checkpoint is complete, the interval given to
    /// [`every`](Self::every) takes the place of the advice. [`min_pause`](Self::min_pause) holds all the same.
    ///
    /// If the shortest interval does not meet the objective either, that is an event and a warning, once, which names
    /// the longest part of the recovery. Above zero and at most 365 days; without periodic checkpoints it is a mistake.
    /// `start()` reports both.
    pub fn recover_within(mut self, objective: Duration) -> Self {
        self.recover_within = Some(objective);
        self
    }

    /// The shortest interval that [`recover_within`](Self::recover_within) may choose, above zero; 100 ms by default.
    pub fn interval_min(mut self, interval: Duration) -> Self {
        self.interval_min = interval;
        self
    }

    /// The longest interval that [`recover_within`](Self::recover_within) may choose, at least the shortest and at most
    /// 365 days; 10 min by default.
    pub fn interval_max(mut self, interval: Duration) -> Self {
        self.interval_max = interval;
        self
    }

    /// Within which time a recovery is to be over, if that was asked for.
    pub fn recovery_objective(&self) -> Option<Duration> {
        self.recover_within
    }

    /// The shortest and the longest interval that may be chosen.
    pub fn interval_bounds(&self) -> (Duration, Duration) {
        (self.interval_min, self.interval_max)
    }

    /// The interval; `None` when there are no periodic checkpoints.
    pub fn interval(&self) -> Option<Duration> {
        self.interval
    }

    /// The mode.
    pub fn mode(&self) -> CheckpointMode {
        self.mode
    }
}
