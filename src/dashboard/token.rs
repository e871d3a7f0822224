//! What a browser must know to change anything.

use std::fmt;

use subtle::ConstantTimeEq;

/// A token that gives the right to change jobs over the [`Dashboard`](super::Dashboard), in all the ways that
/// [`Dashboard::token`](super::Dashboard::token) lists. Whoever knows it may do all of that, so it is long and random, and comes from where
/// the service has its other secrets.
///
/// ```
/// use millstream::dashboard::Token;
///
/// assert!(Token::new("0123456789abcdef").is_ok());
/// assert!(Token::new("short").is_err());
/// ```
#[derive(Clone)]
pub struct Token(String);

/// A token has fewer than [`Token::LEN_MIN`] bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the token has {len} bytes, at least {} are needed: take random ones", Token::LEN_MIN)]
pub struct TokenTooShort {
    /// How many it has.
    pub len: usize,
}

impl Token {
    /// Bytes that a token has at least.
    pub const LEN_MIN: usize = 16;

    /// A token with this text.
    ///
    /// # Errors
    /// [`TokenTooShort`].
    pub fn new(text: impl Into<String>) -> Result<Self, TokenTooShort> {
        let text = text.into();
        if text.len() < Self::LEN_MIN { Err(TokenTooShort { len: text.len() }) } else { Ok(Self(text)) }
    }

    /// Whether this is its text. How long that takes tells nothing about it but its length.
    pub(super) fn is(&self, text: &str) -> bool {
        self.0.as_bytes().ct_eq(text.as_bytes()).into()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}
