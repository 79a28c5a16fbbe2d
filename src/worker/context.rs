//! What the futures of one worker share: the engine, the clock, and how to get a lost connection back.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::clock::Clock;
use crate::engine::{Engine, EngineError, Fault, Found, Query, Seen, Sharing, Verify};
use crate::error::{Error, ErrorKind, Outcome};
use crate::limits;
use crate::record::Record;

/// One worker's engine and what it knows about it.
pub(crate) struct Context {
    pub(crate) engine: Box<dyn Engine>,
    pub(crate) clock: Clock,
    /// The life of the job that this worker has opened.
    pub(crate) generation: [u8; 16],
    /// 16 random bytes of this opening.
    pub(crate) writer: [u8; 16],
    /// The newest record seen.
    pub(crate) record: RefCell<Arc<Record>>,
    /// Bytes of scan results under way.
    pub(crate) scan_room: Semaphore,
    /// Small gets under way.
    pub(crate) small_gets: Semaphore,
    /// One large get at a time.
    pub(crate) large_get: Semaphore,
    groups: Cell<u64>,
    /// How often the connection has been renewed.
    connection: Cell<u64>,
    /// The connection hangs, or it is not known whose store it leads to: renew it before it is used.
    unusable: Cell<bool>,
    renewing: tokio::sync::Mutex<()>,
    /// A sync has failed, see [`Context::poison`].
    poisoned: Cell<bool>,
    /// See [`Context::is_log_unsynced`].
    log_unsynced: Cell<bool>,
}

/// Why an operation of the engine did not succeed, as far as its caller must tell them apart.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The job's generation is not there any more: the job is over.
    Gone,
    Engine(EngineError),
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        match error.fault {
            Fault::Missing => Failure::Gone,
            _ => Failure::Engine(error),
        }
    }
}

/// The error that ends a job whose generation has gone.
pub(crate) fn gone() -> Error {
    Error::new(ErrorKind::JobNotFound, "the job has been dropped or its database deleted")
}

/// The error of calls that come after the worker has stopped in a way that nobody foresaw.
pub(crate) fn stopped() -> Error {
    Error::new(ErrorKind::Backend, "the job's worker stopped: open the job anew")
}

impl Context {
    pub(crate) fn new(engine: Box<dyn Engine>, clock: Clock, writer: [u8; 16], record: Record) -> Self {
        Context {
            engine,
            clock,
            generation: record.generation,
            writer,
            record: RefCell::new(Arc::new(record)),
            scan_room: Semaphore::new(limits::SCANS_UNDER_WAY_BYTES_MAX),
            small_gets: Semaphore::new(limits::SMALL_GETS_UNDER_WAY_MAX),
            large_get: Semaphore::new(1),
            groups: Cell::new(0),
            connection: Cell::new(0),
            unusable: Cell::new(false),
            renewing: tokio::sync::Mutex::new(()),
            poisoned: Cell::new(false),
            log_unsynced: Cell::new(false),
        }
    }

    /// The number of this writer's next group.
    pub(crate) fn next_group(&self) -> u64 {
        self.groups.set(self.groups.get() + 1);
        self.groups.get()
    }

    /// How a read makes sure that it did not look into a dropped job.
    pub(crate) fn verify(&self) -> Verify {
        match self.engine.sharing() {
            Sharing::Exclusive => Verify::Never,
            Sharing::Shared => Verify::WhenEmpty,
            Sharing::ReadOnly => Verify::Always,
        }
    }

    /// Whether others can commit to the job too.
    pub(crate) fn is_shared(&self) -> bool {
        self.engine.sharing() != Sharing::Exclusive
    }

    /// Asks the engine; after a lost connection, once more on a new one. What it found, unless its view
    /// was of a dropped job, and the record of that view if `verify` wanted it.
    pub(crate) async fn ask(
        &self,
        query: Query,
        verify: Verify,
    ) -> Result<(Found, Option<Arc<Record>>), Failure> {
        let connection = self.ensure_connection().await?;
        let mut seen = self.engine.read(query.clone(), verify).await;
        if is_lost(&seen) {
            self.renew(connection).await?;
            seen = self.engine.read(query, verify).await;
        }
        let Seen { found, record } = seen?;
        Ok((found, record.map(|record| self.take_record(record)).transpose()?))
    }

    /// Reads the job's record anew.
    pub(crate) async fn read_record(&self) -> Result<Arc<Record>, Failure> {
        let (found, _) = self.ask(Query::record(), Verify::Never).await?;
        self.take_record(found.into_record())
    }

    /// Gives unused room back; after a lost connection, once more on a new one.
    pub(crate) async fn compact(&self) -> Result<(), Failure> {
        let connection = self.ensure_connection().await?;
        let mut done = self.engine.compact().await;
        if is_lost(&done) {
            self.renew(connection).await?;
            done = self.engine.compact().await;
        }
        Ok(done?)
    }

    /// The number of the connection in use, renewed first if it is known to hang.
    pub(crate) async fn ensure_connection(&self) -> Result<u64, Failure> {
        if self.unusable.get() {
            self.renew(self.connection.get()).await?;
        }
        Ok(self.connection.get())
    }

    /// Connects again, unless that has been done since connection number `lost`; never creates, and
    /// the generation must still be ours.
    pub(crate) async fn renew(&self, lost: u64) -> Result<(), Failure> {
        let _one = self.renewing.lock().await;
        if self.connection.get() != lost {
            return Ok(());
        }
        self.unusable.set(true);
        self.engine.reconnect().await?;
        let seen = self.engine.read(Query::record(), Verify::Never).await?;
        self.take_record(seen.found.into_record())?;
        self.connection.set(lost + 1);
        self.unusable.set(false);
        Ok(())
    }

    /// Takes note that a transaction neither ended nor could be aborted.
    pub(crate) fn connection_hangs(&self) {
        self.unusable.set(true);
    }

    /// Takes note that the medium failed to sync: what it says about durability is not believed.
    pub(crate) fn poison(&self) {
        self.poisoned.set(true);
    }

    /// Whether the medium failed to sync.
    pub(crate) fn is_poisoned(&self) -> bool {
        self.poisoned.get()
    }

    /// Takes the record that a commit of our own has written.
    pub(crate) fn committed(&self, after: Arc<Record>, durable: bool) {
        let before = self.record.replace(after);
        let (before, after) = (&before.log, &self.record.borrow().log);
        let changed = (before.retention, &before.holders) != (after.retention, &after.holders);
        self.log_unsynced.set(!durable && (changed || self.log_unsynced.get()));
    }

    /// Whether we have changed what the log keeps and not put that on the medium yet: such a change
    /// takes no seq, so the durable marker does not tell.
    pub(crate) fn is_log_unsynced(&self) -> bool {
        self.log_unsynced.get()
    }

    /// Runs `operation` until `deadline`; `Timeout` if it takes longer.
    pub(crate) async fn until<T>(
        &self,
        deadline: Option<u64>,
        operation: impl Future<Output = T>,
    ) -> Result<T, Error> {
        self.clock.until(deadline, operation).await.ok_or_else(timed_out)
    }

    fn take_record(&self, bytes: Option<Vec<u8>>) -> Result<Arc<Record>, Failure> {
        let Some(bytes) = bytes else { return Err(Failure::Gone) };
        let mut record = Record::decode(&bytes)?;
        if record.dropped || record.generation != self.generation {
            return Err(Failure::Gone);
        }
        // A view that was asked for before the last commit may come after it.
        let mut newest = self.record.borrow_mut();
        if self.is_poisoned() {
            // The marker of the sync that failed can be read, and means nothing.
            record.durable_seq = record.durable_seq.min(newest.durable_seq);
        }
        let record = Arc::new(record);
        if (record.committed_seq, record.durable_seq) >= (newest.committed_seq, newest.durable_seq) {
            *newest = Arc::clone(&record);
        }
        Ok(record)
    }
}

fn is_lost<T>(result: &Result<T, EngineError>) -> bool {
    matches!(result, Err(error) if error.fault == Fault::Lost)
}

/// The error of a call whose deadline passed before anything of it was applied.
pub(crate) fn timed_out() -> Error {
    Error::new(ErrorKind::Timeout, "the job's deadline passed").with_outcome(Outcome::NotApplied)
}
