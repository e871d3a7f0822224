//! The events of Nexmark, as a source.

use std::iter::Peekable;

use millstream::Timestamp;
use millstream::source::*;
use nexmark::EventGenerator;
use nexmark::config::NexmarkConfig;
use nexmark::event::Event;
use serde::{Deserialize, Serialize};

use crate::standing_clock::HeldEnd;

/// As the examples of all engines have it, so that results can be compared.
const BASE_TIME: u64 = 1_500_000_000_000;
/// Event `n` is in split `n % SPLITS`. So time goes forward in each.
pub(crate) const SPLITS: u64 = 8;

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Person {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) city: String,
    pub(crate) state: String,
    pub(crate) at: Timestamp,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Auction {
    pub(crate) id: u64,
    pub(crate) item: String,
    pub(crate) seller: u64,
    pub(crate) category: u64,
    pub(crate) at: Timestamp,
    pub(crate) expires: Timestamp,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Bid {
    /// Its place among all events: of two that are equal in all else it tells the earlier one.
    pub(crate) number: u64,
    pub(crate) auction: u64,
    pub(crate) bidder: u64,
    pub(crate) price: u64,
    pub(crate) channel: String,
    pub(crate) at: Timestamp,
}

#[derive(Clone, Debug)]
pub(crate) enum Nexmark {
    Person(Person),
    Auction(Auction),
    Bid(Bid),
}

impl Nexmark {
    fn new(number: u64, event: Event) -> Self {
        let millis = |time: u64| time as Timestamp;
        match event {
            Event::Person(person) => Self::Person(Person {
                id: person.id as u64,
                name: person.name,
                city: person.city,
                state: person.state,
                at: millis(person.date_time),
            }),
            Event::Auction(auction) => Self::Auction(Auction {
                id: auction.id as u64,
                item: auction.item_name,
                seller: auction.seller as u64,
                category: auction.category as u64,
                at: millis(auction.date_time),
                expires: millis(auction.expires),
            }),
            Event::Bid(bid) => Self::Bid(Bid {
                number,
                auction: bid.auction as u64,
                bidder: bid.bidder as u64,
                price: bid.price as u64,
                channel: bid.channel,
                at: millis(bid.date_time),
            }),
        }
    }

    pub(crate) fn at(&self) -> Timestamp {
        match self {
            Self::Person(person) => person.at,
            Self::Auction(auction) => auction.at,
            Self::Bid(bid) => bid.at,
        }
    }
}

/// Each `step`th event from `first` on, with their numbers.
fn generate(first: u64, step: u64) -> impl Iterator<Item = (u64, Nexmark)> {
    let config = NexmarkConfig { base_time: BASE_TIME, ..NexmarkConfig::default() };
    let events = EventGenerator::new(config).with_offset(first).with_step(step);
    (first..).step_by(step as usize).zip(events).map(|(number, event)| (number, Nexmark::new(number, event)))
}

/// The first events, in their order.
pub(crate) fn all(events: u64) -> impl Iterator<Item = Nexmark> {
    generate(0, 1).take(events as usize).map(|(_, event)| event)
}

/// The first events, with their numbers. Subtasks read their splits in turn, so that event time goes on in all of them.
pub(crate) struct NexmarkSource {
    pub(crate) events: u64,
    /// It ends only when this lets it, if there is one.
    pub(crate) held_end: Option<HeldEnd>,
}

type Events = Peekable<Box<dyn Iterator<Item = (u64, Nexmark)> + Send>>;

struct Split {
    index: u64,
    id: String,
    events: Events,
}

struct Reader {
    events: u64,
    /// Those that are not read to their end.
    splits: Vec<Split>,
    /// Those that are, since the last barrier.
    ended: Vec<Split>,
    turn: usize,
    last: Option<(String, bool)>,
    held_end: Option<HeldEnd>,
    waker: SourceWaker,
}

impl Source for NexmarkSource {
    type Item = (u64, Nexmark);

    fn open(
        &self,
        cx: &SourceContext,
        restored: Option<Vec<SplitPosition>>,
    ) -> Result<Box<dyn SourceReader<Item = Self::Item>>, SourceError> {
        let restored = restored.unwrap_or_default();
        let (mut splits, mut ended) = (Vec::new(), Vec::new());
        for index in 0..SPLITS {
            let id = spread_split_id("events", index);
            if !cx.owns(&id) {
                continue;
            }
            let stored = restored.iter().find(|position| position.split == id);
            let next = stored.map_or(Ok(index), |stored| {
                let bytes = stored.position.clone().try_into().map(u64::from_le_bytes);
                bytes.map_err(|bytes| SourceError::position(&id, format!("{bytes:?}")))
            })?;
            let events: Box<dyn Iterator<Item = _> + Send> = Box::new(generate(next, SPLITS));
            let split = Split { index, id, events: events.peekable() };
            if let Some(end) = &self.held_end {
                end.is_read(index, next >= self.events);
            }
            if next < self.events { &mut splits } else { &mut ended }.push(split);
        }
        let (held_end, waker) = (self.held_end.clone(), cx.waker.clone());
        Ok(Box::new(Reader { events: self.events, splits, ended, turn: 0, last: None, held_end, waker }))
    }
}

impl SourceReader for Reader {
    type Item = (u64, Nexmark);

    fn read(&mut self, batch: &mut Batch<Self::Item>) -> Result<ReadStatus, SourceError> {
        self.last = None;
        if self.splits.is_empty() {
            let may_end = self.held_end.as_ref().is_none_or(|end| end.is_let_go(&self.waker));
            return Ok(if may_end { ReadStatus::End } else { ReadStatus::Idle { retry_after: None } });
        }
        self.turn = (self.turn + 1) % self.splits.len();
        let split = &mut self.splits[self.turn];
        let end = self.events;
        while !batch.is_full()
            && let Some(event) = split.events.next_if(|(number, _)| *number < end)
        {
            batch.push(event, 200);
        }
        let at_end = split.events.peek().is_none_or(|(number, _)| *number >= end);
        self.last = Some((split.id.clone(), at_end));
        if at_end {
            if let Some(end) = &self.held_end {
                end.is_read(split.index, true);
            }
            self.ended.push(self.splits.remove(self.turn));
        }
        Ok(ReadStatus::More)
    }

    fn last_read(&self) -> Option<SplitRead<'_>> {
        self.last.as_ref().map(|(split, at_end)| SplitRead { split, at_end: *at_end })
    }

    fn concurrent_splits(&self) -> Vec<String> {
        self.splits.iter().map(|split| split.id.clone()).collect()
    }

    fn report_positions(&mut self, moved: &mut Vec<SplitPosition>) {
        for split in self.splits.iter_mut().chain(&mut self.ended) {
            let next = split.events.peek().map_or(u64::MAX, |(number, _)| *number);
            moved.push(SplitPosition::new(split.id.as_str(), next.to_le_bytes()));
        }
        self.ended.clear();
    }
}
