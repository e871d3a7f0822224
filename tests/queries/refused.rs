//! Q4: what does not fit is an error that names what there is.

use std::time::Duration;

use millstream::prelude::*;
use millstream::query::{Consistency, KEYS_MAX, PAGE_MAX};
use millstream::{Fault, QueryError};
use serde::{Deserialize, Serialize, Serializer};

use crate::common::{run, watched};
use crate::rig::Rig;

/// Guarantee Q4.
#[test]
fn wrong_names_types_and_sizes_are_errors_that_name_what_is_there() {
    run("wrong queries", |handles| async move {
        let env = StreamEnvironment::new("refused").snapshot_store(MemoryStore::new());
        let rig = Rig::start(env.checkpointing(Checkpointing::every(Duration::from_secs(3_600))));
        watched(&handles, &rig.job);
        rig.take(0..10);
        rig.job.checkpoint().await.unwrap();
        let job = &rig.job;
        for consistency in [Consistency::Live, Consistency::Checkpoint] {
            let wrong = job.query::<u64, u64>("totals", "accumulator").consistency(consistency).get(&1).await;
            let wrong = wrong.unwrap_err();
            assert!(matches!(&wrong, QueryError::UnknownOperator { .. }), "{wrong}");
            assert!(wrong.to_string().contains("'numbers', 'sums', "), "{wrong}");
            let wrong = job.query::<u64, u64>("worked-off", "sum").consistency(consistency).get(&1).await;
            let wrong = wrong.unwrap_err();
            assert!(matches!(&wrong, QueryError::NoKeyedState { .. }), "{wrong}");
            let wrong = job.query::<u64, u64>("sums", "sum").consistency(consistency).get(&1).await.unwrap_err();
            assert!(matches!(&wrong, QueryError::UnknownState { .. }), "{wrong}");
            assert!(wrong.to_string().contains("'accumulator'"), "{wrong}");
            let wrong = job.query::<u64, String>("sums", "accumulator").consistency(consistency).get_all(&[]).await;
            let wrong = wrong.unwrap_err();
            assert!(matches!(&wrong, QueryError::WrongValueType { stored: "u64", asked: "alloc::string::String", .. }));
            let wrong =
                job.query::<i32, u64>("sums", "accumulator").consistency(consistency).get(&1).await.unwrap_err();
            assert!(matches!(&wrong, QueryError::WrongKeyType { stored: "u64", asked: "i32", .. }), "{wrong}");
            let wrong =
                job.query::<i32, u64>("sums", "accumulator").consistency(consistency).scan(1).await.unwrap_err();
            assert!(matches!(&wrong, QueryError::WrongKeyType { .. }) && wrong.fault() == Fault::User, "{wrong}");
        }
        let wrong = rig.sums().get_all(&vec![1; KEYS_MAX + 1]).await.unwrap_err();
        assert!(matches!(wrong, QueryError::TooMany { .. }), "{wrong}");
        let wrong = rig.sums().scan(PAGE_MAX + 1).await.unwrap_err();
        assert!(matches!(wrong, QueryError::TooMany { .. }), "{wrong}");
        let wrong = rig.sums().scan(0).await.unwrap_err();
        assert!(matches!(wrong, QueryError::NoLimit), "{wrong}");
        // The job goes on as it was.
        rig.take(10..20);
        assert_eq!(rig.sums().get(&1).await.unwrap().value, Some(12));
        assert_eq!(rig.job.cancel().await.unwrap().restarts, 0);
    });
}

/// Its serializer panics.
#[derive(Clone, Deserialize)]
struct Panics;

impl Serialize for Panics {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        panic!("no")
    }
}

/// Guarantee Q4.
#[test]
fn serializer_that_panics_in_a_query_is_an_error_and_the_task_goes_on() {
    run("a panic in a query", |handles| async move {
        let env = StreamEnvironment::new("panics").checkpointing(Checkpointing::disabled());
        let (sender, worked_off) = std::sync::mpsc::channel();
        let numbers = crate::common::QueueSource::default();
        env.source("numbers", numbers.clone())
            .key_by(|n| *n)
            .fold_map("panics", Panics, |_, _| {}, |key, _| *key)
            .inspect(move |n| {
                let _ = sender.send(*n);
            })
            .sink("out", ForEachSink::new(|_| Ok(())));
        let job = env.start().unwrap();
        watched(&handles, &job);
        for n in 0..3 {
            numbers.push([n]);
            worked_off.recv().unwrap();
            let error = job.query::<u64, Panics>("panics", "accumulator").get(&n).await;
            let Err(QueryError::Panicked { report }) = error else { panic!("it has no bytes") };
            assert_eq!(report.message, "no");
        }
        assert_eq!(job.cancel().await.unwrap().restarts, 0);
    });
}
