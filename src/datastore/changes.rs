//! Snapshots and changes: what a collection holds, or what has changed since a seq.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use super::collection::{Record, record};
use super::content::Content;
use super::layout::Head;
use super::shelf::{Page, Shelf, Told};
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;

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
    let records = page.changes.into_iter().filter(|told| told.data.is_some());
    let records = records.map(record::<C>).collect::<Result<_>>()?;
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
    let Page { changes, to, .. } = page;
    Ok(Since::Changes(changes_of::<C>(changes, to)?))
}

fn changes_of<C: Content>(told: Vec<Told>, seq: u64) -> Result<ChangesOf<C>> {
    let change = |told: Told| match told.data {
        Some(_) => Ok(Change::Set(record::<C>(told)?)),
        None => Ok(Change::Deleted { key: C::key(told.key)?, seq: told.seq, updated_ms: told.stamp_ms }),
    };
    Ok(Changes { changes: told.into_iter().map(change).collect::<Result<_>>()?, seq })
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
    /// Changes that go back further than the recent ones come in the order of their keys, page by page, and
    /// only in each page in that of their seqs; the page's seq stays where it began until that is through.
    ///
    /// Dropping the future before it is done loses nothing: the page is read again.
    pub async fn next(&mut self) -> Option<Result<SinceOf<C>>> {
        let page = self.walk.next::<C>(&self.shelf).await?;
        Some(page.map_err(|error| self.shelf.explain(error, "pages_since")))
    }
}

/// A way along the changes of a collection: along the recent ones, if those go back far enough, or else
/// along all records and then along what has changed meanwhile.
pub(super) struct Walk {
    /// Up to here everything has been told.
    after: u64,
    /// Deletions up to here were forgotten when the way began, or are known.
    floor: Option<u64>,
    records: Option<Records>,
    ended: bool,
}

/// A way along all records.
struct Records {
    from: Key,
    /// The collection's seq when it began, which is reached with its end.
    seq: u64,
}

impl Walk {
    pub(super) fn new(since: u64) -> Self {
        Walk { after: since, floor: None, records: None, ended: false }
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
        loop {
            if let Some(Records { from, seq }) = &self.records {
                let (mut told, next) = shelf.records_from(from.clone(), self.after).await?;
                let (from, seq) = (next, *seq);
                // What is set while one reads is told once, in its place among the changes that follow.
                told.retain(|told| told.seq <= seq);
                if let Some(oldest) = self.lagged(&shelf.head().await?)? {
                    return Ok(Since::Lagged { oldest });
                }
                match from {
                    Some(from) => self.records = Some(Records { from, seq }),
                    None => (self.after, self.records) = (seq, None),
                }
                if !told.is_empty() {
                    return Ok(Since::Changes(changes_of::<C>(told, self.after)?));
                }
            } else if self.after == 0 {
                let head = shelf.head().await?;
                self.lagged(&head)?;
                if head.seq == 0 {
                    self.ended = true;
                    return Ok(Since::Changes(Changes { changes: Vec::new(), seq: 0 }));
                }
                self.records = Some(Records { from: shelf.rows().record(&[]), seq: head.seq });
            } else {
                let page = shelf.recent_after(self.after).await?;
                self.ended = page.head.is_some();
                let head = match page.head {
                    Some(head) => head,
                    None => shelf.head().await?,
                };
                if let Some(oldest) = self.lagged(&head)? {
                    return Ok(Since::Lagged { oldest });
                }
                if head.log_from <= self.after {
                    self.after = page.to;
                    return Ok(Since::Changes(changes_of::<C>(page.changes, page.to)?));
                }
                self.ended = false;
                self.records = Some(Records { from: shelf.rows().record(&[]), seq: head.seq });
            }
        }
    }

    /// The first seq that can be told from, if deletions have been forgotten that were not told. The head has
    /// to be read after what is told, or with it.
    fn lagged(&mut self, head: &Head) -> Result<Option<u64>> {
        check_reached(self.after, head.seq)?;
        // Who has nothing yet misses no deletion, unless it is forgotten while he reads.
        let begun = *self.floor.get_or_insert(if self.after == 0 { head.floor } else { 0 });
        Ok((head.floor > self.after.max(begun)).then_some(head.floor))
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
