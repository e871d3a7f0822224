use std::rc::Rc;

use super::*;

fn batch(records: impl IntoIterator<Item = u32>, bytes: usize) -> Batch<u32> {
    Batch::counted(records.into_iter().collect(), bytes)
}

fn parts(batch: &Batch<u32>) -> (Vec<u32>, usize) {
    (batch.as_slice().to_vec(), batch.bytes())
}

#[test]
fn records_that_move_take_their_share_of_the_bytes() {
    let (mut from, mut to) = (batch(0..10, 1000), batch([99], 7));
    from.move_front(3, &mut to);
    assert_eq!((parts(&from), parts(&to)), (((3..10).collect(), 700), (vec![99, 0, 1, 2], 307)));
    from.map_front(2, &mut to, |x| x * 10);
    assert_eq!((from.bytes(), parts(&to)), (500, (vec![99, 0, 1, 2, 30, 40], 507)));
    from.append(&mut to);
    assert_eq!((from.len(), from.bytes(), parts(&to)), (11, 1007, (vec![], 0)));
}

#[test]
fn refused_records_take_their_bytes_with_them() {
    let odd = |x: &u32| x % 2 == 1;
    let (mut from, mut to) = (batch(0..10, 100), Batch::new());
    from.filter_front(4, &mut to, odd);
    from.filter_map_front(4, &mut to, |x| odd(&x).then_some(x));
    assert_eq!((parts(&from), parts(&to)), ((vec![8, 9], 20), (vec![1, 3, 5, 7], 40)));
    from.filter_front(2, &mut to, odd);
    assert_eq!((parts(&from), parts(&to)), ((vec![], 0), (vec![1, 3, 5, 7, 9], 50)));
    to.filter_front(5, &mut from, |_| false);
    assert_eq!((parts(&from), parts(&to)), ((vec![], 0), (vec![], 0)));
}

#[test]
fn a_whole_batch_is_mapped_where_it_lies() {
    let (mut from, mut to) = (batch(0..1000, 0), Batch::<f32>::new());
    let place = from.as_slice().as_ptr().addr();
    from.map_front(1000, &mut to, |x| x as f32);
    assert_eq!((to.len(), to.as_slice().as_ptr().addr()), (1000, place));
}

#[test]
fn filtering_keeps_order_and_drops_each_refused_record_once() {
    let counted: Vec<Rc<u32>> = (0..100).map(Rc::new).collect();
    let mut records: Batch<Rc<u32>> = counted.iter().cloned().collect();
    let mut kept = Batch::new();
    records.filter_front(100, &mut kept, |record| **record % 7 < 3);
    assert!(kept.iter().eq(counted.iter().filter(|record| ***record % 7 < 3)));
    for record in &counted {
        assert_eq!(Rc::strong_count(record), 1 + usize::from(**record % 7 < 3));
    }
}

#[test]
fn records_that_are_not_taken_stay_in_front_and_in_the_same_allocation() {
    let mut records = batch(0..10, 100);
    let place = records.as_slice().as_ptr();
    let mut front = records.front(6);
    assert_eq!(front.peek(), Some(&0));
    assert_eq!((front.next(), front.next(), front.next()), (Some(0), Some(1), Some(2)));
    assert_eq!((front.as_slice(), front.taken(), front.bytes_each()), (&[3, 4, 5][..], 3, 10));
    drop(front);
    assert_eq!(parts(&records), ((3..10).collect(), 70));
    assert_eq!(records.front(0).peek(), None, "those behind the first ones are not taken");
    assert_eq!(records.front(7).count(), 7);
    assert_eq!((parts(&records), records.as_slice().as_ptr()), ((vec![], 0), place));
    assert_eq!(records.front(0).next(), None);
}

#[test]
fn scattering_closes_what_becomes_full_and_names_a_channel_that_does_not_exist() {
    struct Channel(Batch<u32>, Vec<(usize, usize)>);
    let close = |channel: &mut Channel| {
        channel.1.push((channel.0.len(), channel.0.bytes()));
        channel.0.clear();
    };
    for (bytes, closed) in [(0, vec![(1024, 0)]), (1500 * 1024, vec![(256, 256 * 1024); 4])] {
        let mut channels = [Channel(Batch::new(), vec![]), Channel(Batch::new(), vec![])];
        let targets: Vec<u32> = (0..1500).map(|x| u32::from(x % 5 == 0)).collect();
        batch(0..1500, bytes).scatter(&targets, &mut channels, |channel| &mut channel.0, close).unwrap();
        assert_eq!(
            (&channels[0].1, channels[0].0.len(), channels[1].0.len()),
            (&closed, 176, if bytes == 0 { 300 } else { 44 })
        );
        assert!(channels[0].0.iter().is_sorted());
    }
    let mut channels = [Channel(Batch::new(), vec![])];
    assert_eq!(batch(0..3, 0).scatter(&[0, 7, 0], &mut channels, |channel| &mut channel.0, close), Err(7));
}

/// Records of which those below `timed` have their hundredfold as event time.
fn timed(records: std::ops::Range<u32>, timed: u32) -> Batch<u32> {
    let mut batch = Batch::new();
    records.for_each(|n| batch.push_at(n, 0, if n < timed { i64::from(n) * 100 } else { NO_TIME }));
    batch
}

/// The records with their event times.
fn with_times(batch: &Batch<u32>) -> Vec<(u32, Option<Timestamp>)> {
    batch.iter().copied().enumerate().map(|(place, record)| (record, batch.time(place))).collect()
}

/// What [`with_times`] gives of records that all have the time that they were made with.
fn own_times(records: impl IntoIterator<Item = u32>, timed: u32) -> Vec<(u32, Option<Timestamp>)> {
    records.into_iter().map(|n| (n, (n < timed).then_some(i64::from(n) * 100))).collect()
}

#[test]
fn event_times_go_with_their_records_through_every_method() {
    // All records timed, none, and some; the receiver empty, or with records that have times or none.
    for (known, first) in [(100, 0..0), (100, 50..53), (0, 50..53), (0, 0..0), (5, 0..0), (5, 2..4), (51, 50..53)] {
        let from = || timed(0..10, known);
        let to = || timed(first.clone(), known);
        let all: Vec<u32> = first.clone().chain(0..10).collect();
        let odd = |n: &u32| n % 2 == 1;
        let odds: Vec<u32> = first.clone().chain((0..10).filter(odd)).collect();

        let (mut left, mut moved) = (from(), to());
        left.move_front(4, &mut moved);
        assert_eq!(with_times(&left), own_times(4..10, known), "move_front leaves");
        left.move_front(6, &mut moved);
        assert_eq!(with_times(&moved), own_times(all.clone(), known), "move_front");

        let (mut left, mut mapped) = (from(), to());
        left.map_front(7, &mut mapped, |n| n);
        left.map_front(3, &mut mapped, |n| n);
        assert_eq!((left.len(), with_times(&mapped)), (0, own_times(all.clone(), known)), "map_front");
        let (mut left, mut mapped) = (from(), Batch::new());
        left.map_front(10, &mut mapped, |n| n);
        left.push(99, 0);
        assert_eq!((with_times(&left), with_times(&mapped)), (vec![(99, None)], own_times(0..10, known)));

        let (mut left, mut kept) = (from(), to());
        left.filter_front(3, &mut kept, odd);
        left.filter_map_front(7, &mut kept, |n| odd(&n).then_some(n));
        assert_eq!(with_times(&kept), own_times(odds, known), "filter_front and filter_map_front");

        let (mut copy, mut whole) = (to(), to());
        copy.append_copy(&from(), |n| *n);
        whole.append(&mut from());
        assert_eq!((with_times(&copy), with_times(&whole)), (own_times(all.clone(), known), own_times(all, known)));

        let mut front_of = from();
        let mut front = front_of.front(6);
        for n in 0..4 {
            let own = if n < known { i64::from(n) * 100 } else { NO_TIME };
            assert_eq!((front.time(), front.next()), (own, Some(n)));
        }
        drop(front);
        assert_eq!(with_times(&front_of), own_times(4..10, known), "front");

        let mut channels = [to(), Batch::new()];
        let targets: Vec<u32> = (0..10).map(|n| n % 2).collect();
        from().scatter(&targets, &mut channels, |batch| batch, |_| {}).unwrap();
        let evens: Vec<u32> = first.chain((0..10).filter(|n| n % 2 == 0)).collect();
        assert_eq!(with_times(&channels[0]), own_times(evens, known), "scatter");
        assert_eq!(with_times(&channels[1]), own_times((0..10).filter(odd), known), "scatter");
    }
}

#[test]
fn times_that_are_set_replace_those_that_are_known_and_leave_with_the_records() {
    let mut batch = timed(0..4, 2);
    let mut told = Vec::new();
    batch.set_times(|record, known| {
        told.push(known);
        i64::from(*record)
    });
    assert_eq!(told, [Some(0), Some(100), None, None]);
    assert_eq!((0..4).map(|place| batch.time(place)).collect::<Vec<_>>(), [Some(0), Some(1), Some(2), Some(3)]);
    assert_eq!(batch.drain().count(), 4);
    batch.push(7, 0);
    assert_eq!(batch.time(0), None, "a time does not outlive its record");
    batch.set_times(|_, _| 1);
    batch.clear();
    batch.push(8, 0);
    assert_eq!((batch.time(0), batch.time(1)), (None, None));
}
