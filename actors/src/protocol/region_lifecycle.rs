//! The states of a region, and the moves between them.

/// Where a region is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RegionState {
    /// Waits for its restart delay.
    Waiting,
    /// Waits for the coordinator to name the checkpoint to restore.
    Restoring,
    /// Waits for every subtask to be ready.
    Starting,
    /// Waits for nothing.
    Running,
    /// Waits for the end of every subtask, then for its restart.
    StoppingToRestart,
    /// Has given up, and waits for what the host says to that, or for the time to say it to be over.
    GivenUp,
    /// Waits for the coordinator to take it out of checkpoints.
    Parking,
    /// Waits for the host to resume it.
    Parked,
    /// Waits for the end of every subtask, then ends.
    StoppingForGood,
    /// Has ended.
    Ended,
}

/// What may happen to a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RegionEvent {
    /// The restart delay is over.
    DelayOver,
    /// The checkpoint is known, and the subtasks are being started.
    RestoreChosen,
    /// Every subtask is ready.
    AllReady,
    /// A subtask or the supervisor failed, or an arbiter was condemned.
    Failed,
    /// No subtask is left.
    AllEnded,
    /// No subtask is left, and no attempt follows by itself.
    GaveUp,
    /// It is to be parked.
    Park,
    /// Checkpoints go on without it.
    ParkedNow,
    /// The host has it start again.
    Resume,
    /// The job ends, or the policy gave up.
    StopForGood,
}

impl RegionState {
    /// Every legal move.
    const MOVES: [(Self, RegionEvent, Self); 25] = {
        use RegionEvent::*;
        use RegionState::*;
        [
            (Waiting, DelayOver, Restoring),
            (Waiting, StopForGood, StoppingForGood),
            (Restoring, RestoreChosen, Starting),
            (Restoring, Failed, StoppingToRestart),
            (Restoring, StopForGood, StoppingForGood),
            (Starting, AllReady, Running),
            (Starting, Failed, StoppingToRestart),
            (Starting, StopForGood, StoppingForGood),
            (Running, Failed, StoppingToRestart),
            (Running, StopForGood, StoppingForGood),
            (StoppingToRestart, AllEnded, Waiting),
            (StoppingToRestart, GaveUp, GivenUp),
            (StoppingToRestart, Failed, StoppingToRestart),
            (StoppingToRestart, StopForGood, StoppingForGood),
            (GivenUp, Resume, Waiting),
            (GivenUp, Park, Parking),
            (GivenUp, StopForGood, StoppingForGood),
            (Parking, ParkedNow, Parked),
            (Parking, StopForGood, StoppingForGood),
            (Parked, Resume, Waiting),
            (Parked, StopForGood, StoppingForGood),
            (StoppingForGood, AllEnded, Ended),
            (StoppingForGood, Failed, StoppingForGood),
            (StoppingForGood, StopForGood, StoppingForGood),
            (Ended, StopForGood, Ended),
        ]
    };

    /// The state after `event`; `None` if the event means nothing in this state and is to be passed over.
    pub(crate) fn after(self, event: RegionEvent) -> Option<Self> {
        Self::MOVES.iter().find(|(from, on, _)| *from == self && *on == event).map(|(_, _, to)| *to)
    }

    /// Whether subtasks are being stopped.
    pub(crate) fn is_stopping(self) -> bool {
        matches!(self, Self::StoppingToRestart | Self::StoppingForGood)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [RegionState; 10] = [
        RegionState::Waiting,
        RegionState::Restoring,
        RegionState::Starting,
        RegionState::Running,
        RegionState::StoppingToRestart,
        RegionState::GivenUp,
        RegionState::Parking,
        RegionState::Parked,
        RegionState::StoppingForGood,
        RegionState::Ended,
    ];

    #[test]
    fn table_names_each_move_once() {
        for (i, (from, on, _)) in RegionState::MOVES.iter().enumerate() {
            assert!(!RegionState::MOVES[..i].iter().any(|(f, o, _)| f == from && o == on), "{from:?} on {on:?}");
        }
    }

    #[test]
    fn every_state_can_be_stopped_for_good_and_a_stop_is_never_undone() {
        for state in STATES {
            let stopped = state.after(RegionEvent::StopForGood).expect("a move");
            assert!(matches!(stopped, RegionState::StoppingForGood | RegionState::Ended), "{state:?}");
        }
        use RegionEvent::*;
        for event in [DelayOver, RestoreChosen, AllReady, Failed, GaveUp, Park, ParkedNow, Resume] {
            let after = RegionState::StoppingForGood.after(event);
            assert!(matches!(after, None | Some(RegionState::StoppingForGood)), "{event:?}");
            assert_eq!(RegionState::Ended.after(event), None, "{event:?}");
        }
    }

    #[test]
    fn nothing_restarts_before_all_subtasks_have_ended() {
        for (from, on, to) in RegionState::MOVES {
            use RegionEvent::{AllEnded, GaveUp, Resume};
            use RegionState::{GivenUp, Parked, StoppingToRestart};
            if to == RegionState::Waiting {
                let legal = [(StoppingToRestart, AllEnded), (GivenUp, Resume), (Parked, Resume)];
                assert!(legal.contains(&(from, on)), "{from:?} on {on:?}");
            }
            if to == GivenUp {
                assert_eq!((from, on), (StoppingToRestart, GaveUp));
            }
        }
    }
}
