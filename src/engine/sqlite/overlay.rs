//! The overlay: what the journal says of rows, in memory, over what the tree of rows holds.
//!
//! Never touches a store. It is true of one [`Version`] of the journal, and whoever reads a view asks for
//! the overlay of that view's version.

use std::sync::{Arc, RwLock, RwLockWriteGuard};

use crate::batch::Op;
use crate::engine::row_key::{Bounds, category_prefix, row_key};
use crate::engine::table::{self, Table};
use crate::range::Span;

/// A row as the overlay has it: its payload, or none if it has gone.
pub(super) type Over = Option<Arc<[u8]>>;

/// Rows by their row keys. A clone costs little, and stays as it is.
#[derive(Clone, Debug, Default)]
pub(super) struct Overlay {
    rows: Arc<Table<Over, table::Shared>>,
    count: usize,
    bytes: usize,
}

/// What tells one state of the journal from every other one that a job ever has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Version {
    /// The number of the newest entry, 0 if there is none.
    pub(super) last: u64,
    /// How often some of it has been folded into the tree.
    pub(super) folds: u64,
}

/// The overlay as the threads of an engine share it.
#[derive(Debug, Default)]
pub(super) struct Shared(RwLock<State>);

#[derive(Debug, Default)]
struct State {
    overlay: Overlay,
    /// None while nobody knows.
    version: Option<Version>,
}

impl Overlay {
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Rows of which it says something.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Bytes of the keys and payloads in it.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What it knows of a row; none if it knows nothing.
    pub(super) fn get(&self, category: &str, key: &[u8]) -> Option<&Over> {
        if self.is_empty() { None } else { self.rows.get(&row_key(category, key)) }
    }

    /// What it knows of a span of a category, in the order of the row keys.
    pub(super) fn span(&self, category: &str, span: &Span) -> table::Rows<'_, Over, table::Shared> {
        // Bounds that leave nothing, where the span does.
        let nothing = || Bounds { lower: Vec::new(), upper: Some(Vec::new()) };
        self.rows.range(&Bounds::of(&category_prefix(category), span).unwrap_or_else(nothing))
    }

    /// The first so many rows behind a row key.
    pub(super) fn after(&self, row: &[u8], rows_max: usize) -> Vec<(Vec<u8>, Over)> {
        let bounds = Bounds { lower: row.to_vec(), upper: None };
        let rows = self.rows.range(&bounds).filter(|(found, _)| *found != row);
        rows.take(rows_max).map(|(row, over)| (row.clone(), over.clone())).collect()
    }

    /// The row key of its first row at or behind this one.
    pub(super) fn first_from(&self, row: Vec<u8>) -> Option<&[u8]> {
        self.rows.range(&Bounds { lower: row, upper: None }).next().map(|(row, _)| row.as_slice())
    }

    /// Says of the rows what the operations make of them; none of these is one on a range.
    pub(super) fn operate(&mut self, operations: &[Op]) {
        for op in operations {
            match op {
                Op::Put { category, key, payload } => {
                    self.set(row_key(category, key.as_bytes()), Some(payload.as_slice().into()));
                }
                Op::Delete { category, key } => self.set(row_key(category, key.as_bytes()), None),
                Op::DeleteRange { .. } => {}
            }
        }
    }

    /// Says what a row is.
    pub(super) fn set(&mut self, row: Vec<u8>, over: Over) {
        let key_bytes = row.len();
        self.bytes += key_bytes + payload_bytes(&over);
        match Arc::make_mut(&mut self.rows).insert(row, over) {
            Some(before) => self.bytes -= key_bytes + payload_bytes(&before),
            None => self.count += 1,
        }
    }

    /// Says nothing of a row any more.
    fn forget(&mut self, row: &[u8]) {
        if let Some(before) = Arc::make_mut(&mut self.rows).remove(row) {
            self.bytes -= row.len() + payload_bytes(&before);
            self.count -= 1;
        }
    }
}

impl Shared {
    /// The overlay as it is now; none while nobody knows.
    pub(super) fn now(&self) -> Option<Overlay> {
        let state = self.0.read().ok()?;
        state.version.map(|_| state.overlay.clone())
    }

    /// The overlay of a version, if that is the one that is known.
    pub(super) fn at(&self, version: Version) -> Option<Overlay> {
        let state = self.0.read().ok()?;
        (state.version == Some(version)).then(|| state.overlay.clone())
    }

    /// The overlay that is known and its version, if since then up to `version` entries have only been added.
    pub(super) fn before(&self, version: Version) -> Option<(Overlay, Version)> {
        let state = self.0.read().ok()?;
        let known = state.version?;
        let added = known.folds == version.folds && known.last <= version.last && known.last > 0;
        (known == version || added).then(|| (state.overlay.clone(), known))
    }

    /// What is known of a row now: outside none while nobody knows, within none if it says nothing.
    pub(super) fn row(&self, category: &str, key: &[u8]) -> Option<Option<Over>> {
        let state = self.0.read().ok()?;
        state.version.map(|_| state.overlay.get(category, key).cloned())
    }

    /// Lets this be the overlay.
    pub(super) fn replace(&self, overlay: Overlay, version: Version) {
        *self.write() = State { overlay, version: Some(version) };
    }

    /// Forgets all of it; nobody knows any more.
    pub(super) fn forget(&self) {
        *self.write() = State::default();
    }

    /// Takes over what an entry says, which is committed.
    pub(super) fn add<'o>(&self, batches: impl Iterator<Item = &'o [Op]>, version: Version) {
        let mut state = self.write();
        batches.for_each(|operations| state.overlay.operate(operations));
        state.version = Some(version);
    }

    /// Says nothing any more of rows that the tree holds as they were here.
    pub(super) fn remove(&self, folded: &[(Vec<u8>, Over)], version: Version) {
        let mut state = self.write();
        folded.iter().for_each(|(row, _)| state.overlay.forget(row));
        state.version = Some(version);
    }

    /// A panic while it was held may have left half of a change, so whoever reads it then knows nothing.
    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.0.write().unwrap_or_else(|poisoned| {
            let mut state = poisoned.into_inner();
            *state = State::default();
            self.0.clear_poison();
            state
        })
    }
}

fn payload_bytes(over: &Over) -> usize {
    over.as_ref().map_or(0, |payload| payload.len())
}
