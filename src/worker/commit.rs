//! Commits a group: one transaction for what has piled up, with an answer of its own for each task.
//!
//! Every rule about what may be tried again stands here: a lost connection once, a full medium by
//! halves, a deadline by withdrawing, an unknown outcome never before the record has told. Nothing
//! here orders or accepts anything; that has been done.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::iter::from_fn;
use std::rc::Rc;
use std::sync::Arc;

use super::command::QueuedTask;
use super::context::{Context, Failure, gone, timed_out};
use super::turn::{Answer, Decided, LogChange, Stamp, Task, Turn, Verdict};
use crate::commit_log::Commit;
use crate::engine::{Change, EngineError, Fault};
use crate::error::{Error, ErrorKind, Outcome, Result};
use crate::limits::ABORT_GRACE_MS;
use crate::record::Record;

/// What became of a group.
#[derive(Default)]
pub(crate) struct GroupEnd {
    /// Every task that has its result.
    pub(crate) settled: Vec<(QueuedTask, Result<Answer>)>,
    /// Tasks that have to be tried again, in order.
    pub(crate) again: VecDeque<QueuedTask>,
    /// The seq of the last batch that was committed.
    pub(crate) last_seq: Option<u64>,
    /// Nothing can be written any more.
    pub(crate) end: Option<Fatal>,
}

/// Why a job can take no more writes.
#[derive(Debug)]
pub(crate) enum Fatal {
    /// Its generation has gone: the job is over.
    Gone,
    /// The medium failed to sync: what it holds cannot be told until it is opened anew.
    Poisoned,
}

/// How one transaction ended.
enum TurnEnd {
    Done { after: Arc<Record>, answers: Vec<Answer> },
    Gone,
    Failed(EngineError),
}

/// Commits the tasks in order, `durable` if they must not be lost with power.
///
/// `remember` is given the batches that were committed, ascending by seq, before anybody can learn
/// their seqs: a group of several transactions is committed bit by bit.
pub(crate) async fn commit_group(
    context: &Context,
    tasks: VecDeque<QueuedTask>,
    durable: bool,
    remember: impl Fn(Vec<Commit>),
) -> GroupEnd {
    let mut end = GroupEnd::default();
    let mut waiting = tasks;
    let mut size = waiting.len();
    while !waiting.is_empty() {
        let part: Vec<QueuedTask> = from_fn(|| waiting.pop_front()).take(size).collect();
        let deadline = part.iter().filter_map(|queued| queued.deadline).min();
        let tasks: Vec<Task> = part.iter().map(|queued| queued.task.clone()).collect();
        match take_turn(context, &tasks, deadline, durable).await {
            TurnEnd::Done { after, answers } => {
                let commits = end.collect(context.writer, part, answers, &after);
                end.last_seq = commits.last().map(|commit| commit.seq).or(end.last_seq);
                remember(commits);
                context.committed(after, durable);
            }
            TurnEnd::Gone => {
                end.end = Some(Fatal::Gone);
                end.fail(part.into_iter().chain(waiting), &gone());
                return end;
            }
            TurnEnd::Failed(error) => match error.fault {
                // What may have been applied is not tried again.
                Fault::StorageFull if error.outcome != Outcome::NotApplied => {
                    end.fail(part, &Error::from(error));
                }
                Fault::StorageFull if part.len() > 1 => {
                    size = part.len().div_ceil(2);
                    prepend(&mut waiting, part);
                }
                Fault::StorageFull => {
                    let error = Error::from(error);
                    end.fail(part, &error);
                    let (puts, others) = waiting.into_iter().partition(contains_put);
                    let untried: VecDeque<QueuedTask> = puts;
                    end.fail(untried, &error);
                    waiting = others;
                    size = waiting.len();
                }
                // Without a deadline that has passed nobody has asked for the abort.
                Fault::Aborted if error.outcome == Outcome::NotApplied && has_passed(context, deadline) => {
                    let late = |queued: &QueuedTask| has_passed(context, queued.deadline);
                    let (late, again): (Vec<_>, Vec<_>) = part.into_iter().partition(late);
                    end.fail(late, &timed_out());
                    prepend(&mut waiting, again);
                    end.again = waiting;
                    return end;
                }
                Fault::SyncFailed => {
                    end.end = Some(Fatal::Poisoned);
                    end.fail(part, &Error::from(error));
                    end.fail(waiting, &poisoned());
                    return end;
                }
                _ => end.fail(part, &Error::from(error)),
            },
        }
    }
    end
}

/// Writes the durable marker: everything committed so far survives power loss afterwards.
pub(crate) async fn sync(
    context: &Context,
    deadline: Option<u64>,
) -> std::result::Result<(), (Error, Option<Fatal>)> {
    match take_turn(context, &[Task::Sync], deadline, true).await {
        TurnEnd::Done { after, .. } => {
            context.committed(after, true);
            Ok(())
        }
        TurnEnd::Gone => Err((gone(), Some(Fatal::Gone))),
        TurnEnd::Failed(error) if error.fault == Fault::SyncFailed => {
            Err((error.into(), Some(Fatal::Poisoned)))
        }
        TurnEnd::Failed(error) => Err((error.into(), None)),
    }
}

/// The answer to writes on a job whose medium failed to sync.
pub(crate) fn poisoned() -> Error {
    Error::new(ErrorKind::Backend, "an earlier sync failed: close the job and open it again before writing")
}

/// One transaction, repeated once after a lost connection if nothing of it was applied.
async fn take_turn(context: &Context, tasks: &[Task], deadline: Option<u64>, durable: bool) -> TurnEnd {
    let mut connection = match in_time(context, deadline, context.ensure_connection()).await {
        Ok(connection) => Some(connection),
        Err(failure) => return failed(failure),
    };
    loop {
        let error = match attempt(context, tasks, deadline, durable).await {
            Ok(end) => return end,
            Err(error) => error,
        };
        let again = error.fault == Fault::Lost && error.outcome == Outcome::NotApplied;
        match connection.take() {
            Some(lost) if again => {
                if let Err(failure) = in_time(context, deadline, context.renew(lost)).await {
                    return failed(failure);
                }
            }
            _ => return TurnEnd::Failed(error),
        }
    }
}

fn done(decided: Decided) -> TurnEnd {
    TurnEnd::Done { after: Arc::new(decided.after), answers: decided.answers }
}

fn failed(failure: Failure) -> TurnEnd {
    match failure {
        Failure::Gone => TurnEnd::Gone,
        // Connecting writes nothing.
        Failure::Engine(error) => TurnEnd::Failed(error.with_outcome(Outcome::NotApplied)),
    }
}

/// What comes before a transaction, until its deadline.
async fn in_time<T>(
    context: &Context,
    deadline: Option<u64>,
    operation: impl Future<Output = std::result::Result<T, Failure>>,
) -> std::result::Result<T, Failure> {
    match context.until(deadline, operation).await {
        Ok(done) => done,
        Err(_) => Err(EngineError::new(Fault::Aborted, "the job's deadline passed").into()),
    }
}

/// One transaction. On an error its outcome has been found out as far as that is possible.
async fn attempt(
    context: &Context,
    tasks: &[Task],
    deadline: Option<u64>,
    durable: bool,
) -> std::result::Result<TurnEnd, EngineError> {
    let stamp = Stamp {
        generation: context.generation,
        writer: context.writer,
        group: context.next_group(),
        unix_ms: context.clock.unix_ms(),
        durable,
        log_unsynced: context.is_log_unsynced(),
    };
    let turn = Turn { stamp, tasks: tasks.to_vec() };
    let verdict = Rc::new(RefCell::new(None));
    let told = Rc::clone(&verdict);
    let change = Change {
        reads: turn.reads(),
        decide: Box::new(move |found| {
            if told.borrow().is_some() {
                return None;
            }
            let (writes, verdict) = turn.decide(found);
            told.replace(Some(verdict));
            writes
        }),
        durable,
    };
    let applied = bounded_apply(context, change, deadline).await;
    let decided = verdict.take();
    if decided.is_none() {
        // A transaction that was given up before it decided shall not do so later.
        verdict.replace(Some(Verdict::Gone));
    }
    match (applied, decided) {
        (Ok(()), Some(Verdict::Decided(decided))) => Ok(done(*decided)),
        (_, Some(Verdict::Gone)) => Ok(TurnEnd::Gone),
        (_, Some(Verdict::Unreadable(error))) => Err(error),
        (Ok(()), None) => Err(EngineError::new(Fault::Other, "the engine committed without a decision")),
        (Err(error), None) if error.fault == Fault::Missing => Ok(TurnEnd::Gone),
        // Nothing is written before the decision.
        (Err(error), None) => Err(error.with_outcome(Outcome::NotApplied)),
        (Err(error), Some(Verdict::Decided(decided))) => {
            resolve(context, error, stamp, *decided, deadline).await
        }
    }
}

/// Finds out whether a transaction that ended with an error was applied all the same.
async fn resolve(
    context: &Context,
    error: EngineError,
    stamp: Stamp,
    decided: Decided,
    deadline: Option<u64>,
) -> std::result::Result<TurnEnd, EngineError> {
    if error.outcome != Outcome::Unknown || matches!(error.fault, Fault::SyncFailed | Fault::Aborted) {
        return Err(error);
    }
    let grace = context.clock.monotonic_ms().saturating_add(ABORT_GRACE_MS);
    let deadline = deadline.map(|at| at.max(grace));
    let now = match in_time(context, deadline, context.read_record()).await {
        Ok(record) => record,
        Err(Failure::Gone) => return Ok(TurnEnd::Gone),
        Err(Failure::Engine(_)) => return Err(error),
    };
    if (now.writer, now.group) == (stamp.writer, stamp.group) {
        return Ok(done(decided));
    }
    let before = &decided.before;
    let untouched =
        (now.writer, now.group, now.committed_seq) == (before.writer, before.group, before.committed_seq);
    Err(if untouched { error.with_outcome(Outcome::NotApplied) } else { error })
}

/// Applies a change until its deadline; then aborts it and gives it a little time to say how it ended.
async fn bounded_apply(
    context: &Context,
    change: Change,
    deadline: Option<u64>,
) -> std::result::Result<(), EngineError> {
    let mut apply = context.engine.apply(change);
    if let Some(applied) = context.clock.until(deadline, &mut apply).await {
        return applied;
    }
    context.engine.abort();
    let grace = context.clock.monotonic_ms().saturating_add(ABORT_GRACE_MS);
    context.clock.until(Some(grace), &mut apply).await.unwrap_or_else(|| {
        context.connection_hangs();
        let message = "the deadline passed, and the aborted transaction did not say how it ended";
        Err(EngineError::new(Fault::Aborted, message).with_outcome(Outcome::Unknown))
    })
}

impl GroupEnd {
    /// Settles the tasks of a transaction; returns the batches that it committed.
    fn collect(
        &mut self,
        writer: [u8; 16],
        tasks: Vec<QueuedTask>,
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

    fn fail(&mut self, tasks: impl IntoIterator<Item = QueuedTask>, error: &Error) {
        self.settled.extend(tasks.into_iter().map(|queued| (queued, Err(error.clone()))));
    }
}

fn has_passed(context: &Context, deadline: Option<u64>) -> bool {
    deadline.is_some_and(|at| at <= context.clock.monotonic_ms())
}

fn verdict(task: &Task, answer: Answer) -> Result<Answer> {
    match answer {
        Answer::Done { .. } => Ok(answer),
        Answer::Conflict(index) => {
            let Task::Batch { batch, .. } = task else { unreachable!("only a batch has preconditions") };
            Err(Error::conflict(index, batch.preconditions[index].in_words()))
        }
        Answer::NoHolder => Err(Error::new(ErrorKind::InvalidArgument, "no such log holder")),
        Answer::HoldersFull => Err(Error::new(ErrorKind::TooLarge, "too many log holders")),
    }
}

fn contains_put(queued: &QueuedTask) -> bool {
    matches!(&queued.task, Task::Batch { batch, .. } if batch.contains_put())
}

fn prepend(waiting: &mut VecDeque<QueuedTask>, tasks: Vec<QueuedTask>) {
    for queued in tasks.into_iter().rev() {
        waiting.push_front(queued);
    }
}

/// Removes commits up to `seq` from the log, as far as they are released.
pub(crate) async fn trim_to(context: &Context, seq: u64, deadline: Option<u64>) -> Option<Fatal> {
    match take_turn(context, &[Task::Log(LogChange::Trim(seq))], deadline, false).await {
        TurnEnd::Done { after, .. } => {
            context.committed(after, false);
            None
        }
        TurnEnd::Gone => Some(Fatal::Gone),
        TurnEnd::Failed(error) => {
            log::warn!("the commit log could not be trimmed: {error:?}");
            (error.fault == Fault::SyncFailed).then_some(Fatal::Poisoned)
        }
    }
}

/// Changes what the log keeps, outside of the queue: before the job is handed out.
pub(crate) async fn change_log(context: &Context, change: LogChange, deadline: Option<u64>) -> Result<()> {
    finish(context, take_turn(context, &[Task::Log(change)], deadline, false).await, false)
}

/// Marks the job as dropped and empties it.
pub(crate) async fn mark_dropped(context: &Context, deadline: Option<u64>) -> Result<()> {
    finish(context, take_turn(context, &[Task::Drop], deadline, true).await, true)
}

fn finish(context: &Context, end: TurnEnd, durable: bool) -> Result<()> {
    match end {
        TurnEnd::Done { after, .. } => {
            context.committed(after, durable);
            Ok(())
        }
        TurnEnd::Gone => Err(gone()),
        TurnEnd::Failed(error) => Err(error.into()),
    }
}
