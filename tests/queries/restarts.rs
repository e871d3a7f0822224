//! Q3: what is answered while a region does not run.

use std::time::Duration;

use millstream::prelude::*;
use millstream::query::{AsOf, Consistency};
use millstream::time::ManualClock;
use millstream::{JobEventKind, QueryError};

use crate::common::{events_of, run, watched};
use crate::rig::{POISON, Rig, backends, sums_below};

const DELAY: Duration = Duration::from_secs(3_600);
const SECOND: Duration = Duration::from_secs(1);

/// Guarantee Q3.
#[test]
fn restart_says_when_to_ask_again_or_answers_of_the_checkpoint_and_takes_live_answers_back() {
    let dir = tempfile::tempdir().unwrap();
    for backend in backends(dir.path()) {
        run("a query while the job restarts", move |handles| async move {
            let clock = ManualClock::new();
            let env = StreamEnvironment::new("restarts").state_backend(backend).parallelism(1).clock(clock.clone());
            let env = env.checkpointing(Checkpointing::every(DELAY)).snapshot_store(MemoryStore::new());
            let rig = Rig::start(env.restart_strategy(RestartStrategy::fixed_delay(9, DELAY)));
            watched(&handles, &rig.job);
            let mut events = events_of(&rig.job);
            rig.take(0..100);
            let taken = rig.job.checkpoint().await.unwrap();
            clock.advance(90 * SECOND);
            rig.take([10_005]);
            let (_, sum) = sums_below(100)[5];
            assert_eq!(rig.sums().get(&5).await.unwrap().value, Some(sum + 10_005));

            rig.push([POISON]);
            events.until(|kind| matches!(kind, JobEventKind::RegionRestarting { .. })).await;
            // The delay begins when the last subtask has ended.
            let retry_after = loop {
                let error = rig.sums().get(&5).await.unwrap_err();
                assert!(matches!(error, QueryError::Restarting { .. }), "{error}");
                match error.retry_after().unwrap() {
                    soon if soon < DELAY / 2 => tokio::task::yield_now().await,
                    later => break later,
                }
            };
            // The clock stands still while nobody moves it.
            assert_eq!(retry_after, DELAY);
            clock.advance(70 * SECOND);
            let later = rig.sums().get(&5).await.unwrap_err();
            assert_eq!(later.retry_after(), Some(DELAY - 70 * SECOND), "{later}");
            for consistency in [Consistency::LiveOrCheckpoint, Consistency::Checkpoint] {
                let query = rig.sums().consistency(consistency);
                let answer = query.get(&5).await.unwrap();
                assert_eq!(answer.value, Some(sum), "what came behind the checkpoint is taken back");
                // As old as its barriers: of before both advances.
                let is_taken =
                    |as_of: &AsOf| matches!(as_of, AsOf::Checkpoint { checkpoint, .. } if *checkpoint == taken);
                assert!(is_taken(&answer.as_of) && answer.as_of.age() == 160 * SECOND, "{:?}", answer.as_of);
                let page = query.scan(100).await.unwrap();
                assert_eq!(page.value.entries.len(), 10);
                assert!(is_taken(&page.as_of) && page.as_of.age() == 160 * SECOND, "{:?}", page.as_of);
            }
            clock.advance(SECOND);
            let older = rig.sums().consistency(Consistency::Checkpoint).get(&5).await.unwrap();
            assert_eq!(older.as_of.age(), 161 * SECOND);
            rig.job.cancel().await.unwrap();
            for consistency in [Consistency::Live, Consistency::LiveOrCheckpoint, Consistency::Checkpoint] {
                let error = rig.sums().consistency(consistency).get(&5).await.unwrap_err();
                assert!(matches!(error, QueryError::JobEnded) && !error.is_retryable(), "{error}");
            }
        });
    }
}
