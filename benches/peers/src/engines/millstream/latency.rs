//! A paced source, a keyed count, and a sink that looks at the clock.

use millstream::operator::Emitter;
use millstream::prelude::*;
use millstream::source::{
    Batch, ReadStatus, Source, SourceContext, SourceError, SourceReader, SplitPosition, Threading,
};
use millstream::state::{ValueHandle, ValueState};

use super::sink::ForEach;
use super::{environment, folder, run_to_end};
use crate::engines::paced::{Delays, Due, Pace, TICK};
use crate::measure::{Run, Stopwatch, pause};
use crate::numbers::{Totals, update};
use crate::plan::{Contender, Engine, Plan};

pub(super) fn run(plan: Plan, contender: Contender) -> Run {
    let folder = folder();
    let delays = Delays::default();
    let threading =
        if contender.engine == Engine::MillstreamBlocking { Threading::Blocking } else { Threading::Inline };
    let watch = Stopwatch::start();
    let env = environment(plan, contender, &folder);
    let mut log = delays.log(plan.records);
    env.source("paced", Paced { plan, threading })
        .parallelism(1)
        .key_by(|record| record.key)
        .process("totals", Count)
        .sink("delays", ForEach::new(move |due| log.take(due)));
    run_to_end(env);
    let cores = watch.cores();
    delays.wait(cores)
}

/// Hands out records as they become due, on one subtask.
struct Paced {
    plan: Plan,
    threading: Threading,
}

const SPLIT: &str = "paced";

impl Source for Paced {
    type Item = Due;

    fn threading(&self) -> Threading {
        self.threading
    }

    fn open(
        &self,
        _: &SourceContext,
        restored: Option<Vec<SplitPosition>>,
    ) -> Result<Box<dyn SourceReader<Item = Due>>, SourceError> {
        match restored {
            None => Ok(Box::new(PacedReader { pace: Pace::start(self.plan), threading: self.threading })),
            Some(_) => Err(SourceError::configuration("what was due before a restart is not repeated")),
        }
    }
}

struct PacedReader {
    pace: Pace,
    threading: Threading,
}

impl SourceReader for PacedReader {
    type Item = Due;

    fn read(&mut self, batch: &mut Batch<Due>) -> Result<ReadStatus, SourceError> {
        let before = batch.len();
        while !batch.is_full() {
            match self.pace.next_due() {
                Some(record) => batch.push(record, 0),
                None if self.pace.is_over() => return Ok(ReadStatus::End),
                None if self.threading == Threading::Inline => {
                    return Ok(ReadStatus::Idle { retry_after: Some(TICK) });
                }
                None if batch.len() > before => break,
                None => pause(TICK),
            }
        }
        Ok(ReadStatus::More)
    }

    fn report_positions(&mut self, moved: &mut Vec<SplitPosition>) {
        let position = self.pace.position().to_le_bytes();
        moved.push(SplitPosition::new(SPLIT, position));
    }
}

/// Counts, and passes on when the record was due.
#[derive(Clone)]
struct Count;

impl KeyedProcessFunction<u64, Due> for Count {
    type Out = u64;
    type State = ValueState<Totals>;

    fn state(&self) -> Self::State {
        ValueState::new("totals")
    }

    fn process(
        &mut self,
        record: Due,
        mut totals: ValueHandle<'_, Totals>,
        _: &mut KeyedContext<'_, u64>,
        out: &mut Emitter<'_, u64>,
    ) {
        update(totals.get_or_insert_with(|| (0, 0)), record.key);
        out.emit(record.due);
    }
}
