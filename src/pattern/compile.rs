//! From what users say of a pattern to the automaton that finds it.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::Arc;

use super::automaton::{Automaton, Gap, Skip, TakingStage};
use super::place::Place;
use super::stage::{Contiguity, Link, Stage};
use super::{AfterMatchSkip, Pattern, PatternTime};
use crate::state::stable_hash;
use crate::window::millis;

impl<T> Pattern<T> {
    /// Whatever cannot be about it.
    pub(crate) fn mistakes(&self) -> Vec<String> {
        if self.stages.len() > Place::STAGES_MAX {
            return vec![format!("it has {} stages, and {} are the most", self.stages.len(), Place::STAGES_MAX)];
        }
        let (mut mistakes, mut names) = (Vec::new(), HashSet::new());
        for (number, stage) in self.stages.iter().enumerate() {
            let name = &stage.name;
            let of_stage = stage.mistakes.iter().copied().chain(said_in_vain(stage));
            mistakes.extend(of_stage.map(|mistake| format!("stage '{name}' {mistake}")));
            if !names.insert(name) {
                mistakes.push(format!("two stages have the name '{name}'"));
            }
            let before = number.checked_sub(1).map(|before| &self.stages[before]);
            if let Some(before) = before.filter(|before| stage.is_negative() && before.is_optional) {
                let optional = &before.name;
                mistakes.push(format!("what must not come, '{name}', is behind '{optional}', which is optional"));
            }
        }
        let last = self.stages.last().filter(|last| last.link == Link::NotFollowedBy && self.within.is_none());
        mistakes.extend(last.map(|last| {
            format!(
                "'{}' must not come at the end of the pattern, which never is: say by within(..) when it is",
                last.name
            )
        }));
        mistakes
            .extend(self.within.and_then(|within| millis(within).err()).map(|is| format!("the time within is {is}")));
        mistakes.extend(self.skip.stage().filter(|named| self.number_of(named).is_none()).map(|named| {
            format!("a match is to skip to stage '{named}', and there is none of that name that takes records")
        }));
        mistakes
    }

    /// What finds it by this time. Not to be used if there are [`mistakes`](Self::mistakes).
    pub(crate) fn compile(&self, time: PatternTime) -> Automaton<T> {
        let (mut stages, mut gaps, mut names) =
            (Vec::new(), vec![Gap { next: Vec::new(), anywhere: Vec::new() }], Vec::new());
        for stage in &self.stages {
            let gap = gaps.last_mut().expect("there is one before the first");
            match stage.link {
                Link::NotNext => gap.next.push(stage.condition.clone()),
                Link::NotFollowedBy => gap.anywhere.push(stage.condition.clone()),
                Link::Takes(before) => {
                    names.push(Arc::clone(&stage.name));
                    stages.push(taking(stage, before));
                    gaps.push(Gap { next: Vec::new(), anywhere: Vec::new() });
                }
            }
        }
        let number_of = |stage| self.number_of(stage).unwrap_or_default();
        let skip = match &self.skip {
            AfterMatchSkip::NoSkip => Skip::No,
            AfterMatchSkip::ToNext => Skip::ToNext,
            AfterMatchSkip::PastLastEvent => Skip::PastLastEvent,
            AfterMatchSkip::ToFirst(stage) => Skip::ToFirst(number_of(stage)),
            AfterMatchSkip::ToLast(stage) => Skip::ToLast(number_of(stage)),
        };
        let within = self.within.and_then(|within| millis(within).ok());
        Automaton { stages, gaps, names, within, skip, shape: self.shape(time) }
    }

    /// The number of a stage among those that take records.
    fn number_of(&self, name: &str) -> Option<u32> {
        let mut taking = self.stages.iter().filter(|stage| !stage.is_negative());
        taking.position(|stage| *stage.name == *name).map(|number| number as u32)
    }

    /// Of two patterns with the same shape, partial matches of one are such of the other: it has all that says which places there are,
    /// and by what time. Names, conditions, the time within and the skip may differ.
    fn shape(&self, time: PatternTime) -> u64 {
        let mut shape = format!("{time:?};");
        for stage in &self.stages {
            let Stage { link, times: (least, most), inner, is_optional, is_greedy, until, .. } = stage;
            let link = match link {
                Link::Takes(before) => code(*before),
                Link::NotNext => 'n',
                Link::NotFollowedBy => 'f',
            };
            let (most, inner, has_until) =
                (most.unwrap_or(0), code(inner.unwrap_or(Contiguity::Relaxed)), until.is_some());
            write!(shape, "{link} {least} {most} {inner} {is_optional} {is_greedy} {has_until};")
                .expect("a string takes all");
        }
        stable_hash(&shape)
    }
}

/// How a contiguity is written in a shape.
fn code(contiguity: Contiguity) -> char {
    match contiguity {
        Contiguity::Strict => 's',
        Contiguity::Relaxed => 'r',
        Contiguity::Any => 'a',
    }
}

fn taking<T>(stage: &Stage<T>, before: Contiguity) -> TakingStage<T> {
    TakingStage {
        condition: stage.condition.clone(),
        before,
        inner: stage.inner.unwrap_or(Contiguity::Relaxed),
        times: stage.times,
        is_optional: stage.is_optional,
        // One that takes a number of records, no more and no less, has no choice.
        is_greedy: stage.is_greedy && stage.times.1 != Some(stage.times.0),
        until: stage.until.clone(),
    }
}

/// What was said of a stage that means nothing for it.
fn said_in_vain<T>(stage: &Stage<T>) -> impl Iterator<Item = &'static str> {
    let Stage { times, inner, is_optional, is_greedy, until, .. } = stage;
    let (is_negative, repeats) = (stage.is_negative(), stage.repeats());
    let is_said = repeats || *is_optional || *is_greedy || inner.is_some() || until.is_some();
    let checks = [
        (is_negative && is_said, "must not come, so nothing can be said of how often"),
        (!is_negative && !repeats && inner.is_some(), "takes one record, so nothing can be said of what is between"),
        (!is_negative && !repeats && *is_greedy, "takes one record, so it cannot be greedy"),
        (*is_greedy && *inner == Some(Contiguity::Any), "cannot be greedy and allow combinations"),
        (
            !is_negative && until.is_some() && times.1.is_some(),
            "takes so many records at most, and so has no use for until(..)",
        ),
    ];
    checks.into_iter().filter(|(is_mistake, _)| *is_mistake).map(|(_, mistake)| mistake)
}
