//! Threads for calls that block on a store, shared by the snapshot writers of all jobs of the process.
//!
//! A writer makes one call at a time. Calls begin in the order in which they are asked for, on as many threads as the
//! limit allows. A call that does not return keeps its thread. Whoever has waited for long behind such calls has their
//! threads replaced: so a store that hangs costs one thread, and delays the calls of other jobs by that wait at most.

use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::contract::Clock;
use crate::protocol::PanicReport;
use crate::runtime::guard::{catch_panic, drop_guarded, tell_host};
use crate::runtime::stage::Stage;

type Work = Box<dyn FnOnce() + Send>;

/// The threads. They end after the calls that wait when the pool is dropped.
#[derive(Default)]
pub(crate) struct BlockingPool {
    shared: Arc<Shared>,
    /// Where calls take turns instead; there are no threads then.
    stage: Option<Stage>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    has_work: Condvar,
}

/// Numbers the calls in the order in which they were asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Ticket(u64);

#[derive(Default)]
struct State {
    threads_max: usize,
    /// Threads, without those that are given up.
    threads: usize,
    /// Threads that wait for work.
    idle: usize,
    /// How many threads were ever started.
    started: u64,
    newest: Ticket,
    waiting: VecDeque<(Ticket, Work)>,
    /// What the threads with a call are at, by their number.
    busy: BTreeMap<u64, Busy>,
    closed: bool,
}

struct Busy {
    /// The newest ticket when the call began: calls with later ones were asked for after that.
    began: Ticket,
    given_up: bool,
}

impl BlockingPool {
    /// A pool without threads, whose calls take turns on a stage.
    pub(crate) fn on(stage: &Stage) -> Self {
        Self { shared: Arc::default(), stage: Some(stage.clone()) }
    }

    /// Allows at least `threads_max` threads from now on, and starts one if there is none.
    ///
    /// # Errors
    /// If the system refuses the first thread.
    pub(crate) fn allow(&self, threads_max: usize) -> io::Result<()> {
        if self.stage.is_some() {
            return Ok(());
        }
        let mut state = self.shared.lock();
        state.threads_max = state.threads_max.max(threads_max).max(1);
        if state.threads == 0 { self.shared.start_thread(&mut state) } else { Ok(()) }
    }

    /// Has a thread call `work`. The host's panic hook is told of a panic in it if `tells_host`.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        tells_host: bool,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Call<T> {
        let (sender, outcome) = oneshot::channel();
        // Nobody waits any more for what the call of an actor that has gone answers.
        let work = move || {
            tell_host(tells_host);
            drop_guarded(sender.send(catch_panic(work)));
        };
        let waits = match &self.stage {
            Some(stage) => {
                stage.spawn_fn(work);
                None
            }
            None => self.shared.enqueue(Box::new(work)),
        };
        Call { shared: self.shared.clone(), waits, outcome }
    }
}

impl Drop for BlockingPool {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.has_work.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers the ticket with which the work waits, unless a thread takes it at once.
    fn enqueue(self: &Arc<Self>, work: Work) -> Option<Ticket> {
        let mut state = self.lock();
        state.newest.0 += 1;
        let ticket = state.newest;
        state.waiting.push_back((ticket, work));
        if state.waiting.len() <= state.idle {
            self.has_work.notify_one();
            return None;
        }
        if state.threads < state.threads_max && self.start_or_warn(&mut state) { None } else { Some(ticket) }
    }

    /// Gives up all threads whose call had begun before `ticket` was drawn, and starts others for the calls that wait.
    /// Answers whether `ticket` was still waiting.
    fn relieve(self: &Arc<Self>, ticket: Ticket) -> bool {
        let mut state = self.lock();
        if !state.waiting.iter().any(|(waiting, _)| *waiting == ticket) {
            return false;
        }
        let mut given_up = 0;
        for busy in state.busy.values_mut().filter(|busy| !busy.given_up && busy.began < ticket) {
            busy.given_up = true;
            given_up += 1;
        }
        state.threads -= given_up;
        let wanted = state.waiting.len().min(state.threads_max.saturating_sub(state.threads));
        if given_up > 0 {
            log::warn!(
                target: "millstream::supervisor",
                "{given_up} store calls do not return: their threads are replaced"
            );
        }
        let _ = (0..wanted).all(|_| self.start_or_warn(&mut state));
        true
    }

    fn start_or_warn(self: &Arc<Self>, state: &mut State) -> bool {
        let started = self.start_thread(state);
        if let Err(error) = &started {
            log::warn!(target: "millstream::supervisor", "no further thread for store calls: {error}");
        }
        started.is_ok()
    }

    fn start_thread(self: &Arc<Self>, state: &mut State) -> io::Result<()> {
        let (shared, number) = (self.clone(), state.started + 1);
        thread::Builder::new().name(format!("store-{number}")).spawn(move || shared.serve(number))?;
        state.started = number;
        state.threads += 1;
        Ok(())
    }

    fn serve(&self, number: u64) {
        let mut state = self.lock();
        loop {
            if let Some((_, work)) = state.waiting.pop_front() {
                let began = state.newest;
                state.busy.insert(number, Busy { began, given_up: false });
                drop(state);
                work();
                state = self.lock();
                if state.busy.remove(&number).is_some_and(|busy| busy.given_up) {
                    if state.threads >= state.threads_max {
                        return;
                    }
                    state.threads += 1;
                }
            } else if state.closed {
                return;
            } else {
                state.idle += 1;
                state = self.has_work.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.idle -= 1;
            }
        }
    }
}

/// A call that was asked for.
pub(crate) struct Call<T> {
    shared: Arc<Shared>,
    waits: Option<Ticket>,
    outcome: oneshot::Receiver<Result<T, PanicReport>>,
}

impl<T> Call<T> {
    /// What the call answered. Each time it has waited for `wait_max` to begin, threads that have been busy for all of
    /// that time are replaced.
    ///
    /// # Errors
    /// If it panicked: what is known of that.
    ///
    /// # Cancellation
    /// The call is made all the same.
    pub(crate) async fn outcome(mut self, clock: Arc<dyn Clock>, wait_max: Duration) -> Result<T, PanicReport> {
        let outcome = loop {
            let mut waited = self.waits.map(|_| clock.sleep(wait_max));
            let first = poll_fn(|cx| match Pin::new(&mut self.outcome).poll(cx) {
                Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
                Poll::Pending => match &mut waited {
                    Some(waited) => waited.as_mut().poll(cx).map(|()| None),
                    None => Poll::Pending,
                },
            });
            if let Some(outcome) = first.await {
                break outcome;
            }
            self.waits = self.waits.filter(|ticket| self.shared.relieve(*ticket));
        };
        outcome.expect("every call is made, and answers also when it panics")
    }
}

#[cfg(test)]
mod tests;
