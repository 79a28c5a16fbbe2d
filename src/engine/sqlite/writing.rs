//! Writing: the connection that writes, and how a decision gets onto the medium, as an entry of the journal
//! or into the tree at once.
//!
//! Never decides what is written, and never retries a commit whose outcome is not known.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use rusqlite::Connection;

use super::direct::DirectReads;
use super::fault::{self, Result};
use super::fold::Round;
use super::journal::{Entry, Notes};
use super::logged::Logged;
use super::medium::WAL_ROOM_BYTES;
use super::overlay::{Overlay, Shared, Version};
use super::read::{Transaction, View};
use super::schema::{self, PAGE_BYTES};
use super::{journal, read, write};
use crate::batch::Op;
use crate::engine::{Change, EngineError, Fault, Point, Space, Write};
use crate::error::Outcome;

/// Pages that a tree which splits its pages may need for rows that would fill one.
const FOLD_PAGES_PER_PAGE: usize = 2;
/// Pages that the log's table may need for the first byte that is moved into it: a leaf, and what leads to it.
const LOG_PAGES: usize = 2;
/// Bytes that an entry is taken to have beside its record and its operations.
const ENTRY_HEAD_BYTES: usize = 32;

/// The connection of a job that writes, on the worker's thread.
pub(super) struct Writing {
    pub(super) conn: Connection,
    pub(super) db: PathBuf,
    /// The overlay, for all who read.
    pub(super) shared: Arc<Shared>,
    /// Those who read rows without this thread.
    pub(super) direct: Arc<DirectReads>,
    /// How the journal stands; none while nobody knows, after a commit whose outcome is not known.
    pub(super) journal: RefCell<Option<Standing>>,
    /// Whether a sync has failed: what the medium holds cannot be trusted until the job is opened again.
    pub(super) sync_failed: Rc<Cell<bool>>,
    /// Whether commits are put on the medium as the connection is set now.
    syncs_commits: Cell<bool>,
    /// Pages for which the database's file has room.
    pub(super) reserved_pages: Cell<usize>,
}

/// How the journal stands.
#[derive(Clone, Debug, Default)]
pub(super) struct Standing {
    pub(super) version: Version,
    /// Bytes of its entries, what has been folded of them included.
    pub(super) bytes: usize,
    /// How the part of the log stands that is in it.
    pub(super) logged: Logged,
    /// The round of folds that is under way.
    pub(super) round: Option<Round>,
}

impl Writing {
    pub(super) fn open(
        db: &Path,
        shared: Arc<Shared>,
        direct: Arc<DirectReads>,
        sync_failed: Rc<Cell<bool>>,
    ) -> Result<Self> {
        let writing = Writing {
            conn: schema::open_writer(db)?,
            db: db.to_owned(),
            shared,
            direct,
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
        let journal::Contents { overlay, version, bytes, logged } = contents;
        let standing = Standing { version, bytes, logged, round: None };
        self.shared.replace(overlay, version);
        self.journal.replace(Some(standing.clone()));
        Ok(standing)
    }

    /// Reads, decides and writes; see [`Engine::apply`](crate::engine::Engine::apply).
    pub(super) fn apply(&self, change: Change) -> Result<()> {
        self.apply_unless_failed(change).inspect_err(|error| {
            self.notice_failed_sync(error);
            if error.fault == Fault::StorageFull {
                self.make_room();
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
        let no_room = |done: &Result<()>| {
            let error = done.as_ref().err();
            error.is_some_and(|error| {
                error.fault == Fault::StorageFull && error.outcome == Outcome::NotApplied
            })
        };
        // Where nothing has been written and nobody else writes, what was read stays true.
        match self.entries(&writes)? {
            None => drop(transaction),
            Some((entries, logged)) => {
                let done = self.commit_entries(transaction, &writes, &entries, logged);
                if !no_room(&done) {
                    return done;
                }
                // Into the tree it may go without any room: a delete needs none there.
                self.make_room();
            }
        }
        let done = self.commit_to_tree(&writes, change.durable);
        if !no_room(&done) {
            return done;
        }
        // Folding may have filled the write-ahead log.
        self.make_room();
        self.commit_to_tree(&writes, change.durable)
    }

    /// The entries for what the writes do to rows, and how the log's part stands before them; none if the
    /// writes belong into the tree.
    fn entries<'w>(&self, writes: &'w [Write]) -> Result<Option<(Vec<Entry<'w>>, Logged)>> {
        let Some(entries) = journal::entries(writes) else { return Ok(None) };
        let mut logged = self.standing()?.logged;
        for write in writes {
            if let Write::DeleteSpan(Space::Log, span) = write
                && !span.is_empty()
                && !logged.trim(&self.conn, span)?
            {
                return Ok(None);
            }
        }
        let mut after = logged;
        let fits = entries.iter().filter_map(|entry| entry.key).all(|key| {
            let fits = after.takes(key);
            after.last = key;
            fits
        });
        Ok(fits.then_some((entries, logged)))
    }

    /// Commits the writes with these entries for what they do to rows.
    fn commit_entries(
        &self,
        transaction: Transaction<'_>,
        writes: &[Write],
        entries: &[Entry<'_>],
        logged: Logged,
    ) -> Result<()> {
        let mut standing = self.standing()?;
        if logged.from != standing.logged.from {
            standing.logged = logged;
            self.write_notes(&standing).map_err(not_applied)?;
        }
        let mut writer = write::Writer::new(&self.conn);
        let mut record = None;
        for one in writes {
            match one {
                Write::Rows(_) | Write::Log(_) => {}
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
        let mut bytes = record.len();
        for (at, entry) in (1..).zip(entries) {
            standing.version.last += 1;
            bytes += ENTRY_HEAD_BYTES + entry.operations.len();
            let record = if at == entries.len() { record } else { &[] };
            let key = standing.logged.note(entry.key, entry.operations.len());
            journal::append(&self.conn, standing.version.last, record, key, &entry.operations)
                .map_err(not_applied)?;
        }
        standing.bytes += bytes;
        if let Some(round) = &mut standing.round {
            round.owe(journal::batches(writes).map(<[_]>::len).sum(), bytes);
        }
        let to_fold = self.overlay()?.bytes() + standing.logged.bytes;
        let log_pages = if standing.logged.bytes > 0 { LOG_PAGES } else { 0 };
        self.reserve(log_pages + FOLD_PAGES_PER_PAGE * to_fold / PAGE_BYTES, WAL_ROOM_BYTES)?;
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
            standing.logged = Logged::default();
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
        // Deletes may use what puts have to leave.
        let puts = journal::batches(writes).flatten().any(|op| matches!(op, Op::Put { .. }));
        self.reserve(0, if puts { WAL_ROOM_BYTES } else { 0 })?;
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
        let _changing = self.direct.change_tree();
        transaction.commit().map_err(|error| {
            self.journal.replace(None);
            fault::of_commit(error, transaction.roll_back())
        })
    }

    /// Writes that a fold is part of the transaction.
    pub(super) fn count_fold(&self, standing: &mut Standing) -> Result<()> {
        standing.version.folds += 1;
        self.write_notes(standing)
    }

    fn write_notes(&self, standing: &Standing) -> Result<()> {
        journal::set_notes(
            &self.conn,
            Notes { folds: standing.version.folds, log_from: standing.logged.from },
        )
    }

    /// Lets commits be put on the medium from now on, or not.
    pub(super) fn sync_commits(&self, durable: bool) -> Result<()> {
        if self.syncs_commits.get() != durable {
            self.conn.pragma_update(None, "synchronous", if durable { "FULL" } else { "NORMAL" })?;
            self.syncs_commits.set(durable);
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
