//! Many jobs in one process, none of which has anything to do.

use std::time::Duration;

use millstream::prelude::*;
use millstream::source::{
    Batch, Boundedness, ReadStatus, Source, SourceContext, SourceError, SourceReader, SplitPosition,
};

use super::sink::ForEach;
use crate::measure::{Figure, Run, Stopwatch, pause, process_status};
use crate::plan::{Contender, Plan};

/// For how long jobs settle, and then are watched.
const WATCHED: Duration = Duration::from_secs(4);
/// Between checkpoints, where nothing else is asked for.
const INTERVAL: Duration = Duration::from_secs(1);

pub(super) fn run(plan: Plan, contender: Contender) -> Run {
    let interval = contender.checkpoint_interval().unwrap_or(INTERVAL);
    actix_rt::System::new().block_on(async {
        let jobs: Vec<JobHandle> = (0..plan.records).map(|number| start(number, interval)).collect();
        let watch = || async {
            let watch = Stopwatch::start();
            let watched = actix_rt::task::spawn_blocking(|| pause(WATCHED)).await;
            watched.expect("it does not panic");
            watch.cores()
        };
        watch().await;
        let cores = watch().await;
        let figures = vec![
            Figure::new("MiB resident", process_status("VmRSS") / 1024.0),
            Figure::new("threads", process_status("Threads")),
            Figure::new("cores", cores),
        ];
        for job in jobs {
            job.cancel().await.expect("a running job");
        }
        Run { checksum: None, results: None, figures }
    })
}

fn start(number: u64, interval: Duration) -> JobHandle {
    let env = StreamEnvironment::new(&format!("idle-{number}")).checkpointing(Checkpointing::every(interval));
    env.source("silent", Silent).map(|n| n + 1).sink("nothing", ForEach::new(|_| ()));
    env.start().expect("a valid job")
}

/// A source whose time never comes.
struct Silent;

impl Source for Silent {
    type Item = u64;

    fn boundedness(&self) -> Boundedness {
        Boundedness::Unbounded
    }

    fn open(
        &self,
        _: &SourceContext,
        _: Option<Vec<SplitPosition>>,
    ) -> Result<Box<dyn SourceReader<Item = u64>>, SourceError> {
        Ok(Box::new(Self))
    }
}

impl SourceReader for Silent {
    type Item = u64;

    fn read(&mut self, _: &mut Batch<u64>) -> Result<ReadStatus, SourceError> {
        Ok(ReadStatus::Idle { retry_after: None })
    }

    fn report_positions(&mut self, _: &mut Vec<SplitPosition>) {}
}
