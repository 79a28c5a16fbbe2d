//! A walk along the commit log: page by page, until there are commits enough for one answer.

use super::recent::{CommitsPage, weight};
use crate::commit_log::{self, Assembler};
use crate::engine::{EngineError, Page, PageRequest, Space};
use crate::limits;
use crate::range::Span;

/// Bytes of the log that are read at one time, and of commits that are enough for an answer: in memory they
/// are larger.
const ENOUGH_BYTES: usize = limits::COMMITS_PAGE_BYTES_MAX / 2;

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
            bytes_max: ENOUGH_BYTES,
            keys_only: false,
        }
    }

    /// Takes that page of a log that begins at `first_seq`; whether it was the last one that is needed.
    pub(crate) fn take(&mut self, page: &Page, first_seq: u64) -> Result<bool, EngineError> {
        // A value can begin before what is wanted, and before what is left of the log.
        let from = first_seq.max(self.after + 1);
        let commits = &mut self.found.commits;
        for (key, value) in &page.rows {
            let before = commits.len();
            self.assembler.push(key, value, from, commits)?;
            let Some(next) = commits.get(before).map(|commit| commit.seq) else { continue };
            match commits[..before].last() {
                None if next > self.after + 1 => self.found.lost = Some((self.after + 1, next - 1)),
                // Trimmed between two pages: the next answer begins with what is lost.
                Some(last) if next != last.seq + 1 => {
                    commits.truncate(before);
                    return Ok(true);
                }
                _ => {}
            }
            self.bytes += commits[before..].iter().map(weight).sum::<usize>();
            if self.bytes >= limits::COMMITS_PAGE_BYTES_MAX {
                return Ok(true);
            }
        }
        // A page may end inside a commit: one that began is read to its end.
        let enough = !self.found.commits.is_empty() && self.bytes >= ENOUGH_BYTES;
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
