//! The actor's steps: which transaction comes next, and what becomes of those that wait for it.
//!
//! One at a time. Never carries a transaction out itself: that is done in `commit` and `trim`.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::future::{FusedFuture, FutureExt};

use super::super::command::QueuedTask;
use super::super::commit::{self, Fatal, GroupEnd};
use super::super::turn::{Answer, Task};
use super::super::waiters::{Until, Waiter};
use super::{Actor, Local, Step};
use crate::commit_log::Commit;
use crate::error::{Error, ErrorKind, Quoted, Result};
use crate::limits;

impl Actor {
    /// Starts the next transaction, if one is due and none is under way.
    pub(super) fn start_step(&mut self) {
        if !self.step.is_terminated() || self.gone {
            return;
        }
        let settled = self.settled();
        let ripe = |waiter: &&Waiter| !matches!(waiter.until, Until::Task(number) if number > settled);
        let context = Rc::clone(&self.context);
        if self.waiters.iter().any(|waiter| ripe(&waiter)) {
            // The latest of their deadlines: an earlier one is withdrawn when its time comes.
            let deadlines = self.waiters.iter().filter(ripe).map(|waiter| waiter.deadline);
            let deadline = deadlines.reduce(|a, b| a.zip(b).map(|(a, b)| a.max(b))).flatten();
            self.start_sync(false, deadline);
        } else if !self.writes.is_empty() {
            if Rc::strong_count(&self.beginnings) > 1 {
                return;
            }
            let tasks = self.take_group();
            let durable = self.durable_always;
            let (link, recent) = (Arc::clone(&self.link), Rc::clone(&self.recent));
            let remember = move |commits: Vec<Commit>| match link.is_watched() {
                true => commits.into_iter().for_each(|commit| recent.borrow_mut().push(commit)),
                false => recent.borrow_mut().clear(),
            };
            self.start(
                async move { Step::Group(commit::commit_group(&context, tasks, durable, remember).await) },
            );
        } else if !self.read_only
            && !self.context.is_poisoned()
            && self.trimmer.is_due(&context.record.borrow().log)
        {
            let trimmer = Rc::clone(&self.trimmer);
            let deadline = self.link.deadline();
            self.start(async move { Step::Trim(trimmer.trim(&context, deadline).await) });
        } else if self.needs_last_sync() {
            let deadline = self.link.deadline();
            self.start_sync(true, deadline);
        }
    }

    fn start(&mut self, step: impl Future<Output = Step> + 'static) {
        let step: Local<Step> = Box::pin(step);
        self.step = step.fuse();
    }

    fn start_sync(&mut self, last: bool, deadline: Option<u64>) {
        let context = Rc::clone(&self.context);
        self.start(
            async move { Step::Sync { last, deadline, result: commit::sync(&context, deadline).await } },
        );
    }

    /// Takes writes off the queue, as many as one transaction may hold.
    fn take_group(&mut self) -> VecDeque<QueuedTask> {
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
            operations.extend(queued.task.operations().cloned());
            tasks.extend(self.writes.pop_front());
        }
        let first = tasks.front().map_or(self.accepted, |queued| queued.number);
        self.group = Some((first, operations));
        tasks
    }

    pub(super) fn finish_step(&mut self, step: Step) {
        match step {
            Step::Group(end) => self.finish_group(end),
            Step::Sync { last, deadline, result } => {
                self.link.counters.syncs.fetch_add(1, Ordering::Relaxed);
                let result = result.map_err(|(error, fatal)| {
                    self.take_fatal(fatal);
                    error
                });
                if let Err(error) = &result {
                    // Who came later and still has time waits for another sync.
                    let aborted = error.kind() == ErrorKind::Timeout;
                    self.fail_ripe_waiters(error, deadline.filter(|_| aborted));
                }
                if last {
                    self.last_sync = Some(result);
                }
            }
            Step::Trim(fatal) => self.take_fatal(fatal),
        }
        self.publish();
    }

    fn finish_group(&mut self, end: GroupEnd) {
        self.link.counters.groups.fetch_add(1, Ordering::Relaxed);
        self.group = None;
        for queued in end.again.into_iter().rev() {
            self.mind_deadline(queued.deadline);
            self.writes.push_front(queued);
        }
        self.take_fatal(end.end);
        // Seen by watchers before it is told to whoever wrote it.
        self.publish();
        for (queued, result) in end.settled {
            self.settle(queued, result);
        }
        if let Some(seq) = end.last_seq {
            self.context.engine.announce(self.context.generation, seq);
        }
    }

    fn take_fatal(&mut self, fatal: Option<Fatal>) {
        match fatal {
            Some(Fatal::Gone) => self.gone = true,
            Some(Fatal::Poisoned) => {
                log::error!(
                    "job {}: a sync failed; no more writes until it is opened anew",
                    Quoted(&self.link.id)
                );
                self.context.poison();
            }
            None => {}
        }
    }

    /// Gives a write its result; an error is logged, counted, and kept until somebody has seen it.
    pub(super) fn settle(&mut self, queued: QueuedTask, result: Result<Answer>) {
        let QueuedTask { number, task, ticket, deadline: _, credit } = queued;
        let counters = &self.link.counters;
        let result = result.map_err(|error| {
            counters.batches_failed.fetch_add(1, Ordering::Relaxed);
            let error = error.in_context(format_args!("job {}, {task}", Quoted(&self.link.id)));
            log::warn!("{error}");
            error
        });
        if result.is_ok() && matches!(task, Task::Batch { .. }) {
            counters.batches_committed.fetch_add(1, Ordering::Relaxed);
        }
        // Whoever is answered finds the room that his write had.
        drop(credit);
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
}
