//! Purging: removes what has expired, by an index of what is due, a page at a time.
//!
//! Nothing that has expired is handed out before it is purged either; this only frees its room, and tells
//! subscribers of records that have gone.

use std::collections::VecDeque;

use super::layout::{DUE, Dated, Generation, Head, Reader, What, due_key, due_of};
use super::names::{Found, too_often};
use super::options::{ATTEMPTS_MAX, PURGE_KEY_BYTES_MAX, PURGE_PAGE};
use super::plan::Plan;
use super::shelf::Shelf;
use super::store::{Datastore, Shared};
use super::writer::Turn;
use crate::error::{ErrorKind, Result};
use crate::key::Key;

/// What a purge has removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Purged {
    /// Collections that had expired.
    pub collections: u64,
    /// Pools that had expired.
    pub pools: u64,
    /// Records that had expired, of collections that had not.
    pub records: u64,
    /// Deletions that need not be remembered any longer.
    pub tombstones: u64,
}

impl Datastore {
    /// Removes everything that has expired, and says how much that was.
    ///
    /// An expired record becomes a deletion: it takes the next seq and is told to subscribers. Works
    /// in small batches, so others are not kept waiting; may run in several tabs at once.
    pub async fn purge_expired(&self) -> Result<Purged> {
        let shared = &self.shared;
        let (mut purged, mut idle) = (Purged::default(), 0);
        while idle < ATTEMPTS_MAX {
            // Time goes on meanwhile, and by its end everything is looked after as of now.
            let due = ..=due_key(shared.clock.unix_ms(), [0xff; 8]);
            let rows = shared.job.scan(DUE, due).limit(PURGE_PAGE).await?;
            if rows.is_empty() {
                return Ok(purged);
            }
            let (mut progress, mut unreadable) = (false, None);
            for row in rows {
                match shared.look_after(&row.key, &row.payload, &mut purged).await {
                    Ok(done) => progress |= done,
                    // It keeps nothing else from being looked after.
                    Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::VersionTooNew) => {
                        unreadable = unreadable.or(Some(error));
                    }
                    Err(error) => return Err(error),
                }
            }
            if let (false, Some(error)) = (progress, unreadable) {
                return Err(error);
            }
            // Without any, others have changed everything that is due just then.
            idle = if progress { 0 } else { idle + 1 };
        }
        Err(too_often(What::Collection, ""))
    }
}

impl Shared {
    /// Looks after one thing that is due; whether it has changed anything.
    async fn look_after(
        self: &std::sync::Arc<Self>,
        due: &Key,
        name: &[u8],
        purged: &mut Purged,
    ) -> Result<bool> {
        let (what, id) = What::and_id(name)?;
        let generation: Generation = Reader(due.as_bytes().get(8..).unwrap_or_default()).array()?;
        let found = self.look(what, &id).await?;
        let is_it = |found: &Found| {
            found.descriptor.generation == generation
                && due_of(due).is_ok_and(|due| due == found.lease.due_ms)
        };
        let Some(found) = found.filter(is_it) else {
            // Somebody else has looked after it since the page was read.
            return self.job.delete_acked(DUE, due.clone()).await;
        };
        if found.lease.expired(self.clock.unix_ms()) {
            let removed = self.remove_found(&found).await?;
            match what {
                What::Collection => purged.collections += u64::from(removed),
                What::Pool => purged.pools += u64::from(removed),
            }
            return Ok(removed);
        }
        match what {
            What::Collection => {
                let shelf = self.shelf(&id, found.descriptor, &Head::decode(&found.head)?);
                match shelf.sweep_in_turn(purged).await {
                    // It has been removed meanwhile.
                    Err(error) if error.kind() == ErrorKind::Closed && self.job.is_open() => Ok(true),
                    swept => swept,
                }
            }
            // A pool is due when it may have expired, and has slid on.
            What::Pool => self.look_after_pool_later(&found).await,
        }
    }
}

impl Shelf {
    async fn sweep_in_turn(&self, purged: &mut Purged) -> Result<bool> {
        let mut turn = self.turn().await;
        self.sweep(&mut turn, purged).await
    }

    /// Buries records and forgets tombstones whose time has passed, a page of each, with nothing under way;
    /// whether that was done.
    pub(super) async fn sweep(&self, turn: &mut Turn, purged: &mut Purged) -> Result<bool> {
        let (head, now_ms) = (self.head().await?, self.now_ms());
        let parameters = &self.descriptor.parameters;
        let kept_ms = parameters.tombstones_kept_ms();
        let mut tombstones = match head.tombstones {
            0 => VecDeque::new(),
            _ => self.oldest_tombstones(PURGE_PAGE).await?,
        };
        let forgotten = take_old(&mut tombstones, now_ms, kept_ms);
        let ttl_ms = parameters.record_ttl_ms();
        let mut aging = match ttl_ms {
            0 => VecDeque::new(),
            _ => self.dated(self.rows().all_aging(), PURGE_PAGE).await?,
        };
        let expired = take_old(&mut aging, now_ms, ttl_ms);
        let places = self.places_of(expired.iter().map(|record| &*record.key).collect()).await?;

        // Of one TTL, and of one retention, each falls due in the order of the seqs.
        let next = |first: Option<&Dated>, ms: u64| {
            first.map(|first| first.stamp_ms.saturating_add(ms).saturating_add(1))
        };
        let mut due =
            [next(aging.front(), ttl_ms), next(tombstones.front(), kept_ms)].into_iter().flatten().min();
        if forgotten.len() == PURGE_PAGE || expired.len() == PURGE_PAGE {
            due = Some(now_ms);
        }
        let mut plan = Plan::new(&self.descriptor, head, now_ms, places, tombstones);
        let forgot = forgotten.iter().filter(|tombstone| plan.forget(tombstone)).count();
        plan.look_after_next(due.unwrap_or(0));
        let buried = expired.iter().filter(|record| plan.expire(&record.key, record.seq)).count();
        let applied = self.commit(turn, plan).await?;
        if applied {
            purged.records += buried as u64;
            purged.tombstones += forgot as u64;
        }
        Ok(applied)
    }
}

/// Takes the first ones whose time has passed, as many as one batch may be about.
fn take_old(dated: &mut VecDeque<Dated>, now_ms: u64, ms: u64) -> Vec<Dated> {
    let mut key_bytes = 0;
    let old = dated.iter().take_while(|each| {
        let fits = key_bytes == 0 || key_bytes + each.key.len() <= PURGE_KEY_BYTES_MAX;
        key_bytes += each.key.len();
        fits && now_ms > each.stamp_ms.saturating_add(ms)
    });
    let count = old.count();
    dated.drain(..count).collect()
}
