//! What figures of a job are together.

use super::answers::{Vertex, WorkFigures};
use super::looks::JobFigures;
use super::text::Text;

/// How far a restore of a subtask is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Restoring {
    pub(super) subtask: Text,
    region: Option<u64>,
    pub(super) checkpoint: u64,
    pub(super) bytes: u64,
    pub(super) bytes_total: u64,
}

impl JobFigures {
    pub(super) fn vertex(&self, id: u64) -> Option<&Vertex> {
        self.detail.vertices.iter().find(|vertex| vertex.id == id)
    }

    /// The name of a subtask.
    pub(super) fn subtask_name(&self, vertex: u64, subtask: u64) -> String {
        match self.vertex(vertex) {
            Some(vertex) => format!("{}[{subtask}]", vertex.name),
            None => format!("vertex {vertex}[{subtask}]"),
        }
    }

    /// The vertex with the largest known figure.
    fn most(&self, figure: impl Fn(&WorkFigures) -> Option<f64>) -> Option<&Vertex> {
        let known = self.detail.vertices.iter().filter_map(|vertex| Some((vertex, figure(&vertex.figures)?)));
        known.max_by(|(_, one), (_, other)| one.total_cmp(other)).map(|(vertex, _)| vertex)
    }

    pub(super) fn busiest(&self) -> Option<&Vertex> {
        self.most(|figures| figures.busy)
    }

    pub(super) fn most_held_up(&self) -> Option<&Vertex> {
        self.most(|figures| figures.backpressured)
    }

    pub(super) fn furthest_behind(&self) -> Option<&Vertex> {
        self.most(|figures| figures.watermark_lag_ms)
    }

    fn sources(&self) -> impl Iterator<Item = &WorkFigures> {
        self.detail.vertices.iter().filter(|vertex| vertex.kind.as_str() == "source").map(|vertex| &vertex.figures)
    }

    /// What all sources read; where they do not say, what they send.
    pub(super) fn records_per_second(&self) -> Option<f64> {
        let sum = |figure: fn(&WorkFigures) -> Option<f64>| {
            self.sources().filter_map(figure).reduce(|one, other| one + other)
        };
        let read = sum(|figures| figures.records_in_per_second).filter(|read| *read > 0.0);
        read.or_else(|| sum(|figures| figures.records_out_per_second))
    }

    pub(super) fn records(&self) -> u64 {
        let sum = |figure: fn(&WorkFigures) -> u64| self.sources().map(figure).fold(0, u64::saturating_add);
        match sum(|figures| figures.records_in) {
            0 => sum(|figures| figures.records_out),
            read => read,
        }
    }

    /// The sum of what is known of all vertices.
    pub(super) fn sum(&self, figure: impl Fn(&WorkFigures) -> Option<u64>) -> Option<u64> {
        self.detail.vertices.iter().filter_map(|vertex| figure(&vertex.figures)).reduce(u64::saturating_add)
    }

    pub(super) fn downtime_ms(&self) -> f64 {
        self.detail.regions.iter().map(|region| region.downtime_ms).sum()
    }

    pub(super) fn has_ended(&self) -> bool {
        self.detail.ended_unix_ms.is_some()
    }

    /// Which subtasks restore state, by what the log says last of them.
    pub(super) fn restoring(&self) -> Vec<Restoring> {
        let mut all: Vec<Restoring> = Vec::new();
        for event in &self.events {
            let region = event.number("region");
            match event.event.as_str() {
                "restoring" => {
                    let Some(subtask) = event.text("actor") else { continue };
                    all.retain(|one| one.subtask != subtask);
                    let number = |field| event.number(field).unwrap_or_default();
                    let (checkpoint, bytes, bytes_total) =
                        (number("checkpoint"), number("bytes"), number("bytes_total"));
                    all.push(Restoring { subtask, region, checkpoint, bytes, bytes_total });
                }
                "restored" | "region_running" | "region_restarting" | "ended" => {
                    all.retain(|one| region.is_some() && one.region != region);
                }
                _ => {}
            }
        }
        all
    }
}
