//! A walk along the commit log: page by page, until there are commits enough for one answer.

use super::recent::CommitsPage;
use crate::commit_log::{self, Assembler};
use crate::engine::{EngineError, Page, PageRequest, Space};
use crate::limits;
use crate::range::Span;

/// The commits after a seq that the log still holds, with the gap before them.
pub(crate) struct LogWalk {
    after: u64,
    found: CommitsPage,
    assembler: Assembler,
    span: Span,
    bytes: usize,
}

impl LogWalk {
    pub(crate) fn new(after: u64) -> Self {
        LogWalk {
            after,
            found: CommitsPage { next_after: after, ..CommitsPage::default() },
            assembler: Assembler::default(),
            span: commit_log::span(after + 1, u64::MAX),
            bytes: 0,
        }
    }

    /// The seq behind which it begins.
    pub(crate) fn after(&self) -> u64 {
        self.after
    }

    /// The next page of the log.
    pub(crate) fn request(&self) -> PageRequest {
        PageRequest {
            space: Space::Log,
            span: self.span.clone(),
            reverse: false,
            rows_max: limits::PAGE_ROWS_MAX,
            bytes_max: limits::COMMITS_PAGE_BYTES_MAX,
            keys_only: false,
        }
    }

    /// Takes that page; whether it was the last one that is needed.
    pub(crate) fn take(&mut self, page: &Page) -> Result<bool, EngineError> {
        for (key, value) in &page.rows {
            self.bytes += value.len();
            let Some(commit) = self.assembler.push(key, value)? else { continue };
            match self.found.commits.last() {
                None if commit.seq > self.after + 1 => {
                    self.found.lost = Some((self.after + 1, commit.seq - 1))
                }
                // Trimmed between two pages: the next answer begins with what is lost.
                Some(last) if commit.seq != last.seq + 1 => return Ok(true),
                _ => {}
            }
            self.found.commits.push(commit);
        }
        // A page may end inside a commit: one that began is read to its end.
        let enough = !self.found.commits.is_empty() && self.bytes >= limits::COMMITS_PAGE_BYTES_MAX;
        self.span.start = self.assembler.resume_key();
        Ok(enough || !page.more)
    }

    /// The answer, where the job stands at `committed` and `known` is the first seq that memory holds
    /// further on: that ends the gap, and what nobody holds is lost up to now.
    pub(crate) fn end(&mut self, committed: u64, known: Option<u64>) -> CommitsPage {
        let mut page = std::mem::take(&mut self.found);
        match page.commits.last() {
            Some(last) => page.next_after = last.seq,
            None if self.after < committed => {
                let to = known.map_or(committed, |seq| seq - 1);
                page.lost = (to > self.after).then_some((self.after + 1, to));
                page.next_after = to.max(self.after);
            }
            None => {}
        }
        page
    }
}
