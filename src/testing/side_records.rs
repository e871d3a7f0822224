//! What an operator that is tested emits to its side outputs.

use std::any::{Any, type_name};
use std::cell::RefCell;
use std::fmt::Debug;
use std::rc::Rc;
use std::sync::Arc;

use crate::operator::{OutputTag, SideOutputs};

/// Records of all side outputs, in the order of emission. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct SideRecords(Rc<RefCell<Vec<SideRecord>>>);

/// The name of the tag, and a record of its type.
type SideRecord = (Arc<str>, Box<dyn Any>);

impl SideRecords {
    /// Side outputs of one instance, whose records come here.
    pub(super) fn outputs(&self) -> SideOutputs {
        let (records, mut outputs) = (self.0.clone(), SideOutputs::default());
        outputs.connect_others(move |tag, record| records.borrow_mut().push((tag.clone(), record)));
        outputs
    }

    /// Takes those of one tag.
    pub(super) fn take<T: Send + 'static>(&self, tag: &OutputTag<T>) -> Vec<T> {
        let taken = self.0.borrow_mut().extract_if(.., |(name, _)| name == tag.name()).collect::<Vec<_>>();
        let of_tag = |(name, record): SideRecord| match record.downcast::<T>() {
            Ok(record) => *record,
            Err(_) => {
                let wanted = type_name::<T>();
                panic!(
                    "side output '{name}' has a record that is no {wanted}, which is the type of the tag it is read by"
                )
            }
        };
        taken.into_iter().map(of_tag).collect()
    }

    /// The tags that records are left of, each once.
    pub(super) fn left(&self) -> Vec<Arc<str>> {
        let mut names: Vec<Arc<str>> = self.0.borrow().iter().map(|(name, _)| name.clone()).collect();
        names.sort();
        names.dedup();
        names
    }
}

/// What one side output is to have, whatever the type of its records.
pub(super) trait ExpectedSide {
    /// Takes its records and compares them.
    fn check(&self, way: &str, in_order: bool, records: &SideRecords);
}

/// What the side output of this tag is to have.
pub(super) struct Expected<T> {
    pub(super) tag: OutputTag<T>,
    pub(super) records: Vec<T>,
}

impl<T: Debug + PartialEq + Send + 'static> ExpectedSide for Expected<T> {
    fn check(&self, way: &str, in_order: bool, records: &SideRecords) {
        let what = format!("{way}: side output '{}'", self.tag.name());
        let taken = records.take(&self.tag);
        if in_order {
            assert_same(&what, &taken, &self.records);
        } else {
            assert_same_in_any_order(&what, &taken, &self.records);
        }
    }
}

/// Compares the records of an output with what is expected.
pub(super) fn assert_same<T: Debug + PartialEq>(what: &str, records: &[T], expected: &[T]) {
    if let Some(index) = records.iter().zip(expected).position(|(record, expected)| record != expected) {
        panic!("{what}: record {index} is {:?}, expected {:?}", records[index], expected[index]);
    }
    let common = records.len().min(expected.len());
    if let Some(missing) = expected.get(common) {
        panic!("{what}: ends after {common} records, expected next: {missing:?}");
    }
    if let Some(surplus) = records.get(common) {
        panic!("{what}: has more than the {common} records that are expected, next: {surplus:?}");
    }
}

fn assert_same_in_any_order<T: Debug + PartialEq>(what: &str, records: &[T], expected: &[T]) {
    let mut left: Vec<&T> = expected.iter().collect();
    for record in records {
        match left.iter().position(|expected| *expected == record) {
            Some(place) => drop(left.remove(place)),
            None => panic!("{what}: has {record:?}, which is not expected, or more often than it is"),
        }
    }
    assert!(left.is_empty(), "{what}: {} of {} records are missing, first {:?}", left.len(), expected.len(), left[0]);
}
