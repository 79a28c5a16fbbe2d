//! The machine's steps: which transaction comes next, and what becomes of those that wait for it.
//!
//! One at a time. What a group of writes comes to is told in `groups`, one transaction in `turns`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::super::command::{QueuedTask, Reading};
use super::super::errors::gone;
use super::super::turn::{Answer, LogChange, Task};
use super::super::waiters::{Until, Waiter};
use super::Machine;
use super::connection::Failure;
use super::groups::Group;
use super::turns::{TurnEnd, TurnRun};
use crate::commit_log::{Head, span};
use crate::engine::{EngineError, Fault, Found, PageRequest, Space};
use crate::error::{Error, ErrorKind, Quoted, Result};
use crate::limits;
use crate::record::{LogRetention, LogState};
use crate::text::text;

/// The step under way: what it is for, and its transaction once it has one.
pub(super) struct Step {
    work: Work,
    turn: Option<TurnRun>,
}

enum Work {
    Group(Group),
    /// Writes the durable marker: everything committed so far survives power loss afterwards.
    Sync {
        last: bool,
        deadline: Option<u64>,
    },
    /// Looks for how much of the log can go, then removes it.
    Trim(Search),
    /// A task outside of the queue, before the job is handed out or after it has ended.
    Single {
        durable: bool,
    },
}

/// The search for the last value that begins at or before `target`: halves the log until it is found.
struct Search {
    low: u64,
    high: u64,
    /// The first seq of the value that `low` is in.
    keep_from: u64,
    first_seq: u64,
    target: u64,
    deadline: Option<u64>,
}

/// Why a job can take no more writes.
#[derive(Debug)]
pub(super) enum Fatal {
    /// Its generation has gone: the job is over.
    Gone,
    /// The medium failed to sync: what it holds cannot be told until it is opened anew.
    Poisoned,
}

impl Step {
    /// When [`Machine::step_is_late`] is wanted.
    pub(super) fn alarm(&self) -> Option<u64> {
        self.turn.as_ref().and_then(TurnRun::alarm)
    }
}

impl Machine {
    /// Starts the next transaction, if one is due and none is under way.
    pub(super) fn start_step(&mut self) {
        if self.step.is_some() || self.gone {
            return;
        }
        let settled = self.settled();
        let ripe = |waiter: &&Waiter| !matches!(waiter.until, Until::Task(number) if number > settled);
        if self.waiters.iter().any(|waiter| ripe(&waiter)) {
            // The latest of their deadlines: an earlier one is withdrawn when its time comes.
            let deadlines = self.waiters.iter().filter(ripe).map(|waiter| waiter.deadline);
            let deadline = deadlines.reduce(|a, b| a.zip(b).map(|(a, b)| a.max(b))).flatten();
            self.start_sync(false, deadline);
        } else if !self.writes.is_empty() {
            if !self.reads.any_beginning() && !self.gathers_on() {
                self.start_group();
            }
        } else if let Some(search) = self.trimming() {
            self.start(Work::Trim(search));
            self.search_on();
        } else if self.needs_last_sync() {
            self.start_sync(true, self.link.deadline());
        }
    }

    /// Carries out one task outside of the queue; [`Machine::single_result`] tells how that went.
    pub(crate) fn start_single(&mut self, task: Task, durable: bool) {
        self.start(Work::Single { durable });
        self.begin_turn(Arc::new([task]), self.link.deadline(), durable);
    }

    /// What the single task came to, once that is known.
    pub(crate) fn single_result(&mut self) -> Option<Result<()>> {
        if self.step.is_some() { None } else { self.last_sync.take() }
    }

    fn start(&mut self, work: Work) {
        self.step = Some(Step { work, turn: None });
    }

    fn start_sync(&mut self, last: bool, deadline: Option<u64>) {
        self.start(Work::Sync { last, deadline });
        self.begin_turn(Arc::new([Task::Sync]), deadline, true);
    }

    /// Takes writes off the queue, as many as one transaction may hold.
    fn start_group(&mut self) {
        let (mut tasks, mut operations) = (VecDeque::new(), Vec::new());
        let (mut entries, mut bytes) = (0, 0);
        while let Some(queued) = self.writes.front() {
            let (more_entries, more_bytes) = queued.task.weight();
            entries += more_entries;
            bytes += more_bytes;
            let full = entries > limits::GROUP_OPERATIONS_MAX || bytes > limits::GROUP_BYTES_MAX;
            if full && !tasks.is_empty() {
                break;
            }
            let Some(queued) = self.writes.pop_front() else { break };
            operations.extend(queued.task.operations().cloned());
            tasks.push_back(queued);
        }
        let first = tasks.front().map_or(self.accepted, |queued| queued.number);
        self.group = Some((first, operations));
        self.start(Work::Group(Group::new(tasks)));
        self.next_part();
    }

    /// Begins the transaction of the group's next part, or ends the group.
    fn next_part(&mut self) {
        let Some(Step { work: Work::Group(group), .. }) = &mut self.step else { return };
        if let Some((tasks, deadline)) = group.next_part() {
            return self.begin_turn(tasks, deadline, self.durable_always);
        }
        let Some(Step { work: Work::Group(group), .. }) = self.step.take() else { return };
        self.finish_group(group);
    }

    /// The time of the turn under way has passed.
    pub(super) fn step_is_late(&mut self) {
        self.turn_is_late();
    }

    pub(super) fn turn(&self) -> Option<&TurnRun> {
        self.step.as_ref()?.turn.as_ref()
    }

    pub(super) fn take_turn(&mut self) -> Option<TurnRun> {
        self.step.as_mut()?.turn.take()
    }

    pub(super) fn keep_turn(&mut self, run: TurnRun) {
        if let Some(step) = &mut self.step {
            step.turn = Some(run);
        }
    }

    /// What the step wanted to read.
    pub(super) fn step_read(&mut self, result: std::result::Result<Reading, Failure>) {
        match &mut self.step {
            Some(Step { work: Work::Trim(search), turn: None }) => match result {
                Ok(Reading::Found(Found::Page(page))) => {
                    let value = page.rows.iter().next().map(|(key, value)| Head::of(key, value));
                    match value.transpose() {
                        Ok(value) => {
                            search.narrow(value);
                            self.search_on();
                        }
                        Err(error) => self.fail_trim(error),
                    }
                }
                Err(Failure::Gone) => self.finish_trim(Some(Fatal::Gone)),
                Err(Failure::Engine(error)) => self.fail_trim(error),
                Ok(_) => {
                    self.fail_trim(EngineError::new(Fault::Other, "the engine answered another question"))
                }
            },
            Some(_) => self.turn_read(result),
            None => {}
        }
    }

    /// The turn of the step has ended.
    pub(super) fn turn_ended(&mut self, end: TurnEnd) {
        let now = self.now();
        let Some(step) = &mut self.step else { return };
        match &mut step.work {
            Work::Group(group) => {
                let committed = group.part_ended(end, self.standing.writer, now);
                if let Some((after, commits)) = committed {
                    // Remembered before anybody can learn their seqs.
                    match self.link.is_watched() {
                        true => commits.into_iter().for_each(|commit| self.recent.push(commit)),
                        false => self.recent.clear(),
                    }
                    self.standing.committed(after, self.durable_always);
                }
                self.next_part();
            }
            Work::Sync { last, deadline } => {
                let (last, deadline) = (*last, *deadline);
                self.step = None;
                let result = self.take_single_end(end, true);
                self.finish_sync(last, deadline, result);
            }
            Work::Trim(_) => {
                let fatal = match end {
                    TurnEnd::Done { after, .. } => {
                        self.standing.committed(after, false);
                        None
                    }
                    TurnEnd::Gone => Some(Fatal::Gone),
                    TurnEnd::Failed(error) => return self.fail_trim(error),
                };
                self.finish_trim(fatal);
            }
            Work::Single { durable } => {
                let durable = *durable;
                self.step = None;
                let result = self.take_single_end(end, durable);
                self.last_sync = Some(result);
            }
        }
    }

    fn take_single_end(&mut self, end: TurnEnd, durable: bool) -> Result<()> {
        match end {
            TurnEnd::Done { after, .. } => {
                self.standing.committed(after, durable);
                Ok(())
            }
            TurnEnd::Gone => {
                self.take_fatal(Some(Fatal::Gone));
                Err(gone())
            }
            TurnEnd::Failed(error) => {
                self.take_fatal((error.fault == Fault::SyncFailed).then_some(Fatal::Poisoned));
                Err(error.into())
            }
        }
    }

    fn finish_sync(&mut self, last: bool, deadline: Option<u64>, result: Result<()>) {
        self.link.counters.syncs.fetch_add(1, Ordering::Relaxed);
        if let Err(error) = &result {
            // Who came later and still has time waits for another sync.
            let aborted = error.kind() == ErrorKind::Timeout;
            self.fail_ripe_waiters(error, deadline.filter(|_| aborted));
        }
        if last {
            self.last_sync = Some(result);
        }
        self.publish();
    }

    fn finish_group(&mut self, group: Group) {
        let Group { settled, mut again, last_seq, end, .. } = group;
        self.link.counters.groups.fetch_add(1, Ordering::Relaxed);
        self.group = None;
        while let Some(queued) = again.pop_back() {
            self.mind_deadline(queued.deadline);
            self.writes.push_front(queued);
        }
        self.take_fatal(end);
        // Seen by watchers before it is told to whoever wrote it.
        self.publish();
        self.gathering.have_been_answered(settled.len());
        for (queued, result) in settled {
            self.settle(queued, result);
        }
        if let Some(seq) = last_seq {
            self.wishes.push(super::Wish::Announce(self.standing.generation, seq));
        }
    }

    fn take_fatal(&mut self, fatal: Option<Fatal>) {
        match fatal {
            Some(Fatal::Gone) => self.lose_job(),
            Some(Fatal::Poisoned) => {
                log::error!(
                    "job {}: a sync failed; no more writes until it is opened anew",
                    Quoted(&self.link.id)
                );
                self.standing.poisoned = true;
            }
            None => {}
        }
    }

    /// Gives a write its result; an error is logged, counted, and kept until somebody has seen it.
    pub(super) fn settle(&mut self, queued: QueuedTask, result: Result<Answer>) {
        let QueuedTask { number, task, ticket, deadline: _, pending, credit } = queued;
        let counters = &self.link.counters;
        let result = result.map_err(|error| {
            counters.batches_failed.fetch_add(1, Ordering::Relaxed);
            let error = error.in_context(text!("job ", Quoted(&self.link.id), ", ", task.in_words()));
            log::warn!("{error}");
            error
        });
        if result.is_ok() && matches!(task, Task::Batch { .. }) {
            counters.batches_committed.fetch_add(1, Ordering::Relaxed);
        }
        // Whoever is answered finds the room that his write had.
        drop((pending, credit));
        if let Some(slot) = ticket.settle(result) {
            self.kept.failed(number, slot, &mut self.waiters);
        }
    }

    /// Answers who waits for the sync that failed; those who have time beyond `late` wait on.
    fn fail_ripe_waiters(&mut self, error: &Error, late: Option<u64>) {
        let settled = self.settled();
        for waiter in std::mem::take(&mut self.waiters) {
            let has_time = late.is_some_and(|late| waiter.deadline.is_none_or(|at| at > late));
            match waiter.until {
                Until::Task(number) if number > settled => self.waiters.push(waiter),
                _ if has_time => self.waiters.push(waiter),
                _ => waiter.answer(Err(error.clone()), &mut self.kept),
            }
        }
    }

    // ---- trimming the log to the bytes that its retention asks for -------------------------------
    //
    // Never removes what a named holder has not released: `turn` decides that anew in the transaction.

    /// Where to look for commits that can go, if the log may have grown well beyond its retention.
    fn trimming(&mut self) -> Option<Search> {
        let log = &self.standing.record.log;
        let LogRetention::LastBytes(keep) = log.retention else { return None };
        let due = log.end_offset >= self.no_trim_before.max(keep.saturating_add(slack(keep)));
        if !due || self.read_only || self.standing.poisoned {
            return None;
        }
        self.no_trim_before = log.end_offset.saturating_add(slack(keep));
        let LogState { first_seq, end_offset, .. } = *log;
        let (low, high) = (first_seq, self.standing.record.committed_seq);
        let (target, deadline) = (end_offset.saturating_sub(keep), self.link.deadline());
        Some(Search { low, high, keep_from: low, first_seq, target, deadline })
    }

    /// Reads where the next value to look at begins; or removes what lies wholly before the one found.
    fn search_on(&mut self) {
        let Some(Step { work: Work::Trim(search), .. }) = &self.step else { return };
        let (deadline, keep_from) = (search.deadline, search.keep_from);
        if search.low < search.high {
            let request = search.request();
            self.read_page_for_step(request, deadline);
        } else if keep_from > search.first_seq {
            self.begin_turn(Arc::new([Task::Log(LogChange::Trim(keep_from - 1))]), deadline, false);
        } else {
            self.finish_trim(None);
        }
    }

    fn fail_trim(&mut self, error: EngineError) {
        log::warn!("job {}: the commit log could not be trimmed: {error:?}", Quoted(&self.link.id));
        self.finish_trim((error.fault == Fault::SyncFailed).then_some(Fatal::Poisoned));
    }

    fn finish_trim(&mut self, fatal: Option<Fatal>) {
        self.step = None;
        self.take_fatal(fatal);
        self.publish();
    }
}

impl Search {
    fn middle(&self) -> u64 {
        self.high - (self.high - self.low) / 2
    }

    fn request(&self) -> PageRequest {
        PageRequest {
            space: Space::Log,
            span: span(self.middle(), self.high),
            reverse: false,
            rows_max: 1,
            bytes_max: 0,
            keys_only: false,
        }
    }

    /// Takes the value that the middle is in; `None` if it is not there any more.
    fn narrow(&mut self, value: Option<Head>) {
        let middle = self.middle();
        match value {
            Some(Head { first_seq, last_seq, offset, .. }) if offset <= self.target => {
                (self.low, self.keep_from) = (last_seq.max(middle), first_seq);
            }
            Some(Head { first_seq, .. }) => self.high = first_seq.min(middle) - 1,
            None => self.high = middle - 1,
        }
    }
}

/// How much the log may outgrow its retention before it is trimmed.
fn slack(keep: u64) -> u64 {
    (keep / 2).max(limits::LOG_TRIM_SLACK_BYTES)
}
