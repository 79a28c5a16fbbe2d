//! The link between handles and the worker of one job: the bounded queue's entrance, and what the
//! worker has told so far.
//!
//! A write is accepted when it has been given its share of the queue and its command has been sent,
//! both in one place, so order is that of acceptance. Nothing here looks into a batch.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use super::command::{Command, Credit, QueuedRead, QueuedTask, Read, Reading, misanswered};
use super::context::{gone, stopped, timed_out};
use super::slot::Slot;
use super::turn::Task;
use crate::clock::Clock;
use crate::engine::{Found, Query};
use crate::error::{Error, ErrorKind, Outcome, Result};
use crate::limits;

/// What handles and the worker of one job share.
pub(crate) struct Link {
    pub(crate) id: String,
    pub(crate) clock: Clock,
    pub(crate) counters: Counters,
    /// How many watches there are, see [`WatchGuard`].
    watchers: AtomicUsize,
    deadline_ms: Option<u64>,
    entrance: Mutex<Entrance>,
    /// Callers that wait for room in the queue; those who come later wait behind them, also if what
    /// they bring would fit.
    waiting: AtomicUsize,
    /// Has them served in the order in which they came.
    turn: tokio::sync::Mutex<()>,
    operations: Share,
    bytes: Share,
    reads: Arc<Semaphore>,
    waiters: Arc<Semaphore>,
    progress: watch::Sender<Progress>,
}

/// Where commands go in.
enum Entrance {
    /// Unbounded only in type: every command but the last holds a share of a bound.
    Open(UnboundedSender<Command>),
    /// The last command has been sent, and the job closes.
    Closing,
    /// The last command has been sent, and the job is being dropped; or it has gone by itself.
    Dropping,
}

/// One bound of the queue.
struct Share {
    room: Arc<Semaphore>,
    max: usize,
}

/// How far the job has come, as far as this root knows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    pub(crate) opened: bool,
    pub(crate) committed_seq: u64,
    pub(crate) durable_seq: u64,
    pub(crate) end: Option<End>,
}

/// How the worker ended; everything it held has been released.
#[derive(Clone, Debug)]
pub(crate) struct End {
    /// What the call that ended it is answered.
    pub(crate) result: Result<()>,
    /// What every later call is answered.
    pub(crate) afterwards: Error,
    /// Whether the job's store has been deleted.
    pub(crate) dropped: bool,
}

/// What a job has done since it was opened here.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) batches_committed: AtomicU64,
    pub(crate) batches_failed: AtomicU64,
    pub(crate) groups: AtomicU64,
    pub(crate) syncs: AtomicU64,
    pub(crate) reads: AtomicU64,
}

/// The bounds of a link's queue, and how long its calls may take.
pub(crate) struct Bounds {
    pub(crate) operations: usize,
    pub(crate) bytes: usize,
    pub(crate) deadline_ms: Option<u64>,
}

impl Link {
    /// A link whose worker has not opened yet, and the end from which the worker receives.
    pub(crate) fn new(id: String, clock: Clock, bounds: Bounds) -> (Arc<Link>, UnboundedReceiver<Command>) {
        let (commands, receiver) = unbounded_channel();
        let share = |max| Share { room: Arc::new(Semaphore::new(max)), max };
        let link = Link {
            id,
            clock,
            counters: Counters::default(),
            watchers: AtomicUsize::new(0),
            deadline_ms: bounds.deadline_ms,
            entrance: Mutex::new(Entrance::Open(commands)),
            waiting: AtomicUsize::new(0),
            turn: tokio::sync::Mutex::new(()),
            operations: share(bounds.operations),
            bytes: share(bounds.bytes),
            reads: Arc::new(Semaphore::new(limits::READS_MAX)),
            waiters: Arc::new(Semaphore::new(limits::WAITERS_MAX)),
            progress: watch::Sender::new(Progress::default()),
        };
        (Arc::new(link), receiver)
    }

    /// Queues a task, waiting for its share of the queue.
    ///
    /// A task larger than the whole queue takes all of it, so it is accepted alone when the queue is
    /// empty. Waiting callers are served in the order in which they came.
    pub(crate) async fn accept(&self, task: Task, operations: usize, bytes: usize) -> Result<Arc<Slot>> {
        self.check_open()?;
        let deadline = self.deadline();
        if let Some(credit) = self.try_credit(operations, bytes) {
            return self.queue(task, credit, deadline);
        }
        // Counted before anything is awaited: whoever comes from now on finds somebody before him.
        let _waiting = Waiting::new(&self.waiting);
        let accepted = async {
            let _turn = self.turn.lock().await;
            let credit = self.credit(operations, bytes).await?;
            self.queue(task, credit, deadline)
        };
        self.clock.until(deadline, accepted).await.ok_or_else(timed_out)?
    }

    /// Queues a task, or answers `Overloaded` if there is no room for it now.
    pub(crate) fn try_accept(&self, task: Task, operations: usize, bytes: usize) -> Result<Arc<Slot>> {
        self.check_open()?;
        let credit = self
            .try_credit(operations, bytes)
            .ok_or_else(|| Error::new(ErrorKind::Overloaded, "the job's queue is full"))?;
        self.queue(task, credit, self.deadline())
    }

    /// Has the worker carry out a read and awaits its answer.
    pub(crate) async fn read(&self, read: Read) -> Result<Reading> {
        self.check_open()?;
        let deadline = self.deadline();
        let credit = self.call_credit(&self.reads, deadline).await?;
        let (reply, answer) = oneshot::channel();
        self.send(Command::Read(QueuedRead { read, reply, deadline, _credit: credit }))?;
        self.counters.reads.fetch_add(1, Ordering::Relaxed);
        self.answer(answer).await
    }

    /// Has the engine answer a query.
    pub(crate) async fn ask(&self, query: Query, whole: bool) -> Result<Found> {
        match self.read(Read::Ask { query, whole }).await? {
            Reading::Found(found) => Ok(found),
            _ => Err(misanswered()),
        }
    }

    /// Waits until everything accepted before is durable.
    pub(crate) async fn flush(&self) -> Result<()> {
        self.check_open()?;
        let deadline = self.deadline();
        let credit = self.call_credit(&self.waiters, deadline).await?;
        let (reply, answer) = oneshot::channel();
        self.send(Command::Flush { deadline, reply, credit })?;
        self.answer(answer).await?.take()
    }

    /// Waits until the committed `seq` is durable.
    pub(crate) async fn durable(&self, seq: u64) -> Result<()> {
        if self.progress.borrow().durable_seq >= seq {
            return Ok(());
        }
        match self.ask_durable(seq).await {
            // A worker that closed under this call may have made it durable by that.
            Err(_) if self.progress.borrow().durable_seq >= seq => Ok(()),
            result => result.map_err(|error| error.with_outcome(Outcome::Applied)),
        }
    }

    async fn ask_durable(&self, seq: u64) -> Result<()> {
        let deadline = self.deadline();
        let credit = self.call_credit(&self.waiters, deadline).await?;
        let (reply, answer) = oneshot::channel();
        self.send(Command::Durable { seq, deadline, reply, credit })?;
        self.answer(answer).await?.take()
    }

    /// Sends the last command, if none has been sent yet.
    pub(crate) fn finish(&self, last: Command) {
        let mut entrance = self.entrance();
        let closed = if matches!(last, Command::Drop) { Entrance::Dropping } else { Entrance::Closing };
        if let Entrance::Open(commands) = &*entrance {
            // A worker that has gone already has nothing left to finish.
            drop(commands.send(last));
            *entrance = closed;
        }
    }

    /// Takes no more commands, because there is no job any more.
    pub(crate) fn vanish(&self) {
        *self.entrance() = Entrance::Dropping;
    }

    /// How far the job has come.
    pub(crate) fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Whether calls are still taken.
    pub(crate) fn is_open(&self) -> bool {
        let progress = self.progress.borrow();
        progress.opened && progress.end.is_none() && matches!(&*self.entrance(), Entrance::Open(_))
    }

    /// Waits until the job has been opened; its error if that failed.
    pub(crate) async fn opened(&self) -> Result<()> {
        let mut progress = self.progress();
        match progress.wait_for(|progress| progress.opened || progress.end.is_some()).await {
            Ok(progress) if progress.opened => Ok(()),
            Ok(progress) => progress.end.as_ref().map_or(Ok(()), |end| end.result.clone()),
            Err(_) => Err(self.closed()),
        }
    }

    /// Waits until the worker has released everything; tells how it ended.
    pub(crate) async fn ended(&self) -> End {
        let mut progress = self.progress();
        let end = match progress.wait_for(|progress| progress.end.is_some()).await {
            Ok(progress) => progress.end.clone(),
            Err(_) => None,
        };
        end.unwrap_or_else(|| End { result: Ok(()), afterwards: self.closed(), dropped: false })
    }

    /// Waits until the worker has released everything; the result of closing it.
    ///
    /// One that could not be opened has nothing to report: that has been done.
    pub(crate) async fn closed_down(&self) -> Result<()> {
        let end = self.ended().await;
        if self.progress.borrow().opened { end.result } else { Ok(()) }
    }

    /// Whether the worker has released everything.
    pub(crate) fn has_ended(&self) -> bool {
        self.progress.borrow().end.is_some()
    }

    /// Tells how far the job has come; never goes back.
    pub(crate) fn publish(&self, committed_seq: u64, durable_seq: u64) {
        self.progress.send_if_modified(|progress| {
            let news = committed_seq > progress.committed_seq || durable_seq > progress.durable_seq;
            progress.committed_seq = progress.committed_seq.max(committed_seq);
            progress.durable_seq = progress.durable_seq.max(durable_seq);
            news
        });
    }

    /// Tells that the job has been opened.
    pub(crate) fn publish_opened(&self) {
        self.progress.send_modify(|progress| progress.opened = true);
    }

    /// Tells that the worker has ended and answers everything that still waits for room; the first
    /// word stands.
    pub(crate) fn publish_end(&self, end: End) {
        let mut entrance = self.entrance();
        if matches!(&*entrance, Entrance::Open(_)) {
            *entrance = Entrance::Closing;
        }
        drop(entrance);
        self.progress.send_if_modified(|progress| {
            let first = progress.end.is_none();
            progress.end.get_or_insert(end);
            first
        });
        self.operations.room.close();
        self.bytes.room.close();
        self.reads.close();
        self.waiters.close();
    }

    /// Counts a watch for as long as the guard lives.
    pub(crate) fn watch_guard(self: &Arc<Self>) -> Result<WatchGuard> {
        if self.watchers.fetch_add(1, Ordering::SeqCst) >= limits::WATCHERS_MAX {
            self.watchers.fetch_sub(1, Ordering::SeqCst);
            let message = format!("more than {} watches of one job", limits::WATCHERS_MAX);
            return Err(Error::new(ErrorKind::TooLarge, message));
        }
        Ok(WatchGuard(Arc::clone(self)))
    }

    /// Whether anybody watches.
    pub(crate) fn is_watched(&self) -> bool {
        self.watchers.load(Ordering::SeqCst) > 0
    }

    /// Operations and bytes that are in the queue now.
    pub(crate) fn queued(&self) -> (usize, usize) {
        let taken = |share: &Share| share.max - share.room.available_permits().min(share.max);
        (taken(&self.operations), taken(&self.bytes))
    }

    /// What a call is answered that comes too late.
    pub(crate) fn closed(&self) -> Error {
        match (&self.progress.borrow().end, &*self.entrance()) {
            (Some(end), _) => end.afterwards.clone(),
            (None, Entrance::Dropping) => gone(),
            // Its worker has stopped just now and is about to say so.
            (None, Entrance::Open(_)) => stopped(),
            (None, Entrance::Closing) => Error::new(ErrorKind::Closed, "the job has been closed"),
        }
    }

    /// When a call that is made now has to be answered.
    pub(crate) fn deadline(&self) -> Option<u64> {
        self.deadline_ms.map(|ms| self.clock.monotonic_ms().saturating_add(ms))
    }

    fn queue(&self, task: Task, credit: Credit, deadline: Option<u64>) -> Result<Arc<Slot>> {
        let (slot, ticket) = Slot::pair();
        self.send(Command::Write(QueuedTask { number: 0, task, ticket, deadline, credit }))?;
        Ok(slot)
    }

    fn send(&self, command: Command) -> Result<()> {
        let sent = match &*self.entrance() {
            Entrance::Open(commands) => commands.send(command).is_ok(),
            Entrance::Closing | Entrance::Dropping => false,
        };
        match sent {
            true => Ok(()),
            false => Err(self.closed()),
        }
    }

    fn entrance(&self) -> MutexGuard<'_, Entrance> {
        self.entrance.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer<T>(&self, answer: oneshot::Receiver<Result<T>>) -> Result<T> {
        match answer.await {
            Ok(result) => result,
            // Dropped unanswered: the worker ended under this call.
            Err(_) => {
                self.ended().await;
                Err(self.closed())
            }
        }
    }

    fn check_open(&self) -> Result<()> {
        match self.is_open() {
            true => Ok(()),
            false => Err(self.closed()),
        }
    }

    /// Room for a task, if there is some and nobody waits for it.
    fn try_credit(&self, operations: usize, bytes: usize) -> Option<Credit> {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            return None;
        }
        let _operations = self.operations.try_take(operations)?;
        Some(Credit { _operations, _bytes: self.bytes.try_take(bytes)? })
    }

    /// A share of a bound on callers that wait for an answer.
    async fn call_credit(&self, of: &Arc<Semaphore>, deadline: Option<u64>) -> Result<OwnedSemaphorePermit> {
        if let Ok(credit) = Arc::clone(of).try_acquire_owned() {
            return Ok(credit);
        }
        let credit = self.clock.until(deadline, Arc::clone(of).acquire_owned()).await;
        credit.ok_or_else(timed_out)?.map_err(|_| self.closed())
    }

    async fn credit(&self, operations: usize, bytes: usize) -> Result<Credit> {
        let _operations = self.operations.take(operations).await.ok_or_else(|| self.closed())?;
        let _bytes = self.bytes.take(bytes).await.ok_or_else(|| self.closed())?;
        Ok(Credit { _operations, _bytes })
    }
}

impl Share {
    fn try_take(&self, wanted: usize) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.room).try_acquire_many_owned(self.portion(wanted)).ok()
    }

    async fn take(&self, wanted: usize) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.room).acquire_many_owned(self.portion(wanted)).await.ok()
    }

    /// At most the whole bound; the bounds fit 32 bits, see `limits::QUEUE_BOUND_MAX`.
    fn portion(&self, wanted: usize) -> u32 {
        u32::try_from(wanted.min(self.max)).unwrap_or(u32::MAX)
    }
}

/// Counts as a caller that waits for room while it lives.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::SeqCst);
        Waiting(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Counts as a watch while it lives, see [`Link::watch_guard`].
pub(crate) struct WatchGuard(Arc<Link>);

impl Drop for WatchGuard {
    fn drop(&mut self) {
        self.0.watchers.fetch_sub(1, Ordering::SeqCst);
    }
}
