//! Jobs: the handle through which everything inside a tenant is written, read and watched.
//!
//! A handle validates, sends to the job's worker, and awaits. It never touches an engine; a single row it
//! may read on its caller's thread, in the way that the link offers.

use std::fmt;
use std::ops::RangeBounds;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::batch::{Batch, CheckedBatch, check_category, check_row};
use crate::check;
use crate::engine::{Found, Get, Got, NotDirectly, Point, Query, Space, Wanted};
use crate::error::{Error, ErrorKind, Quoted, Result};
use crate::job_info::{JobInfo, JobStats, SeqWatch};
use crate::key::Key;
use crate::limits;
use crate::options::{JobOptions, OpenMode};
use crate::payload::ToPayload;
use crate::persistency::RootCore;
use crate::range::{Span, prefix_range};
use crate::receipt::Receipt;
#[cfg(feature = "archive")]
use crate::record::Record;
use crate::scan::Scan;
use crate::text::text;
use crate::watch::{Beginning, Commits, LogReader, Position, Watch};
use crate::worker::{
    Answer, Command, Conflicts, Details, Link, LogChange, Read, Reading, Slot, Task, misanswered,
};

/// An open job: one tenant's ordered map of rows, each a (category, key) with a payload.
///
/// Cheap to clone, and usable from any thread or task; the handles of a job keep its root open.
///
/// # Ordering
///
/// Writes are applied in the order of their acceptance. A read sees every batch that was accepted on
/// this root before the read was asked for, possibly later ones too, each whole.
///
/// # Errors
///
/// Every method can answer `Closed` (the job or root has been closed), `JobNotFound` (the job has been
/// dropped), `Timeout` (if the job has a deadline), `Corrupt` and `Backend`. Category, key and payload
/// beyond [`limits()`](crate::limits()) are `TooLarge`, found before anything is queued. Methods name
/// what they add to that.
///
/// # Cancellation
///
/// Dropping a future before it is done withdraws what has not been accepted, and nothing else.
#[derive(Clone)]
pub struct Job {
    handle: Arc<JobHandle>,
}

/// A task, and what it takes of the queue.
pub(crate) struct Weighed {
    pub(crate) task: Task,
    operations: usize,
    bytes: usize,
}

/// What the clones of a job's handle share.
pub(crate) struct JobHandle {
    pub(crate) link: Arc<Link>,
    pub(crate) options: JobOptions,
    /// While it is being filled it is no job for others.
    pub(crate) filling: AtomicBool,
    /// Keeps the root open.
    #[cfg_attr(not(feature = "layers"), allow(dead_code, reason = "keeps it open, and no more"))]
    pub(crate) root: Arc<RootCore>,
}

impl Drop for JobHandle {
    fn drop(&mut self) {
        self.link.finish(Command::Close);
    }
}

impl JobHandle {
    pub(crate) fn is_filling(&self) -> bool {
        self.filling.load(Ordering::Acquire)
    }
}

impl Job {
    pub(crate) fn new(handle: Arc<JobHandle>) -> Self {
        Job { handle }
    }

    /// The job's id.
    pub fn id(&self) -> &str {
        &self.link().id
    }

    /// Another open job of the same root.
    #[cfg(feature = "layers")]
    pub(crate) fn beside(&self, id: &str) -> Result<Job> {
        self.handle.root.job(id)
    }

    /// The options with which it is open.
    pub fn options(&self) -> &JobOptions {
        &self.handle.options
    }

    /// Whether calls on this handle are still taken.
    pub fn is_open(&self) -> bool {
        self.link().is_open()
    }

    // ---- writing ------------------------------------------------------------------------------

    /// Queues a batch; resolves when it is accepted, which waits while the queue is full.
    ///
    /// # Durability
    ///
    /// An accepted batch can be lost with the process. Wait on the [`Receipt`], or
    /// [`flush`](Job::flush), for more.
    ///
    /// # Errors
    ///
    /// `TooLarge`; `Unsupported` if the job is open for reading only.
    pub async fn persist(&self, batch: impl Into<Batch>) -> Result<Receipt> {
        self.persist_as(batch.into(), Conflicts::Errors).await
    }

    /// The same for layers that decide a batch anew if its preconditions do not hold, and whose caller may give
    /// up meanwhile: such a conflict is no flush's or close's to tell.
    pub(crate) async fn persist_as(&self, batch: Batch, conflicts: Conflicts) -> Result<Receipt> {
        let slot = self.queue(self.batch_task(batch, false, "persist")?, "persist", conflicts).await?;
        Ok(Receipt::new(slot, Arc::clone(self.link())))
    }

    /// Queues a batch if there is room for it now; `Overloaded` if there is not.
    pub fn try_persist(&self, batch: impl Into<Batch>) -> Result<Receipt> {
        let Weighed { task, operations, bytes } = self.batch_task(batch.into(), false, "try_persist")?;
        let slot = self.link().try_accept(task, operations, bytes);
        let slot = slot.map_err(|error| self.explain(error, None, "try_persist"))?;
        Ok(Receipt::new(slot, Arc::clone(self.link())))
    }

    /// Queues: insert the row or replace its payload. See [`persist`](Job::persist).
    pub async fn persist_put(
        &self,
        category: &str,
        key: impl Into<Key>,
        payload: impl Into<Vec<u8>>,
    ) -> Result<Receipt> {
        self.persist(Batch::new().put(category, key.into(), payload)).await
    }

    /// Queues: remove the row if it is there. See [`persist`](Job::persist).
    pub async fn persist_delete(&self, category: &str, key: impl Into<Key>) -> Result<Receipt> {
        self.persist(Batch::new().delete(category, key.into())).await
    }

    /// Queues: remove every row whose key begins with `prefix`. See [`persist`](Job::persist).
    pub async fn persist_delete_prefix(&self, category: &str, prefix: impl Into<Key>) -> Result<Receipt> {
        self.persist(Batch::new().delete_prefix(category, prefix.into())).await
    }

    /// Queues: insert the row or replace its payload by `value`, encoded. See [`persist`](Job::persist).
    pub async fn persist_encoded(
        &self,
        category: &str,
        key: impl Into<Key>,
        value: &(impl ToPayload + ?Sized),
    ) -> Result<Receipt> {
        let payload =
            value.to_payload().map_err(|error| self.explain(error, Some(category), "persist_encoded"))?;
        self.persist_put(category, key, payload).await
    }

    /// Applies a batch; resolves with its seq when it is committed.
    ///
    /// # Errors
    ///
    /// `Conflict` with the index of the precondition that failed; `TooLarge`, `StorageFull`,
    /// `Unsupported` if the job is open for reading only.
    pub async fn persist_acked(&self, batch: impl Into<Batch>) -> Result<u64> {
        Ok(self.apply(batch.into(), false, "persist_acked").await?.0)
    }

    /// Inserts the row or replaces its payload; resolves with its seq when it is committed.
    pub async fn put_acked(
        &self,
        category: &str,
        key: impl Into<Key>,
        payload: impl Into<Vec<u8>>,
    ) -> Result<u64> {
        Ok(self.apply(Batch::new().put(category, key.into(), payload), false, "put_acked").await?.0)
    }

    /// Removes the row; resolves when that is committed, and tells whether the row was there.
    pub async fn delete_acked(&self, category: &str, key: impl Into<Key>) -> Result<bool> {
        Ok(self.apply(Batch::new().delete(category, key.into()), true, "delete_acked").await?.1)
    }

    /// Waits until everything accepted before is durable.
    ///
    /// # Errors
    ///
    /// The first error among what was accepted before and that no receipt has reported, with the
    /// number of others; otherwise that of the sync.
    pub async fn flush(&self) -> Result<()> {
        self.link().flush().await.map_err(|error| self.explain(error, None, "flush"))
    }

    // ---- reading ------------------------------------------------------------------------------

    /// The row's payload, or `None` if there is no such row.
    pub async fn get(&self, category: &str, key: impl Into<Key>) -> Result<Option<Vec<u8>>> {
        let key = key.into();
        if let Ok(found) = self.row_directly(category, &key, false).await {
            return Ok(found);
        }
        Ok(self.points(category, vec![key], false, "get").await?.into_iter().next().flatten())
    }

    /// The payloads of several rows in the order asked for, in one view.
    ///
    /// # Errors
    ///
    /// `TooLarge` if the payloads are together larger than [`Limits::scan_bytes`](crate::Limits::scan_bytes).
    pub async fn get_many(
        &self,
        category: &str,
        keys: impl IntoIterator<Item = Key>,
    ) -> Result<Vec<Option<Vec<u8>>>> {
        self.points(category, keys.into_iter().collect(), false, "get_many").await
    }

    /// Whether the row is there.
    pub async fn exists(&self, category: &str, key: impl Into<Key>) -> Result<bool> {
        let key = key.into();
        if let Ok(found) = self.row_directly(category, &key, true).await {
            return Ok(found.is_some());
        }
        let found = self.points(category, vec![key], true, "exists").await?;
        Ok(found.into_iter().any(|row| row.is_some()))
    }

    /// Whether each of several rows is there, in the order asked for, in one view.
    pub async fn exists_many(
        &self,
        category: &str,
        keys: impl IntoIterator<Item = Key>,
    ) -> Result<Vec<bool>> {
        let found = self.points(category, keys.into_iter().collect(), true, "exists_many").await?;
        Ok(found.into_iter().map(|row| row.is_some()).collect())
    }

    /// How many rows a range of the category holds; an inverted or empty range holds none.
    pub async fn count(&self, category: &str, range: impl RangeBounds<Key>) -> Result<u64> {
        let Some(query) = self.count_query(category, Span::of(&range))? else { return Ok(0) };
        match self.link().ask(query, true).await {
            Ok(Found::Count(rows)) => Ok(rows),
            Ok(_) => Err(misanswered()),
            Err(error) => Err(self.explain(error, Some(category), "count")),
        }
    }

    /// A scan of a range of the category in key order; an inverted or empty range yields no row.
    pub fn scan(&self, category: &str, range: impl RangeBounds<Key>) -> Scan {
        Scan::new(Arc::clone(self.link()), category, Span::of(&range))
    }

    /// A scan of every row whose key begins with `prefix`; an empty one means the whole category.
    pub fn scan_prefix(&self, category: &str, prefix: impl Into<Key>) -> Scan {
        self.scan(category, prefix_range(&prefix.into()))
    }

    /// The categories that hold rows, in the byte order of their names.
    pub async fn categories(&self) -> Result<Vec<String>> {
        let query = Query::Categories { bytes_max: limits::SCAN_BYTES_MAX };
        match self.link().ask(query, true).await.map_err(|error| self.explain(error, None, "categories"))? {
            Found::Categories(names) => Ok(names),
            _ => Err(misanswered()),
        }
    }

    // ---- watermarks, log and watch ------------------------------------------------------------

    /// The last commit as far as this root knows; others may have committed more.
    pub fn committed_seq(&self) -> u64 {
        self.link().committed_seq()
    }

    /// The last durable commit as far as this root knows.
    pub fn durable_seq(&self) -> u64 {
        self.link().durable_seq()
    }

    /// Follows [`committed_seq`](Job::committed_seq).
    pub fn watch_committed_seq(&self) -> SeqWatch {
        SeqWatch::new(Arc::clone(self.link()), |progress| progress.committed_seq)
    }

    /// Follows [`durable_seq`](Job::durable_seq).
    pub fn watch_durable_seq(&self) -> SeqWatch {
        SeqWatch::new(Arc::clone(self.link()), |progress| progress.durable_seq)
    }

    /// Where the job stands: its generation and last commit, read anew.
    pub async fn position(&self) -> Result<Position> {
        let record = self.details("position").await?.record;
        Ok(Position { generation: record.generation, seq: record.committed_seq })
    }

    /// Watches a range from now on: one item for each committed batch that touches it, with its
    /// operations cut to the range.
    ///
    /// A consumer that falls too far behind gets [`WatchItem::Lagged`](crate::WatchItem::Lagged) and
    /// goes on after the gap; with a commit log kept (see [`JobOptions::log`]) it can fall further
    /// behind. In the browser other tabs' operations come from the log too, and are `Lagged` without.
    ///
    /// # Errors
    ///
    /// `TooLarge` if the job has too many watches.
    pub async fn watch(&self, category: &str, range: impl RangeBounds<Key>) -> Result<Watch> {
        self.start_watch(None, category, Span::of(&range)).await
    }

    /// Watches a range from a position: first what was committed since, then as [`watch`](Job::watch).
    ///
    /// # Errors
    ///
    /// `JobNotFound` if the position is of another generation, `InvalidArgument` if the job has not
    /// come so far. A seq that is no longer in the log yields `Lagged`.
    pub async fn watch_from(
        &self,
        position: Position,
        category: &str,
        range: impl RangeBounds<Key>,
    ) -> Result<Watch> {
        self.start_watch(Some(position), category, Span::of(&range)).await
    }

    /// Reads the commit log from a position to its present end.
    ///
    /// # Errors
    ///
    /// As [`watch_from`](Job::watch_from).
    pub async fn log_from(&self, position: Position) -> Result<LogReader> {
        let started = Commits::start(Arc::clone(self.link()), Beginning::of_log(position)).await;
        started.map(LogReader::from).map_err(|error| self.explain(error, None, "log_from"))
    }

    /// Keeps the log from now on until `name` advances or releases it; returns the seq after which it
    /// is kept. A holder that is there already stays where it is. Stored with the job.
    ///
    /// One whose name begins with `while-open/` is for whoever would not go on after a restart: it ends, at the
    /// latest, when the job is opened again and nobody else has it open.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` or `TooLarge` for a name that is not 1 to 255 bytes; `TooLarge` beyond 64 holders.
    pub async fn hold_log(&self, name: &str) -> Result<u64> {
        self.change_log(name, LogChange::Hold(name.to_owned()), "hold_log").await
    }

    /// Releases the log up to and including `seq` for `name`; never goes back. Returns the seq up to
    /// which it is released now, at most the committed one.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if there is no such holder.
    pub async fn advance_log(&self, name: &str, seq: u64) -> Result<u64> {
        self.change_log(name, LogChange::Advance(name.to_owned(), seq), "advance_log").await
    }

    /// Ends the hold of `name` on the log; fine if there is none.
    pub async fn release_log(&self, name: &str) -> Result<()> {
        self.change_log(name, LogChange::Release(name.to_owned()), "release_log").await.map(drop)
    }

    /// How far filling the job has come, as [`filling`](Job::filling) was told; empty if it was not.
    #[cfg(feature = "archive")]
    pub(crate) async fn filled_so_far(&self) -> Result<Vec<u8>> {
        Ok(self.details("fill").await?.record.extension.clone())
    }

    /// Remembers with the job how far filling it has come, behind everything that is committed.
    #[cfg(feature = "archive")]
    pub(crate) async fn filling(&self, come: Vec<u8>) -> Result<()> {
        let bytes = come.len();
        let weighed = Weighed { task: Task::Filling(come), operations: 1, bytes };
        self.carry_out(weighed, "fill").await.map(drop)
    }

    /// Makes a job of what was being filled, durable; from then on others can open it.
    #[cfg(feature = "archive")]
    pub(crate) async fn filled(&self) -> Result<()> {
        let weighed = Weighed { task: Task::Filled, operations: 1, bytes: 0 };
        self.carry_out(weighed, "fill").await?;
        self.flush().await?;
        self.handle.filling.store(false, Ordering::Release);
        Ok(())
    }

    // ---- care ---------------------------------------------------------------------------------

    /// What the job is and where it stands.
    pub async fn info(&self) -> Result<JobInfo> {
        Ok(self.info_of(self.details("info").await?))
    }

    /// What the job has done since it was opened here.
    pub fn stats(&self) -> JobStats {
        let (queued_operations, queued_bytes) = self.link().queued();
        let counters = &self.link().counters;
        JobStats {
            queued_operations,
            queued_bytes,
            batches_committed: counters.batches_committed.load(Ordering::Relaxed),
            batches_failed: counters.batches_failed.load(Ordering::Relaxed),
            groups: counters.groups.load(Ordering::Relaxed),
            syncs: counters.syncs.load(Ordering::Relaxed),
            reads: counters.reads.load(Ordering::Relaxed),
        }
    }

    /// Looks for damage in everything that is stored; one sentence for each finding, none if all is
    /// well. Reads the whole job.
    pub async fn check(&self) -> Result<Vec<String>> {
        check::check(self.link()).await.map_err(|error| self.explain(error, None, "check"))
    }

    /// Gives unused room back to the platform.
    ///
    /// # Errors
    ///
    /// `Unsupported` if the job is open for reading only.
    pub async fn compact(&self) -> Result<()> {
        self.check_writable("compact")?;
        let done = self.link().read(Read::Compact).await;
        done.map(drop).map_err(|error| self.explain(error, None, "compact"))
    }

    // ---- inside -------------------------------------------------------------------------------

    pub(crate) fn info_of(&self, Details { record, bytes, shared }: Details) -> JobInfo {
        JobInfo {
            id: self.id().to_owned(),
            generation: record.generation,
            created_ms: record.created_ms,
            committed_seq: record.committed_seq,
            last_commit_ms: record.last_commit_ms,
            durable_seq: record.durable_seq.max(self.durable_seq()),
            shared,
            mode: self.options().mode,
            bytes,
            log: record.log.retention,
            log_first_seq: record.log.first_seq,
            log_written_bytes: record.log.end_offset,
            log_holders: record.log.holders.pairs(),
        }
    }

    pub(crate) fn link(&self) -> &Arc<Link> {
        &self.handle.link
    }

    async fn apply(&self, batch: Batch, report_existed: bool, operation: &str) -> Result<(u64, bool)> {
        self.carry_out(self.batch_task(batch, report_existed, operation)?, operation).await
    }

    /// Queues a task and waits for it; its seq, and whether a row that it deleted had been there.
    async fn carry_out(&self, weighed: Weighed, operation: &str) -> Result<(u64, bool)> {
        let slot = self.queue(weighed, operation, Conflicts::Errors).await?;
        Ok(done(slot.settled().await?))
    }

    async fn queue(
        &self,
        Weighed { task, operations, bytes }: Weighed,
        operation: &str,
        conflicts: Conflicts,
    ) -> Result<Arc<Slot>> {
        let accepted = self.link().accept(task, operations, bytes, conflicts).await;
        accepted.map_err(|error| self.explain(error, None, operation))
    }

    /// The task of a batch, if it is within every limit.
    pub(crate) fn batch_task(&self, batch: Batch, report_existed: bool, operation: &str) -> Result<Weighed> {
        self.check_writable(operation)?;
        let category = batch.operations().first().map(|op| op.category().to_owned());
        let batch = CheckedBatch::try_from(batch)
            .map_err(|error| self.explain(error, category.as_deref(), operation))?;
        let (operations, bytes) = (batch.entries(), batch.bytes);
        Ok(Weighed { task: Task::Batch { batch, report_existed }, operations, bytes })
    }

    pub(crate) fn check_writable(&self, operation: &str) -> Result<()> {
        if self.options().mode != OpenMode::ReadOnly {
            return Ok(());
        }
        let error = Error::new(ErrorKind::Unsupported, "the job is open for reading only");
        Err(self.explain(error, None, operation))
    }

    /// The row, if it can be read on this thread; whatever is wrong is left to the worker to say.
    async fn row_directly(
        &self,
        category: &str,
        key: &Key,
        presence_only: bool,
    ) -> Result<Option<Vec<u8>>, NotDirectly> {
        check_row(category, key).map_err(|_| NotDirectly)?;
        let wanted = Wanted { category, key: key.as_bytes(), presence_only };
        self.link().read_directly(wanted).await
    }

    async fn points(
        &self,
        category: &str,
        keys: Vec<Key>,
        presence_only: bool,
        operation: &str,
    ) -> Result<Vec<Option<Vec<u8>>>> {
        let query = self.points_query(category, keys, presence_only, operation)?;
        let found = self.link().ask(query, true).await.and_then(payloads);
        found.map_err(|error| self.explain(error, Some(category), operation))
    }

    /// The query for some keys, if the category and the keys are within their limits.
    pub(crate) fn points_query(
        &self,
        category: &str,
        keys: Vec<Key>,
        presence_only: bool,
        operation: &str,
    ) -> Result<Query> {
        let check = || {
            check_category(category)?;
            if keys.len() > limits::BATCH_OPERATIONS_MAX {
                let message = text!(keys.len(), " keys, the limit is ", limits::BATCH_OPERATIONS_MAX);
                return Err(Error::new(ErrorKind::TooLarge, message));
            }
            keys.iter().try_for_each(|key| check_row(category, key))
        };
        check().map_err(|error| self.explain(error, Some(category), operation))?;
        let space = Space::Rows(Arc::from(category));
        let point = |key: Key| Point { space: space.clone(), key: key.into_bytes() };
        let points = keys.into_iter().map(point).collect();
        Ok(Query::Get(Get { points, presence_only, bytes_max: limits::SCAN_BYTES_MAX }))
    }

    /// The job's record as it stands, whatever has been accepted.
    #[cfg(feature = "archive")]
    pub(crate) async fn record_now(&self) -> Result<Arc<Record>> {
        Ok(self.details_of(Read::DetailsNow, "record_now").await?.record)
    }

    /// The commit log from a position on, whatever has been accepted.
    #[cfg(feature = "archive")]
    pub(crate) async fn committed_from(&self, position: Position) -> Result<LogReader> {
        let started = LogReader::of_committed(Arc::clone(self.link()), position).await;
        started.map_err(|error| self.explain(error, None, "committed_from"))
    }

    /// Makes what is committed durable up to this seq, whatever has been accepted, and whose errors are waited for.
    #[cfg(feature = "archive")]
    pub(crate) async fn sync_up_to(&self, seq: u64) -> Result<()> {
        self.link().durable(seq).await.map_err(|error| self.explain(error, None, "sync_up_to"))
    }

    async fn details(&self, operation: &str) -> Result<Details> {
        self.details_of(Read::Details, operation).await
    }

    async fn details_of(&self, read: Read, operation: &str) -> Result<Details> {
        let details = self.link().read(read).await;
        details.and_then(Reading::details).map_err(|error| self.explain(error, None, operation))
    }

    /// The query that counts a span; none if it holds no key.
    pub(crate) fn count_query(&self, category: &str, span: Span) -> Result<Option<Query>> {
        check_category(category).map_err(|error| self.explain(error, Some(category), "count"))?;
        Ok((!span.is_empty()).then(|| Query::Count { category: Arc::from(category), span }))
    }

    async fn start_watch(&self, from: Option<Position>, category: &str, span: Span) -> Result<Watch> {
        let beginning = self.watch_beginning(from, category, span)?;
        let started = Commits::start(Arc::clone(self.link()), beginning).await;
        started.map(Watch::from).map_err(|error| self.explain(error, Some(category), "watch"))
    }

    /// The beginning of a watch, if the category is within its limits and there may be one more.
    pub(crate) fn watch_beginning(
        &self,
        from: Option<Position>,
        category: &str,
        span: Span,
    ) -> Result<Beginning> {
        let within = (Arc::from(category), span);
        let beginning =
            check_category(category).and_then(|()| Beginning::of_watch(self.link(), from, within));
        beginning.map_err(|error| self.explain(error, Some(category), "watch"))
    }

    async fn change_log(&self, name: &str, change: LogChange, operation: &str) -> Result<u64> {
        Ok(self.carry_out(self.log_task(name, change, operation)?, operation).await?.0)
    }

    /// The task that changes what the log keeps for the holder `name`.
    pub(crate) fn log_task(&self, name: &str, change: LogChange, operation: &str) -> Result<Weighed> {
        self.check_writable(operation)?;
        let check = || match name.is_empty() {
            true => Err(Error::new(ErrorKind::InvalidArgument, "a log holder's name has at least one byte")),
            false => limits::check_bytes("log holder's name", name.len(), limits::LOG_HOLDER_BYTES_MAX),
        };
        check().map_err(|error| self.explain(error, None, operation))?;
        Ok(Weighed { task: Task::Log(change), operations: 1, bytes: name.len() })
    }

    /// The error with the words that say where it happened.
    pub(crate) fn explain(&self, error: Error, category: Option<&str>, operation: &str) -> Error {
        match category {
            Some(category) => {
                let (job, category) = (Quoted(self.id()), Quoted(category));
                error.in_context(text!("job ", job, ", category ", category, ", ", operation))
            }
            None => error.in_context(text!("job ", Quoted(self.id()), ", ", operation)),
        }
    }
}

/// The payloads that were found; `TooLarge` if they are more than one answer may hold.
pub(crate) fn payloads(found: Found) -> Result<Vec<Option<Vec<u8>>>> {
    match found {
        Found::Got(Got::Payloads(payloads)) => Ok(payloads),
        Found::Got(Got::TooLarge(bytes)) => {
            let message = text!("payloads of ", bytes, " bytes, the limit is ", limits::SCAN_BYTES_MAX);
            Err(Error::new(ErrorKind::TooLarge, message))
        }
        _ => Err(misanswered()),
    }
}

/// Seq, and whether a row had been there. Every other answer has become an error.
pub(crate) fn done(answer: Answer) -> (u64, bool) {
    match answer {
        Answer::Done { seq, existed } => (seq, existed),
        Answer::Conflict(_) | Answer::NoHolder | Answer::HoldersFull => (0, false),
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("id", &self.id()).field("open", &self.is_open()).finish()
    }
}
