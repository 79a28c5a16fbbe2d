//! Writing: the connection that writes, and how a decision gets onto the medium, as an entry of the journal
//! or into the tree at once.
//!
//! Never decides what is written, and never retries a commit whose outcome is not known.

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use rusqlite::{Connection, DEFAULT_NAME, FileControl, wal::CheckpointMode};

use super::fault::{self, Result};
use super::fold::Round;
use super::overlay::{Overlay, Shared, Version};
use super::read::{Transaction, View};
use super::schema::{self, CHECKPOINT_FRAMES, PAGE_BYTES};
use super::{journal, read, write};
use crate::engine::{Change, EngineError, Fault, Point, Write};
use crate::error::Outcome;

/// Pages that one step of giving room back moves, so that the write-ahead log stays small.
const VACUUM_PAGES: u32 = 512;
/// Pages that a tree which splits its pages may need for rows that would fill one.
const FOLD_PAGES_PER_PAGE: usize = 2;
/// Bytes that an entry is taken to have beside its record and its operations.
const ENTRY_HEAD_BYTES: usize = 32;

/// The connection of a job that writes, on the worker's thread.
pub(super) struct Writing {
    pub(super) conn: Connection,
    /// The overlay, for all who read.
    pub(super) shared: Arc<Shared>,
    /// How the journal stands; none while nobody knows, after a commit whose outcome is not known.
    pub(super) journal: RefCell<Option<Standing>>,
    /// Whether a sync has failed: what the medium holds cannot be trusted until the job is opened again.
    sync_failed: Rc<Cell<bool>>,
    /// Whether commits are put on the medium as the connection is set now.
    syncs_commits: Cell<bool>,
    /// Pages for which the database's file has room.
    reserved_pages: Cell<usize>,
}

/// How the journal stands.
#[derive(Clone, Debug, Default)]
pub(super) struct Standing {
    pub(super) version: Version,
    /// Bytes of its entries, what has been folded of them included.
    pub(super) bytes: usize,
    /// The round of folds that is under way.
    pub(super) round: Option<Round>,
}

impl Writing {
    pub(super) fn open(db: &Path, shared: Arc<Shared>, sync_failed: Rc<Cell<bool>>) -> Result<Self> {
        let writing = Writing {
            conn: schema::open_writer(db)?,
            shared,
            journal: RefCell::new(None),
            sync_failed,
            syncs_commits: Cell::new(false),
            reserved_pages: Cell::new(0),
        };
        writing.standing()?;
        Ok(writing)
    }

    /// What this connection sees now.
    pub(super) fn view(&self) -> Result<View<'_>> {
        self.standing()?;
        Ok(View::of_writer(&self.conn, self.overlay()?))
    }

    pub(super) fn overlay(&self) -> Result<Overlay> {
        let unknown = || EngineError::new(Fault::Other, "the journal's overlay is not known");
        self.shared.now().ok_or_else(unknown)
    }

    /// How the journal stands, read anew if nobody knows.
    pub(super) fn standing(&self) -> Result<Standing> {
        if let Some(standing) = &*self.journal.borrow()
            && self.shared.now().is_some()
        {
            return Ok(standing.clone());
        }
        if !self.conn.is_autocommit() {
            // What it shows may never be committed.
            return Err(EngineError::new(Fault::Other, "a transaction that failed is still open"));
        }
        let contents = journal::load(&self.conn)?;
        let standing = Standing { version: contents.version, bytes: contents.bytes, round: None };
        self.shared.replace(contents.overlay, contents.version);
        self.journal.replace(Some(standing.clone()));
        Ok(standing)
    }

    /// Reads, decides and writes; see [`Engine::apply`](crate::engine::Engine::apply).
    pub(super) fn apply(&self, change: Change) -> Result<()> {
        self.apply_unless_failed(change).inspect_err(|error| {
            self.notice_failed_sync(error);
            if error.fault == Fault::StorageFull {
                // The write-ahead log may have room that it can use again once it has been written back,
                // so that deletes find some.
                self.checkpoint();
            }
        })
    }

    fn apply_unless_failed(&self, change: Change) -> Result<()> {
        self.check_synced()?;
        self.fold_if_due()?;
        self.check_synced()?;
        self.sync_commits(change.durable)?;
        let transaction = Transaction::writing(&self.conn)?;
        let found = read::values(&self.view()?, &change.reads)?;
        let Some(writes) = (change.decide)(found) else { return Ok(()) };
        if let Some(entry) = journal::entry(&writes) {
            match self.commit_entry(transaction, &writes, &entry) {
                // Into the tree it may go without any room: a delete needs none there.
                Err(error) if error.fault == Fault::StorageFull && error.outcome == Outcome::NotApplied => {
                    self.checkpoint();
                }
                done => return done,
            }
        } else {
            // Nothing has been written, and nobody else writes, so what was read stays true.
            drop(transaction);
        }
        self.commit_to_tree(&writes, change.durable)
    }

    /// Commits the writes with an entry for what they do to rows.
    fn commit_entry(&self, transaction: Transaction<'_>, writes: &[Write], entry: &[u8]) -> Result<()> {
        let mut standing = self.standing()?;
        let mut writer = write::Writer::new(&self.conn);
        let mut record = None;
        for one in writes {
            match one {
                Write::Rows(_) => {}
                Write::Put(point, value) if *point == Point::record() => record = Some(value),
                other => writer.write(other).map_err(not_applied)?,
            }
        }
        drop(writer);
        let present = match record {
            Some(_) => None,
            None => journal::record(&self.conn).map_err(not_applied)?,
        };
        let record = record.or(present.as_ref()).map_or(&[][..], Vec::as_slice);
        standing.version.last += 1;
        let bytes = ENTRY_HEAD_BYTES + record.len() + entry.len();
        standing.bytes += bytes;
        if let Some(round) = &mut standing.round {
            round.owe(journal::batches(writes).map(<[_]>::len).sum(), bytes);
        }
        journal::append(&self.conn, standing.version.last, record, entry).map_err(not_applied)?;
        self.reserve(FOLD_PAGES_PER_PAGE * self.overlay()?.bytes() / PAGE_BYTES)?;
        self.commit(transaction)?;
        let version = standing.version;
        self.journal.replace(Some(standing));
        self.shared.add(journal::batches(writes), version);
        self.checkpoint_if_due();
        Ok(())
    }

    /// Commits the writes where they belong, after all that the journal holds.
    fn commit_to_tree(&self, writes: &[Write], durable: bool) -> Result<()> {
        let empties = writes.iter().any(|write| matches!(write, Write::Empty));
        if !empties {
            self.fold_all()?;
        }
        self.check_synced()?;
        self.sync_commits(durable)?;
        let transaction = Transaction::writing(&self.conn)?;
        let mut standing = self.standing()?;
        if empties && standing.version.last > 0 {
            journal::remove_to(&self.conn, standing.version.last, standing.version.last)
                .and_then(|()| self.count_fold(&mut standing))
                .map_err(not_applied)?;
            standing = Standing { version: Version { last: 0, ..standing.version }, ..Standing::default() };
        }
        let mut writer = write::Writer::new(&self.conn);
        for one in writes {
            // What fails before the commit begins is rolled back, and then nobody ever sees it.
            writer.write(one).map_err(not_applied)?;
        }
        drop(writer);
        self.reserve(0)?;
        self.commit(transaction)?;
        if empties {
            self.shared.replace(Overlay::default(), standing.version);
            self.journal.replace(Some(standing));
        }
        self.checkpoint_if_due();
        Ok(())
    }

    /// Commits a transaction. After a failure nobody knows how the journal stands.
    pub(super) fn commit(&self, transaction: Transaction<'_>) -> Result<()> {
        transaction.commit().map_err(|error| {
            self.journal.replace(None);
            fault::of_commit(error, transaction.roll_back())
        })
    }

    /// Writes that a fold is part of the transaction.
    pub(super) fn count_fold(&self, standing: &mut Standing) -> Result<()> {
        standing.version.folds += 1;
        journal::set_folds(&self.conn, standing.version.folds)
    }

    /// Takes the room that the transaction's pages will need in the database before it commits, and so many
    /// pages more.
    ///
    /// So the write-ahead log can always be written back and used again, the journal can be folded, and on a
    /// full medium deletes still find room.
    pub(super) fn reserve(&self, more_pages: usize) -> Result<()> {
        let mut statement = self.conn.prepare_cached("PRAGMA page_count")?;
        let pages: usize = statement.query_row((), |row| row.get(0))?;
        let pages = pages + more_pages;
        if pages <= self.reserved_pages.get() {
            return Ok(());
        }
        let mut bytes = i64::try_from(pages.saturating_mul(PAGE_BYTES)).unwrap_or(i64::MAX);
        match self.conn.file_control(DEFAULT_NAME, FileControl::SizeHint(&mut bytes)) {
            Ok(()) => self.reserved_pages.set(pages),
            Err(error) => {
                let mut error = EngineError::from(error).while_doing("reserving room");
                error.fault = Fault::StorageFull;
                return Err(error);
            }
        }
        Ok(())
    }

    /// Lets commits be put on the medium from now on, or not.
    pub(super) fn sync_commits(&self, durable: bool) -> Result<()> {
        if self.syncs_commits.get() != durable {
            self.conn.pragma_update(None, "synchronous", if durable { "FULL" } else { "NORMAL" })?;
            self.syncs_commits.set(durable);
        }
        Ok(())
    }

    /// Writes the log back into the database once it is long.
    ///
    /// The commit before it stands whatever comes of this, so a failure is kept for those that follow.
    pub(super) fn checkpoint_if_due(&self) {
        let due = |(frames, written): (i32, i32)| frames >= CHECKPOINT_FRAMES && written < frames;
        let state = self.conn.wal_checkpoint_v2(DEFAULT_NAME, CheckpointMode::NOOP);
        if state.is_ok_and(due) {
            self.checkpoint();
        }
    }

    /// The same at once; not after a sync has failed, for one that seems to succeed then would throw the
    /// write-ahead log away.
    pub(super) fn checkpoint(&self) {
        if self.sync_failed.get() {
            return;
        }
        // It cuts the database's file to the pages that there are.
        self.reserved_pages.set(0);
        if let Err(error) = self.conn.wal_checkpoint_v2(DEFAULT_NAME, CheckpointMode::PASSIVE) {
            let error = EngineError::from(error);
            log::warn!("checkpoint: {}", error.message);
            self.notice_failed_sync(&error);
        }
    }

    /// After a failed sync nothing more is written, nor may a checkpoint that seems to succeed throw
    /// the write-ahead log away.
    pub(super) fn notice_failed_sync(&self, error: &EngineError) {
        if error.fault == Fault::SyncFailed {
            self.sync_failed.set(true);
            if let Err(error) = schema::never_checkpoint(&self.conn) {
                log::error!("keeping the write-ahead log: {}", error.message);
            }
        }
    }

    pub(super) fn check_synced(&self) -> Result<()> {
        match self.sync_failed.get() {
            true => Err(EngineError::new(Fault::SyncFailed, "an earlier sync of this job failed")),
            false => Ok(()),
        }
    }

    /// Moves what is left of the database to its front, and cuts its files as far as nobody reads them.
    pub(super) fn compact(&self) -> Result<()> {
        self.check_synced()?;
        let compacted = self.fold_all().and_then(|()| self.vacuum()).and_then(|()| truncate_wal(&self.conn));
        compacted.inspect_err(|error| self.notice_failed_sync(error))
    }

    /// Step by step, so that the write-ahead log stays small.
    fn vacuum(&self) -> Result<()> {
        self.reserved_pages.set(0);
        let free = || self.conn.pragma_query_value(None, "freelist_count", |row| row.get::<_, u64>(0));
        let mut before = free()?;
        while before > 0 {
            let sql = format!("PRAGMA incremental_vacuum({VACUUM_PAGES})");
            let mut statement = self.conn.prepare_cached(&sql)?;
            let mut rows = statement.query(())?;
            while rows.next()?.is_some() {}
            drop(rows);
            self.checkpoint_if_due();
            self.check_synced()?;
            let after = free()?;
            if after >= before {
                break;
            }
            before = after;
        }
        Ok(())
    }

    /// Puts everything where it belongs, as far as that is possible, and takes the write-ahead log in.
    pub(super) fn lay_to_rest(&self) {
        self.fold_for_closing();
        self.checkpoint();
    }

    /// The same, and closes the connection.
    pub(super) fn close(self) -> Result<()> {
        self.fold_for_closing();
        self.shared.forget();
        schema::close(self.conn)
    }

    fn fold_for_closing(&self) {
        if self.sync_failed.get() {
            return;
        }
        if let Err(error) = self.fold_all() {
            // Nothing is lost: the next opening reads the journal.
            log::warn!("folding the journal before closing: {}", error.message);
            self.notice_failed_sync(&error);
        }
    }
}

fn not_applied(error: EngineError) -> EngineError {
    error.with_outcome(Outcome::NotApplied)
}

/// Takes the write-ahead log in and cuts it, unless somebody reads from it at this time.
fn truncate_wal(conn: &Connection) -> Result<()> {
    let wait = schema::BUSY_TIMEOUT;
    conn.busy_timeout(std::time::Duration::ZERO)?;
    let truncated = conn.wal_checkpoint_v2(DEFAULT_NAME, CheckpointMode::TRUNCATE).map_err(EngineError::from);
    conn.busy_timeout(wait)?;
    match truncated {
        Err(error) if error.fault != Fault::Busy => Err(error),
        _ => Ok(()),
    }
}
