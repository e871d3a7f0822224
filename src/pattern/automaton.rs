//! What a record may do to one partial match.

use std::sync::Arc;

use super::condition::Condition;
use super::place::Place;
use super::stage::Contiguity;

/// A stage that takes records.
pub(super) struct TakingStage<T> {
    pub(super) condition: Condition<T>,
    /// What may be between the record before and its first one.
    pub(super) before: Contiguity,
    /// What may be between its records.
    pub(super) inner: Contiguity,
    /// How many it takes: at least, and at most.
    pub(super) times: (u32, Option<u32>),
    pub(super) is_optional: bool,
    /// What it would take nothing else may let pass, as long as no later stage has taken a record.
    pub(super) is_greedy: bool,
    pub(super) until: Option<Condition<T>>,
}

/// What must not come between two stages, or behind the last one.
pub(super) struct Gap<T> {
    /// At once.
    pub(super) next: Vec<Condition<T>>,
    /// At any time, until the next record is taken.
    pub(super) anywhere: Vec<Condition<T>>,
}

/// Which partial matches a match ends, with the stage by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Skip {
    No,
    ToNext,
    PastLastEvent,
    ToFirst(u32),
    ToLast(u32),
}

/// A pattern as it is worked with.
pub(crate) struct Automaton<T> {
    pub(super) stages: Vec<TakingStage<T>>,
    /// Before each stage, and behind the last: one more than there are stages.
    pub(super) gaps: Vec<Gap<T>>,
    /// The names of the stages.
    pub(super) names: Vec<Arc<str>>,
    /// A match takes less than so many milliseconds.
    pub(super) within: Option<i64>,
    pub(super) skip: Skip,
    /// Of two patterns with the same one, each can go on with the partial matches of the other.
    pub(super) shape: u64,
}

/// What becomes of a partial match with a record. It may be more than one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Move {
    /// The stage takes the record, and the match goes on from there.
    Take(u32, Place),
    /// It lets the record pass.
    Pass(Place),
    /// It is a match, without the record.
    Complete,
}

impl<T> Automaton<T> {
    /// All that becomes of a partial match with a record of which `holds` tells what holds: nothing, if it waits for no such record.
    /// `None` if that record must not come.
    ///
    /// A stage that may be left is left for the same record, so one record is offered to all stages up to the first that needs one.
    pub(super) fn moves(&self, mut place: Place, holds: &dyn Fn(&Condition<T>) -> bool) -> Option<Vec<Move>> {
        let (is_start, mut moves) = (place.is_start(), Vec::new());
        loop {
            if self.is_forbidden(place, holds) {
                return None;
            }
            let Some(stage) = self.stages.get(place.stage as usize) else {
                moves.extend(self.at_end(place).filter(|_| !is_start));
                return Some(moves);
            };
            if self.is_barred(&mut place, holds) {
                return Some(moves);
            }
            let (takes, is_over) = (holds(&stage.condition), stage.until.as_ref().is_some_and(holds));
            if takes && !is_over {
                moves.push(Move::Take(place.stage, self.behind_one_more(place)));
            }
            let may_be_between = if place.taken == 0 { stage.before } else { stage.inner };
            let passes = match may_be_between {
                Contiguity::Strict => false,
                Contiguity::Relaxed => !takes,
                Contiguity::Any => true,
            };
            let may_leave = self.may_leave(place);
            if passes && !is_start && !(is_over && place.taken > 0) {
                moves.push(Move::Pass(Place { has_split: place.has_split || may_leave, is_fresh: false, ..place }));
            }
            if !may_leave {
                return Some(moves);
            }
            place = left(place);
        }
    }

    /// Whether what has been taken up to this place is a match.
    pub(super) fn completes(&self, place: Place) -> bool {
        self.reaches_end(place).is_some_and(|end| end.next.is_empty() && end.anywhere.is_empty())
    }

    /// Whether it is a match when its time is over, since nothing has come that must not.
    pub(super) fn completes_in_time(&self, place: Place) -> bool {
        self.reaches_end(place).is_some_and(|end| !end.anywhere.is_empty())
    }

    /// What must not come behind the last stage, if nothing else needs to come.
    fn reaches_end(&self, mut place: Place) -> Option<&Gap<T>> {
        while (place.stage as usize) < self.stages.len() {
            if !self.may_leave(place) {
                return None;
            }
            place = left(place);
        }
        self.gaps.last()
    }

    /// What becomes of a partial match behind the last stage with a record that may come.
    fn at_end(&self, place: Place) -> Option<Move> {
        let end = &self.gaps[place.stage as usize];
        match (end.next.is_empty(), end.anywhere.is_empty()) {
            // It was one with its last record.
            (true, true) => None,
            (false, true) => Some(Move::Complete),
            (_, false) => Some(Move::Pass(Place { is_fresh: false, ..place })),
        }
    }

    /// Whether the stage needs no more.
    fn may_leave(&self, place: Place) -> bool {
        let stage = &self.stages[place.stage as usize];
        !place.has_split && if place.taken == 0 { stage.is_optional } else { place.taken >= stage.times.0 }
    }

    /// Behind one more record of the stage.
    fn behind_one_more(&self, place: Place) -> Place {
        let taken = place.taken + 1;
        match self.stages[place.stage as usize].times {
            (_, Some(most)) if taken == most => Place::entering(place.stage + 1),
            (_, Some(_)) => Place::within(place.stage, taken),
            (least, None) => Place::within(place.stage, taken.min(least)),
        }
    }

    /// Whether the record must not come here.
    fn is_forbidden(&self, place: Place, holds: &dyn Fn(&Condition<T>) -> bool) -> bool {
        let gaps = &self.gaps[place.since as usize..=place.stage.max(place.since) as usize];
        gaps.iter().any(|gap| gap.anywhere.iter().any(holds) || place.is_fresh && gap.next.iter().any(holds))
    }

    /// Whether the record is one that a greedy stage would have taken, of those that were left since the last record was taken. What
    /// such a stage goes on until lifts the bar.
    fn is_barred(&self, place: &mut Place, holds: &dyn Fn(&Condition<T>) -> bool) -> bool {
        if place.taken > 0 {
            return false;
        }
        for number in place.since.saturating_sub(1)..place.stage {
            let (stage, bit) = (&self.stages[number as usize], 1 << number);
            if !stage.is_greedy || place.freed & bit != 0 {
                continue;
            }
            if stage.until.as_ref().is_some_and(holds) {
                place.freed |= bit;
            } else if holds(&stage.condition) {
                return true;
            }
        }
        false
    }
}

/// Behind the stage, without one more record of it.
fn left(place: Place) -> Place {
    match place.taken {
        0 => Place { stage: place.stage + 1, ..place },
        // Where records of one stage had others between them, it has split.
        _ => Place::entering(place.stage + 1),
    }
}
