//! q6 of Nexmark.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use hashbrown::HashMap;

use super::Timed;
use crate::nexmark::{Sale, SellerMean};

/// The mean price of a seller's last ten sales, with each sale. Sales may come out of order.
#[derive(Default)]
pub(in crate::engines) struct LastTen {
    waiting: BinaryHeap<Reverse<Sale>>,
    prices: HashMap<u64, Vec<u64>>,
}

impl LastTen {
    /// The mean with a sale before which all earlier ones were taken.
    pub(in crate::engines) fn next(&mut self, sale: Sale) -> SellerMean {
        SellerMean::next(sale, self.prices.entry(sale.seller).or_default())
    }
}

impl Timed for LastTen {
    type In = Sale;
    type Out = SellerMean;

    fn add(&mut self, sale: Sale) {
        self.waiting.push(Reverse(sale));
    }

    fn next_time(&self) -> Option<i64> {
        self.waiting.peek().map(|Reverse(sale)| sale.expires)
    }

    fn fire(&mut self, mut give: impl FnMut(SellerMean)) {
        if let Some(Reverse(sale)) = self.waiting.pop() {
            give(self.next(sale));
        }
    }
}
