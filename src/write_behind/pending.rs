//! Strong writes that have been asked for, and what is marked under them before they have their place in the queue.
//!
//! Such a mark is newer than the write, whichever of the two gets there first: it stays, and where a flush has been
//! faster it comes back, or memory's value would be lost under the write.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::dirty_set::{Mark, Weight};
use crate::batch::Op;
use crate::key::Key;

/// A strong write that may still be accepted.
pub(super) struct Pending {
    pub(super) number: u64,
    /// The rows of sets that it writes or removes.
    rows: HashSet<(usize, Key)>,
    ranges: Vec<(usize, Op)>,
    /// What has been marked since it was asked for.
    noted: HashMap<(usize, Key), Mark>,
    weight: Weight,
}

impl Pending {
    pub(super) fn new(number: u64, categories: &[Arc<str>], operations: &[Op]) -> Self {
        let (mut rows, mut ranges) = (HashSet::new(), Vec::new());
        for op in operations {
            let of = |category: &Arc<str>| **category == *op.category();
            let Some(set) = categories.iter().position(of) else { continue };
            match op {
                Op::Put { key, .. } | Op::Delete { key, .. } => drop(rows.insert((set, key.clone()))),
                Op::DeleteRange { .. } => ranges.push((set, op.clone())),
            }
        }
        Pending { number, rows, ranges, noted: HashMap::new(), weight: Weight::default() }
    }

    /// What it keeps room for, so that each of its marks can come back.
    pub(super) fn weight(&self) -> Weight {
        self.weight
    }

    /// Whether it writes or removes the row.
    pub(super) fn touches(&self, set: usize, key: &Key) -> bool {
        let in_range = |(of, op): &(usize, Op)| *of == set && op.touches_key(key.as_bytes());
        self.rows.contains(&(set, key.clone())) || self.ranges.iter().any(in_range)
    }

    /// Notes a mark on a row that it writes or removes; the last one counts.
    pub(super) fn note(&mut self, set: usize, key: &Key, mark: Mark, weight: Weight) {
        if self.noted.insert((set, key.clone()), mark).is_none() {
            self.weight = self.weight + weight;
        }
    }

    pub(super) fn noted(&self) -> impl Iterator<Item = (usize, &Key, Mark)> {
        self.noted.iter().map(|((set, key), mark)| (*set, key, *mark))
    }
}
