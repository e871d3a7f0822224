//! Records of one side that wait for those of the other.

use std::ops::RangeInclusive;

use millstream_actors::protocol::Timestamp;

use crate::keyed::TimersHandle;
use crate::state::{MapHandle, MapState, Timer};

/// Records by a time, and those of one time by their number: found by time, whatever number of them a key has.
pub(super) type Buffer<T> = MapState<(Timestamp, u64), T>;

/// The buffer of a key.
pub(super) type BufferHandle<'a, T> = MapHandle<'a, (Timestamp, u64), T>;

/// All places of these times.
fn places(times: RangeInclusive<Timestamp>) -> RangeInclusive<(Timestamp, u64)> {
    (*times.start(), u64::MIN)..=(*times.end(), u64::MAX)
}

/// Adds a record behind those of its time.
pub(super) fn add<T>(buffer: &mut BufferHandle<'_, T>, time: Timestamp, record: T) {
    let last = buffer.range(places(time..=time)).next_back().map(|((_, number), _)| *number);
    buffer.insert((time, last.map_or(0, |last| last + 1)), record);
}

/// The records of these times, by time. None if they end before they begin.
pub(super) fn of_times<'a, T>(
    buffer: &'a BufferHandle<'_, T>,
    times: RangeInclusive<Timestamp>,
) -> impl Iterator<Item = (Timestamp, &'a T)> {
    let range = (!times.is_empty()).then(|| buffer.range(places(times)));
    range.into_iter().flatten().map(|((time, _), record)| (*time, record))
}

/// The earliest time of a record.
pub(super) fn first_time<T>(buffer: &BufferHandle<'_, T>) -> Option<Timestamp> {
    buffer.first().map(|((time, _), _)| *time)
}

/// Takes the earliest record, if its time is not above `up_to`.
pub(super) fn take_first<T>(buffer: &mut BufferHandle<'_, T>, up_to: Timestamp) -> Option<(Timestamp, T)> {
    first_time(buffer).filter(|first| *first <= up_to)?;
    buffer.pop_first().map(|((time, _), record)| (time, record))
}

/// Has the key looked at when this timer is due, if nothing of it is due earlier. So a key has one timer, whatever it has in its
/// buffers.
pub(super) fn wake_by(timers: &mut TimersHandle<'_>, timer: Timer) {
    let first = timers.iter().next();
    if first.is_none_or(|first| timer < first) {
        first.into_iter().for_each(|first| timers.delete(first));
        timers.register(timer);
    }
}
