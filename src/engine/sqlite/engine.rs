//! The engine of one job: a connection that writes, or reads beside an owner, and a thread for long reads.
//!
//! Never decides what is written, and never retries.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::Connection;

use super::direct::DirectReads;
use super::fault::{self, Result};
use super::files::{self, Files, OpenFile, Stored};
use super::overlay::{Overlay, Shared, Version};
use super::read::{self, View};
use super::reader::{ReadThread, Reader};
use super::writing::Writing;
use crate::engine::{Change, Direct, Engine, EngineError, Fault, Found, Query, Seen, Sharing, Verify};

/// One open job.
pub(crate) struct SqliteEngine {
    files: Files,
    sharing: Sharing,
    pub(super) main: RefCell<Option<Main>>,
    /// Started by the first long read.
    read_thread: RefCell<Option<ReadThread>>,
    /// Closed with the engine, whoever still has it.
    direct: Arc<DirectReads>,
    /// What the journal says of rows, for every thread that reads.
    overlay: Arc<Shared>,
    /// Whether a sync has failed: what the medium holds cannot be trusted until the job is opened again.
    sync_failed: Rc<Cell<bool>>,
    /// None while the job rests. Last, for the connections are closed before it.
    open: RefCell<Option<OpenFile>>,
}

/// The connection on the worker's thread.
pub(super) enum Main {
    Writer(Writing),
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
        let (overlay, direct) = (Arc::clone(&self.overlay), Arc::clone(&self.direct));
        let writing = Writing::open(&self.files.db, overlay, direct, Rc::clone(&self.sync_failed))?;
        self.main.replace(Some(Main::Writer(writing)));
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
        let overlay = Arc::<Shared>::default();
        SqliteEngine {
            direct: Arc::new(DirectReads::new(files.clone(), Arc::clone(&overlay))),
            overlay,
            files,
            sharing,
            main: RefCell::new(None),
            read_thread: RefCell::new(None),
            sync_failed: Rc::default(),
            open: RefCell::new(None),
        }
    }

    #[cfg(test)]
    pub(super) fn shared_overlay(&self) -> Arc<Shared> {
        Arc::clone(&self.overlay)
    }

    /// Runs something on the writing connection.
    pub(super) fn with_writer<T>(&self, run: impl FnOnce(&Writing) -> Result<T>) -> Result<T> {
        match &*self.main.borrow() {
            Some(Main::Writer(writing)) => {
                run(writing).map_err(|error| fault::refine(error, &self.files.dir))
            }
            Some(Main::Reader(_)) => {
                Err(EngineError::new(Fault::Unsupported, "the job is open for reading only"))
            }
            None => Err(closed()),
        }
    }

    /// Runs a short read on this thread.
    fn read_here<T>(&self, read: impl Fn(&View<'_>) -> Result<T>) -> Result<T> {
        match &mut *self.main.borrow_mut() {
            Some(Main::Writer(writing)) => {
                let seen = writing.view().and_then(|view| read(&view));
                seen.map_err(|error| fault::refine(error, &self.files.dir))
            }
            Some(Main::Reader(reader)) => {
                let seen = reader.read(|conn| {
                    let view = View::beside_stranger(conn, &self.overlay)?;
                    Ok((read(&view)?, view.into_read()))
                });
                seen.map(|(seen, journal)| self.know(seen, journal))
            }
            None => Err(closed()),
        }
    }

    /// Keeps what a view has read of a stranger's journal, once the view has turned out to be one.
    fn know<T>(&self, seen: T, journal: Option<(Overlay, Version)>) -> T {
        if let Some((overlay, version)) = journal {
            self.overlay.replace(overlay, version);
        }
        seen
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
}

#[async_trait(?Send)]
impl Engine for SqliteEngine {
    fn sharing(&self) -> Sharing {
        self.sharing
    }

    async fn read(&self, query: Query, verify: Verify) -> Result<Seen> {
        match query {
            Query::Get(_) => self.read_here(|view| read::answer(view, &query, verify)),
            Query::Size => Ok(Seen::without_record(Found::Size(Some(self.files.bytes()?)))),
            query => {
                if let (Query::Count { .. }, Some(Main::Writer(writing))) = (&query, &*self.main.borrow()) {
                    writing.fold_for_count();
                }
                let (overlay, owned) = (Arc::clone(&self.overlay), self.sharing == Sharing::Exclusive);
                let seen = self.read_there(move |conn| {
                    let view = match owned {
                        true => View::beside_writer(conn, &overlay),
                        false => View::beside_stranger(conn, &overlay),
                    }?;
                    Ok((read::answer(&view, &query, verify)?, view.into_read()))
                });
                let (seen, journal) = seen.await?;
                Ok(self.know(seen, journal))
            }
        }
    }

    async fn apply(&self, change: Change) -> Result<()> {
        self.with_writer(|writing| writing.apply(change))
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
        self.with_writer(Writing::compact)
    }

    async fn rest(&self) -> Result<()> {
        // The checkpoint that closing brings keeps silent about a failed sync, and the next opening would trust
        // what it left. One beside readers would leave it something to do.
        self.direct.close();
        drop(self.read_thread.take());
        if let Some(Main::Writer(writing)) = &*self.main.borrow() {
            writing.lay_to_rest();
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
            Some(Main::Writer(writing)) => writing.close(),
            Some(Main::Reader(mut reader)) => reader.close(),
            None => Ok(()),
        }
    }
}

impl Drop for SqliteEngine {
    fn drop(&mut self) {
        self.direct.close();
        drop(self.read_thread.take());
        self.overlay.forget();
        drop(self.main.take());
    }
}

fn closed() -> EngineError {
    EngineError::new(Fault::Other, "the engine has been closed")
}
