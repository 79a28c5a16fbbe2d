//! What a job tells of itself: where it stands, what it has done, and how far it has come.

use std::fmt;
use std::sync::Arc;

use crate::error::Result;
use crate::options::OpenMode;
use crate::record::LogRetention;
use crate::worker::{Link, Progress};

/// What a job is and where it stands, see [`Job::info`](crate::Job::info).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct JobInfo {
    /// The job's id.
    pub id: String,
    /// The life of the job.
    pub generation: [u8; 16],
    /// When the job was created, in ms since the Unix epoch.
    pub created_ms: u64,
    /// The last commit.
    pub committed_seq: u64,
    /// When that was, in ms since the Unix epoch; when it was created if there is none.
    pub last_commit_ms: u64,
    /// The last commit that survives a loss of power.
    pub durable_seq: u64,
    /// Whether others can write to it too: in the browser other tabs; natively only while it is
    /// open for reading beside its owner.
    pub shared: bool,
    /// How it was opened.
    pub mode: OpenMode,
    /// Bytes that it occupies, where the platform can tell.
    pub bytes: Option<u64>,
    /// What its commit log keeps.
    pub log: LogRetention,
    /// The first commit in the log; one more than `committed_seq` if it is empty.
    pub log_first_seq: u64,
    /// Bytes ever written to the commit log; what came between two looks is the difference.
    pub log_written_bytes: u64,
    /// The log's named holders, and the seq up to which each has released it.
    pub log_holders: Vec<(String, u64)>,
}

/// What a job has done since it was opened here, see [`Job::stats`](crate::Job::stats).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct JobStats {
    /// Operations in the queue now.
    pub queued_operations: usize,
    /// Bytes in the queue now.
    pub queued_bytes: usize,
    /// Batches committed.
    pub batches_committed: u64,
    /// Writes that failed.
    pub batches_failed: u64,
    /// Transactions that committed batches.
    pub groups: u64,
    /// Transactions that made commits durable for somebody who waited.
    pub syncs: u64,
    /// Reads asked for.
    pub reads: u64,
}

/// Follows one of a job's watermarks, see [`Job::watch_committed_seq`](crate::Job::watch_committed_seq).
#[derive(Clone)]
pub struct SeqWatch {
    link: Arc<Link>,
    seq: fn(&Progress) -> u64,
}

impl SeqWatch {
    pub(crate) fn new(link: Arc<Link>, seq: fn(&Progress) -> u64) -> Self {
        SeqWatch { link, seq }
    }

    /// The seq now; a lower bound.
    pub fn seq(&self) -> u64 {
        self.link.see(self.seq)
    }

    /// Waits until the seq is at least `seq`, and returns what it is then.
    ///
    /// # Errors
    ///
    /// `Closed` or `JobNotFound` if the job ends before.
    pub async fn at_least(&mut self, seq: u64) -> Result<u64> {
        let of = self.seq;
        let reached = self.link.reach(|progress| match (of(progress), &progress.end) {
            (now, _) if now >= seq => Some(Ok(now)),
            (_, end) => end.as_ref().map(|end| Err(end.afterwards.clone())),
        });
        reached.await
    }
}

impl fmt::Debug for SeqWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SeqWatch").field("job", &self.link.id).field("seq", &self.seq()).finish()
    }
}
