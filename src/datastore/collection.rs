//! Collections: records under keys, with a sequence of their own that survives.

use std::fmt;
use std::marker::PhantomData;
use std::ops::RangeBounds;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::changes::{ChangesPages, Since, Snapshot, changes_since, snapshot};
use super::content::{Bytes, Content, Json, json_record};
use super::layout::Generation;
use super::options::{
    ATTEMPTS_MAX, RECORD_BYTES_MAX, RECORD_KEY_BYTES_MAX, SET_MANY_BYTES_MAX, SET_MANY_MAX,
};
use super::plan::{Done, Wanted, When};
use super::shelf::{Shelf, Told};
use super::subscription::Subscription;
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
    /// `TooLarge` if they have more than 64 MiB; then read [`pages_since(0)`](Collection::pages_since).
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
    /// `InvalidArgument` for an empty name.
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

    async fn delete_when(&self, key: &[u8], when: When, operation: &str) -> Result<Option<u64>> {
        if key.len() > RECORD_KEY_BYTES_MAX {
            return Ok(None);
        }
        let done = self.write(vec![Wanted::Delete { key: key.to_vec(), when }], operation).await?;
        Ok(done.into_iter().find_map(|done| match done {
            Done::Applied { seq, .. } => Some(seq),
            Done::Nothing => None,
        }))
    }

    async fn set_all(
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

impl Collection<Bytes> {
    /// Sets the record under this key, whatever was there: the last arrival wins.
    pub async fn set(&self, key: impl Into<Key>, data: impl Into<Vec<u8>>) -> Result<Record<Key, Vec<u8>>> {
        self.set_when(key.into(), data.into(), When::Always, "set").await
    }

    /// Sets the record if `when` holds; `Conflict` if it does not.
    pub async fn set_if(
        &self,
        key: impl Into<Key>,
        data: impl Into<Vec<u8>>,
        when: When,
    ) -> Result<Record<Key, Vec<u8>>> {
        self.set_when(key.into(), data.into(), when, "set_if").await
    }

    /// Sets several records in one batch, all or none.
    ///
    /// # Errors
    ///
    /// `TooLarge` beyond 12,000 records or 16 MiB.
    pub async fn set_many(
        &self,
        records: impl IntoIterator<Item = (Key, Vec<u8>)>,
    ) -> Result<Vec<Record<Key, Vec<u8>>>> {
        let records: Vec<(Key, Vec<u8>)> = records.into_iter().collect();
        let rows = records.iter().map(|(key, data)| (key.as_bytes().to_vec(), data.clone())).collect();
        let stamps = self.set_all(rows, When::Always, "set_many").await?;
        let records = records.into_iter().zip(stamps);
        Ok(records.map(|((key, data), (seq, updated_ms))| Record { key, data, seq, updated_ms }).collect())
    }

    /// Replaces the record by what `change` makes of it, nothing between: it is read, and set if it
    /// still is what was read. `change` may be called several times; `None` deletes the record.
    pub async fn update(
        &self,
        key: impl Into<Key>,
        mut change: impl FnMut(Option<&[u8]>) -> Option<Vec<u8>>,
    ) -> Result<Option<Record<Key, Vec<u8>>>> {
        let key = key.into();
        for _ in 0..ATTEMPTS_MAX {
            let old = self.get(&key).await?;
            let result = match (change(old.as_ref().map(|old| &*old.data)), &old) {
                (Some(data), old) => self.set_when(key.clone(), data, as_read(old), "update").await.map(Some),
                (None, Some(old)) => {
                    self.delete_when(key.as_bytes(), When::Seq(old.seq), "update").await.map(|_| None)
                }
                (None, None) => return Ok(None),
            };
            match result {
                Err(error) if error.kind() == ErrorKind::Conflict => {}
                result => return result,
            }
        }
        Err(overtaken())
    }

    async fn set_when(
        &self,
        key: Key,
        data: Vec<u8>,
        when: When,
        operation: &str,
    ) -> Result<Record<Key, Vec<u8>>> {
        let rows = vec![(key.as_bytes().to_vec(), data.clone())];
        let stamp = self.set_all(rows, when, operation).await?.into_iter().next();
        let (seq, updated_ms) = stamp.ok_or_else(overtaken)?;
        Ok(Record { key, data, seq, updated_ms })
    }
}

impl<T: Serialize + DeserializeOwned + Send + Sync + 'static> Collection<Json<T>> {
    /// Sets a record, whatever was there under the key that its primary field holds: the last arrival
    /// wins, and replaces the record as a whole.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` unless it is an object whose primary field is a string of at least one byte;
    /// then no seq is used.
    pub async fn set(&self, data: T) -> Result<Record<String, T>> {
        self.set_when(data, When::Always, "set").await
    }

    /// Sets a record if `when` holds; `Conflict` if it does not.
    pub async fn set_if(&self, data: T, when: When) -> Result<Record<String, T>> {
        self.set_when(data, when, "set_if").await
    }

    /// Sets several records in one batch, all or none.
    ///
    /// # Errors
    ///
    /// `TooLarge` beyond 12,000 records or 16 MiB; `InvalidArgument` as for [`set`](Collection::set).
    pub async fn set_many(&self, records: impl IntoIterator<Item = T>) -> Result<Vec<Record<String, T>>> {
        let records: Vec<T> = records.into_iter().collect();
        let written: Result<Vec<_>> = records.iter().map(|data| json_record(data, self.primary())).collect();
        let written = written.map_err(|error| self.shelf.explain(error, "set_many"))?;
        let keys: Vec<String> = written.iter().map(|(key, _)| key.clone()).collect();
        let rows = written.into_iter().map(|(key, data)| (key.into_bytes(), data)).collect();
        let stamps = self.set_all(rows, When::Always, "set_many").await?;
        let records = keys.into_iter().zip(records).zip(stamps);
        Ok(records.map(|((key, data), (seq, updated_ms))| Record { key, data, seq, updated_ms }).collect())
    }

    /// Replaces the record by what `change` makes of it, nothing between: it is read, and set if it
    /// still is what was read. `change` may be called several times; `None` deletes the record.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if the changed record has another key.
    pub async fn update(
        &self,
        key: &str,
        mut change: impl FnMut(Option<T>) -> Option<T>,
    ) -> Result<Option<Record<String, T>>> {
        for _ in 0..ATTEMPTS_MAX {
            let old = self.get(key).await?;
            let when = as_read(&old);
            let result = match (change(old.map(|old| old.data)), when) {
                (Some(data), when) => {
                    let (new, _) = json_record(&data, self.primary())?;
                    if new != key {
                        let message = "the changed record has another key";
                        let error = Error::new(ErrorKind::InvalidArgument, message);
                        return Err(self.shelf.explain(error, "update"));
                    }
                    self.set_when(data, when, "update").await.map(Some)
                }
                (None, When::Absent) => return Ok(None),
                (None, when) => self.delete_when(key.as_bytes(), when, "update").await.map(|_| None),
            };
            match result {
                Err(error) if error.kind() == ErrorKind::Conflict => {}
                result => return result,
            }
        }
        Err(overtaken())
    }

    async fn set_when(&self, data: T, when: When, operation: &str) -> Result<Record<String, T>> {
        let written = json_record(&data, self.primary());
        let (key, bytes) = written.map_err(|error| self.shelf.explain(error, operation))?;
        let rows = vec![(key.clone().into_bytes(), bytes)];
        let stamp = self.set_all(rows, when, operation).await?.into_iter().next();
        let (seq, updated_ms) = stamp.ok_or_else(overtaken)?;
        Ok(Record { key, data, seq, updated_ms })
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

fn as_read<K, V>(old: &Option<Record<K, V>>) -> When {
    old.as_ref().map_or(When::Absent, |old| When::Seq(old.seq))
}

fn overtaken() -> Error {
    let message = format!("others were faster {ATTEMPTS_MAX} times in a row");
    Error::new(ErrorKind::Conflict, message)
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
