//! What serde says of a value that does not fit, without the value: errors go to logs and to pages that records are not for.

/// Where serde, or csv, is about to tell a value, and what stands there instead.
const ECHOES: [(&str, &str); 5] = [
    ("invalid type: ", "invalid type: "),
    ("invalid value: ", "invalid value: "),
    ("unknown variant `", "unknown variant"),
    ("unknown field `", "unknown field"),
    (" characters in '", " characters"),
];

/// With which words serde goes on behind a value, where those are the last.
const ENDS: [&str; 2] = ["`, there are no variants", "`, there are no fields"];
/// And where there are more.
const EXPECTED: &str = ", expected ";

/// What `serde::de::Unexpected`, and serde_json, call a value before they show it, or instead of that.
const KINDS: [&str; 17] = [
    "boolean",
    "integer",
    "floating point",
    "character",
    "string",
    "byte array",
    "unit value",
    "null",
    "Option value",
    "newtype struct",
    "sequence",
    "map",
    "enum",
    "unit variant",
    "newtype variant",
    "tuple variant",
    "struct variant",
];

/// The text of a deserializer's error without a value that it tells: its kind, and what was expected, stay. The words that a type's own
/// `Deserialize` chose are as they are.
pub(crate) fn without_values(said: &str) -> String {
    let found = ECHOES.iter().filter_map(|&(start, shown)| Some((said.find(start)?, start, shown)));
    let Some((at, start, shown)) = found.min() else { return said.to_owned() };
    let told = &said[at + start.len()..];
    // The value may have any words: what serde says behind it comes last.
    let end = match ENDS.iter().find(|end| told.ends_with(**end)) {
        Some(end) => told.len() - end.len() + 1,
        None => told.rfind(EXPECTED).unwrap_or(told.len()),
    };
    let kind = match start.ends_with(": ") {
        true => KINDS.iter().find(|kind| told[..end].starts_with(**kind)).copied().unwrap_or("another value"),
        false => "",
    };
    format!("{}{shown}{kind}{}", &said[..at], &told[end..])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use serde::de::{DeserializeOwned, Error as _, Unexpected};
    use serde_json::{Value, json};

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "only read by serde")]
    struct Row {
        kind: Kind,
        at: (u8, bool),
    }

    #[derive(Debug, Deserialize)]
    enum Kind {
        Sale,
        Refund,
    }

    #[derive(Debug, Deserialize)]
    enum None {}

    fn said<T: DeserializeOwned + std::fmt::Debug>(value: Value) -> String {
        without_values(&serde_json::from_value::<T>(value).unwrap_err().to_string())
    }

    #[test]
    fn value_is_left_out_and_what_was_expected_stays_whatever_the_value_says() {
        for secret in
            ["s3cret", "s3cret, expected `x`", "`, there are no variants s3cret", "invalid type: s3cret \"", "s3cret`"]
        {
            assert_eq!(said::<u32>(json!(secret)), "invalid type: string, expected u32");
            assert_eq!(said::<Kind>(json!(secret)), "unknown variant, expected `Sale` or `Refund`");
            assert_eq!(said::<None>(json!(secret)), "unknown variant, there are no variants");
            assert_eq!(said::<Row>(json!({ secret: 1 })), "unknown field, expected `kind` or `at`");
            assert_eq!(said::<BTreeMap<String, u8>>(json!({ "a": secret })), "invalid type: string, expected u8");
        }
        assert_eq!(said::<u8>(json!(4711)), "invalid value: integer, expected u8");
        assert_eq!(said::<bool>(json!(-4711)), "invalid type: integer, expected a boolean");
        assert_eq!(said::<bool>(json!(4711.5)), "invalid type: floating point, expected a boolean");
        assert_eq!(said::<String>(json!(true)), "invalid type: boolean, expected a string");
        assert_eq!(said::<u8>(Value::Null), "invalid type: null, expected u8");
        assert_eq!(said::<u8>(json!([4711])), "invalid type: sequence, expected u8");
        assert_eq!(said::<u8>(json!({ "s3cret": 1 })), "invalid type: map, expected u8");
        let other = serde_json::Error::invalid_value(Unexpected::Other("s3cret"), &"a day").to_string();
        assert_eq!(without_values(&other), "invalid value: another value, expected a day");
    }

    #[test]
    fn what_has_no_value_in_it_and_the_words_of_types_stay() {
        assert_eq!(said::<Row>(json!({ "kind": "Sale" })), "missing field `at`");
        assert_eq!(said::<(u8, u8)>(json!([1])), "invalid length 1, expected a tuple of size 2");
        for own in ["a date is YYYY-MM-DD", "", "invalid IP address syntax", "invalid type"] {
            assert_eq!(without_values(own), own);
        }
        let within = "amount: invalid type: string \"s3cret\", expected u8";
        assert_eq!(without_values(within), "amount: invalid type: string, expected u8");
        assert_eq!(
            without_values("expected single character but got 6 characters in 's3cret'"),
            "expected single character but got 6 characters"
        );
    }
}
