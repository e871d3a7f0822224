//! Event time in Timely: sources whose timestamps are watermarks, and operators that give results when the frontier has passed.

use timely::ExchangeData;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Operator;
use timely::dataflow::operators::generic::source;
use timely::dataflow::{Scope, StreamVec};

use crate::engines::by_hand::Timed;

/// Records that a source reads before it lets other operators run.
const RECORDS_AT_A_TIME: usize = 16 * 1024;

/// Records that are sent at times which are not above their own. `watermark` says of the times up to which no more will come how
/// far they are with a record.
pub(super) fn timed_source<T: Clone + 'static>(
    scope: Scope<'_, u64>,
    mut records: impl Iterator<Item = T> + 'static,
    watermark: impl Fn(&T) -> i64 + 'static,
) -> StreamVec<'_, u64, T> {
    source::<_, CapacityContainerBuilder<_>, _, _>(scope, "events", |capability, info| {
        let activator = scope.activator_for(info.address);
        let mut capability = Some(capability);
        let mut newest = -1;
        move |output| {
            let Some(held) = &mut capability else { return };
            let mut session = output.session(&*held);
            let mut read = 0;
            for record in records.by_ref().take(RECORDS_AT_A_TIME) {
                newest = watermark(&record).max(newest);
                session.give(record);
                read += 1;
            }
            drop(session);
            if read == 0 {
                capability = None;
                return;
            }
            held.downgrade(&(newest + 1).cast_unsigned());
            activator.activate();
        }
    })
}

/// Gives what an operator gives for the records that are routed to it, when the frontier has passed. All that is due is sent
/// at once, under the time of the first. The capability that is held is for the next one.
pub(super) fn timed<O>(
    records: StreamVec<'_, u64, O::In>,
    route: impl Fn(&O::In) -> u64 + 'static,
    mut operator: O,
) -> StreamVec<'_, u64, O::Out>
where
    O: Timed<In: ExchangeData, Out: Clone + 'static> + 'static,
{
    records.unary_frontier(Exchange::new(route), "timed", |capability, _| {
        let mut capability = Some(capability);
        move |(input, frontier), output| {
            input.for_each_stamp(|_, data| {
                data.flat_map(|records| records.drain(..)).for_each(|record| operator.add(record));
            });
            let Some(held) = &mut capability else { return };
            let frontier = frontier.frontier().first().copied();
            let watermark = frontier.map_or(i64::MAX, |time| time.cast_signed() - 1);
            if let Some(time) = operator.next_time().filter(|time| *time <= watermark) {
                // What is held is later only where there is nothing to give at that time.
                let time = time.cast_unsigned().max(*held.time());
                held.downgrade(&time);
                let mut session = output.session(&*held);
                operator.fire_up_to(watermark, |result| session.give(result));
            }
            match frontier {
                None => capability = None,
                Some(frontier) => {
                    let next = operator.next_time().map_or(u64::MAX, i64::cast_unsigned);
                    held.downgrade(&next.min(frontier));
                }
            }
        }
    })
}
