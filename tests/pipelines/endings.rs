//! Jobs that end otherwise than with their input: drained, cancelled, finished early, failed; and checkpoints on demand.

use super::*;

/// A job over two stepped sources with state, and its sink.
fn counting(store: &MemoryStore, sink: &Arc<CollectSink<(u64, u64)>>, hold_at: u64) -> (StreamEnvironment, InputEnd) {
    let input = InputEnd::default();
    let env = StreamEnvironment::new("counting")
        .parallelism(2)
        .snapshot_store(store.clone())
        .checkpointing(Checkpointing::every(std::time::Duration::from_millis(1)));
    let source = env.source("numbers", SteppedSource::new("numbers", 800, 20, &input).hold_at(hold_at));
    let counts = source.key_by(|(_, id)| id % 20).fold("count", 0_u64, |count, _| *count += 1);
    counts.sink("counts", SharedSink(sink.clone()));
    (env, input)
}

/// One collecting sink for several lives of a job.
struct SharedSink<T>(Arc<CollectSink<T>>);

impl<T: Send + 'static> millstream::sink::Sink for SharedSink<T> {
    type Item = T;

    fn guarantee(&self) -> millstream::sink::SinkGuarantee {
        self.0.guarantee()
    }

    fn open(
        &self,
        cx: &millstream::sink::SinkContext,
        restored: millstream::sink::SinkRestore,
    ) -> Result<Box<dyn millstream::sink::SinkWriter<Item = T>>, millstream::sink::SinkError> {
        self.0.open(cx, restored)
    }
}

fn all_counts() -> Vec<(u64, u64)> {
    sorted((0..20).flat_map(|key| (1..=40).map(move |count| (key, count))))
}

#[test]
fn drained_and_cancelled_jobs_go_on_exactly_where_they_were() {
    let (store, sink) = (MemoryStore::new(), Arc::new(CollectSink::new()));
    let lives: [fn(JobHandle) -> _; 2] = [|job| futures_of(job, true), |job| futures_of(job, false)];
    let mut read = Vec::new();
    for (life, (drained, hold_at)) in lives.into_iter().zip([(true, 60), (false, 120)]) {
        let (store, sink_of_life) = (store.clone(), sink.clone());
        let (outcome, records) = run("a part of a job", move |handles| async move {
            let (env, input) = counting(&store, &sink_of_life, hold_at);
            let job = env.start().expect("starts");
            watched(&handles, &job);
            events_of(&job).checkpoints(2).await;
            let outcome = life(job).await.expect("ended");
            (outcome, input.records_read())
        });
        assert_eq!(outcome.kind, if drained { OutcomeKind::Drained } else { OutcomeKind::Cancelled });
        if drained {
            // Guarantee G2: everything that was read is committed, and nothing else.
            assert_eq!(sink.handle().len() as u64, records);
        }
        read.push(records);
    }
    assert!(read[0] <= read[1] && read[1] < 800, "{read:?}");
    for already_complete in [false, true] {
        let (store, sink_of_life) = (store.clone(), sink.clone());
        let outcome = run("the rest of a job", move |handles| async move {
            let (env, _) = counting(&store, &sink_of_life, u64::MAX);
            let job = env.start().expect("starts");
            watched(&handles, &job);
            job.await
        });
        let outcome = outcome.expect("finished");
        assert_eq!((outcome.kind, outcome.already_complete), (OutcomeKind::Finished, already_complete));
        // Guarantee G1, guarantee G2.
        assert_eq!(sorted(sink.handle().snapshot()), all_counts());
    }
}

type Ended = std::pin::Pin<Box<dyn Future<Output = Result<JobOutcome, JobError>> + Send>>;

fn futures_of(job: JobHandle, drain: bool) -> Ended {
    if drain { Box::pin(job.drain()) } else { Box::pin(job.cancel()) }
}

#[test]
fn finished_job_commits_what_it_has_read_and_cannot_be_resumed() {
    let (store, sink) = (MemoryStore::new(), Arc::new(CollectSink::new()));
    let (of_life, of_sink) = (store.clone(), sink.clone());
    let (outcome, records) = run("a job that is finished", move |handles| async move {
        let (env, input) = counting(&of_life, &of_sink, 60);
        let job = env.start().expect("starts");
        watched(&handles, &job);
        events_of(&job).checkpoints(2).await;
        (job.finish().await.expect("finished"), input.records_read())
    });
    assert_eq!(outcome.kind, OutcomeKind::Finished);
    assert!(records < 800, "{records}");
    assert_eq!(sink.handle().len() as u64, records);
    let (of_life, of_sink) = (store.clone(), sink.clone());
    let again = run("a complete job", move |_| async move {
        counting(&of_life, &of_sink, u64::MAX).0.start().expect("starts").await
    });
    assert!(again.expect("complete").already_complete);
    assert_eq!(sink.handle().len() as u64, records, "nothing was read again");
}

#[test]
fn checkpoints_come_on_demand_and_after_the_end_where_periodic_ones_are_disabled() {
    run("checkpoints on demand", |handles| async move {
        let input = InputEnd::default();
        let env = env("on-demand").checkpointing(Checkpointing::disabled());
        // Three steps, between which the source waits for a barrier.
        let collected = into_collected(env.source("numbers", SteppedSource::new("numbers", 120, 40, &input)));
        let job = env.start().expect("starts");
        watched(&handles, &job);
        let mut asked = vec![job.checkpoint().await.expect("a checkpoint")];
        while let Ok(checkpoint) = job.checkpoint().await {
            // Once the final one is complete no further one is taken.
            assert!(checkpoint >= asked[asked.len() - 1], "{checkpoint} after {asked:?}");
            asked.push(checkpoint);
        }
        asked.dedup();
        let outcome = job.clone().await.expect("finished");
        assert_eq!(collected.len(), 120);
        let on_demand = asked.len() as u64;
        // A barrier between two of the steps is the least; more of them come before a read, or between the reads of a step.
        assert!(on_demand >= 2, "{asked:?}");
        assert!((on_demand..=on_demand + 1).contains(&outcome.checkpoints), "{} of {asked:?}", outcome.checkpoints);
        job.checkpoint().await.expect_err("the job has ended");
    });
}

#[test]
fn failure_without_checkpoints_starts_over_and_shows_nothing_twice() {
    let failed = Arc::new(AtomicU64::new(0));
    let fails = failed.clone();
    let got = collect(
        "a job without checkpoints",
        move |env| {
            env.source("numbers", SequenceSource::new(0..N)).map(move |n| {
                assert!(n != N / 2 || fails.fetch_add(1, Ordering::Relaxed) > 0, "injected");
                n
            })
        },
        |env| env.checkpointing(Checkpointing::disabled()).parallelism(2),
    );
    assert_eq!(failed.load(Ordering::Relaxed), 2);
    // Guarantee G2.
    assert_eq!(sorted(got), sorted(0..N));
}
