//! Pausing and resuming: the root's part, which has the store keep it and the regions tell their sources.

use std::collections::BTreeMap;

use super::*;
use crate::control::pause_error::PauseError;
use crate::control::region_supervisor::PauseRegion;
use crate::protocol::{PauseCommand, PauseRefusal, PauseWish, Pausing};

/// The handle's wish.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct RequestPause {
    pub(crate) wish: PauseWish,
    pub(crate) reply: oneshot::Sender<Result<(), PauseError>>,
}

/// Requests, and what becomes of them.
pub(super) struct PauseRequests {
    rules: Pausing,
    replies: BTreeMap<u64, oneshot::Sender<Result<(), PauseError>>>,
    next: u64,
    /// The pause of which events have told last.
    told: Option<u64>,
}

impl PauseRequests {
    pub(super) fn new(since: Option<u64>) -> Self {
        Self { rules: Pausing::new(since), replies: BTreeMap::new(), next: 0, told: since }
    }
}

impl JobSupervisor {
    /// The job was asked to end.
    pub(super) fn pause_ends(&mut self, ending: Ending, ctx: &mut Context<Self>) {
        let finishes = ending == Ending::Finish;
        let mut commands = Vec::new();
        self.pauses.rules.ending(finishes, &mut commands);
        if finishes {
            self.set_paused(None);
        }
        self.carry_out_pause(commands, ctx);
    }

    fn carry_out_pause(&mut self, commands: Vec<PauseCommand>, ctx: &mut Context<Self>) {
        for command in commands {
            match command {
                PauseCommand::Keep { since } => self.keep_pause(since, ctx),
                PauseCommand::Tell { since } => self.tell_regions(since, ctx),
                PauseCommand::Answer { request, result } => {
                    let reply = self.pauses.replies.remove(&request);
                    // Whoever asked may have lost interest.
                    let _ = reply.map(|reply| reply.send(result.map_err(PauseError::from)));
                }
            }
        }
    }

    fn keep_pause(&mut self, since: Option<u64>, ctx: &mut Context<Self>) {
        let (done, kept) = oneshot::channel();
        self.below.writer.do_send(StoreRequest::KeepPause { since, done });
        ctx.spawn(kept.into_actor(self).map(|kept, this, ctx| {
            let result = match kept {
                Ok(result) => result.map_err(PauseRefusal::Store),
                Err(_) => Err(PauseRefusal::Interrupted),
            };
            let mut commands = Vec::new();
            this.pauses.rules.kept(result, this.job.clock.unix_ms(), &mut commands);
            this.carry_out_pause(commands, ctx);
        }));
    }

    /// Has all sources pause or read on, as the job says. Regions that do not run find it when they do.
    pub(super) fn tell_sources(&self) -> impl Future<Output = ()> + use<> {
        let told = self.below.pause_regions.iter().map(|region| {
            let (done, told) = oneshot::channel();
            region.do_send(PauseRegion { done });
            told
        });
        let told: Vec<_> = told.collect();
        async move {
            for region in told {
                // A region that has ended reads nothing.
                let _ = region.await;
            }
        }
    }

    fn tell_regions(&mut self, since: Option<u64>, ctx: &mut Context<Self>) {
        *lock(&self.job.paused_since) = since;
        ctx.spawn(self.tell_sources().into_actor(self).map(move |(), this, ctx| {
            // Unless the job finishes meanwhile, which has been told.
            if *lock(&this.job.paused_since) == since {
                this.tell_paused(since);
            }
            let mut commands = Vec::new();
            this.pauses.rules.told(this.job.clock.unix_ms(), &mut commands);
            this.carry_out_pause(commands, ctx);
        }));
    }

    fn set_paused(&mut self, since: Option<u64>) {
        *lock(&self.job.paused_since) = since;
        self.tell_paused(since);
    }

    /// Tells once of each change, also where the sources were not all told of the one before.
    fn tell_paused(&mut self, since: Option<u64>) {
        match (std::mem::replace(&mut self.pauses.told, since), since) {
            (None, Some(since_unix_ms)) => {
                self.job.emit(JobEventKind::Paused { since_unix_ms, at_start: false });
            }
            (Some(since_unix_ms), None) => self.job.emit(JobEventKind::Resumed { since_unix_ms }),
            _ => {}
        }
    }
}

impl Handler<RequestPause> for JobSupervisor {
    type Result = ();

    fn handle(&mut self, RequestPause { wish, reply }: RequestPause, ctx: &mut Self::Context) {
        let PauseRequests { rules, replies, next, .. } = &mut self.pauses;
        *next += 1;
        let request = *next;
        replies.insert(request, reply);
        let is_ending = self.result.is_some() || lock(&self.job.ending).is_some();
        let mut commands = Vec::new();
        rules.asked((request, wish), is_ending, self.job.clock.unix_ms(), &mut commands);
        self.carry_out_pause(commands, ctx);
    }
}
