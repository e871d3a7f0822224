//! Renoir: as many replicas of each block as the parallelism.

mod nexmark;
mod windows;

use renoir::operator::Operator;
use renoir::prelude::{BatchMode, RuntimeConfig};
use renoir::{Stream, StreamContext};

use crate::events::Events;
use crate::measure::{Run, Stopwatch};
use crate::numbers::{chain, key, update, weigh};
use crate::plan::{Plan, Workload};
use crate::text::{self, Word};
use crate::total::{Part, Total};

/// Records to a batch.
const BATCH: usize = 1024;

pub(super) fn run(plan: Plan) -> Run {
    let total = Total::default();
    let watch = Stopwatch::start();
    let config = RuntimeConfig::local(plan.parallelism.into()).expect("threads of this process");
    let context = StreamContext::new(config);
    build(&context, plan, total.part());
    context.execute_blocking();
    let figures = watch.throughput(plan.records);
    Run::of(total.wait(), figures)
}

fn build(context: &StreamContext, plan: Plan, mut part: Part) {
    let numbers = || context.stream_par_iter(0..plan.records).batch_mode(BatchMode::fixed(BATCH));
    match plan.workload {
        Workload::Chain => numbers()
            .map(chain::mix)
            .map(chain::scale)
            .filter(chain::is_kept)
            .map(chain::fold)
            .for_each(move |x| part.add(x)),
        Workload::Keyed => keys(numbers(), plan)
            .group_by(|key| *key)
            .fold((0, 0), |totals, key| update(totals, key))
            .for_each(move |(_, totals)| part.add(weigh(totals))),
        Workload::Updates => {
            let mut totals = (0, 0);
            keys(numbers(), plan)
                .group_by(|key| *key)
                .rich_map(move |(_, key)| {
                    update(&mut totals, key);
                    totals
                })
                .for_each(move |(_, totals)| part.add(weigh(totals)));
        }
        Workload::Words => context
            .stream_par_iter(|index, replicas| text::words(index as usize, replicas as usize))
            .batch_mode(BatchMode::fixed(BATCH))
            .group_by(|word: &Word| *word)
            .fold(0, |count, _| *count += 1)
            .for_each(move |(word, count)| part.add(text::weigh(word.as_str(), count))),
        Workload::Window | Workload::Sliding | Workload::Sliding100 => {
            let events = context.stream_par_iter(move |index, replicas| Events::of(index, replicas, plan));
            windows::count(events.batch_mode(BatchMode::fixed(BATCH)), plan, part);
        }
        Workload::Nexmark(query) => {
            let events = move |index, replicas| crate::nexmark::Events::of(index, replicas, plan);
            nexmark::build(query, context.stream_par_iter(events).batch_mode(BatchMode::fixed(BATCH)), part);
        }
        other => unreachable!("{other} has no stream"),
    }
}

fn keys(numbers: Stream<impl Operator<Out = u64> + 'static>, plan: Plan) -> Stream<impl Operator<Out = u64>> {
    numbers.map(move |i| key(i, plan.keys))
}
