//! The commit log, format 1: how a committed batch is laid down in parts, and put together again.
//!
//! Pure encoding and decoding. Which commits are logged and for how long is decided in
//! `worker::turn`. A part's key is seq (8 bytes) and part number (4), its value:
//!
//! ```text
//! offset  bytes  field
//!      0      8  time of the commit, unix ms
//!      8     16  writer
//!     24      8  offset of this part on the scale of all bytes ever logged
//!     32      1  1 if it is the commit's last part, else 0
//!     33    ...  its piece of the operations, at most 48 KiB
//! ```
//!
//! The pieces of a commit, joined, are its operations one after another: a tag (1 put, 2 delete,
//! 3 delete range), the category (length in 1 byte), then for a put key and payload, for a delete
//! the key (lengths in 4 bytes), for a range its inclusive start, a byte 1 and its exclusive end, or
//! a byte 0 where it has none. All numbers are big-endian.

use std::fmt;
use std::sync::Arc;

use crate::batch::Op;
use crate::engine::{EngineError, Fault, Point, Space, Write};
use crate::key::Key;
use crate::limits::LOG_PART_BYTES_MAX;
use crate::range::{KeyRange, Span};

const HEADER_BYTES: usize = 33;
const TAG_PUT: u8 = 1;
const TAG_DELETE: u8 = 2;
const TAG_DELETE_RANGE: u8 = 3;

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

/// Lays down a commit as parts, the first of them at `offset`; returns them with the next offset.
pub(crate) fn encode(commit: &Commit, mut offset: u64) -> (Vec<Write>, u64) {
    let mut body = Vec::new();
    encode_ops(&commit.operations, &mut body);
    let pieces = body.chunks(LOG_PART_BYTES_MAX);
    let last = pieces.len().saturating_sub(1);
    let mut parts = Vec::with_capacity(pieces.len());
    for (number, piece) in pieces.enumerate() {
        let mut value = Vec::with_capacity(HEADER_BYTES + piece.len());
        value.extend(commit.time_ms.to_be_bytes());
        value.extend(commit.writer);
        value.extend(offset.to_be_bytes());
        value.push(u8::from(number == last));
        value.extend(piece);
        offset += value.len() as u64;
        let point = Point { space: Space::Log, key: part_key(commit.seq, number as u32).to_vec() };
        parts.push(Write::Put(point, value));
    }
    (parts, offset)
}

/// All parts of the commits from `first` up to and including `last`.
pub(crate) fn span(first: u64, last: u64) -> Span {
    let end = last.checked_add(1).map(|next| part_key(next, 0).to_vec());
    Span { start: part_key(first, 0).to_vec(), end }
}

/// The offset at which a part begins; `None` if it is no part.
pub(crate) fn part_offset(value: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(*value.get(24..)?.first_chunk()?))
}

/// The seq of a part; `None` if it is no part's key.
pub(crate) fn part_seq(key: &[u8]) -> Option<u64> {
    key.first_chunk().map(|seq| u64::from_be_bytes(*seq))
}

/// Puts commits together from parts that come in order, across pages.
#[derive(Default)]
pub(crate) struct Assembler {
    seq: u64,
    next_part: u32,
    body: Vec<u8>,
}

impl Assembler {
    /// Takes the next part; returns the commit if this was its last.
    pub(crate) fn push(&mut self, key: &[u8], value: &[u8]) -> Result<Option<Commit>, EngineError> {
        self.take(key, value).ok_or_else(|| EngineError::new(Fault::Corrupt, "the commit log is damaged"))
    }

    /// The key from which to go on reading: behind the last part taken.
    pub(crate) fn resume_key(&self) -> Vec<u8> {
        part_key(self.seq, self.next_part).to_vec()
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Option<Option<Commit>> {
        let seq = part_seq(key)?;
        let part = u32::from_be_bytes(*key.get(8..)?.first_chunk()?);
        let (header, piece) = value.split_at_checked(HEADER_BYTES)?;
        if part == 0 {
            self.seq = seq;
            self.body.clear();
        } else if seq != self.seq || part != self.next_part {
            return None;
        }
        self.next_part = part.checked_add(1)?;
        self.body.extend(piece);
        match header.last()? {
            0 => Some(None),
            1 => {
                let time_ms = u64::from_be_bytes(*header.first_chunk()?);
                let writer = *header.get(8..)?.first_chunk()?;
                let operations = decode_ops(&self.body)?.into();
                self.body = Vec::new();
                Some(Some(Commit { seq, time_ms, writer, operations }))
            }
            _ => None,
        }
    }
}

fn part_key(seq: u64, part: u32) -> [u8; 12] {
    let mut key = [0; 12];
    let (high, low) = key.split_at_mut(8);
    high.copy_from_slice(&seq.to_be_bytes());
    low.copy_from_slice(&part.to_be_bytes());
    key
}

/// Appends operations as the pieces of a commit hold them.
pub(crate) fn encode_ops(operations: &[Op], out: &mut Vec<u8>) {
    for op in operations {
        encode_op(op, out);
    }
}

fn encode_op(op: &Op, out: &mut Vec<u8>) {
    let mut head = |tag: u8, category: &str| {
        // A category is at most 255 bytes, see `limits`.
        out.extend([tag, category.len() as u8]);
        out.extend(category.as_bytes());
    };
    match op {
        Op::Put { category, key, payload } => {
            head(TAG_PUT, category);
            encode_bytes(key.as_bytes(), out);
            encode_bytes(payload, out);
        }
        Op::Delete { category, key } => {
            head(TAG_DELETE, category);
            encode_bytes(key.as_bytes(), out);
        }
        Op::DeleteRange { category, range } => {
            head(TAG_DELETE_RANGE, category);
            let span = range.span();
            encode_bytes(&span.start, out);
            match &span.end {
                Some(end) => {
                    out.push(1);
                    encode_bytes(end, out);
                }
                None => out.push(0),
            }
        }
    }
}

fn encode_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    // Keys and payloads are far below 4 GiB, see `limits`.
    out.extend((bytes.len() as u32).to_be_bytes());
    out.extend(bytes);
}

/// The operations that `encode_ops` has written; `None` if they are damaged.
pub(crate) fn decode_ops(mut input: &[u8]) -> Option<Vec<Op>> {
    let mut operations: Vec<Op> = Vec::new();
    while !input.is_empty() {
        let [tag, len] = *take(&mut input, 2)?.first_chunk()?;
        let name = std::str::from_utf8(take(&mut input, usize::from(len))?).ok()?;
        let category = match operations.last() {
            Some(last) if last.category() == name => last.category_shared().clone(),
            _ => Arc::from(name),
        };
        let first = take_bytes(&mut input)?;
        operations.push(match tag {
            TAG_PUT => Op::Put { category, key: Key::from(first), payload: take_bytes(&mut input)?.to_vec() },
            TAG_DELETE => Op::Delete { category, key: Key::from(first) },
            TAG_DELETE_RANGE => {
                let end = match take(&mut input, 1)? {
                    [0] => None,
                    [1] => Some(take_bytes(&mut input)?.to_vec()),
                    _ => return None,
                };
                Op::DeleteRange { category, range: KeyRange::from(Span { start: first.to_vec(), end }) }
            }
            _ => return None,
        });
    }
    Some(operations)
}

fn take<'a>(input: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (head, tail) = input.split_at_checked(len)?;
    *input = tail;
    Some(head)
}

fn take_bytes<'a>(input: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = u32::from_be_bytes(*take(input, 4)?.first_chunk()?);
    take(input, usize::try_from(len).ok()?)
}

#[cfg(test)]
mod tests;
