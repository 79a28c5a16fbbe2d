//! The link between handles and the worker of one job: the bounded queue's entrance, and what the
//! worker has told so far.
//!
//! A write is accepted when it has been given its share of the queue and its command has been sent,
//! both in one place, so order is that of acceptance. Nothing here looks into a batch.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockWriteGuard};

use futures_channel::oneshot;

use super::command::{Answered, Caller, Command, QueuedRead, QueuedTask, Read, Reading, Reply, misanswered};
use super::errors::{gone, stopped, timed_out};
use super::inbox::{Inbox, Taking};
use super::pending::Pending;
use super::progress::{End, Milestones, Progress, Reach};
use super::slot::{Conflicts, Slot, Ticket};
use super::turn::Task;
use crate::clock::Clock;
use crate::engine::{Direct, Found, NotDirectly, Query, READS_DIRECTLY, Wanted};
use crate::error::{Error, ErrorKind, Outcome, Result};
use crate::limits;
use crate::pace::yield_now;
use crate::room::{Room, Share, Size};
use crate::text::text;

/// What handles and the worker of one job share.
pub(crate) struct Link {
    pub(crate) id: String,
    pub(crate) clock: Clock,
    pub(crate) counters: Counters,
    /// How many watches there are, see [`WatchGuard`].
    watchers: AtomicUsize,
    deadline_ms: Option<u64>,
    pub(super) inbox: Inbox,
    /// The queue's bounds.
    room: Arc<Room>,
    /// The bound on reads under way.
    reads: Arc<Room>,
    /// The bound on callers that wait until something is durable.
    waiters: Arc<Room>,
    progress: Milestones,
    /// How rows are read without the worker, as long as that is possible.
    offer: RwLock<Offer>,
    /// What such reads must not pass; there from the first offer on, so before the first write.
    pending: OnceLock<Arc<Pending>>,
}

/// What there is to read rows with, see [`Direct`].
#[derive(Default)]
struct Offer {
    direct: Option<Arc<dyn Direct>>,
    /// Whether the last command has been sent: there is none any more.
    ended: bool,
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
    /// A link whose worker has not opened yet.
    pub(crate) fn new(id: String, clock: Clock, bounds: Bounds) -> Arc<Link> {
        Arc::new(Link {
            id,
            clock,
            counters: Counters::default(),
            watchers: AtomicUsize::new(0),
            deadline_ms: bounds.deadline_ms,
            inbox: Inbox::default(),
            room: Room::new(bounds.operations, bounds.bytes),
            reads: Room::new(limits::READS_MAX, 0),
            waiters: Room::new(limits::WAITERS_MAX, 0),
            progress: Milestones::default(),
            offer: RwLock::default(),
            pending: OnceLock::new(),
        })
    }

    /// Queues a task, waiting for its share of the queue.
    ///
    /// A task larger than the whole queue takes all of it, so it is accepted alone when the queue is
    /// empty. Waiting callers are served in the order in which they came.
    pub(crate) async fn accept(
        &self,
        task: Task,
        operations: usize,
        bytes: usize,
        conflicts: Conflicts,
    ) -> Result<Arc<Slot>> {
        self.check_open()?;
        let deadline = self.deadline();
        let size = Size { count: operations, bytes };
        if let Some(credit) = self.room.try_take(size) {
            return self.queue(task, credit, deadline, conflicts);
        }
        let accepted = async {
            let mut taking = self.room.take(size);
            let credit = (&mut taking).await.ok_or_else(|| self.closed())?;
            self.queue(task, credit, deadline, conflicts)
        };
        self.clock.until(deadline, accepted).await.ok_or_else(timed_out)?
    }

    /// Queues a task, or answers `Overloaded` if there is no room for it now.
    pub(crate) fn try_accept(&self, task: Task, operations: usize, bytes: usize) -> Result<Arc<Slot>> {
        self.check_open()?;
        let credit = self
            .room
            .try_take(Size { count: operations, bytes })
            .ok_or_else(|| Error::new(ErrorKind::Overloaded, "the job's queue is full"))?;
        self.queue(task, credit, self.deadline(), Conflicts::Errors)
    }

    /// Has the worker carry out a read and awaits its answer.
    pub(crate) async fn read(&self, read: Read) -> Result<Reading> {
        self.check_open()?;
        let deadline = self.deadline();
        let credit = self.call_credit(&self.reads, deadline).await?;
        let (reply, answer) = oneshot::channel();
        self.send(Command::Read(QueuedRead {
            read,
            reply: Reply::Future(reply),
            deadline,
            _credit: credit,
        }))?;
        self.counters.reads.fetch_add(1, Ordering::Relaxed);
        self.answer(answer).await?.reading()
    }

    /// Has the engine answer a query.
    pub(crate) async fn ask(&self, query: Query, whole: bool) -> Result<Found> {
        match self.read(Read::Ask { query, whole }).await? {
            Reading::Found(found) => Ok(found),
            _ => Err(misanswered()),
        }
    }

    /// Lets callers read rows without the worker from now on.
    pub(crate) fn offer(&self, direct: Arc<dyn Direct>) {
        self.pending.get_or_init(Arc::default);
        let mut offer = self.lock_offer();
        if !offer.ended {
            offer.direct = Some(direct);
        }
    }

    /// Has callers ask the worker, until there is another offer.
    pub(crate) fn withdraw_offer(&self) {
        self.lock_offer().direct = None;
    }

    fn end_offers(&self) {
        *self.lock_offer() = Offer { direct: None, ended: true };
    }

    fn lock_offer(&self) -> RwLockWriteGuard<'_, Offer> {
        self.offer.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads a row on this thread, unless the worker has to be asked.
    pub(crate) async fn read_directly(&self, wanted: Wanted<'_>) -> Result<Option<Vec<u8>>, NotDirectly> {
        let direct = self.direct().ok_or(NotDirectly)?;
        let reads = self.counters.reads.load(Ordering::Relaxed);
        if reads.is_multiple_of(limits::DIRECT_READS_IN_A_ROW_MAX) {
            // Nothing here ever waits, and the other tasks of this thread are to go on too.
            yield_now().await;
        }
        let touched = |pending: &Arc<Pending>| pending.may_touch(wanted.category, wanted.key);
        if self.pending().is_none_or(touched) {
            return Err(NotDirectly);
        }
        let found = direct.row(&wanted)?;
        // A job that is being dropped is empty before it is gone: that is not said of its rows.
        if found.is_none() && self.direct().is_none() {
            return Err(NotDirectly);
        }
        self.counters.reads.fetch_add(1, Ordering::Relaxed);
        Ok(found)
    }

    /// What direct reads must not pass; `None` where there are none.
    fn pending(&self) -> Option<&Arc<Pending>> {
        if READS_DIRECTLY { self.pending.get() } else { None }
    }

    /// How to read without the worker, where and while that is possible.
    pub(super) fn direct(&self) -> Option<Arc<dyn Direct>> {
        self.offer.read().unwrap_or_else(PoisonError::into_inner).direct.clone()
    }

    /// Waits until everything accepted before is durable.
    pub(crate) async fn flush(&self) -> Result<()> {
        self.check_open()?;
        let deadline = self.deadline();
        let credit = self.call_credit(&self.waiters, deadline).await?;
        let (reply, answer) = oneshot::channel();
        self.send(Command::Flush { deadline, reply: Reply::Future(reply), credit })?;
        self.answer(answer).await?.flushed()
    }

    /// Waits until the committed `seq` is durable.
    pub(crate) async fn durable(&self, seq: u64) -> Result<()> {
        if self.durable_seq() >= seq {
            return Ok(());
        }
        let result = self.ask_durable(seq).await;
        self.durable_result(seq, result)
    }

    async fn ask_durable(&self, seq: u64) -> Result<()> {
        let deadline = self.deadline();
        let credit = self.call_credit(&self.waiters, deadline).await?;
        let (reply, answer) = oneshot::channel();
        self.send(Command::Durable { seq, deadline, reply: Reply::Future(reply), credit })?;
        self.answer(answer).await?.flushed()
    }

    /// What became of `seq` if its sync ended so.
    pub(crate) fn durable_result(&self, seq: u64, result: Result<()>) -> Result<()> {
        match result {
            // A worker that closed under this call may have made it durable by that.
            Err(_) if self.durable_seq() >= seq => Ok(()),
            result => result.map_err(|error| error.with_outcome(Outcome::Applied)),
        }
    }

    /// Sends the last command, if none has been sent yet.
    pub(crate) fn finish(&self, last: Command) {
        // First, so that whoever sees what the last command does finds the offer withdrawn.
        self.end_offers();
        if let Err((error, resting)) = self.inbox.send_last(last) {
            // Nothing that was accepted is lost by that: it rests because everything has been settled.
            let end = End { result: Err(error.clone()), afterwards: error, dropped: false };
            match resting {
                Some(resting) => resting.give_up(end),
                None => self.publish_end(end),
            }
        }
    }

    /// Takes no more commands, because there is no job any more.
    pub(crate) fn vanish(&self) {
        self.end_offers();
        self.inbox.shut(Taking::Dropping);
    }

    /// Looks at how far the job has come.
    pub(crate) fn see<T>(&self, look: impl FnOnce(&Progress) -> T) -> T {
        self.progress.see(look)
    }

    /// Resolves when `look` finds what it looks for in how far the job has come.
    pub(crate) fn reach<T, F: FnMut(&Progress) -> Option<T> + Unpin>(&self, look: F) -> Reach<'_, F> {
        self.progress.reach(look)
    }

    /// The last commit as far as this root knows.
    pub(crate) fn committed_seq(&self) -> u64 {
        self.see(|progress| progress.committed_seq)
    }

    /// The last durable commit as far as this root knows.
    pub(crate) fn durable_seq(&self) -> u64 {
        self.see(|progress| progress.durable_seq)
    }

    /// Whether calls are still taken.
    pub(crate) fn is_open(&self) -> bool {
        self.see(|progress| progress.opened.is_some() && progress.end.is_none())
            && self.inbox.taking() == Taking::Open
    }

    /// Resolves when the job has been opened; with its error if that failed.
    pub(crate) fn opened(&self) -> impl Future<Output = Result<()>> {
        self.reach(|progress| match &progress.end {
            _ if progress.opened.is_some() => Some(Ok(())),
            end => end.as_ref().map(|end| end.result.clone()),
        })
    }

    /// Resolves when the worker has released everything; tells how it ended.
    pub(crate) fn ended(&self) -> impl Future<Output = End> {
        self.reach(|progress| progress.end.clone())
    }

    /// Resolves when the worker has released everything; with the result of closing it.
    ///
    /// One that could not be opened has nothing to report: that has been done.
    pub(crate) fn closed_down(&self) -> impl Future<Output = Result<()>> {
        self.reach(|progress| {
            let end = progress.end.as_ref()?;
            Some(if progress.opened.is_some() { end.result.clone() } else { Ok(()) })
        })
    }

    /// Whether no more calls are taken, because the worker has ended or is about to.
    pub(crate) fn is_ending(&self) -> bool {
        self.see(|progress| progress.end.is_some()) || self.inbox.taking() != Taking::Open
    }

    /// Tells how far the job has come; never goes back.
    pub(crate) fn publish(&self, committed_seq: u64, durable_seq: u64) {
        self.progress.change(|progress| {
            let news = committed_seq > progress.committed_seq || durable_seq > progress.durable_seq;
            progress.committed_seq = progress.committed_seq.max(committed_seq);
            progress.durable_seq = progress.durable_seq.max(durable_seq);
            news
        });
    }

    /// Tells that this generation of the job has been opened.
    pub(crate) fn publish_opened(&self, generation: [u8; 16]) {
        self.progress.change(|progress| {
            progress.opened = Some(generation);
            true
        });
    }

    /// Tells that the worker has ended and answers everything that still waits for room; the first
    /// word stands.
    pub(crate) fn publish_end(&self, end: End) {
        self.end_offers();
        let abandoned = self.inbox.abandon();
        self.progress.change(|progress| {
            let first = progress.end.is_none();
            progress.end.get_or_insert(end);
            first
        });
        // Each tells its caller by being dropped.
        drop(abandoned);
        self.room.close();
        self.reads.close();
        self.waiters.close();
    }

    /// Counts a watch for as long as the guard lives.
    pub(crate) fn watch_guard(self: &Arc<Self>) -> Result<WatchGuard> {
        if self.watchers.fetch_add(1, Ordering::SeqCst) >= limits::WATCHERS_MAX {
            self.watchers.fetch_sub(1, Ordering::SeqCst);
            let message = text!("more than ", limits::WATCHERS_MAX, " watches of one job");
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
        let Size { count, bytes } = self.room.taken();
        (count, bytes)
    }

    /// What a call is answered that comes too late.
    pub(crate) fn closed(&self) -> Error {
        if let Some(error) = self.see(|progress| progress.end.as_ref().map(|end| end.afterwards.clone())) {
            return error;
        }
        match self.inbox.taking() {
            Taking::Dropping => gone(),
            // Its worker has stopped just now and is about to say so.
            Taking::Open => stopped(),
            Taking::Closing => Error::new(ErrorKind::Closed, "the job has been closed"),
        }
    }

    /// When a call that is made now has to be answered.
    pub(crate) fn deadline(&self) -> Option<u64> {
        self.deadline_ms.map(|ms| self.clock.monotonic_ms().saturating_add(ms))
    }

    /// Answers what [`Link::closed`] does if calls are not taken any more.
    pub(crate) fn check_open(&self) -> Result<()> {
        match self.is_open() {
            true => Ok(()),
            false => Err(self.closed()),
        }
    }

    fn queue(
        &self,
        task: Task,
        credit: Share,
        deadline: Option<u64>,
        conflicts: Conflicts,
    ) -> Result<Arc<Slot>> {
        let (slot, ticket) = Slot::pair();
        // Before anybody else can see it: a flush may look at the result as soon as it is there.
        slot.treat(conflicts);
        self.send_task(task, ticket, deadline, credit)?;
        Ok(slot)
    }

    fn send_task(&self, task: Task, ticket: Ticket, deadline: Option<u64>, credit: Share) -> Result<()> {
        let pending = self.pending().zip(task.operations()).map(|(pending, ops)| pending.enter(ops));
        self.send(Command::Write(QueuedTask { number: 0, task, ticket, deadline, pending, credit }))
    }

    fn send(&self, command: Command) -> Result<()> {
        match self.inbox.send(command)? {
            true => Ok(()),
            false => Err(self.closed()),
        }
    }

    async fn answer(&self, answer: oneshot::Receiver<Result<Answered>>) -> Result<Answered> {
        match answer.await {
            Ok(result) => result,
            // Dropped unanswered: the worker ended under this call.
            Err(_) => {
                self.ended().await;
                Err(self.closed())
            }
        }
    }

    /// A share of a bound on callers that wait for an answer.
    async fn call_credit(&self, of: &Arc<Room>, deadline: Option<u64>) -> Result<Share> {
        if let Some(credit) = of.try_take(Size::ONE) {
            return Ok(credit);
        }
        let credit = self.clock.until(deadline, of.take(Size::ONE)).await;
        credit.ok_or_else(timed_out)?.ok_or_else(|| self.closed())
    }
}

/// Calls whose callers keep their bounds and are answered without a future. One that comes too late is
/// dropped, which answers it.
#[cfg_attr(not(feature = "web"), allow(dead_code, reason = "the npm package's exports make them"))]
impl Link {
    pub(crate) fn post_read(&self, read: Read, caller: Box<dyn Caller>, deadline: Option<u64>) {
        let (reply, _credit) = (Reply::Caller(caller), Share::of_nothing());
        self.counters.reads.fetch_add(1, Ordering::Relaxed);
        drop(self.send(Command::Read(QueuedRead { read, reply, deadline, _credit })));
    }

    pub(crate) fn post_task(&self, task: Task, caller: Box<dyn Caller>) {
        let (ticket, deadline, credit) = (Ticket::to(caller), self.deadline(), Share::of_nothing());
        drop(self.send_task(task, ticket, deadline, credit));
    }

    /// Has everything accepted before made durable, or a committed seq.
    pub(crate) fn post_sync(&self, seq: Option<u64>, caller: Box<dyn Caller>, deadline: Option<u64>) {
        let (reply, credit) = (Reply::Caller(caller), Share::of_nothing());
        drop(self.send(match seq {
            None => Command::Flush { deadline, reply, credit },
            Some(seq) => Command::Durable { seq, deadline, reply, credit },
        }));
    }
}

/// Counts as a watch while it lives, see [`Link::watch_guard`].
pub(crate) struct WatchGuard(Arc<Link>);

impl Drop for WatchGuard {
    fn drop(&mut self) {
        self.0.watchers.fetch_sub(1, Ordering::SeqCst);
    }
}
