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
use crate::text::text;
use crate::worker::{CommitsPage, Details, Link, Progress, Read, Reading, WatchGuard, misanswered};

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
}

/// The commit log from a position to its present end, see [`Job::log_from`](crate::Job::log_from).
pub struct LogReader {
    commits: Commits,
}

/// What of a job's commits is wanted: how a watch or a look at the log begins.
pub(crate) struct Beginning {
    from: Option<Position>,
    /// What of a commit is wanted; everything without it.
    within: Option<(Arc<str>, Span)>,
    /// Has the worker remember commits; who reads the log does without.
    guard: Option<WatchGuard>,
}

/// Commits after a position, page by page. Awaits nothing: says what it needs, and takes what comes of that.
pub(crate) struct Commits {
    link: Arc<Link>,
    within: Option<(Arc<str>, Span)>,
    guard: Option<WatchGuard>,
    /// Whether it asks the worker only if it has to, which then is of no order with what is written.
    #[cfg(feature = "archive")]
    directly: bool,
    position: Position,
    waiting: VecDeque<WatchItem>,
    /// Yielded after what waits.
    failure: Option<Error>,
    ended: bool,
    /// Whether there is nothing more for now, of which whoever reads the log is told once.
    at_end: bool,
}

/// What commits need before there is something to yield.
#[cfg_attr(not(feature = "web"), allow(dead_code, reason = "handles await, the npm package's exports ask"))]
pub(crate) enum Need {
    /// Nothing: there is something, or it has ended.
    Nothing,
    /// That the job moves on.
    News,
    /// The answer to this.
    Page(Read),
}

impl Watch {
    /// Waits for the next committed batch that touches the range.
    ///
    /// After the job has been closed, dropped or lost, yields that error once and then `None`.
    /// Dropping the future before it is done loses nothing.
    pub async fn next(&mut self) -> Option<Result<WatchItem>> {
        loop {
            if let Some(item) = self.commits.take() {
                return item;
            }
            self.commits.link.reach(|progress| self.commits.is_news(progress).then_some(())).await;
            self.commits.fetch().await;
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
    /// One of what has been committed, whatever has been accepted: it waits for no write if it can help it.
    #[cfg(feature = "archive")]
    pub(crate) async fn of_committed(link: Arc<Link>, from: Position) -> Result<Self> {
        let details = link.read(Read::DetailsNow).await?.details()?;
        let commits = Beginning::of_log(from).begin(link, &details)?;
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
            self.commits.fetch().await;
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

impl From<Commits> for Watch {
    fn from(commits: Commits) -> Self {
        Watch { commits }
    }
}

impl From<Commits> for LogReader {
    fn from(commits: Commits) -> Self {
        LogReader { commits }
    }
}

impl Beginning {
    /// A watch from `from`, or from now; `within` says what it is about.
    pub(crate) fn of_watch(
        link: &Arc<Link>,
        from: Option<Position>,
        within: (Arc<str>, Span),
    ) -> Result<Self> {
        // Counted before the position is read: from then on the worker remembers its commits.
        Ok(Beginning { from, within: Some(within), guard: Some(link.watch_guard()?) })
    }

    /// The log from a position on.
    pub(crate) fn of_log(from: Position) -> Self {
        Beginning { from: Some(from), within: None, guard: None }
    }

    /// What has to be known of the job.
    pub(crate) fn question(&self) -> Read {
        // One that begins now begins before what is written after it; a log is read up to what was accepted.
        if self.from.is_some() { Read::Details } else { Read::DetailsNow }
    }

    /// Begins, now that this is known.
    pub(crate) fn begin(self, link: Arc<Link>, details: &Details) -> Result<Commits> {
        let Beginning { from, within, guard } = self;
        let now = Position { generation: details.record.generation, seq: details.record.committed_seq };
        let position = from.unwrap_or(now);
        if position.generation != now.generation {
            return Err(Error::new(ErrorKind::JobNotFound, "the position is of another life of the job"));
        }
        if position.seq > now.seq {
            let message = text!("the position is at seq ", position.seq, ", the job at ", now.seq);
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        Ok(Commits {
            link,
            within,
            guard,
            #[cfg(feature = "archive")]
            directly: false,
            position,
            waiting: VecDeque::new(),
            failure: None,
            ended: false,
            at_end: false,
        })
    }
}

impl Commits {
    /// Asks the worker for what has to be known, and begins.
    pub(crate) async fn start(link: Arc<Link>, beginning: Beginning) -> Result<Self> {
        let details = link.read(beginning.question()).await?.details()?;
        beginning.begin(link, &details)
    }

    /// Whether there may be something new when the job has come so far.
    fn is_news(&self, progress: &Progress) -> bool {
        progress.committed_seq > self.position.seq || progress.end.is_some()
    }

    /// What has to come before there is something to yield.
    #[cfg_attr(
        not(feature = "web"),
        allow(dead_code, reason = "handles await, the npm package's exports ask")
    )]
    pub(crate) fn need(&self) -> Need {
        if self.ended || self.at_end || self.failure.is_some() || !self.waiting.is_empty() {
            Need::Nothing
        } else if self.guard.is_some() && !self.link.see(|progress| self.is_news(progress)) {
            Need::News
        } else {
            Need::Page(self.question())
        }
    }

    /// What the worker is asked for what follows the position.
    fn question(&self) -> Read {
        Read::Commits { after: self.position.seq, follow: self.guard.is_some() }
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
        (self.ended || std::mem::take(&mut self.at_end)).then_some(None)
    }

    /// Everything that there is to yield; nothing at the end.
    #[cfg_attr(
        not(feature = "web"),
        allow(dead_code, reason = "handles await, the npm package's exports ask")
    )]
    pub(crate) fn take_all(&mut self) -> Result<Vec<WatchItem>> {
        let Some(Some(first)) = self.take() else { return Ok(Vec::new()) };
        let mut items = vec![first?];
        items.extend(self.waiting.drain(..));
        Ok(items)
    }

    /// Takes what the worker answered.
    pub(crate) fn take_in(&mut self, answer: Result<Reading>) {
        match answer {
            Ok(Reading::Commits(page)) => self.take_page(page),
            Ok(_) => self.failure = Some(misanswered()),
            Err(error) => self.failure = Some(error),
        }
    }

    fn take_page(&mut self, page: CommitsPage) {
        let before = std::mem::replace(&mut self.position.seq, page.next_after);
        if let Some((from, to)) = page.lost {
            self.waiting.push_back(WatchItem::Lagged { from, to });
        }
        for commit in page.commits {
            if let Some(commit) = self.clip(commit) {
                self.waiting.push_back(WatchItem::Commit(commit));
            }
        }
        self.at_end = self.guard.is_none() && self.waiting.is_empty() && self.position.seq == before;
    }

    /// Asks the worker for what follows the position, and takes it.
    async fn fetch(&mut self) {
        #[cfg(feature = "archive")]
        if self.directly {
            let Position { generation, seq } = self.position;
            if let Ok(page) = self.link.commits_directly(generation, seq).await {
                return self.take_page(page);
            }
        }
        let answer = self.link.read(self.question()).await;
        self.take_in(answer);
    }

    /// What of the commit is wanted; `None` if nothing of it touches the range.
    fn clip(&self, commit: Commit) -> Option<Commit> {
        let Some((category, span)) = &self.within else { return Some(commit) };
        let touching = commit.operations.iter().filter(|op| op.category() == &**category);
        let operations: Arc<[_]> = touching.filter_map(|op| op.clip(span)).collect();
        (!operations.is_empty()).then_some(Commit { operations, ..commit })
    }

    /// The position behind what has been yielded.
    pub(crate) fn yielded(&self) -> Position {
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
