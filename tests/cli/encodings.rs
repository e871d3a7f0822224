//! Pieces of state that a job of this version would not have written.

use std::path::Path;

use millstream::snapshot::{CheckpointDurations, Chunk, ChunkAddress, Manifest, RedbStore, SnapshotStore, StateScope};
use millstream::{CheckpointId, Incarnation};

use crate::tool::{call, export};

/// A store with one checkpoint, of one state of key group 7, whose section is `bytes`.
fn store_of(path: &Path, bytes: &[u8]) {
    let store = RedbStore::open(path).unwrap();
    store.open_job("other", Incarnation(1)).unwrap();
    let address = ChunkAddress {
        checkpoint: CheckpointId(1),
        operator: "op".into(),
        state: "s".into(),
        scope: StateScope::KeyGroup(7),
        seq: 0,
    };
    let chunk = Chunk::seal(address, bytes.to_vec());
    store.put_chunks(std::slice::from_ref(&chunk)).unwrap();
    let manifest = Manifest {
        checkpoint: CheckpointId(1),
        job: "other".to_owned(),
        incarnation: Incarnation(1),
        triggered_unix_ms: 1_700_000_000_000,
        max_parallelism: 128,
        is_final: false,
        durations: CheckpointDurations::default(),
        chunks: vec![chunk.reference],
    };
    store.finalise(&manifest, 1).unwrap();
}

/// A whole section of one piece, as `docs/snapshot-format.md` says: one entry, its key a `u32`.
fn section(values: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![1, 0, 3, values, 1, 0, 0, 0];
    bytes.extend([0; 8]);
    bytes.extend(1_u32.to_le_bytes());
    bytes.extend(0_u32.to_le_bytes());
    bytes.extend(42_u32.to_le_bytes());
    bytes.extend(value);
    bytes
}

#[test]
fn known_encoding_is_taken_apart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    store_of(&path, &section(28, &[7_u64.to_le_bytes(), f64::INFINITY.to_le_bytes()].concat()));
    let lines = export(&path, 1, "op", "s");
    assert_eq!(lines, [serde_json::json!({"key": 42, "value": [7, "inf"], "key_group": 7})]);
}

#[test]
fn lists_and_maps_are_taken_apart() {
    let dir = tempfile::tempdir().unwrap();
    // A list of two `u64`; a map of one text to one `bool`.
    let list = [&[4, 0, 0, 0, 0, 2, 0, 0, 0][..], &7_u64.to_le_bytes(), &8_u64.to_le_bytes()].concat();
    let map = [&[0, 13, 0, 1, 0, 0, 0, 0, 0, 0, 0][..], b"\xa2UA\x01"].concat();
    for (values, bytes, expected, name) in [
        (100, list, serde_json::json!([7, 8]), "list of u64"),
        (101, map, serde_json::json!({"UA": true}), "map of MessagePack to bool"),
    ] {
        let path = dir.path().join(format!("{values}.redb"));
        store_of(&path, &section(values, &bytes));
        let lines = export(&path, 1, "op", "s");
        assert_eq!(lines, [serde_json::json!({"key": 42, "value": expected, "key_group": 7})]);
        assert_eq!(call("verify", &path, &["--json"]).fine().json()["unknown_sections"], 0);
        assert_eq!(call("inspect", &path, &["--json"]).fine().json()["states"][0]["values"], name);
    }
}

#[test]
fn unknown_form_is_exported_as_bytes_with_its_number_and_is_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    let bytes = section(119, &[1, 2, 0xAB]);
    store_of(&path, &bytes);
    let called = call("export", &path, &["--operator", "op", "--state", "s"]).fine();
    let line = &called.json_lines()[0];
    let why = "its values have a form that this version does not know (encoding 119); use the version of Millstream that wrote it, or a newer one";
    assert_eq!(line["unknown"], why);
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!((&line["section"]["$bytes"], &line["key_group"]), (&hex.into(), &7.into()));
    assert!(called.err.contains("1 of 1 parts"), "{called:?}");
    assert_eq!(call("verify", &path, &["--json"]).fine().json()["unknown_sections"], 1);
    assert!(call("verify", &path, &[]).fine().out.contains("does not know (encoding or section version)"));
    let state = call("inspect", &path, &["--json"]).fine().json()["states"][0].clone();
    assert!(state["entries"].is_null() && state["unknown"].as_str().unwrap().contains("(encoding 119)"), "{state}");
}

#[test]
fn unknown_section_version_is_named_and_is_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    let mut bytes = section(4, &[0; 4]);
    bytes[0] = 2;
    store_of(&path, &bytes);
    let lines = call("export", &path, &["--operator", "op", "--state", "s"]).fine().json_lines();
    assert!(lines[0]["unknown"].as_str().unwrap().contains("(section version 2)"), "{lines:?}");
    assert_eq!(call("verify", &path, &["--json"]).fine().json()["unknown_sections"], 1);
}

#[test]
fn entry_that_is_cut_short_is_damage_though_its_checksum_is_right() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    store_of(&path, &section(4, &[1, 2, 3]));
    let verified = call("verify", &path, &["--json"]);
    assert_eq!(verified.code, 1, "{verified:?}");
    assert!(verified.json()["findings"][0]["reason"].as_str().unwrap().contains("cut short"), "{verified:?}");
    assert_eq!(call("export", &path, &["--operator", "op", "--state", "s"]).code, 1);
    let inspected = call("inspect", &path, &["--json"]);
    assert!(inspected.code == 1 && !inspected.json()["states"][0]["damage"].is_null(), "{inspected:?}");
}
