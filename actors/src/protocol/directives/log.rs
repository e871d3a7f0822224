//! What the supervisor of a region knows of panics in operators with directives: who works carefully, which records are poison, and
//! what is to be withheld still.
//!
//! Forgetting is safe: a record of which nothing is known any more panics again, and is withheld again. Only a record that was
//! withheld before the restored checkpoint must not be counted as one that is to be withheld; therefore what each checkpoint covers is kept.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::withholding::{Taken, Withholding, add};
use super::{FIRINGS, PanicFacts, PanicRule, PanickedRecord, RecordIdentity};
use crate::protocol::{CheckpointId, OperatorId, PortId};

/// Records of one operator of which panics are counted. Beyond it the count of one that is not withheld begins anew.
const SUSPECTS_MAX: usize = 1024;
/// Checkpoints of which it is kept what they cover.
const CHECKPOINTS_KEPT: usize = 64;
/// What is known of a record is kept for so many checkpoints beyond the failures. That a source has read as much again does not say that
/// it has read the same: it may give the records of several splits in another order.
const CHECKPOINTS_BEYOND_KEPT: u32 = 16;

/// A panic in an operator.
#[derive(Clone, Debug)]
pub(crate) struct Panic<'a> {
    pub(crate) operator: &'a OperatorId,
    /// Whether the operator was given records, and no mark or wake-up.
    pub(crate) with_records: bool,
    /// The record, if the operator was at careful work and it could be encoded.
    pub(crate) record: Option<&'a PanickedRecord>,
    /// What is known of it. The number of panics is counted here.
    pub(crate) facts: PanicFacts,
}

/// What a directive says to a panic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The operator works carefully from the next attempt on.
    BeginsCarefulWork,
    /// It was one of so many.
    Counted { panics: u32, of: u32 },
    /// One record of these bytes is withheld from the next attempt on.
    Withholds { facts: PanicFacts, goes_to: Option<Arc<str>> },
    /// More records than may be within this time: the function is broken, and not the records.
    TooMany { records: u32, within: Duration },
}

/// An operator whose careful work has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CarefulWorkEnded {
    pub(crate) operator: OperatorId,
    /// Records that were withheld before the checkpoint.
    pub(crate) withheld: u32,
    /// Records that were to be withheld, and have not come again.
    pub(crate) not_met: u32,
}

/// A record at which an operator has panicked.
#[derive(Clone, Debug, Default)]
struct Suspect {
    /// Since one of its bytes was decided on last.
    panics: u32,
    /// One for each record of these bytes that is to be withheld, also those that a checkpoint covers.
    withheld: Vec<PanicFacts>,
    /// Checkpoints beyond the failures since its last panic.
    beyond: u32,
}

/// The directives of one region, with what they remember. Lost with the process.
#[derive(Clone, Debug, Default)]
pub(crate) struct DirectiveLog {
    rules: BTreeMap<OperatorId, BTreeMap<PortId, PanicRule>>,
    /// The operators that work carefully, or will in the next attempt.
    careful: BTreeSet<OperatorId>,
    /// Records at which operators have panicked.
    suspects: BTreeMap<OperatorId, BTreeMap<RecordIdentity, Suspect>>,
    /// What was withheld before the checkpoint from which the running attempt started.
    base: Taken,
    /// What was withheld before each of the newest checkpoints.
    covered: VecDeque<(CheckpointId, Taken)>,
    /// When records were decided on, by operator, as far as the rules ask.
    decided_at: BTreeMap<OperatorId, VecDeque<Duration>>,
}

impl DirectiveLog {
    pub(crate) fn new(rules: BTreeMap<OperatorId, BTreeMap<PortId, PanicRule>>) -> Self {
        Self { rules, ..Self::default() }
    }

    /// An operator has panicked, at `now`. `None` if no directive has anything to say to it.
    pub(crate) fn panicked(&mut self, now: Duration, panic: Panic<'_>) -> Option<Answer> {
        let Panic { operator, with_records, record, facts } = panic;
        let rules = self.rules.get(operator)?;
        if !rules.keys().any(|port| (*port != FIRINGS) == with_records) {
            return None;
        }
        if self.careful.insert(operator.clone()) {
            return Some(Answer::BeginsCarefulWork);
        }
        let suspects = self.suspects.entry(operator.clone()).or_default();
        let identity = record?.identity;
        let rule = rules.get(&identity.port())?;
        if suspects.len() >= SUSPECTS_MAX && !suspects.contains_key(&identity) {
            suspects.retain(|_, suspect| !suspect.withheld.is_empty());
        }
        let suspect = suspects.entry(identity).or_default();
        (suspect.panics, suspect.beyond) = (suspect.panics + 1, 0);
        if suspect.panics < rule.after {
            return Some(Answer::Counted { panics: suspect.panics, of: rule.after });
        }
        let decided_at = self.decided_at.entry(operator.clone()).or_default();
        while decided_at.front().is_some_and(|at| now.saturating_sub(*at) > rule.within) {
            decided_at.pop_front();
        }
        if decided_at.len() >= rule.at_most as usize {
            return Some(Answer::TooMany { records: rule.at_most, within: rule.within });
        }
        decided_at.push_back(now);
        let facts = PanicFacts { panics: std::mem::take(&mut suspect.panics), ..facts };
        suspect.withheld.push(facts.clone());
        Some(Answer::Withholds { facts, goes_to: rule.goes_to.clone() })
    }

    /// The operators that work carefully in the attempt that begins.
    pub(crate) fn careful(&self) -> impl Iterator<Item = &OperatorId> {
        self.careful.iter()
    }

    /// A new attempt starts from this checkpoint, after one that has withheld `before`. Gives what it is to withhold.
    pub(crate) fn begin(&mut self, restored: Option<CheckpointId>, before: &Withholding) -> Withholding {
        if self.careful.is_empty() {
            return Withholding::default();
        }
        for (checkpoint, taken) in before.at_barriers() {
            let mut all = self.base.clone();
            add(&mut all, taken);
            self.covered.push_back((checkpoint, all));
        }
        while self.covered.len() > CHECKPOINTS_KEPT {
            self.covered.pop_front();
        }
        let known = self.covered.iter().find(|(checkpoint, _)| Some(*checkpoint) == restored);
        self.base = known.map(|(_, taken)| taken.clone()).unwrap_or_default();
        let mut outstanding = BTreeMap::new();
        for (operator, suspects) in &self.suspects {
            for (identity, suspect) in suspects {
                let key = (operator.clone(), *identity);
                let covered = self.base.get(&key).copied().unwrap_or_default() as usize;
                let left: VecDeque<PanicFacts> = suspect.withheld.iter().skip(covered).cloned().collect();
                if !left.is_empty() {
                    outstanding.insert(key, left);
                }
            }
        }
        Withholding::new(outstanding)
    }

    /// This checkpoint, which the running attempt has taken, is complete and beyond all failures: careful work is over, and what the
    /// attempt has withheld is settled.
    pub(crate) fn overcome(&mut self, checkpoint: CheckpointId, attempt: &Withholding) -> Vec<CarefulWorkEnded> {
        let mut covered = std::mem::take(&mut self.base);
        // What was withheld behind the barrier is forgotten: if it has to be withheld again it panics again.
        let mut settled = covered.clone();
        add(&mut settled, &attempt.taken());
        if let Some(taken) = attempt.at_barrier(checkpoint) {
            add(&mut covered, taken);
        }
        self.covered.clear();
        for ((operator, identity), records) in settled {
            let suspect = self.suspects.get_mut(&operator).and_then(|suspects| suspects.get_mut(&identity));
            if let Some(suspect) = suspect {
                suspect.withheld.drain(..suspect.withheld.len().min(records as usize));
            }
        }
        let ended = std::mem::take(&mut self.careful).into_iter().map(|operator| {
            let withheld = covered.iter().filter(|((of, _), _)| *of == operator).map(|(_, records)| records).sum();
            let suspects = self.suspects.get(&operator).into_iter().flat_map(BTreeMap::values);
            let not_met = suspects.map(|suspect| suspect.withheld.len() as u32).sum();
            CarefulWorkEnded { operator, withheld, not_met }
        });
        let ended = ended.collect();
        for suspects in self.suspects.values_mut() {
            suspects.retain(|_, suspect| {
                suspect.beyond += 1;
                suspect.beyond <= CHECKPOINTS_BEYOND_KEPT && (suspect.panics > 0 || !suspect.withheld.is_empty())
            });
        }
        ended
    }
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
