//! A key as the report of a failure shows it.

use crate::state::{StateKey, stable_hash};

/// Longest text of a key, in bytes; what is longer is cut.
const KEY_TEXT_MAX: usize = 200;

/// The key as JSON, which every key has that is text, a number, or made of such; of another one its stable hash.
pub(super) fn key_text<K: StateKey>(key: &K) -> String {
    match serde_json::to_string(key) {
        Ok(text) if text.len() <= KEY_TEXT_MAX => text,
        Ok(text) => {
            let end = (0..=KEY_TEXT_MAX).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
            format!("{}...", &text[..end])
        }
        Err(_) => format!("with hash {:#018x}", stable_hash(key)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn key_is_shown_as_json_cut_where_it_is_long_and_by_its_hash_where_it_is_none() {
        assert_eq!(key_text(&("ATL".to_owned(), 7u32)), r#"["ATL",7]"#);
        let long = key_text(&"\u{e9}".repeat(200));
        assert!(long.len() <= KEY_TEXT_MAX + 3 && long.ends_with("..."), "{long}");
        let odd = BTreeMap::from([((1u8, 2u8), 3u8)]);
        assert!(key_text(&odd).starts_with("with hash 0x"), "{}", key_text(&odd));
    }
}
