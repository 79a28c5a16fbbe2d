//! The machine of one job: everything a worker decides, as a state that only what happens moves on.
//!
//! The driver tells it what happens (commands, answers of the engine, time) and carries out what it
//! wishes for. Its rounds:
//!
//! 1. **receive** commands in the order of their acceptance, numbering the writes;
//! 2. **withdraw** what has passed its deadline without having been started;
//! 3. **read** what no pending write touches;
//! 4. **step**: one transaction at a time, the first that is due of: a sync that somebody waits for,
//!    a group of the writes that have piled up, trimming the log;
//! 5. **drain** after the last command: writes, reads, waiters, in that order;
//! 6. **end**: the job is closed or dropped by `worker::start`.
//!
//! Never awaits anything, never knows which engine it has, and never validates: handles have done that.

mod connection;
mod gathering;
mod groups;
mod reads;
mod rooms;
mod standing;
mod steps;
mod turns;

use std::collections::VecDeque;
use std::sync::Arc;

use super::command::{Command, QueuedRead, QueuedTask, Read, Reply};
use super::errors::{gone, poisoned, timed_out};
use super::link::Link;
use super::recent::Recent;
use super::turn::Turn;
use super::waiters::{KeptErrors, Until, Waiter};
use crate::batch::Op;
use crate::clock::earlier;
use crate::engine::{EngineError, Fault, Query, Seen, Sharing, Verify};
use crate::error::{Quoted, Result};
use crate::limits;
use crate::record::Record;
use crate::room::Share;

use self::connection::Connection;
use self::gathering::Gathering;
use self::reads::Reads;
use self::standing::Standing;
use self::steps::Step;
use self::turns::Told;
pub(crate) use self::turns::change;

/// Whose call of the engine it is: those of reads are numbered from [`FIRST_READ`] on.
pub(crate) type CallId = u64;

/// The call of the step under way.
const STEP: CallId = 0;
/// The call that renews the connection.
const RENEWAL: CallId = 1;
/// The call that waits for what others commit.
const CHANGED: CallId = 2;
const FIRST_READ: CallId = 3;

/// What the driver is to do.
pub(crate) enum Wish {
    /// To ask the engine; the answer goes to [`Machine::answered`]. Each number has one call at a time.
    Ask(CallId, Ask),
    /// To drop this call: nobody waits for its answer any more.
    GiveUp(CallId),
    /// To have the engine abort the transaction under way.
    Abort,
    /// To tell the other owners that this seq is committed.
    Announce([u8; 16], u64),
}

/// A call of the engine, by its own names.
pub(crate) enum Ask {
    Read(Query, Verify),
    /// To take the turn, and leave its verdict where it will be looked for.
    Apply(Turn, Told),
    Compact,
    Reconnect,
    Changed,
}

/// What the engine answered; a reading call has something to show.
pub(crate) type Answered = std::result::Result<Option<Seen>, EngineError>;

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

#[derive(Clone, Copy, PartialEq, Eq)]
enum LastCommand {
    Close,
    Drop,
}

/// The state between two rounds; see the module's own words.
pub(crate) struct Machine {
    link: Arc<Link>,
    standing: Standing,
    connection: Connection,
    read_only: bool,
    durable_always: bool,
    /// Writes that have not been started, oldest first.
    writes: VecDeque<QueuedTask>,
    /// How many writes have been accepted.
    accepted: u64,
    /// The number of the first write of the group under way, and all its operations.
    group: Option<(u64, Vec<Arc<[Op]>>)>,
    gathering: Gathering,
    step: Option<Step>,
    /// Reads, each with the number of the write that it has to see.
    waiting_reads: VecDeque<(u64, QueuedRead)>,
    reads: Reads,
    waiters: Vec<Waiter>,
    kept: KeptErrors,
    recent: Recent,
    /// No look at how much of the log can be trimmed before it has grown to this offset.
    no_trim_before: u64,
    /// No deadline is earlier than this.
    earliest_deadline: Option<u64>,
    /// When to look at the record of a job that others change, while somebody watches.
    next_look: Option<u64>,
    gone: bool,
    /// Whether what was accepted before the link heard of that has been received.
    received_all: bool,
    last_command: Option<LastCommand>,
    /// The result of the sync before closing.
    last_sync: Option<Result<()>>,
    wishes: Vec<Wish>,
}

impl Machine {
    /// The machine of a job that stands at `record`; `writer` are 16 random bytes of this opening.
    pub(crate) fn new(
        link: Arc<Link>,
        writer: [u8; 16],
        record: Record,
        sharing: Sharing,
        durable_always: bool,
    ) -> Self {
        Machine {
            link,
            standing: Standing::new(writer, record, sharing),
            connection: Connection::default(),
            read_only: sharing == Sharing::ReadOnly,
            durable_always,
            writes: VecDeque::new(),
            accepted: 0,
            group: None,
            gathering: Gathering::default(),
            step: None,
            waiting_reads: VecDeque::new(),
            reads: Reads::default(),
            waiters: Vec::new(),
            kept: KeptErrors::default(),
            recent: Recent::default(),
            no_trim_before: 0,
            earliest_deadline: None,
            next_look: None,
            gone: false,
            received_all: false,
            last_command: None,
            last_sync: None,
            wishes: vec![Wish::Ask(CHANGED, Ask::Changed)],
        }
    }

    /// Does everything that can be done now; how it ends, once there is nothing left to do.
    pub(crate) fn advance(&mut self) -> Option<Ending> {
        self.act_on_time();
        self.refuse_if_poisoned();
        self.start_reads();
        self.answer_waiters();
        self.start_step();
        match self.gone {
            true => self.end_gone(),
            false => self.ending(),
        }
    }

    /// What is to be done now; the driver takes it before it waits.
    pub(crate) fn wishes(&mut self) -> Vec<Wish> {
        std::mem::take(&mut self.wishes)
    }

    /// Whether further commands are taken.
    pub(crate) fn receives(&self) -> bool {
        self.last_command.is_none()
    }

    /// Whether there is nothing to do, so that the job may rest.
    pub(crate) fn is_idle(&self) -> bool {
        self.is_drained()
            && self.step.is_none()
            && self.last_command.is_none()
            && self.next_look.is_none()
            && !self.gone
            && !self.standing.poisoned
    }

    /// Whether there is nothing to be put on the medium.
    pub(crate) fn is_synced(&self) -> bool {
        self.read_only || self.standing.is_durable(Until::Task(self.accepted))
    }

    /// The engine has released everything, or failed to: it is connected again before it is used.
    pub(crate) fn rest(&mut self, released: std::result::Result<(), EngineError>) {
        self.connection.unusable = true;
        self.wishes = vec![Wish::Ask(CHANGED, Ask::Changed)];
        if let Err(error) = released {
            log::warn!("job {}: it could not be released properly: {error:?}", Quoted(&self.link.id));
            self.standing.poisoned |= error.fault == Fault::SyncFailed;
        }
    }

    /// Takes a command.
    pub(crate) fn receive(&mut self, command: Command) {
        match command {
            Command::Write(mut queued) => {
                self.accepted += 1;
                queued.number = self.accepted;
                self.mind_deadline(queued.deadline);
                self.writes.push_back(queued);
                self.gathering.has_come();
            }
            Command::Read(read) => {
                self.mind_deadline(read.deadline);
                self.waiting_reads.push_back((self.accepted, read));
            }
            Command::Flush { deadline, reply, credit } => {
                self.wait_until(Until::Task(self.accepted), deadline, reply, credit);
            }
            Command::Durable { seq, deadline, reply, credit } => {
                self.wait_until(Until::Seq(seq), deadline, reply, credit);
            }
            Command::Drop => self.last_command = Some(LastCommand::Drop),
            Command::Close => self.last_command = Some(LastCommand::Close),
        }
    }

    /// Takes the answer of a call that was wished for.
    pub(crate) fn answered(&mut self, id: CallId, answered: Answered) {
        match id {
            STEP => self.turn_answered(answered.map(drop)),
            RENEWAL => self.renewal_answered(answered),
            CHANGED => {
                self.next_look = Some(0);
                self.wishes.push(Wish::Ask(CHANGED, Ask::Changed));
            }
            _ => self.read_answered(id, answered),
        }
        self.publish();
    }

    /// When [`Machine::advance`] is wanted though nothing has happened, on the clock's monotonic scale.
    pub(crate) fn alarm(&self) -> Option<u64> {
        if self.gone && self.step.is_none() {
            // At once: only what was accepted before the link took no more had to be received first.
            return Some(0);
        }
        let step = self.step.as_ref().and_then(Step::alarm);
        earlier(earlier(self.earliest_deadline, self.next_look), step)
    }

    /// Tells handles how far the job has come.
    fn publish(&self) {
        let record = &self.standing.record;
        self.link.publish(record.committed_seq, record.durable_seq);
    }

    /// Tells that the job has been opened, and where it stands.
    pub(crate) fn publish_opened(&self) {
        self.publish();
        self.link.publish_opened(self.standing.record.generation);
    }

    fn now(&self) -> u64 {
        self.link.clock.monotonic_ms()
    }

    fn wait_until(&mut self, until: Until, deadline: Option<u64>, reply: Reply, credit: Share) {
        self.mind_deadline(deadline);
        self.waiters.push(Waiter::new(until, deadline, reply, &mut self.kept).holding(credit));
    }

    fn mind_deadline(&mut self, deadline: Option<u64>) {
        self.earliest_deadline = earlier(self.earliest_deadline, deadline);
    }

    /// The number up to which every write has its result.
    fn settled(&self) -> u64 {
        let first_open = self.group.as_ref().map(|(first, _)| *first);
        let first_open = first_open.or_else(|| self.writes.front().map(|queued| queued.number));
        first_open.map_or(self.accepted, |first| first - 1)
    }

    /// Withdraws what is late, and looks at a shared record when it is time to.
    fn act_on_time(&mut self) {
        let now = self.now();
        if self.earliest_deadline.is_some_and(|at| at <= now) {
            self.withdraw_late(now);
        }
        if self.step.as_ref().and_then(Step::alarm).is_some_and(|at| at <= now) {
            self.step_is_late();
        }
        if self.next_look.is_some_and(|at| at <= now) {
            self.next_look = None;
            self.look();
        }
        if self.next_look.is_none() && self.standing.is_shared() && self.link.is_watched() {
            self.next_look = Some(now.saturating_add(limits::SHARED_POLL_MS));
        }
    }

    /// Answers `Timeout` to what has not been started in time, and to reads that have not ended in time.
    fn withdraw_late(&mut self, now: u64) {
        let is_late = |deadline: Option<u64>| deadline.is_some_and(|at| at <= now);
        self.earliest_deadline = None;
        for queued in std::mem::take(&mut self.writes) {
            if is_late(queued.deadline) {
                self.settle(queued, Err(timed_out()));
            } else {
                self.mind_deadline(queued.deadline);
                self.writes.push_back(queued);
            }
        }
        for (number, queued) in std::mem::take(&mut self.waiting_reads) {
            if is_late(queued.deadline) {
                queued.fail(timed_out());
            } else {
                self.mind_deadline(queued.deadline);
                self.waiting_reads.push_back((number, queued));
            }
        }
        self.withdraw_late_reads(now);
        self.mind_deadline(self.reads.earliest_deadline());
        for waiter in std::mem::take(&mut self.waiters) {
            if is_late(waiter.deadline) {
                waiter.answer(Err(timed_out()), &mut self.kept);
            } else {
                self.mind_deadline(waiter.deadline);
                self.waiters.push(waiter);
            }
        }
    }

    /// Answers the writes of a job whose medium failed to sync, before anybody waits for them.
    fn refuse_if_poisoned(&mut self) {
        if !self.standing.poisoned {
            return;
        }
        for queued in std::mem::take(&mut self.writes) {
            self.settle(queued, Err(poisoned()));
        }
    }

    /// Starts every read that has nothing left to wait for.
    fn start_reads(&mut self) {
        if self.waiting_reads.is_empty() || self.gone {
            return;
        }
        let settled = self.settled();
        for (number, queued) in std::mem::take(&mut self.waiting_reads) {
            if queued.reply.is_closed() {
                continue;
            }
            if number > settled && self.may_be_touched(number, &queued.read) {
                self.waiting_reads.push_back((number, queued));
            } else {
                self.start_read(queued);
            }
        }
    }

    /// Whether a write up to `number` that has no result yet can change what the read will see.
    fn may_be_touched(&self, number: u64, read: &Read) -> bool {
        if read.is_about_commits() {
            return false;
        }
        let bound = limits::TOUCH_CHECK_COMPARISONS_MAX / read.keys().max(1);
        let bound = bound.min(limits::TOUCH_CHECK_OPERATIONS_MAX);
        let mut looked_at = 0;
        let mut touches = |operations: &Arc<[Op]>| {
            looked_at += operations.len();
            looked_at > bound || operations.iter().any(|op| read.is_touched_by(op))
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
                _ if self.standing.poisoned => Some(Err(poisoned())),
                until => self.standing.is_durable(until).then_some(Ok(())),
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

    fn is_drained(&self) -> bool {
        self.writes.is_empty()
            && self.group.is_none()
            && self.waiting_reads.is_empty()
            && self.reads.is_empty()
            && self.waiters.is_empty()
    }

    fn needs_last_sync(&self) -> bool {
        let open = self.last_command == Some(LastCommand::Close) && self.last_sync.is_none();
        open && self.is_drained() && !self.standing.poisoned && !self.is_synced()
    }

    /// How it ends, once the last command has come and nothing is left to do.
    fn ending(&mut self) -> Option<Ending> {
        let idle = self.step.is_none();
        let last = self.last_command.filter(|_| idle && self.is_drained())?;
        if last == LastCommand::Drop {
            return Some(Ending::Dropped);
        }
        let synced = match self.last_sync.take() {
            Some(synced) => synced,
            None if self.standing.poisoned => Err(poisoned()),
            None => Ok(()),
        };
        Some(Ending::Closed(self.kept.report().and(synced)))
    }

    /// Takes note that there is no job any more. Before anybody can learn of that, no more is accepted.
    fn lose_job(&mut self) {
        self.gone = true;
        self.link.vanish();
    }

    /// Ends because there is no job any more, once what is being applied has said how that ended.
    fn end_gone(&mut self) -> Option<Ending> {
        self.abandon_reads();
        if self.step.is_some() || !std::mem::replace(&mut self.received_all, true) {
            return None;
        }
        for queued in std::mem::take(&mut self.writes) {
            self.settle(queued, Err(gone()));
        }
        for (_, queued) in std::mem::take(&mut self.waiting_reads) {
            queued.fail(gone());
        }
        for waiter in std::mem::take(&mut self.waiters) {
            waiter.answer(Err(gone()), &mut self.kept);
        }
        Some(Ending::Gone(self.kept.report()))
    }
}
