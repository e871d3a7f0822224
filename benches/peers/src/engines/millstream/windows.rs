//! Jobs that count in windows of event time.

use std::time::Duration;

use millstream::prelude::*;
use millstream::source::{
    Batch, ReadStatus, Source, SourceContext, SourceError, SourceReader, SplitPosition, decode_position,
    encode_position,
};
use millstream::time::WatermarkAlignment;
use millstream::aggregates::Count;
use millstream::window::{SlidingWindows, TumblingWindows, WindowContext};

use super::sink::add_up;
use crate::events::{BOUND_MS, Event, Events, SLIDE_MS, WindowCount, size_ms};
use crate::plan::Plan;
use crate::total::Total;

pub(super) fn counts(env: &StreamEnvironment, plan: Plan, total: &Total) {
    let [bound, slide, size] =
        [BOUND_MS, SLIDE_MS, size_ms(plan.workload)].map(|length| Duration::from_millis(length.unsigned_abs()));
    // Otherwise one of two sources runs a minute ahead of the other, and sixty windows of each key are open.
    let alignment = WatermarkAlignment::within(slide);
    let strategy =
        WatermarkStrategy::bounded_out_of_orderness(bound, |event: &Event| event.time).with_alignment(&alignment);
    let events = env.source_with_watermarks("events", EventSource { plan }, strategy).key_by(|event| event.key);
    let counts = if size == slide {
        events.window(TumblingWindows::event_time(size)).aggregate_with("count", Count::new(), result)
    } else {
        events.window(SlidingWindows::event_time(size, slide)).aggregate_with("count", Count::new(), result)
    };
    counts.sink("sum", add_up(total, WindowCount::weigh));
}

fn result(ctx: &WindowContext<'_, u64>, count: u64) -> WindowCount {
    WindowCount { start: ctx.window().start(), key: *ctx.key(), count }
}

/// Hands out the records, each subtask those that are its own.
struct EventSource {
    plan: Plan,
}

struct EventReader {
    subtask: u32,
    events: Events,
}

impl Source for EventSource {
    type Item = Event;

    fn open(
        &self,
        cx: &SourceContext,
        restored: Option<Vec<SplitPosition>>,
    ) -> Result<Box<dyn SourceReader<Item = Event>>, SourceError> {
        let mut events = Events::of(cx.subtask_index.into(), cx.parallelism.into(), self.plan);
        let split = cx.subtask_index.to_string();
        if let Some(stored) = restored.into_iter().flatten().find(|stored| stored.split == split) {
            events.resume(decode_position(&stored)?);
        }
        Ok(Box::new(EventReader { subtask: cx.subtask_index, events }))
    }
}

impl SourceReader for EventReader {
    type Item = Event;

    fn read(&mut self, batch: &mut Batch<Event>) -> Result<ReadStatus, SourceError> {
        while !batch.is_full() {
            let Some(event) = self.events.next() else { return Ok(ReadStatus::End) };
            batch.push(event, 0);
        }
        Ok(ReadStatus::More)
    }

    fn report_positions(&mut self, moved: &mut Vec<SplitPosition>) {
        moved.push(encode_position(&self.subtask.to_string(), &self.events.position()));
    }
}
