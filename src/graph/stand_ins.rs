//! What stands in for the sources and sinks of a job where a test feeds and reads them.

use std::collections::BTreeMap;
use std::sync::Arc;

use millstream_actors::protocol::OperatorId;

use super::{GraphBuilder, JobSettings, NodeKind};
use crate::sink::shown::AnyShown;
use crate::source::fed::{AnyFeed, Choose};

/// Of one source or sink: all that it was fed, or has shown, in all lives of the job.
pub(crate) struct StandIn<D: ?Sized> {
    /// The type of its records.
    pub(crate) item: &'static str,
    pub(crate) data: Arc<D>,
}

impl<D: ?Sized> Clone for StandIn<D> {
    fn clone(&self) -> Self {
        Self { item: self.item, data: self.data.clone() }
    }
}

/// Those of a job, by the ids of what they stand in for.
pub(crate) struct StandIns {
    pub(crate) choose: Choose,
    pub(crate) sources: BTreeMap<OperatorId, StandIn<dyn AnyFeed>>,
    pub(crate) sinks: BTreeMap<OperatorId, StandIn<dyn AnyShown>>,
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

    /// Puts them in the place of all sources and sinks of a graph. Those that are not known by an id, or a former one, are made;
    /// those that the graph has not are dropped.
    ///
    /// # Errors
    /// Of the first whose records have another type than before. All is as it was then.
    pub(crate) fn take_over(&mut self, graph: &mut GraphBuilder, settings: &JobSettings) -> Result<(), OtherRecords> {
        let (mut sources, mut sinks) = (BTreeMap::new(), BTreeMap::new());
        for node in &mut graph.nodes {
            let id = node.id.clone();
            let mut ids = std::iter::once(&node.id).chain(&node.former_ids);
            match &mut node.kind {
                NodeKind::Source(source) => {
                    let subtasks = node.parallelism.unwrap_or(settings.parallelism);
                    let new = || StandIn { item: source.item(), data: source.new_feed(subtasks) };
                    let known = ids.find_map(|id| self.sources.get(id).cloned()).unwrap_or_else(new);
                    let (before, now) = (known.item, source.item());
                    let other = || OtherRecords { is_source: true, id: id.clone(), before, now };
                    *source = source.fed(&known.data, &self.choose).ok_or_else(other)?;
                    sources.insert(id, known);
                }
                NodeKind::Sink(sink) => {
                    let new = || StandIn { item: sink.item(), data: sink.new_shown() };
                    let known = ids.find_map(|id| self.sinks.get(id).cloned()).unwrap_or_else(new);
                    let (before, now) = (known.item, sink.item());
                    let other = || OtherRecords { is_source: false, id: id.clone(), before, now };
                    *sink = sink.shown(&known.data).ok_or_else(other)?;
                    sinks.insert(id, known);
                }
                NodeKind::Operator(_) => {}
            }
        }
        (self.sources, self.sinks) = (sources, sinks);
        Ok(())
    }
}
