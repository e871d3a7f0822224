//! Gives a stream new event times and watermarks.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use millstream_actors::contract::{
    Batch, BatchOperator, Clock, EventTimes, Output, Progress, ReadingTime, RestoredSection, RunBudget, SectionWriter,
    StateError, Stateful,
};
use millstream_actors::protocol::{Mark, OperatorId, TaskError, Timestamp};

use super::TaskView;
use super::slices::Slices;
use crate::state::{Ended, Reached, Said, Share, take_notes, undeclared, write_notes};
use crate::time::{Silence, TimesBatches, WatermarkStrategy};

/// While time stands still it is looked after so long again.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The greatest watermark: at the greatest time nothing but the end is to come.
const WATERMARK_MAX: Timestamp = Timestamp::MAX - 1;

/// Gives records the event times of a [`WatermarkStrategy`], and the stream its watermarks in place of those that it had. Follows
/// Flink's `TimestampsAndWatermarksOperator`.
///
/// It ends what the stream before has said of event time: its watermarks, and that it is idle.
pub struct TimestampsAndWatermarks<T> {
    operator: OperatorId,
    task: TaskView,
    generator: Box<dyn TimesBatches<T>>,
    /// What was said last, or is to be said again: [`Timestamp::MIN`] if nothing.
    watermark: Timestamp,
    /// It is restored, and the watermark is said before anything else.
    is_to_repeat: bool,
    /// What the generator says behind the records of the batch at hand that it has been told.
    ahead: Option<Timestamp>,
    silence: Option<Silence>,
    /// By which the silence counts.
    reading: ReadingTime,
    event_times: EventTimes,
    slices: Slices,
    /// The records that are given their times. Empty between calls.
    slice: Batch<T>,
}

impl<T: 'static> TimestampsAndWatermarks<T> {
    /// An operator that has seen nothing yet, in one subtask, by this clock.
    pub fn new(operator: OperatorId, share: Share, strategy: &WatermarkStrategy<T>, clock: Arc<dyn Clock>) -> Self {
        let now = clock.now();
        Self {
            operator,
            task: TaskView { share, clock, ..TaskView::default() },
            generator: strategy.new_generator(),
            watermark: Timestamp::MIN,
            is_to_repeat: false,
            ahead: None,
            silence: strategy.idle_after().map(|after| Silence::new(after, now)),
            reading: ReadingTime::default(),
            event_times: EventTimes::default(),
            slices: Slices::new(),
            slice: Batch::new(),
        }
    }

    /// Sets where it tells how far event time has come.
    pub fn event_times(mut self, event_times: EventTimes) -> Self {
        self.event_times = event_times;
        self.stands();
        self
    }

    /// Sets the time by which silence counts: by default that of the clock.
    pub fn reading(mut self, reading: ReadingTime) -> Self {
        self.silence = self.silence.take().map(|silence| silence.begun_at(reading.at(self.task.clock.now())));
        self.reading = reading;
        self
    }

    /// By the job's clock, when to look whether the stream is silent. While the time stands still there is nothing to see, and nobody
    /// says when it goes on.
    fn silence_due(&self) -> Option<Duration> {
        let due = self.silence.as_ref()?.due()?;
        let now = self.task.clock.now();
        // The same at each call, as long as the time goes on.
        let due = due.saturating_add(now.saturating_sub(self.reading.at(now)));
        Some(if self.reading.stands_still(now) { due.max(now.saturating_add(LOOK_AGAIN)) } else { due })
    }

    /// Tells where event time stands.
    fn stands(&self) {
        let (subtask, now) = (self.task.share.subtask, self.task.clock.now());
        self.event_times.stands((&self.operator, subtask), None, (self.watermark, self.watermark), now);
    }

    /// Says what a restored stream has to say before anything else.
    fn repeat(&mut self, out: &mut Output<T>) {
        if std::mem::take(&mut self.is_to_repeat) {
            out.mark(Mark::Watermark(self.watermark));
            self.stands();
        }
    }

    /// Says what the generator has said behind a batch, if that is news.
    fn advance(&mut self, out: &mut Output<T>) {
        let ahead = self.ahead.take().map(|watermark| watermark.min(WATERMARK_MAX));
        if let Some(watermark) = ahead.filter(|watermark| *watermark > self.watermark) {
            self.watermark = watermark;
            out.mark(Mark::Watermark(watermark));
        }
    }

    /// Something other than records has come.
    fn other_input(&mut self) {
        if let Some(silence) = &mut self.silence {
            silence.other_input();
        }
    }
}

impl<T: Send + 'static> BatchOperator for TimestampsAndWatermarks<T> {
    type In = T;
    type Out = T;

    fn process(
        &mut self,
        input: &mut Batch<T>,
        out: &mut Output<T>,
        budget: &mut RunBudget,
    ) -> Result<Progress, TaskError> {
        self.slices.start(budget);
        while !input.is_empty() {
            if out.is_full() {
                return Ok(Progress::Suspended);
            }
            self.repeat(out);
            if let Some(silence) = &mut self.silence {
                silence.records();
            }
            let records = self.slices.next(input.len().min(out.room()));
            if records == input.len() {
                std::mem::swap(input, &mut self.slice);
            } else {
                input.move_front(records, &mut self.slice);
            }
            self.ahead = self.generator.assign(&mut self.slice);
            out.pass_on(&mut self.slice);
            if !self.slices.has_time_after(records, budget) && !input.is_empty() {
                return Ok(Progress::Suspended);
            }
        }
        self.advance(out);
        self.stands();
        Ok(Progress::Done)
    }

    fn mark(&mut self, mark: Mark, out: &mut Output<T>, _: &mut RunBudget) -> Result<Progress, TaskError> {
        self.repeat(out);
        self.other_input();
        if mark == Mark::End {
            self.event_times.clear(&self.operator);
        }
        if !matches!(mark, Mark::Watermark(_) | Mark::Idle) {
            out.mark(mark);
        }
        Ok(Progress::Done)
    }

    fn input_waits(&mut self) {
        if let Some(silence) = &mut self.silence {
            silence.records();
        }
    }

    fn due(&self) -> Option<Duration> {
        if self.is_to_repeat { Some(Duration::ZERO) } else { self.silence_due() }
    }

    fn wake(&mut self, out: &mut Output<T>, _: &mut RunBudget) -> Result<Progress, TaskError> {
        if out.is_full() {
            return Ok(Progress::Suspended);
        }
        self.repeat(out);
        let at = self.task.clock.now();
        let now = self.reading.at(at);
        let is_held = self.reading.stands_still(at);
        if let Some(silence) =
            self.silence.as_mut().filter(|_| !is_held).filter(|silence| silence.due().is_some_and(|due| due <= now))
            && silence.look(now)
        {
            out.mark(Mark::Idle);
            self.event_times.clear(&self.operator);
        }
        Ok(Progress::Done)
    }

    fn stateful(&mut self) -> Option<&mut dyn Stateful> {
        Some(self)
    }
}

impl<T: Send + 'static> Stateful for TimestampsAndWatermarks<T> {
    fn snapshot(&mut self, writer: &mut SectionWriter) -> Result<Progress, StateError> {
        // Records may wait behind the barrier.
        self.other_input();
        let Share { subtask, parallelism } = self.task.share;
        write_notes(&self.operator, &[Said(subtask, parallelism, self.watermark)], writer)?;
        Ok(Progress::Done)
    }

    fn restore(&mut self, mut sections: Vec<RestoredSection>) -> Result<(), StateError> {
        // A function that had its place may have written these.
        take_notes::<Ended>(&self.operator, &mut sections)?;
        take_notes::<Reached>(&self.operator, &mut sections)?;
        let said: Vec<Said> = take_notes(&self.operator, &mut sections)?.into_iter().flatten().collect();
        if let Some(section) = sections.first() {
            return Err(StateError::Mismatch { operator: self.operator.clone(), reason: undeclared(&section.state) });
        }
        self.watermark = Said::before(&said, self.task.share);
        if self.watermark > Timestamp::MIN {
            self.generator.restore(self.watermark);
            self.is_to_repeat = true;
        }
        Ok(())
    }
}

impl<T> Drop for TimestampsAndWatermarks<T> {
    fn drop(&mut self) {
        self.event_times.clear(&self.operator);
    }
}

impl<T> fmt::Debug for TimestampsAndWatermarks<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operator, watermark, silence, .. } = self;
        let mut shown = f.debug_struct("TimestampsAndWatermarks");
        shown
            .field("operator", operator)
            .field("watermark", watermark)
            .field("silence", silence)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "timestamps_and_watermarks_tests.rs"]
mod tests;
