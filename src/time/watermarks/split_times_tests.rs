use super::*;

#[test]
fn split_that_has_ended_beside_an_idle_one_is_as_far_after_a_restore() {
    let mut marks = Vec::new();
    let mut times = SplitTimes::new(Some(Duration::from_secs(1)));
    let [a, b] = ["a", "b"].map(|id| times.begun(id, || ()));
    times.read(a, Some(100), &mut marks);
    times.read(b, Some(50), &mut marks);
    times.ended(a, &mut marks);
    assert_eq!(marks, [Mark::Watermark(50)]);
    let stored = ["a", "b"].map(|id| (times.of(id).unwrap(), times.stream_time(id, 1)));
    for is_restored in [false, true] {
        if is_restored {
            times = SplitTimes::new(Some(Duration::from_secs(1)));
            let numbers = ["a", "b"].map(|id| times.begun(id, || ()));
            marks.clear();
            numbers.iter().zip(stored).for_each(|(n, (at, stored))| times.restore(*n, at, stored, &mut marks));
            times.restore_stream(&stored.map(|(_, stored)| stored.unwrap()), 1, &mut marks);
            assert_eq!(marks, [Mark::Watermark(50)]);
        }
        marks.clear();
        times.waited(Duration::from_secs(2), None, &mut marks);
        times.read_is_over(true, &mut marks);
        assert_eq!(marks, [Mark::Watermark(100), Mark::Idle], "restored: {is_restored}");
    }
}

/// Of splits that were stored by subtasks of this parallelism, restored together: what the stream says then, and at its end.
fn restored(stored: &[(&str, Timestamp, Option<StreamTime>)], parallelism: u32) -> [Vec<Mark>; 2] {
    let (mut times, mut marks, mut at_end) = (SplitTimes::new(None), Vec::new(), Vec::new());
    let numbers: Vec<_> = stored.iter().map(|(id, ..)| times.begun(id, || ())).collect();
    numbers.iter().zip(stored).for_each(|(n, (_, at, stored))| times.restore(*n, *at, *stored, &mut marks));
    let said: Vec<_> = stored.iter().filter_map(|(.., stored)| *stored).collect();
    times.restore_stream(&said, parallelism, &mut marks);
    numbers.iter().for_each(|n| times.ended(*n, &mut at_end));
    times.all_ended(&mut at_end);
    [marks, at_end]
}

#[test]
fn what_streams_of_another_parallelism_had_said_is_not_said_by_one_that_is_behind() {
    let of = |parallelism, said, of_split| Some(StreamTime { parallelism, said, of_split });
    // Of two subtasks, of which one was far ahead.
    let stored = [("a", ENDED, of(2, 100, 100)), ("b", 50, of(2, 50, 50)), ("c", 70, of(2, 100, 70))];
    assert_eq!(restored(&stored, 1), [vec![Mark::Watermark(50)], vec![Mark::Watermark(70), Mark::Watermark(100)]]);
    assert_eq!(restored(&stored[..1], 1), [vec![], vec![Mark::Watermark(100)]]);
    assert_eq!(restored(&[stored[0], stored[2]], 2)[0], [Mark::Watermark(70), Mark::Watermark(100)]);
    // Stored at two parallelisms: one split has not moved since.
    assert_eq!(restored(&[("b", 50, of(1, 90, 50)), ("c", 70, of(2, 70, 70))], 2)[0], [Mark::Watermark(50)]);
}

#[test]
fn positions_without_what_their_stream_had_said_are_restored_as_before() {
    let stored = [("a", ENDED, None), ("b", 50, None)];
    assert_eq!(restored(&stored, 1), [vec![Mark::Watermark(50)], vec![]]);
    assert_eq!(restored(&stored[..1], 1), [vec![], vec![]], "how far it had come is not known");
}

const SECOND: Duration = Duration::from_secs(1);

/// Reads of the split say this.
fn read(times: &mut SplitTimes<()>, id: &str, watermark: Timestamp) -> Vec<Mark> {
    let (split, mut marks) = (times.begun(id, || ()), Vec::new());
    times.read(split, Some(watermark), &mut marks);
    marks
}

fn end(times: &mut SplitTimes<()>, id: &str) -> Vec<Mark> {
    let (split, mut marks) = (times.begun(id, || ()), Vec::new());
    times.ended(split, &mut marks);
    marks
}

fn wait(times: &mut SplitTimes<()>, time: Duration) -> Vec<Mark> {
    let mut marks = Vec::new();
    times.waited(time, None, &mut marks);
    times.read_is_over(true, &mut marks);
    marks
}

#[test]
fn splits_one_after_another_count_from_their_first_read_to_their_end() {
    let mut times = SplitTimes::new(None);
    assert_eq!(read(&mut times, "a", 10), [Mark::Watermark(10)]);
    assert_eq!(read(&mut times, "a", 9), [], "not back");
    assert_eq!(end(&mut times, "a"), [], "the end of all is said by the source");
    assert_eq!((read(&mut times, "b", 4), read(&mut times, "b", 12)), (vec![], vec![Mark::Watermark(12)]));
    assert_eq!((times.of("a"), times.of("b"), times.of("c")), (Some(ENDED), Some(12), None));
}

#[test]
fn place_of_a_forgotten_split_is_for_one_that_begins_later() {
    let mut times = SplitTimes::new(None);
    read(&mut times, "a", 10);
    read(&mut times, "b", 12);
    end(&mut times, "a");
    for (number, day) in (20..1000).zip((0..).map(|day| format!("day {day}"))) {
        let mut marks = Vec::new();
        times.forget(if number == 20 { "a" } else { "day" }, &mut marks);
        times.forget(&format!("day {}", number - 21), &mut marks);
        assert_eq!(times.of(&day), None);
        read(&mut times, &day, number);
        end(&mut times, &day);
    }
    assert!(times.splits.len() <= 3, "{}", times.splits.len());
    assert_eq!((times.of("a"), times.of("b"), times.of("day 979")), (None, Some(12), Some(ENDED)));
    assert_eq!(read(&mut times, "b", 2000), [Mark::Watermark(2000)]);
    let mut marks = Vec::new();
    times.forget("b", &mut marks);
    assert_eq!(read(&mut times, "c", 1999), [], "not back");
    assert_eq!(read(&mut times, "c", 2001), [Mark::Watermark(2001)]);
}

#[test]
fn split_that_is_read_after_its_end_counts_again_also_when_it_was_restored_at_its_end() {
    for is_restored in [false, true] {
        let (mut times, mut marks) = (SplitTimes::new(None), Vec::new());
        read(&mut times, "a", 10);
        if is_restored {
            times = SplitTimes::new(None);
            let a = times.begun("a", || ());
            times.restore(a, ENDED, None, &mut marks);
        } else {
            end(&mut times, "a");
        }
        times.awaits_splits(&mut marks);
        times.awaits_splits(&mut marks);
        assert_eq!((marks, times.slowest()), (vec![Mark::Idle], None));
        assert_eq!(read(&mut times, "a", 20), [Mark::Watermark(20)]);
        assert_eq!((times.of("a"), times.slowest()), (Some(20), Some((Some("a"), 20, 20))));
        assert_eq!(read(&mut times, "b", 30), []);
        assert_eq!((end(&mut times, "a"), times.of("a")), (vec![Mark::Watermark(30)], Some(ENDED)));
    }
}

#[test]
fn splits_side_by_side_wait_for_the_slowest_that_is_not_at_its_end() {
    let mut times = SplitTimes::new(None);
    times.begun("a", || ());
    times.begun("b", || ());
    assert_eq!(read(&mut times, "a", 10), [], "the other has said nothing");
    assert_eq!(read(&mut times, "b", 5), [Mark::Watermark(5)]);
    assert_eq!(end(&mut times, "b"), [Mark::Watermark(10)]);
    assert_eq!(end(&mut times, "b"), [], "an end is told once");
    assert_eq!(read(&mut times, "a", i64::MAX), [Mark::Watermark(i64::MAX - 1)]);
}

#[test]
fn split_of_which_the_source_says_something_has_said_it() {
    let mut times = SplitTimes::new(None);
    read(&mut times, "a", 10);
    let (b, mut marks) = (times.begun("b", || ()), Vec::new());
    times.said(b, Mark::Watermark(4), &mut marks);
    assert_eq!(marks, [], "the stream was further before the split began");
    times.said(b, Mark::Watermark(12), &mut marks);
    read(&mut times, "a", 20);
    times.said(b, Mark::Idle, &mut marks);
    times.said(b, Mark::Idle, &mut marks);
    assert_eq!(marks, [Mark::Watermark(20)]);
    assert_eq!(times.of("b"), Some(12));
}

#[test]
fn stream_in_which_no_split_has_begun_or_all_have_ended_is_idle_once() {
    let mut times = SplitTimes::new(Some(3 * SECOND));
    assert_eq!((times.next_idle_in(), wait(&mut times, SECOND)), (Some(3 * SECOND), vec![]));
    assert_eq!((times.next_idle_in(), wait(&mut times, 2 * SECOND)), (Some(2 * SECOND), vec![Mark::Idle]));
    assert_eq!((times.next_idle_in(), wait(&mut times, 9 * SECOND)), (None, vec![]));
    assert_eq!(read(&mut times, "a", 10), [Mark::Watermark(10)]);
    assert_eq!((end(&mut times, "a"), wait(&mut times, 3 * SECOND)), (vec![], vec![Mark::Idle]));
}

#[test]
fn reader_without_splits_goes_on_from_the_least_that_is_known_of_them() {
    let mut times = SplitTimes::new(None);
    let mut marks = Vec::new();
    for (id, at) in [("a", 10), ("b", 7)].map(|(id, at)| (times.begun(id, || ()), at)) {
        times.restore(id, at, None, &mut marks);
    }
    let whole = times.become_whole("", || (), &mut marks);
    assert_eq!(times.become_whole("", || (), &mut marks), whole);
    assert_eq!((marks, times.of("")), (vec![Mark::Watermark(7)], Some(7)));
    assert_eq!(read(&mut times, "", 12), [Mark::Watermark(12)]);
}

#[test]
fn split_that_has_not_had_its_turn_is_not_silent() {
    let mut times = SplitTimes::new(Some(3 * SECOND));
    for id in ["a", "b", "c"] {
        read(&mut times, id, 10);
    }
    let mut marks = Vec::new();
    let turn = |times: &mut SplitTimes<()>, id: &str, marks: &mut Vec<Mark>| {
        let split = times.begun(id, || ());
        times.waited(4 * SECOND, Some(split), marks);
        times.read(split, None, marks);
        times.read_is_over(false, marks);
    };
    // All have records, and each read takes long: of which nobody becomes idle.
    for id in ["a", "b", "c", "a", "b", "c", "a", "b", "c"] {
        turn(&mut times, id, &mut marks);
        assert!(times.splits.iter().all(|split| !split.is_idle), "after {id}");
    }
    // The last has none any more.
    for id in ["a", "b", "a", "b", "a", "b"] {
        turn(&mut times, id, &mut marks);
    }
    assert_eq!(times.splits.iter().map(|split| split.is_idle).collect::<Vec<_>>(), [false, false, true]);
}

#[test]
fn slowest_is_of_those_that_are_neither_idle_nor_at_their_end() {
    let mut times = SplitTimes::new(Some(3 * SECOND));
    let none = Timestamp::MIN;
    assert_eq!(times.slowest(), Some((None, none, none)), "nothing has begun, and that holds back");
    read(&mut times, "a", 10);
    times.begun("b", || ());
    assert_eq!(times.slowest(), Some((Some("b"), none, 10)));
    wait(&mut times, 2 * SECOND);
    read(&mut times, "b", 30);
    assert_eq!(times.slowest(), Some((Some("a"), 10, 30)));
    wait(&mut times, SECOND);
    assert_eq!(times.slowest(), Some((Some("b"), 30, 30)), "the other is idle");
    end(&mut times, "b");
    assert_eq!(times.slowest(), None);
    let mut idle = SplitTimes::<()>::new(Some(SECOND));
    wait(&mut idle, SECOND);
    assert_eq!(idle.slowest(), None);
}

#[test]
fn silent_split_is_idle_until_it_has_caught_up() {
    let mut times = SplitTimes::new(Some(3 * SECOND));
    assert_eq!(read(&mut times, "a", 10), [Mark::Watermark(10)]);
    times.begun("b", || ());
    assert_eq!((read(&mut times, "a", 20), times.next_idle_in()), (vec![], Some(3 * SECOND)));
    assert_eq!((wait(&mut times, SECOND), times.next_idle_in()), (vec![], Some(2 * SECOND)));
    assert_eq!(read(&mut times, "a", 30), []);
    assert_eq!(wait(&mut times, 2 * SECOND), [Mark::Watermark(30)], "the other one does not count any more");
    assert_eq!(times.next_idle_in(), Some(SECOND));
    assert_eq!(read(&mut times, "b", 25), [], "it is behind, and holds nothing back");
    assert_eq!(read(&mut times, "a", 40), [Mark::Watermark(40)]);
    assert_eq!((read(&mut times, "b", 50), read(&mut times, "a", 60)), (vec![], vec![Mark::Watermark(50)]));
    assert_eq!(wait(&mut times, 3 * SECOND), [Mark::Watermark(60), Mark::Idle], "what was held back goes out first");
    assert_eq!((wait(&mut times, 9 * SECOND), times.next_idle_in()), (vec![], None));
    assert_eq!(read(&mut times, "a", 70), [Mark::Watermark(70)]);
}
