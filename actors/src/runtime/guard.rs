//! From panic to message: runs an actor's own future under a guard.
//!
//! actix restarts no actor that panics, and runs `stopping` and `stopped` of a panicked actor while its stack unwinds,
//! where a second panic aborts the process. So the future of each actor is polled under `catch_unwind`, and dropped
//! under another, when nothing unwinds any more.

mod activity;
mod panics;
mod whereabouts;

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use actix::dev::ContextFut;
use actix::dev::channel::{AddressReceiver, channel};
use actix::{Actor, Addr, Context, Message, Recipient, Supervised};

use crate::contract::Clock;
use crate::protocol::{
    ActorName, Cause, Execution, FailedRecord, PanicReport, PanickedCall, ReadRange, SubtaskId, TaskError,
};
use crate::runtime::{ArbiterHandle, spawn_here};

pub(crate) use activity::{Activity, Sample};
pub use panics::catch_panic;
pub(crate) use panics::{drop_guarded, resume_panic, tell_host};
use whereabouts::{Noted, take_noted};
pub(crate) use whereabouts::{note_careful, note_firing, note_operator, note_with_records};
pub use whereabouts::{note_key, note_of_none, note_record, noting};

/// A control actor that panics more often than this within [`INTENSITY_WITHIN`] ends its job.
const INTENSITY_MAX: usize = 32;
/// See [`INTENSITY_MAX`].
const INTENSITY_WITHIN: Duration = Duration::from_secs(60);

/// A subtask has come to its end: nothing of it runs any more.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct ChildExit {
    /// The attempt it belongs to.
    pub execution: Execution,
    /// Who.
    pub subtask: SubtaskId,
    /// Its name.
    pub name: ActorName,
    /// Why.
    pub cause: Cause,
    /// Input records it had taken in this attempt.
    pub records_in: u64,
    /// If it may hold records back: how many it had taken, or was restored with.
    pub held_of: u64,
    /// The record that it failed at, as far as that is known.
    pub at: Option<FailedRecord>,
    /// The operator's call that panicked, unless that was for no record or timer.
    pub panicked: Option<PanickedCall>,
}

/// Whom a guard watches, and whom it tells.
#[derive(Clone, Debug)]
pub struct TaskGuard {
    /// The attempt it belongs to.
    pub execution: Execution,
    /// Who.
    pub subtask: SubtaskId,
    /// Its name.
    pub name: ActorName,
    /// Told of the end, exactly once.
    pub exit: Recipient<ChildExit>,
    /// Whether the host's panic hook is told of its panics.
    pub tells_host: bool,
}

/// How a guarded task tells its guard what it knows of its own end.
///
/// [`ChildExit`] is sent when the last clone is dropped. The guard and the actor hold one each, and so does each thread
/// of the task: its end is not reported while anything of it runs.
#[derive(Clone)]
pub struct ExitSlot(Arc<Exit>);

impl fmt::Debug for ExitSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ExitSlot({:?})", self.0.guard)
    }
}

struct Exit {
    guard: TaskGuard,
    records_in: AtomicU64,
    held_of: AtomicU64,
    /// Records of the batch that was taken last.
    batch: AtomicU64,
    /// Where that was read, if the task has a source.
    read: Mutex<Option<ReadRanges>>,
    cause: Mutex<Option<Ended>>,
}

/// Why a task has ended, and where.
struct Ended {
    cause: Cause,
    at: Option<FailedRecord>,
    panicked: Option<PanickedCall>,
}

/// Says where a batch was read, when somebody asks.
type ReadRanges = Box<dyn Fn() -> Vec<ReadRange> + Send>;

impl ExitSlot {
    fn new(guard: TaskGuard) -> Self {
        Self(Arc::new(Exit {
            guard,
            records_in: AtomicU64::new(0),
            held_of: AtomicU64::new(0),
            batch: AtomicU64::new(0),
            read: Mutex::default(),
            cause: Mutex::new(None),
        }))
    }

    /// The task failed. What is said first is the cause of its end.
    pub fn fail(&self, error: TaskError) {
        self.set(Cause::Failed(error));
    }

    /// The task's connector panicked on its own thread.
    pub fn panicked(&self, report: PanicReport) {
        self.set(Cause::Panicked(report));
    }

    /// The task has taken this many input records in all, `batch` of them with the last batch.
    #[inline]
    pub fn records_in(&self, records: u64, batch: u64) {
        self.0.records_in.store(records, Ordering::Relaxed);
        self.0.batch.store(batch, Ordering::Relaxed);
    }

    /// The task holds records back, of so many that it was restored with and has taken.
    pub(crate) fn holds_records(&self, of: u64) {
        self.0.held_of.store(of, Ordering::Relaxed);
    }

    /// The batch that is taken next was read where `ranges` says.
    pub(crate) fn read_at(&self, ranges: impl Fn() -> Vec<ReadRange> + Send + 'static) {
        *self.0.read.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(ranges));
    }

    /// Whether the host's panic hook is told of the task's panics.
    pub(crate) fn tells_host(&self) -> bool {
        self.0.guard.tells_host
    }

    fn set(&self, cause: Cause) {
        // Taken in any case: it must not be found by the next task of this thread that fails.
        let mut noted = take_noted();
        let call = PanickedCall { with_records: noted.with_records, record: noted.panicked.take() };
        let panicked = (matches!(cause, Cause::Panicked(_)) && !noted.of_none).then_some(call);
        let at = self.failed_at(noted);
        let is_failure = matches!(cause, Cause::Failed(_) | Cause::Panicked(_));
        let at = Some(at).filter(|at| is_failure && !at.is_empty());
        let mut first = self.0.cause.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert(Ended { cause, at, panicked });
    }

    /// What this thread has noted, and the batch that was at hand then.
    fn failed_at(&self, Noted { mut record, in_batch, was_held, .. }: Noted) -> FailedRecord {
        if in_batch && !was_held {
            let (last, records) = (self.0.records_in.load(Ordering::Relaxed), self.0.batch.load(Ordering::Relaxed));
            record.input = (records > 0).then(|| (last + 1 - records, last));
            let read = self.0.read.lock().unwrap_or_else(PoisonError::into_inner);
            // The source describes its positions, and may panic.
            record.read = read.as_ref().and_then(|ranges| catch_panic(ranges).ok()).unwrap_or_default();
        }
        record
    }

    fn ended(&self, end: End) {
        self.set(match end {
            End::Panicked(report) => Cause::Panicked(report),
            End::Abandoned => Cause::Abandoned,
            End::Stopped => Cause::Stopped,
        });
    }
}

impl Drop for Exit {
    fn drop(&mut self) {
        let TaskGuard { execution, subtask, name, exit, .. } = self.guard.clone();
        let (records_in, held_of) = (*self.records_in.get_mut(), *self.held_of.get_mut());
        let cause = self.cause.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        let lost = Ended { cause: Cause::Abandoned, at: None, panicked: None };
        let Ended { cause, at, panicked } = cause.unwrap_or(lost);
        exit.do_send(ChildExit { execution, subtask, name, cause, records_in, held_of, at, panicked });
    }
}

/// How a guarded actor ended.
#[derive(Debug)]
pub(crate) enum End {
    Stopped,
    Panicked(PanicReport),
    /// Its arbiter went away.
    Abandoned,
}

/// Called once, at the latest when it is dropped.
struct OnEnd(Option<Box<dyn FnOnce(End) + Send>>);

impl OnEnd {
    fn call(&mut self, end: End) {
        if let Some(call) = self.0.take()
            && let Err(report) = catch_panic(|| call(end))
        {
            log::error!(target: "millstream::supervisor", "reporting an actor's end panicked: {report}");
        }
    }
}

impl Drop for OnEnd {
    fn drop(&mut self) {
        self.call(End::Abandoned);
    }
}

/// Starts a task actor on `arbiter` under a guard. `make` runs there, under the guard too. Whatever happens to the
/// actor, [`ChildExit`] is sent exactly once, after the actor was dropped and the task's threads have ended.
pub fn start_guarded<A>(
    arbiter: &ArbiterHandle,
    guard: TaskGuard,
    make: impl FnOnce(&mut Context<A>, ExitSlot) -> A + Send + 'static,
) -> Addr<A>
where
    A: Actor<Context = Context<A>>,
{
    let (sender, receiver) = channel(16);
    let (guard_tells, watched) = (guard.tells_host, Some(guard.clone()));
    let slot = ExitSlot::new(guard);
    let for_end = slot.clone();
    let on_end = OnEnd(Some(Box::new(move |end| for_end.ended(end))));
    let role = Role { tells_host: guard_tells, watched };
    spawn(arbiter, receiver, role, on_end, None, move |ctx| make(ctx, slot));
    Addr::new(sender)
}

/// How often, and how, an actor is restarted in place.
struct Restarts<A: Actor<Context = Context<A>>> {
    restart: fn(&mut ContextFut<A, Context<A>>) -> bool,
    told: Box<dyn Fn(&PanicReport) + Send>,
    clock: Arc<dyn Clock>,
    recent: VecDeque<Duration>,
}

impl<A: Actor<Context = Context<A>>> Restarts<A> {
    /// Restarts the actor behind its address; `false` if it panics too often or cannot be restarted.
    fn again(&mut self, fut: &mut ContextFut<A, Context<A>>, report: &PanicReport) -> bool {
        let now = self.clock.now();
        self.recent.push_back(now);
        while self.recent.front().is_some_and(|at| now.saturating_sub(*at) > INTENSITY_WITHIN) {
            self.recent.pop_front();
        }
        if self.recent.len() > INTENSITY_MAX {
            return false;
        }
        catch_panic(|| {
            (self.told)(report);
            (self.restart)(fut)
        })
        .unwrap_or(false)
    }
}

/// An address whose actor is started later, so that actors can know each other.
pub(crate) struct Place<A: Actor> {
    pub(crate) address: Addr<A>,
    receiver: AddressReceiver<A>,
}

impl<A: Actor> Place<A> {
    pub(crate) fn new() -> Self {
        let (sender, receiver) = channel(16);
        Self { address: Addr::new(sender), receiver }
    }
}

/// Starts a control actor on `arbiter`. If it panics, `told` is called and it is restarted behind the same address:
/// [`Supervised::restarting`] replaces the whole value, and messages that wait stay. `on_end` is called once, when it
/// has stopped or panics too often.
pub(crate) fn start_restarting<A>(
    (arbiter, tells_host): (&ArbiterHandle, bool),
    place: Place<A>,
    clock: Arc<dyn Clock>,
    make: impl FnOnce() -> A + Send + 'static,
    told: impl Fn(&PanicReport) + Send + 'static,
    on_end: impl FnOnce(End) + Send + 'static,
) where
    A: Actor<Context = Context<A>> + Supervised,
{
    let restarts = move || Restarts {
        restart: ContextFut::<A, Context<A>>::restart,
        told: Box::new(told),
        clock,
        recent: VecDeque::new(),
    };
    let on_end = OnEnd(Some(Box::new(on_end)));
    let role = Role { tells_host, watched: None };
    spawn(arbiter, place.receiver, role, on_end, Some(Box::new(restarts)), move |_| make());
}

/// Starts a control actor that is not restarted.
pub(crate) fn start_once<A>(
    (arbiter, tells_host): (&ArbiterHandle, bool),
    place: Place<A>,
    make: impl FnOnce() -> A + Send + 'static,
    on_end: impl FnOnce(End) + Send + 'static,
) where
    A: Actor<Context = Context<A>>,
{
    let role = Role { tells_host, watched: None };
    spawn(arbiter, place.receiver, role, OnEnd(Some(Box::new(on_end))), None, move |_| make());
}

/// What an actor is to its guard.
struct Role {
    /// Whether the host's panic hook is told of its panics.
    tells_host: bool,
    /// A task, which a watchdog looks after.
    watched: Option<TaskGuard>,
}

type MakeRestarts<A> = Box<dyn FnOnce() -> Restarts<A> + Send>;

fn spawn<A>(
    arbiter: &ArbiterHandle,
    receiver: AddressReceiver<A>,
    Role { tells_host, watched }: Role,
    mut on_end: OnEnd,
    restarts: Option<MakeRestarts<A>>,
    make: impl FnOnce(&mut Context<A>) -> A + Send + 'static,
) where
    A: Actor<Context = Context<A>>,
{
    panics::install_hook();
    arbiter.spawn_fn(move || {
        let activity = watched.and_then(|watched| Activity::of_this_thread().map(|a| (a.register(watched), a)));
        tell_host(tells_host);
        let made = catch_panic(|| {
            if let Some((id, activity)) = &activity {
                activity.enter(*id);
            }
            let mut ctx = Context::with_receiver(receiver);
            let actor = make(&mut ctx);
            ctx.into_future(actor)
        });
        if let Some((_, activity)) = &activity {
            activity.leave();
        }
        match made {
            Ok(fut) => {
                let restarts = restarts.map(|make| make());
                spawn_here(Guarded { fut: Some(fut), on_end, restarts, activity, tells_host });
            }
            Err(report) => {
                if let Some((id, activity)) = &activity {
                    activity.forget(*id);
                }
                on_end.call(End::Panicked(report));
            }
        }
    });
}

struct Guarded<A: Actor<Context = Context<A>>> {
    fut: Option<ContextFut<A, Context<A>>>,
    on_end: OnEnd,
    restarts: Option<Restarts<A>>,
    activity: Option<(u64, Arc<Activity>)>,
    tells_host: bool,
}

impl<A: Actor<Context = Context<A>>> Guarded<A> {
    fn end(&mut self, end: End) {
        drop_guarded(self.fut.take());
        self.on_end.call(end);
    }
}

impl<A: Actor<Context = Context<A>>> Future for Guarded<A> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        let this = self.get_mut();
        tell_host(this.tells_host);
        loop {
            let Some(fut) = this.fut.as_mut() else { return Poll::Ready(()) };
            if let Some((id, activity)) = &this.activity {
                activity.enter(*id);
            }
            let polled = catch_panic(|| Pin::new(&mut *fut).poll(cx));
            if let Some((_, activity)) = &this.activity {
                activity.leave();
            }
            let end = match polled {
                Ok(Poll::Pending) => return Poll::Pending,
                Ok(Poll::Ready(())) => End::Stopped,
                Err(report) => {
                    if this.restarts.as_mut().is_some_and(|restarts| restarts.again(fut, &report)) {
                        continue;
                    }
                    End::Panicked(report)
                }
            };
            this.end(end);
            return Poll::Ready(());
        }
    }
}

impl<A: Actor<Context = Context<A>>> Drop for Guarded<A> {
    fn drop(&mut self) {
        tell_host(self.tells_host);
        // Before the end is reported, which dropping `on_end` does if it was not.
        drop_guarded(self.fut.take());
        if let Some((id, activity)) = &self.activity {
            activity.forget(*id);
        }
    }
}

/// Replaces an actor by its next life; the old value may be in any shape, and is dropped under a guard.
pub(crate) fn replace<A>(actor: &mut A, next: A) {
    let old = std::mem::replace(actor, next);
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(old))) {
        std::mem::forget(payload);
    }
}

#[cfg(test)]
mod tests;
