//! How far long work is, on one line of the terminal.

use super::output::{Output, bytes};

/// Shows progress, each percent once.
#[derive(Debug)]
pub(super) struct Progress {
    is_shown: bool,
    /// Percent on the line.
    shown: Option<u64>,
}

impl Progress {
    pub(super) fn new(is_shown: bool) -> Self {
        Self { is_shown, shown: None }
    }

    /// So many bytes of so many are `done`, a word such as "read".
    pub(super) fn show(&mut self, output: &mut Output<'_>, done: &str, count: u64, of: u64) {
        let percent = (count * 100).checked_div(of).unwrap_or(100);
        if !self.is_shown || self.shown == Some(percent) {
            return;
        }
        self.shown = Some(percent);
        // It is not worth stopping for.
        let _ = write!(output.errors, "\r\x1b[K{done} {} of {} ({percent} %)", bytes(count), bytes(of));
        let _ = output.errors.flush();
    }

    /// Takes the line away.
    pub(super) fn clear(&mut self, output: &mut Output<'_>) {
        if self.shown.take().is_some() {
            let _ = write!(output.errors, "\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(is_shown: bool) -> String {
        let (mut results, mut errors) = (Vec::new(), Vec::new());
        let mut output = Output { results: &mut results, errors: &mut errors, is_json: false };
        let mut progress = Progress::new(is_shown);
        for done in 0..=1_000 {
            progress.show(&mut output, "read", done, 1_000);
        }
        progress.clear(&mut output);
        assert!(results.is_empty());
        String::from_utf8(errors).unwrap()
    }

    #[test]
    fn each_percent_is_shown_once_and_nothing_stays() {
        let text = shown(true);
        assert_eq!(text.matches(" read ").count() + text.matches("Kread ").count(), 101);
        assert!(text.contains("read 500 B of 1000 B (50 %)") && text.ends_with("\r\x1b[K"));
        assert_eq!(shown(false), "");
    }
}
