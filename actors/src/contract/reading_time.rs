//! Time that does not count while nothing is read.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::protocol::{ReadingClock, SubtaskId};

/// Time in which records could have come to a task, by the job's clock. It stands still while a source before the task is being
/// started, is paused or stopped, or waits for others in event time, and while a task before it has been blocked, or has held back what
/// came for a barrier of others, for more than 100 ms without a break. So whoever waits for records does not take such a time for a silence. Clones are one; any thread may use it.
///
/// An operator finds that of its task in [`SubtaskInfo::reading`](super::SubtaskInfo::reading).
///
/// ```
/// use std::time::Duration;
///
/// use millstream::operator::ReadingTime;
///
/// let reading = ReadingTime::default();                       // of a task before which nothing is ever held
/// let before = reading.at(Duration::from_secs(1));
/// assert_eq!(reading.at(Duration::from_secs(3)) - before, Duration::from_secs(2));
/// assert!(!reading.stands_still(Duration::from_secs(3)));
/// ```
#[derive(Clone, Default)]
pub struct ReadingTime(Arc<Reading>);

#[derive(Default)]
struct Reading {
    clock: Mutex<ReadingClock>,
    /// Somebody goes by it.
    is_asked: AtomicBool,
}

impl ReadingTime {
    /// Of a task before which so many sources are held until each of them is released.
    pub(crate) fn held(sources: u32) -> Self {
        Self(Arc::new(Reading { clock: Mutex::new(ReadingClock::held(sources)), is_asked: AtomicBool::new(false) }))
    }

    /// How much time counts up to now, of the time since the task's attempt began. It never goes back, also where `now` does.
    pub fn at(&self, now: Duration) -> Duration {
        self.0.is_asked.store(true, Ordering::Relaxed);
        self.lock().at(now)
    }

    /// Whether it stands still.
    pub fn stands_still(&self, now: Duration) -> bool {
        self.lock().stands_still(now)
    }

    /// Whether somebody goes by it: else it need not be told of tasks that are blocked, which is often.
    pub(crate) fn is_asked(&self) -> bool {
        self.0.is_asked.load(Ordering::Relaxed)
    }

    pub(crate) fn blocks(&self, task: SubtaskId, now: Duration) {
        self.lock().blocks(task, now);
    }

    pub(crate) fn unblocks(&self, task: SubtaskId, now: Duration) {
        self.lock().unblocks(task, now);
    }

    fn hold(&self, now: Duration) {
        self.lock().hold(now);
    }

    fn release(&self, now: Duration) {
        self.lock().release(now);
    }

    /// Nothing panics under the lock before anything has changed.
    fn lock(&self) -> MutexGuard<'_, ReadingClock> {
        self.0.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for ReadingTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReadingTime").field(&*self.lock()).finish()
    }
}

/// Why a source is not read, though it may have records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Its attempt is being started.
    Starting,
    /// The job is paused.
    Paused,
    /// It waits until others have come nearer in event time.
    Waiting,
    /// The job is about to end, and it reads no more.
    Stopped,
}

/// The time of one subtask of a source, by the job's clock: it stands still while the job is paused. Clones are one; any thread
/// may use it.
///
/// A reader that paces itself, or counts how long it has had nothing, goes by this, so that a pause is no silence, and is not made up
/// for. It is in [`SourceContext::time`](super::SourceContext::time).
///
/// ```
/// use std::time::Duration;
///
/// use millstream::source::{Hold, SourceTime};
///
/// let time = SourceTime::default();                           // the engine's is in the SourceContext
/// let now = Duration::from_secs(10);
/// let before = time.at(now);
/// time.hold(Hold::Paused, now);
/// assert_eq!(time.at(Duration::from_secs(70)), before);
/// time.release(Hold::Paused, Duration::from_secs(70));
/// assert_eq!(time.at(Duration::from_secs(71)) - before, Duration::from_secs(1));
/// ```
#[derive(Clone, Default)]
pub struct SourceTime(Arc<Source>);

#[derive(Default)]
struct Source {
    own: ReadingTime,
    /// Of the tasks behind it.
    behind: Arc<[ReadingTime]>,
    /// What it is held by, a bit each.
    holds: Mutex<u8>,
}

impl SourceTime {
    /// Of a source that is being started: it counts among those by which the times of the tasks behind it are held.
    pub(crate) fn starting(behind: Arc<[ReadingTime]>) -> Self {
        let holds = Mutex::new(bit(Hold::Starting));
        Self(Arc::new(Source { own: ReadingTime::default(), behind, holds }))
    }

    /// How much time counts up to now. It never goes back, also where `now` does.
    pub fn at(&self, now: Duration) -> Duration {
        self.0.own.at(now)
    }

    /// The source is not read from now on, for this reason. Nothing happens if that is so already.
    ///
    /// What waits by itself, as for others in event time, says so with [`Hold::Waiting`]; the other reasons are the engine's.
    pub fn hold(&self, why: Hold, now: Duration) {
        let mut holds = self.holds();
        let before = *holds;
        *holds |= bit(why);
        if why == Hold::Paused && *holds != before {
            self.0.own.hold(now);
        }
        if before == 0 {
            self.0.behind.iter().for_each(|time| time.hold(now));
        }
    }

    /// The reason is gone. Nothing happens if there was none.
    pub fn release(&self, why: Hold, now: Duration) {
        let mut holds = self.holds();
        let before = *holds;
        *holds &= !bit(why);
        if why == Hold::Paused && *holds != before {
            self.0.own.release(now);
        }
        if before != 0 && *holds == 0 {
            self.0.behind.iter().for_each(|time| time.release(now));
        }
    }

    /// Nothing of it is to come, and nobody waits for it.
    pub(crate) fn ended(&self, now: Duration) {
        for why in [Hold::Starting, Hold::Paused, Hold::Waiting, Hold::Stopped] {
            self.release(why, now);
        }
    }

    fn holds(&self) -> MutexGuard<'_, u8> {
        self.0.holds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for SourceTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceTime").field("own", &self.0.own).field("holds", &self.holds()).finish_non_exhaustive()
    }
}

fn bit(why: Hold) -> u8 {
    1 << why as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn tasks_behind_a_source_wait_for_all_its_reasons_and_for_other_sources() {
        let behind = ReadingTime::held(2);
        let [a, b] = [(); 2].map(|()| SourceTime::starting(Arc::new([behind.clone()])));
        a.release(Hold::Starting, ms(100));
        assert_eq!(behind.at(ms(200)), ms(0), "the other is starting");
        b.release(Hold::Starting, ms(300));
        assert_eq!(behind.at(ms(400)), ms(100));
        a.hold(Hold::Waiting, ms(400));
        a.hold(Hold::Paused, ms(450));
        a.hold(Hold::Paused, ms(460));
        a.release(Hold::Waiting, ms(500));
        assert_eq!((behind.at(ms(600)), behind.stands_still(ms(600))), (ms(100), true));
        a.release(Hold::Paused, ms(700));
        assert_eq!((behind.at(ms(800)), behind.stands_still(ms(800))), (ms(200), false));
    }

    #[test]
    fn own_time_of_a_source_stands_still_in_a_pause_alone() {
        let time = SourceTime::default();
        time.hold(Hold::Waiting, ms(0));
        assert_eq!(time.at(ms(100)), ms(100));
        time.hold(Hold::Paused, ms(100));
        assert_eq!(time.at(ms(900)), ms(100));
        time.release(Hold::Paused, ms(1_000));
        time.release(Hold::Paused, ms(1_001));
        assert_eq!(time.at(ms(1_050)), ms(150));
    }

    #[test]
    fn source_that_has_ended_holds_nothing_back() {
        let behind = ReadingTime::held(1);
        let time = SourceTime::starting(Arc::new([behind.clone()]));
        time.hold(Hold::Paused, ms(10));
        time.ended(ms(20));
        time.ended(ms(30));
        assert_eq!(behind.at(ms(120)), ms(100));
    }
}
