//! The decoders of this folder, for [`testing::decoders`](crate::testing::decoders).

use std::time::Duration;

use millstream_actors::contract::{GroupLoader, Progress, RestoredSection, RunBudget, SectionWriter, StateScope};
use millstream_actors::protocol::{CheckpointId, KeyGroupRange};

use super::backend::OneKey;
use super::{
    BroadcastState, Expiring, KeySchema, KeyedBackend, KeyedTable, ListState, MapState, OperatorListState,
    OperatorState, Share, State, StateKey, StateRows, StateSet, StateTtl, StoredCopy, TableLoader, ValueState,
};
use crate::decoder::Decoder;

const GROUP: KeyGroupRange = KeyGroupRange { start: 0, end: 1 };

type Figures = (String, Option<f64>, Vec<String>);

pub(crate) fn decoders() -> Vec<Decoder> {
    let mut all = sections();
    all.push(section("section with deadlines", expiring, &[1u64, 2, 3], |n, mut value| {
        value.set(vec![*n; *n as usize]);
    }));
    let compact = || ValueState::<Figures>::new("s").compact();
    all.push(section("section of compact values", compact, &texts(), |text, mut value| {
        value.set((text.clone(), None, vec!["b".to_owned()]));
    }));
    let list = OperatorListState::<(u32, String)>::new("s");
    all.push(operator_state("operator list", list, b"\x92\x01\x91\x92\x07\xa1b"));
    let broadcast = BroadcastState::<String, u64>::new("s");
    all.push(operator_state("broadcast state", broadcast, b"\x92\x01\x82\xa1a\x07\xa1b\x08"));
    all
}

fn sections() -> Vec<Decoder> {
    vec![
        section(
            "section of numbers",
            || ValueState::<(u64, u64)>::new("s"),
            &[1u64, 2, 3],
            |n, mut value| {
                value.set((*n, 7));
            },
        ),
        section(
            "section of texts",
            || ValueState::<Figures>::new("s"),
            &texts(),
            |text, mut value| {
                value.set((text.clone(), Some(0.5), vec![text.clone(), "b".to_owned()]));
            },
        ),
        section(
            "section of lists",
            || ListState::<u64>::new("s"),
            &texts(),
            |text, mut list| {
                list.extend(0..text.len() as u64);
            },
        ),
        section(
            "section of lists of texts",
            || ListState::<String>::new("s"),
            &[4u32, 5],
            |n, mut list| {
                list.extend((0..*n).map(|i| i.to_string()));
            },
        ),
        section(
            "section of maps",
            || MapState::<String, u64>::new("s"),
            &[1u64, 2],
            |n, mut map| {
                for i in 0..*n + 2 {
                    map.insert(i.to_string(), i);
                }
            },
        ),
        section(
            "section of maps of texts",
            || MapState::<u32, Figures>::new("s"),
            &texts(),
            |text, mut map| {
                map.insert(1, (text.clone(), None, Vec::new()));
            },
        ),
    ]
}

fn expiring() -> Expiring<ValueState<Vec<u64>>> {
    ValueState::new("s").with_ttl(StateTtl::processing_time(Duration::from_secs(60)))
}

/// Loads a copy of the state, as the only one and as one of two.
fn operator_state<S: OperatorState>(name: &'static str, state: S, example: &[u8]) -> Decoder {
    Decoder::new(name, vec![example.to_vec()], move |bytes| {
        let copy = StoredCopy { subtask: 0, bytes };
        let share = Share { subtask: 0, parallelism: 1 };
        drop(state.load(&mut S::Held::default(), &[copy, copy], share));
        state.load(&mut S::Held::default(), &[copy], share).map_err(|error| format!("{error:?}"))
    })
}

fn texts() -> Vec<String> {
    ["UA", "a longer key, above fifteen bytes", ""].map(str::to_owned).to_vec()
}

/// Loads a section into a table. The examples are of a table in which `fill` was called for each of these keys: a
/// whole section, and changes over an empty one.
fn section<K, S>(
    name: &'static str,
    states: impl Fn() -> S + 'static,
    keys: &[K],
    fill: impl Fn(&K, S::Handles<'_>),
) -> Decoder
where
    K: StateKey + Clone,
    S: StateSet,
{
    let mut table = KeyedTable::<K, S>::new(states(), GROUP, 1);
    for key in keys {
        table.work_on_block(&mut OneKey::new(key, |states: S::Handles<'_>| fill(key, states)));
    }
    let names = states().names();
    let mut writer = SectionWriter::new(CheckpointId(1), CheckpointId::NONE, 0);
    table.begin_snapshot(&names, &mut writer);
    let mut budget = RunBudget::start_by(Some(|| Duration::ZERO));
    while let Ok(Progress::Suspended) = table.sweep(&"op".into(), &names, usize::MAX, &mut writer, &mut budget) {}
    let whole: Vec<u8> = writer.finish().0.into_iter().flat_map(|chunk| chunk.bytes).collect();
    Decoder::new(name, vec![whole], move |bytes| {
        let mut loader = TableLoader::<K, S>::new("op".into(), states(), KeySchema::default(), GROUP, 1);
        let section = RestoredSection {
            state: "s".into(),
            scope: StateScope::KeyGroup(0),
            checkpoint: CheckpointId(1),
            is_renamed: false,
            bytes: bytes.to_vec(),
        };
        // The same bytes again as changes over themselves, where they say that they are.
        let again = RestoredSection { checkpoint: CheckpointId(9), is_renamed: false, ..section.clone() };
        loader.load(0, std::slice::from_ref(&section)).map_err(|error| error.to_string())?;
        drop(loader.load(0, &[section, again]));
        Ok(())
    })
}
