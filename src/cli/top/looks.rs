//! Asking the server again and again, on a thread of its own: a server that does not answer holds up no key.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::thread;
use std::time::Duration;

use millstream_actors::contract::Clock;

use super::address::Address;
use super::answers::{CheckpointDetail, Checkpoints, Exceptions, Failure, JobDetail, JobId, Log, LogEvent, Overview};
use super::client::Client;
use super::error::TopError;
use super::link::pause_after;
use crate::time::SystemClock;

/// The version of the interface that is understood.
const API: u64 = 1;
/// Events that are asked for.
const EVENTS: usize = 256;

/// What is to be asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wish {
    /// Of which job; the only one, if none is said.
    pub(super) job: Option<JobId>,
    /// The parts of the subtasks of this checkpoint.
    pub(super) checkpoint: Option<u64>,
    /// What has failed.
    pub(super) failures: bool,
}

/// What the server says at one time.
#[derive(Clone, Debug)]
pub(super) struct Look {
    pub(super) overview: Overview,
    pub(super) job: JobLook,
}

#[derive(Clone, Debug)]
pub(super) enum JobLook {
    /// There are none or several, and none was named.
    Unchosen,
    /// The server does not show it, or not any more.
    Gone,
    Known(Box<JobFigures>),
}

/// All about one job.
#[derive(Clone, Debug, Default)]
pub(super) struct JobFigures {
    pub(super) detail: JobDetail,
    pub(super) checkpoints: Checkpoints,
    /// Oldest first.
    pub(super) events: Vec<LogEvent>,
    /// Newest first; `None` if they were not asked for.
    pub(super) failures: Option<Vec<Failure>>,
    /// Of the checkpoint that was asked for, if the server has it.
    pub(super) parts: Option<CheckpointDetail>,
}

/// Asks for all of a wish.
///
/// # Errors
/// All of [`TopError`] that are about answers.
pub(super) fn look(client: &Client, address: &Address, wish: &Wish) -> Result<Look, TopError> {
    let url = address.overview();
    let overview: Overview = client.get(&url)?;
    if overview.api != API {
        return Err(TopError::Version { url: url.into(), api: overview.api });
    }
    let id = match (&wish.job, &*overview.jobs) {
        (Some(id), _) => id.clone(),
        (None, [only]) => only.id.clone(),
        (None, _) => return Ok(Look { overview, job: JobLook::Unchosen }),
    };
    let job = match job(client, address, &id, wish) {
        Ok(figures) => JobLook::Known(Box::new(figures)),
        Err(TopError::Refused { code, .. }) if code.as_str() == "no_such_job" => JobLook::Gone,
        Err(error) => return Err(error),
    };
    Ok(Look { overview, job })
}

fn job(client: &Client, address: &Address, id: &JobId, wish: &Wish) -> Result<JobFigures, TopError> {
    let log: Log = client.get(&address.job(id, &format!("/log?limit={EVENTS}")))?;
    let mut figures = JobFigures {
        detail: client.get(&address.job(id, ""))?,
        checkpoints: client.get(&address.job(id, "/checkpoints"))?,
        events: log.events,
        failures: None,
        parts: None,
    };
    if wish.failures {
        let exceptions: Exceptions = client.get(&address.job(id, "/exceptions"))?;
        figures.failures = Some(exceptions.failures);
    }
    if let Some(checkpoint) = wish.checkpoint {
        figures.parts = match client.get(&address.job(id, &format!("/checkpoints/details/{checkpoint}"))) {
            Ok(parts) => Some(parts),
            Err(TopError::Refused { code, .. }) if code.as_str() == "no_such_checkpoint" => None,
            Err(error) => return Err(error),
        };
    }
    Ok(figures)
}

/// What a look has given.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) wish: Wish,
    pub(super) said: Result<Look, TopError>,
    /// When, by the clock of the program.
    pub(super) at: Duration,
    /// When the server is asked again.
    pub(super) next: Duration,
}

/// The thread that asks. It ends when this is dropped, once its request has.
#[derive(Debug)]
pub(super) struct Looks {
    wishes: Sender<Wish>,
    answers: Receiver<Answer>,
}

impl Looks {
    /// Begins to ask.
    ///
    /// # Errors
    /// [`TopError::Terminal`] if the system gives no thread.
    pub(super) fn start(
        address: Address,
        wish: Wish,
        interval: Duration,
        clock: SystemClock,
    ) -> Result<Self, TopError> {
        let (wishes, wished) = channel();
        // One answer waits at most: a display that is slow gets figures that are not old.
        let (say, answers) = sync_channel(1);
        let ask = move || ask(&address, wish, interval, &clock, &wished, &say);
        thread::Builder::new().name("millstream-top".to_owned()).spawn(ask).map_err(TopError::Terminal)?;
        Ok(Self { wishes, answers })
    }

    /// Has this asked at once.
    pub(super) fn ask(&self, wish: Wish) {
        // The thread ends before this only by a panic, which is told where the answers are taken.
        let _ = self.wishes.send(wish);
    }

    /// The answer that waits, if any.
    ///
    /// # Panics
    /// If the thread has panicked.
    pub(super) fn heard(&self) -> Option<Answer> {
        match self.answers.try_recv() {
            Ok(answer) => Some(answer),
            Err(std::sync::mpsc::TryRecvError::Empty) => None,
            Err(std::sync::mpsc::TryRecvError::Disconnected) => panic!("the thread that asks the server has panicked"),
        }
    }
}

fn ask(
    address: &Address,
    mut wish: Wish,
    interval: Duration,
    clock: &SystemClock,
    wished: &Receiver<Wish>,
    say: &SyncSender<Answer>,
) {
    let (client, mut failures) = (Client::new(), 0_u32);
    loop {
        let said = look(&client, address, &wish);
        failures = if said.is_ok() { 0 } else { failures.saturating_add(1) };
        let pause = if failures == 0 { interval } else { pause_after(failures) };
        let at = clock.now();
        if say.send(Answer { wish: wish.clone(), said, at, next: at + pause }).is_err() {
            return;
        }
        match wished.recv_timeout(pause) {
            Ok(newer) => wish = wished.try_iter().last().unwrap_or(newer),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}
