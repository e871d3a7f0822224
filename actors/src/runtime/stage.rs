//! A stage: actors that run on the thread of whoever moves them, one poll at a time, each chosen by the mover.
//!
//! What runs on arbiters and on threads of stores in production takes turns here: each actor, each call of a store, each
//! part of a restore. Nothing else runs, so that the same choices give the same run. For tests of whole jobs: the mover is
//! `millstream::testing::TestDriver`.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};

use crate::contract::StagedTime;
use crate::runtime::guard::drop_guarded;

/// What runs on a stage, and never leaves its thread.
type Piece = Pin<Box<dyn Future<Output = ()>>>;

thread_local! {
    /// What is spawned by the turn that this thread takes; `None` while it takes none.
    static SPAWNED: RefCell<Option<Vec<Piece>>> = const { RefCell::new(None) };
}

/// Where actors are started. Clones are one stage.
#[derive(Clone)]
pub struct Stage(Arc<Turns>);

#[derive(Default)]
struct Turns(Mutex<Vec<Turn>>);

/// What may be done next.
enum Turn {
    /// Something that is done at once: an actor is made, a store is called.
    Call(Box<dyn FnOnce() + Send>),
    /// Something that was woken goes on.
    Poll(u64),
}

impl Turns {
    fn lock(&self) -> MutexGuard<'_, Vec<Turn>> {
        // Every change is one step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stage({} turns)", self.0.lock().len())
    }
}

impl Stage {
    /// Has `call` take a turn.
    pub(crate) fn spawn_fn(&self, call: impl FnOnce() + Send + 'static) {
        self.0.lock().push(Turn::Call(Box::new(call)));
    }
}

/// Whether this thread takes a turn of a stage.
pub(crate) fn is_on_stage() -> bool {
    SPAWNED.with_borrow(Option::is_some)
}

/// Has `future` run on the stage whose turn this thread takes. Gives it back where it takes none.
pub(super) fn spawn_on_stage<F: Future<Output = ()> + 'static>(future: F) -> Result<(), F> {
    SPAWNED.with_borrow_mut(|spawned| match spawned {
        Some(spawned) => {
            spawned.push(Box::pin(future));
            Ok(())
        }
        None => Err(future),
    })
}

/// Wakes what runs on a stage, from any thread.
struct Cue {
    turns: Weak<Turns>,
    piece: u64,
    /// It is among the turns.
    is_given: AtomicBool,
}

impl Wake for Cue {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_given.swap(true, Ordering::AcqRel)
            && let Some(turns) = self.turns.upgrade()
        {
            turns.lock().push(Turn::Poll(self.piece));
        }
    }
}

/// By the order in which they were started.
type Pieces = BTreeMap<u64, (Piece, Arc<Cue>)>;

/// Moves a stage. Dropping it ends all that runs there, in the order in which it was started, as the end of a process would:
/// nothing is told, and no message is taken any more.
pub struct StageRunner {
    stage: Stage,
    pieces: Pieces,
    started: u64,
    time: StagedTime,
}

impl StageRunner {
    /// An empty stage.
    pub fn new() -> Self {
        Self { stage: Stage(Arc::default()), pieces: BTreeMap::new(), started: 0, time: StagedTime::default() }
    }

    /// The stage, to start a job on.
    pub fn stage(&self) -> &Stage {
        &self.stage
    }

    /// Takes the turn that `choose` says, of so many as it is told, which are in the order in which they came up. False, and
    /// nothing is chosen, if there is none: what runs waits for time, or for other threads.
    pub fn step(&mut self, choose: impl FnOnce(usize) -> usize) -> bool {
        let turn = {
            let mut turns = self.stage.0.lock();
            if turns.is_empty() {
                return false;
            }
            let chosen = choose(turns.len());
            turns.remove(chosen)
        };
        let spawned = self.on_stage(|pieces| match turn {
            Turn::Call(call) => call(),
            Turn::Poll(number) => poll(pieces, number),
        });
        spawned.into_iter().for_each(|piece| self.start(piece));
        true
    }

    fn start(&mut self, piece: Piece) {
        let number = self.started;
        self.started += 1;
        let cue = Cue { turns: Arc::downgrade(&self.stage.0), piece: number, is_given: AtomicBool::new(false) };
        let cue = Arc::new(cue);
        self.pieces.insert(number, (piece, cue.clone()));
        cue.wake();
    }

    /// Calls `turn` as a turn of this stage. Answers what it has spawned.
    fn on_stage(&mut self, turn: impl FnOnce(&mut Pieces)) -> Vec<Piece> {
        let around = Around(SPAWNED.replace(Some(Vec::new())));
        self.time.during(|| turn(&mut self.pieces));
        let spawned = SPAWNED.take().unwrap_or_default();
        drop(around);
        spawned
    }
}

/// Whoever moves a stage may be on one itself: what that one's turn has spawned is put back.
struct Around(Option<Vec<Piece>>);

impl Drop for Around {
    fn drop(&mut self) {
        SPAWNED.set(self.0.take());
    }
}

fn poll(pieces: &mut Pieces, number: u64) {
    let Some((piece, cue)) = pieces.get_mut(&number) else { return };
    // Before the poll, so that a wake-up in it counts.
    cue.is_given.swap(false, Ordering::AcqRel);
    let waker = Waker::from(cue.clone());
    // A host's tokio task has a budget, which counts what is received in it.
    let mut polled = std::pin::pin!(tokio::task::unconstrained(piece));
    if let Poll::Ready(()) = polled.as_mut().poll(&mut Context::from_waker(&waker)) {
        pieces.remove(&number);
    }
}

impl Default for StageRunner {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for StageRunner {
    fn drop(&mut self) {
        let spawned = self.on_stage(|pieces| {
            while let Some((_, (piece, _))) = pieces.pop_first() {
                drop_guarded(piece);
            }
        });
        drop_guarded(spawned);
        let turns = std::mem::take(&mut *self.stage.0.lock());
        drop_guarded(turns);
    }
}

impl fmt::Debug for StageRunner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StageRunner({:?}, {} actors)", self.stage, self.pieces.len())
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::contract::monotonic;
    use crate::runtime::{ArbiterHandle, blocking, spawn_here, yield_now};

    /// Notes a number, and drops it at its end.
    struct Held(u64, Arc<Mutex<Vec<u64>>>);

    impl Drop for Held {
        fn drop(&mut self) {
            self.1.lock().unwrap().push(self.0);
        }
    }

    fn first(_: usize) -> usize {
        0
    }

    fn last(turns: usize) -> usize {
        turns - 1
    }

    /// Two that say their number three times each, and let the other run in between.
    fn said(choose: fn(usize) -> usize) -> Vec<u64> {
        let (mut runner, said) = (StageRunner::new(), Arc::new(Mutex::new(Vec::new())));
        for number in [1, 2] {
            let said = said.clone();
            let talk = async move {
                for _ in 0..3 {
                    said.lock().unwrap().push(number);
                    yield_now().await;
                }
            };
            ArbiterHandle::Stage(runner.stage().clone()).spawn_fn(move || spawn_here(talk));
        }
        while runner.step(choose) {}
        Arc::into_inner(said).expect("both have ended").into_inner().unwrap()
    }

    #[test]
    fn order_is_the_choosers() {
        assert_eq!(said(first), [1, 2, 1, 2, 1, 2]);
        assert_eq!(said(last), [2, 2, 2, 1, 1, 1]);
    }

    #[test]
    fn blocking_work_takes_a_turn_and_answers() {
        let (mut runner, answer) = (StageRunner::new(), Arc::new(Mutex::new(None)));
        let told = answer.clone();
        let asks = move || spawn_here(async move { *told.lock().unwrap() = Some(blocking(|| 7).await) });
        runner.stage().spawn_fn(asks);
        let turns = std::iter::from_fn(|| runner.step(first).then_some(())).count();
        assert_eq!((*answer.lock().unwrap(), turns), (Some(7), 4), "it is asked, waits, is made, and answers");
    }

    #[test]
    fn time_on_a_stage_is_its_own() {
        let (mut runner, times) = (StageRunner::new(), Arc::new(Mutex::new(Vec::new())));
        for _ in 0..2 {
            let times = times.clone();
            runner.stage().spawn_fn(move || times.lock().unwrap().extend([monotonic(), monotonic()]));
        }
        while runner.step(first) {}
        let micros: Vec<_> = times.lock().unwrap().iter().map(std::time::Duration::as_micros).collect();
        assert_eq!(micros, [0, 1, 2, 3]);
        assert!(!is_on_stage());
    }

    #[test]
    fn end_of_a_stage_drops_what_runs_in_its_order_and_takes_no_more_turns() {
        let (mut runner, ended) = (StageRunner::new(), Arc::new(Mutex::new(Vec::new())));
        for number in [1, 2, 3] {
            let held = Held(number, ended.clone());
            runner.stage().spawn_fn(move || {
                spawn_here(async move {
                    let _held = held;
                    std::future::pending::<()>().await;
                });
            });
        }
        (0..6).for_each(|_| assert!(runner.step(first)));
        assert!(!runner.step(first));
        let called = Arc::new(AtomicBool::new(false));
        let call = called.clone();
        runner.stage().spawn_fn(move || call.store(true, Ordering::Relaxed));
        drop(runner);
        assert_eq!((&**ended.lock().unwrap(), called.load(Ordering::Relaxed)), (&[1, 2, 3][..], false));
    }

    #[test]
    fn stage_that_is_moved_by_a_piece_of_another_leaves_that_as_it_was() {
        let (mut outer, polled) = (StageRunner::new(), Arc::new(AtomicBool::new(false)));
        let told = polled.clone();
        outer.stage().spawn_fn(move || {
            let mut inner = StageRunner::new();
            inner.stage().spawn_fn(|| spawn_here(async {}));
            while inner.step(first) {}
            spawn_here(async move { told.store(true, Ordering::Relaxed) });
        });
        while outer.step(first) {}
        assert!(polled.load(Ordering::Relaxed));
    }

    #[test]
    fn piece_that_is_woken_by_another_thread_takes_a_turn() {
        let mut runner = StageRunner::new();
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let done = Arc::new(AtomicBool::new(false));
        let told = done.clone();
        runner.stage().spawn_fn(move || {
            spawn_here(async move { told.store(receiver.await.is_ok(), Ordering::Relaxed) });
        });
        while runner.step(first) {}
        std::thread::spawn(move || sender.send(())).join().unwrap().unwrap();
        while runner.step(first) {}
        assert!(done.load(Ordering::Relaxed));
    }
}
