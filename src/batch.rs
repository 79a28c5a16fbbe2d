//! Batches: operations applied in order, all or nothing, behind optional preconditions.
//!
//! Pure values: building one never touches a job. Limits are checked when a batch is handed to a
//! job, before anything is queued.

use std::ops::RangeBounds;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Quoted, Result};
use crate::key::Key;
use crate::limits;
use crate::range::{KeyRange, Span, prefix_range};
use crate::text::text;

/// One operation on rows, as a batch holds it and as watchers and the commit log show it.
///
/// The three deleting forms of a batch (`delete_prefix`, `delete_range`, `clear`) are all one
/// [`Op::DeleteRange`]: a prefix and a whole category are ranges.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Op {
    /// Inserts the row or replaces its payload.
    Put {
        /// The category of the row.
        category: Arc<str>,
        /// The row's key.
        key: Key,
        /// The row's new payload.
        payload: Vec<u8>,
    },
    /// Removes the row if it is there.
    Delete {
        /// The category of the row.
        category: Arc<str>,
        /// The row's key.
        key: Key,
    },
    /// Removes every row of the range.
    DeleteRange {
        /// The category of the rows.
        category: Arc<str>,
        /// The rows to remove.
        range: KeyRange,
    },
}

/// A condition on one row, checked in the transaction of its batch before the batch's operations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Precondition {
    pub(crate) category: Arc<str>,
    pub(crate) key: Key,
    pub(crate) expected: Expected,
}

/// What a precondition wants to find.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    Absent,
    Present,
    Equal(Vec<u8>),
}

impl Precondition {
    /// What it is and where it looks, without the key and the payload.
    pub(crate) fn in_words(&self) -> String {
        let name = match self.expected {
            Expected::Absent => "require_absent",
            Expected::Present => "require_present",
            Expected::Equal(_) => "require_equal",
        };
        text!(name, " in category ", Quoted(&self.category))
    }
}

/// Operations applied in order, all or nothing.
///
/// ```
/// use persistency::{Batch, Key};
///
/// let batch = Batch::new()
///     .require_absent("user", Key::from_bytes("ada"))
///     .put("user", Key::from_bytes("ada"), "Ada Lovelace")
///     .delete_prefix("cache", Key::from_bytes("ada/"));
/// assert_eq!(batch.len(), 2);
/// ```
///
/// A precondition on what was read makes a compare-and-set: read again and repeat on `Conflict`.
///
/// ```
/// use persistency::{Batch, ErrorKind, FromPayload, Job, Result, ToPayload, key};
///
/// async fn next_number(job: &Job) -> Result<i64> {
///     loop {
///         let last = job.get("counter", key!("n")?).await?;
///         let number = last.as_deref().map(i64::from_payload).transpose()?.unwrap_or(0) + 1;
///         let batch = Batch::new().put("counter", key!("n")?, number.to_payload()?);
///         let batch = match last {
///             Some(payload) => batch.require_equal("counter", key!("n")?, payload),
///             None => batch.require_absent("counter", key!("n")?),
///         };
///         match job.persist_acked(batch).await {
///             Err(error) if error.kind() == ErrorKind::Conflict => continue,
///             committed => return committed.map(|_seq| number),
///         }
///     }
/// }
/// # futures_executor::block_on(async {
/// #     let job = persistency::Persistency::open(":memory:")?.open_job("alpha").await?;
/// #     assert_eq!((next_number(&job).await?, next_number(&job).await?), (1, 2));
/// #     Ok::<(), persistency::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    preconditions: Vec<Precondition>,
    operations: Vec<Op>,
}

impl Batch {
    /// A batch without operations; handed to a job it answers with the current seq.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds: insert the row or replace its payload.
    pub fn put(self, category: impl AsRef<str>, key: impl Into<Key>, payload: impl Into<Vec<u8>>) -> Self {
        let category = self.category(category.as_ref());
        self.with(Op::Put { category, key: key.into(), payload: payload.into() })
    }

    /// Adds: remove the row if it is there.
    pub fn delete(self, category: impl AsRef<str>, key: impl Into<Key>) -> Self {
        let category = self.category(category.as_ref());
        self.with(Op::Delete { category, key: key.into() })
    }

    /// Adds: remove every row whose key begins with `prefix`; an empty one means the whole category.
    pub fn delete_prefix(self, category: impl AsRef<str>, prefix: impl Into<Key>) -> Self {
        self.delete_range(category, prefix_range(&prefix.into()))
    }

    /// Adds: remove every row whose key lies in `range`; an empty or inverted one removes nothing.
    pub fn delete_range(self, category: impl AsRef<str>, range: impl RangeBounds<Key>) -> Self {
        let category = self.category(category.as_ref());
        self.with(Op::DeleteRange { category, range: KeyRange::new(range) })
    }

    /// Adds: remove every row of the category.
    pub fn clear(self, category: impl AsRef<str>) -> Self {
        self.delete_range(category, ..)
    }

    /// Requires that the row is not there.
    pub fn require_absent(self, category: impl AsRef<str>, key: impl Into<Key>) -> Self {
        self.require(category.as_ref(), key.into(), Expected::Absent)
    }

    /// Requires that the row is there, whatever its payload.
    pub fn require_present(self, category: impl AsRef<str>, key: impl Into<Key>) -> Self {
        self.require(category.as_ref(), key.into(), Expected::Present)
    }

    /// Requires that the row is there with exactly this payload.
    pub fn require_equal(
        self,
        category: impl AsRef<str>,
        key: impl Into<Key>,
        payload: impl Into<Vec<u8>>,
    ) -> Self {
        self.require(category.as_ref(), key.into(), Expected::Equal(payload.into()))
    }

    /// Appends an operation in place.
    pub fn push(&mut self, op: Op) {
        self.operations.push(op);
    }

    /// How many operations it holds; preconditions are not counted.
    pub fn len(&self) -> usize {
        self.operations.len()
    }

    /// Whether it holds no operation.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// The operations in the order in which they will be applied.
    pub fn operations(&self) -> &[Op] {
        &self.operations
    }

    fn with(mut self, op: Op) -> Self {
        self.operations.push(op);
        self
    }

    fn require(mut self, category: &str, key: Key, expected: Expected) -> Self {
        let category = self.category(category);
        self.push_precondition(Precondition { category, key, expected });
        self
    }

    /// Appends a precondition in place.
    pub(crate) fn push_precondition(&mut self, precondition: Precondition) {
        self.preconditions.push(precondition);
    }

    /// Shares the previous entry's category where it is the same: most batches name one over and over.
    pub(crate) fn category(&self, name: &str) -> Arc<str> {
        let last = self.operations.last().map(Op::category_shared);
        let last = last.or(self.preconditions.last().map(|precondition| &precondition.category));
        match last {
            Some(shared) if **shared == *name => Arc::clone(shared),
            _ => Arc::from(name),
        }
    }
}

impl From<Op> for Batch {
    fn from(op: Op) -> Self {
        Batch::from_iter([op])
    }
}

impl From<Vec<Op>> for Batch {
    fn from(operations: Vec<Op>) -> Self {
        Batch { preconditions: Vec::new(), operations }
    }
}

impl FromIterator<Op> for Batch {
    fn from_iter<I: IntoIterator<Item = Op>>(operations: I) -> Self {
        Batch { preconditions: Vec::new(), operations: operations.into_iter().collect() }
    }
}

impl Op {
    /// The category that the operation works on.
    pub fn category(&self) -> &str {
        self.category_shared()
    }

    pub(crate) fn category_shared(&self) -> &Arc<str> {
        match self {
            Op::Put { category, .. } | Op::Delete { category, .. } | Op::DeleteRange { category, .. } => {
                category
            }
        }
    }

    /// The operation as far as it concerns `span` of its category, or `None` where it does not.
    pub(crate) fn clip(&self, span: &Span) -> Option<Op> {
        match self {
            Op::Put { key, .. } | Op::Delete { key, .. } => {
                span.contains(key.as_bytes()).then(|| self.clone())
            }
            Op::DeleteRange { category, range } => {
                let both = range.span().intersect(span);
                (!both.is_empty())
                    .then(|| Op::DeleteRange { category: Arc::clone(category), range: KeyRange::from(both) })
            }
        }
    }

    /// Whether the operation can change a row of `span` in `category`.
    pub(crate) fn touches(&self, category: &str, span: &Span) -> bool {
        self.category() == category
            && match self {
                Op::Put { key, .. } | Op::Delete { key, .. } => span.contains(key.as_bytes()),
                Op::DeleteRange { range, .. } => !range.span().intersect(span).is_empty(),
            }
    }

    /// Whether the operation can change the row of `key` in its category.
    pub(crate) fn touches_key(&self, key: &[u8]) -> bool {
        match self {
            Op::Put { key: own, .. } | Op::Delete { key: own, .. } => own.as_bytes() == key,
            Op::DeleteRange { range, .. } => range.holds(key),
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.category().len()
            + match self {
                Op::Put { key, payload, .. } => key.len() + payload.len(),
                Op::Delete { key, .. } => key.len(),
                Op::DeleteRange { range, .. } => {
                    let span = range.span();
                    span.start.len() + span.end.as_ref().map_or(0, Vec::len)
                }
            }
    }
}

/// A batch that has passed every limit, in the shared form in which it is queued, applied and watched.
#[derive(Clone, Debug)]
pub(crate) struct CheckedBatch {
    pub(crate) preconditions: Arc<[Precondition]>,
    pub(crate) operations: Arc<[Op]>,
    /// What it weighs in the queue.
    pub(crate) bytes: usize,
}

impl CheckedBatch {
    /// Entries that the queue counts: operations and preconditions, at least one.
    pub(crate) fn entries(&self) -> usize {
        (self.operations.len() + self.preconditions.len()).max(1)
    }

    pub(crate) fn contains_put(&self) -> bool {
        self.operations.iter().any(|op| matches!(op, Op::Put { .. }))
    }
}

impl TryFrom<Batch> for CheckedBatch {
    type Error = Error;

    fn try_from(batch: Batch) -> Result<Self> {
        let entries = batch.operations.len() + batch.preconditions.len();
        if entries > limits::BATCH_OPERATIONS_MAX {
            let max = limits::BATCH_OPERATIONS_MAX;
            let message = text!("batch of ", entries, " operations and preconditions, the limit is ", max);
            return Err(Error::new(ErrorKind::TooLarge, message));
        }
        let mut bytes = 0;
        for precondition in &batch.preconditions {
            check_row(&precondition.category, &precondition.key)?;
            let value = match &precondition.expected {
                Expected::Equal(payload) => payload.len(),
                Expected::Absent | Expected::Present => 0,
            };
            limits::check_bytes("expected payload", value, limits::PAYLOAD_BYTES_MAX)?;
            bytes += precondition.category.len() + precondition.key.len() + value;
        }
        for op in &batch.operations {
            check_op(op)?;
            bytes += op.bytes();
        }
        limits::check_bytes("batch", bytes, limits::BATCH_BYTES_MAX)?;
        Ok(CheckedBatch {
            preconditions: batch.preconditions.into(),
            operations: batch.operations.into(),
            bytes,
        })
    }
}

/// Checks a category and a key against their limits.
pub(crate) fn check_row(category: &str, key: &Key) -> Result<()> {
    check_category(category)?;
    limits::check_bytes("key", key.len(), limits::KEY_BYTES_MAX)
}

/// Checks a category against its limit.
pub(crate) fn check_category(category: &str) -> Result<()> {
    limits::check_bytes("category", category.len(), limits::CATEGORY_BYTES_MAX)
}

fn check_op(op: &Op) -> Result<()> {
    match op {
        Op::Put { category, key, payload } => {
            check_row(category, key)?;
            limits::check_bytes("payload", payload.len(), limits::PAYLOAD_BYTES_MAX)
        }
        Op::Delete { category, key } => check_row(category, key),
        // A bound is at most one byte longer than the longest key, when it was made exclusive.
        Op::DeleteRange { category, range } => {
            check_category(category)?;
            let span = range.span();
            limits::check_bytes("range start", span.start.len(), limits::KEY_BYTES_MAX + 1)?;
            limits::check_bytes("range end", span.end.as_ref().map_or(0, Vec::len), limits::KEY_BYTES_MAX + 1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::test;
    use crate::testing::vectors::{batch, section, size};

    const VECTORS: &str = include_str!("../tests/vectors/limits.json");

    #[test]
    fn batches_are_taken_and_weigh_as_their_vectors_say() {
        for vector in section(VECTORS, "batches") {
            let checked = CheckedBatch::try_from(batch(&vector["entries"]));
            match (checked, vector["kind"].as_str()) {
                (Ok(checked), None) => {
                    let weight = (size(&vector["weight"][0]), size(&vector["weight"][1]));
                    assert_eq!((checked.entries(), checked.bytes), weight, "{vector}");
                }
                (Err(error), Some(kind)) => assert_eq!(error.kind().name(), kind, "{vector}"),
                (checked, _) => panic!("{vector}: {:?}", checked.map(|checked| checked.bytes)),
            }
        }
    }
}
