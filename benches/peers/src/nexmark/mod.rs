//! The events of the Nexmark benchmark, what its queries ask for, and what they give.

mod events;
mod queries;
mod results;

pub(crate) use events::{Auction, BASE_TIME, Bid, Event, Events, Person, write};
pub(crate) use queries::{
    HOT_MS, HOT_SLIDE_MS, WINDOW_MS, in_euros, is_in_category, is_in_states, is_of_some_auction, window_of,
};
pub(crate) use results::{CategoryMean, Mean, Newcomer, Offer, Pair, Sale, SellerMean};
