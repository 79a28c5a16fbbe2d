//! The worker of one job: takes what handles ask for, in order, and drives one engine.
//!
//! Its life:
//!
//! 1. **receive** commands in the order of their acceptance, numbering the writes;
//! 2. **withdraw** what has passed its deadline without having been started;
//! 3. **read** what no pending write touches;
//! 4. **step**: one transaction at a time, the first that is due of: a sync that somebody waits for,
//!    a group of the writes that have piled up, trimming the log;
//! 5. **drain** after the last command: writes, reads, waiters, in that order;
//! 6. **end**: the job is closed or dropped by `worker::start`.
//!
//! It never knows which engine it has, never validates (handles have done that), and awaits only in
//! one place, with nothing half done.

mod steps;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use futures_util::future::{Fuse, FusedFuture, FutureExt};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::UnboundedReceiver;

use super::command::{Command, QueuedRead, QueuedTask, Read, Reply};
use super::commit::{Fatal, GroupEnd, poisoned};
use super::context::{Context, gone, timed_out};
use super::link::Link;
use super::reads;
use super::recent::Recent;
use super::trim;
use super::waiters::{Flushed, KeptErrors, Until, Waiter};
use crate::batch::Op;
use crate::clock::Sleep;
use crate::error::{Error, Result};
use crate::limits;

/// Why the worker stops.
pub(crate) enum Ending {
    /// Everything accepted is committed and durable, or its error is this one.
    Closed(Result<()>),
    /// Everything accepted is settled; the job is to be deleted.
    Dropped,
    /// The job's generation has gone; everything queued has failed with that. This is the first of
    /// the errors that nobody has asked for.
    Gone(Result<()>),
}

type Local<T> = Pin<Box<dyn Future<Output = T>>>;

/// How the one transaction under way ended.
enum Step {
    Group(GroupEnd),
    Sync { last: bool, deadline: Option<u64>, result: std::result::Result<(), (Error, Option<Fatal>)> },
    Trim(Option<Fatal>),
}

/// What the actor waits for.
enum Event {
    Read { found_gone: bool },
    Step(Step),
    Command(Option<Command>),
    Changed,
    Alarm,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum LastCommand {
    Close,
    Drop,
}

/// The state between two steps; see the module's own words.
pub(crate) struct Actor {
    context: Rc<Context>,
    link: Arc<Link>,
    commands: UnboundedReceiver<Command>,
    read_only: bool,
    durable_always: bool,
    /// Writes that have not been started, oldest first.
    writes: VecDeque<QueuedTask>,
    /// How many writes have been accepted.
    accepted: u64,
    /// The number of the first write of the group under way, and all its operations.
    group: Option<(u64, Vec<Arc<[Op]>>)>,
    step: Fuse<Local<Step>>,
    /// Reads, each with the number of the write that it has to see.
    waiting_reads: VecDeque<(u64, QueuedRead)>,
    /// Reads under way; each tells whether it found the job gone.
    reads: FuturesUnordered<Local<bool>>,
    /// How many have been answered since the step was last looked at.
    reads_in_a_row: usize,
    /// Shared with each read under way that says where a watch begins: no write may overtake it.
    beginnings: Rc<()>,
    waiters: Vec<Waiter>,
    kept: KeptErrors,
    recent: Rc<RefCell<Recent>>,
    trimmer: Rc<trim::Trimmer>,
    alarm: Fuse<Sleep>,
    alarm_at: Option<u64>,
    /// No deadline is earlier than this.
    earliest_deadline: Option<u64>,
    /// When to look at the record of a job that others change, while somebody watches.
    next_look: Option<u64>,
    gone: bool,
    last_command: Option<LastCommand>,
    /// The result of the sync before closing.
    last_sync: Option<Result<()>>,
}

impl Actor {
    pub(crate) fn new(
        context: Rc<Context>,
        link: Arc<Link>,
        commands: UnboundedReceiver<Command>,
        read_only: bool,
        durable_always: bool,
    ) -> Self {
        Actor {
            context,
            link,
            commands,
            read_only,
            durable_always,
            writes: VecDeque::new(),
            accepted: 0,
            group: None,
            step: Fuse::terminated(),
            waiting_reads: VecDeque::new(),
            reads: FuturesUnordered::new(),
            reads_in_a_row: 0,
            beginnings: Rc::default(),
            waiters: Vec::new(),
            kept: KeptErrors::default(),
            recent: Rc::default(),
            trimmer: Rc::default(),
            alarm: Fuse::terminated(),
            alarm_at: None,
            earliest_deadline: None,
            next_look: None,
            gone: false,
            last_command: None,
            last_sync: None,
        }
    }

    /// Runs until the last command has been carried out or the job has gone.
    pub(crate) async fn run(mut self) -> Ending {
        let context = Rc::clone(&self.context);
        let mut changed = Box::pin(context.engine.changed().fuse());
        loop {
            self.receive_all();
            self.act_on_time();
            self.refuse_if_poisoned();
            self.start_reads();
            self.answer_waiters();
            self.start_step();
            if self.gone {
                return self.end_gone().await;
            }
            if let Some(ending) = self.ending() {
                return ending;
            }
            self.set_alarm();
            let event = self.next_event(&mut changed).await;
            match event {
                Event::Read { found_gone } => {
                    self.reads_in_a_row += 1;
                    self.gone |= found_gone;
                    self.publish();
                }
                Event::Step(step) => self.finish_step(step),
                Event::Command(command) => self.receive(command),
                Event::Changed => {
                    changed.set(context.engine.changed().fuse());
                    self.next_look = Some(0);
                }
                Event::Alarm => self.alarm_at = None,
            }
        }
    }

    /// Waits until something happens; nothing is lost if it waits again instead.
    async fn next_event(&mut self, mut changed: &mut Pin<Box<impl FusedFuture<Output = ()>>>) -> Event {
        let receiving = self.last_command.is_none();
        let command = next_command(&mut self.commands, receiving).fuse();
        let mut command = std::pin::pin!(command);
        // Reads come first, but readers that never rest must not keep the step from going on.
        if self.reads_in_a_row >= limits::READS_IN_A_ROW_MAX {
            self.reads_in_a_row = 0;
            if let Poll::Ready(step) = futures_util::poll!(&mut self.step) {
                return Event::Step(step);
            }
        }
        futures_util::select_biased! {
            found_gone = self.reads.select_next_some() => Event::Read { found_gone },
            step = &mut self.step => Event::Step(step),
            command = command => Event::Command(command),
            () = changed => Event::Changed,
            () = &mut self.alarm => Event::Alarm,
        }
    }

    fn receive_all(&mut self) {
        while self.last_command.is_none() {
            match self.commands.try_recv() {
                Ok(command) => self.receive(Some(command)),
                Err(_) => return,
            }
        }
    }

    /// Takes a command; `None` says that every handle has gone, which closes too.
    fn receive(&mut self, command: Option<Command>) {
        match command {
            Some(Command::Write(mut queued)) => {
                self.accepted += 1;
                queued.number = self.accepted;
                self.mind_deadline(queued.deadline);
                self.writes.push_back(queued);
            }
            Some(Command::Read(read)) => {
                self.mind_deadline(read.deadline);
                self.waiting_reads.push_back((self.accepted, read));
            }
            Some(Command::Flush { deadline, reply, credit }) => {
                self.wait_until(Until::Task(self.accepted), deadline, reply, credit);
            }
            Some(Command::Durable { seq, deadline, reply, credit }) => {
                self.wait_until(Until::Seq(seq), deadline, reply, credit);
            }
            Some(Command::Drop) => self.last_command = Some(LastCommand::Drop),
            Some(Command::Close) | None => self.last_command = Some(LastCommand::Close),
        }
    }

    fn wait_until(
        &mut self,
        until: Until,
        deadline: Option<u64>,
        reply: Reply<Flushed>,
        credit: OwnedSemaphorePermit,
    ) {
        self.mind_deadline(deadline);
        self.waiters.push(Waiter::new(until, deadline, reply, &mut self.kept).holding(credit));
    }

    fn mind_deadline(&mut self, deadline: Option<u64>) {
        self.earliest_deadline = self.earliest_deadline.into_iter().chain(deadline).min();
    }

    /// The number up to which every write has its result.
    fn settled(&self) -> u64 {
        let first_open = self.group.as_ref().map(|(first, _)| *first);
        let first_open = first_open.or_else(|| self.writes.front().map(|queued| queued.number));
        first_open.map_or(self.accepted, |first| first - 1)
    }

    /// Withdraws what is late, and looks at a shared record when it is time to.
    fn act_on_time(&mut self) {
        let now = self.context.clock.monotonic_ms();
        if self.earliest_deadline.is_some_and(|at| at <= now) {
            self.withdraw_late(now);
        }
        if self.next_look.is_some_and(|at| at <= now) {
            self.next_look = None;
            let context = Rc::clone(&self.context);
            let deadline = self.link.deadline();
            self.reads.push(Box::pin(async move { reads::look(&context, deadline).await }));
        }
        if self.next_look.is_none() && self.context.is_shared() && self.link.is_watched() {
            self.next_look = Some(now.saturating_add(limits::SHARED_POLL_MS));
        }
    }

    /// Answers `Timeout` to what has not been started in time.
    fn withdraw_late(&mut self, now: u64) {
        let is_late = |deadline: Option<u64>| deadline.is_some_and(|at| at <= now);
        let writes = std::mem::take(&mut self.writes);
        for queued in writes {
            match is_late(queued.deadline) {
                true => self.settle(queued, Err(timed_out())),
                false => self.writes.push_back(queued),
            }
        }
        for (number, queued) in std::mem::take(&mut self.waiting_reads) {
            match is_late(queued.deadline) {
                true => queued.fail(timed_out()),
                false => self.waiting_reads.push_back((number, queued)),
            }
        }
        for waiter in std::mem::take(&mut self.waiters) {
            match is_late(waiter.deadline) {
                true => waiter.answer(Err(timed_out()), &mut self.kept),
                false => self.waiters.push(waiter),
            }
        }
        let writes = self.writes.iter().filter_map(|queued| queued.deadline);
        let reads = self.waiting_reads.iter().filter_map(|(_, queued)| queued.deadline);
        let waiters = self.waiters.iter().filter_map(|waiter| waiter.deadline);
        self.earliest_deadline = writes.chain(reads).chain(waiters).min();
    }

    /// Answers the writes of a job whose medium failed to sync, before anybody waits for them.
    fn refuse_if_poisoned(&mut self) {
        if !self.context.is_poisoned() {
            return;
        }
        for queued in std::mem::take(&mut self.writes) {
            self.settle(queued, Err(poisoned()));
        }
    }

    /// Starts every read that has nothing left to wait for.
    fn start_reads(&mut self) {
        if self.waiting_reads.is_empty() {
            return;
        }
        let settled = self.settled();
        for (number, queued) in std::mem::take(&mut self.waiting_reads) {
            if queued.reply.is_closed() {
                continue;
            }
            if number > settled && self.may_be_touched(number, &queued) {
                self.waiting_reads.push_back((number, queued));
                continue;
            }
            let (context, recent) = (Rc::clone(&self.context), Rc::clone(&self.recent));
            let beginning = matches!(queued.read, Read::DetailsNow).then(|| Rc::clone(&self.beginnings));
            self.reads.push(Box::pin(async move {
                let _beginning = beginning;
                reads::run(context, recent, queued).await
            }));
        }
    }

    /// Whether a write up to `number` that has no result yet can change what the read will see.
    fn may_be_touched(&self, number: u64, queued: &QueuedRead) -> bool {
        if queued.read.is_about_commits() {
            return false;
        }
        let bound = limits::TOUCH_CHECK_COMPARISONS_MAX / queued.read.keys().max(1);
        let bound = bound.min(limits::TOUCH_CHECK_OPERATIONS_MAX);
        let mut looked_at = 0;
        let mut touches = |operations: &Arc<[Op]>| {
            looked_at += operations.len();
            looked_at > bound || operations.iter().any(|op| queued.read.is_touched_by(op))
        };
        let under_way = self.group.iter().flat_map(|(_, operations)| operations);
        let waiting = self.writes.iter().take_while(|queued| queued.number <= number);
        under_way.chain(waiting.filter_map(|queued| queued.task.operations())).any(&mut touches)
    }

    /// Answers whoever waits for something that is durable by now, or never will be.
    fn answer_waiters(&mut self) {
        if self.waiters.is_empty() {
            return;
        }
        self.pass_on_errors();
        let settled = self.settled();
        for waiter in std::mem::take(&mut self.waiters) {
            let answer = match waiter.until {
                Until::Task(number) if number > settled => None,
                _ if self.read_only => Some(Ok(())),
                _ if self.context.is_poisoned() => Some(Err(poisoned())),
                until => self.is_durable(until).then_some(Ok(())),
            };
            match answer {
                Some(result) => waiter.answer(result, &mut self.kept),
                None => self.waiters.push(waiter),
            }
        }
    }

    /// Gives the errors of waiters whose callers have gone to those who wait still.
    fn pass_on_errors(&mut self) {
        let (abandoned, waiting): (Vec<_>, _) =
            std::mem::take(&mut self.waiters).into_iter().partition(Waiter::is_abandoned);
        self.waiters = waiting;
        for waiter in abandoned {
            self.kept.pass_on(waiter, &mut self.waiters);
        }
    }

    fn is_durable(&self, until: Until) -> bool {
        let record = self.context.record.borrow();
        match until {
            Until::Task(_) => record.durable_seq >= record.committed_seq && !self.context.is_log_unsynced(),
            // No sync can reach beyond what is committed.
            Until::Seq(seq) => record.durable_seq >= seq.min(record.committed_seq),
        }
    }

    /// Tells handles how far the job has come.
    pub(crate) fn publish(&self) {
        let record = self.context.record.borrow();
        self.link.publish(record.committed_seq, record.durable_seq);
    }

    fn is_drained(&self) -> bool {
        self.writes.is_empty()
            && self.group.is_none()
            && self.waiting_reads.is_empty()
            && self.reads.is_empty()
            && self.waiters.is_empty()
    }

    fn needs_last_sync(&self) -> bool {
        let open = self.last_command == Some(LastCommand::Close) && self.last_sync.is_none();
        let record = self.context.record.borrow();
        open && self.is_drained()
            && !self.read_only
            && !self.context.is_poisoned()
            && (record.durable_seq < record.committed_seq || self.context.is_log_unsynced())
    }

    /// How it ends, once the last command has come and nothing is left to do.
    fn ending(&mut self) -> Option<Ending> {
        let idle = self.step.is_terminated();
        let last = self.last_command.filter(|_| idle && self.is_drained())?;
        if last == LastCommand::Drop {
            return Some(Ending::Dropped);
        }
        let synced = self.last_sync.take().unwrap_or(if self.context.is_poisoned() {
            Err(poisoned())
        } else {
            Ok(())
        });
        Some(Ending::Closed(self.kept.report().and(synced)))
    }

    /// Ends because there is no job any more; what is being applied says first how that ended.
    async fn end_gone(mut self) -> Ending {
        self.link.vanish();
        self.reads.clear();
        if !self.step.is_terminated() {
            let step = (&mut self.step).await;
            self.finish_step(step);
        }
        self.fail_everything();
        Ending::Gone(self.kept.report())
    }

    /// Answers everything that still waits.
    fn fail_everything(&mut self) {
        self.commands.close();
        self.last_command = None;
        self.receive_all();
        for queued in std::mem::take(&mut self.writes) {
            self.settle(queued, Err(gone()));
        }
        for (_, queued) in std::mem::take(&mut self.waiting_reads) {
            queued.fail(gone());
        }
        for waiter in std::mem::take(&mut self.waiters) {
            waiter.answer(Err(gone()), &mut self.kept);
        }
    }

    /// Sees to it that the next deadline, or the next look at a shared record, wakes the actor.
    fn set_alarm(&mut self) {
        let next = self.earliest_deadline.into_iter().chain(self.next_look).min();
        if let Some(at) = next
            && self.alarm_at.is_none_or(|set| at < set)
        {
            self.alarm = self.context.clock.sleep_until(at).fuse();
            self.alarm_at = Some(at);
        }
    }
}

/// The next command; never resolves once there can be none.
async fn next_command(commands: &mut UnboundedReceiver<Command>, receiving: bool) -> Option<Command> {
    match receiving {
        true => commands.recv().await,
        false => std::future::pending().await,
    }
}
