//! What operators do with batches, once for all of them.

use std::ops::ControlFlow;

use millstream_actors::contract::{BATCH_RECORDS_MAX, Batch, Output};

/// How many records the open batch still takes.
#[inline]
pub(crate) fn room<T>(out: &mut Output<T>) -> usize {
    BATCH_RECORDS_MAX - out.open_batch().len()
}

/// Takes the bytes of the first `records` records off the batch's count: its records are about to go.
#[inline]
pub(crate) fn take_bytes<T>(input: &mut Batch<T>, records: usize) -> usize {
    let bytes = input.bytes_of(records);
    input.bytes -= bytes;
    bytes
}

/// Counts `bytes` for records that were put into the open batch directly, and closes it if it is full.
#[inline]
pub(crate) fn count_filled<T>(out: &mut Output<T>, bytes: usize) {
    let open = out.open_batch();
    if !open.is_empty() {
        open.bytes += bytes;
    }
    if open.is_full() {
        out.close();
    }
}

/// Moves all records of `input` on, as they are and in order: the whole batch by swapping where the open one is empty,
/// else as many as fit. False if some are left for want of room.
pub(crate) fn pass_on<T>(input: &mut Batch<T>, out: &mut Output<T>) -> bool {
    if out.open_batch().is_empty() && input.len() <= BATCH_RECORDS_MAX {
        std::mem::swap(input, out.open_batch());
        input.clear();
        count_filled(out, 0);
        return true;
    }
    let records = input.len().min(room(out));
    let bytes = take_bytes(input, records);
    out.open_batch().records.extend(input.records.drain(..records));
    count_filled(out, bytes);
    input.is_empty()
}

/// Gives the first `records` records to `each` until it breaks; those it was not given stay in front. Gives the number
/// of records it was given.
#[inline]
pub(crate) fn drain_until<T>(
    records: &mut Vec<T>,
    first: usize,
    mut each: impl FnMut(usize, T) -> ControlFlow<()>,
) -> usize {
    let mut given = 0;
    let mut drain = records.drain(..first);
    for record in drain.by_ref() {
        given += 1;
        if each(given - 1, record).is_break() {
            break;
        }
    }
    let rest: Vec<T> = drain.collect();
    put_back(records, rest);
    given
}

/// Puts records back in front of the others.
pub(crate) fn put_back<T>(records: &mut Vec<T>, rest: Vec<T>) {
    if !rest.is_empty() {
        records.splice(..0, rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_after_a_break_stay_in_front_and_in_order() {
        let mut records: Vec<u32> = (0..10).collect();
        let mut seen = Vec::new();
        let given = drain_until(&mut records, 6, |index, record| {
            seen.push((index, record));
            if record == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert_eq!((given, seen), (3, vec![(0, 0), (1, 1), (2, 2)]));
        assert_eq!(records, (3..10).collect::<Vec<_>>());
        assert_eq!(drain_until(&mut records, 7, |_, _| ControlFlow::Continue(())), 7);
        assert!(records.is_empty());
    }

    #[test]
    fn passing_on_swaps_into_an_empty_batch_and_fills_an_open_one() {
        let mut out = Output::new();
        let mut input = Batch { records: (0..600).collect::<Vec<u32>>(), bytes: 600 };
        assert!(pass_on(&mut input, &mut out));
        assert_eq!((out.open_batch().len(), out.open_batch().bytes, input.len(), input.bytes), (600, 600, 0, 0));
        let mut input = Batch { records: (600..1200).collect::<Vec<u32>>(), bytes: 1200 };
        assert!(!pass_on(&mut input, &mut out));
        assert_eq!((out.is_full(), input.len(), input.bytes), (true, 176, 352));
        assert!(pass_on(&mut input, &mut out));
        let mut records = Vec::new();
        let mut bytes = 0;
        let drained = out.drain(|batch| {
            bytes += batch.bytes;
            records.append(&mut batch.records);
            Ok(millstream_actors::contract::Progress::Done)
        });
        assert!(drained.is_ok());
        assert_eq!((records, bytes), ((0..1200).collect(), 1800));
    }
}
