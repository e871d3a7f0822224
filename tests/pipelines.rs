//! Jobs of actors give what plain iterators give.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use millstream::prelude::*;
use millstream::sink::Collected;
use millstream::{ActorName, JobHandle, JobState};

use common::{HesitantSource, InputEnd, QueueSource, SteppedSource, Tagged, TaggedSink, events_of, run, watched};

mod common;
#[path = "pipelines/endings.rs"]
mod endings;

/// Several batches of a source, and more than a channel holds of the smallest.
const N: u64 = 5_000;
const PARALLELISMS: [u32; 4] = [1, 2, 3, 4];

fn env(name: &str) -> StreamEnvironment {
    StreamEnvironment::new(name).snapshot_store(MemoryStore::new())
}

/// Runs a job to its end and returns what its sink collected.
fn collect<T: Clone + Send + 'static>(
    what: &str,
    build: impl FnOnce(&StreamEnvironment) -> DataStream<T> + Send + 'static,
    set: impl FnOnce(StreamEnvironment) -> StreamEnvironment + Send + 'static,
) -> Vec<T> {
    run(what, move |handles| async move {
        let env = set(env("pipeline"));
        let collected = into_collected(build(&env));
        let job = env.start().expect("starts");
        watched(&handles, &job);
        assert_eq!(job.await.expect("finished").kind, OutcomeKind::Finished);
        collected.snapshot()
    })
}

fn into_collected<T: Clone + Send + 'static>(stream: DataStream<T>) -> Collected<T> {
    let sink = CollectSink::new();
    let collected = sink.handle();
    stream.sink("collected", sink);
    collected
}

fn sorted<T: Ord>(records: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut records: Vec<T> = records.into_iter().collect();
    records.sort();
    records
}

#[test]
fn split_gives_each_record_to_one_of_two_streams_and_for_each_sees_each() {
    for parallelism in PARALLELISMS {
        let (sum, count) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (added, counted) = (sum.clone(), count.clone());
        run("a split stream", move |handles| async move {
            let env = env("split").parallelism(parallelism);
            let (threes, others) = env.source("numbers", SequenceSource::new(0..N)).split(|n| n % 3 == 0);
            threes.for_each("threes", move |n| {
                added.fetch_add(n, Ordering::Relaxed);
            });
            let others = others.map(|n| {
                assert_ne!(n % 3, 0);
                n
            });
            others.for_each("others", move |_| {
                counted.fetch_add(1, Ordering::Relaxed);
            });
            let job = env.start().expect("starts");
            watched(&handles, &job);
            assert_eq!(job.await.expect("finished").kind, OutcomeKind::Finished);
        });
        assert_eq!(sum.load(Ordering::Relaxed), (0..N).step_by(3).sum::<u64>());
        assert_eq!(count.load(Ordering::Relaxed), N - N.div_ceil(3));
    }
}

/// Each stateless operator, written for streams and for iterators.
#[test]
fn stateless_operators_give_what_iterators_give_chained_or_not() {
    let want: Vec<u64> = (0..N)
        .map(|n| n * 3)
        .filter(|n| n % 2 == 0)
        .filter_map(|n| (n % 5 != 0).then_some(n / 2))
        .flat_map(|n| (0..n % 4).map(move |i| n * 10 + i))
        .collect();
    for parallelism in PARALLELISMS {
        for chaining in [true, false] {
            let inspected = Arc::new(AtomicU64::new(0));
            let count = inspected.clone();
            let got = collect(
                "stateless operators",
                move |env| {
                    env.source("numbers", SequenceSource::new(0..N))
                        .map(|n| n * 3)
                        .filter(|n| n % 2 == 0)
                        .start_new_chain()
                        .filter_map(|n| (n % 5 != 0).then_some(n / 2))
                        .flat_map(|n, out| (0..n % 4).for_each(|i| out.emit(n * 10 + i)))
                        .inspect(move |_| {
                            count.fetch_add(1, Ordering::Relaxed);
                        })
                },
                move |env| env.parallelism(parallelism).chaining(chaining),
            );
            assert_eq!(inspected.load(Ordering::Relaxed), want.len() as u64);
            if parallelism == 1 {
                // Guarantee G3: one subtask after the other keeps the order.
                assert_eq!(got, want, "chaining {chaining}");
            }
            assert!(sorted(got) == sorted(want.clone()), "parallelism {parallelism}, chaining {chaining}");
        }
    }
}

#[test]
fn union_also_of_a_stream_with_itself_gives_all_records_of_both() {
    for parallelism in PARALLELISMS {
        let got = collect(
            "unions",
            |env| {
                let numbers = env.source("numbers", SequenceSource::new(0..N));
                let others = env.source("others", VecSource::new((N..N + 100).collect())).map(|n| n + 1);
                let again = numbers.clone().map(|n| n + 1_000_000);
                numbers.clone().union(others).union(numbers).union(again)
            },
            move |env| env.parallelism(parallelism),
        );
        let want = (0..N).chain(N + 1..N + 101).chain(0..N).chain((0..N).map(|n| n + 1_000_000));
        assert!(sorted(got) == sorted(want), "parallelism {parallelism}");
    }
}

/// Runs a job and returns what each subtask of its sink was given.
fn spread<T: Clone + Send + 'static>(
    sinks: u32,
    build: impl FnOnce(&StreamEnvironment) -> DataStream<T> + Send + 'static,
) -> Vec<Vec<T>> {
    run("a spread", move |handles| async move {
        let env = env("spread");
        let records = Tagged::default();
        build(&env).sink("tagged", TaggedSink(records.clone())).parallelism(sinks);
        let job = env.start().expect("starts");
        watched(&handles, &job);
        assert_eq!(job.await.expect("finished").kind, OutcomeKind::Finished);
        let records = records.lock().expect("no panic under it");
        records.clone()
    })
}

fn ascends(records: &[u64]) -> bool {
    records.windows(2).all(|pair| pair[0] < pair[1])
}

#[test]
fn redistribution_sends_each_record_where_it_says_and_keeps_the_order_of_each_channel() {
    for sinks in PARALLELISMS {
        let numbers = |env: &StreamEnvironment| env.source("numbers", SequenceSource::new(0..N));
        let rebalanced = spread(sinks, move |env| numbers(env).rebalance());
        assert_eq!(sorted(rebalanced.iter().flatten().copied()), sorted(0..N));
        let shares = rebalanced.iter().map(Vec::len);
        assert!(shares.clone().max().unwrap() - shares.min().unwrap() <= 1024, "uneven");
        let broadcast = spread(sinks, move |env| numbers(env).broadcast());
        assert!(broadcast.iter().all(|records| records.iter().copied().eq(0..N)));
        let partitioned = spread(sinks, move |env| numbers(env).partition_by(|n, sinks| (n % u64::from(sinks)) as u32));
        for (index, records) in (0..).zip(&partitioned) {
            assert!(records.iter().copied().eq((index..N).step_by(sinks as usize)), "subtask {index} of {sinks}");
        }
        // Guarantee G3.
        assert!(rebalanced.iter().chain(&partitioned).all(|records| ascends(records)));
        assert_eq!(partitioned.len(), sinks as usize);
    }
}

#[test]
fn channels_between_any_two_parallelisms_keep_their_order() {
    for (before, after) in [(1, 3), (3, 1), (2, 3), (4, 2), (3, 3)] {
        let given = spread(after, move |env| {
            let numbers = env.source("numbers", SequenceSource::new(0..N)).parallelism(before);
            let numbered = numbers.map(|n| n).parallelism(before);
            numbered.rebalance()
        });
        assert_eq!(sorted(given.iter().flatten().copied()), sorted(0..N), "{before} to {after}");
        if before == 1 {
            // Guarantee G3.
            assert!(given.iter().all(|records| ascends(records)), "{before} to {after}");
        }
    }
}

/// What a keyed job is expected to give: key by key, the running figures in order.
fn running<A: Clone, U>(
    key: impl Fn(u64) -> u64,
    initial: A,
    step: impl Fn(&mut A, u64),
    emit: impl Fn(u64, &A) -> U,
) -> BTreeMap<u64, Vec<U>> {
    let mut states: HashMap<u64, A> = HashMap::new();
    let mut given: BTreeMap<u64, Vec<U>> = BTreeMap::new();
    for n in 0..N {
        let state = states.entry(key(n)).or_insert_with(|| initial.clone());
        step(state, n);
        given.entry(key(n)).or_default().push(emit(key(n), state));
    }
    given
}

fn by_key<U>(records: Vec<(u64, U)>) -> BTreeMap<u64, Vec<U>> {
    let mut given: BTreeMap<u64, Vec<U>> = BTreeMap::new();
    for (key, record) in records {
        given.entry(key).or_default().push(record);
    }
    given
}

/// Counts records and remembers the greatest gap between two of them: two states.
#[derive(Clone)]
struct Gaps;

impl KeyedProcessFunction<u64, u64> for Gaps {
    type Out = (u64, (u64, u64));
    type State = (ValueState<u64>, ValueState<(u64, u64)>);

    fn state(&self) -> Self::State {
        (ValueState::new("count"), ValueState::new("last and gap"))
    }

    fn process(
        &mut self,
        record: u64,
        (mut count, mut gap): Row<'_, Self, u64, u64>,
        ctx: &mut KeyedContext<'_, u64>,
        out: &mut Emitter<'_, Self::Out>,
    ) {
        let seen = *count.get_or_insert_with(|| 0) + 1;
        count.set(seen);
        let (last, widest) = gap.get().copied().unwrap_or((record, 0));
        let widest = widest.max(record - last);
        gap.set((record, widest));
        out.emit((*ctx.key(), (seen, widest)));
    }
}

#[test]
fn keyed_operators_give_running_figures_per_key_in_order() {
    let key = |n: u64| n * n % 97;
    let sums = running(key, 0, |sum, n| *sum += n, |_, sum| *sum);
    let counts = running(key, 0_u64, |count, _| *count += 1, |key, count| format!("{key}:{count}"));
    let gaps = running(
        key,
        (0, None, 0),
        |(count, last, gap): &mut (u64, Option<u64>, u64), n| {
            *gap = (*gap).max(n - last.unwrap_or(n));
            (*count, *last) = (*count + 1, Some(n));
        },
        |_, (count, _, gap)| (*count, *gap),
    );
    for (upstream, parallelism) in [(1, 1), (1, 2), (1, 3), (1, 4), (2, 3), (3, 2)] {
        let what = format!("{upstream} to {parallelism}");
        let keyed = move |env: &StreamEnvironment| {
            // One subtask reads, so that the order of each key is known; the shuffle is from `upstream` subtasks.
            let numbers = env.source("numbers", SequenceSource::new(0..N)).parallelism(1);
            let spread = numbers.partition_by(move |n, subtasks| (key(*n) % u64::from(subtasks)) as u32);
            spread.map(|n| n).parallelism(upstream).key_by(move |n: &u64| key(*n))
        };
        let parallel = move |env: StreamEnvironment| env.parallelism(parallelism);
        // Guarantee G3: per key, through the shuffle.
        let folded = collect(&what, move |env| keyed(env).fold("sum", 0, |sum, n| *sum += n), parallel);
        assert!(by_key(folded) == sums, "fold {what}");
        let mapped = collect(
            &what,
            move |env| {
                let emit = |key: &u64, count: &u64| (*key, format!("{key}:{count}"));
                keyed(env).fold_map("count", 0_u64, |count, _| *count += 1, emit)
            },
            parallel,
        );
        assert!(by_key(mapped) == counts, "fold_map {what}");
        let processed = collect(&what, move |env| keyed(env).process("gaps", Gaps), parallel);
        assert!(by_key(processed) == gaps, "process {what}");
        let reduced = collect(
            &what,
            move |env| {
                let pairs = env.source("numbers", SequenceSource::new(0..N)).parallelism(1).map(move |n| (key(n), n));
                pairs.parallelism(1).key_by(|(key, _)| *key).reduce("sum", |(key, sum), (_, n)| (key, sum + n))
            },
            parallel,
        );
        assert!(by_key(reduced) == sums, "reduce {what}");
    }
}

#[test]
fn key_by_reference_groups_as_by_value() {
    let words: Vec<String> = (0..N).map(|n| format!("word{}", n % 50)).collect();
    let want: Vec<(String, u64)> = (0..N).map(|n| (format!("word{}", n % 50), n / 50 + 1)).collect();
    for parallelism in [1, 3] {
        let source = VecSource::new(words.clone());
        let got = collect(
            "words",
            |env| {
                let words = env.source("words", source).parallelism(1);
                words.key_by_ref(String::as_str).fold("count", 0_u64, |count, _| *count += 1)
            },
            move |env| env.parallelism(parallelism),
        );
        assert!(sorted(got) == sorted(want.clone()));
    }
}

/// Passes even numbers on, and gives odd ones to a side output.
#[derive(Clone)]
struct Odd(OutputTag<String>);

impl KeyedProcessFunction<u64, u64> for Odd {
    type Out = u64;
    type State = ValueState<u64>;

    fn state(&self) -> Self::State {
        ValueState::new("unused")
    }

    fn process(
        &mut self,
        record: u64,
        _: Row<'_, Self, u64, u64>,
        _: &mut KeyedContext<'_, u64>,
        out: &mut Emitter<'_, u64>,
    ) {
        if record.is_multiple_of(2) {
            out.emit(record);
        } else {
            out.emit_to(&self.0, record.to_string());
        }
    }
}

#[test]
fn side_outputs_of_flat_map_and_process_get_what_is_emitted_to_them() {
    for (parallelism, chaining) in [(1, true), (3, true), (2, false)] {
        let (main, small, odd) = run("side outputs", move |handles| async move {
            let env = env("sides").parallelism(parallelism).chaining(chaining);
            let (small_tag, odd_tag) = (OutputTag::<u64>::new("small"), OutputTag::<String>::new("odd"));
            let tag = small_tag.clone();
            let large = env
                .source("numbers", SequenceSource::new(0..N))
                .flat_map(move |n, out| if n < 1000 { out.emit_to(&tag, n) } else { out.emit(n) });
            let small = CollectSink::new();
            let odd = CollectSink::new();
            let seen = (small.handle(), odd.handle());
            large.side_output(&small_tag).sink("small", small);
            let even = large.key_by(|n| n % 10).process("odd", Odd(odd_tag.clone()));
            even.side_output(&odd_tag).sink("odd-sink", odd);
            let main = into_collected(even);
            let job = env.start().expect("starts");
            watched(&handles, &job);
            job.await.expect("finished");
            (main.snapshot(), seen.0.snapshot(), seen.1.snapshot())
        });
        assert_eq!(sorted(small), sorted(0..1000));
        assert_eq!(sorted(main), sorted((1000..N).step_by(2)));
        assert_eq!(sorted(odd), sorted((1001..N).step_by(2).map(|n| n.to_string())));
    }
}

#[test]
fn fan_out_by_clone_gives_every_consumer_every_record() {
    for (parallelism, chaining) in [(1, true), (2, true), (3, false)] {
        let (left, right) = run("a fan-out", move |handles| async move {
            let env = env("fan-out").parallelism(parallelism).chaining(chaining);
            let numbers = env.source("numbers", SequenceSource::new(0..N)).map(|n| n + 1);
            let right = CollectSink::new();
            let seen = right.handle();
            numbers.clone().filter(|n| n % 3 == 0).sink("right", right);
            let left = into_collected(numbers.key_by(|n| n % 7).fold("count", 0_u64, |count, _| *count += 1));
            let job = env.start().expect("starts");
            watched(&handles, &job);
            job.await.expect("finished");
            (left.snapshot(), seen.snapshot())
        });
        let counts =
            (0..7).flat_map(|key| (1..=(1..=N).filter(|n| n % 7 == key).count() as u64).map(move |n| (key, n)));
        assert_eq!(sorted(left), sorted(counts));
        assert_eq!(sorted(right), sorted((1..=N).filter(|n| n % 3 == 0)));
    }
}

#[test]
fn source_that_sleeps_wakes_and_a_finished_job_has_all_it_was_given() {
    run("a queue", |handles| async move {
        let queue = QueueSource::default();
        let env = env("queue").checkpointing(Checkpointing::disabled());
        let (given, tagged) = (queue.clone(), Tagged::default());
        env.source("queue", queue).map(|n| n * 2).sink("tagged", TaggedSink(tagged.clone()));
        let job = env.start().expect("starts");
        watched(&handles, &job);
        for round in 0..5 {
            given.push(round * 10..round * 10 + 10);
            // Asks the sleeping source for a barrier: it answers at once, behind what it has read.
            job.checkpoint().await.expect("a checkpoint");
        }
        assert_eq!(job.finish().await.expect("finished").kind, OutcomeKind::Finished);
        let records = tagged.lock().expect("no panic under it").concat();
        assert!(records.into_iter().eq((0..50).map(|n| n * 2)));
    });
}

/// A read that found nothing, followed by one, ordered before, that did: the task ordered no read after it, and the job
/// stood still.
#[test]
fn blocking_source_that_finds_something_after_nothing_is_read_to_its_end() {
    let got = collect("a hesitant source", |env| env.source("hesitant", HesitantSource(100)), |env| env);
    assert!(got.into_iter().eq(0..100));
}

#[test]
fn jobs_of_one_system_share_arbiters_and_end_by_themselves() {
    run("several jobs", |handles| async move {
        let jobs: Vec<(JobHandle, Collected<u64>, u64)> = (0..4)
            .map(|job| {
                let env = env(&format!("job-{job}")).parallelism(2);
                let collected = into_collected(env.source("numbers", SequenceSource::new(0..N)).map(move |n| n + job));
                let handle = env.start().expect("starts");
                watched(&handles, &handle);
                (handle, collected, job)
            })
            .collect();
        for (handle, collected, job) in jobs {
            assert_eq!(handle.name(), format!("job-{job}"));
            assert_eq!(handle.clone().await.expect("finished").kind, OutcomeKind::Finished);
            assert_eq!(handle.status().state, JobState::Ended);
            assert_eq!(sorted(collected.snapshot()), sorted((0..N).map(|n| n + job)));
        }
    });
}

#[test]
fn task_names_show_what_is_chained() {
    let tasks = |chaining: bool| {
        run("a job", move |handles| async move {
            let env = env("names").chaining(chaining);
            let doubled = env.source("numbers", SequenceSource::new(0..10)).map(|n| n * 2).name("double");
            into_collected(doubled.filter(|n| n % 3 == 0).start_new_chain().inspect(|n| assert!(*n != 12, "twelve")));
            let env = env.restart_strategy(RestartStrategy::none());
            let job = env.start().expect("starts");
            watched(&handles, &job);
            let JobError::GaveUp { history, .. } = job.await.expect_err("it panics") else { panic!("gave up") };
            history.into_iter().next_back().expect("a failure").actor
        })
    };
    let name = |actor| match actor {
        ActorName::Subtask { task, .. } => task.to_string(),
        other => other.to_string(),
    };
    assert_eq!(name(tasks(true)), "filter->inspect");
    assert_eq!(name(tasks(false)), "inspect");
}
