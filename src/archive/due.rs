//! When an archive has something to ship: waits for what its cut policy or its callers want. Never ships.

use futures_util::future::FutureExt;
use futures_util::select_biased;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::error::Result;
use crate::job::Job;

use super::options::CutPolicy;

/// How often the log's growth is looked at while something waits to be shipped.
pub(super) const LOOK_MS: u64 = 1_000;

/// Resolves with the seq up to which is to be shipped, when what is behind `seq` is due. A commit before that had
/// about `commit_bytes`, 0 if that is not known.
pub(super) async fn due(
    job: Job,
    (seq, commit_bytes): (u64, u64),
    cut: CutPolicy,
    mut asked: watch::Receiver<u64>,
    clock: Clock,
) -> Result<u64> {
    // Where that cannot be told now, the other rules do.
    let written_by_now = async || job.record_now().await.map_or(0, |record| record.log.end_offset);
    let written_at = written_by_now().await;
    let mut committed = job.watch_committed_seq();
    loop {
        // Another tab may have committed what this one has not heard of.
        if *asked.borrow_and_update() > committed.seq() {
            job.position().await?;
        }
        select_biased! {
            reached = committed.at_least(seq + 1).fuse() => break reached.map(drop)?,
            // The sender lives as long as the archive, and this ends with it.
            _ = asked.changed().fuse() => {}
        }
    }
    let since_ms = clock.monotonic_ms();
    let mut written = 0;
    loop {
        let commits = committed.seq() - seq;
        let now = clock.monotonic_ms();
        let age_ms = now.saturating_sub(since_ms);
        // A fast writer has a segment full before the log's growth is looked at.
        let bytes = written.max(commits.saturating_mul(commit_bytes));
        if *asked.borrow_and_update() > seq || cut.is_due(commits, age_ms, bytes) {
            return Ok(committed.seq());
        }
        let look_at = since_ms.saturating_add(cut.due_age_ms(commits)).min(now.saturating_add(LOOK_MS));
        let count = seq.saturating_add(cut.next_count(commits, commit_bytes));
        let reached = async {
            select_biased! {
                // The sender lives as long as the archive, and this ends with it.
                _ = asked.changed().fuse() => Ok(()),
                reached = committed.at_least(count).fuse() => reached.map(drop),
            }
        };
        if let Some(reached) = clock.until(Some(look_at), reached.boxed_local()).await {
            reached?;
        } else {
            written = written_by_now().await.saturating_sub(written_at);
        }
    }
}
