//! What is told of many prices.

/// How many there are in all and in three ranges, the least, the greatest, the mean and the sum.
#[derive(Hash)]
pub(crate) struct Figures {
    all: u64,
    below_10_000: u64,
    below_a_million: u64,
    others: u64,
    least: u64,
    greatest: u64,
    mean: u64,
    sum: u64,
}

impl Figures {
    /// Of at least one price.
    pub(crate) fn of(prices: impl Iterator<Item = u64> + Clone) -> Self {
        let count = |from: u64, to: u64| prices.clone().filter(|price| (from..to).contains(price)).count() as u64;
        let (all, sum) = (prices.clone().count() as u64, prices.clone().sum::<u64>());
        Self {
            all,
            below_10_000: count(0, 10_000),
            below_a_million: count(10_000, 1_000_000),
            others: count(1_000_000, u64::MAX),
            least: prices.clone().min().unwrap_or_default(),
            greatest: prices.clone().max().unwrap_or_default(),
            mean: sum / all.max(1),
            sum,
        }
    }
}
