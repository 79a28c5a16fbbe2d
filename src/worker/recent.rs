//! Recent commits: what a worker remembers of its own commits while somebody watches.
//!
//! Bounded in commits and bytes; what has been forgotten is looked for in the commit log, and what
//! is not there either is reported as a gap. Never hides one.

use std::collections::VecDeque;

use crate::commit_log::Commit;
use crate::limits::{COMMITS_PAGE_BYTES_MAX, WATCH_BYTES_MAX, WATCH_COMMITS_MAX};

/// Commits that follow a position, without a silent gap.
#[derive(Debug, Default)]
pub(crate) struct CommitsPage {
    /// Seqs that cannot be told any more, before the commits: from and to.
    pub(crate) lost: Option<(u64, u64)>,
    pub(crate) commits: Vec<Commit>,
    /// The position behind all this.
    pub(crate) next_after: u64,
}

/// The newest of our own commits, ascending, possibly with gaps where others committed.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    commits: VecDeque<(usize, Commit)>,
    bytes: usize,
}

impl Recent {
    pub(crate) fn push(&mut self, commit: Commit) {
        let bytes = weight(&commit);
        self.bytes += bytes;
        self.commits.push_back((bytes, commit));
        // The newest stays whatever it weighs, so that a huge batch is seen by those who keep up.
        while self.commits.len() > 1
            && (self.commits.len() > WATCH_COMMITS_MAX || self.bytes > WATCH_BYTES_MAX)
        {
            let Some((bytes, _)) = self.commits.pop_front() else { break };
            self.bytes -= bytes;
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Recent::default();
    }

    /// The commits right after `after`, as many as follow without a gap and fit a page.
    pub(crate) fn following(&self, after: u64) -> Vec<Commit> {
        let start = self.commits.partition_point(|(_, commit)| commit.seq <= after);
        let mut page = Vec::new();
        let mut page_bytes = 0;
        for (expected, (bytes, commit)) in (after + 1..).zip(self.commits.range(start..)) {
            page_bytes += bytes;
            if commit.seq != expected || (page_bytes > COMMITS_PAGE_BYTES_MAX && !page.is_empty()) {
                break;
            }
            page.push(commit.clone());
        }
        page
    }

    /// The first seq behind `after` that is remembered.
    pub(crate) fn first_after(&self, after: u64) -> Option<u64> {
        let start = self.commits.partition_point(|(_, commit)| commit.seq <= after);
        self.commits.get(start).map(|(_, commit)| commit.seq)
    }
}

/// Bytes of a commit in memory, about.
pub(super) fn weight(commit: &Commit) -> usize {
    commit.operations.iter().map(|op| op.bytes() + size_of_val(op)).sum()
}
