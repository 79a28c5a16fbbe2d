//! What handles ask of a worker: plain data with a way to answer.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::recent::CommitsPage;
use super::slot::Ticket;
use super::turn::Task;
use super::waiters::Flushed;
use crate::batch::Op;
use crate::engine::{Got, Page, PageRequest, Point};
use crate::error::{Error, ErrorKind, Result};
use crate::limits;
use crate::range::Span;

/// Where an answer goes; a caller that no longer wants it has dropped the other end.
pub(crate) type Reply<T> = oneshot::Sender<Result<T>>;

/// One request, in the order in which it was accepted.
pub(crate) enum Command {
    Write(QueuedTask),
    Read(QueuedRead),
    /// Everything accepted before is to be durable.
    Flush {
        deadline: Option<u64>,
        reply: Reply<Flushed>,
        credit: OwnedSemaphorePermit,
    },
    /// This seq, which is committed, is to be durable.
    Durable {
        seq: u64,
        deadline: Option<u64>,
        reply: Reply<Flushed>,
        credit: OwnedSemaphorePermit,
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
    /// Its share of the queue, given back when it is settled.
    pub(crate) credit: Credit,
}

/// A share of the queue's bounds.
#[derive(Debug)]
pub(crate) struct Credit {
    pub(crate) _operations: OwnedSemaphorePermit,
    pub(crate) _bytes: OwnedSemaphorePermit,
}

/// A read that waits for the writes accepted before it.
pub(crate) struct QueuedRead {
    pub(crate) read: Read,
    pub(crate) reply: Reply<Found>,
    pub(crate) deadline: Option<u64>,
    /// Its share of the bound on reads, given back when it is answered.
    pub(crate) _credit: OwnedSemaphorePermit,
}

/// What a read wants to know; what answers it is said by each [`Found`].
pub(crate) enum Read {
    Get {
        category: Arc<str>,
        keys: Vec<Vec<u8>>,
        presence_only: bool,
    },
    /// A page of a stream, or a whole scan: then it is an error if it does not fit.
    Page {
        page: PageRequest,
        category: Arc<str>,
        whole: bool,
    },
    Count {
        category: Arc<str>,
        span: Span,
    },
    Categories,
    /// The commits after a seq, as far as they can still be told.
    Commits {
        after: u64,
        follow: bool,
    },
    Details,
    Check,
    Compact,
}

/// What a read found. One type for all, so that a worker has one way to answer.
pub(crate) enum Found {
    /// Of `Get`.
    Got(Got),
    /// Of `Page`.
    Page(Page),
    /// Of `Count`.
    Count(u64),
    /// Of `Categories`, and the findings of `Check`.
    Strings(Vec<String>),
    /// Of `Commits`.
    Commits(CommitsPage),
    /// Of `Details`.
    Details(Box<Details>),
    /// Of `Compact`.
    Done,
}

/// Defines what takes a certain answer out.
macro_rules! answers {
    ($($name:ident: $variant:ident($type:ty);)*) => {
        impl Found {
            $(
                pub(crate) fn $name(self) -> Result<$type> {
                    match self {
                        Found::$variant(found) => Ok(found),
                        _ => Err(Error::new(ErrorKind::Backend, "the worker answered something else")),
                    }
                }
            )*
        }
    };
}

impl Found {
    /// The payloads that a `Get` found; `TooLarge` if they are more than one answer may hold.
    pub(crate) fn payloads(self) -> Result<Vec<Option<Vec<u8>>>> {
        match self.got()? {
            Got::Payloads(payloads) => Ok(payloads),
            Got::TooLarge(bytes) => {
                let message = format!("payloads of {bytes} bytes, the limit is {}", limits::SCAN_BYTES_MAX);
                Err(Error::new(ErrorKind::TooLarge, message))
            }
        }
    }
}

answers! {
    got: Got(Got);
    page: Page(Page);
    count: Count(u64);
    strings: Strings(Vec<String>);
    commits: Commits(CommitsPage);
    details: Details(Box<Details>);
}

/// What the worker knows of its job, for `info` and `stats`.
#[derive(Clone, Debug)]
pub(crate) struct Details {
    pub(crate) record: crate::record::Record,
    pub(crate) bytes: Option<u64>,
    pub(crate) shared: bool,
}

impl Read {
    /// Whether an accepted batch's operation can change what this read will see.
    ///
    /// Reads of the job as a whole are touched by everything.
    pub(crate) fn is_touched_by(&self, op: &Op) -> bool {
        match self {
            Read::Get { category, keys, .. } => {
                op.category() == &**category && keys.iter().any(|key| op.touches_key(key))
            }
            Read::Page { category, page, .. } => op.touches(category, &page.span),
            Read::Count { category, span, .. } => op.touches(category, span),
            // It is about what has been committed, not about what has been accepted.
            Read::Commits { .. } => false,
            Read::Categories | Read::Details | Read::Check | Read::Compact => true,
        }
    }

    /// With how many keys or ranges an operation has to be compared to tell whether it touches this.
    pub(crate) fn keys(&self) -> usize {
        match self {
            Read::Get { keys, .. } => keys.len(),
            _ => 1,
        }
    }
}

/// What a read of points touches.
pub(crate) fn points(category: &Arc<str>, keys: &[Vec<u8>]) -> Vec<Point> {
    let space = crate::engine::Space::Rows(Arc::clone(category));
    keys.iter().map(|key| Point { space: space.clone(), key: key.clone() }).collect()
}
