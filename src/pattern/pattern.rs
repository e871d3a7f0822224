//! What a match is to be.

use std::fmt;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;
use std::time::Duration;

use super::condition::Condition;
use super::stage::{Contiguity, Link, Stage};
use super::{AfterMatchSkip, Matched};

/// Describes the records of a match, one stage after the other. Follows Flink's `Pattern`.
///
/// A stage has a name and a condition, and takes one record unless something else is said of it:
///
/// | a stage | its record comes |
/// |---|---|
/// | [`begin`](Self::begin) | anywhere: each record may begin a match |
/// | [`next`](Self::next) | right behind the one before |
/// | [`followed_by`](Self::followed_by) | behind it, and what the stage does not take is passed over |
/// | [`followed_by_any`](Self::followed_by_any) | behind it, and what the stage takes is passed over too, in a further match |
/// | [`not_next`](Self::not_next) | never right behind the one before |
/// | [`not_followed_by`](Self::not_followed_by) | never, before the next stage takes one |
///
/// What follows the call of a stage says more of that stage:
///
/// | | it takes | |
/// |---|---|---|
/// | [`times`](Self::times), [`times_between`](Self::times_between), [`one_or_more`](Self::one_or_more) | several | others may be between them; [`consecutive`](Self::consecutive), [`allow_combinations`](Self::allow_combinations) change that |
/// | [`greedy`](Self::greedy) | as many as it can | |
/// | [`until`](Self::until) | none any more, once such a record has come | |
/// | [`optional`](Self::optional) | or none | |
/// | [`where_so_far`](Self::where_so_far) | only if this holds, too, of the record and what the match has so far | |
///
/// Of the whole pattern are [`within`](Self::within) and [`skip_after_match`](Self::skip_after_match). A pattern that cannot be is a
/// mistake of the graph of which it becomes part: `start` and `explain` refuse it. How matches come about is said in
/// `docs/patterns.md`.
///
/// ```
/// use std::time::Duration;
///
/// use millstream::prelude::*;
///
/// # actix_rt::System::new().block_on(async {
/// # let (sink, env) = (CollectSink::new(), StreamEnvironment::new("cards"));
/// # let alarms = sink.handle();
/// // A payment that is ten times the one before it, within a minute, and no call of the customer between them.
/// let jump = Pattern::begin("small", |(_, amount): &(i64, i64)| *amount > 0)
///     .not_followed_by("call", |(_, amount)| *amount == 0)
///     .followed_by("large", |(_, amount)| *amount > 0)
///     .where_so_far(|(_, amount), so_far| so_far.first("small").is_some_and(|(_, small)| *amount >= 10 * small))
///     .within(Duration::from_secs(60));
///
/// let payments = VecSource::new(vec![(0, 5), (10_000, 60), (20_000, 0), (30_000, 700), (100_000, 9_000)]);
/// env.source_with_watermarks("payments", payments, WatermarkStrategy::monotonous(|(at, _): &(i64, i64)| *at))
///     .key_by(|_| ())
///     .pattern(jump)
///     .select("jumps", |jump| (jump.first("small").copied(), jump.first("large").copied()))
///     .sink("alarms", sink);
/// env.start()?.await?;
/// assert_eq!(alarms.snapshot(), [(Some((0, 5)), Some((10_000, 60)))]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[must_use = "a pattern does nothing until `KeyedStream::pattern` looks for it"]
pub struct Pattern<T> {
    /// One at least.
    pub(super) stages: Vec<Stage<T>>,
    pub(super) within: Option<Duration>,
    pub(super) skip: AfterMatchSkip,
}

impl<T> Pattern<T> {
    /// A pattern whose matches begin with a record of which `condition` holds. Each such record begins one.
    pub fn begin(name: impl Into<Arc<str>>, condition: impl Fn(&T) -> bool + Send + Sync + 'static) -> Self {
        let pattern = Self { stages: Vec::new(), within: None, skip: AfterMatchSkip::NoSkip };
        pattern.stage(name, Link::Takes(Contiguity::Relaxed), condition)
    }

    /// Adds a stage whose record comes right behind the one before: any other ends the match. Strict contiguity.
    pub fn next(self, name: impl Into<Arc<str>>, condition: impl Fn(&T) -> bool + Send + Sync + 'static) -> Self {
        self.stage(name, Link::Takes(Contiguity::Strict), condition)
    }

    /// Adds a stage that takes the next record of which `condition` holds. Relaxed contiguity.
    pub fn followed_by(
        self,
        name: impl Into<Arc<str>>,
        condition: impl Fn(&T) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.stage(name, Link::Takes(Contiguity::Relaxed), condition)
    }

    /// Adds a stage that takes each record of which `condition` holds, every one in a match of its own. Non-deterministic relaxed
    /// contiguity.
    pub fn followed_by_any(
        self,
        name: impl Into<Arc<str>>,
        condition: impl Fn(&T) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.stage(name, Link::Takes(Contiguity::Any), condition)
    }

    /// Adds that `condition` does not hold of the record right behind the one before. At the end of a pattern the match is there with
    /// that next record, which is not part of it.
    pub fn not_next(self, name: impl Into<Arc<str>>, condition: impl Fn(&T) -> bool + Send + Sync + 'static) -> Self {
        self.stage(name, Link::NotNext, condition)
    }

    /// Adds that `condition` holds of no record between the one before and the next one that is taken. At the end of a pattern, which
    /// must have a [`within`](Self::within), the match is there when that time is over.
    pub fn not_followed_by(
        self,
        name: impl Into<Arc<str>>,
        condition: impl Fn(&T) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.stage(name, Link::NotFollowedBy, condition)
    }

    /// Has the newest stage take only records of which `condition` holds, too: it is given the record, and what the match has so far,
    /// without the record.
    pub fn where_so_far(mut self, condition: impl Fn(&T, &Matched<'_, T>) -> bool + Send + Sync + 'static) -> Self {
        self.newest().condition.add(Condition::so_far(condition));
        self
    }

    /// Has the newest stage take so many records, one at least. Between them may be what it does not take.
    pub fn times(self, records: u32) -> Self {
        self.times_between(records..=records)
    }

    /// Has the newest stage take as many records as are in this range, each number of them in a match of its own: `2..=4`, or `2..` for
    /// two or more.
    pub fn times_between(mut self, records: impl RangeBounds<u32>) -> Self {
        let least = match records.start_bound() {
            Bound::Included(least) => *least,
            Bound::Excluded(below) => below.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let most = match records.end_bound() {
            Bound::Included(most) => Some(*most),
            Bound::Excluded(above) => Some(above.saturating_sub(1)),
            Bound::Unbounded => None,
        };
        let stage = self.newest();
        if least == 0 {
            stage.mistake("takes no record; `optional()` says that it may be left out");
        } else if most.is_some_and(|most| most < least) {
            stage.mistake("takes a number of records from an empty range");
        } else {
            stage.times = (least, most);
        }
        self
    }

    /// Has the newest stage take any number of records, one at least: each number of them in a match of its own. Without
    /// [`within`](Self::within), [`until`](Self::until) or a [skip](Self::skip_after_match) such a match never comes to an end.
    pub fn one_or_more(self) -> Self {
        self.times_between(1..)
    }

    /// Has the newest stage take records, or none: both, each in a match of its own, where both are possible.
    pub fn optional(mut self) -> Self {
        self.newest().is_optional = true;
        self
    }

    /// Has nothing come between the records of the newest stage, which takes several.
    pub fn consecutive(self) -> Self {
        self.inner(Contiguity::Strict)
    }

    /// Has anything come between the records of the newest stage, which takes several: those that it takes, too, in a further match.
    pub fn allow_combinations(self) -> Self {
        self.inner(Contiguity::Any)
    }

    /// Has the newest stage, which takes several records, take as many as it can: a match does not go on with a later stage past a
    /// record of which its condition holds, also once it has as many as it may. At the end of a pattern it makes no difference.
    pub fn greedy(mut self) -> Self {
        self.newest().is_greedy = true;
        self
    }

    /// Has the newest stage, which takes any number of records, take none any more when `condition` holds of one, nor that one.
    pub fn until(self, condition: impl Fn(&T) -> bool + Send + Sync + 'static) -> Self {
        self.until_also(Condition::plain(condition))
    }

    /// As [`until`](Self::until), given the record and what the match has so far.
    pub fn until_so_far(self, condition: impl Fn(&T, &Matched<'_, T>) -> bool + Send + Sync + 'static) -> Self {
        self.until_also(Condition::so_far(condition))
    }

    /// Has a match take less than so much time, from its first record to its last. Whole milliseconds, one at least. What is no match
    /// by then is dropped, or goes to the [`timed_out`](crate::stream::PatternStream::timed_out) output. The shortest counts if it is
    /// said more than once.
    pub fn within(mut self, time: Duration) -> Self {
        self.within = Some(self.within.map_or(time, |within| within.min(time)));
        self
    }

    /// Has a match end other ones. The last one counts if it is said more than once.
    pub fn skip_after_match(mut self, skip: AfterMatchSkip) -> Self {
        self.skip = skip;
        self
    }

    fn stage(
        mut self,
        name: impl Into<Arc<str>>,
        link: Link,
        condition: impl Fn(&T) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.stages.push(Stage::new(name.into(), link, Condition::plain(condition)));
        self
    }

    fn inner(mut self, inner: Contiguity) -> Self {
        let stage = self.newest();
        if stage.inner.is_some_and(|said| said != inner) {
            stage.mistake("cannot be consecutive and allow combinations");
        }
        stage.inner = Some(inner);
        self
    }

    fn until_also(mut self, condition: Condition<T>) -> Self {
        let stage = self.newest();
        if stage.until.replace(condition).is_some() {
            stage.mistake("has two conditions until which it goes on");
        }
        self
    }

    fn newest(&mut self) -> &mut Stage<T> {
        self.stages.last_mut().expect("a pattern begins with a stage")
    }
}

impl<T> Clone for Pattern<T> {
    fn clone(&self) -> Self {
        Self { stages: self.stages.clone(), within: self.within, skip: self.skip.clone() }
    }
}

impl<T> fmt::Debug for Pattern<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.stages.iter().map(|stage| &stage.name).collect();
        f.debug_struct("Pattern")
            .field("stages", &names)
            .field("within", &self.within)
            .field("skip", &self.skip)
            .finish()
    }
}
