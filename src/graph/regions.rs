//! The regions of a graph, and what is said of each.

use std::collections::BTreeMap;

use millstream_actors::protocol::{RegionId, RegionPolicy};

use super::{GraphBuilder, GraphError, JobSettings, NodeId, Placed};

impl GraphBuilder {
    /// The region of each node: connected components, from 0 in the order of their first nodes, which are sources. So are they numbered
    /// when the graph is chained.
    fn regions_of_nodes(&self) -> Vec<RegionId> {
        let mut component: Vec<NodeId> = (0..self.nodes.len()).collect();
        for (id, node) in self.nodes.iter().enumerate() {
            for from in node.inputs.iter().map(|edge| edge.from.node) {
                let (a, b) = (component[from], component[id]);
                let (lower, higher) = (a.min(b), a.max(b));
                component.iter_mut().filter(|of| **of == higher).for_each(|of| *of = lower);
            }
        }
        let mut numbers: BTreeMap<NodeId, u32> = BTreeMap::new();
        let numbered = component.into_iter().map(|first| {
            let next = numbers.len() as u32;
            RegionId(*numbers.entry(first).or_insert(next))
        });
        numbered.collect()
    }

    /// What is said in each region, in the order of the program.
    fn said_of_regions(&self) -> BTreeMap<RegionId, Vec<&Placed<RegionPolicy>>> {
        let mut said: BTreeMap<RegionId, Vec<_>> = BTreeMap::new();
        for (node, region) in self.nodes.iter().zip(self.regions_of_nodes()) {
            if !node.region_policies.is_empty() {
                said.entry(region).or_default().extend(&node.region_policies);
            }
        }
        said
    }

    /// The policies of the regions that have one.
    pub(crate) fn region_policies(&self) -> BTreeMap<RegionId, RegionPolicy> {
        let merged = |said: Vec<&Placed<RegionPolicy>>| {
            said.into_iter().fold(RegionPolicy::new(), |policy, more| policy.or(&more.value))
        };
        self.said_of_regions().into_iter().map(|(region, said)| (region, merged(said))).collect()
    }

    /// Policies that contradict each other, and strategies that cannot work.
    pub(super) fn check_region_policies(&self) -> Vec<GraphError> {
        let mut errors = Vec::new();
        for said in self.said_of_regions().values() {
            for (index, second) in said.iter().enumerate() {
                if let Some(reason) = second.value.restart().and_then(|restart| restart.mistake()) {
                    errors.push(GraphError::InvalidSetting { setting: "region_policy(..)", reason, at: second.at });
                }
                let contradiction = |first: &&Placed<RegionPolicy>| {
                    let what = first.value.contradiction(&second.value)?;
                    Some(GraphError::RegionPolicies { what, first: first.at, second: second.at })
                };
                errors.extend(said[..index].iter().find_map(contradiction));
            }
        }
        errors
    }

    /// Failures in a row that are answered with a restart, of the region of each node.
    pub(super) fn restarts_of_nodes(&self, settings: &JobSettings) -> Vec<u32> {
        let policies = self.region_policies();
        let restarts = |region: RegionId| {
            let own = policies.get(&region).and_then(RegionPolicy::restart);
            own.map_or(settings.restarts, |restart| restart.restarts())
        };
        self.regions_of_nodes().into_iter().map(restarts).collect()
    }
}
