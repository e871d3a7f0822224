//! A sink that has another id now.

use super::*;

/// G2. A sink that has another id now publishes what it had prepared under its former one, knows what it had published, and takes
/// that back where a start falls behind it.
#[test]
fn files_that_were_prepared_under_a_former_id_are_published_under_todays() {
    let dir = temp();
    let sink = FileSink::lines(dir.path());
    let as_new = |incarnation, parallelism, index| SinkContext {
        operator: "new".into(),
        former_operators: vec!["sink".into(), "never".into()],
        ..context(incarnation, 1, index, parallelism)
    };
    let mut old = open(&sink, 1);
    write(&mut old, vec!["a"]);
    checkpoint(&mut old, 1);
    write(&mut old, vec!["b"]);
    // The checkpoint is complete, and the process dies before it is told.
    let pending = old.prepare(CheckpointId(2)).unwrap();
    drop(old);
    let mut subtasks: Vec<_> = (0..2)
        .map(|index| {
            let (mine, others) = if index == 0 { (pending.clone(), vec![]) } else { (vec![], pending.clone()) };
            let restored = SinkRestore { pending_elsewhere: others, ..restore(2, mine) };
            sink.open(&as_new(2, 2, index), restored).unwrap()
        })
        .collect();
    let published = [("part-1-1-0-0.txt", "a\n"), ("part-1-2-0-1.txt", "b\n")];
    assert_eq!(visible(dir.path()), named(&published));
    write(&mut subtasks[1], vec!["c"]);
    assert_eq!(checkpoint(&mut subtasks[1], 3).len(), 1);
    drop(subtasks);

    // Once more from checkpoint 2, and then from before 2: a record of either id proves, and lives of both are known.
    let again = SinkRestore { withdraw: vec![CheckpointId(3)], ..restore(2, pending.clone()) };
    drop(sink.open(&as_new(3, 1, 0), again).unwrap());
    assert_eq!(visible(dir.path()), named(&published));
    let before = SinkRestore { withdraw: vec![CheckpointId(2), CheckpointId(3)], ..restore(1, vec![]) };
    drop(sink.open(&as_new(4, 1, 0), before).unwrap());
    assert_eq!(visible(dir.path()), named(&published[..1]));
}
