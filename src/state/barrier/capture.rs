//! The state of a task as of a barrier, while it is being written and records change it.
//!
//! A capture has its key groups written by a sweep, a slice at a time. An entry that the sweep has not reached is
//! written before a record is given its row, so each entry is written once, as it was at the barrier.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use millstream_actors::contract::{CHUNK_BYTES_MAX, SectionWriter, StateError, StateScope};
use millstream_actors::protocol::{CheckpointId, OperatorId};

use crate::state::codec::{Packing, PieceBuffer, StateFormat};
use crate::state::{Access, Span, Stamp, StateKey, StateRows, StateSet};

/// How far the sweep is in a group.
#[derive(Debug)]
pub(in crate::state) enum Reach {
    /// It goes through all places that there were when it came to the group; these are ahead.
    Scan(Range<usize>),
    /// It goes through these, ascending; the number is the place of the next.
    List(Vec<u32>, usize),
    /// It has not come to the group yet, and how it will go through it is open.
    Ahead,
    /// It is done with the group.
    Done,
}

impl Reach {
    /// Whether what is in this place is still to be written.
    #[inline]
    pub(in crate::state) fn is_ahead(&self, place: usize) -> bool {
        match self {
            Self::Ahead => true,
            Self::Scan(ahead) => ahead.contains(&place),
            Self::List(places, next) => places.get(*next).is_some_and(|first| place >= *first as usize),
            Self::Done => false,
        }
    }

    /// Whether the sweep is through with all of the group.
    #[inline]
    pub(in crate::state) fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }
}

/// A running capture.
#[derive(Debug)]
pub(in crate::state) struct Capture {
    /// The stamp that the base closed, 0 if there is none: what was removed up to it needs no mark any more.
    pub(in crate::state) settled: Stamp,
    /// The time of the barrier, and the last stamp before it.
    at_barrier: Access,
    /// For each group, the stamp that its base closed; 0 if it is written in full.
    after: Vec<Stamp>,
    /// For each group, whether deltas may follow a whole section that is written now.
    is_base: Vec<bool>,
    pub(in crate::state) reach: Vec<Reach>,
    /// The group at which the sweep is; the number of groups when it is through.
    pub(in crate::state) at: usize,
    /// For each group, one piece a state.
    pieces: Vec<PieceBuffer>,
    outbox: Outbox,
}

/// What has been written and waits for the writer.
#[derive(Debug)]
struct Outbox {
    base: CheckpointId,
    key_version: u32,
    formats: Vec<StateFormat>,
    /// Closed pieces: state, group by its place in the table, bytes.
    closed: VecDeque<(usize, usize, Vec<u8>)>,
    spare: Vec<Vec<u8>>,
    /// Bytes of pieces and closed ones.
    held: usize,
    held_max: usize,
    failed: Option<Failure>,
}

/// Why nothing more is written.
#[derive(Debug)]
enum Failure {
    /// A value cannot be stored, in this state and group place.
    Encode(usize, usize, String),
    /// So many bytes were held, and the writer took none.
    Full(usize),
}

impl Capture {
    /// A capture of the stamps up to that of `at_barrier` over `base`, which closed a stamp (0 if it is not known).
    /// `after` has that stamp for each group that is written as a delta, 0 for others; `is_base` says whether deltas may
    /// follow a whole section. `keys` is how keys are stored.
    pub(in crate::state) fn new(
        (base, settled): (CheckpointId, Stamp),
        at_barrier: Access,
        after: Vec<Stamp>,
        is_base: Vec<bool>,
        keys: StateFormat,
        formats: Vec<StateFormat>,
    ) -> Self {
        let groups = after.len();
        let pieces_of_group = formats.iter().map(|format| Packing::of(keys.values, format.values));
        let pieces = (0..groups).flat_map(|_| pieces_of_group.clone().map(PieceBuffer::packed)).collect();
        let outbox = Outbox {
            base,
            key_version: keys.version,
            formats,
            closed: VecDeque::new(),
            spare: Vec::new(),
            held: 0,
            held_max: usize::MAX,
            failed: None,
        };
        let reach = (0..groups).map(|_| Reach::Ahead).collect();
        Self { settled, at_barrier, after, is_base, reach, at: 0, pieces, outbox }
    }

    /// What of this group is to be written.
    #[inline]
    pub(in crate::state) fn span(&self, group: usize) -> Span {
        Span { after: self.after[group], up_to: self.at_barrier.stamp }
    }

    /// The time of the barrier, and the last stamp before it.
    pub(in crate::state) fn at_barrier(&self) -> Access {
        self.at_barrier
    }

    /// Whether the row in this place must be written before it is worked on.
    #[inline]
    pub(in crate::state) fn is_ahead(&self, group: usize, place: usize) -> bool {
        self.reach[group].is_ahead(place)
    }

    /// Writes a row, as [`GroupWriter::write`] does.
    #[inline]
    pub(in crate::state) fn write<K: StateKey, S: StateSet>(
        &mut self,
        states: &S,
        group: usize,
        key: &K,
        row: &mut S::Row,
    ) {
        self.group(group).write(states, key, row);
    }

    /// For writing rows of this group.
    #[inline]
    pub(in crate::state) fn group(&mut self, group: usize) -> GroupWriter<'_> {
        let (span, at_barrier) = (self.span(group), self.at_barrier);
        let width = self.outbox.formats.len();
        let pieces = &mut self.pieces[group * width..][..width];
        GroupWriter { group, span, at_barrier, pieces, outbox: &mut self.outbox }
    }

    /// Nothing more of this group comes.
    pub(in crate::state) fn finish_group<K: 'static>(&mut self, group: usize) {
        self.reach[group] = Reach::Done;
        let is_base = self.is_base[group];
        let GroupWriter { span, pieces, outbox, .. } = self.group(group);
        // Of keys that were there, all may have expired: then the section is whole and empty.
        let is_whole = span.is_full() && (is_base || pieces.iter().any(PieceBuffer::was_used));
        for (state, piece) in pieces.iter_mut().enumerate() {
            // Where one state has a whole section all have: what follows may be changes of any of them.
            if !piece.is_empty() || is_whole && !piece.was_used() {
                outbox.close::<K>(piece, state, group, span);
            }
        }
    }

    /// The group at which the sweep is, unless it is through with all.
    pub(in crate::state) fn next_group(&self) -> Option<usize> {
        (self.at < self.reach.len()).then_some(self.at)
    }

    /// Whether every group is done and handed over.
    pub(in crate::state) fn is_done(&self) -> bool {
        self.next_group().is_none() && self.outbox.closed.is_empty()
    }

    /// Hands closed pieces to the writer, as far as it has room, and takes buffers from it. No more than a chunk's worth,
    /// whose checksum takes some 30 us: after the store has made room there may be many.
    ///
    /// # Errors
    /// [`StateError::Encode`], [`StateError::CaptureFull`]: the snapshot cannot be taken.
    pub(in crate::state) fn hand_over<K: 'static>(
        &mut self,
        operator: &OperatorId,
        names: &[Arc<str>],
        first_group: u32,
        held_max: usize,
        writer: &mut SectionWriter,
    ) -> Result<(), StateError> {
        self.outbox.held_max = held_max;
        let operator = || operator.clone();
        match self.outbox.failed.take() {
            Some(Failure::Encode(state, group, reason)) => {
                let scope = StateScope::KeyGroup(first_group + group as u32);
                let (state, version) = (names[state].clone(), self.outbox.formats[state].version);
                return Err(StateError::Encode { operator: operator(), state, scope, version, reason });
            }
            Some(Failure::Full(bytes)) => {
                return Err(StateError::CaptureFull { operator: operator(), bytes, limit: held_max });
            }
            None => {}
        }
        if self.outbox.held > held_max / 2 && self.outbox.closed.is_empty() {
            // Many groups with a little each: better small chunks than none.
            self.close_all::<K>();
        }
        let outbox = &mut self.outbox;
        let mut handed = 0;
        while handed < CHUNK_BYTES_MAX
            && writer.room() > 0
            && let Some((state, group, bytes)) = outbox.closed.pop_front()
        {
            handed += bytes.len();
            outbox.held = outbox.held.saturating_sub(bytes.len());
            writer.append(&names[state], first_group + group as u32, bytes);
        }
        while outbox.spare.len() < self.pieces.len()
            && let Some(buffer) = writer.buffer()
        {
            outbox.spare.push(buffer);
        }
        Ok(())
    }

    fn close_all<K: 'static>(&mut self) {
        for group in 0..self.reach.len() {
            let GroupWriter { span, pieces, outbox, .. } = self.group(group);
            for (state, piece) in pieces.iter_mut().enumerate().filter(|(_, piece)| !piece.is_empty()) {
                outbox.close::<K>(piece, state, group, span);
            }
        }
    }

    /// The buffers that it has not used, back to the writer.
    pub(in crate::state) fn give_back(self, writer: &mut SectionWriter) {
        writer.recycle(self.outbox.spare);
    }
}

/// Writes rows of one group.
pub(in crate::state) struct GroupWriter<'a> {
    group: usize,
    /// What is to be written.
    span: Span,
    at_barrier: Access,
    pieces: &'a mut [PieceBuffer],
    outbox: &'a mut Outbox,
}

impl GroupWriter<'_> {
    /// Writes a row. After a value that cannot be stored nothing more is written.
    ///
    /// What has expired is cleared first, as a change before the barrier. So the mark of its removal is written, also if
    /// the base has the value: restored from this checkpoint it cannot come back, even if the watermark begins anew.
    /// That time goes on until the sweep comes here does not matter: what counts is the time of the barrier.
    #[inline]
    pub(in crate::state) fn write<K: StateKey, S: StateSet>(&mut self, states: &S, key: &K, row: &mut S::Row) {
        // A row with a higher stamp was written before it was changed, or is new.
        if S::stamp(row) > self.span.up_to || self.outbox.failed.is_some() {
            return;
        }
        if states.expires() {
            states.expire(row, self.at_barrier);
        }
        if S::stamp(row) <= self.span.after {
            return;
        }
        match states.write_row(key, row, self.span, self.pieces) {
            Ok(bytes) => self.outbox.held += bytes,
            Err((state, reason)) => return self.fail(Failure::Encode(state, self.group, reason)),
        }
        if self.outbox.held > self.outbox.held_max {
            return self.fail(Failure::Full(self.outbox.held));
        }
        if self.pieces.iter().any(PieceBuffer::is_ripe) {
            self.harvest::<K>();
        }
    }

    /// Gives up, and most of the memory with it; the next step of the sweep ends the capture.
    #[cold]
    fn fail(&mut self, failure: Failure) {
        self.outbox.failed = Some(failure);
        self.outbox.closed = VecDeque::new();
    }

    #[cold]
    fn harvest<K: 'static>(&mut self) {
        for (state, piece) in self.pieces.iter_mut().enumerate().filter(|(_, piece)| piece.is_ripe()) {
            let before = piece.len();
            piece.settle(|| self.outbox.spare.pop());
            self.outbox.recount(before, piece.len());
            if piece.is_full() {
                self.outbox.close::<K>(piece, state, self.group, self.span);
            }
        }
    }
}

impl Outbox {
    /// What took so many bytes takes so many now.
    fn recount(&mut self, before: usize, now: usize) {
        self.held = (self.held + now).saturating_sub(before);
    }

    fn close<K: 'static>(&mut self, piece: &mut PieceBuffer, state: usize, group: usize, span: Span) {
        let base = (!span.is_full()).then_some(self.base);
        let before = piece.len();
        let bytes = piece.close::<K>(self.key_version, self.formats[state], base);
        self.recount(before, bytes.len());
        self.closed.push_back((state, group, bytes));
    }
}
