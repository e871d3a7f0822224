//! What a task tells those behind it of being blocked.

use crate::task::SubtaskContext;

/// What they were told: whether it is blocked, having sent so many batches.
#[derive(Debug, Default)]
pub(super) struct Blocked {
    is_blocked: bool,
    sent: u64,
}

impl Blocked {
    /// Tells those that count time. A task that has sent something in between has not been blocked without a break.
    pub(super) fn tell(&mut self, cx: &SubtaskContext, is_blocked: bool, sent: u64) {
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
