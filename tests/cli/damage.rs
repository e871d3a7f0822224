//! Stores that are damaged, and files that are none.

use std::fs;
use std::path::Path;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use crate::counts_job::{drained, exported_counts, ids};
use crate::tool::{Called, call};

// As in `docs/snapshot-format.md`.
const MANIFESTS: TableDefinition<u64, &[u8]> = TableDefinition::new("millstream.manifests");
const CHUNKS: TableDefinition<&[u8; 33], &[u8]> = TableDefinition::new("millstream.chunks");

/// The key of the largest chunk of the first checkpoint that has any, and its bytes.
fn largest_chunk(store: &Path) -> ([u8; 33], Vec<u8>) {
    let database = Database::open(store).unwrap();
    let table = database.begin_read().unwrap().open_table(CHUNKS).unwrap();
    let rows = table.iter().unwrap().map(|row| row.map(|(key, value)| (*key.value(), value.value().to_vec())).unwrap());
    let first = table.first().unwrap().unwrap().0.value()[..8].to_vec();
    rows.filter(|(key, _)| key[..8] == first).max_by_key(|(_, value)| value.len()).unwrap()
}

fn with_chunks(store: &Path, change: impl FnOnce(&mut redb::Table<'_, &[u8; 33], &[u8]>)) {
    let database = Database::open(store).unwrap();
    let transaction = database.begin_write().unwrap();
    change(&mut transaction.open_table(CHUNKS).unwrap());
    transaction.commit().unwrap();
}

/// The checkpoints that the finding about a chunk names.
fn affected(called: &Called) -> Vec<u64> {
    assert_eq!(called.code, 1, "{called:?}");
    let report = called.json();
    assert_eq!(report["is_whole"], false);
    let findings = report["findings"].as_array().unwrap();
    let of_chunk = findings.iter().find(|finding| finding["what"].as_str().unwrap().starts_with("chunk"));
    let checkpoints = of_chunk.unwrap_or_else(|| panic!("{report}"))["checkpoints"].as_array().unwrap();
    checkpoints.iter().map(|id| id.as_u64().unwrap()).collect()
}

#[test]
fn one_wrong_byte_in_a_chunk_is_found_with_all_checkpoints_that_build_on_it() {
    let (_dir, job) = drained();
    let ids = ids(&call("inspect", &job.store, &["--json", "--no-entries"]).fine().json());
    let (key, mut bytes) = largest_chunk(&job.store);
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    with_chunks(&job.store, |table| drop(table.insert(&key, bytes.as_slice()).unwrap()));
    let affected = affected(&call("verify", &job.store, &["--json"]));
    assert!(affected.len() > 1 && affected[0] == ids[0], "later checkpoints build on it: {affected:?}");
    let text = call("verify", &job.store, &[]);
    assert!(text.code == 1 && text.out.starts_with("DAMAGED chunk"), "{text:?}");

    let bad = affected[0].to_string();
    let rest = ["--checkpoint", &bad];
    let inspected = call("inspect", &job.store, &[&["--json"], &rest[..]].concat());
    assert_eq!(inspected.code, 1);
    let damaged = inspected.json()["states"].as_array().unwrap().iter().filter(|s| !s["damage"].is_null()).count();
    assert_eq!(damaged, 1, "of one state");
    call("inspect", &job.store, &[&["--json", "--no-entries"], &rest[..]].concat()).fine();
    let export = call("export", &job.store, &[&["--operator", "count", "--state", "accumulator"], &rest[..]].concat());
    assert!(export.code == 1 && export.err.contains("damaged: chunk"), "{export:?}");
    let to = job.store.with_file_name("fork.redb");
    let fork = call("fork", &job.store, &[&["--to", to.to_str().unwrap()], &rest[..]].concat());
    assert!(fork.code == 1 && !to.exists(), "{fork:?}");
    assert_eq!(fs::read_dir(job.store.parent().unwrap()).unwrap().count(), 2, "store and output, no left-overs");
    if let Some(whole) = ids.iter().find(|id| !affected.contains(id)) {
        assert!(!exported_counts(&job.store, *whole).is_empty());
    }
}

#[test]
fn missing_chunk_is_found() {
    let (_dir, job) = drained();
    let (key, _) = largest_chunk(&job.store);
    with_chunks(&job.store, |table| drop(table.remove(&key).unwrap().unwrap()));
    let called = call("verify", &job.store, &["--json"]);
    assert!(affected(&called).len() > 1);
    assert!(called.out.contains("it is missing"), "{called:?}");
    assert_eq!(called.json()["unreferenced_chunks"], 0);
}

#[test]
fn chunks_of_no_checkpoint_are_counted_and_are_no_damage() {
    let (_dir, job) = drained();
    let (mut key, bytes) = largest_chunk(&job.store);
    key[0] = 0xFF;
    with_chunks(&job.store, |table| drop(table.insert(&key, bytes.as_slice()).unwrap()));
    assert_eq!(call("verify", &job.store, &["--json"]).fine().json()["unreferenced_chunks"], 1);
}

#[test]
fn damaged_page_of_the_file_is_found() {
    let (_dir, job) = drained();
    let (_, bytes) = largest_chunk(&job.store);
    let mut file = fs::read(&job.store).unwrap();
    // All but the header of its piece.
    let needle = &bytes[24..];
    let places: Vec<usize> = (0..file.len() - needle.len()).filter(|at| file[*at..].starts_with(needle)).collect();
    assert!(!places.is_empty());
    places.iter().for_each(|at| file[*at] ^= 0x10);
    fs::write(&job.store, &file).unwrap();
    let called = call("verify", &job.store, &["--json"]);
    assert!(!affected(&called).is_empty());
    let about_file = |finding: &serde_json::Value| finding["what"] == "the file";
    assert!(called.json()["findings"].as_array().unwrap().iter().any(about_file), "redb's own checksum: {called:?}");
    assert!(fs::read(&job.store).unwrap() == file, "the file was changed");
}

#[test]
fn damaged_manifest_is_shown_among_those_that_are_whole() {
    let (_dir, job) = drained();
    let ids = ids(&call("inspect", &job.store, &["--json", "--no-entries"]).fine().json());
    let (bad, newest) = (ids[1], *ids.last().unwrap());
    let database = Database::open(&job.store).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut table = transaction.open_table(MANIFESTS).unwrap();
        let mut bytes = table.get(bad).unwrap().unwrap().value().to_vec();
        bytes[30] ^= 4;
        table.insert(bad, bytes.as_slice()).unwrap();
    }
    transaction.commit().unwrap();
    drop(database);

    let inspected = call("inspect", &job.store, &["--json"]);
    assert_eq!(inspected.code, 1, "{inspected:?}");
    let checkpoints = inspected.json()["checkpoints"].clone();
    let damaged: Vec<_> = checkpoints.as_array().unwrap().iter().filter(|c| !c["damage"].is_null()).collect();
    assert!(damaged.len() == 1 && damaged[0]["id"] == bad, "{damaged:?}");
    let verified = call("verify", &job.store, &["--json"]);
    assert_eq!((verified.code, &verified.json()["findings"][0]["checkpoints"][0]), (1, &bad.into()));
    assert!(!exported_counts(&job.store, newest).is_empty(), "others are read");
    let refused = call("diff", &job.store, &[&bad.to_string(), &newest.to_string()]);
    assert!(refused.code == 1 && refused.err.contains("manifest"), "{refused:?}");
}

#[test]
fn truncated_file_is_damage() {
    let (_dir, job) = drained();
    let bytes = fs::read(&job.store).unwrap();
    for len in [9, 320, 4_096, bytes.len() / 2, bytes.len() - 4_096, bytes.len() - 1] {
        fs::write(&job.store, &bytes[..len]).unwrap();
        for verb in ["verify", "inspect"] {
            let called = call(verb, &job.store, &[]);
            assert!(called.code == 1 && called.err.contains("damaged"), "cut to {len}: {called:?}");
        }
        assert_eq!(fs::metadata(&job.store).unwrap().len(), len as u64);
    }
}

#[test]
fn files_that_are_no_store_are_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    for (bytes, reason) in [(&b""[..], "empty"), (b"key,value\n1,2\n", "begins with"), (&[0; 100_000], "begins with")] {
        fs::write(&path, bytes).unwrap();
        for verb in ["verify", "inspect"] {
            let called = call(verb, &path, &[]);
            assert!(called.code == 2 && called.err.contains(reason), "{called:?}");
        }
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
    fs::remove_file(&path).unwrap();
    let database = Database::create(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(TableDefinition::<u64, u64>::new("theirs")).unwrap().insert(1, 2).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let called = call("verify", &path, &[]);
    assert!(called.code == 2 && called.err.contains("theirs"), "{called:?}");
    assert_eq!(call("verify", dir.path(), &[]).code, 2, "a directory");
}
