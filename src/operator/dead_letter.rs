//! What becomes of records at which a function panics.

use std::fmt;
use std::time::Duration;

use millstream_actors::protocol::OperatorId;
use serde::{Deserialize, Serialize};

use super::OutputTag;
use crate::state::Timer;

/// A record that was withheld from an operator because its function panics at it, and what is known of that.
///
/// In the side output that [`OnPanic::dead_letter`] names it has the record's event time.
///
/// ```
/// use millstream::prelude::*;
///
/// # actix_rt::System::new().block_on(async {
/// let (parsed, refused) = (CollectSink::new(), CollectSink::new());
/// let (numbers, dead) = (parsed.handle(), refused.handle());
///
/// let unparsed = OutputTag::<DeadLetter<String>>::new("unparsed");
/// let env = StreamEnvironment::new("parse").tell_panic_hook(false);
/// let stream = env
///     .source("texts", VecSource::new(["7", "x", "9"].map(str::to_owned).to_vec()))
///     .map(|text: String| text.parse::<u32>().expect("a number"))
///     .on_panic(OnPanic::dead_letter(&unparsed));
/// stream.side_output(&unparsed).sink("refused", refused);
/// stream.sink("parsed", parsed);
/// env.start()?.await?;
///
/// assert_eq!(numbers.snapshot(), [7, 9]);
/// let letters = dead.snapshot();
/// assert_eq!((letters.len(), letters[0].record.as_str(), letters[0].panics), (1, "x", 1));
/// assert!(letters[0].message.starts_with("a number"), "{}", letters[0].message);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DeadLetter<T> {
    /// The record.
    pub record: T,
    /// The message of the last panic at it.
    pub message: String,
    /// Where that was, as `file:line`, if it is known.
    pub location: Option<String>,
    /// The operator that panicked.
    pub operator: OperatorId,
    /// The record's key as JSON, at most some 200 bytes of it, if the operator is keyed and had got as far as the key.
    pub key: Option<String>,
    /// The index of the subtask that panicked last.
    pub subtask: u32,
    /// Panics at the record that count for [`OnPanic::after`].
    pub panics: u32,
    /// When the last one was, Unix milliseconds of the job's clock.
    pub failed_unix_ms: u64,
}

/// A timer of a key that was withheld because a function panics when it fires, or when a window gives its result then, and what is known
/// of that. The timer is gone, and so is the window; other state of the key is kept.
///
/// In the side output that [`OnPanic::firings`] names it has the event time of an event timer, and none for one of processing time.
///
/// ```
/// use std::time::Duration;
///
/// use millstream::prelude::*;
///
/// # actix_rt::System::new().block_on(async {
/// let (sink, broken) = (CollectSink::new(), CollectSink::new());
/// let (means, dead) = (sink.handle(), broken.handle());
/// let tag = OutputTag::<DeadFiring>::new("broken windows");
/// let strategy = WatermarkStrategy::monotonous(|(_, at, _): &(u32, i64, u32)| *at);
/// let readings = VecSource::new(vec![(1, 0, 8), (2, 0, 0), (1, 600, 9), (2, 1_500, 7)]);
///
/// let env = StreamEnvironment::new("shares").parallelism(1).tell_panic_hook(false);
/// let shares = env
///     .source_with_watermarks("readings", readings, strategy)
///     .key_by(|(sensor, ..)| *sensor)
///     .window(TumblingWindows::event_time(Duration::from_secs(1)))
///     .apply("share", |readings: &[(u32, i64, u32)], ctx, out: &mut Emitter<'_, (u32, u32)>| {
///         out.emit((*ctx.key(), 100 / readings[0].2));
///     })
///     .on_panic(OnPanic::<(u32, i64, u32)>::skip().firings(&tag));
/// shares.side_output(&tag).sink("broken", broken);
/// shares.sink("shares", sink);
/// env.start()?.await?;
///
/// assert_eq!(means.snapshot(), [(1, 12), (2, 14)]);
/// let dead = dead.snapshot();
/// assert_eq!((dead.len(), dead[0].key.as_str(), dead[0].timer), (1, "2", Timer::EventTime(999)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DeadFiring {
    /// The key as JSON, at most some 200 bytes of it.
    pub key: String,
    /// The timer. That of a window which gives its result when it is over has the window's last instant.
    pub timer: Timer,
    /// The message of the last panic at it.
    pub message: String,
    /// Where that was, as `file:line`, if it is known.
    pub location: Option<String>,
    /// The operator that panicked.
    pub operator: OperatorId,
    /// The index of the subtask that panicked last.
    pub subtask: u32,
    /// Panics at the timer that count for [`OnPanic::after`].
    pub panics: u32,
    /// When the last one was, Unix milliseconds of the job's clock.
    pub failed_unix_ms: u64,
}

/// What becomes of timers at which a function panics.
#[derive(Clone, Debug)]
pub(crate) enum Firings {
    /// The panics are left to the restart strategy.
    NotWithheld,
    Skipped,
    DivertedTo(OutputTag<DeadFiring>),
}

/// What becomes of a record of type `T` at which the function of an operator panics: a record directive, made for one input of an
/// operator by [`DataStream::on_panic`](crate::stream::DataStream::on_panic). `docs/dead-letters.md` tells how it works.
///
/// ```
/// use std::time::Duration;
///
/// use millstream::prelude::*;
///
/// # let env = StreamEnvironment::new("halves");
/// env.source("numbers", SequenceSource::new(0..10))
///     .map(|n| 100 / n)
///     .on_panic(OnPanic::<u64>::skip().after(3).at_most(10, Duration::from_secs(3600)))
///     .sink("halves", CollectSink::new());
/// # env.explain().unwrap();
/// ```
pub struct OnPanic<T> {
    pub(crate) tag: Option<OutputTag<DeadLetter<T>>>,
    pub(crate) after: u32,
    pub(crate) at_most: u32,
    pub(crate) within: Duration,
    pub(crate) firings: Firings,
    pub(crate) encode: fn(&T, &mut Vec<u8>) -> bool,
}

impl<T: Serialize + Send + 'static> OnPanic<T> {
    /// The record goes to the side output `tag` of the operator, which something has to read.
    pub fn dead_letter(tag: &OutputTag<DeadLetter<T>>) -> Self {
        Self { tag: Some(tag.clone()), ..Self::skip() }
    }

    /// The record is skipped: it is in the log and in `withheld_records` of [`Figures`](crate::Figures), and nowhere else.
    pub fn skip() -> Self {
        let encode = |record: &T, bytes: &mut Vec<u8>| rmp_serde::encode::write_named(bytes, record).is_ok();
        Self {
            tag: None,
            after: 1,
            at_most: 64,
            within: Duration::from_secs(600),
            firings: Firings::NotWithheld,
            encode,
        }
    }
}

impl<T> OnPanic<T> {
    /// After so many panics at the record, at least 1, and 1 by default. The first panic of all does not count: nothing is known
    /// of the record then, and the operator begins to work carefully for it.
    pub fn after(mut self, panics: u32) -> Self {
        self.after = panics;
        self
    }

    /// At most so many records within this time, by default 64 within 10 minutes. One more ends the job with
    /// [`JobError::TooManyWithheld`](crate::JobError::TooManyWithheld): a function that panics at so many is broken, and each record
    /// costs a restart.
    pub fn at_most(mut self, records: u32, within: Duration) -> Self {
        (self.at_most, self.within) = (records, within);
        self
    }

    /// Timers of the operator's keys at which its function panics go to the side output `tag`, and so do windows that panic when they are
    /// to give their results: after as many panics, and at most so many, as records. Without this such panics are left to the
    /// restart strategy.
    ///
    /// For keyed functions and windows. A window is purged; a function of your own may clear away what a timer was for in
    /// [`timer_withheld`](crate::keyed::KeyedProcessFunction::timer_withheld).
    pub fn firings(mut self, tag: &OutputTag<DeadFiring>) -> Self {
        self.firings = Firings::DivertedTo(tag.clone());
        self
    }

    /// As [`firings`](Self::firings), but they are skipped.
    pub fn skip_firings(mut self) -> Self {
        self.firings = Firings::Skipped;
        self
    }
}

impl<T> Clone for OnPanic<T> {
    fn clone(&self) -> Self {
        let (tag, firings) = (self.tag.clone(), self.firings.clone());
        Self { tag, firings, ..*self }
    }
}

impl<T> fmt::Debug for OnPanic<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("OnPanic");
        shown.field("tag", &self.tag).field("after", &self.after).field("at_most", &self.at_most);
        shown.field("within", &self.within).field("firings", &self.firings).finish()
    }
}
