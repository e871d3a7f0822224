//! A trigger that begins anew with each result of another one.

use millstream_actors::protocol::Timestamp;

use super::{Trigger, TriggerContext, TriggerResult, Window, WindowTime};
use crate::state::Timer;

/// Drops what is in a window whenever the trigger within gives a result. Follows Flink's `PurgingTrigger`.
///
/// ```
/// use millstream::prelude::*;
/// use millstream::window::{CountTrigger, GlobalWindows, PurgingTrigger};
///
/// # let env = StreamEnvironment::new("sales");
/// # let sales = env.source("sales", VecSource::new(vec![(1u32, 2.5f64), (2, 1.0)]));
/// // Hundreds that do not overlap: each begins with nothing.
/// sales
///     .key_by(|(shop, _)| *shop)
///     .window(GlobalWindows::new())
///     .trigger(PurgingTrigger::of(CountTrigger::of(100)))
///     .apply("sizes", |sales, _, out| out.emit(sales.len()))
///     .sink("out", CollectSink::new());
/// # env.explain().unwrap();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PurgingTrigger<Tr>(Tr);

impl<Tr> PurgingTrigger<Tr> {
    /// When `trigger` gives results.
    pub fn of(trigger: Tr) -> Self {
        Self(trigger)
    }
}

fn purging(result: TriggerResult) -> TriggerResult {
    if result == TriggerResult::Fire { TriggerResult::FireAndPurge } else { result }
}

impl<T, Tr: Trigger<T>> Trigger<T> for PurgingTrigger<Tr> {
    type State = Tr::State;

    fn on_element(&self, record: &T, ctx: TriggerContext<'_>, state: &mut Self::State) -> TriggerResult {
        purging(self.0.on_element(record, ctx, state))
    }

    fn event_time(&self, window: Window, state: &Self::State, after: Timestamp) -> Option<Timestamp> {
        self.0.event_time(window, state, after)
    }

    fn processing_time(&self, window: Window, state: &Self::State) -> Option<Timestamp> {
        self.0.processing_time(window, state)
    }

    fn on_time(&self, timer: Timer, ctx: TriggerContext<'_>, state: &mut Self::State) -> TriggerResult {
        purging(self.0.on_time(timer, ctx, state))
    }

    fn merge(&self, state: &mut Self::State, later: Self::State) {
        self.0.merge(state, later);
    }

    fn check(&self, windows: WindowTime) -> Result<(), String> {
        self.0.check(windows)
    }

    fn is_clear(&self, state: &Self::State) -> bool {
        self.0.is_clear(state)
    }
}
