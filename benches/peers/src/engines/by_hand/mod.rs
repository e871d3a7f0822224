//! Operators as one writes them by hand, with hash maps, for the plain loops and for Timely.

mod last_ten;
mod most;
mod newcomers;
mod pairs;
mod sales;
mod timers;
mod windows;

pub(super) use last_ten::LastTen;
pub(super) use most::{Hot, Most};
pub(super) use newcomers::Newcomers;
pub(super) use pairs::Pairs;
pub(super) use sales::Sales;
pub(super) use timers::Timers;
pub(super) use windows::Windows;

/// What gives results when event time has come to them.
pub(super) trait Timed {
    type In;
    type Out;

    /// Takes a record. None comes whose time the watermark has come to.
    fn add(&mut self, record: Self::In);

    /// The earliest time of a result that there may be of the records so far.
    fn next_time(&self) -> Option<i64>;

    /// Gives the results of that time.
    fn fire(&mut self, give: impl FnMut(Self::Out));

    /// Gives all results up to a time.
    #[inline]
    fn fire_up_to(&mut self, watermark: i64, mut give: impl FnMut(Self::Out)) {
        while self.next_time().is_some_and(|time| time <= watermark) {
            self.fire(&mut give);
        }
    }
}
