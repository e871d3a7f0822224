//! How a job is paused and resumed: one wish after the other, each durable before it takes effect.

use std::collections::VecDeque;
use std::sync::Arc;

use super::SnapshotError;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PauseWish {
    /// Sources read nothing until the job is resumed.
    Pause,
    /// They read on.
    Resume,
}

/// Why a wish is not fulfilled.
#[derive(Clone, Debug)]
pub(crate) enum PauseRefusal {
    /// The job is about to end.
    Ending,
    /// The store did not keep it.
    Store(Arc<SnapshotError>),
    /// Whether the store has kept it is not known.
    Interrupted,
}

/// What follows. `since` is Unix milliseconds, or `None` if the job is not paused.
#[derive(Clone, Debug)]
pub(crate) enum PauseCommand {
    /// Have the store keep this.
    Keep { since: Option<u64> },
    /// Have all sources pause, or read on.
    Tell { since: Option<u64> },
    /// Answer a request.
    Answer { request: u64, result: Result<(), PauseRefusal> },
}

/// Whether a job is paused, and who wants it to be otherwise.
#[derive(Debug)]
pub(crate) struct Pausing {
    since: Option<u64>,
    /// The store has not kept what it was to keep, and may have all the same: the next wish is kept whatever it is.
    is_unsure: bool,
    waiting: VecDeque<(u64, PauseWish)>,
    phase: Phase,
    /// The job was told to finish, and is not paused any more.
    finishes: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    /// The store is to keep this.
    Keeping {
        request: u64,
        since: Option<u64>,
    },
    /// The store has kept a pause that does not come: it is to keep that.
    TakingBack {
        request: u64,
    },
    /// The sources have been told.
    Telling {
        request: u64,
    },
}

impl Pausing {
    /// Of a job that starts paused since then, or not.
    pub(crate) fn new(since: Option<u64>) -> Self {
        Self { since, is_unsure: false, waiting: VecDeque::new(), phase: Phase::Idle, finishes: false }
    }

    /// Something is asked for at the time `unix_ms`, of a job that is about to end or not.
    pub(crate) fn asked(
        &mut self,
        (request, wish): (u64, PauseWish),
        is_ending: bool,
        unix_ms: u64,
        out: &mut Vec<PauseCommand>,
    ) {
        if is_ending {
            return out.push(PauseCommand::Answer { request, result: Err(PauseRefusal::Ending) });
        }
        self.waiting.push_back((request, wish));
        self.advance(unix_ms, out);
    }

    /// The job is about to end: who waits is told so. Where it `finishes` it is paused no more, since there is nothing to resume.
    pub(crate) fn ending(&mut self, finishes: bool, out: &mut Vec<PauseCommand>) {
        for (request, _) in self.waiting.drain(..) {
            out.push(PauseCommand::Answer { request, result: Err(PauseRefusal::Ending) });
        }
        if finishes {
            (self.finishes, self.since) = (true, None);
        }
    }

    /// The store has kept what it was to keep, or not.
    pub(crate) fn kept(&mut self, result: Result<(), PauseRefusal>, unix_ms: u64, out: &mut Vec<PauseCommand>) {
        match (self.phase, result) {
            (Phase::Keeping { request, since: Some(_) }, Ok(())) if self.finishes => {
                self.phase = Phase::TakingBack { request };
                out.push(PauseCommand::Keep { since: None });
            }
            (Phase::Keeping { request, since }, Ok(())) => {
                (self.since, self.is_unsure) = (since, false);
                self.phase = Phase::Telling { request };
                out.push(PauseCommand::Tell { since });
            }
            (Phase::Keeping { request, .. }, Err(refusal)) => {
                self.is_unsure = true;
                self.answer(request, Err(refusal), unix_ms, out);
            }
            (Phase::TakingBack { request }, _) => self.answer(request, Err(PauseRefusal::Ending), unix_ms, out),
            (Phase::Idle | Phase::Telling { .. }, _) => {}
        }
    }

    /// No source reads, or all may.
    pub(crate) fn told(&mut self, unix_ms: u64, out: &mut Vec<PauseCommand>) {
        if let Phase::Telling { request } = self.phase {
            self.answer(request, Ok(()), unix_ms, out);
        }
    }

    fn answer(&mut self, request: u64, result: Result<(), PauseRefusal>, unix_ms: u64, out: &mut Vec<PauseCommand>) {
        self.phase = Phase::Idle;
        out.push(PauseCommand::Answer { request, result });
        self.advance(unix_ms, out);
    }

    fn advance(&mut self, unix_ms: u64, out: &mut Vec<PauseCommand>) {
        while self.phase == Phase::Idle
            && let Some((request, wish)) = self.waiting.pop_front()
        {
            let since = (wish == PauseWish::Pause).then(|| self.since.unwrap_or(unix_ms));
            if since == self.since && !self.is_unsure {
                out.push(PauseCommand::Answer { request, result: Ok(()) });
            } else {
                self.phase = Phase::Keeping { request, since };
                out.push(PauseCommand::Keep { since });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What follows, in short.
    fn story(act: impl FnOnce(&mut Vec<PauseCommand>)) -> Vec<String> {
        let mut out = Vec::new();
        act(&mut out);
        let shown = |command: &PauseCommand| match command {
            PauseCommand::Keep { since } => format!("keep {since:?}"),
            PauseCommand::Tell { since } => format!("tell {since:?}"),
            PauseCommand::Answer { request, result } => match result {
                Ok(()) => format!("{request}: ok"),
                Err(PauseRefusal::Ending) => format!("{request}: ending"),
                Err(PauseRefusal::Store(_)) => format!("{request}: store"),
                Err(PauseRefusal::Interrupted) => format!("{request}: interrupted"),
            },
        };
        out.iter().map(shown).collect()
    }

    #[test]
    fn pause_is_kept_then_told_then_answered() {
        let mut pausing = Pausing::new(None);
        assert_eq!(story(|out| pausing.asked((1, PauseWish::Pause), false, 70, out)), ["keep Some(70)"]);
        assert_eq!(story(|out| pausing.kept(Ok(()), 71, out)), ["tell Some(70)"]);
        assert_eq!(story(|out| pausing.told(72, out)), ["1: ok"]);
        assert_eq!(story(|out| pausing.asked((2, PauseWish::Pause), false, 73, out)), ["2: ok"]);
        assert_eq!(story(|out| pausing.asked((3, PauseWish::Resume), false, 74, out)), ["keep None"]);
        assert_eq!(story(|out| pausing.kept(Ok(()), 75, out)), ["tell None"]);
        assert_eq!(story(|out| pausing.told(76, out)), ["3: ok"]);
        assert_eq!(story(|out| pausing.asked((4, PauseWish::Resume), false, 77, out)), ["4: ok"]);
    }

    #[test]
    fn wishes_follow_one_another() {
        let mut pausing = Pausing::new(None);
        assert_eq!(story(|out| pausing.asked((1, PauseWish::Pause), false, 1, out)), ["keep Some(1)"]);
        for (request, wish) in [(2, PauseWish::Pause), (3, PauseWish::Resume), (4, PauseWish::Resume)] {
            assert!(story(|out| pausing.asked((request, wish), false, 2, out)).is_empty());
        }
        assert_eq!(story(|out| pausing.kept(Ok(()), 3, out)), ["tell Some(1)"]);
        assert_eq!(story(|out| pausing.told(4, out)), ["1: ok", "2: ok", "keep None"]);
        assert_eq!(story(|out| pausing.kept(Ok(()), 5, out)), ["tell None"]);
        assert_eq!(story(|out| pausing.told(6, out)), ["3: ok", "4: ok"]);
    }

    #[test]
    fn what_the_store_does_not_keep_changes_nothing() {
        let mut pausing = Pausing::new(Some(5));
        assert_eq!(story(|out| pausing.asked((1, PauseWish::Resume), false, 6, out)), ["keep None"]);
        assert_eq!(story(|out| pausing.kept(Err(PauseRefusal::Interrupted), 7, out)), ["1: interrupted"]);
        assert_eq!(
            story(|out| pausing.asked((2, PauseWish::Pause), false, 8, out)),
            ["keep Some(5)"],
            "it may have kept it"
        );
        assert_eq!(story(|out| pausing.kept(Ok(()), 9, out)), ["tell Some(5)"]);
        assert_eq!(story(|out| pausing.told(10, out)), ["2: ok"]);
        assert_eq!(story(|out| pausing.asked((3, PauseWish::Pause), false, 11, out)), ["3: ok"]);
    }

    #[test]
    fn end_refuses_who_waits_and_a_finish_takes_back_a_pause_that_is_on_its_way() {
        for finishes in [false, true] {
            let mut pausing = Pausing::new(None);
            story(|out| pausing.asked((1, PauseWish::Pause), false, 1, out));
            story(|out| pausing.asked((2, PauseWish::Resume), false, 1, out));
            assert_eq!(story(|out| pausing.ending(finishes, out)), ["2: ending"]);
            assert_eq!(story(|out| pausing.asked((3, PauseWish::Pause), true, 2, out)), ["3: ending"]);
            if finishes {
                assert_eq!(story(|out| pausing.kept(Ok(()), 3, out)), ["keep None"]);
                assert_eq!(story(|out| pausing.kept(Ok(()), 4, out)), ["1: ending"]);
            } else {
                assert_eq!(story(|out| pausing.kept(Ok(()), 3, out)), ["tell Some(1)"]);
                assert_eq!(story(|out| pausing.told(4, out)), ["1: ok"], "its next start is paused");
            }
        }
    }
}
