//! The event time of files.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use millstream::prelude::*;
use millstream::source::{Batch, ReadStatus, Source, SourceContext, SourceReader, SplitPosition, Timed};
use millstream::testing::source_context;
use millstream::time::ManualClock;

use crate::jobs::draw;
use crate::rig::{EVERY, Logs, SETTLED_AFTER};

/// What a reader has said of event time when it has nothing more.
fn watermarks(reader: &mut dyn SourceReader<Item = String>) -> Vec<String> {
    watermarks_and(reader, &mut BTreeMap::new())
}

/// As well, and how far its splits are.
fn watermarks_and(
    reader: &mut dyn SourceReader<Item = String>,
    positions: &mut BTreeMap<String, SplitPosition>,
) -> Vec<String> {
    let mut marks = Vec::new();
    loop {
        let status = reader.read(&mut Batch::new()).unwrap();
        let mut moved = Vec::new();
        reader.report_positions(&mut moved);
        for forgotten in reader.take_forgotten() {
            positions.remove(&forgotten);
        }
        positions.extend(moved.into_iter().map(|position| (position.split.clone(), position)));
        marks.extend(reader.take_marks().into_iter().map(|mark| format!("{mark:?}")));
        if status != ReadStatus::More {
            return marks;
        }
    }
}

fn times() -> WatermarkStrategy<String> {
    WatermarkStrategy::monotonous(|line: &String| line.parse().unwrap())
}

fn open(source: &Timed<FileSource<String>>, clock: &ManualClock) -> Box<dyn SourceReader<Item = String>> {
    let cx = SourceContext { clock: Arc::new(clock.clone()), ..source_context(0, 1) };
    source.open(&cx, None).unwrap()
}

#[test]
fn file_that_was_rotated_and_read_whole_does_not_hold_event_time_back() {
    let logs = Logs::new();
    logs.append("app.log", "1\n10\n");
    let (clock, source) = (ManualClock::new(), Timed::new(logs.lines("app.log"), times()));
    let mut reader = open(&source, &clock);
    assert_eq!(watermarks(&mut *reader).last().unwrap(), "Watermark(9)");
    logs.rename("app.log", "app.log.1");
    logs.append("app.log.1", "20\n");
    logs.append("app.log", "30\n");
    clock.advance(EVERY);
    // It may still be written to.
    assert_eq!(watermarks(&mut *reader).last().unwrap(), "Watermark(19)");
    clock.advance(EVERY);
    assert_eq!(watermarks(&mut *reader), ["Watermark(29)"]);
}

#[test]
fn files_hold_event_time_back_until_they_are_settled_or_idle_by_the_strategy() {
    for idleness in [None, Some(Duration::from_secs(5))] {
        let logs = Logs::new();
        logs.append("a.log", "10\n");
        logs.append("b.log", "5\n");
        let strategy = match idleness {
            Some(after) => times().with_idleness(after),
            None => times(),
        };
        let (clock, source) = (ManualClock::new(), Timed::new(logs.lines("*.log"), strategy));
        let mut reader = open(&source, &clock);
        assert_eq!(watermarks(&mut *reader).last().unwrap(), "Watermark(4)", "both count from the beginning");
        logs.append("a.log", "20\n");
        clock.advance(EVERY);
        assert!(watermarks(&mut *reader).is_empty());
        clock.advance(idleness.unwrap_or(SETTLED_AFTER));
        logs.append("a.log", "21\n");
        let mut marks = watermarks(&mut *reader);
        clock.advance(EVERY);
        marks.extend(watermarks(&mut *reader));
        assert_eq!(marks.last().unwrap(), "Watermark(20)");
    }
}

/// Cause: what had ended could not begin again. Repair: a split that is read after its end counts again.
#[test]
fn file_that_grows_after_it_was_settled_or_left_has_event_time_again() {
    for (is_restored, is_renamed) in [(false, false), (false, true), (true, false), (true, true)] {
        let logs = Logs::new();
        logs.append("app.log", "1\n10\n");
        let (clock, source) = (ManualClock::new(), Timed::new(logs.lines("app.log"), times()));
        let (mut reader, mut positions) = (open(&source, &clock), BTreeMap::new());
        watermarks_and(&mut *reader, &mut positions);
        let mut name = "app.log";
        if is_renamed {
            name = "app.log.1";
            logs.rename("app.log", name);
        }
        clock.advance(if is_renamed { EVERY } else { SETTLED_AFTER });
        assert_eq!(watermarks_and(&mut *reader, &mut positions), ["Idle"], "nothing is waited for");
        if is_restored {
            let cx = SourceContext { clock: Arc::new(clock.clone()), ..source_context(0, 1) };
            reader = source.open(&cx, Some(positions.values().cloned().collect())).unwrap();
            watermarks(&mut *reader);
        }
        for number in 1..5 {
            logs.append(name, &format!("{}\n", 100 * number));
            clock.advance(EVERY);
            let marks = watermarks(&mut *reader);
            assert_eq!(marks.first(), Some(&format!("Watermark({})", 100 * number - 1)), "{marks:?}");
        }
    }
}

/// Cause: what was not found once counted as renamed to a name that does not match.
#[test]
fn file_that_is_missed_once_is_waited_for() {
    let logs = Logs::new();
    std::fs::create_dir(logs.path("away")).unwrap();
    logs.append("a.log", "5\n");
    logs.append("b.log", "10\n");
    let (clock, source) = (ManualClock::new(), Timed::new(logs.lines("*.log"), times()));
    let mut reader = open(&source, &clock);
    assert_eq!(watermarks(&mut *reader).last().unwrap(), "Watermark(4)");
    clock.advance(2 * EVERY);
    logs.rename("a.log", "away/a.log");
    assert!(watermarks(&mut *reader).is_empty());
    logs.rename("away/a.log", "a.log");
    logs.append("a.log", "7\n");
    clock.advance(EVERY);
    assert_eq!(watermarks(&mut *reader), ["Watermark(6)"]);
}

/// Cause: a subtask that no file fell to held the event time of all back.
#[test]
fn subtask_without_a_file_is_idle_until_it_has_one() {
    let logs = Logs::new();
    logs.append("a.log", "10\n");
    let (clock, source) = (ManualClock::new(), Timed::new(logs.lines("*.log"), times()));
    let cx = |subtask| SourceContext { clock: Arc::new(clock.clone()), ..source_context(subtask, 2) };
    let mut readers: Vec<_> = (0..2).map(|subtask| source.open(&cx(subtask), None).unwrap()).collect();
    let marks: Vec<_> = readers.iter_mut().map(|reader| watermarks(&mut **reader)).collect();
    assert!(
        marks.contains(&vec!["Idle".to_owned()]) && marks.concat().contains(&"Watermark(9)".to_owned()),
        "{marks:?}"
    );
    let idle = marks.iter().position(|marks| marks[0] == "Idle").unwrap();
    for number in 0..20 {
        logs.append(&format!("{number}.log"), "20\n");
    }
    clock.advance(EVERY);
    assert_eq!(watermarks(&mut *readers[idle]).first().unwrap(), "Watermark(19)");
    clock.advance(EVERY);
    assert!(watermarks(&mut *readers[idle]).is_empty());
}

/// Files grow, rest, are renamed and settle in random order, over restarts: when all have come to a time, so has the stream, and it is never
/// ahead of what was read.
#[test]
fn event_time_comes_to_where_all_files_are_whatever_they_have_been_through() {
    for seed in 0..40 {
        let (logs, clock) = (Logs::new(), ManualClock::new());
        let source = Timed::new(logs.lines("*.log"), times());
        let (mut reader, mut positions) = (open(&source, &clock), BTreeMap::new());
        let (mut random, mut names, mut last) = (seed, Vec::new(), -1);
        let mut below = |end: u64| {
            random = draw(random);
            random % end
        };
        for time in 1..60 {
            match below(8) {
                0 if names.len() < 5 => names.push(format!("{time}.log")),
                1 => clock.advance(SETTLED_AFTER),
                2 => {
                    let cx = SourceContext { clock: Arc::new(clock.clone()), ..source_context(0, 1) };
                    reader = source.open(&cx, Some(positions.values().cloned().collect())).unwrap();
                    last = -1;
                }
                3 if !names.is_empty() => {
                    let at = time as usize % names.len();
                    let name = &mut names[at];
                    let renamed = format!("{name}.{time}.log");
                    if logs.path(name).exists() {
                        logs.rename(name, &renamed);
                        *name = renamed;
                    }
                }
                _ => {}
            }
            let grow_all = below(3) == 0;
            for name in &names {
                if grow_all || below(2) == 0 {
                    logs.append(name, &format!("{time}\n"));
                }
            }
            clock.advance(EVERY);
            for mark in watermarks_and(&mut *reader, &mut positions) {
                if let Some(at) = mark.strip_prefix("Watermark(").and_then(|at| at.strip_suffix(")")) {
                    let at: i64 = at.parse().unwrap();
                    assert!(at > last && at < time, "seed {seed}, time {time}: {at} behind {last}");
                    last = at;
                }
            }
            assert!(!grow_all || names.is_empty() || last == time - 1, "seed {seed}, time {time}: {last}");
        }
    }
}
