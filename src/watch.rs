//! Watches and the commit log: committed batches in order, from now or from a position.
//!
//! Never skips a commit silently: what can no longer be told is said as a gap.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use futures_core::Stream;

use crate::commit_log::Commit;
use crate::error::{Error, ErrorKind, Result};
use crate::range::Span;
use crate::worker::{CommitsPage, Link, Progress, Read, Reading, WatchGuard, misanswered};

/// A place in a job's history: everything up to `seq` of one generation.
///
/// To go on after a restart, store both fields, for example as the payload
/// `(generation, seq).to_payload()?`, and make the position of them again. Behind an item of the log lies
/// the item's own `seq`, or `to` if it is `Lagged`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// The life of the job, 16 random bytes; a dropped and recreated job has another.
    pub generation: [u8; 16],
    /// The last commit that lies behind.
    pub seq: u64,
}

/// What a watch or the log yields.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WatchItem {
    /// A committed batch.
    Commit(Commit),
    /// The commits `from` to `to` can no longer be told; the next item comes after `to`.
    Lagged {
        /// The first seq that is missing.
        from: u64,
        /// The last seq that is missing.
        to: u64,
    },
}

/// Committed batches that touch a range, see [`Job::watch`](crate::Job::watch).
pub struct Watch {
    commits: Commits,
    _guard: WatchGuard,
}

/// The commit log from a position to its present end, see [`Job::log_from`](crate::Job::log_from).
pub struct LogReader {
    commits: Commits,
}

/// Commits after a position, page by page.
struct Commits {
    link: Arc<Link>,
    /// What of a commit is wanted; everything without it.
    within: Option<(Arc<str>, Span)>,
    /// Whether it asks the worker only if it has to, which then is of no order with what is written.
    #[cfg(feature = "archive")]
    directly: bool,
    position: Position,
    waiting: VecDeque<WatchItem>,
    /// Yielded after what waits.
    failure: Option<Error>,
    ended: bool,
}

impl Watch {
    /// A watch from `from`, or from now; `within` says what it is about.
    pub(crate) async fn start(
        link: Arc<Link>,
        from: Option<Position>,
        within: (Arc<str>, Span),
    ) -> Result<Self> {
        // Counted before the position is read: from then on the worker remembers its commits.
        let guard = link.watch_guard()?;
        // One that begins now begins before what is written after it; a log is read up to what was accepted.
        let details = if from.is_some() { Read::Details } else { Read::DetailsNow };
        let commits = Commits::start(link, from, Some(within), details).await?;
        Ok(Watch { commits, _guard: guard })
    }

    /// Waits for the next committed batch that touches the range.
    ///
    /// After the job has been closed, dropped or lost, yields that error once and then `None`.
    /// Dropping the future before it is done loses nothing.
    pub async fn next(&mut self) -> Option<Result<WatchItem>> {
        loop {
            if let Some(item) = self.commits.take() {
                return item;
            }
            let after = self.commits.position.seq;
            let news = |progress: &Progress| {
                (progress.committed_seq > after || progress.end.is_some()).then_some(())
            };
            self.commits.link.reach(news).await;
            self.commits.fetch(true).await;
        }
    }

    /// The next item if it is here already; errors and the end are told by `next` alone.
    pub fn try_next(&mut self) -> Option<WatchItem> {
        self.commits.waiting.pop_front()
    }

    /// The place in the job's history behind everything this watch has yielded.
    pub fn position(&self) -> Position {
        self.commits.yielded()
    }

    /// The items as a [`Stream`](futures_core::Stream).
    pub fn into_stream(self) -> impl Stream<Item = Result<WatchItem>> + Send + use<> {
        futures_util::stream::unfold(self, |mut watch| async move {
            let item = watch.next().await?;
            Some((item, watch))
        })
    }
}

impl LogReader {
    pub(crate) async fn start(link: Arc<Link>, from: Position) -> Result<Self> {
        Ok(LogReader { commits: Commits::start(link, Some(from), None, Read::Details).await? })
    }

    /// One of what has been committed, whatever has been accepted: it waits for no write if it can help it.
    #[cfg(feature = "archive")]
    pub(crate) async fn of_committed(link: Arc<Link>, from: Position) -> Result<Self> {
        let commits = Commits::start(link, Some(from), None, Read::DetailsNow).await?;
        Ok(LogReader { commits: Commits { directly: true, ..commits } })
    }

    /// The next item if it is here already; errors and the end are told by `next` alone.
    pub fn try_next(&mut self) -> Option<WatchItem> {
        self.commits.waiting.pop_front()
    }

    /// The place in the job's history behind everything this reader has yielded.
    pub fn position(&self) -> Position {
        self.commits.yielded()
    }

    /// Reads the next commit; `None` at the log's present end, and after an error.
    pub async fn next(&mut self) -> Option<Result<WatchItem>> {
        loop {
            if let Some(item) = self.commits.take() {
                return item;
            }
            let before = self.commits.position.seq;
            self.commits.fetch(false).await;
            let idle = self.commits.waiting.is_empty() && self.commits.failure.is_none();
            if idle && self.commits.position.seq == before {
                return None;
            }
        }
    }

    /// The items as a [`Stream`](futures_core::Stream).
    pub fn into_stream(self) -> impl Stream<Item = Result<WatchItem>> + Send + use<> {
        futures_util::stream::unfold(self, |mut log| async move {
            let item = log.next().await?;
            Some((item, log))
        })
    }
}

impl Commits {
    async fn start(
        link: Arc<Link>,
        from: Option<Position>,
        within: Option<(Arc<str>, Span)>,
        details: Read,
    ) -> Result<Self> {
        let details = link.read(details).await?.details()?;
        let now = Position { generation: details.record.generation, seq: details.record.committed_seq };
        let position = from.unwrap_or(now);
        if position.generation != now.generation {
            return Err(Error::new(ErrorKind::JobNotFound, "the position is of another life of the job"));
        }
        if position.seq > now.seq {
            let message = format!("the position is at seq {}, the job at {}", position.seq, now.seq);
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        Ok(Commits {
            link,
            within,
            #[cfg(feature = "archive")]
            directly: false,
            position,
            waiting: VecDeque::new(),
            failure: None,
            ended: false,
        })
    }

    /// The next thing to yield, if there is one without asking the worker.
    fn take(&mut self) -> Option<Option<Result<WatchItem>>> {
        if let Some(item) = self.waiting.pop_front() {
            return Some(Some(Ok(item)));
        }
        if let Some(error) = self.failure.take() {
            self.ended = true;
            return Some(Some(Err(error)));
        }
        self.ended.then_some(None)
    }

    /// What follows the position.
    async fn fetch(&mut self, follow: bool) {
        match self.page(follow).await {
            Ok(page) => {
                if let Some((from, to)) = page.lost {
                    self.waiting.push_back(WatchItem::Lagged { from, to });
                }
                for commit in page.commits {
                    if let Some(commit) = self.clip(commit) {
                        self.waiting.push_back(WatchItem::Commit(commit));
                    }
                }
                self.position.seq = page.next_after;
            }
            Err(error) => self.failure = Some(error),
        }
    }

    async fn page(&self, follow: bool) -> Result<CommitsPage> {
        let after = self.position.seq;
        #[cfg(feature = "archive")]
        if self.directly
            && let Ok(page) = self.link.commits_directly(self.position.generation, after).await
        {
            return Ok(page);
        }
        match self.link.read(Read::Commits { after, follow }).await? {
            Reading::Commits(page) => Ok(page),
            _ => Err(misanswered()),
        }
    }

    /// What of the commit is wanted; `None` if nothing of it touches the range.
    fn clip(&self, commit: Commit) -> Option<Commit> {
        let Some((category, span)) = &self.within else { return Some(commit) };
        let touching = commit.operations.iter().filter(|op| op.category() == &**category);
        let operations: Arc<[_]> = touching.filter_map(|op| op.clip(span)).collect();
        (!operations.is_empty()).then_some(Commit { operations, ..commit })
    }

    /// The position behind what has been yielded.
    fn yielded(&self) -> Position {
        let seq = match self.waiting.front() {
            Some(WatchItem::Commit(commit)) => commit.seq - 1,
            Some(WatchItem::Lagged { from, .. }) => from - 1,
            None => self.position.seq,
        };
        Position { seq, ..self.position }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("job", &self.commits.link.id).finish_non_exhaustive()
    }
}

impl fmt::Debug for LogReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogReader").field("job", &self.commits.link.id).finish_non_exhaustive()
    }
}
