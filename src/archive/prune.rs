//! Pruning: removes what is older than anybody wants to go back to. Never what a later moment needs.

use crate::error::{Error, ErrorKind, Result};

use super::catalog;
use super::format::{BaseMark, Life};
use super::reader::ArchiveReader;
use super::restore::RestoreTo;
use super::store::LIST_MAX;

/// Earlier lives that are looked at in one go.
const LIVES_IN_TURN: usize = 100;

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
    /// In the archive's last life, [`RestoreTo::Time`] also removes those before that another one had followed by
    /// then. The others speak of the commits of one life, and leave those of others alone.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if `oldest` lies before the archive begins, all of its lives; `Corrupt`, `VersionTooNew`, and what
    /// the store answers.
    pub async fn prune(&self, oldest: RestoreTo) -> Result<Pruned> {
        let pruned = self.prune_some(oldest, usize::MAX).await;
        let RestoreTo::Time(ms) = oldest else { return Ok(pruned?.0) };
        let mut pruned = match pruned {
            Ok((pruned, _)) => pruned,
            // That moment lies in an earlier life, and all of this one is later.
            Err(error) if error.kind() == ErrorKind::InvalidArgument && self.follows_another().await? => {
                let first = self.bases().await?.pop().ok_or(error)?;
                Pruned { objects: 0, first_seq: first.to }
            }
            Err(error) => return Err(error),
        };
        loop {
            let (objects, is_all) = self.prune_lives(ms, usize::MAX).await?;
            pruned.objects += objects as u64;
            if is_all {
                return Ok(pruned);
            }
        }
    }

    async fn follows_another(&self) -> Result<bool> {
        let (lives, _) = catalog::oldest_lives(self.store(), self.archive(), 2).await?;
        Ok(lives.len() > 1)
    }

    /// Removes earlier lives that another one had followed at `oldest_ms`, so many objects at most; says how many
    /// those were, and whether that was all. None goes that has anything later in it.
    ///
    /// Looks at the oldest ones first, and no further than to the first that is wanted.
    pub(super) async fn prune_lives(&self, oldest_ms: u64, most: usize) -> Result<(usize, bool)> {
        let (store, archive) = (self.store(), self.archive());
        let (numbers, are_all) = catalog::oldest_lives(store, archive, LIVES_IN_TURN + 1).await?;
        let newest = catalog::newest_life(store, archive, true).await?;
        if newest.as_ref().is_none_or(|life| life.generation != self.generation()) {
            return Ok((0, true));
        }
        let newest_ms = newest.map_or(0, |life| life.attached_ms);
        let (mut left, mut earlier) = (most, None::<Life>);
        for number in numbers.into_iter().rev() {
            // Which life a damaged mark was of cannot be told, but only when it had been followed, at the latest.
            let Some(follower) = catalog::life(store, archive, number).await? else { continue };
            let ended_ms = follower.attached_ms;
            let Some(life) = earlier.replace(follower) else { continue };
            if ended_ms > oldest_ms {
                // After the last one it cannot have been: a clock was wrong, and this life alone is kept for that.
                if ended_ms <= newest_ms {
                    return Ok((most - left, true));
                }
                continue;
            }
            let names = archive.of(&life.generation);
            // Whoever ships it all the same is told so by his next segment.
            let is_wanted = catalog::last_ms(store, &names, &life.generation).await? > oldest_ms;
            if is_wanted || life.generation == self.generation() {
                continue;
            }
            // Bases last: while there is one nobody can begin to ship this life again.
            for prefix in [names.segments(), names.all_data(), names.all_rows(), names.bases()] {
                left -= self.remove(&prefix, &prefix, left).await?;
            }
            if left == 0 {
                return Ok((most, false));
            }
            store.delete(&archive.life(life.number)).await?;
            left -= 1;
        }
        // Where nothing goes there is nothing to come back for.
        Ok((most - left, are_all || left == most))
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
