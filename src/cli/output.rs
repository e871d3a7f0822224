//! Where results and everything else go, and how figures are written.

use std::io::{self, Write};

use serde::Serialize;

use super::error::CliError;

/// Where a command writes.
pub(super) struct Output<'a> {
    /// What was asked for.
    pub(super) results: &'a mut dyn Write,
    /// Progress, warnings, errors.
    pub(super) errors: &'a mut dyn Write,
    /// Whether results are for programs.
    pub(super) is_json: bool,
}

impl Output<'_> {
    /// Tells people something that is no result.
    pub(super) fn note(&mut self, text: &str) {
        // There is nowhere else to say it.
        let _ = writeln!(self.errors, "{text}");
    }

    /// Writes a JSON value on a line of its own.
    ///
    /// # Errors
    /// [`CliError::Output`].
    pub(super) fn json_line(&mut self, value: &impl Serialize) -> Result<(), CliError> {
        serde_json::to_writer(&mut *self.results, value).map_err(io::Error::from)?;
        self.results.write_all(b"\n")?;
        Ok(())
    }

    /// Writes a JSON value over several lines.
    ///
    /// # Errors
    /// [`CliError::Output`].
    pub(super) fn json_document(&mut self, value: &impl Serialize) -> Result<(), CliError> {
        serde_json::to_writer_pretty(&mut *self.results, value).map_err(io::Error::from)?;
        self.results.write_all(b"\n")?;
        Ok(())
    }
}

/// The outcome of printing a result that the exit status tells, too: then it does not matter if nobody reads it.
///
/// # Errors
/// [`CliError::Output`], but for a reader that has left.
pub(super) fn unless_unread(printed: Result<(), CliError>) -> Result<(), CliError> {
    match printed {
        Err(error) if error.is_broken_pipe() => Ok(()),
        printed => printed,
    }
}

/// Bytes in the largest unit of which there is at least one.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// A count with groups of three digits.
pub(super) fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Unix milliseconds as UTC, by RFC 3339. The days are counted as in Howard Hinnant, "chrono-Compatible Low-Level Date
/// Algorithms", `civil_from_days`.
pub(super) fn utc(unix_ms: u64) -> String {
    let (days, ms) = (unix_ms / 86_400_000, unix_ms % 86_400_000);
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_written_for_people() {
        assert_eq!(
            (bytes(1023), bytes(1024), bytes(240_123_904)),
            ("1023 B".into(), "1.0 KiB".into(), "229.0 MiB".into())
        );
        assert_eq!(bytes(u64::MAX), "16384.0 PiB");
        assert_eq!(
            (count(0), count(999), count(1_000), count(10_000_000)),
            ("0".into(), "999".into(), "1,000".into(), "10,000,000".into())
        );
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        assert_eq!(utc(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(utc(951_782_399_999), "2000-02-28T23:59:59.999Z");
        assert_eq!(utc(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(utc(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
        assert_eq!(utc(4_107_542_400_000), "2100-03-01T00:00:00.000Z");
    }
}
