//! How figures are written: as on the page.

use crate::cli::output;

/// What is written for a figure that is not known.
const NONE: &str = "–";

/// `write` for what is known.
fn known<T>(value: Option<T>, write: impl Fn(T) -> String) -> String {
    value.map_or_else(|| NONE.to_owned(), write)
}

/// Three significant digits with the largest unit that leaves something before the point.
fn scaled(value: f64) -> String {
    const UNITS: [&str; 5] = ["", "k", "M", "G", "T"];
    let (mut value, mut unit) = (value, 0);
    while value.abs() >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1_000.0;
        unit += 1;
    }
    let digits = match value.abs() {
        _ if unit == 0 && value.fract() == 0.0 => 0,
        size if size < 9.995 => 2,
        size if size < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.digits$}{}", UNITS[unit])
}

/// Up to four digits, then `12.3k`.
pub(super) fn count(value: u64) -> String {
    if value < 10_000 { value.to_string() } else { scaled(value as f64) }
}

pub(super) fn count_of(value: Option<u64>) -> String {
    known(value, count)
}

/// Without its unit: `12.3k`.
pub(super) fn rate(value: Option<f64>) -> String {
    known(value, scaled)
}

pub(super) fn bytes(value: Option<u64>) -> String {
    known(value, output::bytes)
}

/// Per cent.
pub(super) fn share(value: Option<f64>) -> String {
    known(value, |share| format!("{:.0}%", share * 100.0))
}

/// A length of time in milliseconds.
pub(super) fn duration(ms: Option<f64>) -> String {
    known(ms, |ms| {
        let size = ms.abs();
        match ms {
            _ if size == 0.0 => "0 ms".to_owned(),
            _ if size < 0.1 => format!("{:.0} µs", ms * 1_000.0),
            _ if size < 9.95 => format!("{ms:.1} ms"),
            _ if size < 999.5 => format!("{ms:.0} ms"),
            _ if size < 59_950.0 => format!("{:.1} s", ms / 1_000.0),
            _ => format!("{}{}", if ms < 0.0 { "-" } else { "" }, long(size)),
        }
    })
}

/// A length of time of which the reader wants no fractions, such as an age.
pub(super) fn age(ms: Option<u64>) -> String {
    known(ms, |ms| match ms.saturating_add(500) / 1_000 {
        seconds @ ..60 => format!("{seconds} s"),
        _ => long(ms as f64),
    })
}

/// Of a minute and more.
fn long(ms: f64) -> String {
    let seconds = (ms / 1_000.0).round() as u64;
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    if hours < 1 {
        format!("{minutes} min {} s", seconds % 60)
    } else if days < 1 {
        format!("{hours} h {} min", minutes % 60)
    } else {
        format!("{days} d {} h", hours % 24)
    }
}

/// The time of day in UTC.
pub(super) fn clock(unix_ms: u64) -> String {
    let seconds = unix_ms / 1_000 % 86_400;
    format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

/// Day and time in UTC.
pub(super) fn moment(unix_ms: Option<u64>) -> String {
    known(unix_ms, |unix_ms| {
        let text = output::utc(unix_ms);
        text.split('.').next().unwrap_or_default().replace('T', " ")
    })
}

/// A watermark: a moment where it looks like one, else the number. Event time need not be Unix time.
pub(super) fn watermark(watermark: Option<i64>) -> String {
    const EXACT_MAX: i64 = 1 << 53;
    known(watermark, |at| match u64::try_from(at) {
        _ if at > EXACT_MAX => "end of input".to_owned(),
        _ if at < -EXACT_MAX => "before all".to_owned(),
        Ok(unix_ms @ 315_532_800_000..7_258_118_400_000) => moment(Some(unix_ms)),
        _ => at.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_written_as_on_the_page() {
        assert_eq!([0, 9_999, 12_345, 999_950].map(count), ["0", "9999", "12.3k", "1.00M"]);
        assert_eq!(count(u64::MAX), "18446744T");
        let rates = [0.0, 0.25, 12.34, 999.4, 1_234.0, 1e15].map(|value| rate(Some(value)));
        assert_eq!(rates, ["0", "0.25", "12.3", "999", "1.23k", "1000T"]);
        assert_eq!((share(Some(0.346)), share(None)), ("35%".to_owned(), "–".to_owned()));
        let durations = [0.0, 0.05, 1.25, 45.0, 1_500.0, 61_000.0, 3_700_000.0, -90_000.0, 1e300];
        let written = durations.map(|ms| duration(Some(ms)));
        assert_eq!(
            written[..8],
            ["0 ms", "50 µs", "1.2 ms", "45 ms", "1.5 s", "1 min 1 s", "1 h 1 min", "-1 min 30 s"]
        );
        assert_eq!(
            [0, 1_600, 59_499, 59_600, u64::MAX].map(|ms| age(Some(ms)))[..4],
            ["0 s", "2 s", "59 s", "1 min 0 s"]
        );
    }

    #[test]
    fn moments_are_those_of_the_calendar() {
        assert_eq!(
            (clock(1_700_000_000_123), moment(Some(1_700_000_000_123))),
            ("22:13:20".into(), "2023-11-14 22:13:20".into())
        );
        assert_eq!(watermark(Some(1_700_000_000_123)), "2023-11-14 22:13:20");
        assert_eq!([i64::MAX, i64::MIN, 42].map(|at| watermark(Some(at))), ["end of input", "before all", "42"]);
        assert!(!moment(Some(u64::MAX)).is_empty() && !clock(u64::MAX).is_empty());
    }
}
