//! Pending operations: which rows an accepted write that has no result yet may change, so that a read
//! which none of them touches need not ask the worker.
//!
//! Handles enter a write before it is sent, and whoever settles it drops its [`Entry`]. May say that a
//! row is touched which is not, never the other way round. Never holds a key, and never waits.
//!
//! Writes are settled about in the order in which they are accepted. So they are entered in chunks, one
//! after another, each a small Bloom filter from which nothing is ever removed: a chunk all of whose
//! writes are settled counts no longer and goes as a whole.

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::batch::Op;

/// Operations that a chunk has room for when little is pending; such a one is kept where nothing is.
const SMALL_OPERATIONS: usize = 128;
/// Operations that a chunk has room for at most, a single larger batch excepted.
const LARGE_OPERATIONS: usize = 16 * 1024;
/// Chunks at most; a write beyond them touches everything.
const CHUNKS_MAX: usize = 64;
/// Operations for each block of 256 bits. One lookup in a full chunk errs about once in three thousand.
const OPERATIONS_PER_BLOCK: usize = 8;
const WORDS_PER_BLOCK: usize = 4;

/// The accepted writes of one job that have no result yet.
///
/// What makes it safe: an entry is counted before its write is accepted, and no longer when its result
/// is there. Whoever reads after an acceptance therefore finds either the entry, or a count that was
/// lowered after the commit, and with it all that the commit wrote.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    hasher: RandomState,
    writes: AtomicUsize,
    /// Writes that are in no chunk.
    unlisted: AtomicUsize,
    /// Oldest first; operations are entered into the last one.
    chunks: RwLock<VecDeque<Arc<Chunk>>>,
    /// Whether there is more than one small chunk.
    has_grown: AtomicBool,
}

/// One write, until it is dropped.
#[derive(Debug)]
pub(crate) struct Entry {
    pending: Arc<Pending>,
    chunk: Option<Arc<Chunk>>,
}

/// The operations of some writes in a row.
#[derive(Debug)]
struct Chunk {
    blocks: Box<[[AtomicU64; WORDS_PER_BLOCK]]>,
    room: AtomicUsize,
    writes: AtomicUsize,
    has_ranges: AtomicBool,
}

/// What a chunk remembers.
#[derive(Clone, Copy)]
struct Mark(u64);

impl Pending {
    /// Enters a write that is about to be accepted.
    pub(crate) fn enter(self: &Arc<Self>, operations: &[Op]) -> Entry {
        self.writes.fetch_add(1, Ordering::AcqRel);
        let chunk = self.chunk_for(operations.len());
        match &chunk {
            Some(chunk) => operations.iter().for_each(|op| self.mark(chunk, op)),
            None => {
                self.unlisted.fetch_add(1, Ordering::AcqRel);
            }
        }
        Entry { pending: Arc::clone(self), chunk }
    }

    /// Whether a write that was accepted before, and has no result yet, may change the row.
    pub(crate) fn may_touch(&self, category: &str, key: &[u8]) -> bool {
        if self.writes.load(Ordering::Acquire) == 0 {
            return false;
        }
        if self.unlisted.load(Ordering::Acquire) > 0 {
            return true;
        }
        let (row, ranges) = (self.row(category, key), self.ranges(category));
        let chunks = self.chunks.read().unwrap_or_else(PoisonError::into_inner);
        chunks.iter().any(|chunk| {
            chunk.writes.load(Ordering::Acquire) > 0
                && (chunk.has(row) || chunk.has_ranges.load(Ordering::Relaxed) && chunk.has(ranges))
        })
    }

    /// A chunk with room for so many operations, which has counted their write; `None` if there can be none.
    fn chunk_for(&self, operations: usize) -> Option<Arc<Chunk>> {
        let last =
            |chunks: &VecDeque<Arc<Chunk>>| chunks.back().filter(|last| last.admit(operations)).cloned();
        if let Some(chunk) = last(&self.chunks.read().unwrap_or_else(PoisonError::into_inner)) {
            return Some(chunk);
        }
        let mut chunks = self.chunks.write().unwrap_or_else(PoisonError::into_inner);
        // Another caller may have been here first.
        if let Some(chunk) = last(&chunks) {
            return Some(chunk);
        }
        // Nobody enters a chunk meanwhile, so one that counts no write has seen its last.
        chunks.retain(|chunk| chunk.writes.load(Ordering::Acquire) > 0);
        if chunks.len() >= CHUNKS_MAX {
            return None;
        }
        let room = chunks.back().map_or(SMALL_OPERATIONS, |last| (last.size() * 2).min(LARGE_OPERATIONS));
        let room = room.max(operations);
        self.has_grown.store(!chunks.is_empty() || room > SMALL_OPERATIONS, Ordering::Relaxed);
        chunks.push_back(Arc::new(Chunk::new(room)));
        last(&chunks)
    }

    fn mark(&self, chunk: &Chunk, op: &Op) {
        match op {
            Op::Put { category, key, .. } | Op::Delete { category, key } => {
                chunk.set(self.row(category, key.as_bytes()));
            }
            // Which rows it removes is not looked at: it touches its whole category.
            Op::DeleteRange { category, .. } => {
                chunk.set(self.ranges(category));
                chunk.has_ranges.store(true, Ordering::Relaxed);
            }
        }
    }

    fn row(&self, category: &str, key: &[u8]) -> Mark {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(category.as_bytes());
        // No category contains this byte, so that it ends where it ends.
        hasher.write_u8(0xff);
        hasher.write(key);
        Mark(hasher.finish())
    }

    fn ranges(&self, category: &str) -> Mark {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(category.as_bytes());
        Mark(hasher.finish())
    }

    /// Gives the room of a burst back once all of it is settled.
    fn shrink(&self) {
        if self.has_grown.load(Ordering::Relaxed)
            && let Ok(mut chunks) = self.chunks.try_write()
            // Whoever has entered since then counts before he looks for a chunk.
            && self.writes.load(Ordering::Acquire) == 0
        {
            *chunks = VecDeque::new();
            self.has_grown.store(false, Ordering::Relaxed);
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let listed = self.chunk.as_ref().map_or(&self.pending.unlisted, |chunk| &chunk.writes);
        listed.fetch_sub(1, Ordering::AcqRel);
        if self.pending.writes.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.pending.shrink();
        }
    }
}

impl Chunk {
    fn new(operations: usize) -> Self {
        let blocks = operations.div_ceil(OPERATIONS_PER_BLOCK).next_power_of_two();
        Chunk {
            blocks: (0..blocks).map(|_| Default::default()).collect(),
            room: AtomicUsize::new(operations),
            writes: AtomicUsize::new(0),
            has_ranges: AtomicBool::new(false),
        }
    }

    /// Operations for which it was made, rounded up.
    fn size(&self) -> usize {
        self.blocks.len() * OPERATIONS_PER_BLOCK
    }

    /// Counts a write if there is room for its operations. Only while the chunks are locked, so that
    /// none goes with a write that has just been counted.
    fn admit(&self, operations: usize) -> bool {
        let take = |room: usize| room.checked_sub(operations);
        let admitted = self.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok();
        if admitted {
            self.writes.fetch_add(1, Ordering::AcqRel);
        }
        admitted
    }

    fn set(&self, mark: Mark) {
        for (word, bit) in self.block(mark).iter().zip(mark.bits()) {
            word.fetch_or(bit, Ordering::Relaxed);
        }
    }

    fn has(&self, mark: Mark) -> bool {
        self.block(mark).iter().zip(mark.bits()).all(|(word, bit)| word.load(Ordering::Relaxed) & bit != 0)
    }

    fn block(&self, Mark(hash): Mark) -> &[AtomicU64; WORDS_PER_BLOCK] {
        // The number of blocks is a power of two; the hash's lower bits choose those within.
        &self.blocks[(hash >> 32) as usize & (self.blocks.len() - 1)]
    }
}

impl Mark {
    /// One bit of each word of a block.
    fn bits(self) -> impl Iterator<Item = u64> {
        (0..WORDS_PER_BLOCK).map(move |word| 1 << (self.0 >> (6 * word) & 63))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Batch;
    use crate::key::Key;
    use crate::testing::test;

    fn key(number: usize) -> Key {
        Key::from_bytes(number.to_be_bytes())
    }

    fn puts(numbers: impl IntoIterator<Item = usize>) -> Batch {
        numbers.into_iter().fold(Batch::new(), |batch, number| batch.put("c", key(number), ""))
    }

    fn touched(pending: &Pending, number: usize) -> bool {
        pending.may_touch("c", key(number).as_bytes())
    }

    #[test]
    fn a_row_is_touched_from_entering_to_settling() {
        let pending = Arc::<Pending>::default();
        assert!(!touched(&pending, 1));
        let first = pending.enter(puts([1, 2]).operations());
        let second = pending.enter(puts([2]).operations());
        assert!(touched(&pending, 1) && touched(&pending, 2));
        assert!(!touched(&pending, 3) && !pending.may_touch("d", key(1).as_bytes()));
        drop(first);
        assert!(touched(&pending, 2));
        drop(second);
        assert!(!touched(&pending, 1) && !touched(&pending, 2));
    }

    #[test]
    fn deletes_touch_their_row_and_range_deletes_their_category() {
        let pending = Arc::<Pending>::default();
        let _delete = pending.enter(Batch::new().delete("c", key(1)).operations());
        let _range = pending.enter(Batch::new().delete_prefix("d", key(1)).operations());
        assert!(touched(&pending, 1) && !touched(&pending, 2));
        assert!(pending.may_touch("d", key(2).as_bytes()) && !pending.may_touch("", key(2).as_bytes()));
    }

    #[test]
    fn every_entered_row_is_touched_however_many_there_are_and_hardly_another() {
        let pending = Arc::<Pending>::default();
        let rows = 100_000;
        let batch = 500;
        let mut entries: VecDeque<_> = (0..rows)
            .step_by(batch)
            .map(|first| pending.enter(puts(first..first + batch).operations()))
            .collect();
        assert!((0..rows).all(|number| touched(&pending, number)));
        let errors = (rows..2 * rows).filter(|&number| touched(&pending, number)).count();
        assert!(errors < rows / 100, "{errors} of {rows}");
        while entries.len() > 1 {
            entries.pop_front();
        }
        assert!((rows - batch..rows).all(|number| touched(&pending, number)));
        drop(entries);
        assert!((0..rows).all(|number| !touched(&pending, number)));
        assert_eq!(pending.chunks.read().unwrap().len(), 0);
    }

    #[test]
    fn a_batch_larger_than_every_chunk_gets_one_of_its_own() {
        let pending = Arc::<Pending>::default();
        let rows = 3 * LARGE_OPERATIONS;
        let _small = pending.enter(puts([rows]).operations());
        let _large = pending.enter(puts(0..rows).operations());
        let _next = pending.enter(puts([rows + 1]).operations());
        assert!((0..rows + 2).all(|number| touched(&pending, number)));
        assert!(!touched(&pending, rows + 2));
    }

    #[test]
    fn writes_beyond_the_bound_touch_everything_until_they_are_settled() {
        let pending = Arc::<Pending>::default();
        let fill = LARGE_OPERATIONS;
        let mut entries: Vec<_> = (0..CHUNKS_MAX)
            .map(|chunk| pending.enter(puts(chunk * fill..(chunk + 1) * fill).operations()))
            .collect();
        // A filter may take some rows for those of a write, but not many.
        let others = CHUNKS_MAX * fill..CHUNKS_MAX * fill + 100;
        assert!(others.clone().any(|number| !touched(&pending, number)));
        entries.push(pending.enter(puts([0]).operations()));
        assert!(others.clone().all(|number| touched(&pending, number)));
        entries.pop();
        assert!(others.clone().any(|number| !touched(&pending, number)));
    }

    #[test]
    fn one_write_after_another_keeps_no_more_than_a_small_chunk() {
        let pending = Arc::<Pending>::default();
        for number in 0..10 * SMALL_OPERATIONS {
            let entry = pending.enter(puts([number]).operations());
            assert!(touched(&pending, number));
            drop(entry);
        }
        let chunks = pending.chunks.read().unwrap();
        assert!(chunks.iter().map(|chunk| chunk.size()).sum::<usize>() <= SMALL_OPERATIONS);
    }
}
