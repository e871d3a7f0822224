//! Where records leave a task: the edges that consume one stream.

use std::cell::RefCell;
use std::rc::Rc;

use super::link::{Queue, Stage, Step};
use crate::contract::{Batch, Emitted, RunBudget};
use crate::data::edge::{AnyOutlet, Outlet};
use crate::protocol::{Mark, TaskError};

/// A stream that leaves the task: what its operator has emitted, and the edges that consume it.
pub(super) struct Exit<T: Send + 'static> {
    queue: Queue<T>,
    outlets: Vec<Rc<RefCell<Outlet<T>>>>,
    /// Needed where several edges consume it.
    copy: Option<fn(&T) -> T>,
    copied: Batch<T>,
    /// Records are copied, or a partitioner says where each goes.
    is_work: bool,
}

/// The exit of a side output, whatever its records.
pub(super) trait SideExit {
    /// Whether an edge waits for credit.
    fn is_blocked(&self) -> bool;

    /// Hands on what was emitted, and gives the number of records. What one call of an operator emits waits at the edges, if it must.
    ///
    /// # Errors
    /// Those of [`Outlet::accept`]: a partitioner has chosen badly.
    fn drain(&mut self) -> Result<usize, TaskError>;
}

impl<T: Send + 'static> Exit<T> {
    pub(super) fn new(queue: Queue<T>, outlets: Vec<Rc<RefCell<Outlet<T>>>>, copy: Option<fn(&T) -> T>) -> Self {
        let is_work = outlets.len() > 1 || outlets.iter().any(|outlet| outlet.borrow().spreads());
        Self { queue, outlets, copy, copied: Batch::new(), is_work }
    }

    /// Gives the records to every edge.
    fn spread(&mut self, batch: &mut Batch<T>) -> Result<(), TaskError> {
        let Some((last, others)) = self.outlets.split_last() else {
            return Ok(());
        };
        for outlet in others {
            let copy = self.copy.expect("a stream with several consumers knows how to copy its records");
            self.copied.append_copy(batch, copy);
            outlet.borrow_mut().accept(&mut self.copied)?;
        }
        last.borrow_mut().accept(batch)
    }

    fn mark(&self, mark: Mark) {
        self.outlets.iter().for_each(|outlet| outlet.borrow_mut().mark(mark));
    }

    fn is_blocked(&self) -> bool {
        self.outlets.iter().any(|outlet| outlet.borrow().is_blocked())
    }
}

impl<T: Send + 'static> Stage for Exit<T> {
    fn step(&mut self, budget: &mut RunBudget) -> Result<Step, TaskError> {
        let queue = self.queue.clone();
        let mut queue = queue.borrow_mut();
        while let Some(first) = queue.first() {
            match first {
                Emitted::Batch(_) if self.is_blocked() => return Ok(Step::Blocked),
                Emitted::Batch(batch) => {
                    if self.is_work {
                        budget.works();
                    }
                    self.spread(batch)?;
                }
                Emitted::Mark(mark) => self.mark(mark),
            }
            queue.remove_first();
        }
        Ok(Step::Done)
    }
}

impl<T: Send + 'static> SideExit for Exit<T> {
    fn is_blocked(&self) -> bool {
        self.is_blocked()
    }

    fn drain(&mut self) -> Result<usize, TaskError> {
        let queue = self.queue.clone();
        let mut queue = queue.borrow_mut();
        let records = queue.len();
        while let Some(first) = queue.first() {
            match first {
                Emitted::Batch(batch) => self.spread(batch)?,
                Emitted::Mark(mark) => self.mark(mark),
            }
            queue.remove_first();
        }
        Ok(records)
    }
}
