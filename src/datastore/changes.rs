//! Snapshots and changes: what a collection holds, or what has changed since a seq.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use super::collection::{Record, record};
use super::content::Content;
use super::layout::Change as Row;
use super::shelf::{Page, Shelf};
use crate::error::{Error, ErrorKind, Result};

/// All records of a collection at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot<K, V> {
    /// In the order of their seqs, which is the order to apply them in.
    pub records: Vec<Record<K, V>>,
    /// The collection's seq at that time; changes after it are not in here.
    pub seq: u64,
}

/// What has become of one key.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Change<K, V> {
    /// Its record was set.
    Set(Record<K, V>),
    /// Its record was deleted, or has expired and been purged.
    Deleted {
        /// The key of the record.
        key: K,
        /// The change that deleted it.
        seq: u64,
        /// When that was, in ms since the Unix epoch.
        updated_ms: u64,
    },
}

/// Changes in the order of their seqs, of each key the newest.
#[derive(Clone, Debug, PartialEq)]
pub struct Changes<K, V> {
    /// What has changed.
    pub changes: Vec<Change<K, V>>,
    /// Up to here everything is told: where to go on.
    pub seq: u64,
}

/// The answer to what has changed since a seq.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Since<K, V> {
    /// These are all changes.
    Changes(Changes<K, V>),
    /// Deletions after the seq have been forgotten: read a snapshot. Changes since `oldest` and later
    /// ones can be told.
    Lagged {
        /// The first seq that changes can be told since.
        oldest: u64,
    },
}

/// What of a snapshot's contents `C` is told.
pub(super) type SnapshotOf<C> = Snapshot<<C as Content>::Key, <C as Content>::Value>;
pub(super) type SinceOf<C> = Since<<C as Content>::Key, <C as Content>::Value>;
type ChangesOf<C> = Changes<<C as Content>::Key, <C as Content>::Value>;

/// All records in one view.
pub(super) async fn snapshot<C: Content>(shelf: &Shelf) -> Result<SnapshotOf<C>> {
    let page = shelf.all_after(0).await?;
    let records = page.changes.into_iter().filter(|(_, row)| row.data.is_some());
    let records = records.map(|(seq, row)| record::<C>(seq, row)).collect::<Result<_>>()?;
    Ok(Snapshot { records, seq: page.to })
}

/// All changes after `since` in one view.
pub(super) async fn changes_since<C: Content>(shelf: &Shelf, since: u64) -> Result<SinceOf<C>> {
    let page = shelf.all_after(since).await?;
    let head = page.head.as_ref().ok_or_else(|| shelf.gone())?;
    check_reached(since, head.seq)?;
    if since != 0 && since < head.floor {
        return Ok(Since::Lagged { oldest: head.floor });
    }
    Ok(Since::Changes(changes::<C>(page)?))
}

fn changes<C: Content>(page: Page) -> Result<ChangesOf<C>> {
    let change = |(seq, row): (u64, Row)| match row.data {
        Some(_) => Ok(Change::Set(record::<C>(seq, row)?)),
        None => Ok(Change::Deleted { key: C::key(row.key)?, seq, updated_ms: row.stamp_ms }),
    };
    Ok(Changes { changes: page.changes.into_iter().map(change).collect::<Result<_>>()?, seq: page.to })
}

impl<K, V> Change<K, V> {
    /// The seq that the change took.
    pub fn seq(&self) -> u64 {
        match self {
            Change::Set(record) => record.seq,
            Change::Deleted { seq, .. } => *seq,
        }
    }

    /// The key that it is about.
    pub fn key(&self) -> &K {
        match self {
            Change::Set(record) => &record.key,
            Change::Deleted { key, .. } => key,
        }
    }
}

/// Changes since a seq by pages, see [`Collection::pages_since`](super::Collection::pages_since).
pub struct ChangesPages<C: Content> {
    walk: Walk,
    shelf: Arc<Shelf>,
    content: PhantomData<fn() -> C>,
}

impl<C: Content> ChangesPages<C> {
    pub(super) fn new(shelf: Arc<Shelf>, since: u64) -> Self {
        ChangesPages { walk: Walk::new(since), shelf, content: PhantomData }
    }

    /// Reads the next page; `None` once all is told, after [`Since::Lagged`], and after an error. The last
    /// page may be without changes; its seq says how far the collection is.
    ///
    /// Dropping the future before it is done loses nothing: the page is read again.
    pub async fn next(&mut self) -> Option<Result<SinceOf<C>>> {
        let page = self.walk.next::<C>(&self.shelf).await?;
        Some(page.map_err(|error| self.shelf.explain(error, "pages_since")))
    }
}

/// A way along the changes of a collection.
pub(super) struct Walk {
    after: u64,
    /// Deletions up to here were forgotten when the way began, or are known.
    floor: Option<u64>,
    ended: bool,
}

impl Walk {
    pub(super) fn new(since: u64) -> Self {
        Walk { after: since, floor: None, ended: false }
    }

    /// The next page, see [`ChangesPages::next`].
    pub(super) async fn next<C: Content>(&mut self, shelf: &Shelf) -> Option<Result<SinceOf<C>>> {
        if self.ended {
            return None;
        }
        let page = self.page::<C>(shelf).await;
        self.ended |= !matches!(page, Ok(Since::Changes(_)));
        Some(page)
    }

    async fn page<C: Content>(&mut self, shelf: &Shelf) -> Result<SinceOf<C>> {
        let page = shelf.page_after(self.after).await?;
        let last = page.head.is_some();
        // Read after the page: what has been forgotten before the page was read is seen.
        let head = match &page.head {
            Some(head) => head.clone(),
            None => shelf.head().await?,
        };
        check_reached(self.after, head.seq)?;
        // Who has nothing yet misses no deletion, unless it is forgotten while he reads.
        let begun = *self.floor.get_or_insert(if self.after == 0 { head.floor } else { 0 });
        if head.floor > self.after.max(begun) {
            return Ok(Since::Lagged { oldest: head.floor });
        }
        let to = page.to;
        let changes = changes::<C>(page)?;
        (self.after, self.ended) = (to, last);
        Ok(Since::Changes(changes))
    }
}

pub(super) fn check_reached(since: u64, seq: u64) -> Result<()> {
    if since <= seq {
        return Ok(());
    }
    let message = format!("changes since seq {since}, the collection is at {seq}");
    Err(Error::new(ErrorKind::InvalidArgument, message))
}

impl<C: Content> fmt::Debug for ChangesPages<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChangesPages").field("after", &self.walk.after).finish_non_exhaustive()
    }
}
