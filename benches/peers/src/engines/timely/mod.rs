//! Timely Dataflow: as many workers as the parallelism, each with its share of the input.

mod nexmark;
mod timed;

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashMap};
use timely::Config;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::vec::{Filter, Map};
use timely::dataflow::operators::{Input, Operator, ToStream};
use timely::dataflow::{Scope, StreamVec};
use timely::worker::Worker;

use self::timed::{timed, timed_source};
use super::by_hand::{Timers, Windows};
use super::paced::{Delays, Due, Pace, TICK};
use crate::events::{Event, Events, Fired, SLIDE_MS, WindowCount, size_ms, watermark};
use crate::measure::{Run, Stopwatch};
use crate::numbers::{Totals, chain, key, share, update, weigh};
use crate::plan::{Plan, Workload};
use crate::text::{self, Word};
use crate::total::{Part, Total};

pub(super) fn run(plan: Plan) -> Run {
    if plan.workload == Workload::Latency {
        return latency(plan);
    }
    let total = Total::default();
    let part = total.part();
    // Workers send words of equal hash to one of them, so they hash alike.
    let hasher = DefaultHashBuilder::default();
    let watch = Stopwatch::start();
    on_workers(plan, move |worker| {
        let (index, workers, part) = (worker.index(), worker.peers(), part.clone());
        let numbers = share(plan.records, index as u64, workers as u64);
        worker.dataflow::<u64, _, _>(|scope| match plan.workload {
            Workload::Chain => chained(numbers.to_stream(scope), part),
            Workload::Keyed => keyed(numbers.map(move |i| key(i, plan.keys)).to_stream(scope), part),
            Workload::Updates => updates(numbers.map(move |i| key(i, plan.keys)).to_stream(scope), part),
            Workload::Words => words(scope, text::words(index, workers), hasher.clone(), part),
            Workload::Window | Workload::Sliding | Workload::Sliding100 => {
                let windows = Windows::new(size_ms(plan.workload), SLIDE_MS, 0);
                let events = events(scope, Events::of(index as u64, workers as u64, plan));
                add_up(timed(events, |event| event.key, windows), WindowCount::weigh, part);
            }
            Workload::Timers => {
                let events = events(scope, Events::of(index as u64, workers as u64, plan));
                tally(timed(events, |event| event.key, Timers::default()), Fired::weigh, part);
            }
            Workload::Nexmark(query) => {
                let events = crate::nexmark::Events::of(index as u64, workers as u64, plan);
                nexmark::build(query, scope, events, part);
            }
            other => unreachable!("{other} has no dataflow"),
        });
    });
    let figures = watch.throughput(plan.records);
    Run::of(total.wait(), figures)
}

/// Runs `build` and what it builds on each worker, to the end.
fn on_workers(plan: Plan, build: impl Fn(&mut Worker) + Send + Sync + 'static) {
    let config = match plan.parallelism {
        1 => Config::thread(),
        workers => Config::process(workers as usize),
    };
    let workers = timely::execute(config, build);
    for ended in workers.expect("workers of this process start").join() {
        ended.expect("no worker panics");
    }
}

fn chained(numbers: StreamVec<'_, u64, u64>, part: Part) {
    let numbers = numbers.map_in_place(|x| *x = chain::mix(*x)).map_in_place(|x| *x = chain::scale(*x));
    add_up(numbers.filter(chain::is_kept).map_in_place(|x| *x = chain::fold(*x)), |x| x, part);
}

fn keyed(keys: StreamVec<'_, u64, u64>, part: Part) {
    let all = keys.unary_frontier(Exchange::new(|key: &u64| *key), "totals", |capability, _| {
        let mut table: HashMap<u64, Totals> = HashMap::new();
        let mut capability = Some(capability);
        move |(input, frontier), output| {
            input.for_each_stamp(|_, data| {
                for key in data.flat_map(|keys| keys.drain(..)) {
                    update(table.entry(key).or_default(), key);
                }
            });
            if frontier.is_empty()
                && let Some(capability) = capability.take()
            {
                let mut session = output.session(&capability);
                table.drain().for_each(|(_, totals)| session.give(totals));
            }
        }
    });
    add_up(all, weigh, part);
}

fn updates(keys: StreamVec<'_, u64, u64>, part: Part) {
    let all = keys.unary(Exchange::new(|key: &u64| *key), "totals", |_, _| {
        let mut table: HashMap<u64, Totals> = HashMap::new();
        move |input, output| {
            input.for_each_stamp(|time, data| {
                let mut session = output.session(&time);
                for key in data.flat_map(|keys| keys.drain(..)) {
                    let totals = table.entry(key).or_default();
                    update(totals, key);
                    session.give(*totals);
                }
            });
        }
    });
    add_up(all, weigh, part);
}

fn words(scope: Scope<'_, u64>, words: text::Words, hasher: DefaultHashBuilder, part: Part) {
    let route = Exchange::new(move |word: &Word| hasher.hash_one(word.as_str()));
    let counts = words.to_stream(scope).unary_frontier(route, "counts", |capability, _| {
        let mut table: HashMap<String, u64> = HashMap::new();
        let mut capability = Some(capability);
        move |(input, frontier), output| {
            input.for_each_stamp(|_, data| {
                for word in data.flat_map(|words: &mut Vec<Word>| words.drain(..)) {
                    *table.entry_ref(word.as_str()).or_default() += 1;
                }
            });
            if frontier.is_empty()
                && let Some(capability) = capability.take()
            {
                let mut session = output.session(&capability);
                table.drain().for_each(|count| session.give(count));
            }
        }
    });
    add_up(counts, |(word, count)| text::weigh(&word, count), part);
}

fn events(scope: Scope<'_, u64>, events: Events) -> StreamVec<'_, u64, Event> {
    timed_source(scope, events, |event| watermark(event.time))
}

fn add_up<T: 'static>(stream: StreamVec<'_, u64, T>, weigh: impl Fn(T) -> u64 + 'static, mut part: Part) {
    each(stream, move |record| part.add(weigh(record)));
}

/// Adds up, and counts.
fn tally<T: 'static>(stream: StreamVec<'_, u64, T>, weigh: impl Fn(T) -> u64 + 'static, mut part: Part) {
    each(stream, move |record| part.take(weigh(record)));
}

fn each<T: 'static>(stream: StreamVec<'_, u64, T>, mut take: impl FnMut(T) + 'static) {
    stream.sink(Pipeline, "sum", move |(input, _)| {
        input.for_each_stamp(|_, data| {
            data.flat_map(|records| records.drain(..)).for_each(&mut take);
        });
    });
}

fn latency(plan: Plan) -> Run {
    let delays = Delays::default();
    let logs = delays.clone();
    let watch = Stopwatch::start();
    on_workers(plan, move |worker| {
        let mut log = logs.log(plan.records);
        let mut input = worker.dataflow::<u64, _, _>(|scope| {
            let (input, records) = scope.new_input::<Vec<Due>>();
            let mut table: HashMap<u64, Totals> = HashMap::new();
            let route = Exchange::new(|record: &Due| record.key);
            let counted = records.unary(route, "totals", |_, _| {
                move |input, output| {
                    input.for_each_stamp(|time, data| {
                        let mut session = output.session(&time);
                        for record in data.flat_map(|records| records.drain(..)) {
                            update(table.entry(record.key).or_default(), record.key);
                            session.give(record.due);
                        }
                    });
                }
            });
            counted.sink(Pipeline, "delays", move |(input, _)| {
                input.for_each_stamp(|_, data| {
                    data.flat_map(|due: &mut Vec<u64>| due.drain(..)).for_each(|due| log.take(due));
                });
            });
            input
        });
        if worker.index() == 0 {
            let mut pace = Pace::start(plan);
            while !pace.is_over() {
                while let Some(record) = pace.next_due() {
                    input.send(record);
                }
                input.flush();
                worker.step();
                worker.step_or_park(Some(TICK));
            }
        }
    });
    let cores = watch.cores();
    delays.wait(cores)
}
