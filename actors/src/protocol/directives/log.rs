//! What the supervisor of a region knows of panics in operators with directives: who works carefully, which records are poison, and
//! what is to be withheld still.
//!
//! Forgetting is safe: a record of which nothing is known any more panics again, and is withheld again. Only a record that was
//! withheld before the restored checkpoint must not be counted as one that is to be withheld; therefore what each checkpoint covers is kept.

use std::collections::{BTreeMap, VecDeque};
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
/// Records at which an operator has panicked and which are not withheld yet: so many cost the restart strategy nothing, if the rule
/// does not say fewer. Beyond it the bytes of a record are other ones each time, or all records are poison.
const SUSPECTS_FREE_MAX: u32 = 64;
/// Longest time that careful work lasts beyond the records that had been read.
const CAREFUL_MAX: Duration = Duration::from_secs(600);

/// A panic in an operator.
#[derive(Clone, Debug)]
pub(crate) struct Panic<'a> {
    pub(crate) operator: &'a OperatorId,
    /// Whether the operator was given records, and no mark or wake-up.
    pub(crate) with_records: bool,
    /// How long the attempt had run.
    pub(crate) uptime: Duration,
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
    /// It was one of so many. Not `is_free`: more records than may be are on their way to be withheld, so it is a failure like others.
    Counted { panics: u32, of: u32, is_free: bool },
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

/// An operator that works carefully.
#[derive(Clone, Copy, Debug)]
struct CarefulSince {
    /// It does so for this time in an attempt, at least.
    lasts: Duration,
    /// A panic was one of a known record.
    has_met: bool,
}

/// The directives of one region, with what they remember. Lost with the process.
#[derive(Clone, Debug, Default)]
pub(crate) struct DirectiveLog {
    rules: BTreeMap<OperatorId, BTreeMap<PortId, PanicRule>>,
    /// The operators that work carefully, or will in the next attempt.
    careful: BTreeMap<OperatorId, CarefulSince>,
    /// Those whose careful work has ended without a panic in it, and how long it was to last.
    unmet: BTreeMap<OperatorId, Duration>,
    /// The checkpoint from which careful work began; set while there is careful work. None before it covers anything.
    begun_from: Option<Option<CheckpointId>>,
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
        let Panic { operator, with_records, uptime, record, facts } = panic;
        let rules = self.rules.get(operator)?;
        if !rules.keys().any(|port| (*port != FIRINGS) == with_records) {
            return None;
        }
        let Some(careful) = self.careful.get_mut(operator) else {
            let lasts = self.unmet.get(operator).map_or(Duration::ZERO, |lasted| lasts_now(*lasted, uptime));
            self.careful.insert(operator.clone(), CarefulSince { lasts, has_met: false });
            return Some(Answer::BeginsCarefulWork);
        };
        let suspects = self.suspects.entry(operator.clone()).or_default();
        let identity = record?.identity;
        let rule = rules.get(&identity.port())?;
        careful.has_met = true;
        if suspects.len() >= SUSPECTS_MAX && !suspects.contains_key(&identity) {
            suspects.retain(|_, suspect| !suspect.withheld.is_empty());
        }
        let others = suspects.iter().filter(|(other, suspect)| **other != identity && suspect.panics > 0).count();
        let suspect = suspects.entry(identity).or_default();
        let is_free = suspect.panics > 0 || others < rule.at_most.min(SUSPECTS_FREE_MAX) as usize;
        (suspect.panics, suspect.beyond) = (suspect.panics + 1, 0);
        if suspect.panics < rule.after {
            return Some(Answer::Counted { panics: suspect.panics, of: rule.after, is_free });
        }
        let decided_at = self.decided_at.entry(operator.clone()).or_default();
        let longest = rules.values().map(|rule| rule.within).max().unwrap_or_default();
        while decided_at.front().is_some_and(|at| now.saturating_sub(*at) > longest) {
            decided_at.pop_front();
        }
        let recent = decided_at.iter().rev().take_while(|at| now.saturating_sub(**at) <= rule.within).count();
        if recent >= rule.at_most as usize {
            return Some(Answer::TooMany { records: rule.at_most, within: rule.within });
        }
        decided_at.push_back(now);
        let facts = PanicFacts { panics: std::mem::take(&mut suspect.panics), ..facts };
        suspect.withheld.push(facts.clone());
        Some(Answer::Withholds { facts, goes_to: rule.goes_to.clone() })
    }

    /// The operators that work carefully in the attempt that begins.
    pub(crate) fn careful(&self) -> impl Iterator<Item = &OperatorId> {
        self.careful.keys()
    }

    /// A new attempt starts from this checkpoint, after one that has withheld `before`. Gives what it is to withhold.
    pub(crate) fn begin(&mut self, restored: Option<CheckpointId>, before: &Withholding) -> Withholding {
        if self.careful.is_empty() {
            return Withholding::default();
        }
        let begun_from = *self.begun_from.get_or_insert(restored);
        for (checkpoint, taken) in before.at_barriers() {
            let mut all = self.base.clone();
            add(&mut all, taken);
            self.covered.push_back((checkpoint, all));
        }
        while self.covered.len() > CHECKPOINTS_KEPT {
            self.covered.pop_front();
        }
        let known = self.covered.iter().find(|(checkpoint, _)| Some(*checkpoint) == restored);
        let known = known.map(|(_, taken)| taken.clone());
        if known.is_none() && restored > begun_from {
            // How many of them the checkpoint covers is not known, and none must be withheld in the place of another.
            self.suspects.values_mut().flat_map(BTreeMap::values_mut).for_each(|suspect| suspect.withheld.clear());
            self.covered.clear();
            self.begun_from = Some(restored);
        }
        self.base = known.unwrap_or_default();
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

    /// Whether careful work may end with this checkpoint of the attempt that runs since `since`. What panics when its time has come
    /// needs that time again, whatever has been read by then.
    pub(crate) fn has_lasted(&self, checkpoint: CheckpointId, attempt: &Withholding, since: Duration) -> bool {
        let lasted = attempt.came_to(checkpoint).unwrap_or_default().saturating_sub(since);
        self.careful.values().all(|careful| careful.lasts <= lasted)
    }

    /// This checkpoint, which the running attempt has taken, is complete and beyond all failures: careful work, which has ended, is
    /// over, and what the attempt has withheld is settled.
    pub(crate) fn overcome(&mut self, checkpoint: CheckpointId, attempt: &Withholding) -> Vec<CarefulWorkEnded> {
        let mut covered = std::mem::take(&mut self.base);
        // What was withheld behind the barrier is forgotten: if it has to be withheld again it panics again.
        let mut settled = covered.clone();
        add(&mut settled, &attempt.taken());
        if let Some(taken) = attempt.at_barrier(checkpoint) {
            add(&mut covered, taken);
        }
        self.covered.clear();
        self.begun_from = None;
        for ((operator, identity), records) in settled {
            let suspect = self.suspects.get_mut(&operator).and_then(|suspects| suspects.get_mut(&identity));
            if let Some(suspect) = suspect {
                suspect.withheld.drain(..suspect.withheld.len().min(records as usize));
            }
        }
        let ended = std::mem::take(&mut self.careful).into_iter().map(|(operator, careful)| {
            if careful.has_met {
                self.unmet.remove(&operator);
            } else {
                self.unmet.insert(operator.clone(), careful.lasts);
            }
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

/// How long careful work is to last that begins again, after such that lasted and met nothing. If it would be too long, it ends
/// as if it was the first.
fn lasts_now(lasted: Duration, uptime: Duration) -> Duration {
    let lasts = lasted.max(uptime).saturating_mul(2);
    if lasts > CAREFUL_MAX { Duration::ZERO } else { lasts }
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
