//! The event time of files.

use std::sync::Arc;
use std::time::Duration;

use millstream::prelude::*;
use millstream::source::{Batch, ReadStatus, Source, SourceContext, SourceReader, Timed};
use millstream::testing::source_context;
use millstream::time::ManualClock;

use crate::rig::{EVERY, Logs, SETTLED_AFTER};

/// The watermarks that a reader has said when it has nothing more.
fn watermarks(reader: &mut dyn SourceReader<Item = String>) -> Vec<String> {
    let mut marks = Vec::new();
    loop {
        let status = reader.read(&mut Batch::new()).unwrap();
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
