//! Who sends messages to whom.

use crate::graph::Graph;

/// The messages from one actor to another, which keep their order; those of different senders do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    /// `None`: the coordinator.
    pub(crate) from: Option<usize>,
    pub(crate) to: usize,
}

/// The links of a graph.
#[derive(Debug)]
pub(crate) struct Links {
    pub(crate) links: Vec<Link>,
    /// Of each channel, the link that carries its elements and the one that carries its credits.
    pub(crate) of_channel: Vec<(usize, usize)>,
}

impl Links {
    pub(crate) fn of(graph: &Graph) -> Self {
        let mut links: Vec<Link> = (0..graph.tasks.len()).map(|to| Link { from: None, to }).collect();
        let mut index_of = |link: Link| {
            links.iter().position(|&other| other == link).unwrap_or_else(|| {
                links.push(link);
                links.len() - 1
            })
        };
        let mut of_channel = Vec::new();
        for channel in &graph.channels {
            let ahead = index_of(Link { from: Some(channel.from), to: channel.to });
            of_channel.push((ahead, index_of(Link { from: Some(channel.to), to: channel.from })));
        }
        Self { links, of_channel }
    }
}
