//! Repair: rows that the declared relations do not allow are found and removed.
//!
//! Looks first and writes then, and only if no engine has written in between.

use std::collections::HashSet;
use std::sync::Arc;

use super::elsewhere::Patience;
use super::engine::Engine;
use super::fence::{self, Seen};
use super::schema::{Parent, Relation, RelationKind, Set};
use super::strong::ATTEMPTS_MAX;
use crate::batch::Batch;
use crate::error::{Error, ErrorKind, Quoted, Result};
use crate::job::Job;
use crate::key::Key;
use crate::limits::{BATCH_BYTES_MAX, BATCH_OPERATIONS_MAX};

/// What a repair has removed, or would.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RepairReport {
    /// The relations in the order of their declaration.
    pub relations: Vec<RelationReport>,
    /// Batches that were applied; more than one only if one could not hold it all.
    pub batches: usize,
}

/// What one relation came to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RelationReport {
    /// Which side cannot be without the other.
    pub kind: RelationKind,
    /// The category whose rows name a parent.
    pub child: String,
    /// The category of the parents.
    pub parent: String,
    /// Rows of the side that can be removed: children, or parents that are to be kept alive.
    pub examined: u64,
    /// Those of them that were removed, or would be.
    pub removed: u64,
}

impl RepairReport {
    /// Rows that were removed, or would be, of all relations together.
    pub fn removed(&self) -> u64 {
        self.relations.iter().map(|relation| relation.removed).sum()
    }
}

/// What a look has found.
#[derive(Default)]
pub(super) struct Found {
    relations: Vec<RelationReport>,
    /// The rows to remove: relation, category, key; in the order in which they were found.
    orphans: Vec<(usize, Arc<str>, Key)>,
}

impl Found {
    pub(super) fn report(self) -> RepairReport {
        RepairReport { relations: self.relations, batches: 0 }
    }
}

/// What the limits of a batch leave to deletes beside the fence's own entries.
const ENTRIES_MAX: usize = BATCH_OPERATIONS_MAX - 2;
const BYTES_MAX: usize = BATCH_BYTES_MAX - 1024;

impl Engine {
    pub(super) async fn repair(&self) -> Result<RepairReport> {
        let _turn = self.turn.lock().await;
        self.core.hear_left().await;
        let order = self.core.order.lock().await;
        // What is stored now is what memory had at one moment, and nobody here writes until this is over.
        self.flush_in_order(&order).await?;
        repair(&self.core.job, &self.sets, &self.relations, &self.patience()).await
    }

    pub(super) async fn repair_dry_run(&self) -> Result<RepairReport> {
        let (_turn, _order) = (self.turn.lock().await, self.core.order.lock().await);
        Ok(find(&self.core.job, &self.sets, &self.relations, &self.patience()).await?.report())
    }
}

/// Removes what the relations do not allow.
pub(super) async fn repair(
    job: &Job,
    sets: &[Set],
    relations: &[Relation],
    patience: &Patience,
) -> Result<RepairReport> {
    let mut removed = vec![0; relations.len()];
    let mut batches = 0;
    for _attempt in 0..ATTEMPTS_MAX {
        let mut seen = fence::look(job).await?;
        let found = find(job, sets, relations, patience).await?;
        let mut left = found.orphans.as_slice();
        while !left.is_empty() {
            let (batch, taken) = deletes(left);
            match apply(job, batch, &seen).await {
                Ok(moved) => seen = moved,
                // An engine elsewhere has written: what was found may be wrong by now.
                Err(error) if error.kind() == ErrorKind::Conflict => break,
                Err(error) => return Err(error.in_context("repair")),
            }
            batches += 1;
            let (done, rest) = left.split_at(taken);
            done.iter().for_each(|(relation, ..)| removed[*relation] += 1);
            left = rest;
        }
        if left.is_empty() {
            let mut report = found.report();
            for (relation, removed) in report.relations.iter_mut().zip(&removed) {
                relation.removed = *removed;
            }
            return Ok(RepairReport { batches, ..report });
        }
    }
    Err(Error::new(ErrorKind::Conflict, "repair: others kept writing"))
}

/// As many deletes as one batch holds, and how many that are.
fn deletes(orphans: &[(usize, Arc<str>, Key)]) -> (Batch, usize) {
    let mut batch = Batch::new();
    let mut bytes = 0;
    for (_, category, key) in orphans.iter().take(ENTRIES_MAX) {
        bytes += category.len() + key.len();
        if bytes > BYTES_MAX {
            break;
        }
        batch = batch.delete(category, key);
    }
    let taken = batch.len();
    (batch, taken)
}

/// Applies a batch if the fence is where it was seen; answers with where it is now.
async fn apply(job: &Job, batch: Batch, seen: &Seen) -> Result<Seen> {
    let mut batch = fence::require(batch, seen);
    let moved = fence::push(&mut batch)?;
    job.persist(batch).await?.durable().await?;
    Ok(Some(moved))
}

/// Finds what the relations do not allow, each with the effect of those before it.
async fn find(job: &Job, sets: &[Set], relations: &[Relation], patience: &Patience) -> Result<Found> {
    let mut found = Found::default();
    let mut removed: Vec<HashSet<Key>> = sets.iter().map(|_| HashSet::new()).collect();
    let look = Look { job, patience };
    for (number, relation) in relations.iter().enumerate() {
        let (child, parent) = (&sets[relation.child].category, relation.parent.category(sets));
        let explain = |error: Error| {
            error.in_context(format_args!("relation of {} to {}", Quoted(child), Quoted(parent)))
        };
        let (examined, orphans) = match relation.kind {
            RelationKind::Requires => look.orphans(relation, child, parent, &removed).await,
            RelationKind::KeptBy => look.not_kept(relation, child, parent, &removed).await,
        }
        .map_err(explain)?;
        found.relations.push(RelationReport {
            kind: relation.kind,
            child: child.to_string(),
            parent: parent.to_string(),
            examined,
            removed: orphans.len() as u64,
        });
        let side = match (relation.kind, &relation.parent) {
            (RelationKind::KeptBy, Parent::Here(parent)) => *parent,
            _ => relation.child,
        };
        for key in orphans {
            found.orphans.push((number, Arc::clone(&sets[side].category), key.clone()));
            removed[side].insert(key);
        }
    }
    Ok(found)
}

/// What the rows of a relation are looked at with.
struct Look<'a> {
    job: &'a Job,
    patience: &'a Patience,
}

impl Look<'_> {
    /// Children whose parent is missing.
    async fn orphans(
        &self,
        relation: &Relation,
        child: &str,
        parent: &str,
        removed: &[HashSet<Key>],
    ) -> Result<(u64, Vec<Key>)> {
        let mut parents = HashSet::new();
        let elsewhere;
        let (place, gone) = match &relation.parent {
            Parent::Here(index) => (self.job, Some(&removed[*index])),
            Parent::Elsewhere(job, _) => {
                elsewhere = job()?;
                (&elsewhere, None)
            }
        };
        each_row(place, parent, true, |key, _| {
            if gone.is_none_or(|gone| !gone.contains(key)) {
                parents.insert(key.clone());
            }
            Ok(())
        })
        .await?;
        let (mut examined, mut orphans) = (0, Vec::new());
        self.each_child(relation, child, removed, |key, parent| {
            examined += 1;
            if parent.is_some_and(|parent| !parents.contains(&parent)) {
                orphans.push(key);
            }
        })
        .await?;
        Ok((examined, orphans))
    }

    /// Parents that no child keeps alive.
    async fn not_kept(
        &self,
        relation: &Relation,
        child: &str,
        parent: &str,
        removed: &[HashSet<Key>],
    ) -> Result<(u64, Vec<Key>)> {
        let mut kept = HashSet::new();
        self.each_child(relation, child, removed, |_, parent| kept.extend(parent)).await?;
        let Parent::Here(index) = &relation.parent else { return Ok((0, Vec::new())) };
        let (mut examined, mut orphans) = (0, Vec::new());
        each_row(self.job, parent, true, |key, _| {
            if removed[*index].contains(key) {
                return Ok(());
            }
            examined += 1;
            if !kept.contains(key) {
                orphans.push(key.clone());
            }
            Ok(())
        })
        .await?;
        Ok((examined, orphans))
    }

    /// Calls `each` with every child that is still there and its parent, page by page.
    async fn each_child(
        &self,
        relation: &Relation,
        child: &str,
        removed: &[HashSet<Key>],
        mut each: impl FnMut(Key, Option<Key>),
    ) -> Result<()> {
        let mut pages = self.job.scan(child, ..).stream();
        while let Some(page) = pages.next().await {
            let rows = page?.into_iter().map(|row| (row.key, row.payload));
            let rows = rows.filter(|(key, _)| !removed[relation.child].contains(key)).collect();
            for (key, parent) in relation.parent_of.of(rows, self.patience).await? {
                each(key, parent);
            }
        }
        Ok(())
    }
}

/// Calls `each` with every row of a category, page by page.
pub(super) async fn each_row(
    job: &Job,
    category: &str,
    keys_only: bool,
    mut each: impl FnMut(&Key, &[u8]) -> Result<()>,
) -> Result<()> {
    let scan = job.scan(category, ..);
    let mut pages = if keys_only { scan.keys_only() } else { scan }.stream();
    while let Some(page) = pages.next().await {
        for row in page? {
            each(&row.key, &row.payload)?;
        }
    }
    Ok(())
}

impl Parent {
    fn category<'a>(&'a self, sets: &'a [Set]) -> &'a str {
        match self {
            Parent::Here(index) => &sets[*index].category,
            Parent::Elsewhere(_, category) => category,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::CheckedBatch;
    use crate::testing::test;

    /// Cuts orphans into batches, each of which is within the limits with the fence in it.
    fn cut(orphans: &[(usize, Arc<str>, Key)]) -> Vec<usize> {
        let mut left = orphans;
        let mut batches = Vec::new();
        while !left.is_empty() {
            let (batch, taken) = deletes(left);
            let mut batch = fence::require(batch, &Some(vec![0; 16]));
            fence::push(&mut batch).unwrap();
            CheckedBatch::try_from(batch).unwrap();
            batches.push(taken);
            left = &left[taken..];
        }
        batches
    }

    #[test]
    fn what_one_batch_cannot_remove_is_removed_by_several() {
        let category: Arc<str> = Arc::from("x".repeat(255));
        let orphan = |bytes: usize| (0, Arc::clone(&category), Key::from_bytes(vec![0; bytes]));
        assert_eq!(cut(&[]), [0; 0]);
        assert_eq!(cut(&vec![orphan(1); ENTRIES_MAX]), [ENTRIES_MAX]);
        assert_eq!(cut(&vec![orphan(1); ENTRIES_MAX + 1]), [ENTRIES_MAX, 1]);
        let large = crate::limits().key_bytes;
        let fit = BYTES_MAX / (large + 255);
        assert_eq!(cut(&vec![orphan(large); fit + 1]), [fit, 1]);
    }
}
