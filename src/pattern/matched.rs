//! What users see of a match.

use std::fmt;
use std::sync::Arc;

use millstream_actors::protocol::Timestamp;

/// The records of a match, or of what there is of one so far: by stage, and in the order in which they were taken.
///
/// ```
/// use millstream::prelude::*;
///
/// # actix_rt::System::new().block_on(async {
/// # let (sink, env) = (CollectSink::new(), StreamEnvironment::new("logins"));
/// # let alarms = sink.handle();
/// let failures = Pattern::begin("failed", |(_, is_right): &(i64, bool)| !is_right)
///     .times_between(3..)
///     .consecutive()
///     .next("logged in", |(_, is_right)| *is_right)
///     .skip_after_match(AfterMatchSkip::PastLastEvent);
/// let logins = [(1, true), (2, false), (3, false), (4, false), (5, false), (9, true)];
/// env.source_with_watermarks("logins", VecSource::new(logins.to_vec()), WatermarkStrategy::monotonous(|(at, _)| *at))
///     .key_by(|_| ())
///     .pattern(failures)
///     .select("alarms", |found| (found.count("failed"), found.start_time(), found.last("logged in").copied()))
///     .sink("out", sink);
/// env.start()?.await?;
/// assert_eq!(alarms.snapshot(), [(4, 2, Some((9, true)))]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
///
/// # Panics
/// The methods that take the name of a stage panic if the pattern has no stage of that name that takes records.
pub struct Matched<'a, T> {
    /// Of the stages that take records.
    names: &'a [Arc<str>],
    /// By which stage, when, what.
    taken: Vec<(u32, Timestamp, &'a T)>,
}

impl<'a, T> Matched<'a, T> {
    pub(super) fn new(names: &'a [Arc<str>], taken: Vec<(u32, Timestamp, &'a T)>) -> Self {
        Self { names, taken }
    }

    /// The records that a stage has taken, by time.
    pub fn all(&self, stage: &str) -> impl DoubleEndedIterator<Item = &'a T> {
        let stage = self.stage(stage);
        self.taken.iter().filter(move |(of, ..)| *of == stage).map(|(.., record)| *record)
    }

    /// The first record that a stage has taken; `None` if it has taken none, as one that is optional may.
    pub fn first(&self, stage: &str) -> Option<&'a T> {
        self.all(stage).next()
    }

    /// The last record that a stage has taken, or `None`.
    pub fn last(&self, stage: &str) -> Option<&'a T> {
        self.all(stage).next_back()
    }

    /// How many records a stage has taken.
    pub fn count(&self, stage: &str) -> usize {
        self.all(stage).count()
    }

    /// All records, each with the name of the stage that has taken it.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&'a str, &'a T)> {
        let names = self.names;
        self.taken.iter().map(|(stage, _, record)| (&*names[*stage as usize], *record))
    }

    /// How many records it has.
    pub fn len(&self) -> usize {
        self.taken.len()
    }

    /// Whether it has none: only before the first record is taken, in a condition.
    pub fn is_empty(&self) -> bool {
        self.taken.is_empty()
    }

    /// The time of the first record, in milliseconds: its event time, or by processing time when it came. `Timestamp::MIN` if there
    /// is none.
    pub fn start_time(&self) -> Timestamp {
        self.taken.first().map_or(Timestamp::MIN, |(_, time, _)| *time)
    }

    /// The time of the last record, as [`start_time`](Self::start_time).
    pub fn end_time(&self) -> Timestamp {
        self.taken.last().map_or(Timestamp::MIN, |(_, time, _)| *time)
    }

    fn stage(&self, name: &str) -> u32 {
        let place = self.names.iter().position(|known| **known == *name);
        match place {
            Some(place) => place as u32,
            None => panic!("the pattern has no stage '{name}' that takes records; it has {:?}", self.names),
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Matched<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
