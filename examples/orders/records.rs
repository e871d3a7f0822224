//! What comes in, what goes out, and the rules in between.

use serde::{Deserialize, Serialize};

/// Stock of each item at first.
pub(crate) const STOCK: u64 = 300;
/// No order is of more, so that the sum of a customer's orders stays a number.
pub(crate) const CENTS_MAX: u64 = 1_000_000_000;
/// Names and ids are no longer.
const NAME_BYTES_MAX: usize = 64;

/// What a customer buys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Order {
    /// Chosen by who sends it: who got no answer sends it again under the same id.
    pub(crate) id: String,
    pub(crate) customer: String,
    pub(crate) quantity: u64,
    /// Of all of them together.
    pub(crate) cents: u64,
}

/// What an order comes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Invoice {
    pub(crate) order: String,
    pub(crate) customer: String,
    pub(crate) cents_each: u64,
}

/// What is known of a customer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Account {
    pub(crate) orders: u64,
    pub(crate) cents: u64,
}

impl Account {
    /// Adds an order.
    ///
    /// # Panics
    /// If it is of nothing: the mistake that this example lives with.
    pub(crate) fn take(&mut self, order: Order) -> Invoice {
        let cents_each = order.cents / order.quantity;
        self.orders += 1;
        self.cents += order.cents;
        Invoice { order: order.id, customer: order.customer, cents_each }
    }
}

/// Asks for some of an item to be set aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reservation {
    pub(crate) id: String,
    pub(crate) item: String,
    pub(crate) quantity: u64,
}

/// The answer: how many are left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reserved {
    pub(crate) left: u64,
}

/// Takes from the stock of an item.
///
/// # Errors
/// If there are not as many.
pub(crate) fn reserve(left: &mut u64, quantity: u64) -> Result<Reserved, String> {
    *left = left.checked_sub(quantity).ok_or_else(|| format!("{left} are left"))?;
    Ok(Reserved { left: *left })
}

/// Whether this can be the name or id of something.
pub(crate) fn is_name(text: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&text.len())
}
