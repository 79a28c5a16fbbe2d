//! The engine of one job: a connection that writes, or reads beside an owner, and a thread for long reads.
//!
//! Never decides what is written, and never retries.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::{Connection, DEFAULT_NAME, FileControl, wal::CheckpointMode};

use super::direct::DirectReads;
use super::fault::{self, Result};
use super::files::{self, Files, OpenFile, Stored};
use super::read::Transaction;
use super::reader::{ReadThread, Reader};
use super::schema::CHECKPOINT_FRAMES;
use super::{read, schema, write};
use crate::engine::{Change, Direct, Engine, EngineError, Fault, Found, Query, Seen, Sharing, Verify};
use crate::error::Outcome;

/// Pages that one step of giving room back moves, so that the write-ahead log stays small.
const VACUUM_PAGES: u32 = 512;

/// One open job.
pub(crate) struct SqliteEngine {
    files: Files,
    sharing: Sharing,
    pub(super) main: RefCell<Option<Main>>,
    /// Started by the first long read.
    read_thread: RefCell<Option<ReadThread>>,
    /// Closed with the engine, whoever still has it.
    direct: Arc<DirectReads>,
    /// Whether a sync has failed: what the medium holds cannot be trusted until the job is opened again.
    sync_failed: Cell<bool>,
    /// Whether commits are put on the medium as the connection is set now.
    syncs_commits: Cell<bool>,
    /// Pages for which the database's file has room.
    reserved_pages: Cell<i64>,
    /// None while the job rests. Last, for the connections are closed before it.
    open: RefCell<Option<OpenFile>>,
}

/// The connection on the worker's thread.
pub(super) enum Main {
    Writer(Connection),
    Reader(Reader),
}

impl SqliteEngine {
    pub(super) fn writing(files: Files, open: OpenFile) -> Result<Self> {
        let engine = Self::new(files, Sharing::Exclusive);
        engine.connect(open)?;
        Ok(engine)
    }

    /// An engine for writing that holds nothing: `reconnect` opens the job.
    pub(super) fn resting(files: Files) -> Self {
        Self::new(files, Sharing::Exclusive)
    }

    fn connect(&self, open: OpenFile) -> Result<()> {
        self.main.replace(Some(Main::Writer(schema::open_writer(&self.files.db)?)));
        self.open.replace(Some(open));
        Ok(())
    }

    pub(super) fn reading(files: Files, open: OpenFile) -> Result<Self> {
        let mut reader = Reader::new(files.clone(), false);
        // The first use opens it, and tells whether that is possible.
        reader.read(|_| Ok(()))?;
        let engine = Self::new(files, Sharing::ReadOnly);
        engine.main.replace(Some(Main::Reader(reader)));
        engine.open.replace(Some(open));
        Ok(engine)
    }

    fn new(files: Files, sharing: Sharing) -> Self {
        SqliteEngine {
            direct: Arc::new(DirectReads::new(files.clone())),
            files,
            sharing,
            main: RefCell::new(None),
            read_thread: RefCell::new(None),
            sync_failed: Cell::new(false),
            syncs_commits: Cell::new(false),
            reserved_pages: Cell::new(0),
            open: RefCell::new(None),
        }
    }

    /// Runs something on the writing connection.
    pub(super) fn with_writer<T>(&self, run: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        match &*self.main.borrow() {
            Some(Main::Writer(conn)) => run(conn).map_err(|error| fault::refine(error, &self.files.dir)),
            Some(Main::Reader(_)) => {
                Err(EngineError::new(Fault::Unsupported, "the job is open for reading only"))
            }
            None => Err(closed()),
        }
    }

    /// Runs a short read on this thread.
    fn read_here<T>(&self, read: impl Fn(&Connection) -> Result<T>) -> Result<T> {
        match &mut *self.main.borrow_mut() {
            Some(Main::Writer(conn)) => read(conn).map_err(|error| fault::refine(error, &self.files.dir)),
            Some(Main::Reader(reader)) => reader.read(|conn| read(conn)),
            None => Err(closed()),
        }
    }

    /// Runs a long read on the thread for those.
    pub(super) async fn read_there<T: Send + 'static>(
        &self,
        read: impl Fn(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let answer = {
            if self.main.borrow().is_none() {
                return Err(closed());
            }
            let mut thread = self.read_thread.borrow_mut();
            let thread = match thread.take() {
                Some(running) => thread.insert(running),
                None => {
                    let owned = self.sharing == Sharing::Exclusive;
                    thread.insert(ReadThread::start(Reader::new(self.files.clone(), owned))?)
                }
            };
            thread.read(read)
        };
        answer.await
    }

    fn apply_on(&self, conn: &Connection, change: Change) -> Result<()> {
        if self.sync_failed.get() {
            return Err(EngineError::new(Fault::SyncFailed, "an earlier sync of this job failed"));
        }
        self.sync_commits(conn, change.durable)?;
        let transaction = Transaction::writing(conn)?;
        let found = read::values(conn, &change.reads)?;
        let Some(writes) = (change.decide)(found) else { return Ok(()) };
        let mut writer = write::Writer::new(conn);
        for one in &writes {
            // What fails before the commit begins is rolled back, and then nobody ever sees it.
            writer.write(one).map_err(|error| error.with_outcome(Outcome::NotApplied))?;
        }
        drop(writer);
        self.reserve(conn)?;
        if let Err(error) = transaction.commit() {
            return Err(fault::of_commit(error, transaction.roll_back()));
        }
        drop(transaction);
        self.checkpoint_if_due(conn);
        Ok(())
    }

    /// Does what a failed `apply` asks for before the next one.
    fn recover(&self, conn: &Connection, error: &EngineError) {
        self.notice_failed_sync(conn, error);
        if error.fault == Fault::StorageFull {
            // The write-ahead log may have room that it can use again once it has been written back,
            // so that deletes find some.
            self.checkpoint(conn);
        }
    }

    /// Takes the room that the transaction's pages will need in the database, before it commits.
    ///
    /// So the write-ahead log can always be written back and used again, and on a full medium deletes
    /// still find room in it.
    fn reserve(&self, conn: &Connection) -> Result<()> {
        let mut statement = conn.prepare_cached("PRAGMA page_count")?;
        let pages: i64 = statement.query_row((), |row| row.get(0))?;
        if pages <= self.reserved_pages.get() {
            return Ok(());
        }
        let mut bytes = pages.saturating_mul(schema::PAGE_BYTES as i64);
        match conn.file_control(DEFAULT_NAME, FileControl::SizeHint(&mut bytes)) {
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
    fn sync_commits(&self, conn: &Connection, durable: bool) -> Result<()> {
        if self.syncs_commits.get() != durable {
            conn.pragma_update(None, "synchronous", if durable { "FULL" } else { "NORMAL" })?;
            self.syncs_commits.set(durable);
        }
        Ok(())
    }

    /// Writes the log back into the database once it is long.
    ///
    /// The commit before it stands whatever comes of this, so a failure is kept for those that follow.
    fn checkpoint_if_due(&self, conn: &Connection) {
        let due = |(frames, written): (i32, i32)| frames >= CHECKPOINT_FRAMES && written < frames;
        let state = conn.wal_checkpoint_v2(DEFAULT_NAME, CheckpointMode::NOOP);
        if state.is_ok_and(due) {
            self.checkpoint(conn);
        }
    }

    fn checkpoint(&self, conn: &Connection) {
        if let Err(error) = conn.wal_checkpoint_v2(DEFAULT_NAME, CheckpointMode::PASSIVE) {
            let error = EngineError::from(error);
            log::warn!("checkpoint: {}", error.message);
            self.notice_failed_sync(conn, &error);
        }
    }

    /// After a failed sync nothing more is written, nor may a checkpoint that seems to succeed throw
    /// the write-ahead log away.
    pub(super) fn notice_failed_sync(&self, conn: &Connection, error: &EngineError) {
        if error.fault == Fault::SyncFailed {
            self.sync_failed.set(true);
            if let Err(error) = schema::never_checkpoint(conn) {
                log::error!("keeping the write-ahead log: {}", error.message);
            }
        }
    }

    /// Moves what is left of the database to its front, step by step, and cuts the file.
    fn vacuum(&self, conn: &Connection) -> Result<()> {
        self.reserved_pages.set(0);
        let free = || conn.pragma_query_value(None, "freelist_count", |row| row.get::<_, u64>(0));
        let mut before = free()?;
        while before > 0 {
            let mut statement = conn.prepare_cached(&format!("PRAGMA incremental_vacuum({VACUUM_PAGES})"))?;
            let mut rows = statement.query(())?;
            while rows.next()?.is_some() {}
            drop(rows);
            self.checkpoint_if_due(conn);
            let after = free()?;
            if after >= before {
                break;
            }
            before = after;
        }
        Ok(())
    }
}

#[async_trait(?Send)]
impl Engine for SqliteEngine {
    fn sharing(&self) -> Sharing {
        self.sharing
    }

    async fn read(&self, query: Query, verify: Verify) -> Result<Seen> {
        match query {
            Query::Get(get) => self.read_here(|conn| read::get(conn, &get, verify)),
            Query::Size => Ok(Seen::without_record(Found::Size(Some(self.files.bytes()?)))),
            query => self.read_there(move |conn| read::answer(conn, &query, verify)).await,
        }
    }

    async fn apply(&self, change: Change) -> Result<()> {
        self.with_writer(|conn| self.apply_on(conn, change).inspect_err(|error| self.recover(conn, error)))
    }

    fn direct(&self) -> Option<Arc<dyn Direct>> {
        // Beside a foreign owner every read has to look whether there still is one.
        let writes = matches!(&*self.main.borrow(), Some(Main::Writer(_)));
        writes.then(|| Arc::clone(&self.direct) as _)
    }

    fn was_read_directly(&self) -> bool {
        self.direct.was_used()
    }

    fn rests(&self) -> bool {
        // That a sync has failed must not be forgotten before somebody opens the job again.
        self.sharing == Sharing::Exclusive && !self.sync_failed.get()
    }

    async fn reconnect(&self) -> Result<()> {
        if self.main.borrow().is_some() {
            return Ok(());
        }
        let (open, stored) = OpenFile::register(&self.files.db)?;
        match stored {
            Stored::Ours => self.connect(open).map_err(|error| fault::refine(error, &self.files.dir)),
            Stored::Nothing => Err(files::missing()),
            Stored::Unnamed => Err(files::not_ours()),
        }
    }

    async fn compact(&self) -> Result<()> {
        self.with_writer(|conn| {
            if self.sync_failed.get() {
                return Err(EngineError::new(Fault::SyncFailed, "an earlier sync of this job failed"));
            }
            let compacted = self.vacuum(conn).and_then(|()| truncate_wal(conn));
            compacted.inspect_err(|error| self.notice_failed_sync(conn, error))
        })
    }

    async fn rest(&self) -> Result<()> {
        // The checkpoint that closing brings keeps silent about a failed sync, and the next opening would trust
        // what it left. One beside readers would leave it something to do.
        self.direct.close();
        drop(self.read_thread.take());
        if let Some(Main::Writer(conn)) = &*self.main.borrow() {
            self.checkpoint(conn);
        }
        self.close().await?;
        match self.sync_failed.get() {
            true => Err(EngineError::new(Fault::SyncFailed, "a sync failed as the job was laid to rest")),
            false => Ok(()),
        }
    }

    async fn close(&self) -> Result<()> {
        // The last connection to close takes the write-ahead log in, so the writing one comes last.
        self.direct.close();
        drop(self.read_thread.take());
        match self.main.take() {
            Some(Main::Writer(conn)) => schema::close(conn),
            Some(Main::Reader(mut reader)) => reader.close(),
            None => Ok(()),
        }
    }
}

impl Drop for SqliteEngine {
    fn drop(&mut self) {
        self.direct.close();
        drop(self.read_thread.take());
        drop(self.main.take());
    }
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

fn closed() -> EngineError {
    EngineError::new(Fault::Other, "the engine has been closed")
}
