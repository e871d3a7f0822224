//! What comes in, what goes out, and the rule in between.

use serde::{Deserialize, Serialize};

/// A payment with a card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Transaction {
    pub(crate) card: String,
    /// Numbers the transactions of a card, ascending: one that is sent again has the same.
    pub(crate) number: u64,
    /// When it was made, in milliseconds since 1970.
    pub(crate) at_ms: u64,
    pub(crate) cents: u64,
}

/// A small payment, with which a stolen card is tried out, and a large one soon after it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Alert {
    pub(crate) card: String,
    /// The numbers of the two transactions.
    pub(crate) small: u64,
    pub(crate) large: u64,
}

const SMALL_BELOW_CENTS: u64 = 100;
const LARGE_FROM_CENTS: u64 = 50_000;
const SOON_MS: u64 = 60_000;

/// What is remembered of a card.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Card {
    newest: Option<u64>,
    /// The transaction before, if it was a small one.
    small: Option<(u64, u64)>,
}

impl Card {
    /// Takes the card's next transaction. One that came before counts once.
    pub(crate) fn take(&mut self, transaction: Transaction) -> Option<Alert> {
        let Transaction { card, number, at_ms, cents } = transaction;
        if self.newest.is_some_and(|newest| number <= newest) {
            return None;
        }
        self.newest = Some(number);
        let small = std::mem::replace(&mut self.small, (cents < SMALL_BELOW_CENTS).then_some((number, at_ms)));
        let (small, tried_at_ms) = small.filter(|_| cents >= LARGE_FROM_CENTS)?;
        (at_ms.saturating_sub(tried_at_ms) <= SOON_MS).then_some(Alert { card, small, large: number })
    }
}
