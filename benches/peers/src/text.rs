//! A text whose words are as frequent as Zipf's law has it.

use std::sync::OnceLock;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::numbers::splitmix64;

static TEXT: OnceLock<String> = OnceLock::new();

/// Writes the text: `words` words out of `vocabulary`, each followed by a space. To be called once.
pub(crate) fn write(words: u64, vocabulary: u64) {
    let ranks = AliasTable::zipf(vocabulary as usize);
    let spellings: Vec<String> = (0..vocabulary).map(spelling).collect();
    let mut text = String::with_capacity(words as usize * 7);
    for n in 0..words {
        text.push_str(&spellings[ranks.pick(splitmix64(n))]);
        text.push(' ');
    }
    TEXT.set(text).expect("one text in a process");
}

fn text() -> &'static str {
    TEXT.get().expect("it was written at the start")
}

/// The words of one of `parts` parts of the text.
pub(crate) fn words(index: usize, parts: usize) -> Words {
    let text = text();
    let bound = |part: usize| {
        let cut = text.len() * part / parts;
        text[..cut].rfind(' ').map_or(0, |space| space + 1)
    };
    let end = if index + 1 == parts { text.len() } else { bound(index + 1) };
    Words { rest: &text[bound(index)..end] }
}

/// Goes through words that are each followed by a space.
#[derive(Clone)]
pub(crate) struct Words {
    rest: &'static str,
}

impl Words {
    /// Bytes to go.
    pub(crate) fn left(&self) -> usize {
        self.rest.len()
    }

    /// Passes over so many bytes, to where a word begins.
    pub(crate) fn skip_bytes(&mut self, bytes: usize) {
        self.rest = &self.rest[bytes..];
    }
}

impl Iterator for Words {
    type Item = Word;

    #[inline]
    fn next(&mut self) -> Option<Word> {
        let end = self.rest.bytes().position(|byte| byte == b' ')?;
        let word = Word(&self.rest[..end]);
        self.rest = &self.rest[end + 1..];
        Some(word)
    }
}

/// A word where it stands in the text. Timely and Renoir ask for records that can be sent to another process; what would
/// be sent is the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Word(&'static str);

impl Word {
    #[inline]
    pub(crate) fn as_str(&self) -> &'static str {
        self.0
    }
}

impl Serialize for Word {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let start = self.0.as_ptr().addr() - text().as_ptr().addr();
        (start as u64, self.0.len() as u64).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (start, len) = <(u64, u64)>::deserialize(deserializer)?;
        let word = text().get(start as usize..(start + len) as usize);
        word.map(Self).ok_or_else(|| serde::de::Error::custom("no word of the text"))
    }
}

/// What a word adds to the checksum. Not linear in the count, so that a word that is counted in two places shows.
#[inline]
pub(crate) fn weigh(word: &str, count: u64) -> u64 {
    count.wrapping_mul(count).wrapping_mul(1 + word.len() as u64)
}

/// Two syllables for the first 4,900 words, three for others.
fn spelling(rank: u64) -> String {
    const CONSONANTS: &[u8] = b"bdfghjklmnprst";
    const VOWELS: &[u8] = b"aeiou";
    let mut word = String::new();
    let mut rest = rank;
    while rest > 0 || word.len() < 4 {
        let syllable = (rest % 70) as usize;
        word.push(char::from(CONSONANTS[syllable / 5]));
        word.push(char::from(VOWELS[syllable % 5]));
        rest /= 70;
    }
    word
}

/// Picks ranks by their frequency in constant time (Walker 1977, as built by Vose 1991).
struct AliasTable {
    /// Below the first number, of 2^32, it is the column's own rank, else the second.
    columns: Vec<(u64, usize)>,
}

impl AliasTable {
    const ONE: f64 = (1u64 << 32) as f64;

    /// The `rank`th of `ranks` is picked 1 / (rank + 1) times as often as the first.
    fn zipf(ranks: usize) -> Self {
        let sum: f64 = (1..=ranks).map(|rank| 1.0 / rank as f64).sum();
        let mut heights: Vec<f64> = (1..=ranks).map(|rank| ranks as f64 / (rank as f64 * sum)).collect();
        let (mut low, mut high): (Vec<usize>, Vec<usize>) = (0..ranks).partition(|rank| heights[*rank] < 1.0);
        let mut columns: Vec<(u64, usize)> = (0..ranks).map(|rank| (u64::MAX, rank)).collect();
        while let (Some(small), Some(&large)) = (low.pop(), high.last()) {
            columns[small] = ((heights[small] * Self::ONE) as u64, large);
            heights[large] -= 1.0 - heights[small];
            if heights[large] < 1.0 {
                high.pop();
                low.push(large);
            }
        }
        Self { columns }
    }

    fn pick(&self, random: u64) -> usize {
        let column = (((random >> 32) * self.columns.len() as u64) >> 32) as usize;
        let (limit, alias) = self.columns[column];
        if random & 0xffff_ffff < limit { column } else { alias }
    }
}
