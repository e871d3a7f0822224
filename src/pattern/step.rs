//! What a record, and the time, do to the partial matches of a key.

use std::cell::OnceCell;

use millstream_actors::protocol::Timestamp;

use super::Matched;
use super::automaton::{Automaton, Move, Skip};
use super::condition::Condition;
use super::paths::{EventId, Paths};
use super::place::Place;
use super::progress::{Complete, Partial, Progress};

/// The records of a match with their stages, the first first.
pub(super) type Path = Vec<(u32, EventId)>;

/// What is to be given to the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Given {
    Match(Path),
    /// A partial match whose time is over.
    TimedOut(Path),
}

/// What came of a record, or of the time.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// In order, each with the time at which it came to be.
    pub(super) given: Vec<(Timestamp, Given)>,
    /// What no partial match has any more, once all this is given.
    pub(super) released: Vec<EventId>,
}

/// The record with this number.
pub(super) type RecordOf<'a, T> = dyn Fn(EventId) -> &'a T + 'a;

impl<T> Automaton<T> {
    /// When a partial match that began then is over.
    pub(super) fn over(&self, start: Timestamp) -> Option<Timestamp> {
        self.within.map(|within| start.saturating_add(within))
    }

    /// Ends the partial matches whose time is over by now: as if `now` came millisecond by millisecond, so that it does not matter how
    /// often this is called.
    pub(super) fn advance(&self, progress: &mut Progress, now: Timestamp) -> Outcome {
        let mut outcome = Outcome::default();
        while let Some(first) = progress.partials.front().map(|partial| partial.start)
            && let Some(over) = self.over(first.0).filter(|over| *over <= now)
        {
            let ended = progress.partials.partition_point(|partial| partial.start <= first);
            let mut found = Vec::new();
            for Partial { place, start, last } in progress.partials.drain(..ended) {
                if self.completes_in_time(place) {
                    found.push(Complete { start, last });
                } else {
                    outcome.given.push((over, Given::TimedOut(progress.paths.of(last))));
                    progress.paths.release(last, &mut outcome.released);
                }
            }
            self.settle(progress, found, over, &mut outcome);
        }
        outcome
    }

    /// Works on a record behind all that came before. It must be looked up by `record_of` as those are that partial matches have. It
    /// is among the released ones if none has it now.
    pub(super) fn take<'a>(&self, progress: &mut Progress, event: EventId, record_of: &RecordOf<'a, T>) -> Outcome
    where
        T: 'a,
    {
        let (mut outcome, mut found) = (Outcome::default(), Vec::new());
        let partials = std::mem::take(&mut progress.partials);
        for Partial { place, start, last } in partials {
            let moves = self.moves_of(&progress.paths, (place, Some(last)), event, record_of);
            self.follow(progress, moves, (start, Some(last)), event, &mut found);
            progress.paths.release(last, &mut outcome.released);
        }
        let moves = self.moves_of(&progress.paths, (Place::START, None), event, record_of);
        self.follow(progress, moves, (event, None), event, &mut found);
        self.settle(progress, found, event.0, &mut outcome);
        if !progress.paths.uses(event) && !outcome.released.contains(&event) {
            outcome.released.push(event);
        }
        outcome
    }

    /// What becomes of a partial match with a record; nothing if it must not come.
    fn moves_of<'a>(
        &self,
        paths: &Paths,
        (place, last): (Place, Option<u64>),
        event: EventId,
        record_of: &RecordOf<'a, T>,
    ) -> Vec<Move>
    where
        T: 'a,
    {
        let so_far = OnceCell::new();
        let look = || {
            let path = last.map(|last| paths.of(last)).unwrap_or_default();
            Matched::new(&self.names, path.into_iter().map(|(stage, at)| (stage, at.0, record_of(at))).collect())
        };
        let record = record_of(event);
        let holds = |condition: &Condition<T>| condition.holds(record, &|| so_far.get_or_init(look));
        self.moves(place, &holds).unwrap_or_default()
    }

    /// Has a partial match, or a new one, make its moves.
    fn follow(
        &self,
        progress: &mut Progress,
        moves: Vec<Move>,
        (start, last): (EventId, Option<u64>),
        event: EventId,
        found: &mut Vec<Complete>,
    ) {
        let Progress { partials, paths, .. } = progress;
        for next in moves {
            match (next, last) {
                (Move::Take(stage, place), _) => {
                    let last = paths.add(last, stage, event);
                    if self.completes(place) {
                        paths.hold(last);
                        found.push(Complete { start, last });
                    }
                    if !self.is_done(place) {
                        paths.hold(last);
                        partials.push_back(Partial { place, start, last });
                    }
                }
                (Move::Pass(place), Some(last)) => {
                    paths.hold(last);
                    partials.push_back(Partial { place, start, last });
                }
                (Move::Complete, Some(last)) => {
                    paths.hold(last);
                    found.push(Complete { start, last });
                }
                (Move::Pass(_) | Move::Complete, None) => unreachable!("what has taken nothing only takes"),
            }
        }
    }

    /// Whether nothing can come any more of a match that is complete.
    fn is_done(&self, place: Place) -> bool {
        place.stage as usize == self.stages.len() && self.completes(place)
    }

    /// Gives the matches that wait for no partial match, by their start, and ends the others that these say.
    fn settle(&self, progress: &mut Progress, found: Vec<Complete>, now: Timestamp, outcome: &mut Outcome) {
        let Progress { partials, completed, paths, .. } = progress;
        for complete in found {
            let place = completed.partition_point(|before| before.start <= complete.start);
            completed.insert(place, complete);
        }
        while let Some(Complete { start, last }) = completed.front().cloned() {
            let waits = partials.front().is_some_and(|partial| partial.start < start);
            if waits && self.skip != Skip::No {
                return;
            }
            completed.pop_front();
            let path = paths.of(last);
            let ends = |began: EventId| match self.skip {
                Skip::No => false,
                Skip::ToNext => began <= start,
                Skip::PastLastEvent => path.last().is_some_and(|(_, end)| began <= *end),
                Skip::ToFirst(stage) => path.iter().find(|(of, _)| *of == stage).is_some_and(|(_, to)| began < *to),
                Skip::ToLast(stage) => path.iter().rfind(|(of, _)| *of == stage).is_some_and(|(_, to)| began < *to),
            };
            // Both are by their start, so those that end come first.
            let ended_partials = partials.partition_point(|partial| ends(partial.start));
            let ended_completed = completed.partition_point(|complete| ends(complete.start));
            let ended = partials.drain(..ended_partials).map(|partial| partial.last);
            let ended = ended.chain(completed.drain(..ended_completed).map(|complete| complete.last)).chain([last]);
            ended.for_each(|last| paths.release(last, &mut outcome.released));
            outcome.given.push((now, Given::Match(path)));
        }
    }
}
