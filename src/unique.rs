//! A part of a file's name that nobody else uses.

use std::hash::{BuildHasher, RandomState};

/// Sixteen digits and letters, others at each call and in each process: from what std draws for the keys of its hash maps.
/// A process id would not do: in a container every life of a program has the same one, and what a killed life has left
/// would stand in the way of the next.
pub(crate) fn unique() -> String {
    format!("{:016x}", RandomState::new().hash_one(()))
}

/// Whether `text` is what [`unique`] may have given.
pub(crate) fn is_unique(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_are_alike() {
        let all: HashSet<String> = (0..1000).map(|_| unique()).collect();
        assert!(all.len() == 1000 && all.iter().all(|name| is_unique(name)));
        for other in ["", "0123456789abcde", "0123456789abcdef0", "0123456789ABCDEF", "0123456789abcdeg"] {
            assert!(!is_unique(other), "{other}");
        }
    }
}
