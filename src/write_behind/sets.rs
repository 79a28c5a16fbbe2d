//! The handles of sets: what programs mark keys and write rows with.
//!
//! A handle is typed and holds nothing but its engine; it can be cloned and sent anywhere.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::{Arc, OnceLock};

use super::core::Core;
use super::dirty_set::Mark;
use super::strong::{self, Decision, Look, Row, Saved};
use crate::batch::Batch;
use crate::error::{Error, ErrorKind, Result};
use crate::key::{Key, KeyPart};

/// A set whose rows are written behind: memory is the truth, the store follows.
///
/// Declared by [`Schema::weak`](super::Schema::weak); before the engine is open everything answers
/// `Closed`. Change memory first, then mark.
pub struct WeakSet<K> {
    strong: StrongSet<K>,
}

/// A set whose rows are durable as soon as a write is acknowledged.
///
/// Declared by [`Schema::strong`](super::Schema::strong); before the engine is open everything answers
/// `Closed`. Writes on the same key by several callers are told apart by what they found: each either
/// sees the other's row or is repeated.
pub struct StrongSet<K> {
    pub(super) core: Arc<OnceLock<Arc<Core>>>,
    pub(super) index: usize,
    pub(super) of: PhantomData<fn(&K)>,
}

/// A [`WeakSet`] or [`StrongSet`]: what a relation or a loader is declared for.
pub trait Rows<K>: sealed::Sealed {
    /// Its rows, to be written strongly.
    fn strong(&self) -> &StrongSet<K>;
}

mod sealed {
    pub trait Sealed {}
    impl<K> Sealed for super::WeakSet<K> {}
    impl<K> Sealed for super::StrongSet<K> {}
}

impl<K> Rows<K> for WeakSet<K> {
    fn strong(&self) -> &StrongSet<K> {
        &self.strong
    }
}

impl<K> Rows<K> for StrongSet<K> {
    fn strong(&self) -> &StrongSet<K> {
        self
    }
}

impl<K> WeakSet<K> {
    pub(super) fn new(strong: StrongSet<K>) -> Self {
        WeakSet { strong }
    }

    /// Its rows, to be written strongly; see [`WriteBehind::write`](super::WriteBehind::write) for what
    /// that means for a key that is dirty.
    pub fn strong(&self) -> &StrongSet<K> {
        &self.strong
    }

    /// How many of its keys are dirty, those of a flush under way included.
    pub fn dirty(&self) -> usize {
        let Some(core) = self.strong.core.get() else { return 0 };
        core.state().dirty_of(self.strong.index).marks
    }
}

impl<K: KeyPart> WeakSet<K> {
    /// Marks a key whose value in memory has changed: it is read and written with the next flush.
    ///
    /// Costs about as much as an entry in a hash map, waits for nothing, and may be repeated: only the
    /// last mark counts.
    ///
    /// # Errors
    ///
    /// `Overloaded` if the set or the engine has no room for another dirty key; the flusher, if it runs,
    /// is told to flush, and the key's mark stays as it was: mark again later, or
    /// [`flush`](super::WriteBehind::flush) first. `TooLarge` or `InvalidArgument` if the key cannot be
    /// encoded. `Closed` before the engine is open and after it has been dropped.
    pub fn mark(&self, key: &K) -> Result<()> {
        self.strong.core()?.mark(self.strong.index, key, Mark::Upsert)
    }

    /// Marks a key whose row is to be removed with the next flush, whatever memory says then.
    ///
    /// # Errors
    ///
    /// As [`mark`](WeakSet::mark).
    pub fn mark_delete(&self, key: &K) -> Result<()> {
        self.strong.core()?.mark(self.strong.index, key, Mark::Delete)
    }
}

impl<K> StrongSet<K> {
    fn core(&self) -> Result<&Arc<Core>> {
        self.core.get().ok_or_else(not_open)
    }
}

impl<K: KeyPart> StrongSet<K> {
    /// The stored payload; `None` if there is no such row. What is dirty is not seen.
    ///
    /// # Errors
    ///
    /// As [`Job::get`](crate::Job::get).
    pub fn get(&self, key: &K) -> impl Future<Output = Result<Option<Vec<u8>>>> + Send + use<K> {
        let row = self.row(key);
        async move {
            let Row { core, category, key } = row?;
            core.job.get(&category, key).await
        }
    }

    /// Inserts the row.
    ///
    /// # Errors
    ///
    /// `Conflict` if there is one, which stays as it is; otherwise as
    /// [`WriteBehind::write`](super::WriteBehind::write), as with all that follow.
    pub fn insert<P: Into<Vec<u8>>>(
        &self,
        key: &K,
        payload: P,
    ) -> impl Future<Output = Result<()>> + Send + use<K, P> {
        let (row, payload) = (self.row(key), payload.into());
        async move {
            let Row { core, category, key } = row?;
            let batch = Batch::new().require_absent(&*category, &key).put(&*category, key, payload);
            strong::write(&core, batch).await.map(drop)
        }
    }

    /// Inserts the row if there is none, and says whether it did; one that is there stays as it is.
    pub fn ensure<P: Into<Vec<u8>>>(
        &self,
        key: &K,
        payload: P,
    ) -> impl Future<Output = Result<bool>> + Send + use<K, P> {
        let (row, payload) = (self.row(key), payload.into());
        async move {
            let mut decide = |found: Option<&[u8]>| {
                Ok(if found.is_some() { Decision::Keep } else { Decision::Put(payload.clone()) })
            };
            Ok(strong::decide(&row?, Look::Presence, &mut decide).await? == Saved::Created)
        }
    }

    /// Inserts the row or replaces its payload, and says which.
    pub fn put<P: Into<Vec<u8>>>(
        &self,
        key: &K,
        payload: P,
    ) -> impl Future<Output = Result<Saved>> + Send + use<K, P> {
        let (row, payload) = (self.row(key), payload.into());
        async move {
            let mut decide = |_: Option<&[u8]>| Ok(Decision::Put(payload.clone()));
            strong::decide(&row?, Look::Presence, &mut decide).await
        }
    }

    /// Replaces the row by what `merge` makes of the stored payload, or inserts it: for fields that an
    /// update preserves, as the time of creation.
    ///
    /// `merge` is given the stored payload, `None` if there is no row, and answers with the new one, or
    /// `None` to leave everything as it is. Its error is this call's, with nothing written: check what
    /// is to be saved there. If somebody else changes the row meanwhile it is asked again, at most
    /// [`ATTEMPTS_MAX`](super::ATTEMPTS_MAX) times in all, then the answer is `Conflict`.
    pub fn update<F>(&self, key: &K, mut merge: F) -> impl Future<Output = Result<Saved>> + Send + use<K, F>
    where
        F: FnMut(Option<&[u8]>) -> Result<Option<Vec<u8>>> + Send,
    {
        let row = self.row(key);
        async move {
            let mut decide = |found: Option<&[u8]>| Ok(merge(found)?.map_or(Decision::Keep, Decision::Put));
            strong::decide(&row?, Look::Payload, &mut decide).await
        }
    }

    /// Removes the row, and says whether there was one.
    pub fn remove(&self, key: &K) -> impl Future<Output = Result<bool>> + Send + use<K> {
        let row = self.row(key);
        async move {
            let mut decide =
                |found: Option<&[u8]>| Ok(if found.is_some() { Decision::Remove } else { Decision::Keep });
            Ok(strong::decide(&row?, Look::Presence, &mut decide).await? == Saved::Removed)
        }
    }

    /// Encoded before anything is awaited, so that a key need not be able to move between threads.
    fn row(&self, key: &K) -> Result<Row> {
        let core = Arc::clone(self.core()?);
        let Some(category) = core.categories.get(self.index).cloned() else { return Err(not_open()) };
        Ok(Row { core, category, key: Key::of(&[key])? })
    }
}

fn not_open() -> Error {
    Error::new(ErrorKind::Closed, "the engine is not open yet")
}

impl<K> Clone for WeakSet<K> {
    fn clone(&self) -> Self {
        WeakSet { strong: self.strong.clone() }
    }
}

impl<K> Clone for StrongSet<K> {
    fn clone(&self) -> Self {
        StrongSet { core: Arc::clone(&self.core), index: self.index, of: PhantomData }
    }
}

impl<K> fmt::Debug for WeakSet<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeakSet").field("index", &self.strong.index).field("dirty", &self.dirty()).finish()
    }
}

impl<K> fmt::Debug for StrongSet<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StrongSet").field("index", &self.index).finish_non_exhaustive()
    }
}
