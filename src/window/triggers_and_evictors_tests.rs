//! Triggers, evictors, windows without end and windows of processing time give what a plain loop does, in every way of running, on
//! both backends.

use std::collections::BTreeMap;
use std::time::Duration;

use millstream_actors::contract::Clock;
use millstream_actors::protocol::Timestamp;

use super::super::*;
use super::{Windowed, Windowing};
use crate::operator::{ByValue, Emitter, OutputTag};
use crate::state::test_kit::Random;
use crate::testing::OperatorHarness;
use crate::time::ManualClock;

/// Key, event time, number.
type Input = (u64, Timestamp, u64);
/// Key, window, the numbers in it.
type Found = (u64, Window, Vec<u64>);

#[derive(Clone, Debug)]
enum Step {
    Batch(Vec<Input>),
    Watermark(Timestamp),
    Advance(u64),
}

/// Which windows there are, in milliseconds.
#[derive(Clone, Copy, PartialEq)]
enum Spans {
    /// Size and slide, which are one where windows tumble.
    Aligned(i64, i64),
    Session(i64),
    /// With a [`gap`] for each number.
    SessionByNumber,
    Global,
}

/// When a window gives a result.
#[derive(Clone, Copy, PartialEq)]
enum Rule {
    /// When it is complete.
    Complete,
    /// With each so many records.
    Count(u64),
    /// At multiples of these milliseconds of event time.
    Each(i64),
    /// Of the clock.
    EachByClock(i64),
    /// When a number is farther from that which gave the last one.
    Delta(f64),
}

/// What stays of the records of a window before it gives a result.
#[derive(Clone, Copy)]
enum Keep {
    All,
    Last(usize),
    /// Those less than so many milliseconds older than the newest.
    Within(i64),
    /// Those whose numbers are less than so far from the last one.
    Near(f64),
}

/// How the windows of a loop are.
#[derive(Clone, Copy)]
struct Plan {
    spans: Spans,
    by_clock: bool,
    rule: Rule,
    purges: bool,
    keep: Keep,
    lateness: i64,
}

const PLAN: Plan = Plan {
    spans: Spans::Aligned(300, 300),
    by_clock: false,
    rule: Rule::Complete,
    purges: false,
    keep: Keep::All,
    lateness: 0,
};

/// An open window.
#[derive(Clone, Default)]
struct Open {
    /// Times and numbers.
    records: Vec<(Timestamp, u64)>,
    /// Since the last result.
    seen: u64,
    /// The number that gave the last result.
    last: Option<u64>,
    /// When the first record, or the first since the last result, wants a result.
    next: Option<Timestamp>,
}

/// A loop over the input, with the rules as they are described.
struct Plain {
    plan: Plan,
    open: BTreeMap<(u64, Window), Open>,
    watermark: Timestamp,
    now: Timestamp,
    found: Vec<Found>,
    late: Vec<Input>,
}

/// The first multiple of a length of time above a time.
fn multiple_above(time: Timestamp, length: i64) -> Timestamp {
    (time.div_euclid(length) + 1) * length
}

impl Plain {
    fn run(plan: Plan, steps: &[Step]) -> (Vec<Found>, Vec<Input>) {
        let now = ManualClock::new().unix_ms() as i64;
        let (open, watermark) = (BTreeMap::new(), Timestamp::MIN);
        let mut plain = Self { plan, open, watermark, now, found: Vec::new(), late: Vec::new() };
        for step in steps.iter().chain([&Step::Watermark(Timestamp::MAX)]) {
            match step {
                Step::Batch(records) => records.iter().for_each(|record| plain.take(*record)),
                Step::Watermark(to) => plain.watermark(*to),
                Step::Advance(millis) => plain.advance(*millis as i64),
            }
        }
        (plain.found, plain.late)
    }

    /// Without the arithmetic of the assigners: all windows that could be are tried.
    fn windows_of(&self, time: Timestamp, number: u64) -> Vec<Window> {
        match self.plan.spans {
            Spans::Global => vec![Window::GLOBAL],
            Spans::Session(gap) => vec![Window::new(time, time + gap)],
            Spans::SessionByNumber => vec![Window::new(time, time + gap(number))],
            Spans::Aligned(size, slide) => {
                let starts = (time - size..=time).filter(|start| start.rem_euclid(slide) == 0);
                starts.map(|start| Window::new(start, start + size)).filter(|window| window.contains(time)).collect()
            }
        }
    }

    fn has_end_by(&self, clock: bool) -> bool {
        self.plan.by_clock == clock && self.plan.spans != Spans::Global
    }

    fn is_over(&self, window: Window) -> bool {
        self.has_end_by(false) && window.max_timestamp() + self.plan.lateness <= self.watermark
    }

    fn take(&mut self, (key, at, number): Input) {
        let time = if self.plan.by_clock { self.now } else { at };
        let mut windows = self.windows_of(time, number);
        let mut joined = Open::default();
        if matches!(self.plan.spans, Spans::Session(_) | Spans::SessionByNumber) {
            let touched = |(of, window): &&(u64, Window)| *of == key && window.touches(windows[0]);
            let touched: Vec<_> = self.open.keys().filter(touched).copied().collect();
            let all = touched.iter().fold(windows[0], |all, (_, window)| all.cover(*window));
            if !self.is_over(all) {
                for place in touched {
                    let other = self.open.remove(&place).unwrap();
                    joined.records.extend(other.records);
                    joined.seen += other.seen;
                    joined.last = other.last.or(joined.last);
                    joined.next = joined.next.into_iter().chain(other.next).min();
                }
            }
            windows = vec![all];
        }
        windows.retain(|window| !self.is_over(*window));
        if windows.is_empty() {
            self.late.push((key, at, number));
        }
        for window in windows {
            let Plan { rule, .. } = self.plan;
            let is_complete = !self.plan.by_clock && window.max_timestamp() <= self.watermark;
            let open = self.open.entry((key, window)).or_insert_with(|| std::mem::take(&mut joined));
            open.records.push((time, number));
            let fires = match rule {
                Rule::Complete => is_complete,
                Rule::Count(of) => {
                    // Of sessions that have met there may be more than it takes.
                    let is_enough = open.seen + 1 >= of;
                    open.seen = if is_enough { 0 } else { open.seen + 1 };
                    is_enough
                }
                Rule::Each(length) => {
                    open.next = open.next.into_iter().chain([multiple_above(time, length)]).min();
                    is_complete
                }
                Rule::EachByClock(length) => {
                    open.next.get_or_insert(multiple_above(self.now, length));
                    false
                }
                Rule::Delta(far) => {
                    let is_far = open.last.is_some_and(|last| last.abs_diff(number) as f64 > far);
                    if is_far || open.last.is_none() {
                        open.last = Some(number);
                    }
                    is_far
                }
            };
            if fires {
                self.fire((key, window));
            }
        }
    }

    fn fire(&mut self, (key, window): (u64, Window)) {
        let Plan { keep, purges, spans, rule, .. } = self.plan;
        let open = self.open.get_mut(&(key, window)).unwrap();
        let newest = open.records.iter().map(|(at, _)| *at).max();
        let last = open.records.last().copied();
        match keep {
            Keep::All => {}
            Keep::Last(most) => drop(open.records.drain(..open.records.len().saturating_sub(most))),
            Keep::Within(length) => open.records.retain(|(at, _)| newest.unwrap() - at < length),
            Keep::Near(far) => open.records.retain(|(_, number)| (last.unwrap().1.abs_diff(*number) as f64) < far),
        }
        if !open.records.is_empty() {
            self.found.push((key, window, open.records.iter().map(|(_, number)| *number).collect()));
        }
        if purges {
            open.records.clear();
        }
        // A window without end that is empty is forgotten, with the first time that it had.
        if open.records.is_empty() && spans == Spans::Global && matches!(rule, Rule::Each(_)) {
            open.next = None;
        }
    }

    fn watermark(&mut self, to: Timestamp) {
        if to <= self.watermark {
            return;
        }
        let before = std::mem::replace(&mut self.watermark, to);
        for (key, window) in self.open.keys().copied().collect::<Vec<_>>() {
            if self.plan.by_clock || (to == Timestamp::MAX && self.plan.spans == Spans::Global) {
                continue;
            }
            let ends = before < window.max_timestamp() && window.max_timestamp() <= to;
            match self.plan.rule {
                Rule::Complete if ends => self.fire((key, window)),
                Rule::Each(length) => {
                    let end = to.min(window.max_timestamp());
                    let Some(first) = self.open[&(key, window)].next else { continue };
                    let at = first.max(multiple_above(before, length));
                    let within = (at..end + i64::from(!ends)).step_by(length as usize).count();
                    (0..within + usize::from(ends)).for_each(|_| self.fire((key, window)));
                }
                _ => {}
            }
        }
        let over: Vec<_> = self.open.keys().filter(|(_, window)| self.is_over(*window)).copied().collect();
        over.iter().for_each(|place| drop(self.open.remove(place)));
    }

    fn advance(&mut self, millis: i64) {
        self.now += millis;
        for (key, window) in self.open.keys().copied().collect::<Vec<_>>() {
            let ends = self.has_end_by(true);
            let end = if ends { window.end() } else { Timestamp::MAX };
            let next = self.open[&(key, window)].next;
            match self.plan.rule {
                Rule::Complete if ends && end <= self.now => self.fire((key, window)),
                Rule::EachByClock(_) if next.is_some_and(|next| next <= self.now.min(end)) => {
                    self.open.get_mut(&(key, window)).unwrap().next = None;
                    self.fire((key, window));
                }
                _ => {}
            }
            if end <= self.now {
                self.open.remove(&(key, window));
            }
        }
    }
}

/// Batches of records whose times are up to `disorder` ms out of order, with watermarks and steps of the clock between them.
fn input(seed: u64, (keys, batches): (u64, u64), (disorder, bound): (u64, i64)) -> Vec<Step> {
    let (mut random, mut at, mut latest, mut steps) = (Random(seed), 0, -10_000, Vec::new());
    for _ in 0..batches {
        let records = (0..random.below(16)).map(|_| {
            at += random.below(50) as i64;
            let time = at - random.below(disorder + 1) as i64 - 1_000;
            latest = latest.max(time);
            (random.below(keys), time, random.below(100))
        });
        steps.push(Step::Batch(records.collect()));
        if random.below(3) > 0 {
            steps.push(Step::Watermark(latest - bound));
        }
        if random.below(3) > 0 {
            steps.push(Step::Advance(random.below(250)));
        }
    }
    steps.push(Step::Advance(10_000));
    steps
}

fn late_tag() -> OutputTag<Input> {
    OutputTag::new("late")
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Runs the windows of `plan` in every way, on both backends, with records within the bound and beyond it.
fn check<A: WindowAssigner<Input>, Tr: Trigger<Input>>(
    plan: Plan,
    (assigner, trigger): (A, Tr),
    evictor: impl Evictor<Input>,
) {
    let dir = tempfile::tempdir().unwrap();
    let has_own_trigger = plan.rule == Rule::Complete && !plan.purges;
    let windowing = Windowing { assigner, trigger, has_own_trigger, lateness: plan.lateness, late: Some(late_tag()) };
    let function = |records: &[Input], ctx: &WindowContext<'_, u64>, out: &mut Emitter<'_, Found>| {
        out.emit((*ctx.key(), ctx.window(), records.iter().map(|record| record.2).collect()));
    };
    let function = Windowed::new(windowing, Processed::new(EachWindow::new(function), evictor));
    let selector = || ByValue::new(|record: &Input| record.0);
    let cases = [(1, (4, 24), (150, 151)), (2, (12, 16), (900, 120)), (3, (12, 30), (900, 120))];
    for (seed, size, times) in cases {
        let steps = input(seed, size, times);
        let (found, late) = Plain::run(plan, &steps);
        assert!(found.len() > if seed == 1 { 10 } else { 0 }, "{} results of seed {seed}", found.len());
        let has_late = seed > 1 && !plan.by_clock && plan.spans != Spans::Global && plan.lateness == 0;
        assert!(late.is_empty() != has_late, "{} late records of seed {seed}", late.len());
        let harness = match seed {
            3 => OperatorHarness::keyed_in_file(selector(), function.clone(), dir.path()),
            _ => OperatorHarness::keyed(selector(), function.clone()),
        };
        let harness = steps.into_iter().fold(harness.event_times(|record| record.1), |harness, step| match step {
            Step::Batch(records) => harness.batch(records),
            Step::Watermark(to) => harness.watermark(to),
            Step::Advance(millis) => harness.advance(ms(millis)),
        });
        let harness = if late.is_empty() { harness } else { harness.side_output(&late_tag(), late) };
        harness.check_in_any_order(found);
    }
}

fn delta(one: &Input, other: &Input) -> f64 {
    one.2.abs_diff(other.2) as f64
}

fn tumbling() -> TumblingWindows {
    TumblingWindows::event_time(ms(300))
}

fn sessions() -> SessionWindows {
    SessionWindows::event_time(ms(120))
}

const SESSIONS: Plan = Plan { spans: Spans::Session(120), ..PLAN };
const GLOBAL: Plan = Plan { spans: Spans::Global, ..PLAN };

/// T7, T8.
#[test]
fn windows_that_fire_by_count() {
    let (two, three) = (CountTrigger::of(2), CountTrigger::of(3));
    check(Plan { rule: Rule::Count(2), ..PLAN }, (tumbling(), two), NoEvictor);
    check(Plan { rule: Rule::Count(3), purges: true, ..PLAN }, (tumbling(), PurgingTrigger::of(three)), NoEvictor);
    check(Plan { rule: Rule::Count(3), ..SESSIONS }, (sessions(), three), NoEvictor);
    check(Plan { rule: Rule::Count(2), purges: true, ..SESSIONS }, (sessions(), PurgingTrigger::of(two)), NoEvictor);
    check(Plan { rule: Rule::Count(3), ..GLOBAL }, (GlobalWindows::new(), three), NoEvictor);
    let purging = PurgingTrigger::of(three);
    check(Plan { rule: Rule::Count(3), purges: true, ..GLOBAL }, (GlobalWindows::new(), purging), NoEvictor);
}

/// T7, T8.
#[test]
fn windows_that_fire_at_each_interval_of_event_time() {
    let each = ContinuousTrigger::event_time(ms(70));
    check(Plan { rule: Rule::Each(70), ..PLAN }, (tumbling(), each), NoEvictor);
    check(Plan { rule: Rule::Each(70), lateness: 2_000, ..PLAN }, (tumbling(), each), NoEvictor);
    check(Plan { rule: Rule::Each(70), ..SESSIONS }, (sessions(), each), NoEvictor);
    check(Plan { rule: Rule::Each(70), ..GLOBAL }, (GlobalWindows::new(), each), NoEvictor);
    let purging = PurgingTrigger::of(each);
    check(Plan { rule: Rule::Each(70), purges: true, ..PLAN }, (tumbling(), purging), NoEvictor);
    check(Plan { rule: Rule::Each(70), purges: true, ..GLOBAL }, (GlobalWindows::new(), purging), NoEvictor);
}

/// T7, T9. The clock moves while the operator is down, too.
#[test]
fn windows_that_fire_at_each_interval_of_the_clock() {
    let each = ContinuousTrigger::processing_time(ms(70));
    let rule = Rule::EachByClock(70);
    check(Plan { rule, ..PLAN }, (tumbling(), each), NoEvictor);
    check(Plan { rule, ..SESSIONS }, (sessions(), each), NoEvictor);
    check(Plan { rule, ..GLOBAL }, (GlobalWindows::new(), each), NoEvictor);
    check(Plan { rule, purges: true, ..GLOBAL }, (GlobalWindows::new(), PurgingTrigger::of(each)), NoEvictor);
    check(Plan { rule, by_clock: true, ..PLAN }, (TumblingWindows::processing_time(ms(300)), each), NoEvictor);
}

/// T7, T8.
#[test]
fn windows_that_fire_when_a_record_is_far_from_the_last() {
    let far = || DeltaTrigger::new(40.0, delta);
    let rule = Rule::Delta(40.0);
    check(Plan { rule, ..PLAN }, (tumbling(), far()), NoEvictor);
    check(Plan { rule, ..SESSIONS }, (sessions(), far()), NoEvictor);
    check(Plan { rule, ..GLOBAL }, (GlobalWindows::new(), far()), NoEvictor);
    check(Plan { rule, purges: true, ..GLOBAL }, (GlobalWindows::new(), PurgingTrigger::of(far())), NoEvictor);
}

/// T7, T8.
#[test]
fn windows_with_evictors() {
    let (three, last, within) = (CountTrigger::of(3), CountEvictor::of(2), TimeEvictor::of(ms(80)));
    let (near, count) = (DeltaEvictor::new(30.0, delta), Rule::Count(3));
    check(Plan { keep: Keep::Last(2), ..PLAN }, (tumbling(), TimeTrigger::EventTime), last);
    check(Plan { keep: Keep::Within(80), ..PLAN }, (tumbling(), TimeTrigger::EventTime), within);
    check(Plan { keep: Keep::Near(30.0), ..PLAN }, (tumbling(), TimeTrigger::EventTime), near.clone());
    check(Plan { keep: Keep::Last(2), lateness: 2_000, ..PLAN }, (tumbling(), TimeTrigger::EventTime), last);
    check(Plan { keep: Keep::Within(80), ..SESSIONS }, (sessions(), TimeTrigger::EventTime), within);
    check(Plan { rule: count, keep: Keep::Last(5), ..GLOBAL }, (GlobalWindows::new(), three), CountEvictor::of(5));
    check(Plan { rule: count, keep: Keep::Within(80), ..GLOBAL }, (GlobalWindows::new(), three), within);
    check(Plan { rule: count, keep: Keep::Near(30.0), ..GLOBAL }, (GlobalWindows::new(), three), near);
}

/// T7, T9. The clock moves while the operator is down, too.
#[test]
fn windows_of_processing_time() {
    let plan = Plan { by_clock: true, ..PLAN };
    check(plan, (TumblingWindows::processing_time(ms(300)), TimeTrigger::ProcessingTime), NoEvictor);
    let sliding = SlidingWindows::processing_time(ms(300), ms(100));
    check(Plan { spans: Spans::Aligned(300, 100), ..plan }, (sliding, TimeTrigger::ProcessingTime), NoEvictor);
    let keep = Keep::Last(2);
    let last = CountEvictor::of(2);
    check(Plan { spans: Spans::Aligned(300, 100), keep, ..plan }, (sliding, TimeTrigger::ProcessingTime), last);
    let sessions = SessionWindows::processing_time(ms(120));
    check(Plan { spans: Spans::Session(120), ..plan }, (sessions, TimeTrigger::ProcessingTime), NoEvictor);
}

/// How long a session goes on after a number.
fn gap(number: u64) -> i64 {
    20 + number as i64 * 2
}

/// T7, T8. A record with a long gap may join sessions behind it.
#[test]
fn sessions_whose_records_have_gaps_of_their_own() {
    let of_record = |record: &Input| ms(gap(record.2) as u64);
    let plan = Plan { spans: Spans::SessionByNumber, ..PLAN };
    check(plan, (SessionWindows::event_time_by(of_record), TimeTrigger::EventTime), NoEvictor);
    let two = (SessionWindows::event_time_by(of_record), CountTrigger::of(2));
    check(Plan { rule: Rule::Count(2), ..plan }, two, NoEvictor);
    let by_clock = (SessionWindows::processing_time_by(of_record), TimeTrigger::ProcessingTime);
    check(Plan { by_clock: true, ..plan }, by_clock, NoEvictor);
}
