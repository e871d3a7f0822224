//! What a task tells those behind it of being blocked, or holding back what has come.

use crate::contract::ReadingTime;
use crate::task::SubtaskContext;

/// What they were told: whether it is held up, having sent so many batches.
#[derive(Debug, Default)]
pub(super) struct Blocked {
    is_blocked: bool,
    sent: u64,
}

impl Blocked {
    /// Tells those that count time, if there are any. A task that has sent something in between has not been held up without a break.
    pub(super) fn tell(&mut self, cx: &SubtaskContext, sent: u64, is_blocked: impl FnOnce() -> bool) {
        let is_blocked = cx.behind.iter().any(ReadingTime::is_asked) && is_blocked();
        let has_sent = std::mem::replace(&mut self.sent, sent) != sent;
        let was_blocked = std::mem::replace(&mut self.is_blocked, is_blocked);
        if !was_blocked && !is_blocked {
            return;
        }
        for time in cx.behind.iter().filter(|time| time.is_asked()) {
            let (subtask, now) = (cx.info.subtask, cx.info.clock.now());
            if was_blocked && (has_sent || !is_blocked) {
                time.unblocks(subtask, now);
            }
            if is_blocked {
                time.blocks(subtask, now);
            }
        }
    }
}
