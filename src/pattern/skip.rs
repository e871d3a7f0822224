//! What a match does to the others.

use std::sync::Arc;

/// Which partial matches a match ends, so that a record is not in matches without number. Follows Flink's `AfterMatchSkipStrategy`.
///
/// With each of them but [`NoSkip`](Self::NoSkip), matches are given by where they begin: one that is found waits while there are
/// partial matches that began earlier, which may still come to a match and end it.
///
/// ```
/// use std::time::Duration;
///
/// use millstream::prelude::*;
///
/// # actix_rt::System::new().block_on(async {
/// # let (sink, env) = (CollectSink::new(), StreamEnvironment::new("climbs"));
/// # let climbs = sink.handle();
/// // From a low reading as far up as it goes: not once more from each reading in between.
/// let climb = Pattern::begin("from", |(_, height): &(i64, u32)| *height < 10)
///     .next("up", |(_, height)| *height >= 10)
///     .one_or_more()
///     .consecutive()
///     .next("down", |(_, height)| *height < 10)
///     .skip_after_match(AfterMatchSkip::to_last("down"))
///     .within(Duration::from_secs(60));
/// let readings = VecSource::new(vec![(0, 4), (1_000, 5), (2_000, 12), (3_000, 19), (4_000, 3), (5_000, 11), (6_000, 1)]);
/// env.source_with_watermarks("readings", readings, WatermarkStrategy::monotonous(|(at, _): &(i64, u32)| *at))
///     .key_by(|_| ())
///     .pattern(climb)
///     .select("climbs", |climb| climb.all("up").map(|(_, height)| *height).max())
///     .sink("out", sink);
/// # env.start()?.await?;
/// # assert_eq!(climbs.snapshot(), [Some(19), Some(11)]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum AfterMatchSkip {
    /// None: every match is given.
    #[default]
    NoSkip,
    /// Those that began with the record with which the match began, or before.
    ToNext,
    /// Those that began with the match's last record, or before.
    PastLastEvent,
    /// Those that began before the first record that the stage of this name took. None if it took none.
    ToFirst(Arc<str>),
    /// Those that began before the last record that the stage of this name took. None if it took none.
    ToLast(Arc<str>),
}

impl AfterMatchSkip {
    /// [`ToFirst`](Self::ToFirst) of a stage.
    pub fn to_first(stage: impl Into<Arc<str>>) -> Self {
        Self::ToFirst(stage.into())
    }

    /// [`ToLast`](Self::ToLast) of a stage.
    pub fn to_last(stage: impl Into<Arc<str>>) -> Self {
        Self::ToLast(stage.into())
    }

    /// The stage that it names.
    pub(super) fn stage(&self) -> Option<&Arc<str>> {
        match self {
            Self::ToFirst(stage) | Self::ToLast(stage) => Some(stage),
            Self::NoSkip | Self::ToNext | Self::PastLastEvent => None,
        }
    }
}
