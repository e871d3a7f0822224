//! Who waits for the answers to records, and what is known of requests that get none.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use millstream_actors::contract::CheckpointRequests;
use millstream_actors::protocol::CheckpointId;
use smallvec::SmallVec;
use tokio::sync::oneshot;

use super::keys::Place;
use super::{IngestError, IngestLogError};

/// From this many places on, those of which nobody waits any more are removed from time to time.
const SWEEP_MIN: usize = 64;

/// Where somebody who waits for an answer is told. It is dropped when the job has ended.
pub(crate) type Asker = oneshot::Sender<Told>;

/// What somebody who waits for an answer is told.
#[derive(Clone, Debug)]
pub(crate) enum Told {
    /// The answer that stands.
    Answer(Arc<[u8]>),
    /// There is none, and none will come.
    Unanswered,
    /// It cannot be read.
    Unreadable(Arc<IngestLogError>),
}

/// A record: the life in which it was added, and its place, which another may have had before.
pub(super) type Asked = (u64, Place);

/// An answer on its way to the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Given {
    /// The life of the log in which the record was added.
    pub(crate) life: u64,
    pub(crate) place: Place,
    /// The record has an idempotency key, so that its answer may be asked for again.
    pub(crate) is_keyed: bool,
    pub(crate) body: Arc<[u8]>,
}

/// Answers that are to become durable together, and who waits for that.
#[derive(Debug)]
pub(super) struct GivenCall {
    pub(super) given: Vec<Given>,
    pub(super) reply: oneshot::Sender<Result<(), IngestError>>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Askers {
    /// A request whose record is covered by a checkpoint, and its answer is not, gets none.
    answers_at_once: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    waiting: HashMap<Asked, SmallVec<[Asker; 1]>>,
    sweep_at: usize,
    /// Those of the newest writer of answers.
    checkpoints: CheckpointRequests,
    answered: Answered,
    /// Answers that came for requests which had another.
    surplus: u64,
    /// Subtasks of the sink that hold answers for which no checkpoint was asked: nobody waited for them when they came.
    unasked: BTreeSet<u32>,
    /// Answers that came for requests which were lost, and others are in their places.
    foreign: u64,
    /// A reader has come to the end of its input, which is that of the job: all that is durable is read.
    is_read: bool,
    /// Nobody is answered any more.
    has_ended: bool,
}

/// Up to where all answers are known.
#[derive(Debug, Default)]
struct Answered {
    /// By split: the positions of completed checkpoints, oldest first, and up to where answers of all before are known.
    splits: HashMap<u32, (VecDeque<(CheckpointId, u64)>, u64)>,
    /// By subtask of the sink: up to which checkpoint it has committed.
    writers: BTreeMap<u32, CheckpointId>,
    parallelism: u32,
}

impl Answered {
    fn up_to(&self, split: u32) -> u64 {
        self.splits.get(&split).map_or(0, |(_, up_to)| *up_to)
    }

    /// Goes on to the newest checkpoint that all have committed.
    fn advance(&mut self) {
        if self.writers.len() < self.parallelism as usize {
            return;
        }
        let Some(committed) = self.writers.values().min().copied() else { return };
        for (completed, up_to) in self.splits.values_mut() {
            let count = completed.partition_point(|(checkpoint, _)| *checkpoint <= committed);
            *up_to = completed.drain(..count).next_back().map_or(*up_to, |(_, offset)| offset);
        }
    }
}

impl State {
    fn sweep(&mut self) {
        if self.waiting.len() >= self.sweep_at {
            self.waiting.retain(|_, askers| askers.iter().any(|asker| !asker.is_closed()));
            self.sweep_at = SWEEP_MIN.max(2 * self.waiting.len());
        }
    }

    /// Those who wait for what will not come.
    fn without_answer(&mut self) -> Vec<Asker> {
        let answered = &self.answered;
        let given_up = self.waiting.extract_if(|(_, place), _| place.offset < answered.up_to(place.split));
        given_up.flat_map(|(_, askers)| askers).collect()
    }
}

/// Adds one to those who wait for one answer. Those that have given up make room first, as a client that asks again and again leaves
/// many of them.
fn add(askers: &mut SmallVec<[Asker; 1]>, asker: Asker) {
    let room = askers.capacity();
    if askers.len() == room {
        askers.retain(|asker| !asker.is_closed());
        if askers.len() > room / 2 {
            askers.reserve(room);
        }
    }
    askers.push(asker);
}

fn tell(askers: impl IntoIterator<Item = Asker>, what: &Told) {
    for asker in askers {
        // It may have given up.
        let _ = asker.send(what.clone());
    }
}

impl Askers {
    pub(super) fn new(answers_at_once: bool) -> Self {
        Self { answers_at_once, state: Mutex::new(State { sweep_at: SWEEP_MIN, ..State::default() }) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody waits for the answer to a record, which is new, or was there before and has no answer yet.
    pub(super) fn register(&self, (life, place): Asked, asker: Asker, is_repeated: bool) {
        let mut state = self.lock();
        if state.has_ended {
            return;
        }
        if is_repeated && place.offset < state.answered.up_to(place.split) {
            drop(state);
            return tell([asker], &Told::Unanswered);
        }
        state.sweep();
        add(state.waiting.entry((life, place)).or_default(), asker);
        // The answer may be one of those for which nobody waited when they came. They share a checkpoint.
        let may_be_there = is_repeated && !std::mem::take(&mut state.unasked).is_empty();
        let checkpoints = may_be_there.then(|| state.checkpoints.clone());
        drop(state);
        if let Some(checkpoints) = checkpoints {
            checkpoints.request();
        }
    }

    /// What stands of an answer is durable.
    pub(super) fn answer(&self, given: &Given, body: &Arc<[u8]>) {
        let askers = self.lock().waiting.remove(&(given.life, given.place));
        tell(askers.into_iter().flatten(), &Told::Answer(body.clone()));
    }

    /// An answer came for a request that had another. Answers how many have.
    pub(super) fn count_surplus(&self) -> u64 {
        let mut state = self.lock();
        state.surplus += 1;
        state.surplus
    }

    /// An answer came for a request that was lost. Answers how many have.
    pub(super) fn count_foreign(&self) -> u64 {
        let mut state = self.lock();
        state.foreign += 1;
        state.foreign
    }

    /// How many requests are waited for, and how many answers were surplus.
    pub(crate) fn figures(&self) -> (usize, u64) {
        let state = self.lock();
        let is_waited_for = |askers: &&SmallVec<[Asker; 1]>| askers.iter().any(|asker| !asker.is_closed());
        (state.waiting.values().filter(is_waited_for).count(), state.surplus)
    }

    /// Whether somebody waits for an answer that has come to a subtask of the sink. If not, and a retry may ask for it, that has a
    /// checkpoint taken.
    pub(crate) fn is_waited_for(&self, subtask: u32, given: &Given) -> bool {
        let mut state = self.lock();
        let askers = state.waiting.get(&(given.life, given.place));
        let is_waited_for = askers.is_some_and(|askers| askers.iter().any(|asker| !asker.is_closed()));
        if given.is_keyed && !is_waited_for {
            state.unasked.insert(subtask);
        }
        is_waited_for
    }

    /// A subtask writes answers, of so many, and has settled what was pending.
    pub(crate) fn writer_opened(&self, subtask: u32, parallelism: u32, checkpoints: CheckpointRequests) {
        let mut state = self.lock();
        state.checkpoints = checkpoints;
        state.unasked.retain(|other| *other < parallelism && *other != subtask);
        let answered = &mut state.answered;
        answered.parallelism = parallelism;
        answered.writers.retain(|other, _| *other < parallelism && *other != subtask);
    }

    /// It has given all answers of a checkpoint, and holds others or none.
    pub(crate) fn writer_committed(&self, subtask: u32, checkpoint: CheckpointId, holds_others: bool) {
        if !holds_others {
            self.lock().unasked.remove(&subtask);
        }
        self.learn(|answered| {
            answered.writers.insert(subtask, checkpoint);
        });
    }

    /// A split is read from its position in a checkpoint on: whether later requests get answers is open again.
    pub(super) fn reads_anew(&self, split: u32) {
        self.lock().answered.splits.remove(&split);
    }

    /// All records of a split before this offset are covered by a checkpoint.
    pub(super) fn covered(&self, split: u32, checkpoint: CheckpointId, offset: u64) {
        self.learn(|answered| {
            // No sink of the job takes answers: nothing would ever take these away.
            if answered.parallelism > 0 {
                answered.splits.entry(split).or_default().0.push_back((checkpoint, offset));
            }
        });
    }

    fn learn(&self, what: impl FnOnce(&mut Answered)) {
        if !self.answers_at_once {
            return;
        }
        let mut state = self.lock();
        what(&mut state.answered);
        state.answered.advance();
        let given_up = state.without_answer();
        drop(state);
        tell(given_up, &Told::Unanswered);
    }

    /// A reader that has splits has come to the end of its input.
    pub(super) fn is_read(&self) {
        self.lock().is_read = true;
    }

    /// The job has finished: all answers are given. If it had finished before, it has read nothing of what waits.
    pub(crate) fn finish(&self) {
        let mut state = self.lock();
        if !state.is_read {
            return;
        }
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        tell(waiting.into_values().flatten(), &Told::Unanswered);
    }

    /// The job has ended.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        state.has_ended = true;
        drop(std::mem::take(&mut state.waiting));
        state.checkpoints = CheckpointRequests::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place { split: 0, offset: 3 };

    fn given() -> Given {
        Given { life: 7, place: PLACE, is_keyed: true, body: Arc::from(*b"yes") }
    }

    #[test]
    fn askers_that_have_given_up_take_no_room_however_often_one_asks_again() {
        let askers = Askers::new(false);
        let waits: Vec<_> = (0..5)
            .map(|_| {
                for _ in 0..1_000 {
                    askers.register((7, PLACE), oneshot::channel().0, true);
                }
                let (asker, told) = oneshot::channel();
                askers.register((7, PLACE), asker, true);
                told
            })
            .collect();
        let held = askers.lock().waiting[&(7, PLACE)].capacity();
        assert!(held <= 32, "{held} for five that wait");
        askers.answer(&given(), &given().body);
        for mut told in waits {
            assert!(matches!(told.try_recv(), Ok(Told::Answer(_))));
        }
    }

    #[test]
    fn nothing_is_kept_of_checkpoints_where_no_sink_takes_answers() {
        let askers = Askers::new(true);
        for checkpoint in 1..=1_000 {
            askers.covered(0, CheckpointId(checkpoint), checkpoint);
        }
        assert!(askers.lock().answered.splits.is_empty());
    }

    /// Cause: each retry had a checkpoint taken. Repair: only if the sink holds answers for which none was asked.
    #[test]
    fn retry_asks_for_a_checkpoint_once_and_only_if_a_sink_may_hold_its_answer() {
        let (askers, asked) = (Askers::new(false), Arc::new(Mutex::new(0)));
        let count = asked.clone();
        askers.writer_opened(0, 2, CheckpointRequests::new(move || *count.lock().unwrap() += 1));
        let retry = || askers.register((7, PLACE), oneshot::channel().0, true);
        let asked = || *asked.lock().unwrap();
        retry();
        assert_eq!(asked(), 0, "no answer has come");
        assert!(!askers.is_waited_for(0, &given()));
        retry();
        retry();
        assert_eq!(asked(), 1);
        assert!(!askers.is_waited_for(0, &given()));
        askers.writer_committed(0, CheckpointId(1), true);
        retry();
        assert_eq!(asked(), 2, "it may be among those that came behind the barrier");
        assert!(!askers.is_waited_for(0, &given()));
        askers.writer_committed(0, CheckpointId(2), false);
        retry();
        assert_eq!(asked(), 2, "all are given");
    }
}
