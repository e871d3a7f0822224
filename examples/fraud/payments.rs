//! Payments for the check: the same ones each time.

use std::collections::BTreeMap;

use crate::transaction::{Alert, Card, Transaction};

const CARDS: u64 = 20;

/// So many transactions, of all cards in turn, some of them as a thief would make them.
pub(crate) fn payments(count: u64) -> Vec<Transaction> {
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        // Marsaglia's xorshift.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let payment = |n| {
        let cents = match next() % 4 {
            0 => 1 + next() % 99,
            1 => 50_000 + next() % 100_000,
            _ => 100 + next() % 40_000,
        };
        Transaction {
            card: format!("card-{}", n % CARDS),
            number: n / CARDS,
            at_ms: 2_500 * n + next() % 30_000,
            cents,
        }
    };
    (0..count).map(payment).collect()
}

/// What a plain loop makes of them, sorted.
pub(crate) fn reference(payments: &[Transaction]) -> Vec<Alert> {
    let mut cards: BTreeMap<&str, Card> = BTreeMap::new();
    let mut alerts: Vec<Alert> =
        payments.iter().filter_map(|payment| cards.entry(&payment.card).or_default().take(payment.clone())).collect();
    alerts.sort();
    alerts
}
