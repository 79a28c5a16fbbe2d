//! The medium: room that is taken before it is needed, checkpoints, and what follows from a failed sync.
//!
//! Never changes what the job holds.

use std::fs;
use std::time::Duration;

use rusqlite::{DEFAULT_NAME, FileControl, wal::CheckpointMode};

use super::fault::Result;
use super::files;
use super::schema::{self, CHECKPOINT_FRAMES, PAGE_BYTES};
use super::writing::Writing;
use crate::engine::{EngineError, Fault};

/// Pages that one step of giving room back moves, so that the write-ahead log stays small.
const VACUUM_PAGES: u32 = 512;
/// Where that finds no room, the next step moves so many times fewer.
const VACUUM_SHRINKS: u32 = 16;
/// Bytes that puts leave on the medium, for the write-ahead log and what is to be folded: without any a delete
/// would find none either.
pub(super) const WAL_ROOM_BYTES: u64 = 32 * PAGE_BYTES as u64;
/// Bytes from which on a write-ahead log is cut on a full medium, for whoever needs the room.
const LONG_WAL_BYTES: u64 = WAL_ROOM_BYTES;

impl Writing {
    /// Takes the room that the transaction's pages will need in the database before it commits, and so many
    /// pages more; leaves so many bytes on the medium.
    ///
    /// So the write-ahead log can always be written back and used again, the journal can be folded, and on a
    /// full medium deletes still find room.
    pub(super) fn reserve(&self, more_pages: usize, leave_bytes: u64) -> Result<()> {
        let mut statement = self.conn.prepare_cached("PRAGMA page_count")?;
        let pages: usize = statement.query_row((), |row| row.get(0))?;
        let pages = pages + more_pages;
        if pages <= self.reserved_pages.get() {
            return Ok(());
        }
        let mut bytes = i64::try_from(pages.saturating_mul(PAGE_BYTES)).unwrap_or(i64::MAX);
        self.check_room(bytes.unsigned_abs(), leave_bytes)?;
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

    /// Refuses to let the database grow to so many bytes where there is no room for it: SQLite takes all that
    /// there is before it says that it was not enough.
    fn check_room(&self, bytes: u64, leave_bytes: u64) -> Result<()> {
        let (Ok(now), Ok(free)) = (fs::metadata(&self.db), fs4::available_space(&self.db)) else {
            return Ok(());
        };
        if bytes <= now.len() || bytes - now.len() + leave_bytes <= free {
            return Ok(());
        }
        let message = format!("reserving room: the database needs {bytes} bytes, and {free} are free");
        Err(EngineError::new(Fault::StorageFull, message))
    }

    /// Gives the write-ahead log its room back on a full medium: so that deletes find some, and a long one to
    /// whoever needs it. Who reads a row at that time would be in the way, and there may always be one.
    pub(super) fn make_room(&self) {
        let _stopped = self.direct.stop();
        self.checkpoint();
        let wal = fs::metadata(files::beside(&self.db, "-wal"));
        if !self.sync_failed.get()
            && wal.is_ok_and(|wal| wal.len() > LONG_WAL_BYTES)
            && let Err(error) = self.truncate_wal()
        {
            log::warn!("cutting the write-ahead log: {}", error.message);
            self.notice_failed_sync(&error);
        }
    }

    /// Writes the log back into the database once it is long.
    ///
    /// The commit before it stands whatever comes of this, so a failure is kept for those that follow.
    pub(super) fn checkpoint_if_due(&self) {
        let state = self.conn.wal_checkpoint_v2(DEFAULT_NAME, CheckpointMode::NOOP);
        if state.is_ok_and(is_due) {
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
        if let Err(error) = self.run_checkpoint(CheckpointMode::PASSIVE) {
            log::warn!("checkpoint: {}", error.message);
            self.notice_failed_sync(&error);
        }
    }

    /// Runs a checkpoint that no kept view is in the way of. Views are kept again afterwards, unless it was due and
    /// somebody else was in the way: then it is tried again after the next commit.
    fn run_checkpoint(&self, mode: CheckpointMode) -> Result<()> {
        self.direct.pause();
        let done = self.conn.wal_checkpoint_v2(DEFAULT_NAME, mode);
        if !done.as_ref().is_ok_and(|state| is_due(*state)) {
            self.direct.resume();
        }
        done?;
        Ok(())
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
        let compacted = self.fold_all().and_then(|()| self.vacuum()).and_then(|()| self.truncate_wal());
        compacted.inspect_err(|error| self.notice_failed_sync(error))
    }

    /// Step by step, so that the write-ahead log stays small.
    fn vacuum(&self) -> Result<()> {
        self.reserved_pages.set(0);
        let free = || self.conn.pragma_query_value(None, "freelist_count", |row| row.get::<_, u64>(0));
        let step = |pages: u32| -> Result<()> {
            let sql = format!("PRAGMA incremental_vacuum({pages})");
            let mut statement = self.conn.prepare_cached(&sql)?;
            let mut rows = statement.query(())?;
            while rows.next()?.is_some() {}
            Ok(())
        };
        let (mut before, mut pages) = (free()?, VACUUM_PAGES);
        while before > 0 {
            match step(pages) {
                Err(error) if error.fault == Fault::StorageFull && pages > 1 => {
                    self.make_room();
                    pages = (pages / VACUUM_SHRINKS).max(1);
                    continue;
                }
                done => done?,
            }
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

    /// Takes the write-ahead log in and cuts it, unless somebody reads from it at this time.
    fn truncate_wal(&self) -> Result<()> {
        let _stopped = self.direct.stop();
        self.conn.busy_timeout(Duration::ZERO)?;
        let truncated = self.run_checkpoint(CheckpointMode::TRUNCATE);
        self.conn.busy_timeout(schema::BUSY_TIMEOUT)?;
        match truncated {
            Err(error) if error.fault != Fault::Busy => Err(error),
            _ => Ok(()),
        }
    }
}

/// Whether a write-ahead log of so many frames, so many of which have been written back, is long.
fn is_due((frames, written): (i32, i32)) -> bool {
    frames >= CHECKPOINT_FRAMES && written < frames
}
