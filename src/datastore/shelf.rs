//! Shelves: what the handles of one open collection share, and how its rows are read.
//!
//! Never keeps what a write is decided by: that is read again, or checked by the batch's precondition.

use std::collections::HashSet;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::layout::{Change, Descriptor, Head, ROWS, Record, Rows, seq_of};
use super::plan::expired;
use super::store::Shared;
use super::writer::Writer;
use crate::error::{Error, ErrorKind, Quoted, Result};
use crate::key::Key;
use crate::scan::Row;

/// An open collection.
pub(super) struct Shelf {
    pub(super) shared: Arc<Shared>,
    pub(super) id: String,
    pub(super) descriptor: Descriptor,
    pub(super) writer: Writer,
    /// When it expires as far as is known; it may have slid on. 0 for never.
    expires_ms: AtomicU64,
    /// Its last change as far as is known: its time does not go back behind that.
    last_ms: AtomicU64,
}

/// What has become of a key, as it is handed out.
pub(super) struct Told {
    pub(super) seq: u64,
    pub(super) stamp_ms: u64,
    pub(super) key: Vec<u8>,
    /// None if it was deleted.
    pub(super) data: Option<Vec<u8>>,
}

/// A part of the changes after a seq, in one view.
pub(super) struct Page {
    /// In the order of their seqs, of each key the newest one; those that can be handed out.
    pub(super) changes: Vec<Told>,
    /// How far it goes.
    pub(super) to: u64,
    /// The head, if it is in the view.
    pub(super) head: Option<Head>,
}

impl Shelf {
    pub(super) fn new(shared: Arc<Shared>, id: String, descriptor: Descriptor, head: &Head) -> Self {
        let (expires_ms, last_ms) = (AtomicU64::new(head.expires_ms), AtomicU64::new(head.last_ms));
        Shelf { shared, id, descriptor, writer: Writer::default(), expires_ms, last_ms }
    }

    pub(super) fn rows(&self) -> Rows {
        self.descriptor.rows()
    }

    /// The collection's time: what has expired by its last change stays so if the clock goes back.
    pub(super) fn now_ms(&self) -> u64 {
        self.shared.clock.unix_ms().max(self.last_ms.load(Ordering::Relaxed))
    }

    /// The head as it is stored; `Closed` if the collection has been removed or has expired.
    pub(super) async fn head(&self) -> Result<Head> {
        let stored = self.shared.job.get(ROWS, self.rows().head()).await?;
        let head = Head::decode(&stored.ok_or_else(|| self.gone())?)?;
        self.check_head(&head)?;
        Ok(head)
    }

    /// `Closed` if the head's collection has expired.
    pub(super) fn check_head(&self, head: &Head) -> Result<()> {
        self.slid_to(head);
        match head.expired(self.now_ms()) {
            true => Err(self.gone()),
            false => Ok(()),
        }
    }

    /// Remembers when the head's collection expires and when it changed.
    pub(super) fn slid_to(&self, head: &Head) {
        self.last_ms.fetch_max(head.last_ms, Ordering::Relaxed);
        self.expires_ms.store(head.expires_ms, Ordering::Relaxed);
    }

    /// When it expires as far as is known, 0 for never.
    pub(super) fn expires_ms(&self) -> u64 {
        self.expires_ms.load(Ordering::Relaxed)
    }

    /// `Closed` if it has expired; asks the job only if it may have slid on.
    async fn check_alive(&self) -> Result<()> {
        let expires_ms = self.expires_ms();
        if expires_ms == 0 || self.now_ms() <= expires_ms {
            return Ok(());
        }
        self.head().await.map(drop)
    }

    /// The record under this key.
    pub(super) async fn get(&self, key: &[u8]) -> Result<Option<Told>> {
        self.check_alive().await?;
        let Some(stored) = self.shared.job.get(ROWS, self.rows().record(key)).await? else {
            // There is no such row in a collection that is gone either.
            self.head().await?;
            return Ok(None);
        };
        let record = Record::decode(&stored)?;
        let is_there = record.data.is_some() && self.is_handed_out(&record, self.now_ms());
        Ok(is_there.then(|| Told::new(key, record)))
    }

    /// The records of a range of keys in one view.
    pub(super) async fn range(&self, (start, end): (Bound<Key>, Bound<Key>)) -> Result<Vec<Told>> {
        self.check_alive().await?;
        let rows = self.rows();
        let all = rows.head_and_records();
        let at = |bound: Bound<Key>, open| match bound {
            Bound::Included(key) => Bound::Included(rows.record(key.as_bytes())),
            Bound::Excluded(key) => Bound::Excluded(rows.record(key.as_bytes())),
            Bound::Unbounded => open,
        };
        let range = (at(start, Bound::Included(rows.record(&[]))), at(end, Bound::Excluded(all.end)));
        let found = self.shared.job.scan(ROWS, range).packed(true).await?.rows;
        if found.is_empty() {
            // So is what a collection that is gone has left.
            self.head().await?;
        }
        let (now_ms, mut records) = (self.now_ms(), Vec::with_capacity(found.len()));
        for (row_key, stored) in &found {
            let record = Record::decode(stored)?;
            if record.data.is_some() && self.is_handed_out(&record, now_ms) {
                records.push(Told::new(Rows::record_key(row_key), record));
            }
        }
        Ok(records)
    }

    /// An expired record is not; that one was deleted is.
    fn is_handed_out(&self, record: &Record<'_>, now_ms: u64) -> bool {
        record.data.is_none() || !expired(&self.descriptor, record.stamp_ms, now_ms)
    }

    /// All changes after `after` in one view: from the recent ones, or else from all records.
    ///
    /// # Errors
    ///
    /// `TooLarge` if they are more than a scan may return.
    pub(super) async fn all_after(&self, after: u64) -> Result<Page> {
        if after > 0 && self.head().await?.log_from <= after {
            match self.shared.job.scan(ROWS, self.rows().changes_after(after)).await {
                Ok(rows) => {
                    let page = self.recent(after, rows)?;
                    if page.head.as_ref().is_some_and(|head| head.log_from <= after) {
                        return Ok(page);
                    }
                }
                // Of a key there may be many; the records have it once.
                Err(error) if error.kind() == ErrorKind::TooLarge => {}
                Err(error) => return Err(error),
            }
        }
        let page = self.shared.job.scan(ROWS, self.rows().head_and_records()).packed(true).await?;
        let (most, mut rows) = (page.rows.len(), page.rows.iter());
        let head = Head::decode(rows.next().ok_or_else(|| self.gone())?.1)?;
        self.check_head(&head)?;
        let changes = self.records(after, most, rows)?;
        Ok(Page { changes, to: head.seq.max(after), head: Some(head) })
    }

    /// The next of the recent changes after `after`, as many as one page holds.
    pub(super) async fn recent_after(&self, after: u64) -> Result<Page> {
        let mut pages = self.shared.job.scan(ROWS, self.rows().changes_after(after)).stream();
        let rows = pages.next().await.transpose()?.unwrap_or_default();
        self.recent(after, rows)
    }

    /// What has become of keys from the row `from` on after `after`, as many as one page holds; and the row
    /// to go on from, if there are more.
    pub(super) async fn records_from(&self, from: Key, after: u64) -> Result<(Vec<Told>, Option<Key>)> {
        let end = self.rows().head_and_records().end;
        let page = self.shared.job.scan(ROWS, from..end).packed(false).await?;
        let last = if page.more { page.rows.iter().last() } else { None };
        let next = last.map(|(key, _)| Key::from_bytes([key, &[0]].concat()));
        Ok((self.records(after, page.rows.len(), page.rows.iter())?, next))
    }

    /// In the order of the seqs; of so many rows at most.
    fn records<'r>(
        &self,
        after: u64,
        most: usize,
        rows: impl Iterator<Item = (&'r [u8], &'r [u8])>,
    ) -> Result<Vec<Told>> {
        let (now_ms, mut changes) = (self.now_ms(), Vec::with_capacity(most));
        for (row_key, stored) in rows {
            let record = Record::decode(stored)?;
            if record.seq > after && self.is_handed_out(&record, now_ms) {
                changes.push(Told::new(Rows::record_key(row_key), record));
            }
        }
        // Moves each once, however many there are.
        changes.sort_by_cached_key(|told| told.seq);
        Ok(changes)
    }

    fn recent(&self, after: u64, mut rows: Vec<Row>) -> Result<Page> {
        let last = rows.last().ok_or_else(|| self.gone())?;
        let (to, head) = if last.key == self.rows().head() {
            let head = Head::decode(&last.payload)?;
            self.check_head(&head)?;
            rows.pop();
            (head.seq.max(after), Some(head))
        } else {
            (seq_of(&last.key)?, None)
        };
        let (now_ms, mut seen) = (self.now_ms(), HashSet::with_capacity(rows.len()));
        let mut changes = Vec::with_capacity(rows.len());
        // From the last to the first, since of a key only the newest one is told.
        for row in rows.into_iter().rev() {
            let seq = seq_of(&row.key)?;
            let Change { stamp_ms, key, data } = Change::decode(row.payload)?;
            if !seen.contains(&key) {
                seen.insert(key.clone());
                if self.is_handed_out(&Record { seq, stamp_ms, data: data.as_deref() }, now_ms) {
                    changes.push(Told { seq, stamp_ms, key, data });
                }
            }
        }
        changes.reverse();
        Ok(Page { changes, to, head })
    }

    /// The error with the words that say where it happened.
    pub(super) fn explain(&self, error: Error, operation: &str) -> Error {
        error.in_context(format_args!("collection {}, {operation}", Quoted(&self.id)))
    }

    /// What is answered about a collection that is there no more.
    pub(super) fn gone(&self) -> Error {
        Error::new(ErrorKind::Closed, "it has expired or been removed")
    }
}

impl Told {
    fn new(key: &[u8], Record { seq, stamp_ms, data }: Record<'_>) -> Self {
        Told { seq, stamp_ms, key: key.to_vec(), data: data.map(<[u8]>::to_vec) }
    }
}
