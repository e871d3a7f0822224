//! Finds the matches of a pattern in a keyed stream.

use std::marker::PhantomData;
use std::sync::Arc;

use millstream_actors::protocol::{NO_TIME, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::automaton::Automaton;
use super::paths::EventId;
use super::progress::Progress;
use super::step::{Given, Outcome, RecordOf};
use super::stored::ProgressState;
use super::{Matched, OnTimeout};
use crate::keyed::{KeyedContext, KeyedProcessFunction, Row, Timers, TimersHandle};
use crate::operator::{Emitter, OutputTag};
use crate::state::{MapHandle, MapState, StateSet, Timer, ValueHandle};
use crate::time::processing_time;

/// What needs event times, in the words of a panic.
const BY_EVENT_TIME: &str = "a pattern by event time; take `in_processing_time()`";

/// Records of a key that one call works on, but for others of the last one's time: what they give has to fit into memory.
const RECORDS_PER_CALL: usize = 1_000;

/// By what time records have their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PatternTime {
    Event,
    Processing,
}

/// Records of a key.
type Records<T> = MapState<EventId, T>;
type RecordsHandle<'a, T> = MapHandle<'a, EventId, T>;

/// Gives what `function` makes of each match. By event time a record waits until the watermark has come to it, so that records are
/// taken by their times.
pub(crate) struct PatternFunction<T, F, O, U> {
    automaton: Arc<Automaton<T>>,
    time: PatternTime,
    late: Option<OutputTag<T>>,
    timed_out: O,
    function: F,
    of: PhantomData<fn() -> U>,
}

impl<T, F, O, U> PatternFunction<T, F, O, U> {
    pub(crate) fn new(
        automaton: Arc<Automaton<T>>,
        time: PatternTime,
        late: Option<OutputTag<T>>,
        timed_out: O,
        function: F,
    ) -> Self {
        Self { automaton, time, late, timed_out, function, of: PhantomData }
    }
}

/// The matches of one key while they are worked on.
struct OfKey<'s, 'h, T> {
    progress: Progress,
    /// What partial matches have.
    events: &'s mut RecordsHandle<'h, T>,
    /// The watermark that has gone on: nothing is given an event time up to it, also if the time within is shorter than it was.
    gone_on: Timestamp,
}

impl<T, F, O, U> PatternFunction<T, F, O, U>
where
    T: 'static,
    F: Fn(&Matched<'_, T>, &mut Emitter<'_, U>),
    O: OnTimeout<T>,
{
    /// Has the time come to `now`.
    fn advance(&self, key: &mut OfKey<'_, '_, T>, now: Timestamp, out: &mut Emitter<'_, U>) {
        let outcome = self.automaton.advance(&mut key.progress, now);
        let events = &*key.events;
        self.give(&outcome, &|at| known(events, at), key.gone_on, out);
        forget(key.events, &outcome.released);
    }

    /// Works on a record that is behind all others.
    fn take(&self, key: &mut OfKey<'_, '_, T>, at: EventId, record: T, out: &mut Emitter<'_, U>) {
        self.advance(key, at.0, out);
        let events = &*key.events;
        let record_of = |of: EventId| if of == at { &record } else { known(events, of) };
        let outcome = self.automaton.take(&mut key.progress, at, &record_of);
        self.give(&outcome, &record_of, key.gone_on, out);
        forget(key.events, &outcome.released);
        if !outcome.released.contains(&at) {
            key.events.insert(at, record);
        }
    }

    fn give<'a>(&self, outcome: &Outcome, record_of: &RecordOf<'a, T>, gone_on: Timestamp, out: &mut Emitter<'_, U>) {
        for (time, given) in &outcome.given {
            let time = gone_on.saturating_add(1).max(*time);
            out.set_time(if self.time == PatternTime::Event { time } else { NO_TIME });
            let (Given::Match(path) | Given::TimedOut(path)) = given;
            let taken = path.iter().map(|(stage, at)| (*stage, at.0, record_of(*at)));
            let matched = Matched::new(&self.automaton.names, taken.collect());
            match given {
                Given::Match(_) => (self.function)(&matched, out),
                Given::TimedOut(_) => self.timed_out.give(&matched, out),
            }
        }
    }

    /// Lets `work` go on with the matches of a key. A key without any keeps nothing.
    fn work(
        &self,
        (events, stored): (&mut RecordsHandle<'_, T>, &mut ValueHandle<'_, Progress>),
        gone_on: Timestamp,
        work: impl FnOnce(&mut OfKey<'_, '_, T>),
    ) -> Option<Timestamp> {
        let progress = stored.take().unwrap_or_else(|| Progress::new(self.automaton.shape));
        let mut key = OfKey { progress, events, gone_on };
        work(&mut key);
        let over = key.progress.first_start().and_then(|start| self.automaton.over(start));
        if !key.progress.is_empty() {
            stored.set(key.progress);
        }
        over
    }

    /// Works on the records to which the watermark has come: if they are many, on the first of them, and on the others when it is
    /// called again for the same watermark.
    fn on_watermark(
        &self,
        (watermark, gone_on): (Timestamp, Timestamp),
        (mut waiting, mut events, mut progress, mut timers): <States<T> as StateSet>::Handles<'_>,
        out: &mut Emitter<'_, U>,
    ) where
        T: Serialize + DeserializeOwned + Send,
    {
        let first_of = |waiting: &RecordsHandle<'_, T>| waiting.first().map(|((time, _), _)| *time);
        let over = self.work((&mut events, &mut progress), gone_on, |key| {
            let (mut taken, mut time) = (0, Timestamp::MIN);
            while let Some(next) = first_of(&waiting).filter(|next| *next <= watermark) {
                if taken >= RECORDS_PER_CALL && next > time {
                    return;
                }
                let (at, record) = waiting.pop_first().expect("there is a first one");
                self.take(key, at, record, out);
                (taken, time) = (taken + 1, next);
            }
            self.advance(key, watermark, out);
        });
        let first = first_of(&waiting);
        wake_by(&mut timers, over.into_iter().chain(first).min().map(Timer::EventTime));
    }
}

/// The records that wait for the watermark, those that partial matches have, these, and one timer at most.
type States<T> = (Records<T>, Records<T>, ProgressState, Timers);

/// A record that a partial match has.
fn known<'a, T>(events: &'a RecordsHandle<'_, T>, at: EventId) -> &'a T {
    events.get(&at).expect("a record is there as long as a partial match has it")
}

fn forget<T>(events: &mut RecordsHandle<'_, T>, released: &[EventId]) {
    released.iter().for_each(|at| drop(events.remove(at)));
}

/// The place of one more record of this time, behind those that wait and those that partial matches have.
fn place<T>(records: [&RecordsHandle<'_, T>; 2], time: Timestamp) -> EventId {
    let last = |records: &RecordsHandle<'_, T>| {
        let (id, _) = records.range((time, u64::MIN)..=(time, u64::MAX)).next_back()?;
        Some(id.1)
    };
    let last = records.into_iter().filter_map(last).max();
    (time, last.map_or(0, |number| number + 1))
}

/// The time of the last record that a partial match has.
fn last_time<T>(events: &RecordsHandle<'_, T>) -> Option<Timestamp> {
    events.iter().next_back().map(|((time, _), _)| *time)
}

/// Has the key looked at when this timer is due, unless it is looked at earlier; or never, if nothing of it is due.
fn wake_by(timers: &mut TimersHandle<'_>, timer: Option<Timer>) {
    let Some(timer) = timer else { return timers.clear() };
    let is_first = timers.iter().next().is_none_or(|first| timer < first);
    if is_first {
        timers.clear();
        timers.register(timer);
    }
}

impl<T, F: Clone, O: Clone, U> Clone for PatternFunction<T, F, O, U> {
    fn clone(&self) -> Self {
        let Self { automaton, time, late, timed_out, function, .. } = self;
        Self::new(automaton.clone(), *time, late.clone(), timed_out.clone(), function.clone())
    }
}

impl<K, T, F, O, U> KeyedProcessFunction<K, T> for PatternFunction<T, F, O, U>
where
    T: Serialize + DeserializeOwned + Send + 'static,
    F: Fn(&Matched<'_, T>, &mut Emitter<'_, U>) + Clone + Send + 'static,
    O: OnTimeout<T>,
    U: Send + 'static,
{
    type Out = U;
    type State = States<T>;

    fn state(&self) -> Self::State {
        let progress = ProgressState::new(self.automaton.shape);
        (Records::new("waiting"), Records::new("events"), progress, Timers::new("due"))
    }

    fn process(
        &mut self,
        record: T,
        (mut waiting, mut events, mut progress, mut timers): Row<'_, Self, K, T>,
        ctx: &mut KeyedContext<'_, K>,
        out: &mut Emitter<'_, U>,
    ) {
        if self.time == PatternTime::Processing {
            // The clock may have been set back.
            let now = processing_time(ctx.clock()).max(last_time(&events).unwrap_or(Timestamp::MIN));
            let over = self.work((&mut events, &mut progress), Timestamp::MIN, |key| {
                self.take(key, place([&waiting, key.events], now), record, out);
            });
            return wake_by(&mut timers, over.map(Timer::ProcessingTime));
        }
        let time = ctx.event_time(BY_EVENT_TIME);
        // Behind an end of input after which the job goes on, what has been looked at is further than the watermark.
        if time <= ctx.watermark() || last_time(&events).is_some_and(|last| time < last) {
            ctx.count_late();
            if let Some(late) = &self.late {
                out.emit_to(late, record);
            }
            return;
        }
        waiting.insert(place([&waiting, &events], time), record);
        wake_by(&mut timers, Some(Timer::EventTime(time)));
    }

    fn on_timer(
        &mut self,
        timer: Timer,
        (waiting, mut events, mut progress, mut timers): Row<'_, Self, K, T>,
        ctx: &mut KeyedContext<'_, K>,
        out: &mut Emitter<'_, U>,
    ) {
        match timer {
            Timer::EventTime(_) => {
                let watermarks = (ctx.watermark(), ctx.watermark_before());
                self.on_watermark(watermarks, (waiting, events, progress, timers), out);
            }
            Timer::ProcessingTime(now) => {
                let advance = |key: &mut OfKey<'_, '_, T>| self.advance(key, now, out);
                let over = self.work((&mut events, &mut progress), Timestamp::MIN, advance);
                wake_by(&mut timers, over.map(Timer::ProcessingTime));
            }
        }
    }
}

#[cfg(test)]
#[path = "function_tests.rs"]
mod tests;
