//! Collections: records under keys, with a sequence of their own that survives.

use std::fmt;
use std::marker::PhantomData;
use std::ops::RangeBounds;
use std::sync::Arc;

use super::changes::{ChangesPages, Since, Snapshot, changes_since, snapshot};
use super::content::Content;
use super::layout::Generation;
use super::options::{RECORD_BYTES_MAX, RECORD_KEY_BYTES_MAX, SET_MANY_BYTES_MAX, SET_MANY_MAX};
use super::shelf::{Shelf, Told};
use super::subscription::Subscription;
use super::wanted::{Done, Wanted, When};
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;
use crate::limits::check_bytes;

/// Records under keys, numbered by a sequence of the collection's own.
///
/// Every set and every delete that finds something takes the next seq, from 1, in one batch with what
/// it does: seqs are never given twice, survive reopening, and are the order in which everybody sees the
/// changes. The last arrival wins, also between tabs. A collection holds of each key its newest change.
///
/// Cheap to clone. Methods that write resolve when the change is committed; the job's
/// [`flush`](crate::Job::flush) makes it durable. What several callers want at the same time is written as
/// one batch. Dropping a future withdraws what the job has not accepted, and nothing else.
///
/// # Errors
///
/// What a [`Job`](crate::Job) answers; `Closed` once the collection has expired or been removed;
/// `TooLarge` beyond the bounds of the collection; `Conflict` if other tabs were faster a hundred times in
/// a row.
pub struct Collection<C: Content> {
    pub(super) shelf: Arc<Shelf>,
    content: PhantomData<fn() -> C>,
}

/// A record as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<K, V> {
    /// Its key; of a JSON record what the primary field holds.
    pub key: K,
    /// What it holds.
    pub data: V,
    /// The change that set it.
    pub seq: u64,
    /// When that was, in ms since the Unix epoch; never before an earlier change of the collection.
    pub updated_ms: u64,
}

/// How a collection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CollectionInfo {
    /// Its last change; 0 before the first.
    pub seq: u64,
    /// Its records, those included that have expired and are not purged.
    pub records: u64,
    /// The bytes of their keys and data.
    pub bytes: u64,
    /// Deletions that are remembered.
    pub tombstones: u64,
    /// Changes since a seq before this one cannot be told any more, except since 0.
    pub floor: u64,
    /// When it was made, in ms since the Unix epoch.
    pub created_ms: u64,
    /// When it expires; `None` for a permanent one.
    pub expires_ms: Option<u64>,
}

impl<C: Content> Collection<C> {
    pub(super) fn new(shelf: Arc<Shelf>) -> Self {
        Collection { shelf, content: PhantomData }
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.shelf.id
    }

    /// What tells this life of the collection from the next of the same id: 8 random bytes. Who keeps a
    /// seq keeps this beside it; seqs of another generation mean nothing.
    pub fn generation(&self) -> Generation {
        self.shelf.descriptor.generation
    }

    /// The field that is the key of JSON records; empty for records of bytes.
    pub fn primary(&self) -> &str {
        &self.shelf.descriptor.parameters.primary
    }

    /// How it stands.
    pub async fn info(&self) -> Result<CollectionInfo> {
        let head = self.shelf.head().await.map_err(|error| self.shelf.explain(error, "info"))?;
        Ok(CollectionInfo {
            seq: head.seq,
            records: head.records,
            bytes: head.bytes,
            tombstones: head.tombstones,
            floor: head.floor,
            created_ms: self.shelf.descriptor.created_ms,
            expires_ms: (head.expires_ms != 0).then_some(head.expires_ms),
        })
    }

    /// The record under this key; `None` if there is none or it has expired.
    pub async fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Record<C::Key, C::Value>>> {
        // A key that no record can have is of no record.
        if key.as_ref().len() > RECORD_KEY_BYTES_MAX {
            return Ok(None);
        }
        let found = self.shelf.get(key.as_ref()).await.map_err(|error| self.shelf.explain(error, "get"))?;
        found.map(record::<C>).transpose()
    }

    /// The records of a range of keys in the order of their keys, as bytes, and in one view.
    ///
    /// ```
    /// # use persistency::{Key, Result, prefix_range};
    /// # use persistency::datastore::{Collection, Json};
    /// # async fn example(list: Collection<Json>) -> Result<()> {
    /// let drafts = list.range(prefix_range(&Key::from_bytes("draft/"))).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// `TooLarge` if they have more than 64 MiB.
    pub async fn range(&self, range: impl RangeBounds<Key>) -> Result<Vec<Record<C::Key, C::Value>>> {
        let range = (range.start_bound().cloned(), range.end_bound().cloned());
        let found = self.shelf.range(range).await.map_err(|error| self.shelf.explain(error, "range"))?;
        found.into_iter().map(record::<C>).collect()
    }

    /// Deletes the record under this key and remembers that; returns the seq of the deletion. `None` if
    /// there is no such record: then no seq is used.
    pub async fn delete(&self, key: impl AsRef<[u8]>) -> Result<Option<u64>> {
        self.delete_when(key.as_ref(), When::Always, "delete").await
    }

    /// Deletes the record if it still is the one with this seq; `Conflict` if it is not.
    pub async fn delete_if(&self, key: impl AsRef<[u8]>, seq: u64) -> Result<Option<u64>> {
        self.delete_when(key.as_ref(), When::Seq(seq), "delete_if").await
    }

    /// Lets a sliding collection live its time from now on.
    pub async fn touch(&self) -> Result<()> {
        self.write(vec![Wanted::Touch], "touch").await.map(drop)
    }

    /// All records in the order of their seqs, in one view, with the collection's seq at that time.
    ///
    /// # Errors
    ///
    /// `TooLarge` if they, and the keys of the deletions that are remembered, have more than 64 MiB; then read
    /// [`pages_since(0)`](Collection::pages_since).
    pub async fn snapshot(&self) -> Result<Snapshot<C::Key, C::Value>> {
        snapshot::<C>(&self.shelf).await.map_err(|error| self.shelf.explain(error, "snapshot"))
    }

    /// What has changed after `seq`, in the order of the seqs and in one view: of each key its newest
    /// change. Who applies them in that order to what he had at `seq` has what the collection holds.
    ///
    /// After 0 everything is told, for whoever has nothing yet. Deletions that are remembered no more
    /// make it [`Since::Lagged`].
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if the collection has not come so far; `TooLarge` as for
    /// [`snapshot`](Collection::snapshot).
    pub async fn changes_since(&self, seq: u64) -> Result<Since<C::Key, C::Value>> {
        changes_since::<C>(&self.shelf, seq).await.map_err(|error| self.shelf.explain(error, "changes_since"))
    }

    /// The same by pages, each a new view. A key that is set while one reads comes again later.
    pub fn pages_since(&self, seq: u64) -> ChangesPages<C> {
        ChangesPages::new(Arc::clone(&self.shelf), seq)
    }

    /// Subscribes a client: first all records, then every change after them, without a gap or a
    /// duplicate. See [`Subscription`].
    ///
    /// # Errors
    ///
    /// `TooLarge` beyond [`Bounds::subscribers`](super::Bounds::subscribers) and the job's watches;
    /// `InvalidArgument` for an empty name. The first update is `TooLarge` as for
    /// [`snapshot`](Collection::snapshot): then read [`pages_since(0)`](Collection::pages_since) and
    /// [subscribe](Collection::subscribe_since) since its seq.
    pub async fn subscribe(&self, client: &str) -> Result<Subscription<C>> {
        let subscription = Subscription::start(&self.shelf, client, None).await;
        subscription.map_err(|error| self.shelf.explain(error, "subscribe"))
    }

    /// Subscribes a client that has everything up to `seq`: the changes after it, or all records if those
    /// cannot be told any more.
    pub async fn subscribe_since(&self, client: &str, seq: u64) -> Result<Subscription<C>> {
        let subscription = Subscription::start(&self.shelf, client, Some(seq)).await;
        subscription.map_err(|error| self.shelf.explain(error, "subscribe_since"))
    }

    /// Ends this client's subscriptions of the collection; returns how many.
    pub fn unsubscribe(&self, client: &str) -> usize {
        self.shelf.shared.subscribers.end_client(Some(self.generation()), client)
    }

    /// The clients that are subscribed on this side, each once, by name.
    pub fn subscribers(&self) -> Vec<String> {
        self.shelf.shared.subscribers.clients(self.generation())
    }

    pub(super) async fn delete_when(&self, key: &[u8], when: When, operation: &str) -> Result<Option<u64>> {
        if key.len() > RECORD_KEY_BYTES_MAX {
            return Ok(None);
        }
        let done = self.write(vec![Wanted::Delete { key: key.to_vec(), when }], operation).await?;
        Ok(done.into_iter().find_map(|done| match done {
            Done::Applied { seq, .. } => Some(seq),
            Done::Nothing => None,
        }))
    }

    pub(super) async fn set_all(
        &self,
        rows: Vec<(Vec<u8>, Vec<u8>)>,
        when: When,
        operation: &str,
    ) -> Result<Vec<(u64, u64)>> {
        check_rows(&rows).map_err(|error| self.shelf.explain(error, operation))?;
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let wanted = rows.into_iter().map(|(key, data)| Wanted::Set { key, data: data.into(), when });
        let done = self.write(wanted.collect(), operation).await?;
        Ok(done.into_iter().filter_map(Done::stamp).collect())
    }

    async fn write(&self, wanted: Vec<Wanted>, operation: &str) -> Result<Vec<Done>> {
        self.shelf.write(wanted).await.map_err(|error| self.shelf.explain(error, operation))
    }
}

impl Done {
    fn stamp(self) -> Option<(u64, u64)> {
        match self {
            Done::Applied { seq, stamp_ms } => Some((seq, stamp_ms)),
            Done::Nothing => None,
        }
    }
}

/// The record of what is told, which was not deleted.
pub(super) fn record<C: Content>(told: Told) -> Result<Record<C::Key, C::Value>> {
    let data = C::value(told.data.unwrap_or_default())?;
    Ok(Record { key: C::key(told.key)?, data, seq: told.seq, updated_ms: told.stamp_ms })
}

fn check_rows(rows: &[(Vec<u8>, Vec<u8>)]) -> Result<()> {
    if rows.len() > SET_MANY_MAX {
        let message = format!("{} records, the limit is {SET_MANY_MAX}", rows.len());
        return Err(Error::new(ErrorKind::TooLarge, message));
    }
    for (key, data) in rows {
        check_bytes("record's key", key.len(), RECORD_KEY_BYTES_MAX)?;
        check_bytes("record", data.len(), RECORD_BYTES_MAX)?;
    }
    let total = rows.iter().map(|(key, data)| key.len() + data.len()).sum();
    if rows.len() > 1 { check_bytes("records", total, SET_MANY_BYTES_MAX) } else { Ok(()) }
}

impl<C: Content> Clone for Collection<C> {
    fn clone(&self) -> Self {
        Collection::new(Arc::clone(&self.shelf))
    }
}

impl<C: Content> fmt::Debug for Collection<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collection").field("id", &self.id()).finish_non_exhaustive()
    }
}
