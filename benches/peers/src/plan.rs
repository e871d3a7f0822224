//! What is run: workloads, engines, sizes.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Workload {
    /// Numbers through four stateless operators into a sum.
    Chain,
    /// Numbers exchanged by key, count and sum of each key, emitted once at the end of input.
    Keyed,
    /// The same, with every update emitted.
    Updates,
    /// The words of a text, counted.
    Words,
    /// Records out of order in event time, counted by key and second.
    Window,
    /// The same in windows of 10 seconds, one of which begins each second.
    Sliding,
    /// The same in windows of 100 seconds.
    Sliding100,
    /// The same records, each of which sets a timer of its key.
    Timers,
    /// A query of the Nexmark benchmark.
    Nexmark(Query),
    /// Paced records through a keyed count: how long after it was due each comes out.
    Latency,
    /// A keyed job panics: how long until it takes records, and until it is back where it was.
    Recovery,
    /// Many jobs that have nothing to do.
    Idle,
}

/// The queries that are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Query {
    /// Bids in euros.
    Q1,
    /// Bids for some auctions.
    Q2,
    /// Who sells in some states, and what.
    Q3,
    /// Mean price of what was sold, by category.
    Q4,
    /// Auctions with most bids, of 10 s each 2 s.
    Q5,
    /// Mean price of a seller's last ten sales.
    Q6,
    /// Highest bids each 10 s.
    Q7,
    /// Who came and sold something in the same 10 s.
    Q8,
}

/// What does the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Engine {
    /// Millstream, as its documentation says to write the job.
    Millstream,
    /// Millstream, with a hash map of the user's own in a `transform` in place of keyed state.
    MillstreamMap,
    /// Millstream, with a source that blocks on a thread of its own until records are due.
    MillstreamBlocking,
    /// A loop on one thread.
    Plain,
    /// Timely Dataflow.
    Timely,
    /// Renoir.
    Renoir,
}

const WORKLOADS: [(Workload, &str); 19] = [
    (Workload::Chain, "chain"),
    (Workload::Keyed, "keyed"),
    (Workload::Updates, "updates"),
    (Workload::Words, "words"),
    (Workload::Window, "window"),
    (Workload::Sliding, "sliding"),
    (Workload::Sliding100, "sliding100"),
    (Workload::Timers, "timers"),
    (Workload::Nexmark(Query::Q1), "nexmark-q1"),
    (Workload::Nexmark(Query::Q2), "nexmark-q2"),
    (Workload::Nexmark(Query::Q3), "nexmark-q3"),
    (Workload::Nexmark(Query::Q4), "nexmark-q4"),
    (Workload::Nexmark(Query::Q5), "nexmark-q5"),
    (Workload::Nexmark(Query::Q6), "nexmark-q6"),
    (Workload::Nexmark(Query::Q7), "nexmark-q7"),
    (Workload::Nexmark(Query::Q8), "nexmark-q8"),
    (Workload::Latency, "latency"),
    (Workload::Recovery, "recovery"),
    (Workload::Idle, "idle"),
];

const ENGINES: [(Engine, &str); 6] = [
    (Engine::Millstream, "millstream"),
    (Engine::MillstreamMap, "millstream-map"),
    (Engine::MillstreamBlocking, "millstream-blocking"),
    (Engine::Plain, "plain"),
    (Engine::Timely, "timely"),
    (Engine::Renoir, "renoir"),
];

/// How much work, on what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) workload: Workload,
    /// Records of the input; jobs where they are idle; 0 where the workload ends by itself.
    pub(crate) records: u64,
    /// Keys, or different words; 0 where there are none.
    pub(crate) keys: u64,
    /// Subtasks or workers. The plain loop always has one.
    pub(crate) parallelism: u32,
}

impl Workload {
    /// All of them, in the order of the tables.
    pub(crate) fn all() -> Vec<Self> {
        WORKLOADS.map(|(workload, _)| workload).to_vec()
    }

    /// All queries of Nexmark.
    pub(crate) fn nexmark() -> Vec<Self> {
        let mut all = Self::all();
        all.retain(|workload| matches!(workload, Self::Nexmark(_)));
        all
    }

    /// The engines that can do it, in the order of the tables.
    pub(crate) fn engines(self) -> &'static [Engine] {
        use Engine::{Millstream, MillstreamBlocking, MillstreamMap, Plain, Renoir, Timely};
        match self {
            Self::Chain | Self::Updates | Self::Words | Self::Window | Self::Sliding | Self::Sliding100 => {
                &[Plain, Renoir, Timely, Millstream]
            }
            Self::Nexmark(Query::Q4 | Query::Q6) | Self::Timers => &[Plain, Timely, Millstream],
            Self::Nexmark(_) => &[Plain, Renoir, Timely, Millstream],
            Self::Keyed => &[Plain, Renoir, Timely, MillstreamMap, Millstream],
            Self::Latency => &[Plain, Timely, MillstreamBlocking, Millstream],
            Self::Recovery | Self::Idle => &[Millstream],
        }
    }

    /// The work as the tables of the documentation have it.
    pub(crate) fn plan(self) -> Plan {
        let (records, keys, parallelism) = match self {
            Self::Chain => (20_000_000, 0, 1),
            Self::Keyed | Self::Updates => (20_000_000, 100_000, 2),
            Self::Words => (20_000_000, 200_000, 2),
            Self::Window | Self::Sliding | Self::Sliding100 | Self::Timers => (10_000_000, 10_000, 2),
            Self::Nexmark(_) => (20_000_000, 0, 2),
            Self::Latency => (1_000_000, 100_000, 2),
            Self::Recovery => (0, 10_000_000, 2),
            Self::Idle => (1000, 0, 1),
        };
        Plan { workload: self, records, keys, parallelism }
    }

    /// Rounds that are enough for a median.
    pub(crate) fn runs(self) -> usize {
        match self {
            Self::Latency | Self::Recovery => 3,
            Self::Idle => 1,
            _ => 5,
        }
    }

    /// Whether Millstream can be asked for checkpoints, so that runs with and without are compared.
    pub(crate) fn takes_checkpoints(self) -> bool {
        !matches!(self, Self::Idle | Self::Recovery)
    }
}

impl Engine {
    /// Whether it takes checkpoints.
    pub(crate) fn takes_checkpoints(self) -> bool {
        matches!(self, Self::Millstream | Self::MillstreamBlocking)
    }
}

/// Which job of an engine is run: with or without checkpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Contender {
    pub(crate) engine: Engine,
    /// Milliseconds between checkpoints; `None` is a job without.
    pub(crate) checkpoint_ms: Option<u64>,
}

impl Contender {
    pub(crate) fn checkpoint_interval(self) -> Option<Duration> {
        self.checkpoint_ms.map(Duration::from_millis)
    }
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.checkpoint_ms {
            None => write!(f, "{}", self.engine),
            Some(ms) => write!(f, "{}, checkpoint each {ms} ms", self.engine),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.workload)?;
        if self.keys > 0 {
            write!(f, ", {} keys", short(self.keys))?;
        }
        if self.workload == Workload::Idle {
            return write!(f, ", {} jobs", short(self.records));
        }
        write!(f, ", parallelism {}", self.parallelism)?;
        if self.records > 0 {
            write!(f, ", {} records", short(self.records))?;
        }
        Ok(())
    }
}

/// `20 M` for 20,000,000.
fn short(number: u64) -> String {
    match number {
        0 => "0".to_owned(),
        n if n.is_multiple_of(1_000_000) => format!("{} M", n / 1_000_000),
        n if n.is_multiple_of(1000) => format!("{} k", n / 1000),
        n => n.to_string(),
    }
}

macro_rules! named {
    ($of:ty, $names:ident) => {
        impl fmt::Display for $of {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let (_, name) = $names.iter().find(|(of, _)| of == self).expect("every one has a name");
                f.pad(name)
            }
        }

        impl FromStr for $of {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                let found = $names.iter().find(|(_, name)| *name == text);
                let names = || $names.map(|(_, name)| name).join(", ");
                found.map(|(of, _)| *of).ok_or_else(|| format!("'{text}' is none of {}", names()))
            }
        }
    };
}

named!(Workload, WORKLOADS);
named!(Engine, ENGINES);
