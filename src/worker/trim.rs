//! Trims the commit log to the bytes that its retention asks for.
//!
//! Runs between groups, and never removes what a named holder has not released: `turn` decides that
//! anew in the transaction.

use std::cell::Cell;

use super::commit::{Fatal, trim_to};
use super::context::{Context, Failure};
use crate::commit_log::{part_offset, span};
use crate::engine::{Found, PageRequest, Query, Space, Verify};
use crate::limits::LOG_TRIM_SLACK_BYTES;
use crate::record::{LogRetention, LogState};

/// Knows when trimming is worth a transaction.
#[derive(Debug, Default)]
pub(crate) struct Trimmer {
    /// No look at the log before it has grown to this offset.
    not_before: Cell<u64>,
}

impl Trimmer {
    /// Whether the log may have grown well beyond its retention.
    pub(crate) fn is_due(&self, log: &LogState) -> bool {
        let LogRetention::LastBytes(keep) = log.retention else { return false };
        log.end_offset >= self.not_before.get().max(keep.saturating_add(slack(keep)))
    }

    /// Removes the commits that lie wholly before the bytes to keep.
    pub(crate) async fn trim(&self, context: &Context, deadline: Option<u64>) -> Option<Fatal> {
        let log = context.record.borrow().log.clone();
        let LogRetention::LastBytes(keep) = log.retention else { return None };
        self.not_before.set(log.end_offset.saturating_add(slack(keep)));
        let target = log.end_offset.saturating_sub(keep);
        match context.until(deadline, first_kept(context, &log, target)).await {
            Ok(Ok(kept)) if kept > log.first_seq => trim_to(context, kept - 1, deadline).await,
            Ok(Ok(_)) => None,
            Ok(Err(Failure::Gone)) => Some(Fatal::Gone),
            Ok(Err(Failure::Engine(error))) => {
                log::warn!("the commit log could not be trimmed: {error:?}");
                None
            }
            Err(late) => {
                log::warn!("the commit log could not be trimmed: {late}");
                None
            }
        }
    }
}

/// How much the log may outgrow its retention before it is trimmed.
fn slack(keep: u64) -> u64 {
    (keep / 2).max(LOG_TRIM_SLACK_BYTES)
}

/// The last commit that begins at or before `target`: halves the log until it is found.
async fn first_kept(context: &Context, log: &LogState, target: u64) -> Result<u64, Failure> {
    let (mut low, mut high) = (log.first_seq, context.record.borrow().committed_seq);
    while low < high {
        let middle = high - (high - low) / 2;
        let request = PageRequest {
            space: Space::Log,
            span: span(middle, middle),
            reverse: false,
            rows_max: 1,
            bytes_max: 0,
            keys_only: false,
        };
        let (Found::Page(page), _) = context.ask(Query::Page(request), Verify::Always).await? else {
            return Err(Failure::Gone);
        };
        let offset = page.rows.first().and_then(|(_, value)| part_offset(value));
        match offset {
            Some(offset) if offset <= target => low = middle,
            _ => high = middle - 1,
        }
    }
    Ok(low)
}
