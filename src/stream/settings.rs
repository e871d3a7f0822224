//! Settings of the operator that made a stream.

use std::panic::Location;

use millstream_actors::protocol::RegionPolicy;

use super::DataStream;
use crate::graph::{Placed, PlacedDirective};
use crate::operator::OnPanic;
use crate::state::StateBackend;

impl<T: Send + 'static> DataStream<T> {
    /// Sets the number of subtasks of the operator that made this stream, at least 1; by default the environment's.
    #[track_caller]
    pub fn parallelism(self, parallelism: u32) -> Self {
        let node = self.node();
        if let Some(node) = self.graph.borrow_mut().setting(node, "parallelism(..)", Location::caller()) {
            node.parallelism = Some(parallelism);
        }
        self
    }

    /// Sets what keeps the state of the keyed operator that made this stream; by default the environment's.
    #[track_caller]
    pub fn state_backend(self, backend: StateBackend) -> Self {
        let (at, setting) = (Location::caller(), "state_backend(..) of a keyed operator");
        let mut graph = self.graph.borrow_mut();
        let keyed = self.node().filter(|node| graph.nodes[*node].is_keyed);
        if let Some(node) = graph.setting(keyed, setting, at) {
            node.state_backend = Some(backend);
        }
        drop(graph);
        self
    }

    /// Sets the name of the operator that made this stream, shown in logs and events; by default its id or kind.
    #[track_caller]
    pub fn name(self, name: &str) -> Self {
        let node = self.node();
        self.graph.borrow_mut().set_name(node, name, Location::caller());
        self
    }

    /// The operator that made this stream, a source too, takes over the state that older checkpoints have under the operator
    /// id `id`, and writes it under its own id from then on: the first checkpoint after that has it whole. More than one id
    /// may be said. `id` must not be that of another operator of the job; the graph refuses it.
    ///
    /// ```
    /// use millstream::prelude::*;
    ///
    /// # let env = StreamEnvironment::new("visits");
    /// env.source("clicks", SequenceSource::new(0..10))
    ///     .formerly("numbers")                                // as the source was called in older checkpoints
    ///     .key_by(|user| user % 3)
    ///     .fold("visits", 0u32, |visits, _| *visits += 1)
    ///     .formerly("count")
    ///     .drop_state("last-seen")                            // a state that it does not declare any more
    ///     .sink("out", CollectSink::new());
    /// # env.explain().unwrap();
    /// ```
    #[track_caller]
    pub fn formerly(self, id: &str) -> Self {
        let node = self.node();
        if let Some(node) = self.graph.borrow_mut().setting(node, "formerly(..)", Location::caller()) {
            node.former_ids.push(id.into());
        }
        self
    }

    /// Leaves out the state called `state` that older checkpoints have of the operator that made this stream, which does not
    /// declare it any more. Otherwise the job does not start. It is gone with the first checkpoint after that, and may stay
    /// said until no checkpoint or savepoint has it that is to be started from.
    #[track_caller]
    pub fn drop_state(self, state: &str) -> Self {
        let node = self.node();
        if let Some(node) = self.graph.borrow_mut().setting(node, "drop_state(..)", Location::caller()) {
            node.dropped_states.push(state.into());
        }
        self
    }

    /// What becomes of the records of type `R` at which the function of the operator that made this stream panics; `R` is what the
    /// operator takes, not what it makes. A job whose function panics at the same record again and again does not fail, then: the
    /// record is diverted or skipped, and all else is as if it had not come. An operator with two inputs takes a directive for each of
    /// their types. `docs/dead-letters.md` tells how it works, and what it does not help against.
    ///
    /// ```
    /// use millstream::prelude::*;
    ///
    /// # let env = StreamEnvironment::new("shares");
    /// let broken = OutputTag::<DeadLetter<(u32, u32)>>::new("broken");
    /// let shares = env
    ///     .source("pairs", VecSource::new(vec![(6, 3), (1, 0)]))
    ///     .map(|(whole, parts): (u32, u32)| whole / parts)
    ///     .on_panic(OnPanic::dead_letter(&broken).after(2));
    /// shares.side_output(&broken).sink("broken", CollectSink::new());
    /// shares.sink("shares", CollectSink::new());
    /// # env.explain().unwrap();
    /// ```
    #[track_caller]
    pub fn on_panic<R: Send + 'static>(self, directive: OnPanic<R>) -> Self {
        let (node, at) = (self.node(), Location::caller());
        if let Some(node) = self.graph.borrow_mut().setting(node, "on_panic(..)", at) {
            node.on_panic.push(PlacedDirective { directive: Box::new(directive), at });
        }
        self
    }

    /// What follows the failures of the region that this stream is in: all that is connected with it, by whatever way. To be said at one
    /// stream of a region, as at that of its source; two policies in one region that contradict each other are a mistake that `start()` reports.
    /// `docs/supervision.md` tells of regions; an example is at [`RegionPolicy`].
    #[track_caller]
    pub fn region_policy(self, policy: RegionPolicy) -> Self {
        let (node, at) = (self.node(), Location::caller());
        if let Some(node) = self.graph.borrow_mut().setting(node, "region_policy(..)", at) {
            node.region_policies.push(Placed::new(policy, at));
        }
        self
    }

    /// The operator that made this stream starts a task of its own instead of running in its input's.
    #[track_caller]
    pub fn start_new_chain(self) -> Self {
        let node = self.node();
        if let Some(node) = self.graph.borrow_mut().setting(node, "start_new_chain()", Location::caller()) {
            node.chains = false;
        }
        self
    }

    /// Each subtask of the operator that made this stream has an arbiter, and so a thread, of its own: a function that may
    /// take long holds up nobody but its own task. The operator starts a task of its own, as with
    /// [`start_new_chain`](Self::start_new_chain); what is chained behind it goes with it.
    #[track_caller]
    pub fn own_arbiters(self) -> Self {
        let node = self.node();
        if let Some(node) = self.graph.borrow_mut().setting(node, "own_arbiters()", Location::caller()) {
            node.chains = false;
            node.own_arbiters = true;
        }
        self
    }
}
