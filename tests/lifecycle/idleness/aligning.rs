//! Records that wait for a barrier of another input.

use super::*;

/// A queue that counts how often it was asked where it stands, as it is at each barrier.
#[derive(Clone, Default)]
struct Asked(QueueSource, Arc<AtomicU64>);

struct AskedReader(Box<dyn SourceReader<Item = u64>>, Arc<AtomicU64>);

impl Source for Asked {
    type Item = u64;

    fn boundedness(&self) -> Boundedness {
        Boundedness::Unbounded
    }

    fn open(
        &self,
        cx: &SourceContext,
        restored: Option<Vec<SplitPosition>>,
    ) -> Result<Box<dyn SourceReader<Item = u64>>, SourceError> {
        Ok(Box::new(AskedReader(self.0.open(cx, restored)?, self.1.clone())))
    }
}

impl SourceReader for AskedReader {
    type Item = u64;

    fn read(&mut self, batch: &mut Batch<u64>) -> Result<ReadStatus, SourceError> {
        self.0.read(batch)
    }

    fn report_positions(&mut self, moved: &mut Vec<SplitPosition>) {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.report_positions(moved);
    }
}

/// T14: a task before the strategy holds back the records of one input, since the barrier of another comes late.
#[test]
fn input_that_is_held_back_for_a_barrier_is_not_taken_for_idle() {
    run("a job whose barriers are slow", move |handles| async move {
        let (clock, windows) = (ManualClock::new(), Windows::default());
        let ([ahead, slow], behind) = ([(); 2].map(|()| QueueSource::default()), Asked::default());
        let (gate, arrived, opens) = Gated::new();
        let env = StreamEnvironment::new("aligns").clock(clock.clone());
        let env = env.checkpointing(Checkpointing::every(NEVER).timeout(NEVER));
        let of_slow = env.source("slow", slow.clone()).rebalance().inspect(move |_| gate.pass()).own_arbiters();
        let together = env.source("behind", behind.clone()).union(of_slow).map(|n| n);
        let of_behind = together.rebalance().assign_timestamps_and_watermarks("times", strategy());
        windows.of(numbers(&env, "ahead", ahead.clone(), Place::AtTheSource).union(of_behind));
        let job = env.start().unwrap();
        watched(&handles, &job);
        ahead.push([10, 1_000]);
        behind.0.push([50]);
        job.checkpoint().await.unwrap();
        slow.push([55]);
        arrived.recv().unwrap();
        let (asked, checkpoint) = (behind.1.load(Ordering::SeqCst), job.checkpoint());
        while behind.1.load(Ordering::SeqCst) == asked {
            tokio::task::yield_now().await;
        }
        behind.0.push([60]);
        let is_read =
            || job.figures().iter().any(|task| task.task.starts_with("behind") && task.of_attempt.records_in == 2);
        while !is_read() {
            tokio::task::yield_now().await;
        }
        for _ in 0..50 {
            clock.advance(IDLE_AFTER / 10);
            others_run().await;
        }
        assert_eq!(windows.fired(), 0);
        drop(opens);
        checkpoint.await.unwrap();
        job.checkpoint().await.unwrap();
        assert_eq!((windows.fired(), windows.late()), (0, 0));
        while windows.fired() < 4 {
            clock.advance(Duration::from_millis(500));
            job.checkpoint().await.unwrap();
        }
        assert_eq!(windows.late(), 0);
        job.cancel().await.unwrap();
    });
}
