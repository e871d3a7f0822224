//! Q1: what a live query answers.

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::time::Duration;

use millstream::prelude::*;
use millstream::query::AsOf;
use millstream::source::IngestOptions;
use millstream::time::ManualClock;

use crate::common::{QueueSource, run, watched};
use crate::rig::{KEYS, Rig, backends, scanned, sums_below};

/// Guarantee Q1.
#[test]
fn live_query_answers_with_what_all_records_before_it_have_made_in_both_backends() {
    let dir = tempfile::tempdir().unwrap();
    for (name, backend) in ["live in memory", "live in a file"].into_iter().zip(backends(dir.path())) {
        for parallelism in [1, 3] {
            let backend = backend.clone();
            run(name, move |handles| async move {
                let env = StreamEnvironment::new(name).parallelism(parallelism).state_backend(backend);
                let rig = Rig::start(env.checkpointing(Checkpointing::disabled()));
                watched(&handles, &rig.job);
                let mut taken = 0;
                for n in [1, 5, 1_000, 5_000] {
                    rig.take(taken..n);
                    taken = n;
                    let expected = sums_below(n);
                    for (key, sum) in &expected {
                        let answer = rig.sums().get(key).await.unwrap();
                        assert_eq!(answer.value, Some(*sum));
                        assert!(matches!(answer.as_of, AsOf::Live { .. }), "{:?}", answer.as_of);
                        assert_eq!(answer.as_of.age(), Duration::ZERO);
                    }
                    let keys: Vec<u64> = (0..KEYS + 5).rev().collect();
                    let sums = rig.sums().get_all(&keys).await.unwrap().value;
                    let all = |key: &u64| expected.iter().find(|(known, _)| known == key).map(|(_, sum)| *sum);
                    assert_eq!(sums, keys.iter().map(all).collect::<Vec<_>>());
                    for limit in [1, 3, 10_000] {
                        assert_eq!(scanned(&rig.sums(), limit).await.0, expected);
                    }
                }
                assert_eq!(rig.sums().get_all(&[]).await.unwrap().value, []);
                rig.job.cancel().await.unwrap();
            });
        }
    }
}

/// A function with states of several kinds, beside an operator chained behind it that has none.
#[derive(Clone)]
struct Kinds;

impl KeyedProcessFunction<u64, u64> for Kinds {
    type Out = u64;
    type State = (ListState<u64>, MapState<String, u64>, ReducingState<u64>, Expiring<ValueState<u64>>);

    fn state(&self) -> Self::State {
        let ttl = StateTtl::processing_time(Duration::from_secs(3_600));
        (
            ListState::new("list"),
            MapState::new("map"),
            ReducingState::new("most", u64::max),
            ValueState::new("last").with_ttl(ttl),
        )
    }

    fn process(
        &mut self,
        n: u64,
        (mut list, mut map, mut most, mut last): Row<'_, Self, u64, u64>,
        _: &mut KeyedContext<'_, u64>,
        out: &mut Emitter<'_, u64>,
    ) {
        list.push(n);
        map.insert(format!("{n}"), n);
        most.add(n);
        last.set(n);
        out.emit(n);
    }
}

/// Guarantee Q1.
#[test]
fn every_kind_is_answered_as_the_type_of_its_values() {
    let dir = tempfile::tempdir().unwrap();
    for backend in backends(dir.path()) {
        run("kinds", move |handles| async move {
            let env = StreamEnvironment::new("kinds").parallelism(2).state_backend(backend);
            let clock = ManualClock::new();
            let (numbers, (sender, worked_off)) = (QueueSource::default(), mpsc::channel());
            let env = env.clock(clock.clone()).checkpointing(Checkpointing::disabled());
            env.source("numbers", numbers.clone())
                .parallelism(1)
                .key_by(|n| n % 2)
                .process("kinds", Kinds)
                .inspect(move |n| {
                    let _ = sender.send(*n);
                })
                .sink("out", ForEachSink::new(|_| Ok(())));
            let job = env.start().unwrap();
            watched(&handles, &job);
            numbers.push(1..=9);
            (1..=9).for_each(|_| {
                worked_off.recv().unwrap();
            });
            let list = job.query::<u64, Vec<u64>>("kinds", "list").get(&1).await.unwrap();
            assert_eq!(list.value, Some(vec![1, 3, 5, 7, 9]));
            let map = job.query::<u64, BTreeMap<String, u64>>("kinds", "map").get(&0).await.unwrap();
            assert_eq!(map.value, Some([2, 4, 6, 8].map(|n| (format!("{n}"), n)).into()));
            let most = job.query::<u64, u64>("kinds", "most").get_all(&[0, 1, 2]).await.unwrap();
            assert_eq!(most.value, [Some(8), Some(9), None]);
            let last = job.query::<u64, u64>("kinds", "last");
            assert_eq!(last.get(&1).await.unwrap().value, Some(9));
            clock.advance(Duration::from_secs(3_600));
            assert_eq!(last.get(&1).await.unwrap().value, None, "it has expired, though no record has come since");
            assert_eq!(last.scan(10).await.unwrap().value.entries, []);
            job.cancel().await.unwrap();
        });
    }
}

/// Guarantee Q1. The keyed operator is chained to a source that is read on a thread of its own, whose task is ready later than its
/// state: it did not take queries, and was said to keep no state of keys.
#[test]
fn operator_in_the_task_of_a_source_with_a_thread_of_its_own_is_answered() {
    run("a chained source", |handles| async move {
        let dir = tempfile::tempdir().unwrap();
        let (source, numbers) = IngestSource::<u64>::open(dir.path().join("log"), IngestOptions::new()).unwrap();
        let (sender, worked_off) = mpsc::channel();
        let env = StreamEnvironment::new("chained").parallelism(1).checkpointing(Checkpointing::disabled());
        env.source("numbers", source)
            .key_by(|n| *n)
            .fold_map("counts", 0u64, |count, _| *count += 1, |_, count| *count)
            .inspect(move |n| {
                let _ = sender.send(*n);
            })
            .sink("out", ForEachSink::new(|_| Ok(())));
        let job = env.start().unwrap();
        watched(&handles, &job);
        numbers.send(7).await.unwrap();
        worked_off.recv().unwrap();
        assert_eq!(job.query::<u64, u64>("counts", "accumulator").get(&7).await.unwrap().value, Some(1));
        job.cancel().await.unwrap();
    });
}

/// Sums, and says at the end of its input that it has come.
#[derive(Clone)]
struct SumsToTheEnd(mpsc::Sender<u64>);

impl KeyedProcessFunction<u64, u64> for SumsToTheEnd {
    type Out = u64;
    type State = ReducingState<u64>;

    fn state(&self) -> Self::State {
        ReducingState::new("sum", |one, other| one + other)
    }

    fn process(
        &mut self,
        n: u64,
        mut sum: Row<'_, Self, u64, u64>,
        _: &mut KeyedContext<'_, u64>,
        _: &mut Emitter<'_, u64>,
    ) {
        sum.add(n);
    }

    fn end_of_input(&mut self, _: Row<'_, Self, u64, u64>, ctx: &mut KeyedContext<'_, u64>, _: &mut Emitter<'_, u64>) {
        self.0.send(*ctx.key()).unwrap();
    }
}

/// Guarantee Q1. Its region has nothing more to do, and another one runs on.
#[test]
fn operator_whose_input_has_ended_is_asked_as_any_other_until_the_job_ends() {
    run("a region that has ended", |handles| async move {
        let (told, ended) = mpsc::channel();
        let env = StreamEnvironment::new("ended").checkpointing(Checkpointing::disabled());
        env.source("few", SequenceSource::new(0..20))
            .key_by(|n| n % 4)
            .process("sums", SumsToTheEnd(told))
            .for_each("none", |_| {});
        env.source("more", QueueSource::default()).for_each("some", |_: u64| {});
        let job = env.start().unwrap();
        watched(&handles, &job);
        let all: Vec<u64> = ended.iter().take(4).collect();
        assert_eq!(all.len(), 4);
        let sums = job.query::<u64, u64>("sums", "sum");
        for _ in 0..3 {
            assert_eq!(sums.get(&3).await.unwrap().value, Some(3 + 7 + 11 + 15 + 19));
            job.checkpoint().await.unwrap();
        }
        job.cancel().await.unwrap();
    });
}
