//! The arbiters of the engine: one per core for tasks and one for control, shared by the jobs of the process, as are the
//! threads for calls of stores; and those that a job or a task has for itself.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use actix::{Message, Recipient};
use actix_rt::Arbiter;

use crate::runtime::ArbiterHandle;
use crate::runtime::blocking_pool::BlockingPool;
use crate::runtime::engine_system::{EngineSystem, runtime};
use crate::runtime::guard::Activity;
use crate::runtime::stage::Stage;

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

/// An arbiter, which is stopped when its ring and everybody with a berth on it have let go.
struct Slot {
    id: ArbiterId,
    handle: ArbiterHandle,
    /// The thread, which a stage does without.
    arbiter: Option<Arbiter>,
    activity: Arc<Activity>,
}

impl Slot {
    /// An arbiter of the actix `System` of the calling thread, which has to be the engine's.
    fn start() -> io::Result<Self> {
        let arbiter = Arbiter::try_with_tokio_rt(runtime)?;
        let activity = Arc::new(Activity::default());
        let adopted = activity.clone();
        arbiter.spawn_fn(move || adopted.adopt());
        Ok(Self { id: Self::next_id(), handle: arbiter.handle().into(), arbiter: Some(arbiter), activity })
    }

    /// One whose actors are on a stage.
    fn on(stage: &Stage) -> Self {
        let handle = ArbiterHandle::Stage(stage.clone());
        Self { id: Self::next_id(), handle, arbiter: None, activity: Arc::default() }
    }

    fn next_id() -> ArbiterId {
        static NEWEST: AtomicU64 = AtomicU64::new(0);
        ArbiterId(NEWEST.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(arbiter) = &self.arbiter {
            // Its thread ends once whatever holds it returns.
            arbiter.stop();
        }
    }
}

/// Where a task goes.
#[derive(Clone)]
pub(crate) struct Berth {
    slot: Arc<Slot>,
    ring: Arc<ArbiterRing>,
}

impl Berth {
    /// Which arbiter it is on.
    pub(crate) fn id(&self) -> ArbiterId {
        self.slot.id
    }

    /// The arbiter.
    pub(crate) fn arbiter(&self) -> ArbiterHandle {
        self.slot.handle.clone()
    }

    /// What the arbiter is doing.
    pub(crate) fn activity(&self) -> &Activity {
        &self.slot.activity
    }

    /// Set once the arbiter has come to it: it runs.
    pub(crate) fn ping(&self) -> Arc<AtomicBool> {
        let answered = Arc::new(AtomicBool::new(false));
        let answer = answered.clone();
        self.slot.handle.spawn_fn(move || answer.store(true, Ordering::Release));
        answered
    }
}

/// Arbiters for tasks, each with a place that stays when the arbiter is replaced.
pub(crate) struct ArbiterRing(Mutex<Vec<Arc<Slot>>>);

impl ArbiterRing {
    /// Starts so many arbiters, at least 1, in the actix `System` of the calling thread, which has to be the engine's.
    fn start(arbiters: usize) -> io::Result<Arc<Self>> {
        let slots = (0..arbiters.max(1)).map(|_| Slot::start().map(Arc::new)).collect::<io::Result<_>>()?;
        Ok(Arc::new(Self(Mutex::new(slots))))
    }

    /// So many arbiters, at least 1, that are all one stage.
    fn on(stage: &Stage, arbiters: u32) -> Arc<Self> {
        let slots = (0..arbiters.max(1)).map(|_| Arc::new(Slot::on(stage)));
        Arc::new(Self(Mutex::new(slots.collect())))
    }

    /// How many arbiters there are.
    pub(crate) fn arbiters(&self) -> u32 {
        self.slots().len() as u32
    }

    /// The arbiter at this place of the ring.
    pub(crate) fn berth(self: &Arc<Self>, place: u32) -> Berth {
        let slots = self.slots();
        let slot = slots[place as usize % slots.len()].clone();
        Berth { slot, ring: self.clone() }
    }

    fn slots(&self) -> MutexGuard<'_, Vec<Arc<Slot>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The arbiters. They are stopped when the last job lets go.
pub(crate) struct ArbiterPool {
    host: Host,
    control: ArbiterHandle,
    shared: Arc<ArbiterRing>,
    listeners: Mutex<Vec<Recipient<ArbiterCondemned>>>,
    store_calls: BlockingPool,
    jobs: AtomicU32,
}

/// Where arbiters come from.
enum Host {
    /// Threads of the engine's own system.
    System(EngineSystem),
    /// There are none.
    Stage(Stage),
}

impl Host {
    fn is_alive(&self) -> bool {
        match self {
            Self::System(system) => system.is_alive(),
            Self::Stage(_) => true,
        }
    }

    fn ring(&self, arbiters: u32) -> io::Result<Arc<ArbiterRing>> {
        match self {
            Self::System(system) => system.call(move || ArbiterRing::start(arbiters as usize)),
            Self::Stage(stage) => Ok(ArbiterRing::on(stage, arbiters)),
        }
    }

    fn slot(&self) -> io::Result<Slot> {
        match self {
            Self::System(system) => system.call(Slot::start),
            Self::Stage(stage) => Ok(Slot::on(stage)),
        }
    }
}

static POOL: Mutex<Weak<ArbiterPool>> = Mutex::new(Weak::new());

impl ArbiterPool {
    /// The pool of this process, which is started if no job runs. Any thread may call this.
    ///
    /// # Errors
    /// If the system refuses a thread.
    pub(crate) fn of_this_process() -> io::Result<Arc<Self>> {
        let mut known = POOL.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = known.upgrade().filter(|pool| pool.host.is_alive()) {
            return Ok(pool);
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let pool = Arc::new(Self::start(cores)?);
        *known = Arc::downgrade(&pool);
        Ok(pool)
    }

    fn start(tasks: usize) -> io::Result<Self> {
        let (system, shared) = EngineSystem::start(move || ArbiterRing::start(tasks))?;
        let control = system.control().clone().into();
        Ok(Self::of(Host::System(system), control, shared, BlockingPool::default()))
    }

    /// A pool for one job, whose arbiters are all a stage, and which has no threads.
    pub(crate) fn on(stage: &Stage) -> Self {
        let (host, control) = (Host::Stage(stage.clone()), ArbiterHandle::Stage(stage.clone()));
        Self::of(host, control, ArbiterRing::on(stage, 1), BlockingPool::on(stage))
    }

    fn of(host: Host, control: ArbiterHandle, shared: Arc<ArbiterRing>, store_calls: BlockingPool) -> Self {
        Self { host, control, shared, listeners: Mutex::default(), store_calls, jobs: AtomicU32::new(0) }
    }

    /// The threads on which snapshot writers call their stores.
    pub(crate) fn store_calls(&self) -> &BlockingPool {
        &self.store_calls
    }

    /// The arbiter of supervisors, coordinators and snapshot writers.
    pub(crate) fn control(&self) -> &ArbiterHandle {
        &self.control
    }

    /// The arbiters that jobs share.
    pub(crate) fn shared(&self) -> &Arc<ArbiterRing> {
        &self.shared
    }

    /// Arbiters that nobody shares with the caller.
    ///
    /// # Errors
    /// If the system refuses a thread.
    pub(crate) fn own_ring(&self, arbiters: u32) -> io::Result<Arc<ArbiterRing>> {
        self.host.ring(arbiters)
    }

    /// Counts a job that starts, and gives the number of those before it: small jobs take turns on the arbiters.
    pub(crate) fn next_job(&self) -> u32 {
        self.jobs.fetch_add(1, Ordering::Relaxed)
    }

    /// Tells `listener` of condemned arbiters until it is disconnected.
    pub(crate) fn listen(&self, listener: Recipient<ArbiterCondemned>) {
        let mut listeners = self.listeners();
        listeners.retain(Recipient::connected);
        listeners.push(listener);
    }

    /// Ends all notices to `listener`, so that its actor is not kept.
    pub(crate) fn unlisten(&self, listener: &Recipient<ArbiterCondemned>) {
        self.listeners().retain(|known| known != listener);
    }

    /// Has later berths at this place on a fresh arbiter. Those who have one on the old arbiter may stay, and go on when what
    /// holds it returns. One that was replaced before is left alone.
    ///
    /// # Errors
    /// If the system refuses a thread: then nothing has changed.
    pub(crate) fn replace(&self, berth: &Berth) -> io::Result<()> {
        let mut slots = berth.ring.slots();
        if let Some(slot) = slots.iter_mut().find(|slot| slot.id == berth.id()) {
            *slot = Arc::new(self.host.slot()?);
        }
        Ok(())
    }

    /// Replaces an arbiter, and tells every listener to leave the old one.
    ///
    /// # Errors
    /// If the system refuses a thread: then nothing has changed.
    pub(crate) fn condemn(&self, berth: &Berth) -> io::Result<()> {
        self.replace(berth)?;
        for listener in self.listeners().iter() {
            listener.do_send(ArbiterCondemned { arbiter: berth.id() });
        }
        Ok(())
    }

    fn listeners(&self) -> MutexGuard<'_, Vec<Recipient<ArbiterCondemned>>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use actix_rt::System;

    use super::*;

    /// Whether the arbiter of this berth has ended, once what it held is gone.
    fn ended(berth: &Berth) -> mpsc::Receiver<()> {
        let (sender, receiver) = mpsc::channel::<()>();
        let holds = async move {
            let _held = sender;
            std::future::pending::<()>().await;
        };
        berth.arbiter().spawn_fn(move || drop(actix_rt::spawn(holds)));
        receiver
    }

    #[test]
    fn pool_is_shared_in_the_process_and_ends_with_its_last_user() {
        let shared = ArbiterPool::of_this_process().expect("a pool");
        assert!(Arc::ptr_eq(&shared, &ArbiterPool::of_this_process().expect("a pool")));
        assert!(System::try_current().is_none(), "the caller needs no System, and gets none");
        // Another one, which no test beside this one uses.
        let pool = ArbiterPool::start(1).expect("a pool");
        let ended = ended(&pool.shared().berth(0));
        drop(pool);
        ended.recv().expect_err("the arbiter has ended, and dropped what it held");
    }

    #[test]
    fn arbiter_that_is_replaced_goes_on_until_everybody_has_left_it() {
        let pool = ArbiterPool::start(1).expect("a pool");
        let old = pool.shared().berth(0);
        pool.replace(&old).expect("a thread");
        let fresh = pool.shared().berth(0);
        assert_ne!(old.id(), fresh.id());
        pool.replace(&old).expect("nothing to do");
        assert_eq!(fresh.id(), pool.shared().berth(0).id());
        let (sender, receiver) = mpsc::channel();
        for berth in [&old, &fresh] {
            let sender = sender.clone();
            let answer = move || sender.send(Activity::of_this_thread().is_some()).expect("the test waits");
            berth.arbiter().spawn_fn(answer);
            assert!(receiver.recv().expect("it runs"));
        }
        let ended = ended(&old);
        drop(old);
        ended.recv().expect_err("the old arbiter has ended");
    }

    #[test]
    fn own_arbiters_are_others_than_the_shared_and_end_with_their_ring() {
        let pool = ArbiterPool::start(1).expect("a pool");
        let ring = pool.own_ring(2).expect("threads");
        let ids = [pool.shared().berth(0).id(), ring.berth(0).id(), ring.berth(1).id()];
        assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2], "{ids:?}");
        let ended = ended(&ring.berth(1));
        drop(ring);
        ended.recv().expect_err("its arbiter has ended");
    }
}
