//! What others say, made harmless for a terminal.

use std::fmt;

use serde::Deserialize;

/// Characters that are kept of one text.
const CHARACTERS_MAX: usize = 4_096;

/// A text from elsewhere without anything that a terminal takes for an order: control characters, those that change the direction of
/// writing, and those that cannot be seen are replaced, white space is a space. It is one line, and cut off at 4,096 characters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub(in crate::cli) struct Text(String);

impl Text {
    pub(super) fn of(said: &str) -> Self {
        let mut shown: String = said.chars().take(CHARACTERS_MAX).map(harmless).collect();
        if said.chars().nth(CHARACTERS_MAX).is_some() {
            shown.push('…');
        }
        Self(shown)
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for Text {
    fn from(said: String) -> Self {
        Self::of(&said)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

fn harmless(said: char) -> char {
    match said {
        _ if said.is_whitespace() => ' ',
        _ if said.is_control() => '\u{fffd}',
        // Directions, joiners and marks that are not seen, and the tags that hide whole texts.
        '\u{ad}'
        | '\u{61c}'
        | '\u{180e}'
        | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e0fff}' => '\u{fffd}',
        _ => said,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_is_left() {
        let text = |said| Text::of(said).to_string();
        assert_eq!(text("größe 数 ☃"), "größe 数 ☃");
        assert_eq!(text("\x1b]0;gone\x07"), "\u{fffd}]0;gone\u{fffd}");
        assert_eq!(text("a\u{9b}31mb\x7fc"), "a\u{fffd}31mb\u{fffd}c");
        assert_eq!(text("one\r\ntwo\tthree\u{2028}four\u{85}"), "one  two three four ");
        assert_eq!(text("safe\u{202e}exe.\u{200b}"), "safe\u{fffd}exe.\u{fffd}");
        assert_eq!(text(&"x".repeat(5_000)).chars().count(), CHARACTERS_MAX + 1);
        let text: Text = serde_json::from_str(r#""\u001b[2J""#).unwrap();
        assert_eq!(text.as_str(), "\u{fffd}[2J");
    }
}
