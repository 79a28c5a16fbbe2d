//! A group: the writes that have piled up, committed together, with an answer of its own for each.
//!
//! Every rule about parts stands here: a full medium is met by halves, a deadline by withdrawing what
//! is late. Nothing here orders or accepts anything; that has been done.

use std::collections::VecDeque;
use std::sync::Arc;

use super::super::command::QueuedTask;
use super::super::errors::{gone, poisoned, timed_out};
use super::super::turn::{Answer, Task};
use super::steps::Fatal;
use super::turns::TurnEnd;
use crate::clock::earlier;
use crate::commit_log::Commit;
use crate::engine::{EngineError, Fault};
use crate::error::{Error, ErrorKind, Outcome, Result};
use crate::record::Record;

pub(super) struct Group {
    /// Every task that has its result.
    pub(super) settled: Vec<(QueuedTask, Result<Answer>)>,
    /// Tasks that have to be tried again, in order.
    pub(super) again: VecDeque<QueuedTask>,
    /// The seq of the last batch that was committed.
    pub(super) last_seq: Option<u64>,
    /// Nothing can be written any more.
    pub(super) end: Option<Fatal>,
    /// Tasks of the transaction under way.
    part: VecDeque<QueuedTask>,
    part_deadline: Option<u64>,
    waiting: VecDeque<QueuedTask>,
    /// Tasks that one transaction takes.
    size: usize,
}

impl Group {
    pub(super) fn new(tasks: VecDeque<QueuedTask>) -> Self {
        Group {
            settled: Vec::with_capacity(tasks.len()),
            again: VecDeque::new(),
            last_seq: None,
            end: None,
            part: VecDeque::new(),
            part_deadline: None,
            size: tasks.len(),
            waiting: tasks,
        }
    }

    /// The tasks of the next transaction and its deadline; `None` if there is nothing left to do.
    pub(super) fn next_part(&mut self) -> Option<(Arc<[Task]>, Option<u64>)> {
        if self.waiting.is_empty() {
            return None;
        }
        let (mut tasks, mut deadline) = (Vec::new(), None);
        while tasks.len() < self.size
            && let Some(queued) = self.waiting.pop_front()
        {
            tasks.push(queued.task.clone());
            deadline = earlier(deadline, queued.deadline);
            self.part.push_back(queued);
        }
        self.part_deadline = deadline;
        Some((tasks.into(), deadline))
    }

    /// Takes how the transaction ended, `now`; returns what it committed, ascending by seq.
    pub(super) fn part_ended(
        &mut self,
        end: TurnEnd,
        writer: [u8; 16],
        now: u64,
    ) -> Option<(Arc<Record>, Vec<Commit>)> {
        let part = std::mem::take(&mut self.part);
        match end {
            TurnEnd::Done { after, answers } => {
                let commits = self.collect(writer, part, answers, &after);
                self.last_seq = commits.last().map(|commit| commit.seq).or(self.last_seq);
                return Some((after, commits));
            }
            TurnEnd::Gone => {
                self.end = Some(Fatal::Gone);
                self.fail(part, &gone());
                self.fail_waiting(&gone());
            }
            TurnEnd::Failed(error) => self.part_failed(part, error, now),
        }
        None
    }

    fn part_failed(&mut self, part: VecDeque<QueuedTask>, error: EngineError, now: u64) {
        let has_passed = |deadline: Option<u64>| deadline.is_some_and(|at| at <= now);
        match error.fault {
            // What may have been applied is not tried again.
            Fault::StorageFull if error.outcome != Outcome::NotApplied => self.fail(part, &error.into()),
            Fault::StorageFull if part.len() > 1 => {
                self.size = part.len().div_ceil(2);
                self.put_back(part);
            }
            Fault::StorageFull => {
                let error = Error::from(error);
                self.fail(part, &error);
                let (puts, others) = parted(std::mem::take(&mut self.waiting), contains_put);
                self.fail(puts, &error);
                self.size = others.len();
                self.waiting = others;
            }
            // Without a deadline that has passed nobody has asked for the abort.
            Fault::Aborted if error.outcome == Outcome::NotApplied && has_passed(self.part_deadline) => {
                let (late, again) = parted(part, |queued| has_passed(queued.deadline));
                self.fail(late, &timed_out());
                self.put_back(again);
                self.again = std::mem::take(&mut self.waiting);
            }
            Fault::SyncFailed => {
                self.end = Some(Fatal::Poisoned);
                self.fail(part, &error.into());
                self.fail_waiting(&poisoned());
            }
            _ => self.fail(part, &error.into()),
        }
    }

    /// Settles the tasks of a transaction; returns the batches that it committed.
    fn collect(
        &mut self,
        writer: [u8; 16],
        tasks: VecDeque<QueuedTask>,
        answers: Vec<Answer>,
        after: &Record,
    ) -> Vec<Commit> {
        let mut commits = Vec::new();
        for (queued, answer) in tasks.into_iter().zip(answers) {
            if let (Task::Batch { batch, .. }, Answer::Done { seq, .. }) = (&queued.task, answer)
                && !batch.operations.is_empty()
            {
                let operations = Arc::clone(&batch.operations);
                commits.push(Commit { seq, time_ms: after.last_commit_ms, writer, operations });
            }
            let verdict = verdict(&queued.task, answer);
            self.settled.push((queued, verdict));
        }
        commits
    }

    fn fail(&mut self, tasks: VecDeque<QueuedTask>, error: &Error) {
        for queued in tasks {
            self.settled.push((queued, Err(error.clone())));
        }
    }

    fn fail_waiting(&mut self, error: &Error) {
        let waiting = std::mem::take(&mut self.waiting);
        self.fail(waiting, error);
    }

    fn put_back(&mut self, mut tasks: VecDeque<QueuedTask>) {
        while let Some(queued) = tasks.pop_back() {
            self.waiting.push_front(queued);
        }
    }
}

fn verdict(task: &Task, answer: Answer) -> Result<Answer> {
    match (answer, task) {
        (Answer::Done { .. }, _) => Ok(answer),
        (Answer::Conflict(index), Task::Batch { batch, .. }) => {
            Err(Error::conflict(index, batch.preconditions[index].in_words()))
        }
        (Answer::NoHolder, _) => Err(Error::new(ErrorKind::InvalidArgument, "no such log holder")),
        (Answer::HoldersFull, _) => Err(Error::new(ErrorKind::TooLarge, "too many log holders")),
        (Answer::Conflict(_), _) => unreachable!("only a batch has preconditions"),
    }
}

/// Those of which it is true, and the others.
fn parted(
    tasks: VecDeque<QueuedTask>,
    is_first: impl Fn(&QueuedTask) -> bool,
) -> (VecDeque<QueuedTask>, VecDeque<QueuedTask>) {
    let (mut first, mut others) = (VecDeque::new(), VecDeque::new());
    for queued in tasks {
        if is_first(&queued) { &mut first } else { &mut others }.push_back(queued);
    }
    (first, others)
}

fn contains_put(queued: &QueuedTask) -> bool {
    matches!(&queued.task, Task::Batch { batch, .. } if batch.contains_put())
}
