//! A keyed job that only updates its state: `u64 -> (u64, u64)`, filled first, then updated at full rate.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use millstream::prelude::*;
use millstream::state::{ValueHandle, ValueState};

use super::{SumSink, splitmix64};

/// Records between two looks at the clock, per subtask.
const LOOK_EVERY: u64 = 64;

/// What a run shows of itself.
#[derive(Default)]
pub(crate) struct Meter {
    taken: AtomicU64,
    filled: AtomicU64,
    /// Nanoseconds since `start` at which the table was full, and at which the last record was taken.
    filled_at: AtomicU64,
    last_at: AtomicU64,
    /// Gaps between two looks after the table was full: counts per power of two of microseconds.
    gaps: [AtomicU64; 24],
    longest_gap: AtomicU64,
    /// Told at each look.
    looked: Condvar,
    looking: Mutex<()>,
    /// Set to have the next subtask that looks panic.
    pub(crate) is_to_panic: AtomicBool,
    /// When it did, and how long after it the first record was taken.
    panicked_at: Mutex<Option<Instant>>,
    first_after: Mutex<Option<Duration>>,
}

impl Meter {
    /// Records taken.
    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Waits until something holds that is looked at now and then.
    pub(crate) async fn until(self: &Arc<Self>, holds: impl Fn(&Self) -> bool + Send + 'static) {
        let meter = self.clone();
        let wait = move || {
            let looked = meter.looking.lock().expect("no panic under the lock");
            let looked = meter.looked.wait_while(looked, |()| !holds(&meter));
            drop(looked.expect("no panic under the lock"));
        };
        actix_rt::task::spawn_blocking(wait).await.expect("it does not panic");
    }

    /// From the panic to the first record after it, once there is one.
    pub(crate) fn first_after(&self) -> Option<Duration> {
        *self.first_after.lock().expect("no panic under the lock")
    }

    /// Records a second after the table was full and a third of the updates made.
    pub(crate) fn rate(&self) -> f64 {
        let (filled, last) = (self.filled_at.load(Ordering::Relaxed), self.last_at.load(Ordering::Relaxed));
        let records = self.taken.load(Ordering::Relaxed) - self.filled.load(Ordering::Relaxed);
        records as f64 / Duration::from_nanos(last - filled).as_secs_f64()
    }

    /// The longest time that a subtask took no record.
    pub(crate) fn longest_gap(&self) -> Duration {
        Duration::from_nanos(self.longest_gap.load(Ordering::Relaxed))
    }

    /// How often a subtask took no record for at least 1, 4 and 8 ms.
    pub(crate) fn gaps_of_ms(&self) -> [u64; 3] {
        [10, 12, 13].map(|from| self.gaps[from..].iter().map(|count| count.load(Ordering::Relaxed)).sum())
    }
}

/// Counts records and adds up values per key; emits nothing.
pub(crate) struct Update {
    meter: Arc<Meter>,
    start: Instant,
    fill: u64,
    taken: u64,
    looked_at: Option<Instant>,
}

impl Clone for Update {
    fn clone(&self) -> Self {
        Self { meter: self.meter.clone(), start: self.start, fill: self.fill, taken: 0, looked_at: None }
    }
}

impl Update {
    #[allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
    fn look(&mut self) {
        let now = Instant::now();
        let meter = &self.meter;
        if meter.is_to_panic.swap(false, Ordering::Relaxed) {
            *meter.panicked_at.lock().expect("no panic under the lock") = Some(now);
            panic!("injected");
        }
        meter.looked.notify_all();
        let total = meter.taken.fetch_add(LOOK_EVERY, Ordering::Relaxed) + LOOK_EVERY;
        let at = (now - self.start).as_nanos() as u64;
        meter.last_at.fetch_max(at, Ordering::Relaxed);
        if total < self.fill {
            return;
        }
        if meter.filled.compare_exchange(0, total, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            meter.filled_at.store(at, Ordering::Relaxed);
        }
        if let Some(before) = self.looked_at.replace(now) {
            let gap = now - before;
            let bucket = (gap.as_micros() as u64).checked_ilog2().unwrap_or(0) as usize;
            meter.gaps[bucket.min(23)].fetch_add(1, Ordering::Relaxed);
            meter.longest_gap.fetch_max(gap.as_nanos() as u64, Ordering::Relaxed);
        }
    }

    #[allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
    fn first_record(&self) {
        let panicked = *self.meter.panicked_at.lock().expect("no panic under the lock");
        if let Some(panicked) = panicked {
            self.meter.first_after.lock().expect("no panic under the lock").get_or_insert(Instant::now() - panicked);
        }
    }
}

impl KeyedProcessFunction<u64, u64> for Update {
    type Out = u64;
    type State = ValueState<(u64, u64)>;

    fn state(&self) -> Self::State {
        ValueState::new("totals")
    }

    #[inline]
    fn process(
        &mut self,
        key: u64,
        mut totals: ValueHandle<'_, (u64, u64)>,
        _: &mut KeyedContext<'_, u64>,
        _: &mut Emitter<'_, u64>,
    ) {
        let totals = totals.get_or_insert_with(|| (0, 0));
        *totals = (totals.0 + 1, totals.1.wrapping_add(key ^ 0x55));
        if self.taken == 0 {
            self.first_record();
        }
        self.taken += 1;
        if self.taken.is_multiple_of(LOOK_EVERY) {
            self.look();
        }
    }
}

/// What is updated, and how often.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) keys: u64,
    /// Of so many keys one is updated; all are filled.
    pub(crate) one_in: u64,
    /// Updates after the table is full.
    pub(crate) updates: u64,
    /// One source, in the task of the keyed operator, instead of two before two of them.
    pub(crate) is_chained: bool,
}

impl Plan {
    /// As many updates of keys chosen at random, all of which may change.
    pub(crate) fn of(keys: u64, updates: u64) -> Self {
        Self { keys, one_in: 1, updates, is_chained: false }
    }
}

/// Writes the job into `env`.
#[allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
pub(crate) fn updates(env: &StreamEnvironment, plan: Plan) -> Arc<Meter> {
    let meter = Arc::new(Meter::default());
    let Plan { keys, one_in, updates, is_chained } = plan;
    let update = Update {
        meter: meter.clone(),
        start: Instant::now(),
        // The first checkpoints still have what was filled.
        fill: keys + updates / 3,
        taken: 0,
        looked_at: None,
    };
    let total = keys + updates;
    let sources = if is_chained { 1 } else { 2 };
    let numbers = |id: &str, first: u64| {
        // Even and odd numbers if there are two, so that both sources end the filling together.
        let numbers = env.source(id, SequenceSource::new(0..total / sources)).parallelism(1);
        let key = move |n: u64| {
            let n = sources * n + first;
            if n < keys { n } else { splitmix64(n) % (keys / one_in) * one_in }
        };
        numbers.map(key).parallelism(1)
    };
    let keys = if is_chained { numbers("all", 0) } else { numbers("even", 0).union(numbers("odd", 1)) };
    keys.key_by(|key| *key).process("totals", update).sink("nothing", SumSink::new(|n: &u64| *n));
    meter
}

/// Where keyed state is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Backend {
    Memory,
    Redb,
}

impl Backend {
    /// Of the redb backend. It holds the rows of a million keys, and not those of ten.
    const CACHE_BYTES: usize = 128 << 20;

    /// Those that are named in `MILLSTREAM_BACKEND`, else both.
    pub(crate) fn chosen() -> Vec<Self> {
        match std::env::var("MILLSTREAM_BACKEND").as_deref() {
            Ok("memory") => vec![Self::Memory],
            Ok("redb") => vec![Self::Redb],
            Ok(other) => panic!("MILLSTREAM_BACKEND is memory or redb, not {other}"),
            Err(_) => vec![Self::Memory, Self::Redb],
        }
    }

    /// With working files in `dir`.
    pub(crate) fn in_dir(self, dir: &Path) -> StateBackend {
        match self {
            Self::Memory => StateBackend::memory(),
            Self::Redb => StateBackend::redb(dir).cache_bytes(Self::CACHE_BYTES),
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Memory => "memory",
            Self::Redb => "redb",
        })
    }
}
