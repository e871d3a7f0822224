//! A keyed job that panics: how long until a keyed function takes a record again, and until the job is back where it was.

use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use millstream::operator::Emitter;
use millstream::prelude::*;
use millstream::state::{ValueHandle, ValueState};

use super::sink::ForEach;
use super::{environment, folder, store};
use crate::measure::{Figure, Run, now};
use crate::numbers::{Totals, key, update};
use crate::plan::{Contender, Plan};

/// Records between two looks at the meter, per subtask.
const LOOK_EVERY: u64 = 64;
/// Between checkpoints, where nothing else is asked for: none but the one that the job is asked for.
const INTERVAL: Duration = Duration::from_secs(3600);

pub(super) fn run(plan: Plan, contender: Contender) -> Run {
    let folder = folder();
    let meter = Arc::new(Meter::default());
    let keys = plan.keys;
    actix_rt::System::new().block_on(async {
        let mut env = environment(plan, contender, &folder);
        if contender.checkpoint_ms.is_none() {
            env = env.checkpointing(Checkpointing::every(INTERVAL)).snapshot_store(store(&folder));
        }
        build(&env, keys, meter.clone());
        let job = env.start().expect("a valid job");
        meter.until(move |seen| seen.position() >= keys).await;
        job.checkpoint().await.expect("a checkpoint of the whole table");
        let goal = meter.position() + keys / 2;
        meter.until(move |seen| seen.position() >= goal).await;
        meter.order_panic();
        meter.until(|seen| seen.back.is_some()).await;
        job.cancel().await.expect("it runs again");
    });
    let seen = meter.seen.lock().expect("no panic under the lock");
    let ms = |time: Option<Duration>| time.expect("waited for above").as_secs_f64() * 1e3;
    let figures = vec![
        Figure::new("ms from panic to first record", ms(seen.first)),
        Figure::new("ms until back at its position", ms(seen.back)),
    ];
    Run { checksum: None, results: None, figures }
}

/// Each key once, then keys at random; even numbers from one source, odd ones from the other.
fn build(env: &StreamEnvironment, keys: u64, meter: Arc<Meter>) {
    let numbers = |id: &str, first: u64| {
        let numbers = env.source(id, SequenceSource::new(0..1 << 40)).parallelism(1);
        numbers.map(move |n| 2 * n + first).parallelism(1)
    };
    numbers("even", 0)
        .union(numbers("odd", 1))
        .key_by(move |n| if *n < keys { *n } else { key(*n, keys) })
        .process("totals", Count { meter, life: None, taken: 0 })
        .sink("nothing", ForEach::new(|_: ()| ()));
}

/// What the job has done.
#[derive(Default)]
struct Meter {
    seen: Mutex<Seen>,
    changed: Condvar,
}

#[derive(Default)]
struct Seen {
    /// Goes up with the panic: what subtasks from before it do does not count.
    life: u32,
    /// Of each source, the greatest number that was taken in this life.
    newest: [u64; 2],
    is_to_panic: bool,
    panicked: Option<(Instant, [u64; 2])>,
    first: Option<Duration>,
    back: Option<Duration>,
}

impl Seen {
    /// Up to which number both sources have been read, which is how many records were taken.
    fn position(&self) -> u64 {
        self.newest[0].min(self.newest[1])
    }
}

impl Meter {
    fn position(&self) -> u64 {
        self.seen.lock().expect("no panic under the lock").position()
    }

    fn order_panic(&self) {
        self.seen.lock().expect("no panic under the lock").is_to_panic = true;
    }

    /// Waits until something holds that is looked at with every look of a subtask.
    async fn until(self: &Arc<Self>, holds: impl Fn(&Seen) -> bool + Send + 'static) {
        let meter = self.clone();
        let wait = move || {
            let seen = meter.seen.lock().expect("no panic under the lock");
            drop(meter.changed.wait_while(seen, |seen| !holds(seen)).expect("no panic under the lock"));
        };
        actix_rt::task::spawn_blocking(wait).await.expect("it does not panic");
    }

    /// The first record of a subtask; gives the life that it belongs to.
    fn first_record(&self) -> u32 {
        let mut seen = self.seen.lock().expect("no panic under the lock");
        if let Some((at, _)) = seen.panicked {
            seen.first.get_or_insert_with(|| now() - at);
        }
        seen.life
    }

    /// A subtask has taken the `n`th number. True if it is to panic.
    fn look(&self, life: u32, n: u64) -> bool {
        let mut guard = self.seen.lock().expect("no panic under the lock");
        let seen = &mut *guard;
        if life < seen.life {
            return false;
        }
        let newest = &mut seen.newest[(n % 2) as usize];
        *newest = n.max(*newest);
        if let Some((at, before)) = seen.panicked
            && seen.newest.iter().zip(before).all(|(newest, before)| *newest >= before)
        {
            seen.back.get_or_insert_with(|| now() - at);
        }
        let is_to_panic = std::mem::take(&mut seen.is_to_panic);
        if is_to_panic {
            seen.life += 1;
            seen.panicked = Some((now(), std::mem::take(&mut seen.newest)));
        }
        drop(guard);
        self.changed.notify_all();
        is_to_panic
    }
}

/// Counts, emits nothing, and panics when told to.
struct Count {
    meter: Arc<Meter>,
    /// Known from the first record on.
    life: Option<u32>,
    taken: u64,
}

impl Clone for Count {
    fn clone(&self) -> Self {
        Self { meter: self.meter.clone(), life: None, taken: 0 }
    }
}

impl KeyedProcessFunction<u64, u64> for Count {
    type Out = ();
    type State = ValueState<Totals>;

    fn state(&self) -> Self::State {
        ValueState::new("totals")
    }

    #[inline]
    fn process(
        &mut self,
        n: u64,
        mut totals: ValueHandle<'_, Totals>,
        ctx: &mut KeyedContext<'_, u64>,
        _: &mut Emitter<'_, ()>,
    ) {
        update(totals.get_or_insert_with(|| (0, 0)), *ctx.key());
        let life = *self.life.get_or_insert_with(|| self.meter.first_record());
        self.taken += 1;
        if self.taken.is_multiple_of(LOOK_EVERY) && self.meter.look(life, n) {
            panic!("ordered by the benchmark");
        }
    }
}
