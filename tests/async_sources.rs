//! Sources that are asynchronous streams of positions and records: R1 to R3 of `docs/semantics.md`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::{self, Stream, StreamExt};
use millstream::prelude::*;
use millstream::source::{
    Batch, ReadStatus, Source, SourceContext, SourceError, StreamSourceError, Timed, spread_split_id,
};
use millstream::testing::{assert_resumes_anywhere, read_source, source_context};
use millstream::time::ManualClock;
use tokio::sync::{mpsc, watch};

use common::{checkpointed, output_through_panics, run, watched};

mod common;

type Item = Result<(u64, u64), io::Error>;

/// The numbers below `end` that follow `from`, each its own position.
fn numbers(from: Option<u64>, end: u64) -> impl Stream<Item = Item> + Send + 'static {
    stream::iter((from.map_or(0, |from| from + 1)..end).map(|number| Ok((number, number))))
}

fn partitions(count: u64) -> Vec<String> {
    (0..count).map(|number| spread_split_id("p", number)).collect()
}

fn reason(error: &SourceError) -> &StreamSourceError {
    error.reason().downcast_ref().unwrap_or_else(|| panic!("no error of the source: {error}"))
}

/// The first error that a single reader of the source gives.
fn read_error<S: Source>(source: &S) -> SourceError {
    let mut reader = match source.open(&source_context(0, 1), None) {
        Ok(reader) => reader,
        Err(error) => return error,
    };
    loop {
        match reader.read(&mut Batch::new()) {
            Ok(ReadStatus::More) => {}
            Ok(status) => panic!("{status:?}"),
            Err(error) => return error,
        }
    }
}

#[test]
fn streams_resume_behind_any_record() {
    let source = StreamSource::with_splits(partitions(5), |split, from: Option<u64>| {
        let number: u64 = split["p#".len() - 1..].trim_start_matches('#').parse().unwrap_or(7);
        numbers(from, 40 + number % 100)
    })
    .bounded();
    assert_resumes_anywhere(&source, |read| assert!(read.len() >= 200));
    assert_resumes_anywhere(&StreamSource::new(|from: Option<u64>| numbers(from, 3_000)).bounded(), |read| {
        assert!(read.iter().copied().eq(0..3_000));
    });
}

#[test]
fn output_through_panics_is_that_of_an_undisturbed_run() {
    let expected: Vec<u64> = common::sorted((0..8).flat_map(|_| 0..500).collect());
    for (parallelism, panics) in [(1, vec![]), (1, vec![10, 700, 2_000]), (2, vec![1, 2, 900]), (4, vec![500, 3_000])] {
        let got = output_through_panics("stream", (parallelism, None), &panics, |env, panics, sink| {
            let source = StreamSource::with_splits(partitions(8), |_, from: Option<u64>| numbers(from, 500)).bounded();
            env.source("numbers", source).inspect(move |_| panics.count_and_panic()).sink("out", sink);
        });
        assert_eq!(got, expected, "{parallelism} subtasks, panics at {panics:?}");
    }
}

#[test]
fn positions_that_do_not_ascend_are_refused_with_both() {
    for (given, previous) in [(vec![3, 5, 5], "5"), (vec![3, 2], "3")] {
        let source = StreamSource::new(move |_: Option<u64>| {
            stream::iter(given.clone()).map(|position: u64| Ok::<_, io::Error>((position, ())))
        });
        let error = read_error(&source);
        let StreamSourceError::NotAscending { previous: before, position, .. } = reason(&error) else {
            panic!("{error}")
        };
        assert_eq!(before, previous);
        assert!(error.to_string().contains(position.as_str()) && !error.is_retryable(), "{error}");
    }
    // The restored position counts, too: what it is on was read.
    let source = StreamSource::new(|from: Option<u64>| numbers(from.map(|from| from - 1), 3_000)).bounded();
    let positions = read_source(&source, 1, None, None).positions;
    let begun = read_source(&StreamSource::new(|from| numbers(from, 3_000)), 1, None, Some(1)).positions;
    assert!(source.describe_position(&positions[0].position).contains("end"));
    let mut reader = source.open(&source_context(0, 1), Some(begun)).unwrap();
    assert!(matches!(reason(&reader.read(&mut Batch::new()).unwrap_err()), StreamSourceError::NotAscending { .. }));
}

#[test]
fn split_that_is_not_named_any_more_must_be_at_its_end() {
    let named = |names: &'static [&'static str]| {
        StreamSource::with_splits(names.iter().copied(), |_, from: Option<u64>| numbers(from, 2_000)).bounded()
    };
    let begun = read_source(&named(&["a", "b"]), 1, None, Some(1)).positions;
    let error = named(&["b", "c"]).open(&source_context(0, 1), Some(begun)).err().unwrap();
    assert!(matches!(reason(&error), StreamSourceError::NotNamed { split , .. } if split == "a"), "{error}");
    let ended = read_source(&named(&["a", "b"]), 1, None, None).positions;
    let more = read_source(&named(&["b", "c"]), 2, Some(ended), None);
    assert!(more.records.iter().copied().eq(0..2_000) && more.splits.iter().all(|split| split == "c"));
    assert_eq!(more.positions.len(), 3, "what has ended stays known");
}

#[test]
fn splits_without_names_or_with_one_name_are_mistakes() {
    for names in [vec![], vec!["a", "b", "a"]] {
        let source = StreamSource::with_splits(names, |_, from| numbers(from, 1));
        assert!(source.mistake().is_some());
        let env = StreamEnvironment::new("mistaken");
        env.source("numbers", source).sink("out", CollectSink::new());
        assert!(matches!(env.start(), Err(StartError::Graph(_))));
    }
}

#[test]
fn error_of_a_stream_restarts_it_at_the_restored_position_unless_it_says_that_it_will_not_pass() {
    run("an unreliable stream", |handles| async move {
        let (sink, failures) = (CollectSink::new(), Arc::new(AtomicU64::new(0)));
        let collected = sink.handle();
        let counted = failures.clone();
        let source = StreamSource::new(move |from: Option<u64>| {
            let failures = counted.clone();
            numbers(from, 1_000).map(move |item| {
                let (position, number) = item?;
                let next = failures.load(Ordering::SeqCst);
                if next < 4 && number == 200 * (next + 1) {
                    failures.fetch_add(1, Ordering::SeqCst);
                    return Err(io::Error::other("the broker is away"));
                }
                Ok((position, number))
            })
        })
        .bounded();
        let env = checkpointed("unreliable", 1, None).snapshot_store(MemoryStore::new());
        env.source("numbers", source).sink("out", sink);
        let job = env.start().unwrap();
        watched(&handles, &job);
        assert_eq!(job.await.unwrap().restarts, 4);
        assert!(collected.snapshot().into_iter().eq(0..1_000));

        let refused = StreamSource::new(|_: Option<u64>| {
            let error = SourceError::malformed("topic 'orders'", "it was deleted");
            stream::once(std::future::ready(Err::<(u64, u64), _>(error)))
        });
        let env = StreamEnvironment::new("refused");
        env.source("numbers", refused).sink("out", CollectSink::new());
        let error = env.start().unwrap().await.unwrap_err();
        assert!(error.to_string().contains("topic 'orders': it was deleted"), "{error}");
    });
}

#[test]
fn panic_in_a_stream_or_where_it_is_opened_restarts_it() {
    run("a stream that panics", |handles| async move {
        let (sink, opened) = (CollectSink::new(), AtomicUsize::new(0));
        let collected = sink.handle();
        let panicked = Arc::new(AtomicBool::new(false));
        let source = StreamSource::new(move |from: Option<u64>| {
            assert!(opened.fetch_add(1, Ordering::SeqCst) != 1, "injected where it is opened");
            let panicked = panicked.clone();
            numbers(from, 500).inspect(move |item| {
                let is_last = matches!(item, Ok((300, _)));
                assert!(!is_last || panicked.swap(true, Ordering::SeqCst), "injected in the stream");
            })
        })
        .bounded();
        let env = checkpointed("panicking", 1, None).snapshot_store(MemoryStore::new());
        env.source("numbers", source).sink("out", sink);
        let job = env.start().unwrap();
        watched(&handles, &job);
        assert_eq!(job.await.unwrap().restarts, 2);
        assert!(collected.snapshot().into_iter().eq(0..500));
    });
}

#[test]
fn stream_that_is_always_ready_keeps_no_checkpoint_and_no_end_waiting() {
    run("an endless stream", |handles| async move {
        let (sink, panics) = (CollectSink::new(), Arc::new(AtomicBool::new(false)));
        let collected = sink.handle();
        let source = StreamSource::new(|from: Option<u64>| numbers(from, u64::MAX));
        let env = checkpointed("endless", 2, None).snapshot_store(MemoryStore::new());
        env.source("numbers", source)
            .filter(|number| number % 1_000 == 0)
            .inspect(move |number| assert!(*number < 50_000 || panics.swap(true, Ordering::SeqCst), "once"))
            .sink("out", sink);
        let job = env.start().unwrap();
        watched(&handles, &job);
        while collected.snapshot().len() < 60 {
            // It may be restarting.
            let _ = job.checkpoint().await;
        }
        job.finish().await.unwrap();
        let got = collected.snapshot();
        assert!(got.iter().copied().eq((0..got.len() as u64).map(|number| 1_000 * number)));
    });
}

/// Live streams are counted.
struct Counted<St>(Pin<Box<St>>, Arc<AtomicUsize>);

impl<St: Stream> Counted<St> {
    fn new(stream: St, live: &Arc<AtomicUsize>) -> Self {
        live.fetch_add(1, Ordering::SeqCst);
        Self(Box::pin(stream), live.clone())
    }
}

impl<St: Stream> Stream for Counted<St> {
    type Item = St::Item;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<St::Item>> {
        self.0.as_mut().poll_next(cx)
    }
}

impl<St> Drop for Counted<St> {
    fn drop(&mut self) {
        self.1.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A journal that grows: numbers up to what is published.
fn journal(published: watch::Receiver<u64>, from: Option<u64>) -> impl Stream<Item = Item> + Send {
    stream::unfold((published, from.map_or(0, |from| from + 1)), |(mut published, next)| async move {
        published.wait_for(|end| next < *end).await.ok()?;
        Some((Ok((next, next)), (published, next + 1)))
    })
}

#[test]
fn stream_that_waits_is_woken_and_goes_on_behind_a_drain() {
    run("a journal", |handles| async move {
        let (publish, published) = watch::channel(0);
        let (store, live) = (tempfile::tempdir().unwrap(), Arc::new(AtomicUsize::new(0)));
        let mut read = Vec::new();
        for life in 1..=4_u64 {
            let (sink, published, live) = (CollectSink::new(), published.clone(), live.clone());
            let (collected, counted) = (sink.handle(), live.clone());
            let source =
                StreamSource::new(move |from: Option<u64>| Counted::new(journal(published.clone(), from), &counted));
            let env =
                checkpointed("journal", 1, None).snapshot_store(RedbStore::open(store.path().join("store")).unwrap());
            let panics = Arc::new(AtomicBool::new(false));
            env.source("numbers", source)
                .inspect(move |number| assert!(number % 100 != 50 || panics.swap(true, Ordering::SeqCst), "once"))
                .sink("out", sink);
            let job = env.start().unwrap();
            watched(&handles, &job);
            publish.send_replace(100 * life - 20);
            while collected.snapshot().len() < 40 {
                let _ = job.checkpoint().await;
            }
            publish.send_replace(100 * life);
            if life < 4 {
                job.drain().await.unwrap();
            } else {
                while read.len() + collected.snapshot().len() < 400 {
                    let _ = job.checkpoint().await;
                }
                job.finish().await.unwrap();
            }
            assert_eq!(live.load(Ordering::SeqCst), 0, "streams are dropped with their attempt");
            read.extend(collected.snapshot());
        }
        assert!(read.into_iter().eq(0..400));
    });
}

/// What was read before the order to finish is in the output, though the stream of the next attempt has nothing at first.
#[test]
fn failure_after_the_order_to_finish_loses_nothing_that_was_read() {
    run("a finish that fails", |handles| async move {
        let (sink, (open, opened)) = (CollectSink::new(), watch::channel(true));
        let collected = sink.handle();
        let (reached, mut was_reached) = mpsc::unbounded_channel();
        let source = StreamSource::new(move |from: Option<u64>| {
            let mut opened = opened.clone();
            let open = async move { drop(opened.wait_for(|is_open| *is_open).await) };
            stream::once(open).flat_map(move |()| numbers(from, 100).chain(stream::pending()))
        });
        let fail = Arc::new(AtomicBool::new(false));
        let fails = fail.clone();
        let env = StreamEnvironment::new("finish")
            .checkpointing(Checkpointing::every(Duration::from_secs(3600)))
            .snapshot_store(MemoryStore::new());
        env.source("numbers", source)
            .inspect(move |number| {
                if *number == 99 {
                    let _ = reached.send(());
                }
            })
            .key_by(|_| ())
            .fold("count", 0_u64, |count, _| *count += 1)
            .map(move |((), count)| {
                assert!(count < 100 || !fails.swap(false, Ordering::SeqCst), "injected");
                count
            })
            .sink("out", sink);
        fail.store(true, Ordering::SeqCst);
        let job = env.start().unwrap();
        watched(&handles, &job);
        was_reached.recv().await.unwrap();
        open.send_replace(false);
        let finished = job.finish();
        // The attempt that follows has come to where it waits for its stream, or will.
        open.send_replace(true);
        finished.await.unwrap();
        assert_eq!(collected.snapshot().len(), 100);
    });
}

#[test]
fn timers_of_tokio_work_in_a_stream() {
    run("a stream with timers", |handles| async move {
        let sink = CollectSink::new();
        let collected = sink.handle();
        let source = StreamSource::new(|from: Option<u64>| {
            let ticks = stream::once(async { tokio::time::interval(Duration::from_millis(1)) });
            let ticks = ticks.flat_map(|interval| {
                stream::unfold(interval, |mut interval| async {
                    interval.tick().await;
                    Some(((), interval))
                })
            });
            ticks.zip(numbers(from, 20)).map(|((), item)| item)
        })
        .bounded();
        let env = StreamEnvironment::new("timers");
        env.source("numbers", source).sink("out", sink);
        let job = env.start().unwrap();
        watched(&handles, &job);
        job.await.unwrap();
        assert!(collected.snapshot().into_iter().eq(0..20));
    });
}

#[test]
fn hook_is_told_the_positions_of_completed_checkpoints_and_what_is_still_needed() {
    run("a hook", |handles| async move {
        let (tell, mut told) = mpsc::unbounded_channel();
        let (publish, published) = watch::channel(0);
        let source =
            StreamSource::with_splits(["a", "b"], move |_, from: Option<u64>| journal(published.clone(), from))
                .on_checkpoint(move |completed| {
                    let _ =
                        tell.send((completed.split.to_owned(), *completed.position, completed.oldest_needed.copied()));
                });
        let env = StreamEnvironment::new("hook")
            .parallelism(2)
            .checkpointing(Checkpointing::every(Duration::from_secs(3600)).retain(2))
            .snapshot_store(MemoryStore::new());
        env.source("numbers", source).sink("out", CollectSink::new());
        let job = env.start().unwrap();
        watched(&handles, &job);
        let mut last: BTreeMap<String, u64> = BTreeMap::new();
        for round in 1..=5_u64 {
            publish.send_replace(10 * round);
            let mut complete = 0;
            while complete < 2 {
                job.checkpoint().await.unwrap();
                complete = 0;
                while let Ok((split, position, needed)) = told.try_recv() {
                    assert!(needed.is_none_or(|needed| needed <= position));
                    let before = last.insert(split, position);
                    assert!(before.is_none_or(|before| before <= position));
                }
                complete += last.values().filter(|position| **position == 10 * round - 1).count();
            }
        }
        job.cancel().await.unwrap();
    });
}

#[test]
fn event_time_waits_for_each_split_until_its_end() {
    let clock = ManualClock::new();
    let (publish, published) = watch::channel(0);
    let source = StreamSource::with_splits(["fast", "slow"], move |split, from: Option<u64>| {
        if split == "fast" { numbers(from, 50).boxed() } else { journal(published.clone(), from).take(30).boxed() }
    })
    .bounded();
    let timed = Timed::new(source, WatermarkStrategy::monotonous(|number: &u64| *number as i64));
    let cx = SourceContext { clock: Arc::new(clock), ..source_context(0, 1) };
    let mut reader = timed.open(&cx, None).unwrap();
    let mut marks = Vec::new();
    let mut until_idle = |reader: &mut dyn millstream::source::SourceReader<Item = u64>| {
        loop {
            let status = reader.read(&mut Batch::new()).unwrap();
            marks.extend(reader.take_marks());
            if status != ReadStatus::More {
                return (status, std::mem::take(&mut marks));
            }
        }
    };
    let (_, marks) = until_idle(&mut *reader);
    assert!(marks.is_empty(), "the slow one has said nothing: {marks:?}");
    publish.send_replace(10);
    let (_, marks) = until_idle(&mut *reader);
    assert!(
        format!("{marks:?}").contains("Watermark(8)") || format!("{marks:?}").contains("Watermark(9)"),
        "{marks:?}"
    );
    publish.send_replace(30);
    let (status, _) = until_idle(&mut *reader);
    assert_eq!(status, ReadStatus::End);
}

#[test]
fn stored_position_of_another_type_is_refused() {
    let stored =
        read_source(&StreamSource::new(|from: Option<u64>| numbers(from, 3)).bounded(), 1, None, None).positions;
    let other = StreamSource::new(|_: Option<String>| stream::empty::<Result<(String, ()), io::Error>>());
    let error = other.open(&source_context(0, 1), Some(stored)).err().unwrap();
    assert!(error.location().contains("stream") && !error.is_retryable(), "{error}");
}

/// Cause: the end that `finish` gives a split was stored as that of its stream. Repair: it is told apart.
#[test]
fn split_that_was_cut_by_a_finish_which_did_not_come_to_its_end_is_read_on_by_the_next_start() {
    let (open, opened) = watch::channel(false);
    let source = StreamSource::with_splits(["fast", "held"], move |split, from: Option<u64>| {
        let mut opened = opened.clone();
        let is_held = split == "held" && from.is_none();
        let open = async move { drop(opened.wait_for(|is_open| *is_open || !is_held).await) };
        stream::once(open).flat_map(move |()| numbers(from, 20).chain(stream::pending()))
    });
    let mut reader = source.open(&source_context(0, 1), None).unwrap();
    let mut read_all = |positions: &mut BTreeMap<String, _>| {
        while reader.read(&mut Batch::new()).unwrap() == ReadStatus::More {}
        reader.finish();
        let status = reader.read(&mut Batch::new()).unwrap();
        let mut moved = Vec::new();
        reader.report_positions(&mut moved);
        positions.extend(moved.into_iter().map(|position| (position.split.clone(), position)));
        status
    };
    let mut positions = BTreeMap::new();
    read_all(&mut positions);
    assert_eq!(source.describe_position(&positions["fast"].position), "behind 19");
    open.send_replace(true);
    let longer = StreamSource::with_splits(["fast", "held"], |_, from: Option<u64>| numbers(from, 25)).bounded();
    let read = read_source(&longer, 1, Some(positions.into_values().collect()), None);
    assert_eq!(common::sorted(read.records), common::sorted((0..25).chain(20..25).collect()));
}

#[test]
fn end_of_a_stream_that_is_not_bounded_is_an_error_which_opens_it_again() {
    let error = read_error(&StreamSource::new(|from: Option<u64>| numbers(from, 3)));
    assert!(matches!(reason(&error), StreamSourceError::Ended { split , .. } if split == "stream"), "{error}");
    assert!(error.is_retryable() && error.to_string().contains("bounded()"), "{error}");
    run("a connection that closes", |handles| async move {
        let sink = CollectSink::new();
        let collected = sink.handle();
        let source = StreamSource::new(|from: Option<u64>| {
            let first = from.map_or(0, |from| from + 1);
            let rest = if first >= 60 { stream::pending().boxed() } else { stream::empty().boxed() };
            numbers(from, (first / 20 + 1) * 20).chain(rest)
        });
        // Each opening may end before a checkpoint has more than its first record.
        let restarts = RestartStrategy::fixed_delay(10_000, Duration::ZERO);
        let env = checkpointed("closing", 1, None).snapshot_store(MemoryStore::new()).restart_strategy(restarts);
        env.source("numbers", source).sink("out", sink);
        let job = env.start().unwrap();
        watched(&handles, &job);
        while collected.snapshot().len() < 80 {
            // It may be restarting.
            let _ = job.checkpoint().await;
        }
        let summary = job.finish().await.unwrap();
        assert!(summary.restarts >= 3);
        assert!(collected.snapshot().into_iter().eq(0..80));
    });
}
