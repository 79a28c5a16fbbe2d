//! The state of an engine: every mark, where it is, and how the last flush ended.
//!
//! Pure: takes no lock, reads no value, waits for nothing.

use std::ops::Add;

use super::dirty_set::{DirtySet, Mark, Weight};
use super::held::{Held, Left};
use super::pending::Pending;
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;

/// The marks.
pub(super) struct State {
    pub(super) live: Vec<DirtySet<Key>>,
    /// Those of the flush under way; put back if it fails.
    pub(super) in_flight: Vec<DirtySet<Key>>,
    /// Those that strong writes under way have taken off; they keep their place, since they may come back.
    pub(super) held: Vec<Held>,
    /// Strong writes under way whose callers have gone.
    pub(super) left: Vec<Left>,
    /// Strong writes that may still be accepted.
    pub(super) pending: Vec<Pending>,
    /// Numbers the strong writes.
    pub(super) writes: u64,
    /// Whether rows that were dirty are committed by a strong write whose sync has failed.
    pub(super) unsynced: bool,
    /// Whether the flush under way brings these to the medium.
    pub(super) syncing: bool,
    bounds: Weight,
    /// Whether the last handle of the engine has gone.
    pub(super) abandoned: bool,
    pub(super) flushes: u64,
    pub(super) rows: u64,
    pub(super) failures: u32,
    pub(super) error: Option<Error>,
}

impl State {
    /// Without marks, for these dirty sets, whose marks come to `bounds` together.
    pub(super) fn new(live: Vec<DirtySet<Key>>, bounds: Weight) -> Self {
        State {
            held: live.iter().map(|_| Held::default()).collect(),
            live,
            in_flight: Vec::new(),
            left: Vec::new(),
            pending: Vec::new(),
            writes: 0,
            unsynced: false,
            syncing: false,
            bounds,
            abandoned: false,
            flushes: 0,
            rows: 0,
            failures: 0,
            error: None,
        }
    }

    /// Whether a key is marked in this way already and nobody has to know, so that there is nothing to do.
    #[inline]
    pub(super) fn is_marked(&self, index: usize, key: &[u8], mark: Mark) -> bool {
        !self.abandoned
            && self.pending.is_empty()
            && self.live.get(index).is_some_and(|live| live.find(key) == Some(mark))
    }

    pub(super) fn mark(&mut self, index: usize, key: &[u8], mark: Mark) -> Result<()> {
        if self.abandoned {
            return Err(Error::new(ErrorKind::Closed, "the engine has been dropped"));
        }
        let Some(live) = self.live.get(index) else { return Err(not_weak()) };
        let bounds = live.bounds();
        let bounds = Weight { marks: bounds.marks, bytes: bounds.bytes };
        let pending = self.pending.iter().map(Pending::weight).fold(Weight::default(), Weight::add);
        let taken = (0..self.live.len()).fold(pending, |sum, set| sum + self.taken(set));
        let room = (self.bounds - taken).min(bounds - self.taken(index));
        let key = Key::from(key);
        let weight = self.live[index].weight_of(&key, mark);
        let pending = self.pending.iter_mut().filter(|pending| pending.touches(index, &key));
        let pending: Vec<&mut Pending> = pending.collect();
        let noted = (0..pending.len()).fold(Weight::default(), |sum, _| sum + weight);
        self.live[index].mark_bytes(key.as_bytes(), mark, room - noted)?;
        pending.into_iter().for_each(|pending| pending.note(index, &key, mark, weight));
        // Whatever becomes of the strong write that has the older mark.
        self.held[index].forget(key.as_bytes());
        Ok(())
    }

    /// What of a set's room is taken. What is in flight or superseded keeps its place, so that it can
    /// always be put back.
    fn taken(&self, set: usize) -> Weight {
        let weight = |sets: &[DirtySet<Key>]| sets.get(set).map(DirtySet::weight).unwrap_or_default();
        weight(&self.live)
            + weight(&self.in_flight)
            + self.held.get(set).map(Held::weight).unwrap_or_default()
    }

    /// The marks of a set: those in flight included, and those that nobody waits to hear of.
    pub(super) fn dirty_of(&self, set: usize) -> Weight {
        let weight = |sets: &[DirtySet<Key>]| sets.get(set).map(DirtySet::weight).unwrap_or_default();
        let left = |held: &Held| held.weight_of(|write| self.left.iter().any(|left| left.number == write));
        let left = match self.left.is_empty() {
            true => Weight::default(),
            false => self.held.get(set).map(left).unwrap_or_default(),
        };
        weight(&self.live) + weight(&self.in_flight) + left
    }

    /// All marks of all sets.
    pub(super) fn dirty(&self) -> Weight {
        (0..self.live.len()).map(|set| self.dirty_of(set)).fold(Weight::default(), Weight::add)
    }
}

/// What marks answer where there are none.
fn not_weak() -> Error {
    Error::new(ErrorKind::InvalidArgument, "a set of another engine")
}

impl State {
    /// A flush, or what leads to one, has failed.
    pub(super) fn failed(&mut self, error: &Error) {
        self.failures = self.failures.saturating_add(1);
        self.error = Some(error.clone());
    }
}
