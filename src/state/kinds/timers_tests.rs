use super::*;

const EVENT: TimeDomain = TimeDomain::Event;

fn at(stamp: Stamp) -> Access {
    Access { stamp, processing_time: 0, watermark: 0 }
}

#[test]
fn timers_of_a_key_are_kept_once_each_by_time_and_domain() {
    let (state, mut slot) = (Timers::new("t"), TimersSlot::default());
    let mut timers = state.handle(&mut slot, at(1));
    let all = [Timer::EventTime(-5), Timer::EventTime(3), Timer::EventTime(9), Timer::ProcessingTime(3)];
    for timer in all.into_iter().rev().chain(all) {
        timers.register(timer);
    }
    assert_eq!(timers.iter().collect::<Vec<_>>(), all);
    assert!(timers.contains(all[1]) && !timers.contains(Timer::ProcessingTime(9)));
    let mut timers = state.handle(&mut slot, at(2));
    timers.register(all[0]);
    timers.delete(Timer::ProcessingTime(9));
    assert_eq!(slot.stamp(), 1, "nothing has changed");
    let mut timers = state.handle(&mut slot, at(2));
    all.into_iter().skip(1).for_each(|timer| timers.delete(timer));
    assert_eq!(timers.iter().collect::<Vec<_>>(), all[..1]);
    assert_eq!((slot.stamp(), slot.is_clear()), (2, false));
    state.handle(&mut slot, at(3)).clear();
    assert_eq!((slot.stamp(), slot.is_clear()), (3, true));
    state.handle(&mut slot, at(4)).clear();
    assert_eq!(slot.stamp(), 3);
}

#[test]
fn queue_is_told_of_earlier_times_only_and_what_was_moved_on_is_told_when_its_entry_is_taken() {
    let (state, mut slot) = (Timers::new("t"), TimersSlot::default());
    let register = |slot: &mut TimersSlot, time| state.handle(slot, at(1)).register(Timer::EventTime(time));
    let take = |slot: &mut TimersSlot, time, now| state.take_due(slot, (EVENT, time), now);
    register(&mut slot, 10);
    assert_eq!((slot.due.enqueue(EVENT), slot.due.enqueue(EVENT)), (Some(10), None));
    register(&mut slot, 20);
    assert_eq!(slot.due.enqueue(EVENT), None);
    register(&mut slot, 5);
    assert_eq!((slot.due.enqueue(EVENT), slot.due.enqueue(TimeDomain::Processing)), (Some(5), None));
    state.handle(&mut slot, at(1)).delete(Timer::EventTime(5));
    assert_eq!((take(&mut slot, 5, 2), slot.stamp()), (None, 1), "deleted: the next one is later");
    assert_eq!(slot.due.enqueue(EVENT), Some(10));
    assert_eq!((take(&mut slot, 10, 2), slot.stamp()), (Some(10), 2));
    assert_eq!(slot.due.enqueue(EVENT), Some(20));
    assert_eq!(take(&mut slot, 10, 3), None, "an entry that is left over from before");
    assert_eq!(slot.due.enqueue(EVENT), None, "the queue knows it by 20 still");
    register(&mut slot, Timestamp::MAX);
    register(&mut slot, Timestamp::MIN);
    assert_eq!(slot.due.enqueue(EVENT), Some(Timestamp::MIN + 1), "the least of times is none");
    assert_eq!(take(&mut slot, Timestamp::MIN + 1, 3), Some(Timestamp::MIN));
    assert_eq!((slot.due.enqueue(EVENT), take(&mut slot, 20, 3)), (Some(20), Some(20)));
    assert_eq!(
        (slot.due.enqueue(EVENT), take(&mut slot, Timestamp::MAX, 3)),
        (Some(Timestamp::MAX), Some(Timestamp::MAX))
    );
    assert!(slot.is_clear());
}

#[test]
fn what_is_written_comes_back() {
    let (state, whole) = (Timers::new("t"), Span { after: 0, up_to: 9 });
    let sets: [&[Timer]; 4] = [
        &[],
        &[Timer::EventTime(Timestamp::MIN)],
        &[Timer::ProcessingTime(7)],
        &[Timer::EventTime(1), Timer::EventTime(Timestamp::MAX), Timer::ProcessingTime(-1), Timer::ProcessingTime(0)],
    ];
    for timers in sets {
        let mut slot = TimersSlot::default();
        let mut handle = state.handle(&mut slot, at(1));
        timers.iter().for_each(|timer| handle.register(*timer));
        let mut bytes = Vec::new();
        if state.write(&mut slot, whole, &mut bytes).unwrap() != Written::Live {
            assert!(timers.is_empty() && bytes.is_empty());
            continue;
        }
        let (mut loaded, mut rest) = (TimersSlot::default(), &*bytes);
        state.load(&mut loaded, 4, state.format(), false, &mut rest).unwrap();
        assert!(rest.is_empty());
        assert_eq!(state.handle(&mut loaded, at(5)).iter().collect::<Vec<_>>(), timers);
        assert_eq!(loaded.stamp(), 4);
    }
}
