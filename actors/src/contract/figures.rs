//! What a subtask counts of its work, while it works.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A figure that one thread writes and any thread reads: a plain store, no read-modify-write.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts so many more. By one thread.
    #[inline]
    pub fn add(&self, more: u64) {
        self.set(self.get() + more);
    }

    /// Counts so much more time, in nanoseconds. By one thread.
    #[inline]
    pub fn add_time(&self, more: Duration) {
        self.add(u64::try_from(more.as_nanos()).unwrap_or(u64::MAX));
    }

    /// What it is now. By one thread.
    #[inline]
    pub fn set(&self, now: u64) {
        self.0.store(now, Ordering::Relaxed);
    }

    /// What it was when it was written last.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Declares [`Counters`] and [`Figures`], which have the same fields: a new figure is a line here, and where it is counted.
macro_rules! figures {
    (
        counted { $($(#[$counted_doc:meta])+ $counted:ident,)+ }
        at_present { $($(#[$present_doc:meta])+ $present:ident,)+ }
    ) => {
        /// The figures of one subtask in one attempt, as its task writes them.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[$counted_doc])+ pub $counted: Counter,)+
            $($(#[$present_doc])+ pub $present: Counter,)+
        }

        /// Figures of a subtask, as of when its task last let others run. Each is right by itself; between two of them a batch
        /// may have come.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Figures {
            $($(#[$counted_doc])+ pub $counted: u64,)+
            $($(#[$present_doc])+ pub $present: u64,)+
        }

        impl Counters {
            /// What they are now.
            pub fn read(&self) -> Figures {
                Figures { $($counted: self.$counted.get(),)+ $($present: self.$present.get(),)+ }
            }
        }

        impl Figures {
            /// These, of attempts before, and `newer`: what is counted adds up, of what is at present the newer one holds.
            #[must_use]
            pub fn and_then(self, newer: Self) -> Self {
                Self { $($counted: self.$counted + newer.$counted,)+ $($present: newer.$present,)+ }
            }
        }
    };
}

figures! {
    counted {
        /// Records taken: read by a source, received by another task.
        records_in,
        /// Batches taken.
        batches_in,
        /// Payload bytes of the batches taken, where the source or the operator before counts them.
        bytes_in,
        /// Records sent to other tasks, each as often as it was sent. What waits for a batch to fill is not among them.
        records_out,
        /// Batches sent.
        batches_out,
        /// Records that windows, joins, patterns and functions of users found late, whether or not they went to an output.
        late_records,
        /// Records withheld from functions that panic at them, by record directives. As with all that is counted, those are counted
        /// again that are withheld again after a restart.
        withheld_records,
        /// Nanoseconds in which the task ran.
        busy_ns,
        /// Nanoseconds in which it had work and its turn had not come: other tasks share its arbiter.
        waiting_ns,
        /// Nanoseconds in which an output, or the thread of a sink, took nothing more.
        blocked_ns,
        /// Nanoseconds in which there was no input.
        idle_ns,
        /// Snapshots written to their end.
        snapshots,
        /// Slices of snapshots, each written between two batches.
        snapshot_slices,
        /// Bytes of snapshots sent to the store.
        snapshot_bytes,
        /// Nanoseconds in which writing snapshots held up records.
        snapshot_ns,
    }
    at_present {
        /// Batches that may be sent before another credit comes, over all outgoing channels.
        credits,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_attempts_add_up_and_the_newest_present_holds() {
        let counters = Counters::default();
        counters.records_in.add(3);
        counters.busy_ns.add_time(Duration::from_micros(2));
        counters.credits.set(7);
        let first = counters.read();
        assert_eq!((first.records_in, first.busy_ns, first.credits), (3, 2_000, 7));
        let both = first.and_then(Figures { records_in: 2, credits: 1, ..Figures::default() });
        assert_eq!((both.records_in, both.busy_ns, both.credits), (5, 2_000, 1));
    }
}
