//! Those who wait until a source has read something, and the milestone that it is asked for.

use std::collections::BTreeMap;

use actix::{AsyncContext, Context, Handler};
use tokio::sync::oneshot;

use super::{Phase, SourceWork};
use crate::contract::Source;
use crate::protocol::{Mark, Milestone};
use crate::task::milestones::{AwaitRead, EmitMilestone, WAITING_MAX};
use crate::task::source_reading::Reading;
use crate::task::stepper::Task;

/// What was asked of a source besides reading. Empty, if nothing was.
#[derive(Debug, Default)]
pub(super) struct Reads {
    /// By split and offset.
    awaited: BTreeMap<String, BTreeMap<u64, Vec<oneshot::Sender<()>>>>,
    milestone: Option<Milestone>,
    /// There may be something to do.
    is_asked: bool,
}

impl Reads {
    fn add(&mut self, AwaitRead { split, offset, reply }: AwaitRead) {
        self.is_asked = true;
        let count: usize = self.awaited.values().flat_map(BTreeMap::values).map(Vec::len).sum();
        if count >= WAITING_MAX {
            self.retain(|_, reply| !reply.is_closed());
        }
        self.awaited.entry(split).or_default().entry(offset).or_default().push(reply);
    }

    fn retain(&mut self, mut keeps: impl FnMut(u64, &oneshot::Sender<()>) -> bool) {
        self.awaited.retain(|_, offsets| {
            offsets.retain(|offset, replies| {
                replies.retain(|reply| keeps(*offset, reply));
                !replies.is_empty()
            });
            !offsets.is_empty()
        });
    }

    /// Tells those who wait for what has been read of their split.
    fn tell(&mut self, offset_of: impl Fn(&str) -> Option<u64>) {
        self.awaited.retain(|split, offsets| {
            let Some(read) = offset_of(split) else { return true };
            let left = offsets.split_off(&read.saturating_add(1));
            // Nobody may wait any more.
            std::mem::replace(offsets, left).into_values().flatten().for_each(|reply| _ = reply.send(()));
            !offsets.is_empty()
        });
    }
}

impl<S: Source> SourceWork<S> {
    /// Says what has been read to those who wait for it. What is to go behind it, if a milestone was asked for. Asked between reads, when
    /// nothing is suspended.
    #[inline]
    pub(super) fn asked_for(&mut self) -> Option<Mark> {
        if self.reads.is_asked { self.answer_asked() } else { None }
    }

    fn answer_asked(&mut self) -> Option<Mark> {
        // All tasks of the region are ready from then on, and can be asked, too.
        if self.phase != Phase::Opening && !self.reads.awaited.is_empty() {
            if let Some(Reading::Inline { .. }) = &self.reading {
                self.update_positions();
            }
            let Self { reads, positions, source, .. } = self;
            reads.tell(|split| source.offset_of(positions.of(split)?));
        }
        self.reads.is_asked = !self.reads.awaited.is_empty();
        let milestone = self.reads.milestone.take().filter(|_| self.phase != Phase::Ended)?;
        Some(Mark::Milestone(milestone))
    }
}

impl<S: Source> Task<SourceWork<S>> {
    /// Can be asked from now on.
    pub(super) fn open_for_reads(&self, ctx: &Context<Self>) {
        let (place, attempt) = (&self.stepper.cx.queries.source, self.stepper.cx.info.execution.attempt);
        place.open(ctx.address().recipient(), ctx.address().recipient(), attempt);
    }
}

impl<S: Source> Handler<AwaitRead> for Task<SourceWork<S>> {
    type Result = ();

    fn handle(&mut self, message: AwaitRead, ctx: &mut Context<Self>) {
        self.work.reads.add(message);
        self.run(ctx);
    }
}

impl<S: Source> Handler<EmitMilestone> for Task<SourceWork<S>> {
    type Result = ();

    fn handle(&mut self, EmitMilestone { milestone }: EmitMilestone, ctx: &mut Context<Self>) {
        let reads = &mut self.work.reads;
        reads.milestone = Some(milestone).max(reads.milestone);
        reads.is_asked = true;
        self.run(ctx);
    }
}
