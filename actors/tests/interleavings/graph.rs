//! Small graphs of tasks, and what a correct run delivers on each of their channels.

use millstream_actors::protocol::PortId;

/// What a source emits, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Emit {
    /// A batch of this one record. Ids are unique in a graph and below 16.
    Record(u8),
    /// Event time.
    Watermark(i64),
    /// Nothing at present.
    Idle,
}

/// Which outputs a record takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Routing {
    /// All.
    Broadcast,
    /// The one with the record's id modulo their number.
    ById,
}

/// One task.
#[derive(Clone, Debug)]
pub(crate) struct TaskSpec {
    /// What it emits, if it is a source.
    pub(crate) script: Option<Vec<Emit>>,
    /// Whether the source's input ends (else it is told to stop, and no end follows).
    pub(crate) ends: bool,
    pub(crate) routing: Routing,
    /// Output batches for each input batch: with more than one a step can be suspended.
    pub(crate) burst: u8,
    /// Whether it holds the records that it takes or reads back until its alarm wakes it, or its input ends. Then it emits
    /// one batch, on all outputs, and the tasks behind it are the last ones. Several, if its input does not end.
    pub(crate) holds_back: bool,
    /// It takes no input while it holds so many records back, and holds back the end too, as what waits for answers.
    pub(crate) capacity: Option<usize>,
    /// Channels that enter and leave it, by index in the graph.
    pub(crate) inputs: Vec<usize>,
    pub(crate) outputs: Vec<usize>,
}

/// One channel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChannelSpec {
    pub(crate) from: usize,
    pub(crate) to: usize,
    /// Its number among the sender's outputs.
    pub(crate) line: usize,
    /// The receiver's port that it enters by.
    pub(crate) port: PortId,
    /// Its number among the receiver's inputs: first those of the first port, then those of the second.
    pub(crate) input: usize,
}

/// How often each record was counted: four bits each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Tally(pub(crate) u64);

impl Tally {
    pub(crate) fn add(&mut self, record: u8, times: u64) {
        assert!(self.count(record) + times < 16, "record {record} is counted more than 15 times");
        self.0 += times << (4 * record);
    }

    pub(crate) fn count(self, record: u8) -> u64 {
        self.0 >> (4 * record) & 15
    }

    /// All that was counted in either.
    pub(crate) fn and(mut self, other: Self) -> Self {
        (0..16).for_each(|record| self.add(record, other.count(record)));
        self
    }

    /// Whether each record was counted at least as often as in `other`.
    pub(crate) fn covers(self, other: Self) -> bool {
        (0..16).all(|record| self.count(record) >= other.count(record))
    }
}

/// Tasks in topological order, and their channels.
#[derive(Clone, Debug)]
pub(crate) struct Graph {
    pub(crate) tasks: Vec<TaskSpec>,
    pub(crate) channels: Vec<ChannelSpec>,
    /// Batches that each channel's sender may have under way.
    pub(crate) window: u32,
    /// Records gathered before a batch is closed.
    pub(crate) batch_records: usize,
}

impl Graph {
    pub(crate) fn new(window: u32) -> Self {
        Self { tasks: Vec::new(), channels: Vec::new(), window, batch_records: 1 }
    }

    pub(crate) fn task(&mut self) -> usize {
        let (inputs, outputs) = (Vec::new(), Vec::new());
        self.tasks.push(TaskSpec {
            script: None,
            ends: true,
            routing: Routing::Broadcast,
            burst: 1,
            holds_back: false,
            capacity: None,
            inputs,
            outputs,
        });
        self.tasks.len() - 1
    }

    pub(crate) fn source(&mut self, script: &[Emit]) -> usize {
        let task = self.task();
        self.tasks[task].script = Some(script.to_vec());
        task
    }

    pub(crate) fn edge(&mut self, from: usize, to: usize) {
        self.edge_into(from, to, PortId::FIRST);
    }

    /// An edge that serves this port of its receiver. The receiver's channels are numbered anew.
    pub(crate) fn edge_into(&mut self, from: usize, to: usize, port: PortId) {
        assert!(from < to, "tasks are in topological order");
        let channel = self.channels.len();
        self.channels.push(ChannelSpec { from, to, line: self.tasks[from].outputs.len(), port, input: 0 });
        self.tasks[from].outputs.push(channel);
        let inputs = &mut self.tasks[to].inputs;
        inputs.push(channel);
        inputs.sort_by_key(|&channel| self.channels[channel].port);
        inputs.iter().enumerate().for_each(|(input, &channel)| self.channels[channel].input = input);
    }

    /// A chain of tasks, joined in this order.
    pub(crate) fn path(&mut self, tasks: &[usize]) {
        for pair in tasks.windows(2) {
            self.edge(pair[0], pair[1]);
        }
    }

    /// The sources.
    pub(crate) fn sources(&self) -> impl Iterator<Item = (usize, &[Emit])> {
        self.tasks.iter().enumerate().filter_map(|(index, task)| Some((index, task.script.as_deref()?)))
    }

    /// What each channel has carried once each source has emitted its script up to `cut[source]`; `None` for channels
    /// behind a source that has no cut.
    pub(crate) fn carried(&self, cut: &[Option<usize>]) -> Vec<Option<Tally>> {
        let mut carried = vec![Some(Tally::default()); self.channels.len()];
        for (source, script) in self.sources() {
            let Some(position) = cut[source] else {
                let reached = self.multiplicities(source, None);
                (0..carried.len()).filter(|&channel| reached[channel] > 0).for_each(|channel| carried[channel] = None);
                continue;
            };
            for emit in &script[..position] {
                if let Emit::Record(record) = *emit {
                    let times = self.multiplicities(source, Some(record));
                    for (tally, times) in carried.iter_mut().zip(times) {
                        if let Some(tally) = tally {
                            tally.add(record, times);
                        }
                    }
                }
            }
        }
        carried
    }

    /// How often each channel carries a record of this source. No record: a mark, which goes everywhere.
    fn multiplicities(&self, source: usize, record: Option<u8>) -> Vec<u64> {
        let mut taken = vec![0; self.tasks.len()];
        let mut carried = vec![0; self.channels.len()];
        taken[source] = 1;
        for (index, task) in self.tasks.iter().enumerate() {
            for (line, &channel) in task.outputs.iter().enumerate() {
                if record.is_none_or(|record| task.takes_line(record, line)) {
                    carried[channel] = taken[index] * u64::from(task.burst);
                    taken[self.channels[channel].to] += carried[channel];
                }
            }
        }
        carried
    }
}

impl TaskSpec {
    pub(crate) fn takes_line(&self, record: u8, line: usize) -> bool {
        match self.routing {
            Routing::Broadcast => true,
            Routing::ById => usize::from(record) % self.outputs.len() == line,
        }
    }
}
