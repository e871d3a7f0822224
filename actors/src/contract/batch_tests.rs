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
    assert_eq!((front.next(), front.next(), front.next()), (Some(0), Some(1), Some(2)));
    assert_eq!((front.as_slice(), front.taken(), front.bytes_each()), (&[3, 4, 5][..], 3, 10));
    drop(front);
    assert_eq!(parts(&records), ((3..10).collect(), 70));
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
