//! Dirty sets: which keys have changed since they were last written, and how.
//!
//! Holds no values and reads none: what a key's value is, is asked when the set is flushed.

use std::cell::RefCell;
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::marker::PhantomData;
use std::ops::{Add, Sub};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use smallvec::SmallVec;

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
    marks: HashTable<(Bytes, Mark)>,
    /// Hashes fast, and with a seed of its own for each set: keys can come from strangers.
    hasher: RandomState,
    bytes: usize,
    bounds: SetBounds,
    /// What each row's category adds to a batch.
    category_bytes: usize,
    of: PhantomData<fn(&K)>,
}

/// A marked key, within the table if it is short: most marks are on keys that have them, and finding that takes one
/// look at memory.
type Bytes = SmallVec<[u8; 16]>;

/// Bytes of a key's encoding that a thread keeps room for.
const ENCODED_BYTES_KEPT: usize = 4096;

thread_local! {
    /// Room for a key while it is looked up, so that marking one that is marked allocates nothing.
    static ENCODED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Calls `with` with a key's bytes.
#[inline]
pub(super) fn encoded<T>(
    key: &(impl KeyPart + ?Sized),
    mut with: impl FnMut(&[u8]) -> Result<T>,
) -> Result<T> {
    let mut encode = |bytes: &mut Vec<u8>| {
        bytes.clear();
        let done = key.encode(bytes).and_then(|()| with(bytes));
        if bytes.capacity() > ENCODED_BYTES_KEPT {
            *bytes = Vec::new();
        }
        done
    };
    // None where a thread is ending, or where a key's own encoding marks others.
    let kept = ENCODED.try_with(|room| room.try_borrow_mut().ok().map(|mut room| encode(&mut room)));
    kept.ok().flatten().unwrap_or_else(|| encode(&mut Vec::new()))
}

/// Whether two keys are the same; of the usual lengths without a call.
#[inline]
fn same(a: &[u8], b: &[u8]) -> bool {
    match a.len() {
        8..=16 => {
            a.len() == b.len()
                && a.first_chunk::<8>() == b.first_chunk()
                && a.last_chunk::<8>() == b.last_chunk()
        }
        _ => a == b,
    }
}

#[inline]
fn hash(hasher: &RandomState, key: &[u8]) -> u64 {
    let mut hasher = hasher.build_hasher();
    hasher.write(key);
    hasher.finish()
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
        let (marks, hasher) = (HashTable::new(), RandomState::default());
        DirtySet { marks, hasher, bytes: 0, bounds, category_bytes, of: PhantomData }
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
            self.restore(&key, mark);
        }
    }

    /// The marks in the order of the keys' bytes.
    pub fn sorted(&self) -> Vec<(Key, Mark)> {
        let mut marks: Vec<&(Bytes, Mark)> = self.marks.iter().collect();
        marks.sort_unstable_by_key(|(key, _)| key.as_slice());
        marks.into_iter().map(|(key, mark)| (Key::from(key.as_slice()), *mark)).collect()
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

    /// What a key is marked for.
    #[inline]
    pub(super) fn find(&self, key: &[u8]) -> Option<Mark> {
        let found = self.marks.find(hash(&self.hasher, key), |(of, _)| same(of, key));
        found.map(|(_, mark)| *mark)
    }

    fn entry(&mut self, key: &[u8]) -> Entry<'_, (Bytes, Mark)> {
        let hasher = &self.hasher;
        let same = |(of, _): &(Bytes, Mark)| same(of, key);
        self.marks.entry(hash(hasher, key), same, |(of, _)| hash(hasher, of))
    }

    /// Puts one mark back, unless its key has been marked since.
    pub(super) fn restore(&mut self, key: &[u8], mark: Mark) {
        let bytes = self.weigh(key.len(), mark);
        if let Entry::Vacant(place) = self.entry(key) {
            place.insert((Bytes::from_slice(key), mark));
            self.bytes += bytes;
        }
    }

    /// Takes the marks off that `of` names.
    pub(super) fn take_off(&mut self, of: impl Fn(&[u8]) -> bool) -> Vec<(Key, Mark)> {
        let taken = self.marks.extract_if(|(key, _)| of(key));
        let taken: Vec<(Key, Mark)> = taken.map(|(key, mark)| (Key::from(&*key), mark)).collect();
        self.bytes -= taken.iter().map(|(key, mark)| self.weigh(key.len(), *mark)).sum::<usize>();
        taken
    }

    /// Takes one mark off.
    pub(super) fn take(&mut self, key: &[u8]) -> Option<Mark> {
        let Entry::Occupied(found) = self.entry(key) else { return None };
        let ((_, mark), _) = found.remove();
        self.bytes -= self.weigh(key.len(), mark);
        Some(mark)
    }

    /// Marks the key of these bytes if what that adds fits into `room`.
    pub(super) fn mark_bytes(&mut self, key: &[u8], mark: Mark, room: Weight) -> Result<()> {
        check_bytes("key", key.len(), KEY_BYTES_MAX)?;
        let present = self.find(key);
        let weight = self.weigh(key.len(), mark);
        let before = present.map_or(0, |present| self.weigh(key.len(), present));
        if weight.saturating_sub(before) > room.bytes || (present.is_none() && room.marks == 0) {
            return Err(full());
        }
        match self.entry(key) {
            Entry::Occupied(mut present) => present.get_mut().1 = mark,
            Entry::Vacant(place) => drop(place.insert((Bytes::from_slice(key), mark))),
        }
        self.bytes = self.bytes - before + weight;
        Ok(())
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
        let bounds = Weight { marks: self.bounds.marks, bytes: self.bounds.bytes };
        let room = bounds - self.weight();
        encoded(key, |key| self.mark_bytes(key, mark, room))
    }

    /// What a key is marked for.
    ///
    /// # Errors
    ///
    /// `TooLarge` or `InvalidArgument` if the key cannot be encoded.
    pub fn get(&self, key: &K) -> Result<Option<Mark>> {
        encoded(key, |key| Ok(self.find(key)))
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
