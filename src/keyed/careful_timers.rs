//! Timers of an operator that works carefully: each is known before its function is called.

use std::fmt;
use std::sync::Arc;

use millstream_actors::contract::OperatorCounters;
use millstream_actors::data::pipeline::CarefulFirings;
use millstream_actors::protocol::{OperatorId, PanicFacts, Timestamp};

use super::key_text::key_text;
use crate::operator::{DeadFiring, Emit};
use crate::state::{StateKey, Timer};

/// What a [`Kernel`](super::Kernel) has of a directive for its timers, at careful work.
pub(crate) struct CarefulTimers {
    pub(crate) firings: CarefulFirings,
    pub(crate) operator: OperatorId,
    pub(crate) counters: Arc<OperatorCounters>,
    /// Where timers go that are withheld; `None` if they are skipped.
    pub(crate) emit: Option<Emit<DeadFiring>>,
    /// Those of the timer that fires, if it is known by them.
    pub(crate) bytes: Vec<u8>,
}

impl CarefulTimers {
    /// A timer fires. Whether it is withheld; then it is diverted, with this event time.
    pub(super) fn withholds<K: StateKey>(&mut self, key: &K, timer: Timer, time: Timestamp) -> bool {
        self.bytes.clear();
        if self.firings.is_over() || rmp_serde::encode::write_named(&mut self.bytes, &(key, timer)).is_err() {
            self.bytes.clear();
            return false;
        }
        let Some(facts) = self.firings.take(&self.bytes) else { return false };
        // Should what is done in its place panic, it is not for this timer to be withheld once more.
        self.bytes.clear();
        self.counters.withheld_records.add(1);
        if let Some(emit) = &mut self.emit {
            let PanicFacts { message, location, subtask, panics, failed_unix_ms, .. } = facts;
            let (key, operator) = (key_text(key), self.operator.clone());
            emit(DeadFiring { key, timer, message, location, operator, subtask, panics, failed_unix_ms }, time);
        }
        true
    }

    /// The call for the timer fails.
    pub(super) fn note(&self, timer: Timer) {
        if !self.bytes.is_empty() {
            let text = match timer {
                Timer::EventTime(at) => format!("event time {at}"),
                Timer::ProcessingTime(at) => format!("processing time {at}"),
            };
            self.firings.note(&self.bytes, text);
        }
    }
}

impl fmt::Debug for CarefulTimers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CarefulTimers({})", self.operator)
    }
}
