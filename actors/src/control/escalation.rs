//! What the host is asked when a region gives up, and what it may answer.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use actix::{Message, MessageResponse, Recipient};
use serde::Serialize;

use crate::control::outcome::JobError;
use crate::protocol::{CheckpointId, RegionId};

/// A region has given up: its restart budget is spent, or it has failed in a way that would repeat. Its tasks have ended. Sent to who was
/// named by `StreamEnvironment::on_escalation`, which answers what is to become of it; other regions run on meanwhile, and no checkpoint
/// completes.
///
/// ```
/// use std::time::Duration;
///
/// use actix::{Actor, Context, Handler};
/// use millstream::prelude::*;
/// use millstream::{Escalation, EscalationDecision};
///
/// /// Parks what is not needed to take orders.
/// struct Operations;
///
/// impl Actor for Operations {
///     type Context = Context<Self>;
/// }
///
/// impl Handler<Escalation> for Operations {
///     type Result = EscalationDecision;
///
///     fn handle(&mut self, escalation: Escalation, _: &mut Context<Self>) -> EscalationDecision {
///         eprintln!("region {} of {}: {}", escalation.region, escalation.job, escalation.cause);
///         match escalation.region.0 {
///             0 => EscalationDecision::EndJob,                // the orders
///             _ => EscalationDecision::Park,
///         }
///     }
/// }
///
/// # actix_rt::System::new().block_on(async {
/// let env = StreamEnvironment::new("orders")
///     .restart_strategy(RestartStrategy::none())
///     .on_escalation(Operations.start().recipient(), Duration::from_secs(5))
///     .tell_panic_hook(false);
/// env.source("orders", SequenceSource::new(0..10)).sink("booked", CollectSink::new());
/// env.source("clicks", SequenceSource::new(0..10)).for_each("count", |n| assert!(n < 5, "no {n}"));
/// let mut events = env.events(100);
/// let job = env.start()?;
/// # while let Some(event) = events.next().await {
/// #     if let millstream::JobEventKind::RegionParked { .. } = event.kind { break; }
/// # }
/// # assert_eq!(job.status().parked.len(), 1);
/// job.drain().await?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug, Message)]
#[rtype(result = "EscalationDecision")]
#[non_exhaustive]
pub struct Escalation {
    /// The job.
    pub job: Arc<str>,
    /// The region that gives up.
    pub region: RegionId,
    /// Why; with this error the job ends, if it is to.
    pub cause: JobError,
    /// Its failures without progress.
    pub failures: u32,
    /// The newest completed checkpoint: it would be parked at that, or restart from it.
    pub checkpoint: Option<CheckpointId>,
}

/// What is to become of a region that gives up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, MessageResponse)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EscalationDecision {
    /// It starts again from the newest checkpoint, at once and with a fresh budget.
    Restart,
    /// It is parked.
    Park,
    /// The job ends with its error.
    EndJob,
    /// What its policy says ([`OnExhausted`](crate::protocol::OnExhausted)), as if nobody had answered in time.
    AsConfigured,
}

impl fmt::Display for EscalationDecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Restart => "it starts again with a fresh budget",
            Self::Park => "it is parked",
            Self::EndJob => "the job ends",
            Self::AsConfigured => "what its policy says",
        })
    }
}

/// Who is asked, and how long an answer is waited for.
#[derive(Clone)]
pub struct EscalationPort {
    /// Who.
    pub recipient: Recipient<Escalation>,
    /// How long.
    pub within: Duration,
}
