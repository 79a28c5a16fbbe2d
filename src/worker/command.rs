//! What handles ask of a worker: plain data with a way to answer.

use std::sync::Arc;

use futures_channel::oneshot;

use super::pending::Entry;
use super::recent::CommitsPage;
use super::slot::Ticket;
use super::turn::{Answer, Task};
use super::waiters::Flushed;
use crate::batch::Op;
use crate::engine::{Found, Query, Space};
use crate::error::{Error, ErrorKind, Result};
use crate::record::Record;
use crate::room::Share;

/// Where an answer goes.
pub(crate) enum Reply {
    /// To a handle's future; a caller that no longer wants it has dropped the other end.
    Future(oneshot::Sender<Result<Answered>>),
    /// To a caller who has no future.
    Caller(Box<dyn Caller>),
}

/// Somebody who is answered where the worker runs, without a future of his own. Dropped unanswered it is
/// told that the worker has ended under the call.
pub(crate) trait Caller: Send {
    /// Takes the answer; whether it was still wanted.
    fn answer(self: Box<Self>, answer: Result<Answered>) -> bool;

    /// Whether the answer is not wanted any more.
    fn has_gone(&self) -> bool;
}

/// Nobody wanted the answer any more.
#[derive(Debug)]
pub(crate) struct Unwanted;

/// What a call is answered; one type for all of them, so that everything on their way is written once.
#[derive(Debug)]
#[cfg_attr(not(feature = "web"), allow(dead_code, reason = "the npm package's exports look into it"))]
pub(crate) enum Answered {
    Reading(Reading),
    Flushed(Flushed),
    Task(Answer),
}

/// One request, in the order in which it was accepted.
pub(crate) enum Command {
    Write(QueuedTask),
    Read(QueuedRead),
    /// Everything accepted before is to be durable.
    Flush {
        deadline: Option<u64>,
        reply: Reply,
        credit: Share,
    },
    /// This seq, which is committed, is to be durable.
    Durable {
        seq: u64,
        deadline: Option<u64>,
        reply: Reply,
        credit: Share,
    },
    /// Drain, then release everything. The last command.
    Close,
    /// Settle what is accepted, then delete the job. The last command.
    Drop,
}

/// A task that has its place in the queue.
#[derive(Debug)]
pub(crate) struct QueuedTask {
    /// Its place in the order of acceptance, from 1; given by the worker.
    pub(crate) number: u64,
    pub(crate) task: Task,
    pub(crate) ticket: Ticket,
    /// When it is withdrawn, on the clock's monotonic scale.
    pub(crate) deadline: Option<u64>,
    /// As long as it is there, no read passes the worker by that the write may touch.
    pub(crate) pending: Option<Entry>,
    /// Its share of the queue, given back when it is settled.
    pub(crate) credit: Share,
}

/// A read that waits for the writes accepted before it.
pub(crate) struct QueuedRead {
    pub(crate) read: Read,
    pub(crate) reply: Reply,
    pub(crate) deadline: Option<u64>,
    /// Its share of the bound on reads, given back when it is answered.
    pub(crate) _credit: Share,
}

/// What a read wants to know.
#[derive(Debug)]
pub(crate) enum Read {
    /// What the engine finds: [`Reading::Found`]. A page that is `whole` is an error if it ends before its
    /// span and its rows do.
    Ask { query: Query, whole: bool },
    /// The commits after a seq, as far as they can still be told: [`Reading::Commits`].
    Commits { after: u64, follow: bool },
    /// [`Reading::Details`], once everything accepted before is settled.
    Details,
    /// The same as they are now, whatever has been accepted: a watch begins before what comes after it,
    /// also where both are committed together.
    DetailsNow,
    /// Not a read by its name, but it changes nothing that anybody sees: [`Reading::Compacted`].
    Compact,
}

/// What a read is answered; one type for all of them, so that everything on their way is written once.
#[derive(Debug)]
pub(crate) enum Reading {
    Found(Found),
    Commits(CommitsPage),
    Details(Details),
    Compacted,
}

/// What the worker knows of its job, for `info` and `stats`.
#[derive(Clone, Debug)]
pub(crate) struct Details {
    pub(crate) record: Arc<Record>,
    pub(crate) bytes: Option<u64>,
    pub(crate) shared: bool,
}

impl Reply {
    /// Answers, if somebody wants it still.
    pub(crate) fn send(self, result: Result<Answered>) -> std::result::Result<(), Unwanted> {
        let sent = match self {
            Reply::Future(sender) => sender.send(result).is_ok(),
            Reply::Caller(caller) => caller.answer(result),
        };
        if sent { Ok(()) } else { Err(Unwanted) }
    }

    /// Whether nobody wants the answer any more.
    pub(crate) fn is_closed(&self) -> bool {
        match self {
            Reply::Future(sender) => sender.is_canceled(),
            Reply::Caller(caller) => caller.has_gone(),
        }
    }
}

impl Answered {
    /// The answer to a read.
    pub(crate) fn reading(self) -> Result<Reading> {
        match self {
            Answered::Reading(reading) => Ok(reading),
            _ => Err(misanswered()),
        }
    }

    /// What whoever waited until something is durable is told.
    pub(crate) fn flushed(self) -> Result<()> {
        match self {
            Answered::Flushed(flushed) => flushed.take(),
            _ => Err(misanswered()),
        }
    }
}

impl Reading {
    /// The answer to [`Read::Details`].
    pub(crate) fn details(self) -> Result<Details> {
        match self {
            Reading::Details(details) => Ok(details),
            _ => Err(misanswered()),
        }
    }
}

/// What is said where a worker answers another question than it was asked; it never does.
pub(crate) fn misanswered() -> Error {
    Error::new(ErrorKind::Backend, "the worker answered another question")
}

impl QueuedRead {
    /// Answers with an error. A caller that has gone is in its right.
    pub(crate) fn fail(self, error: Error) {
        drop(self.reply.send(Err(error)));
    }
}

impl Read {
    /// Whether an accepted batch's operation can change what this read will see.
    ///
    /// Reads of the job as a whole are touched by everything.
    pub(crate) fn is_touched_by(&self, op: &Op) -> bool {
        match self {
            Read::Ask { query: Query::Get(get), .. } => get.points.iter().any(|point| {
                matches!(&point.space, Space::Rows(category) if op.category() == &**category)
                    && op.touches_key(&point.key)
            }),
            Read::Ask { query: Query::Page(page), .. } => {
                matches!(&page.space, Space::Rows(category) if op.touches(category, &page.span))
            }
            Read::Ask { query: Query::Count { category, span }, .. } => op.touches(category, span),
            Read::Ask { .. } | Read::Details | Read::Compact => true,
            Read::Commits { .. } | Read::DetailsNow => false,
        }
    }

    /// Whether it is about what has been committed, whatever has been accepted.
    pub(crate) fn is_about_commits(&self) -> bool {
        matches!(self, Read::Commits { .. } | Read::DetailsNow)
    }

    /// With how many keys or ranges an operation has to be compared to tell whether it touches this.
    pub(crate) fn keys(&self) -> usize {
        match self {
            Read::Ask { query: Query::Get(get), .. } => get.points.len(),
            _ => 1,
        }
    }
}
