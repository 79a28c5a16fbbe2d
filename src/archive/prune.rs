//! Pruning: removes what is older than anybody wants to go back to. Never what a later moment needs.

use crate::error::{Error, ErrorKind, Result};

use super::format::BaseMark;
use super::reader::ArchiveReader;
use super::restore::RestoreTo;
use super::store::LIST_MAX;

/// What [`ArchiveReader::prune`] has removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pruned {
    /// Objects that are no longer there.
    pub objects: u64,
    /// The first seq that can be restored now.
    pub first_seq: u64,
}

impl ArchiveReader {
    /// Removes what is not needed to restore `oldest` or anything later; with
    /// [`RestoreTo::Latest`] everything but the newest base and what follows it.
    ///
    /// What uploads that failed have left there goes as well. It may run while the job is shipped, and be
    /// cut short and repeated; a restore to an older moment that is under way at the same time fails.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if `oldest` cannot be restored even now; `Corrupt`, `VersionTooNew`, and what
    /// the store answers.
    pub async fn prune(&self, oldest: RestoreTo) -> Result<Pruned> {
        let (pruned, _) = self.prune_some(oldest, usize::MAX).await?;
        Ok(pruned)
    }

    /// As [`prune`](ArchiveReader::prune), but removes so many objects at most; says whether that was all.
    pub(super) async fn prune_some(&self, oldest: RestoreTo, most: usize) -> Result<(Pruned, bool)> {
        let bases = self.bases().await?;
        let end = self.end(&bases).await?.unwrap_or(0);
        let reaches = |base: &&BaseMark| match oldest {
            RestoreTo::Latest => base.to <= end,
            RestoreTo::Seq(seq) => base.to <= seq.min(end),
            RestoreTo::Time(ms) => base.to <= end && base.time_ms <= ms,
        };
        let none = || Error::new(ErrorKind::InvalidArgument, "the archive does not reach back so far");
        let oldest = bases.iter().find(reaches).ok_or_else(none)?;
        let (first_seq, from) = (oldest.to, oldest.from);
        let mut left = most;
        // Before the first commit there is nothing.
        if let Some(before) = from.checked_sub(1) {
            let names = self.names();
            // What is found first goes first, so that whatever is left at any time is whole.
            for (prefix, from) in [
                (names.bases(), names.base(before)),
                (names.segments(), names.segment(from)),
                (names.all_data(), names.data_up_to(from)),
                (names.all_rows(), names.rows_up_to(before)),
            ] {
                left -= self.remove(&prefix, &from, left).await?;
            }
        }
        Ok((Pruned { objects: (most - left) as u64, first_seq }, left > 0))
    }

    /// Removes so many objects from this name on at most.
    async fn remove(&self, prefix: &str, from: &str, most: usize) -> Result<usize> {
        let mut removed = 0;
        while removed < most {
            let limit = LIST_MAX.min(most - removed);
            let names = self.store().list(prefix, from, limit).await?;
            for name in &names {
                self.store().delete(name).await?;
            }
            removed += names.len();
            if names.len() < limit {
                break;
            }
        }
        Ok(removed)
    }
}
