//! Folds: how the journal gets into the tree, slice by slice in the order of the keys.
//!
//! Never changes what the job holds: a row that has been folded is in the tree as the overlay had it, and the
//! journal may still say the same. A round goes once through the keys; what was in the journal when it began
//! has then been folded, and goes. Each slice is a transaction of its own, between two commits.

use super::fault::Result;
use super::overlay::{Over, Version};
use super::read::Transaction;
use super::writing::{Standing, Writing};
use super::{journal, write};
use crate::engine::row_key::{category_prefix, split_row_key};
use crate::engine::{EngineError, Fault};

/// Bytes of entries from which on a round begins. Tests fold all the time.
const ROUND_FROM_BYTES: usize = if cfg!(test) { 2 * 1024 } else { 4 * 1024 * 1024 };
/// Bytes of entries beyond which nothing is added before it has been folded, where folding failed before.
const JOURNAL_BYTES_MAX: usize = 4 * ROUND_FROM_BYTES;
/// Rows of a slice at most: enough for neighbours to share their pages, and few for whoever waits behind it.
const SLICE_ROWS_MAX: usize = if cfg!(test) { 4 } else { 256 };
/// Rows that a round folds for each operation that is committed while it lasts, so that it ends.
const ROWS_PER_OPERATION: usize = 2;

/// A walk through the keys that is under way.
#[derive(Clone, Debug)]
pub(super) struct Round {
    /// The newest entry when it began; when it ends all up to this one go.
    to: u64,
    /// The row key up to which it has come.
    cursor: Vec<u8>,
    /// Rows that are still to be folded for what has been committed.
    owed: usize,
    /// Bytes of the entries that will go.
    goes: usize,
}

impl Round {
    fn new(standing: &Standing) -> Self {
        let (to, goes) = (standing.version.last, standing.bytes);
        Round { to, cursor: Vec::new(), owed: SLICE_ROWS_MAX, goes }
    }

    /// Has rows folded for operations that are committed.
    pub(super) fn owe(&mut self, operations: usize) {
        self.owed += ROWS_PER_OPERATION * operations.max(1);
    }
}

impl Writing {
    /// Folds as many slices as are due.
    pub(super) fn fold_if_due(&self) -> Result<()> {
        loop {
            let standing = self.standing()?;
            let due = match &standing.round {
                None => standing.bytes >= ROUND_FROM_BYTES,
                Some(round) => round.owed >= SLICE_ROWS_MAX,
            };
            if !due {
                return Ok(());
            }
            let most = standing.bytes;
            match self.fold_slice(standing) {
                Ok(()) => {}
                // The next commit tries again; the job goes on while the journal has not become too long.
                Err(error) if most < JOURNAL_BYTES_MAX && error.fault != Fault::SyncFailed => {
                    log::warn!("folding the journal: {}", error.message);
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Folds all that the journal holds, so that it is empty.
    pub(super) fn fold_all(&self) -> Result<()> {
        let mut standing = self.standing()?;
        if standing.version.last > 0 {
            // One round for everything, wherever an earlier one has come to.
            standing.round = None;
        }
        while standing.version.last > 0 {
            self.fold_slice(standing)?;
            standing = self.standing()?;
        }
        Ok(())
    }

    /// Folds the next rows of the round, or begins one; ends it if there are no more.
    fn fold_slice(&self, mut standing: Standing) -> Result<()> {
        let mut round = standing.round.take().unwrap_or_else(|| Round::new(&standing));
        let rows = self.overlay()?.after(&round.cursor, SLICE_ROWS_MAX);
        let ends = rows.len() < SLICE_ROWS_MAX;
        let transaction = Transaction::writing(&self.conn)?;
        self.put_into_tree(&rows)?;
        if ends {
            journal::remove_to(&self.conn, round.to, standing.version.last)?;
            standing.bytes = standing.bytes.saturating_sub(round.goes);
        }
        self.count_fold(&mut standing)?;
        self.reserve(0)?;
        self.commit(transaction)?;
        if ends && round.to == standing.version.last {
            standing.version = Version { last: 0, ..standing.version };
        }
        if !ends {
            round.cursor = rows.last().map(|(row, _)| row.clone()).unwrap_or_default();
            round.owed = round.owed.saturating_sub(SLICE_ROWS_MAX);
            standing.round = Some(round);
        }
        let version = standing.version;
        self.journal.replace(Some(standing));
        self.shared.remove(&rows, version);
        self.checkpoint_if_due();
        Ok(())
    }

    fn put_into_tree(&self, rows: &[(Vec<u8>, Over)]) -> Result<()> {
        let mut writer = write::Writer::new(&self.conn);
        // Neighbours are of one category as a rule, and then it need not be read from each of them.
        let (mut category, mut prefix) = (String::new(), Vec::new());
        for (row, over) in rows {
            if prefix.is_empty() || !row.starts_with(&prefix) {
                let damaged = || EngineError::new(Fault::Corrupt, "the overlay has a row of no category");
                category = split_row_key(row).ok_or_else(damaged)?.0;
                prefix = category_prefix(&category);
            }
            let key = &row[prefix.len()..];
            match over {
                Some(payload) => writer.put(category.as_bytes(), key, payload)?,
                None => write::delete(&self.conn, category.as_bytes(), key)?,
            }
        }
        Ok(())
    }
}
