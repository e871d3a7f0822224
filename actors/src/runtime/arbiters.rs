//! The arbiters of the engine: one per core for tasks and one for control, shared by the jobs of the process, as are the
//! threads for calls of stores.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use actix::{Message, Recipient};
use actix_rt::{Arbiter, ArbiterHandle};

use crate::runtime::blocking_pool::BlockingPool;
use crate::runtime::engine_system::EngineSystem;
use crate::runtime::guard::Activity;

/// An arbiter was given up: nothing on it may be waited for.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct ArbiterCondemned {
    /// Which.
    pub(crate) arbiter: ArbiterId,
}

/// One arbiter in the life of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ArbiterId(pub(crate) u64);

/// Where a task goes.
#[derive(Clone, Debug)]
pub(crate) struct Berth {
    pub(crate) id: ArbiterId,
    pub(crate) arbiter: ArbiterHandle,
    pub(crate) activity: Arc<Activity>,
}

struct Slot {
    id: ArbiterId,
    arbiter: Arbiter,
    activity: Arc<Activity>,
}

impl Slot {
    /// An arbiter of the actix `System` of the calling thread, which has to be the engine's.
    fn start(next_id: &mut u64) -> io::Result<Self> {
        let arbiter = Arbiter::try_new()?;
        let activity = Arc::new(Activity::default());
        let adopted = activity.clone();
        arbiter.spawn_fn(move || adopted.adopt());
        *next_id += 1;
        Ok(Self { id: ArbiterId(*next_id), arbiter, activity })
    }
}

struct State {
    next_id: u64,
    tasks: Vec<Slot>,
    listeners: Vec<Recipient<ArbiterCondemned>>,
}

/// The arbiters. They are stopped when the last job lets go.
pub(crate) struct ArbiterPool {
    system: EngineSystem,
    state: Mutex<State>,
    store_calls: BlockingPool,
    jobs: AtomicU32,
}

static POOL: Mutex<Weak<ArbiterPool>> = Mutex::new(Weak::new());

impl ArbiterPool {
    /// The pool of this process, which is started if no job runs. Any thread may call this.
    ///
    /// # Errors
    /// If the system refuses a thread.
    pub(crate) fn of_this_process() -> io::Result<Arc<Self>> {
        let mut known = POOL.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = known.upgrade().filter(|pool| pool.system.is_alive()) {
            return Ok(pool);
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let pool = Arc::new(Self::start(cores)?);
        *known = Arc::downgrade(&pool);
        Ok(pool)
    }

    fn start(tasks: usize) -> io::Result<Self> {
        let (system, state) = EngineSystem::start(move || {
            let mut next_id = 0;
            let tasks = (0..tasks).map(|_| Slot::start(&mut next_id)).collect::<io::Result<Vec<_>>>()?;
            Ok(State { next_id, tasks, listeners: Vec::new() })
        })?;
        Ok(Self { system, state: Mutex::new(state), store_calls: BlockingPool::default(), jobs: AtomicU32::new(0) })
    }

    /// The threads on which snapshot writers call their stores.
    pub(crate) fn store_calls(&self) -> &BlockingPool {
        &self.store_calls
    }

    /// The arbiter of supervisors, coordinators and snapshot writers.
    pub(crate) fn control(&self) -> &ArbiterHandle {
        self.system.control()
    }

    /// How many arbiters there are for tasks.
    pub(crate) fn arbiters(&self) -> u32 {
        self.state().tasks.len() as u32
    }

    /// Counts a job that starts, and gives the number of those before it: small jobs take turns on the arbiters.
    pub(crate) fn next_job(&self) -> u32 {
        self.jobs.fetch_add(1, Ordering::Relaxed)
    }

    /// The arbiter at this place of the ring.
    pub(crate) fn berth(&self, place: u32) -> Berth {
        let state = self.state();
        let slot = &state.tasks[place as usize % state.tasks.len()];
        Berth { id: slot.id, arbiter: slot.arbiter.handle(), activity: slot.activity.clone() }
    }

    /// Tells `listener` of condemned arbiters until it is disconnected.
    pub(crate) fn listen(&self, listener: Recipient<ArbiterCondemned>) {
        let mut state = self.state();
        state.listeners.retain(Recipient::connected);
        state.listeners.push(listener);
    }

    /// Ends all notices to `listener`, so that its actor is not kept.
    pub(crate) fn unlisten(&self, listener: &Recipient<ArbiterCondemned>) {
        self.state().listeners.retain(|known| known != listener);
    }

    /// Replaces an arbiter by a fresh one and tells every listener. Its thread ends when whatever holds it returns.
    /// An arbiter that was condemned before is left alone.
    ///
    /// # Errors
    /// If the system refuses a thread: then nothing has changed.
    pub(crate) fn condemn(&self, id: ArbiterId) -> io::Result<()> {
        let mut state = self.state();
        let Some(index) = state.tasks.iter().position(|slot| slot.id == id) else { return Ok(()) };
        let fresh = Slot::start(&mut state.next_id)?;
        let old = std::mem::replace(&mut state.tasks[index], fresh);
        old.arbiter.stop();
        for listener in &state.listeners {
            listener.do_send(ArbiterCondemned { arbiter: id });
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use actix_rt::System;

    use super::*;

    #[test]
    fn pool_is_shared_in_the_process_and_ends_with_its_last_user() {
        let shared = ArbiterPool::of_this_process().expect("a pool");
        assert!(Arc::ptr_eq(&shared, &ArbiterPool::of_this_process().expect("a pool")));
        assert!(System::try_current().is_none(), "the caller needs no System, and gets none");
        // Another one, which no test beside this one uses.
        let pool = ArbiterPool::start(1).expect("a pool");
        let berth = pool.berth(0);
        drop(pool);
        let (sender, receiver) = mpsc::channel::<()>();
        berth.arbiter.spawn(async move {
            let _held = sender;
            std::future::pending::<()>().await;
        });
        receiver.recv().expect_err("the arbiter has ended, and dropped what it held");
    }

    #[test]
    fn condemned_arbiter_is_replaced_once_and_the_fresh_one_runs() {
        let pool = Arc::new(ArbiterPool::start(1).expect("a pool"));
        let (sender, receiver) = mpsc::channel();
        let of_control = pool.clone();
        // As supervisors do, from the control arbiter.
        pool.control().spawn_fn(move || {
            let pool = of_control;
            let old = pool.berth(0);
            pool.condemn(old.id).expect("a thread");
            let fresh = pool.berth(0);
            assert_ne!(old.id, fresh.id);
            pool.condemn(old.id).expect("nothing to do");
            assert_eq!(fresh.id, pool.berth(0).id);
            fresh.arbiter.spawn_fn(move || sender.send(Activity::of_this_thread().is_some()).expect("the test waits"));
        });
        assert!(receiver.recv().expect("it runs"));
    }
}
