//! Functions that panic when they open: no record is to blame for that.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use millstream::prelude::*;

use crate::rig::{RECORDS, Ran, Record, numbers, ran, withheld};

const FAILED_OPENINGS: u32 = 4;

/// Opens after so many attempts.
#[derive(Clone, Default)]
struct Opens(Arc<AtomicU32>);

impl Opens {
    fn panic_at_first(&self) {
        assert!(self.0.fetch_add(1, Ordering::SeqCst) >= FAILED_OPENINGS, "the service is away");
    }
}

impl ProcessFunction<u64> for Opens {
    type Out = u64;
    type State = OperatorListState<u64>;

    fn state(&self) -> Self::State {
        OperatorListState::new("none")
    }

    fn open(&mut self, _: States<'_, Self, u64>, _: &mut ProcessContext<'_>) {
        self.panic_at_first();
    }

    fn process(&mut self, n: u64, _: States<'_, Self, u64>, _: &mut ProcessContext<'_>, out: &mut Emitter<'_, u64>) {
        out.emit(n);
    }
}

impl CoProcessFunction<u64, u64> for Opens {
    type Out = u64;
    type State = OperatorListState<u64>;

    fn state(&self) -> Self::State {
        OperatorListState::new("none")
    }

    fn open(&mut self, _: CoStates<'_, Self, u64, u64>, _: &mut ProcessContext<'_>) {
        self.panic_at_first();
    }

    fn process_first(
        &mut self,
        n: u64,
        _: CoStates<'_, Self, u64, u64>,
        _: &mut ProcessContext<'_>,
        out: &mut Emitter<'_, u64>,
    ) {
        out.emit(n);
    }

    fn process_second(
        &mut self,
        n: u64,
        _: CoStates<'_, Self, u64, u64>,
        _: &mut ProcessContext<'_>,
        out: &mut Emitter<'_, u64>,
    ) {
        out.emit(n);
    }
}

impl KeyedProcessFunction<u64, u64> for Opens {
    type Out = u64;
    type State = ValueState<u64>;

    fn state(&self) -> Self::State {
        ValueState::new("none")
    }

    fn open(&mut self, _: &mut EveryKey<'_, u64, Self::State>) {
        self.panic_at_first();
    }

    fn process(
        &mut self,
        n: u64,
        _: Row<'_, Self, u64, u64>,
        _: &mut KeyedContext<'_, u64>,
        out: &mut Emitter<'_, u64>,
    ) {
        out.emit(n);
    }
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Process,
    CoProcess,
    Keyed,
}

/// Guarantee D1: the function does not panic at the record that happens to come first. The restart strategy has the outage.
#[test]
fn function_that_panics_when_it_opens_costs_restarts_and_no_record() {
    for kind in [Kind::Process, Kind::CoProcess, Kind::Keyed] {
        // With a watermark in front of all records the first to come is a mark.
        for mark_first in [false, true] {
            let ran: Ran<u64, u64> = ran("opens", 1, move |env, out, dead| {
                let tag = OutputTag::new("dead");
                let numbers = |name| {
                    let strategy = WatermarkStrategy::monotonous(|(_, n): &Record| *n as i64);
                    let read = env.source_with_watermarks(name, numbers(name), strategy).map(|(_, n): Record| n);
                    if mark_first { read.filter(|n| *n >= RECORDS / 2) } else { read }
                };
                let (stream, opens) = (numbers("first"), Opens::default());
                let stream = match kind {
                    Kind::Process => stream.process("opens", opens),
                    Kind::CoProcess => stream.connect(numbers("second")).process("opens", opens),
                    Kind::Keyed => stream.key_by(|n| n % 3).process("opens", opens),
                };
                let stream = stream.on_panic(OnPanic::dead_letter(&tag));
                stream.side_output(&tag).sink("dead", dead);
                stream.sink("out", out);
            });
            let told = format!("{kind:?}, a mark first: {mark_first}");
            assert!(ran.letters.is_empty(), "{told}: {:?}", ran.letters);
            assert_eq!(ran.events(withheld), 0, "{told}");
            assert_eq!(ran.outcome.restarts, u64::from(FAILED_OPENINGS), "{told}");
            let copies = if matches!(kind, Kind::CoProcess) { 2 } else { 1 };
            let from = if mark_first { RECORDS / 2 } else { 0 };
            let expected = (from..RECORDS).flat_map(|n| std::iter::repeat_n(n, copies));
            assert!(ran.output.iter().copied().eq(expected), "{told}");
        }
    }
}
