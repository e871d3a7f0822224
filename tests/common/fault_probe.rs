//! A probe that writes down which points of the protocol are reached, and panics at chosen ones.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use millstream::{ActorName, Probe, Step};

use super::InputEnd;

/// A step of one actor.
pub(crate) type Point = (Step, ActorName);

/// Which time that a point is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum At {
    /// The n-th since the fault was armed, from 1.
    Occurrence(u64),
    /// The first after the last record has been read.
    AfterInput,
}

/// A panic at a point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) point: Point,
    pub(crate) at: At,
}

/// Clones are one probe.
#[derive(Clone)]
pub(crate) struct FaultProbe(Arc<Shared>);

struct Shared {
    input_end: InputEnd,
    log: Mutex<Log>,
}

#[derive(Default)]
struct Log {
    /// How often each point was reached since the last panic.
    reached: HashMap<Point, u64>,
    /// To come, in this order: each is armed once the one before it has fired.
    plan: VecDeque<Fault>,
    fired: Vec<Fault>,
}

impl FaultProbe {
    /// Panics at the points of `plan`, one after the other.
    pub(crate) fn new(input_end: &InputEnd, plan: impl IntoIterator<Item = Fault>) -> Self {
        let log = Log { plan: plan.into_iter().collect(), ..Log::default() };
        Self(Arc::new(Shared { input_end: input_end.clone(), log: Mutex::new(log) }))
    }

    /// How often each point was reached since the last panic, in a fixed order.
    pub(crate) fn reached(&self) -> Vec<(Point, u64)> {
        let ordered: BTreeMap<(Step, String), (Point, u64)> = self
            .lock()
            .reached
            .iter()
            .map(|(point, count)| ((point.0, point.1.to_string()), (point.clone(), *count)))
            .collect();
        ordered.into_values().collect()
    }

    /// The panics so far.
    pub(crate) fn fired(&self) -> Vec<Fault> {
        self.lock().fired.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        self.0.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts the point, and takes the fault that is due there.
    fn note(&self, step: Step, actor: &ActorName) -> Option<Fault> {
        let mut log = self.lock();
        let point = (step, actor.clone());
        let count = log.reached.entry(point.clone()).or_default();
        *count += 1;
        let count = *count;
        let due = log.plan.front().is_some_and(|fault| {
            fault.point == point
                && match fault.at {
                    At::Occurrence(n) => n == count,
                    At::AfterInput => self.0.input_end.is_over(),
                }
        });
        let fault = if due { log.plan.pop_front() } else { None };
        if let Some(fault) = &fault {
            log.fired.push(fault.clone());
            log.reached.clear();
        }
        fault
    }
}

impl Probe for FaultProbe {
    fn reached(&self, step: Step, actor: &ActorName) {
        if let Some(fault) = self.note(step, actor) {
            panic!("injected at {:?}, {:?}", fault.point, fault.at);
        }
    }
}
