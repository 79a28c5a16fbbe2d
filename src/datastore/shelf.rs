//! Shelves: what the handles of one open collection share, and how its rows are read.
//!
//! Never keeps what a write is decided by: that is read again, or checked by the batch's precondition.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::layout::{Change, Descriptor, Head, Place, ROWS, Rows, seq_of};
use super::options::ATTEMPTS_MAX;
use super::plan::expired;
use super::store::{Shared, lock};
use super::writer::Writer;
use crate::error::{Error, ErrorKind, Quoted, Result};
use crate::scan::Row;

/// Keys of a collection whose places are remembered; beyond it all are forgotten, and begun anew.
const HINTS_MAX: usize = 256 * 1024;

/// An open collection.
pub(super) struct Shelf {
    pub(super) shared: Arc<Shared>,
    pub(super) id: String,
    pub(super) descriptor: Descriptor,
    pub(super) writer: Writer,
    hints: Hints,
    /// When it expires as far as is known; it may have slid on. 0 for never.
    expires_ms: AtomicU64,
}

/// At which seq a key's newest change was seen last.
///
/// A hint may be out of date, or of another key with the same hash, and does no harm: the change at a
/// seq has its key in it, and is there only as long as it is the newest.
#[derive(Default)]
struct Hints {
    hasher: RandomState,
    seqs: Mutex<HashMap<u64, u64>>,
}

/// A part of the changes after a seq, in one view.
pub(super) struct Page {
    /// With their seqs; those that can be handed out.
    pub(super) changes: Vec<(u64, Change)>,
    /// How far it goes.
    pub(super) to: u64,
    /// The head, if the page reaches the end.
    pub(super) head: Option<Head>,
}

impl Shelf {
    pub(super) fn new(shared: Arc<Shared>, id: String, descriptor: Descriptor, expires_ms: u64) -> Self {
        Shelf {
            shared,
            id,
            descriptor,
            writer: Writer::default(),
            hints: Hints::default(),
            expires_ms: AtomicU64::new(expires_ms),
        }
    }

    pub(super) fn rows(&self) -> Rows {
        self.descriptor.rows()
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.shared.clock.unix_ms()
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

    /// Remembers when the head's collection expires.
    pub(super) fn slid_to(&self, head: &Head) {
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

    /// The record under this key, with its seq.
    pub(super) async fn get(&self, key: &[u8]) -> Result<Option<(u64, Change)>> {
        self.check_alive().await?;
        if let Some(seq) = self.hints.get(key)
            && let Some(found) = self.change(seq, key).await?
        {
            return Ok(self.handed_out(seq, found));
        }
        for _ in 0..ATTEMPTS_MAX {
            let Some(stored) = self.shared.job.get(ROWS, self.rows().place(key)).await? else {
                // There is no such row in a collection that is gone either.
                self.head().await?;
                return Ok(None);
            };
            let place = Place::decode(&stored)?;
            if place.deleted {
                return Ok(None);
            }
            // It is gone if the record was set again between the two reads.
            if let Some(found) = self.change(place.seq, key).await? {
                self.hints.set(key, place.seq);
                return Ok(self.handed_out(place.seq, found));
            }
        }
        let message = format!("a record that was set {ATTEMPTS_MAX} times while it was read");
        Err(Error::new(ErrorKind::Conflict, message))
    }

    async fn change(&self, seq: u64, key: &[u8]) -> Result<Option<Change>> {
        let Some(stored) = self.shared.job.get(ROWS, self.rows().change(seq)).await? else { return Ok(None) };
        let change = Change::decode(stored)?;
        Ok((change.key == key && change.data.is_some()).then_some(change))
    }

    fn handed_out(&self, seq: u64, change: Change) -> Option<(u64, Change)> {
        (!expired(&self.descriptor, change.stamp_ms, self.now_ms())).then_some((seq, change))
    }

    /// Remembers where a key's newest change is, if that set a record.
    pub(super) fn hint(&self, key: &[u8], seq: Option<u64>) {
        if let Some(seq) = seq {
            self.hints.set(key, seq);
        }
    }

    /// All changes after `after` in one view.
    ///
    /// # Errors
    ///
    /// `TooLarge` if they are more than a scan may return.
    pub(super) async fn all_after(&self, after: u64) -> Result<Page> {
        let rows = self.shared.job.scan(ROWS, self.rows().changes_after(after)).await?;
        self.page(after, rows)
    }

    /// The next of the changes after `after`, as many as one page holds.
    pub(super) async fn page_after(&self, after: u64) -> Result<Page> {
        let mut pages = self.shared.job.scan(ROWS, self.rows().changes_after(after)).stream();
        let rows = pages.next().await.transpose()?.unwrap_or_default();
        self.page(after, rows)
    }

    fn page(&self, after: u64, mut rows: Vec<Row>) -> Result<Page> {
        let last = rows.last().ok_or_else(|| self.gone())?;
        let (to, head) = if last.key == self.rows().head() {
            let head = Head::decode(&last.payload)?;
            self.check_head(&head)?;
            rows.pop();
            (head.seq.max(after), Some(head))
        } else {
            (seq_of(&last.key)?, None)
        };
        let now_ms = self.now_ms();
        let mut changes = Vec::with_capacity(rows.len());
        for row in rows {
            let change = Change::decode(row.payload)?;
            if change.data.is_none() || !expired(&self.descriptor, change.stamp_ms, now_ms) {
                changes.push((seq_of(&row.key)?, change));
            }
        }
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

impl Hints {
    fn get(&self, key: &[u8]) -> Option<u64> {
        lock(&self.seqs).get(&self.hasher.hash_one(key)).copied()
    }

    fn set(&self, key: &[u8], seq: u64) {
        let mut seqs = lock(&self.seqs);
        if seqs.len() >= HINTS_MAX {
            seqs.clear();
        }
        seqs.insert(self.hasher.hash_one(key), seq);
    }
}
