//! A key as the report of a failure shows it.

use crate::operator::json_text;
use crate::state::{StateKey, stable_hash};

/// The key as JSON; of one that cannot be told so, its stable hash.
pub(super) fn key_text<K: StateKey>(key: &K) -> String {
    json_text(key).unwrap_or_else(|| format!("with hash {:#018x}", stable_hash(key)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::operator::JSON_TEXT_MAX;

    #[test]
    fn key_is_shown_as_json_cut_where_it_is_long_and_by_its_hash_where_it_is_none() {
        assert_eq!(key_text(&("ATL".to_owned(), 7u32)), r#"["ATL",7]"#);
        let long = key_text(&"\u{e9}".repeat(200));
        assert!(long.len() <= JSON_TEXT_MAX + 3 && long.ends_with("..."), "{long}");
        let odd = BTreeMap::from([((1u8, 2u8), 3u8)]);
        assert!(key_text(&odd).starts_with("with hash 0x"), "{}", key_text(&odd));
    }
}
