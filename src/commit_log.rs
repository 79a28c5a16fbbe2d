//! The commit log, format 1: how committed batches are laid down in values, and read again.
//!
//! Pure encoding and decoding. Which commits are logged and for how long is decided in
//! `worker::turn`. A value holds as many whole commits of one transaction as have room in it, or a
//! piece of one that is too large. Its key is the seq of the last commit in it times 4096 and the piece's
//! number, in 8 bytes, so that the first value from a seq on is the one that holds it. The value:
//!
//! ```text
//! offset  bytes  field
//!      0      1  version, 1
//!      1      1  1 if it is a piece of a commit that goes on, else 0
//!      2     16  writer
//!     18      8  time of the commits, unix ms
//!     26      8  offset of this value on the scale of all bytes ever logged
//!     34      8  seq of the first commit
//!     42    ...  their operations, see `operations`; of a piece what it has of them, at most 48 KiB
//! ```
//!
//! All these numbers are big-endian. Values that commits were trimmed from still hold them: the log begins
//! where the job's record says.

mod operations;

use std::fmt;
use std::sync::Arc;

use self::operations::{Input, OVERHEAD_MAX, encode_after};
#[allow(unused_imports, reason = "not every platform's journal is of these bytes")]
pub(crate) use self::operations::{decode_all, encode_all};
#[cfg(feature = "archive")]
pub(crate) use self::operations::{decode_ops, encode_ops};
use crate::batch::Op;
use crate::engine::{EngineError, Fault, LOG_KEY_BYTES, LogValue};
use crate::limits::{BATCH_BYTES_MAX, BATCH_OPERATIONS_MAX, LOG_PART_BYTES_MAX};
use crate::range::Span;

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 42;
/// Pieces of a commit at most, as keys number them.
const PIECES_MAX: u64 = 4096;
/// The last seq that keys can name.
const SEQ_MAX: u64 = i64::MAX as u64 / PIECES_MAX;
const _: () = {
    let bytes = BATCH_BYTES_MAX + BATCH_OPERATIONS_MAX * OVERHEAD_MAX;
    assert!(bytes / LOG_PART_BYTES_MAX < PIECES_MAX as usize);
};

/// One committed batch, as the log and the watchers see it.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Commit {
    /// The batch's commit number.
    pub seq: u64,
    /// When it was committed, in ms since the Unix epoch; never less than that of an earlier commit.
    pub time_ms: u64,
    /// Who committed it: 16 random bytes for each opening of a job for writing.
    pub writer: [u8; 16],
    /// What it did, in order; for a watcher only what touches its range, cut to it.
    pub operations: Arc<[Op]>,
}

impl fmt::Debug for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Commit")
            .field("seq", &self.seq)
            .field("time_ms", &self.time_ms)
            .field("operations", &self.operations)
            .finish_non_exhaustive()
    }
}

/// Lays down the commits of one transaction.
pub(crate) struct LogWriter<'a> {
    time_ms: u64,
    writer: [u8; 16],
    /// The operations of the next value, of the commits from `first_seq` to `last_seq`.
    operations: Vec<u8>,
    first_seq: u64,
    last_seq: u64,
    /// Bytes that they would have at most.
    weight: usize,
    last_operation: Option<&'a Op>,
}

impl<'a> LogWriter<'a> {
    pub(crate) fn new(time_ms: u64, writer: [u8; 16]) -> Self {
        let (operations, last_operation) = (Vec::new(), None);
        LogWriter { time_ms, writer, operations, first_seq: 0, last_seq: 0, weight: 0, last_operation }
    }

    /// Adds the next commit, whose operations have so many bytes at most. A value that is full becomes one
    /// of `values`, at `offset`, which moves on behind it.
    pub(crate) fn push(
        &mut self,
        seq: u64,
        operations: &'a [Op],
        bytes: usize,
        offset: &mut u64,
        values: &mut Vec<LogValue>,
    ) {
        let weight = bytes + operations.len() * OVERHEAD_MAX;
        if self.weight + weight > LOG_PART_BYTES_MAX {
            self.flush(offset, values);
        }
        if self.weight == 0 {
            self.first_seq = seq;
        }
        self.last_seq = seq;
        self.weight += weight;
        encode_after(self.last_operation, operations, &mut self.operations);
        self.last_operation = operations.last();
    }

    /// Ends the value that is being filled; of a commit that is too large for one it makes pieces.
    pub(crate) fn flush(&mut self, offset: &mut u64, values: &mut Vec<LogValue>) {
        let pieces = self.operations.chunks(LOG_PART_BYTES_MAX);
        let last = pieces.len() as u64;
        for (number, piece) in (1..).zip(pieces) {
            let goes_on = u8::from(number != last);
            let (time, at) = (self.time_ms.to_be_bytes(), offset.to_be_bytes());
            let first_seq = self.first_seq.to_be_bytes();
            let value = [&[VERSION, goes_on], &self.writer[..], &time, &at, &first_seq, piece].concat();
            *offset += value.len() as u64;
            values.push((key_of(self.last_seq, number - 1), value));
        }
        self.operations.clear();
        self.weight = 0;
        self.last_operation = None;
    }
}

/// The values that end with the commits from `first` up to and including `last`.
pub(crate) fn span(first: u64, last: u64) -> Span {
    let end = (last < SEQ_MAX).then(|| key_of(last + 1, 0));
    Span { start: key_of(first, 0), end }
}

/// Where a value stands among the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) first_seq: u64,
    pub(crate) last_seq: u64,
    /// Where it begins on the scale of all bytes ever logged.
    pub(crate) offset: u64,
    piece: u64,
    goes_on: u8,
}

impl Head {
    /// Reads it; `Corrupt` if it is damaged, `TooNew` if a newer library must read it.
    pub(crate) fn of(key: &[u8], value: &[u8]) -> Result<Self, EngineError> {
        if value.first().is_some_and(|version| *version > VERSION) {
            return Err(EngineError::new(Fault::TooNew, "the commit log is of a newer format"));
        }
        Head::read(key, value).ok_or_else(damaged)
    }

    fn read(key: &[u8], value: &[u8]) -> Option<Self> {
        let &[VERSION, goes_on] = value.first_chunk()? else { return None };
        let number = number_at(key, 0)?;
        let (last_seq, piece) = (number / PIECES_MAX, number % PIECES_MAX);
        let (offset, first_seq) = (number_at(value, 26)?, number_at(value, 34)?);
        let is_piece = piece > 0 || goes_on > 0;
        let is_right =
            goes_on < 2 && (1..=last_seq).contains(&first_seq) && (!is_piece || first_seq == last_seq);
        let head = Head { first_seq, last_seq, offset, piece, goes_on };
        (is_right && key.len() == LOG_KEY_BYTES).then_some(head)
    }
}

/// Reads commits from values that come in order, across pages.
#[derive(Default)]
pub(crate) struct Assembler {
    seq: u64,
    next_piece: u64,
    body: Vec<u8>,
}

impl Assembler {
    /// Takes the next value; adds the commits that are whole with it, ascending, but for those before `from`.
    pub(crate) fn push(
        &mut self,
        key: &[u8],
        value: &[u8],
        from: u64,
        commits: &mut Vec<Commit>,
    ) -> Result<(), EngineError> {
        let head = Head::of(key, value)?;
        self.take(&head, value, from, commits).ok_or_else(damaged)
    }

    /// The key from which to go on reading: behind the last value taken.
    pub(crate) fn resume_key(&self) -> Vec<u8> {
        key_of(self.seq, self.next_piece)
    }

    fn take(&mut self, head: &Head, value: &[u8], from: u64, commits: &mut Vec<Commit>) -> Option<()> {
        if head.piece == 0 {
            self.body.clear();
        } else if (head.last_seq, head.piece) != (self.seq, self.next_piece) {
            return None;
        }
        self.seq = head.last_seq;
        self.next_piece = head.piece + 1;
        self.body.extend_from_slice(value.get(HEADER_BYTES..)?);
        if head.goes_on > 0 {
            return Some(());
        }
        let body = std::mem::take(&mut self.body);
        let mut input = Input::new(&body);
        let (writer, time_ms) = (*value.get(2..)?.first_chunk()?, number_at(value, 18)?);
        for seq in head.first_seq..=head.last_seq {
            let operations = input.commit()?;
            if seq >= from {
                commits.push(Commit { seq, time_ms, writer, operations: operations.into() });
            }
        }
        input.is_empty().then_some(())
    }
}

/// The number that stands there.
#[inline(never)]
fn number_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn damaged() -> EngineError {
    EngineError::new(Fault::Corrupt, "the commit log is damaged")
}

/// The key of a piece; that behind the last one of a seq may be the first one of the next.
fn key_of(seq: u64, piece: u64) -> Vec<u8> {
    (seq.min(SEQ_MAX) * PIECES_MAX + piece).to_be_bytes().to_vec()
}

#[cfg(test)]
mod tests;
