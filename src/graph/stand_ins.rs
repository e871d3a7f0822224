//! What stands in for the sources and sinks of a job where a test feeds and reads them.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use millstream_actors::protocol::OperatorId;

use super::{GraphBuilder, JobSettings, NodeKind};
use crate::source::fed::{AnyFeed, Choose};

/// Of one source or sink: all that it was fed, or has shown, in all lives of the job.
pub(crate) struct StandIn<D: ?Sized> {
    /// The type of its records.
    pub(crate) item: &'static str,
    pub(crate) data: Arc<D>,
}

/// Those of a job, by the ids of what they stand in for.
pub(crate) struct StandIns {
    pub(crate) choose: Choose,
    pub(crate) sources: BTreeMap<OperatorId, StandIn<dyn AnyFeed>>,
    pub(crate) sinks: BTreeMap<OperatorId, StandIn<dyn Any + Send + Sync>>,
}

/// One of a job's sources or sinks has other records than in an earlier life.
pub(crate) struct OtherRecords {
    pub(crate) is_source: bool,
    pub(crate) id: OperatorId,
    pub(crate) before: &'static str,
    pub(crate) now: &'static str,
}

impl StandIns {
    pub(crate) fn new(choose: Choose) -> Self {
        Self { choose, sources: BTreeMap::new(), sinks: BTreeMap::new() }
    }

    /// Puts them in the place of all sources and sinks of a graph; those that are not known yet are made.
    ///
    /// # Errors
    /// Of the first whose records have another type than before.
    pub(crate) fn take_over(&mut self, graph: &mut GraphBuilder, settings: &JobSettings) -> Result<(), OtherRecords> {
        for node in &mut graph.nodes {
            let id = &node.id;
            match &mut node.kind {
                NodeKind::Source(source) => {
                    let subtasks = node.parallelism.unwrap_or(settings.parallelism);
                    let new = || StandIn { item: source.item(), data: source.new_feed(subtasks) };
                    let known = self.sources.entry(id.clone()).or_insert_with(new);
                    let (before, now) = (known.item, source.item());
                    let other = || OtherRecords { is_source: true, id: id.clone(), before, now };
                    *source = source.fed(&known.data, &self.choose).ok_or_else(other)?;
                }
                NodeKind::Sink(sink) => {
                    let new = || StandIn { item: sink.item(), data: sink.new_shown() };
                    let known = self.sinks.entry(id.clone()).or_insert_with(new);
                    let (before, now) = (known.item, sink.item());
                    let other = || OtherRecords { is_source: false, id: id.clone(), before, now };
                    *sink = sink.shown(&known.data).ok_or_else(other)?;
                }
                NodeKind::Operator(_) => {}
            }
        }
        Ok(())
    }
}
