//! Held marks: taken off by strong writes whose end is not known yet.
//!
//! A mark comes back only if every strong write that was accepted after it has failed, and only if its key has
//! not been marked since: never an older mark over a newer one, nor over a row that was written after it.

use std::collections::HashMap;
use std::sync::Arc;

use super::dirty_set::{Mark, Weight};
use crate::key::Key;
use crate::receipt::Receipt;

/// A strong write whose caller has gone.
pub(super) struct Left {
    pub(super) number: u64,
    pub(super) receipt: Arc<Receipt>,
    pub(super) keys: Vec<(usize, Key)>,
}

/// The held marks of one set.
#[derive(Default)]
pub(super) struct Held {
    marks: HashMap<Key, HeldMark>,
    weight: Weight,
}

struct HeldMark {
    mark: Mark,
    weight: Weight,
    /// The strong writes under way that are newer.
    writes: Vec<u64>,
}

impl Held {
    pub(super) fn weight(&self) -> Weight {
        self.weight
    }

    /// What those weigh that a write of some kind holds.
    pub(super) fn weight_of(&self, of: impl Fn(u64) -> bool) -> Weight {
        let marks = self.marks.values().filter(|held| held.writes.iter().any(|write| of(*write)));
        marks.fold(Weight::default(), |sum, held| sum + held.weight)
    }

    /// Holds a mark, unless a newer one of its key is held.
    pub(super) fn hold(&mut self, key: Key, mark: Mark, weight: Weight) {
        if !self.marks.contains_key(&key) {
            self.weight = self.weight + weight;
            self.marks.insert(key, HeldMark { mark, weight, writes: Vec::new() });
        }
    }

    /// Has a write hold the mark of a key, too; `false` if there is none.
    pub(super) fn claim(&mut self, key: &Key, write: u64) -> bool {
        let Some(held) = self.marks.get_mut(key) else { return false };
        if !held.writes.contains(&write) {
            held.writes.push(write);
        }
        true
    }

    /// Has a write hold the marks of all keys that `of` names; answers with these.
    pub(super) fn claim_all(&mut self, of: impl Fn(&Key) -> bool, write: u64) -> Vec<Key> {
        let keys: Vec<Key> = self.marks.keys().filter(|key| of(key)).cloned().collect();
        for key in &keys {
            self.claim(key, write);
        }
        keys
    }

    /// The key has been marked anew.
    pub(super) fn forget(&mut self, key: &[u8]) {
        // As a rule there are none, which is known without a look.
        if self.marks.is_empty() {
            return;
        }
        if let Some(held) = self.marks.remove(key) {
            self.weight = self.weight - held.weight;
        }
    }

    /// A write has ended; answers with the mark if it comes back.
    pub(super) fn release(&mut self, key: &Key, write: u64, through: bool) -> Option<Mark> {
        let held = self.marks.get_mut(key)?;
        let place = held.writes.iter().position(|of| *of == write)?;
        held.writes.swap_remove(place);
        let mark = (!through).then_some(held.mark);
        if through || held.writes.is_empty() {
            self.forget(key.as_bytes());
            return mark;
        }
        None
    }
}
