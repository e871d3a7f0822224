//! A record or a key as the report of a failure shows it.

use serde::Serialize;

/// Longest text of a value, in bytes; what is longer is cut.
pub(crate) const JSON_TEXT_MAX: usize = 200;

/// The value as JSON, which everything has that is text, a number, or made of such.
pub(crate) fn json_text<T: Serialize>(value: &T) -> Option<String> {
    let text = serde_json::to_string(value).ok()?;
    if text.len() <= JSON_TEXT_MAX {
        return Some(text);
    }
    let end = (0..=JSON_TEXT_MAX).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    Some(format!("{}...", &text[..end]))
}
