//! Folds: how the journal gets into the tree, slice by slice in the order of the keys.
//!
//! Never changes what the job holds: a row that has been folded is in the tree as the overlay had it, and the
//! journal may still say the same. A round goes once through the keys; what was in the journal when it began
//! has then been folded, and goes. What of it is the log's moves to the log's table meanwhile. Each slice is a
//! transaction of its own, between two commits.

use super::fault::Result;
use super::logged::Logged;
use super::overlay::{Over, Version};
use super::read::Transaction;
use super::writing::{Standing, Writing};
use super::{journal, write};
use crate::engine::row_key::{category_prefix, split_row_key};
use crate::engine::{EngineError, Fault};

/// Bytes of entries from which on a round begins. Tests fold all the time.
const ROUND_FROM_BYTES: usize = if cfg!(test) { 2 * 1024 } else { 4 * 1024 * 1024 };
/// Bytes of entries beyond which nothing is added before some have been folded.
const JOURNAL_BYTES_MAX: usize = 4 * ROUND_FROM_BYTES;
/// Rows of a slice at most: enough for neighbours to share their pages, and few for whoever waits behind it.
const SLICE_ROWS_MAX: usize = if cfg!(test) { 4 } else { 256 };
/// Bytes of the log that a slice moves into the log's table, some more for the last value.
const SLICE_LOG_BYTES: usize = if cfg!(test) { 64 } else { 256 * 1024 };
/// Where a slice finds no room, the next one has so many times fewer rows.
const SLICE_SHRINKS: usize = 16;
/// Rows that a round folds for each operation that is committed while it lasts, so that it ends.
const ROWS_PER_OPERATION: usize = 2;
/// Rows of the overlay from which on it is folded before rows are counted, since a count looks each of them up.
const COUNTED_ROWS_MAX: usize = 8 * 1024;

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
    /// Rows of the overlay when it began.
    rows: usize,
}

impl Round {
    fn new(standing: &Standing, rows: usize) -> Self {
        let (to, goes) = (standing.version.last, standing.bytes);
        Round { to, cursor: Vec::new(), owed: SLICE_ROWS_MAX, goes, rows }
    }

    /// Has rows folded for an entry: as many as let the round end before the journal is twice as long, whether
    /// its operations are many or large.
    pub(super) fn owe(&mut self, operations: usize, bytes: usize) {
        let for_bytes = self.rows.saturating_mul(bytes) / ROUND_FROM_BYTES;
        // Slices enough for the log's values, if that is what they are.
        let for_log = SLICE_ROWS_MAX * bytes / SLICE_LOG_BYTES;
        self.owed += for_bytes.max(for_log).max(ROWS_PER_OPERATION * operations.max(1));
    }
}

impl Writing {
    /// Folds as many slices as are due.
    pub(super) fn fold_if_due(&self) -> Result<()> {
        loop {
            let standing = self.standing()?;
            let due = match &standing.round {
                None => standing.bytes >= ROUND_FROM_BYTES,
                Some(round) => round.owed >= SLICE_ROWS_MAX || standing.bytes >= JOURNAL_BYTES_MAX,
            };
            if !due {
                return Ok(());
            }
            let bytes = standing.bytes;
            match self.fold_slice(standing, SLICE_ROWS_MAX) {
                Ok(()) => {}
                // The next commit tries again; the job goes on while the journal has not become too long.
                Err(error) if bytes < JOURNAL_BYTES_MAX && error.fault != Fault::SyncFailed => {
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
        let mut rows_max = SLICE_ROWS_MAX;
        while standing.version.last > 0 {
            match self.fold_slice(standing, rows_max) {
                Err(error) if error.fault == Fault::StorageFull && rows_max > 1 => {
                    // A few rows may find the room in the write-ahead log that many do not.
                    self.make_room();
                    rows_max = (rows_max / SLICE_SHRINKS).max(1);
                }
                done => done?,
            }
            standing = self.standing()?;
        }
        Ok(())
    }

    /// Folds everything if a count would have to look up too much of it. Whether that succeeds only matters to
    /// how long the count takes.
    pub(super) fn fold_for_count(&self) {
        let many = self.shared.now().is_some_and(|overlay| overlay.count() > COUNTED_ROWS_MAX);
        if many && let Err(error) = self.fold_all() {
            log::warn!("folding the journal before a count: {}", error.message);
        }
    }

    /// Folds the next rows of the round, or begins one; ends it if there are no more.
    ///
    /// It need not be on the medium before what comes after it, so it is never synced for itself.
    fn fold_slice(&self, mut standing: Standing, rows_max: usize) -> Result<()> {
        self.check_synced()?;
        let overlay = self.overlay()?;
        let mut round = standing.round.take().unwrap_or_else(|| Round::new(&standing, overlay.count()));
        let rows = overlay.after(&round.cursor, rows_max);
        drop(overlay);
        self.sync_commits(false)?;
        let transaction = Transaction::writing(&self.conn)?;
        self.put_into_tree(&rows)?;
        standing.logged.move_on(&self.conn, round.to, SLICE_LOG_BYTES * rows_max / SLICE_ROWS_MAX)?;
        let ends = rows.len() < rows_max && standing.logged.moved >= round.to;
        if ends {
            journal::remove_to(&self.conn, round.to, standing.version.last)?;
            standing.bytes = standing.bytes.saturating_sub(round.goes);
        }
        self.count_fold(&mut standing)?;
        self.reserve(0, 0)?;
        self.commit(transaction)?;
        if ends && round.to == standing.version.last {
            standing.version = Version { last: 0, ..standing.version };
            standing.logged = Logged { from: standing.logged.from, ..Logged::default() };
        }
        if !ends {
            if let Some((row, _)) = rows.last() {
                round.cursor.clone_from(row);
            }
            round.owed = round.owed.saturating_sub(rows_max);
            standing.round = Some(round);
        }
        let version = standing.version;
        self.journal.replace(Some(standing));
        self.shared.remove(&rows, version);
        self.checkpoint_if_due();
        self.check_synced()
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
