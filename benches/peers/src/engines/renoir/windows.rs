//! Windows for Renoir. Its own ones of event time begin with the first record of a key, and lose records that come later with an
//! earlier time.

use std::collections::VecDeque;

use renoir::Stream;
use renoir::operator::window::{WindowAccumulator, WindowDescription, WindowManager, WindowResult};
use renoir::operator::{Data, Operator, StreamElement, Timestamp};

use crate::events::{BOUND_MS, Event, SLIDE_MS, WindowCount, size_ms};
use crate::plan::Plan;
use crate::total::Part;

/// Counts the records of each key and slide, and adds up those of each window.
pub(super) fn count(events: Stream<impl Operator<Out = Event> + 'static>, plan: Plan, mut part: Part) {
    let size = size_ms(plan.workload);
    let slices = events
        .add_timestamps(|event| event.time, watermarks(SLIDE_MS, BOUND_MS))
        .group_by(|event| event.key)
        .window(Aligned::tumbling(SLIDE_MS))
        .fold(0, |count: &mut u64, _| *count += 1);
    if size == SLIDE_MS {
        return slices
            .rich_map_custom(|mut counts| in_window(counts.next(), SLIDE_MS))
            .for_each(move |count| part.add(count.weigh()));
    }
    slices
        .window(Aligned { size, slide: SLIDE_MS })
        .fold(0, |count: &mut u64, slice| *count += slice)
        .rich_map_custom(move |mut counts| in_window(counts.next(), size))
        .for_each(move |count| part.add(count.weigh()));
}

/// A watermark whenever a window is complete, `behind` the latest time. Each one goes to the windows of all keys.
pub(super) fn watermarks<T>(
    slide: Timestamp,
    behind: Timestamp,
) -> impl FnMut(&T, &Timestamp) -> Option<Timestamp> + Clone + Send + 'static {
    let (mut newest, mut complete) = (0, 0);
    move |_, time| {
        newest = newest.max(*time);
        let watermark = newest - behind - 1;
        let slides = (watermark + 1) / slide;
        (slides > complete).then(|| {
            complete = slides;
            watermark
        })
    }
}

/// The count of a key in the window that it came from.
pub(super) fn in_window(element: StreamElement<(u64, u64)>, size: i64) -> StreamElement<WindowCount> {
    let end = element.timestamp().map_or(0, |last| last + 1);
    element.map(|(key, count)| WindowCount { start: end - size, key, count })
}

/// Windows that begin at multiples of the slide. What they give has their last millisecond as its time.
#[derive(Clone, Copy)]
pub(super) struct Aligned {
    pub(super) size: Timestamp,
    pub(super) slide: Timestamp,
}

impl Aligned {
    /// Windows that follow each other.
    pub(super) fn tumbling(size: Timestamp) -> Self {
        Self { size, slide: size }
    }
}

impl<T: Data> WindowDescription<T> for Aligned {
    type Manager<A: WindowAccumulator<In = T>> = KeyWindows<A>;

    fn build<A: WindowAccumulator<In = T>>(&self, accumulator: A) -> KeyWindows<A> {
        KeyWindows { windows: *self, empty: accumulator, open: VecDeque::new() }
    }
}

/// The windows of a key.
#[derive(Clone)]
pub(super) struct KeyWindows<A> {
    windows: Aligned,
    empty: A,
    /// Those with records, by their starts.
    open: VecDeque<(Timestamp, A)>,
}

impl<A: WindowAccumulator> KeyWindows<A> {
    fn add(&mut self, record: &A::In, time: Timestamp) {
        let Aligned { size, slide } = self.windows;
        let last = time.div_euclid(slide) * slide;
        let mut start = last - size + slide;
        let mut place = self.open.partition_point(|(other, _)| *other < start);
        while start <= last {
            if self.open.get(place).is_none_or(|(other, _)| *other != start) {
                self.open.insert(place, (start, self.empty.clone()));
            }
            self.open[place].1.process(record);
            start += slide;
            place += 1;
        }
    }

    fn fire(&mut self, watermark: Timestamp) -> Vec<WindowResult<A::Out>> {
        let size = self.windows.size;
        let complete = self.open.partition_point(|(start, _)| start.saturating_add(size - 1) <= watermark);
        let result = |(start, window): (Timestamp, A)| WindowResult::Timestamped(window.output(), start + size - 1);
        self.open.drain(..complete).map(result).collect()
    }
}

impl<A: WindowAccumulator> WindowManager for KeyWindows<A> {
    type In = A::In;
    type Out = A::Out;
    type Output = Vec<WindowResult<A::Out>>;

    fn process(&mut self, element: StreamElement<A::In>) -> Self::Output {
        match element {
            StreamElement::Timestamped(record, time) => {
                self.add(&record, time);
                Vec::new()
            }
            StreamElement::Watermark(time) => self.fire(time),
            StreamElement::FlushAndRestart | StreamElement::Terminate => self.fire(Timestamp::MAX),
            StreamElement::Item(_) => unreachable!("records have times"),
            StreamElement::FlushBatch => Vec::new(),
        }
    }

    fn recycle(&self) -> bool {
        self.open.is_empty()
    }
}
