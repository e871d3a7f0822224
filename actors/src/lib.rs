//! The engine room of Millstream: the actors that run a job, the messages between them, and the rules they follow.
//!
//! **Programs do not use this package.** They depend on `millstream`, which has the language in which jobs are written, and
//! exports all types of this one that a program names. Its first page is where to begin. What is public here is so for that
//! package, and changes with it.
//!
//! `docs/architecture.md` is the map of this one: what each of its modules holds, and how records, barriers and failures go
//! through it.
//!
//! | actor | takes | sends to |
//! |---|---|---|
//! | job supervisor (root) | ends of regions, the coordinator's verdict, the handle's wishes | all below it |
//! | region supervisor, one per region | ends and readiness of subtasks | subtasks, coordinator, root |
//! | checkpoint coordinator | acknowledgements, readiness of regions, the writer's answers | sources, tasks, writer, root |
//! | snapshot writer | chunks from tasks, the coordinator's requests | coordinator |
//! | source, operator and sink tasks | elements and credits; barriers, completions | each other; coordinator, writer, region supervisor |

pub mod contract;
mod control;
pub mod data;
pub mod protocol;
pub mod runtime;
pub mod task;

pub use control::escalation::{Escalation, EscalationDecision, EscalationPort};
pub use control::event::{JobEvent, JobEventKind, RegionAwaited};
pub use control::event_log::{JobState, JobStatus};
pub use control::event_subscribers::{EventSubscribers, JobEvents};
pub use control::figures::{
    BacklogOfSource, CompletedCheckpoint, FiguresOfChannel, FiguresOfOperator, LastRestore, SubtaskFigures,
};
pub use control::job_handle::JobHandle;
pub use control::launch::{JobConfig, SavepointConfig, launch, launch_on};
pub use control::metrics::{
    CheckpointCounts, CheckpointOutcome, CheckpointRecord, JobMetrics, OperatorRates, RegionMetrics, SnapshotParts,
    SubtaskRates,
};
pub use control::outcome::{
    CheckpointError, FailureRecord, JobError, JobOutcome, OutcomeKind, Restarting, SavepointError,
};
pub use control::parked_region::{ParkedRegion, ResumeRegionError};
pub use control::pause_error::PauseError;
pub use control::plan::{JobPlan, PlannedEdge, PlannedTask};
pub use control::progress::{CheckpointProgress, SavepointProgress};
pub use control::region_settings::RegionSettings;
pub use control::rescale_error::{RescaleError, Rescaled};
#[doc(hidden)]
pub use control::state_queries::{AwaitedPlace, FromCheckpoint, OpaqueQuery, QueriedOperator, Reached, StateQueries};
