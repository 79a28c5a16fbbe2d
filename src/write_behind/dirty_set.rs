//! Dirty sets: which keys have changed since they were last written, and how.
//!
//! Holds no values and reads none: what a key's value is, is asked when the set is flushed.

use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Add, Sub};

use foldhash::fast::RandomState;

use super::options::SetBounds;
use crate::error::{Error, ErrorKind, Result};
use crate::key::{Key, KeyPart};
use crate::limits::{KEY_BYTES_MAX, check_bytes};

/// What a dirty key is marked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mark {
    /// Its value is to be written; read when it is written, so if it is missing then, it is a delete.
    Upsert,
    /// Its row is to be removed, whatever memory says.
    Delete,
}

/// Keys and their marks; of several marks on one key the last one counts.
///
/// The engine has one for each weak set and hands out [`WeakSet`](super::WeakSet)s to mark keys in
/// them; by itself it is for programs with a way to flush of their own.
///
/// ```
/// use persistency::write_behind::{DirtySet, Mark, SetBounds};
///
/// let mut dirty = DirtySet::<String>::new(SetBounds::default());
/// dirty.mark(&"ada".to_owned(), Mark::Upsert)?;
/// dirty.mark(&"bob".to_owned(), Mark::Upsert)?;
/// let flushing = dirty.drain();
/// dirty.mark(&"ada".to_owned(), Mark::Delete)?;
/// dirty.merge(flushing); // the flush has failed
/// assert_eq!(dirty.get(&"ada".to_owned())?, Some(Mark::Delete), "the newer mark");
/// assert_eq!(dirty.get(&"bob".to_owned())?, Some(Mark::Upsert));
/// # Ok::<(), persistency::Error>(())
/// ```
pub struct DirtySet<K> {
    /// Hashed fast, and with a seed of its own for each set: keys can come from strangers.
    marks: HashMap<Key, Mark, RandomState>,
    bytes: usize,
    bounds: SetBounds,
    /// What each row's category adds to a batch.
    category_bytes: usize,
    /// Holds a key while it is looked up, so that marking one that is marked allocates nothing.
    encoded: Vec<u8>,
    of: PhantomData<fn(&K)>,
}

/// How many marks, and what they weigh in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Weight {
    pub(super) marks: usize,
    pub(super) bytes: usize,
}

impl Add for Weight {
    type Output = Weight;

    fn add(self, other: Weight) -> Weight {
        Weight { marks: self.marks + other.marks, bytes: self.bytes + other.bytes }
    }
}

/// What is left, nothing at least.
impl Sub for Weight {
    type Output = Weight;

    fn sub(self, other: Weight) -> Weight {
        Weight {
            marks: self.marks.saturating_sub(other.marks),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }
}

impl Weight {
    /// Of each the smaller.
    pub(super) fn min(self, other: Weight) -> Weight {
        Weight { marks: self.marks.min(other.marks), bytes: self.bytes.min(other.bytes) }
    }
}

impl<K> DirtySet<K> {
    /// A set without marks.
    pub fn new(bounds: SetBounds) -> Self {
        Self::of_category(0, bounds)
    }

    /// A set whose marks weigh what their rows' category adds, too.
    pub(super) fn of_category(category_bytes: usize, bounds: SetBounds) -> Self {
        let (marks, encoded) = (HashMap::default(), Vec::new());
        DirtySet { marks, bytes: 0, bounds, category_bytes, encoded, of: PhantomData }
    }

    /// How many keys are marked.
    pub fn len(&self) -> usize {
        self.marks.len()
    }

    /// Whether no key is marked.
    pub fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }

    /// What the marks weigh in bytes: their keys, and for each upsert
    /// [`SetBounds::payload_bytes`].
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes all marks out; what is marked from now on is not among them.
    pub fn drain(&mut self) -> DirtySet<K> {
        std::mem::replace(self, DirtySet::of_category(self.category_bytes, self.bounds))
    }

    /// Puts marks back that were drained, but for keys that have been marked since.
    ///
    /// Never refuses, since all of them had their place before.
    pub fn merge(&mut self, older: DirtySet<K>) {
        for (key, mark) in older.marks {
            self.restore(key, mark);
        }
    }

    /// The marks in the order of the keys' bytes.
    pub fn sorted(&self) -> Vec<(&Key, Mark)> {
        let mut marks: Vec<_> = self.marks.iter().map(|(key, mark)| (key, *mark)).collect();
        marks.sort_unstable_by_key(|(key, _)| *key);
        marks
    }

    pub(super) fn weight(&self) -> Weight {
        Weight { marks: self.marks.len(), bytes: self.bytes }
    }

    /// What a mark on a key weighs.
    pub(super) fn weight_of(&self, key: &Key, mark: Mark) -> Weight {
        Weight { marks: 1, bytes: self.weigh(key.len(), mark) }
    }

    pub(super) fn bounds(&self) -> SetBounds {
        self.bounds
    }

    /// Puts one mark back, unless its key has been marked since.
    pub(super) fn restore(&mut self, key: Key, mark: Mark) {
        if !self.marks.contains_key(&key) {
            self.bytes += self.weigh(key.len(), mark);
            self.marks.insert(key, mark);
        }
    }

    /// Takes the marks off that `of` names.
    pub(super) fn take_off(&mut self, of: impl Fn(&Key) -> bool) -> Vec<(Key, Mark)> {
        let taken: Vec<(Key, Mark)> = self.marks.extract_if(|key, _| of(key)).collect();
        self.bytes -= taken.iter().map(|(key, mark)| self.weigh(key.len(), *mark)).sum::<usize>();
        taken
    }

    /// Takes one mark off.
    pub(super) fn take(&mut self, key: &Key) -> Option<(Key, Mark)> {
        let (key, mark) = self.marks.remove_entry(key)?;
        self.bytes -= self.weigh(key.len(), mark);
        Some((key, mark))
    }

    /// Marks the key that is encoded if what that adds fits into `room`.
    pub(super) fn mark_encoded(&mut self, mark: Mark, room: Weight) -> Result<()> {
        let key = self.encoded.as_slice();
        check_bytes("key", key.len(), KEY_BYTES_MAX)?;
        let present = self.marks.get(key).copied();
        let weight = self.weigh(key.len(), mark);
        let before = present.map_or(0, |present| self.weigh(key.len(), present));
        if weight.saturating_sub(before) > room.bytes || (present.is_none() && room.marks == 0) {
            return Err(full());
        }
        self.bytes = self.bytes - before + weight;
        match self.marks.get_mut(key) {
            Some(present) => *present = mark,
            None => drop(self.marks.insert(Key::from(key), mark)),
        }
        Ok(())
    }

    /// Encodes the key that is to be marked; `true` if it is marked so already.
    pub(super) fn encode(&mut self, key: &(impl KeyPart + ?Sized), mark: Mark) -> Result<bool> {
        self.encoded.clear();
        key.encode(&mut self.encoded)?;
        Ok(self.marks.get(self.encoded.as_slice()) == Some(&mark))
    }

    /// The key that was encoded last.
    pub(super) fn encoded(&self) -> &[u8] {
        &self.encoded
    }

    fn weigh(&self, key_bytes: usize, mark: Mark) -> usize {
        let payload_bytes = if mark == Mark::Upsert { self.bounds.payload_bytes } else { 0 };
        self.category_bytes + key_bytes + payload_bytes
    }
}

impl<K: KeyPart> DirtySet<K> {
    /// Marks a key.
    ///
    /// # Errors
    ///
    /// `Overloaded` if the set is full; the key's mark, if it has one, stays as it was. `TooLarge` or
    /// `InvalidArgument` if the key cannot be encoded.
    pub fn mark(&mut self, key: &K, mark: Mark) -> Result<()> {
        if self.encode(key, mark)? {
            return Ok(());
        }
        let bounds = Weight { marks: self.bounds.marks, bytes: self.bounds.bytes };
        self.mark_encoded(mark, bounds - self.weight())
    }

    /// What a key is marked for.
    ///
    /// # Errors
    ///
    /// `TooLarge` or `InvalidArgument` if the key cannot be encoded.
    pub fn get(&self, key: &K) -> Result<Option<Mark>> {
        Ok(self.marks.get(&Key::of(&[key])?).copied())
    }
}

fn full() -> Error {
    Error::new(ErrorKind::Overloaded, "no room for another dirty key before a flush")
}

impl<K> fmt::Debug for DirtySet<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DirtySet").field("marks", &self.len()).field("bytes", &self.bytes).finish()
    }
}
