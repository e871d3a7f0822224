//! What the matches of a pattern are, by trying all ways in which records may be taken.

use std::cmp::Ordering;

use millstream_actors::protocol::Timestamp;

use super::stage::Contiguity;
use super::{AfterMatchSkip, Pattern};
use crate::state::test_kit::Random;

/// A letter, and when it comes.
pub(super) type Letter = (Timestamp, char);

/// A stage that takes letters.
#[derive(Clone, Debug)]
pub(super) struct Taking {
    pub(super) before: Contiguity,
    pub(super) letters: &'static str,
    pub(super) times: (u32, Option<u32>),
    pub(super) inner: Contiguity,
    pub(super) is_optional: bool,
    pub(super) is_greedy: bool,
    pub(super) until: Option<char>,
    /// What must not come behind it: at once, and at any time.
    pub(super) not_next: Option<char>,
    pub(super) not_followed_by: Option<char>,
}

/// A pattern of letters.
#[derive(Clone, Debug)]
pub(super) struct Described {
    pub(super) stages: Vec<Taking>,
    pub(super) within: Option<i64>,
}

/// When a match is one: at a time, with the letter at a place, or with none, since its time is over.
pub(super) type When = (Timestamp, Option<usize>);

/// The stage and the place of each letter of a match.
pub(super) type Taken = Vec<(usize, usize)>;

const SETS: [&str; 7] = ["a", "b", "c", "ab", "bc", "ac", "abc"];
const CONTIGUITIES: [Contiguity; 3] = [Contiguity::Strict, Contiguity::Relaxed, Contiguity::Any];

impl Described {
    /// Some pattern that can be.
    pub(super) fn any(random: &mut Random) -> Self {
        loop {
            let stages = (0..1 + random.below(3)).map(|_| Taking::any(random)).collect();
            let within = (random.below(2) == 0).then(|| 2 + random.below(8) as i64);
            let described = Self { stages, within };
            if described.pattern().mistakes().is_empty() {
                return described;
            }
        }
    }

    pub(super) fn pattern(&self) -> Pattern<Letter> {
        let mut pattern: Option<Pattern<Letter>> = None;
        for (number, stage) in self.stages.iter().enumerate() {
            let (name, letters) = (format!("{number}"), stage.letters);
            let takes = move |(_, letter): &Letter| letters.contains(*letter);
            let mut next = match (pattern, stage.before) {
                (None, _) => Pattern::begin(name, takes),
                (Some(before), Contiguity::Strict) => before.next(name, takes),
                (Some(before), Contiguity::Relaxed) => before.followed_by(name, takes),
                (Some(before), Contiguity::Any) => before.followed_by_any(name, takes),
            };
            next = match stage.times {
                (1, Some(1)) => next,
                (least, Some(most)) => next.times_between(least..=most),
                (least, None) => next.times_between(least..),
            };
            next = match stage.inner {
                Contiguity::Strict => next.consecutive(),
                Contiguity::Relaxed => next,
                Contiguity::Any => next.allow_combinations(),
            };
            next = if stage.is_optional { next.optional() } else { next };
            next = if stage.is_greedy { next.greedy() } else { next };
            if let Some(until) = stage.until {
                next = next.until(move |(_, letter)| *letter == until);
            }
            if let Some(not) = stage.not_next {
                next = next.not_next(format!("not next {number}"), move |(_, letter)| *letter == not);
            }
            if let Some(not) = stage.not_followed_by {
                next = next.not_followed_by(format!("not followed by {number}"), move |(_, letter)| *letter == not);
            }
            pattern = Some(next);
        }
        let pattern = pattern.unwrap();
        match self.within {
            Some(within) => pattern.within(std::time::Duration::from_millis(within as u64)),
            None => pattern,
        }
    }

    /// All matches, each with the time at which it is one, in the order in which they are given if none ends another.
    pub(super) fn matches(&self, letters: &[Letter]) -> Vec<(When, Taken)> {
        let mut found = Vec::new();
        self.extend(letters, &mut Vec::new(), &mut found);
        found.sort_by(order);
        found
    }

    /// Those of the matches that are left when each ends others.
    pub(super) fn skipping(&self, letters: &[Letter], skip: &AfterMatchSkip) -> Vec<Taken> {
        let mut all = self.matches(letters);
        all.sort_by(|one, other| one.1[0].1.cmp(&other.1[0].1).then(one.0.cmp(&other.0)));
        let mut given: Vec<Taken> = Vec::new();
        for (_, taken) in all {
            let began = taken[0].1;
            let is_ended = given.iter().any(|by: &Taken| {
                let places = |stage: &str| -> Vec<usize> {
                    by.iter().filter(|(of, _)| of.to_string() == *stage).map(|(_, place)| *place).collect()
                };
                match skip {
                    AfterMatchSkip::NoSkip => false,
                    AfterMatchSkip::ToNext => began <= by[0].1,
                    AfterMatchSkip::PastLastEvent => began <= by[by.len() - 1].1,
                    AfterMatchSkip::ToFirst(stage) => places(stage).first().is_some_and(|to| began < *to),
                    AfterMatchSkip::ToLast(stage) => places(stage).last().is_some_and(|to| began < *to),
                }
            });
            if !is_ended {
                given.push(taken);
            }
        }
        given
    }

    fn extend(&self, letters: &[Letter], taken: &mut Taken, found: &mut Vec<(When, Taken)>) {
        found.extend(self.completed(letters, taken).map(|at| (at, taken.clone())));
        let from = taken.last().map_or(0, |(_, last)| last + 1);
        for place in from..letters.len() {
            for stage in 0..self.stages.len() {
                if self.may_take(letters, taken, (stage, place)) {
                    taken.push((stage, place));
                    self.extend(letters, taken, found);
                    taken.pop();
                }
            }
        }
    }

    /// How many records the last stage has taken.
    fn count(taken: &Taken) -> u32 {
        taken.iter().rev().take_while(|(stage, _)| *stage == taken[taken.len() - 1].0).count() as u32
    }

    fn may_take(&self, letters: &[Letter], taken: &Taken, (stage, place): (usize, usize)) -> bool {
        let next = &self.stages[stage];
        let is = |set: &str, at: usize| set.contains(letters[at].1);
        let is_over = |of: &Taking, at: usize| of.until == Some(letters[at].1);
        if !is(next.letters, place) || is_over(next, place) {
            return false;
        }
        let all_optional = |mut stages: std::ops::Range<usize>| stages.all(|stage| self.stages[stage].is_optional);
        let Some(&(last, at)) = taken.last() else {
            return all_optional(0..stage) && !(0..stage).any(|g| self.bars(letters, g, place..=place));
        };
        let (before, count) = (&self.stages[last], Self::count(taken));
        let (is_same, mut between) = (stage == last, at + 1..place);
        let is_reached = if is_same {
            before.times.1.is_none_or(|most| count < most)
        } else {
            stage > last && count >= before.times.0 && all_optional(last + 1..stage)
        };
        let contiguity = if is_same { next.inner } else { next.before };
        let passes = match contiguity {
            Contiguity::Strict => between.is_empty(),
            Contiguity::Relaxed => between.clone().all(|at| !is(next.letters, at)),
            Contiguity::Any => true,
        };
        let goes_on = !is_same || between.all(|at| !is_over(next, at));
        let is_barred = !is_same && (last..stage).any(|g| self.bars(letters, g, at + 1..=place));
        let start = letters[taken[0].1].0;
        let is_in_time = self.within.is_none_or(|within| letters[place].0 - start < within);
        is_reached && passes && goes_on && !is_barred && is_in_time && self.is_allowed(letters, taken, at + 1..=place)
    }

    /// Whether a greedy stage would have taken one of these that are passed over, before what it goes on until.
    fn bars(&self, letters: &[Letter], stage: usize, places: std::ops::RangeInclusive<usize>) -> bool {
        let Taking { is_greedy, times, letters: takes, until, .. } = &self.stages[stage];
        let has_choice = times.1 != Some(times.0);
        let mut passed = letters[places].iter().take_while(|(_, letter)| *until != Some(*letter));
        *is_greedy && has_choice && passed.any(|(_, letter)| takes.contains(*letter))
    }

    /// Whether none of these is what must not come behind what was taken.
    fn is_allowed(&self, letters: &[Letter], taken: &Taken, mut places: std::ops::RangeInclusive<usize>) -> bool {
        let (last, at) = taken[taken.len() - 1];
        let before = &self.stages[last];
        let may_end = Self::count(taken) >= before.times.0;
        places.all(|place| {
            let letter = Some(letters[place].1);
            letter != before.not_followed_by && !(letter == before.not_next && place == at + 1 && may_end)
        })
    }

    /// When what was taken is a match.
    fn completed(&self, letters: &[Letter], taken: &Taken) -> Option<When> {
        let &(last, at) = taken.last()?;
        let before = &self.stages[last];
        let rest_is_optional = self.stages[last + 1..].iter().all(|stage| stage.is_optional);
        if Self::count(taken) < before.times.0 || !rest_is_optional {
            return None;
        }
        let end = self.stages.last()?;
        if end.not_next.is_none() && end.not_followed_by.is_none() {
            return Some((letters[at].0, Some(at)));
        }
        let start = letters[taken[0].1].0;
        let over = self.within.map_or(Timestamp::MAX, |within| start + within);
        let behind = letters[at + 1..].iter().take_while(|(time, _)| *time < over).count();
        if end.not_followed_by.is_some() {
            return (behind == 0 || self.is_allowed(letters, taken, at + 1..=at + behind)).then_some((over, None));
        }
        let next = letters.get(at + 1).filter(|_| behind > 0)?;
        self.is_allowed(letters, taken, at + 1..=at + 1).then_some((next.0, Some(at + 1)))
    }
}

/// Matches of one time by their start; of those the one first that at the first difference has taken something earlier, or by an
/// earlier stage.
fn order(one: &(When, Taken), other: &(When, Taken)) -> Ordering {
    let by_takes = || {
        let differing = one.1.iter().zip(&other.1).find(|(one, other)| one != other);
        differing.map_or(other.1.len().cmp(&one.1.len()), |(one, other)| one.cmp(other))
    };
    one.0.cmp(&other.0).then(one.1[0].1.cmp(&other.1[0].1)).then_with(by_takes)
}

impl Taking {
    fn any(random: &mut Random) -> Self {
        let mut one_in = |n: u64| random.below(n) == 0;
        let (is_optional, is_greedy, is_loop) = (one_in(3), one_in(2), one_in(2));
        let letter = |random: &mut Random, n: u64| {
            (random.below(n) == 0).then(|| ['a', 'b', 'c', 'd'][random.below(4) as usize])
        };
        let times = if is_loop {
            let least = 1 + random.below(2) as u32;
            (least, (random.below(2) == 0).then(|| least + random.below(3) as u32))
        } else {
            (1, Some(1))
        };
        let repeats = times != (1, Some(1));
        let inner = if repeats { CONTIGUITIES[random.below(3) as usize] } else { Contiguity::Relaxed };
        Self {
            before: CONTIGUITIES[random.below(3) as usize],
            letters: SETS[random.below(SETS.len() as u64) as usize],
            times,
            inner,
            is_optional,
            is_greedy: is_greedy && repeats,
            until: letter(random, 3).filter(|_| times.1.is_none()),
            not_next: letter(random, 6),
            not_followed_by: letter(random, 6),
        }
    }
}
