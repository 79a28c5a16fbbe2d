//! Engines: what the worker needs of a storage technology, a handful of primitives without opinions.
//!
//! An engine never validates, queues, retries or logs user data, and knows nothing of batches'
//! order, seqs or receipts: it reads views, and applies one decision in one transaction. Everything
//! that has a meaning is decided by neutral code above it, so both platforms share it.
//!
//! [`Site`] and [`Engine`] are used as trait objects, and their calls give boxed futures: the worker is
//! by far the larger half, and as a generic it would be in every program once for each technology,
//! which a browser has to load. A call's future costs one allocation, a transaction costs thousands.

#[cfg(test)]
pub(crate) mod faulty;
#[cfg(test)]
pub(crate) mod laws;
#[cfg(any(test, feature = "in_memory", not(feature = "web")))]
pub(crate) mod memory;
pub(crate) mod row_key;
mod rows;
pub(crate) mod table;

// The platform's own storage is chosen here, and with it how long a call may take by default, whether any engine
// there has direct reads or rests, and whether groups are worth waiting for: where not, a program goes without what they take.
#[cfg(not(all(target_family = "wasm", target_os = "unknown")))]
mod sqlite;
#[cfg(test)]
#[cfg(not(all(target_family = "wasm", target_os = "unknown")))]
pub(crate) use sqlite::mortal::{Boundaries, MortalSite};
#[cfg(not(all(target_family = "wasm", target_os = "unknown")))]
pub(crate) use sqlite::{DEADLINE_DEFAULT, GATHERS, READS_DIRECTLY, RESTS, SqliteSite as PlatformSite};

#[cfg(all(target_family = "wasm", target_os = "unknown"))]
mod indexed_db;
#[cfg(all(target_family = "wasm", target_os = "unknown"))]
pub(crate) use indexed_db::{
    DEADLINE_DEFAULT, GATHERS, IndexedDbSite as PlatformSite, READS_DIRECTLY, RESTS,
};

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use async_trait::async_trait;

pub(crate) use self::rows::Rows;
use crate::batch::Op;
use crate::error::{Error, ErrorKind, Outcome};
use crate::range::Span;
use crate::text::text;

/// A place that holds jobs: a directory, a name prefix of databases, or memory.
#[async_trait(?Send)]
pub(crate) trait Site: Send + Sync {
    /// Whether nobody but its root can reach the place; then `claim` has nothing to do.
    fn is_private(&self) -> bool {
        false
    }

    /// Takes sole ownership where the technology needs it; `Busy` if somebody else has it.
    ///
    /// Creates the place if it is not there. Waits for an owner of this process that is draining.
    async fn claim(&self) -> Result<Arc<dyn Claim>, EngineError>;

    /// Opens the job's store; `Missing` if it is not there and `mode` does not create.
    ///
    /// A new store gets `first_record` as its record in the transaction that makes it. Older
    /// formats are migrated here.
    async fn open(
        &self,
        id: &str,
        mode: OpenMode,
        first_record: Vec<u8>,
    ) -> Result<Box<dyn Engine>, EngineError>;

    /// The ids of the jobs that exist, in no order.
    async fn list(&self) -> Result<Vec<String>, EngineError>;

    /// An engine of a job that has been open and rests: it holds nothing, and its `reconnect` opens it.
    ///
    /// Only of engines that rest.
    fn resting(&self, id: &str, _mode: OpenMode) -> Result<Box<dyn Engine>, EngineError> {
        Err(EngineError::new(Fault::Unsupported, text!("the engine of ", id, " never rests")))
    }

    /// Deletes all that belongs to a job that is not open here; fine if there is nothing.
    ///
    /// Returns when it is deleted; where others can block that, it may wait for them forever.
    async fn destroy(&self, id: &str) -> Result<(), EngineError>;
}

/// Sole ownership of a site, released when it is dropped.
pub(crate) trait Claim: Send + Sync {
    /// Says that the owner only drains: a later claim of this process waits instead of failing.
    fn drain(&self) {}
}

impl Claim for () {}

/// How a job is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OpenMode {
    /// Opens the job, or creates it if it does not exist.
    #[default]
    Create,
    /// Opens the job; `JobNotFound` if it does not exist.
    MustExist,
    /// Opens the job for reading only, beside a running owner; `JobNotFound` if it does not exist.
    ReadOnly,
}

/// One open job in one technology. Calls may overlap: reads with each other and with an `apply`.
#[async_trait(?Send)]
pub(crate) trait Engine {
    /// Who else can change or drop the job while it is open here.
    fn sharing(&self) -> Sharing;

    /// Answers a query from one view, and with the job's record of that view where `verify` wants it.
    ///
    /// One call for all queries, and what they find in one type: whatever lies between a caller and the
    /// technology is then in a program once.
    async fn read(&self, query: Query, verify: Verify) -> Result<Seen, EngineError>;

    /// Reads, decides and writes in one transaction.
    ///
    /// Reads `change.reads`, calls `change.decide` once with what it found, and writes what that
    /// returns, in order; `None` writes nothing and is a success. With `durable` the commit is put on
    /// the medium before this returns. On an error the outcome says whether it may have been applied.
    async fn apply(&self, change: Change) -> Result<(), EngineError>;

    /// Aborts the `apply` under way if the technology can; its future then says how it ended.
    fn abort(&self) {}

    /// Whether closing the job while it has no work gives something back that opening it again is worth.
    fn rests(&self) -> bool {
        false
    }

    /// Whether somebody else has the job open too, as far as the technology can tell.
    fn has_others(&self) -> bool {
        false
    }

    /// Connects again after `Lost`, without ever creating: `Missing` if the store has gone.
    async fn reconnect(&self) -> Result<(), EngineError> {
        Ok(())
    }

    /// Resolves when another owner said that it has committed; never where there can be none.
    async fn changed(&self) {
        std::future::pending().await
    }

    /// Tells the other owners that `seq` of `generation` is committed.
    fn announce(&self, _generation: [u8; 16], _seq: u64) {}

    /// Gives unused room back to the platform, as far as it can without blocking others.
    async fn compact(&self) -> Result<(), EngineError>;

    /// A way to read single rows on any thread, where the technology has one and nobody else can drop
    /// the job; none before it is connected. It may outlive the engine, and then answers nothing.
    fn direct(&self) -> Option<Arc<dyn Direct>> {
        None
    }

    /// Whether rows have been read directly since this was last asked.
    fn was_read_directly(&self) -> bool {
        false
    }

    /// As [`Engine::close`], for a job that goes on: where what is not yet on the medium could be lost by that
    /// without a word, it says so.
    async fn rest(&self) -> Result<(), EngineError> {
        self.close().await
    }

    /// Releases everything. No other call is under way or follows.
    async fn close(&self) -> Result<(), EngineError>;
}

/// Reads beside an engine, on their callers' threads.
///
/// Each sees every `apply` that had returned when it began.
pub(crate) trait Direct: Send + Sync {
    /// The row's payload, empty where only its presence is wanted; `None` if there is no such row. Takes no longer
    /// than one row does.
    fn row(&self, wanted: &Wanted<'_>) -> Result<Option<Vec<u8>>, NotDirectly>;

    /// A page of the log, and the job's record in the same view; for threads of which nobody waits for a row.
    #[cfg(feature = "archive")]
    fn log_page(&self, _request: &PageRequest) -> Result<(Page, Vec<u8>), NotDirectly> {
        Err(NotDirectly)
    }
}

/// The row that a direct read wants.
#[derive(Clone, Copy, Debug)]
#[allow(dead_code, reason = "not every platform has direct reads")]
pub(crate) struct Wanted<'a> {
    pub(crate) category: &'a str,
    pub(crate) key: &'a [u8],
    pub(crate) presence_only: bool,
}

/// There is no direct answer, whatever the reason: it has to be asked for in the ordinary way, which
/// then says why if it fails too.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotDirectly;

/// Who else can change or drop an open job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "no platform has all three")]
pub(crate) enum Sharing {
    /// Nobody.
    Exclusive,
    /// Others can write; whoever drops it empties it in the same transaction.
    Shared,
    /// We only read, and others can write or drop it at any time.
    ReadOnly,
}

/// When a read also returns the job's record, of the same view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verify {
    /// Not at all.
    Never,
    /// When the read found nothing, which may mean that the job has been emptied.
    WhenEmpty,
    /// Always.
    Always,
}

/// What a read saw.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) found: Found,
    /// The record's bytes, if [`Verify`] wanted them; `None` inside if there is no record.
    pub(crate) record: Option<Option<Vec<u8>>>,
}

/// What a read wants to know.
#[derive(Clone, Debug)]
pub(crate) enum Query {
    /// The payloads of some rows: [`Found::Got`].
    Get(Get),
    /// Rows in key order, as many as the request's bounds allow: [`Found::Page`].
    Page(PageRequest),
    /// How many rows a span holds: [`Found::Count`].
    Count { category: Arc<str>, span: Span },
    /// The categories that hold rows, in byte order; an error of fault `TooLarge` if their names are
    /// together larger than `bytes_max`: [`Found::Categories`].
    Categories { bytes_max: usize },
    /// Damage in the technology's own structures, one sentence for each: [`Found::Damage`]. The one
    /// query that may need several views, and never tells the record.
    Damage,
    /// Bytes that the job occupies, if the technology can tell: [`Found::Size`].
    Size,
}

/// What a query found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Got(Got),
    Page(Page),
    Count(u64),
    Categories(Vec<String>),
    Damage(Vec<String>),
    Size(Option<u64>),
}

impl Query {
    /// The job's record.
    pub(crate) fn record() -> Self {
        Query::Get(Get { points: vec![Point::record()], presence_only: false, bytes_max: usize::MAX })
    }
}

impl Found {
    /// Whether it is nothing, which may mean that the job has been emptied.
    #[allow(dead_code, reason = "not every build has roots in memory")]
    pub(crate) fn is_nothing(&self) -> bool {
        match self {
            Found::Got(Got::Payloads(payloads)) => payloads.iter().all(Option::is_none),
            Found::Page(page) => page.rows.is_empty(),
            Found::Count(rows) => *rows == 0,
            Found::Categories(names) => names.is_empty(),
            Found::Got(Got::TooLarge(_)) | Found::Damage(_) | Found::Size(_) => false,
        }
    }

    /// What [`Query::record`] found.
    pub(crate) fn into_record(self) -> Option<Vec<u8>> {
        match self {
            Found::Got(Got::Payloads(payloads)) => payloads.into_iter().next().flatten(),
            _ => None,
        }
    }
}

impl Seen {
    /// What was found without a look at the record.
    pub(crate) fn without_record(found: Found) -> Self {
        Seen { found, record: None }
    }
}

impl Verify {
    /// Whether a read that found this also returns the record.
    #[allow(dead_code, reason = "not every build has roots in memory")]
    pub(crate) fn wants(self, found: &Found) -> bool {
        match self {
            Verify::Never => false,
            Verify::WhenEmpty => found.is_nothing(),
            Verify::Always => true,
        }
    }
}

/// Where a key lives: the rows of a category, or one of the job's own two spaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Space {
    /// The rows of a category.
    Rows(Arc<str>),
    /// The commit log. Its keys are numbers below 2^63 in [`LOG_KEY_BYTES`], of which bounds of spans may leave
    /// the last ones away; values are at most [`LOG_PART_BYTES_MAX`](crate::limits::LOG_PART_BYTES_MAX) and a
    /// small header.
    Log,
    /// The job's record under [`RECORD_KEY`], and the engine's own notes under other keys.
    Meta,
}

/// Bytes of a key in [`Space::Log`].
pub(crate) const LOG_KEY_BYTES: usize = 8;

/// The key of the job's record in [`Space::Meta`].
pub(crate) const RECORD_KEY: &[u8] = b"record";

/// A key in a space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Point {
    pub(crate) space: Space,
    pub(crate) key: Vec<u8>,
}

impl Point {
    pub(crate) fn record() -> Self {
        Point { space: Space::Meta, key: RECORD_KEY.to_vec() }
    }
}

/// A point that a change reads, and how much of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) point: Point,
    pub(crate) want: Want,
}

/// How much of a payload a decision has to see; the larger wish comes later in the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Want {
    /// Only whether it is there: any bytes will do.
    Presence,
    /// The payload, if it is at most so long; of a longer one any bytes that are more than that.
    Payload(usize),
}

/// A read of points.
///
/// Where `presence_only`, a row that is there may answer with an empty payload. If the payloads found
/// are together larger than `bytes_max` nothing but their size is returned.
#[derive(Clone, Debug)]
pub(crate) struct Get {
    pub(crate) points: Vec<Point>,
    pub(crate) presence_only: bool,
    pub(crate) bytes_max: usize,
}

/// What a read of points found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Got {
    /// The payload of each point, in the order asked for; `None` where there is no row.
    Payloads(Vec<Option<Vec<u8>>>),
    /// The payloads' bytes, more than `bytes_max`.
    TooLarge(usize),
}

/// A read of rows in key order.
#[derive(Clone, Debug)]
pub(crate) struct PageRequest {
    pub(crate) space: Space,
    pub(crate) span: Span,
    /// From the span's end downwards.
    pub(crate) reverse: bool,
    /// At most so many rows; at least one.
    pub(crate) rows_max: usize,
    /// Ends before the row that would make keys and payloads larger than this, unless it is the first.
    pub(crate) bytes_max: usize,
    /// Payloads stay behind; rows have empty ones.
    pub(crate) keys_only: bool,
}

/// Rows in the order asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) rows: Rows,
    /// Whether a bound ended the page before the span did; then there is a further row.
    pub(crate) more: bool,
}

/// Turns what a change read into what it writes, `None` for nothing.
pub(crate) type Decide = Box<dyn FnOnce(Vec<Option<Vec<u8>>>) -> Option<Vec<Write>>>;

/// One transaction's reads, decision and durability.
pub(crate) struct Change {
    /// Read first, in one view with the writes; presented to `decide` in this order.
    pub(crate) reads: Vec<Look>,
    /// Pure and synchronous; called exactly once unless the reads fail.
    pub(crate) decide: Decide,
    pub(crate) durable: bool,
}

/// A key in [`Space::Log`] and its value.
pub(crate) type LogValue = (Vec<u8>, Vec<u8>);

/// One write of a decision.
#[derive(Clone, Debug)]
pub(crate) enum Write {
    /// A batch's operations on rows, in order.
    Rows(Arc<[Op]>),
    /// A value of the job's own spaces (never of rows).
    Put(Point, Vec<u8>),
    /// Values of the log in which all of this decision's operations on rows are, and nothing else, as
    /// `commit_log` lays them down; at most once. Their keys ascend, and are above all that the log has had.
    Log(Vec<LogValue>),
    /// Removes a span of one of the job's own spaces (never of rows).
    DeleteSpan(Space, Span),
    /// Removes every row and the whole log; the record stays.
    Empty,
}

/// What went wrong in an engine, in terms that neutral code can act upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Somebody else owns the place or the store.
    Busy,
    /// The medium or the quota is full.
    StorageFull,
    /// What is stored cannot be read as what it should be.
    Corrupt,
    /// The store is of a newer format.
    TooNew,
    /// The answer would be larger than the bound.
    TooLarge,
    /// The platform cannot do this here.
    Unsupported,
    /// The store is not there.
    Missing,
    /// The connection has been lost; `reconnect` may help.
    Lost,
    /// The transaction was aborted on our own request.
    Aborted,
    /// The medium refused to make a commit durable: what was written before cannot be trusted either.
    SyncFailed,
    /// Anything else.
    Other,
}

/// An engine's failure: what to do about it, whether anything may have been applied, and why.
///
/// One pointer wide, since nearly every result carries one.
#[derive(Clone)]
pub(crate) struct EngineError(Box<Failed>);

/// What an [`EngineError`] says.
#[derive(Clone)]
pub(crate) struct Failed {
    pub(crate) fault: Fault,
    pub(crate) outcome: Outcome,
    pub(crate) message: String,
    pub(crate) source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl EngineError {
    /// A failure that changed nothing.
    pub(crate) fn new(fault: Fault, message: impl Into<String>) -> Self {
        EngineError(Box::new(Failed {
            fault,
            outcome: Outcome::NotApplied,
            message: message.into(),
            source: None,
        }))
    }

    pub(crate) fn with_outcome(mut self, outcome: Outcome) -> Self {
        self.outcome = outcome;
        self
    }

    pub(crate) fn with_source(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }
}

impl Deref for EngineError {
    type Target = Failed;

    fn deref(&self) -> &Failed {
        &self.0
    }
}

impl DerefMut for EngineError {
    fn deref_mut(&mut self) -> &mut Failed {
        &mut self.0
    }
}

impl From<EngineError> for Error {
    fn from(error: EngineError) -> Self {
        let kind = match error.fault {
            Fault::Busy => ErrorKind::Busy,
            Fault::StorageFull => ErrorKind::StorageFull,
            Fault::Corrupt => ErrorKind::Corrupt,
            Fault::TooNew => ErrorKind::VersionTooNew,
            Fault::TooLarge => ErrorKind::TooLarge,
            Fault::Unsupported => ErrorKind::Unsupported,
            Fault::Missing => ErrorKind::JobNotFound,
            Fault::Aborted => ErrorKind::Timeout,
            Fault::Lost | Fault::SyncFailed | Fault::Other => ErrorKind::Backend,
        };
        let Failed { outcome, message, source, .. } = *error.0;
        let public = Error::new(kind, message).with_outcome(outcome);
        match source {
            Some(source) => public.with_source(source),
            None => public,
        }
    }
}

impl fmt::Debug for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} ({:?}): {}", self.fault, self.outcome, self.message)
    }
}
