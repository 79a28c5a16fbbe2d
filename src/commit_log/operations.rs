//! The operations of commits as bytes, in the log, in an archive and in SQLite's journal.
//!
//! Never knows which commits they are of. An operation is a tag, its category, its key or the start of
//! its range, and what else it has:
//!
//! ```text
//! tag       1 put, 2 delete, 3 delete range; plus 4 if the category is that of the operation before,
//!           and is left out; plus 8 if it is the last operation of its commit
//! category  its length (1 byte), its bytes
//! key       as many bytes as it has in common with the key before, how many follow, these bytes
//! put       the payload's length, the payload
//! range     0 where it has no end, or 1, the end's length, the end
//! ```
//!
//! Numbers are of 7 bits to a byte, the lowest first, with 128 added to all bytes but the last.

use std::sync::Arc;

use crate::batch::Op;
use crate::key::Key;
use crate::limits::BATCH_BYTES_MAX;
use crate::range::{KeyRange, Span};

/// Bytes of an operation besides those of its category, key and payload, at most.
pub(super) const OVERHEAD_MAX: usize = 16;

const PUT: u8 = 1;
const DELETE: u8 = 2;
const DELETE_RANGE: u8 = 3;
const KIND: u8 = 3;
const SAME_CATEGORY: u8 = 4;
const LAST: u8 = 8;

/// Appends the operations of a commit; `before` is the one that was written before them.
pub(super) fn encode_after<'a>(mut before: Option<&'a Op>, operations: &'a [Op], out: &mut Vec<u8>) {
    for (left, op) in (0..operations.len()).rev().zip(operations) {
        encode_op(before, op, if left == 0 { LAST } else { 0 }, out);
        before = Some(op);
    }
}

/// The operations of commits, one behind the other.
#[allow(dead_code, reason = "not every platform's journal is of these bytes")]
pub(crate) fn encode_all<'a>(commits: impl Iterator<Item = &'a [Op]>, out: &mut Vec<u8>) {
    let mut before = None;
    for operations in commits {
        encode_after(before, operations, out);
        before = operations.last().or(before);
    }
}

/// What `encode_all` has written; `None` if it is damaged.
#[allow(dead_code, reason = "not every platform's journal is of these bytes")]
pub(crate) fn decode_all(bytes: &[u8]) -> Option<Vec<Op>> {
    let (mut input, mut operations) = (Input::new(bytes), Vec::new());
    while !input.is_empty() {
        operations.append(&mut input.commit()?);
    }
    Some(operations)
}

/// Appends the operations of a commit that stands by itself.
#[cfg(feature = "archive")]
pub(crate) fn encode_ops(operations: &[Op], out: &mut Vec<u8>) {
    encode_after(None, operations, out);
}

/// What `encode_ops` has written; `None` if it is damaged.
#[cfg(feature = "archive")]
pub(crate) fn decode_ops(bytes: &[u8]) -> Option<Vec<Op>> {
    let mut input = Input::new(bytes);
    let operations = if bytes.is_empty() { Vec::new() } else { input.commit()? };
    input.is_empty().then_some(operations)
}

fn encode_op(before: Option<&Op>, op: &Op, last: u8, out: &mut Vec<u8>) {
    let category = op.category();
    let same = before.is_some_and(|before| before.category() == category);
    let kind = match op {
        Op::Put { .. } => PUT,
        Op::Delete { .. } => DELETE,
        Op::DeleteRange { .. } => DELETE_RANGE,
    };
    if same {
        out.push(kind | last | SAME_CATEGORY);
    } else {
        // A category is at most 255 bytes, see `limits`.
        out.extend([kind | last, category.len() as u8]);
        out.extend_from_slice(category.as_bytes());
    }
    let key = first_key(op);
    let shared = before.map_or(0, |before| common_prefix(first_key(before), key));
    encode_number(shared, out);
    encode_bytes(&key[shared..], out);
    match op {
        Op::Put { payload, .. } => encode_bytes(payload, out),
        Op::Delete { .. } => {}
        Op::DeleteRange { range, .. } => match range.end() {
            Some(end) => {
                out.push(1);
                encode_bytes(end, out);
            }
            None => out.push(0),
        },
    }
}

fn first_key(op: &Op) -> &[u8] {
    match op {
        Op::Put { key, .. } | Op::Delete { key, .. } => key.as_bytes(),
        Op::DeleteRange { range, .. } => range.first(),
    }
}

fn common_prefix(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).take_while(|(one, other)| one == other).count()
}

fn encode_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    encode_number(bytes.len(), out);
    out.extend_from_slice(bytes);
}

fn encode_number(mut number: usize, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Operations that are being read.
pub(super) struct Input<'a> {
    bytes: &'a [u8],
    category: Option<Arc<str>>,
    key: Vec<u8>,
    /// Bytes that keys may still have in common: of what was written they cannot be more than a batch has.
    room: usize,
}

impl<'a> Input<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Input { bytes, category: None, key: Vec::new(), room: BATCH_BYTES_MAX }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The next commit's operations; `None` if they are damaged.
    pub(super) fn commit(&mut self) -> Option<Vec<Op>> {
        let mut operations = Vec::new();
        loop {
            let tag = self.byte()?;
            if tag & !(KIND | SAME_CATEGORY | LAST) != 0 {
                return None;
            }
            operations.push(self.operation(tag)?);
            if tag & LAST != 0 {
                return Some(operations);
            }
        }
    }

    fn operation(&mut self, tag: u8) -> Option<Op> {
        if tag & SAME_CATEGORY == 0 {
            let len = self.byte()?;
            let name = std::str::from_utf8(self.take(usize::from(len))?).ok()?;
            self.category = Some(Arc::from(name));
        }
        let category = self.category.clone()?;
        let shared = self.number()?;
        if shared > self.key.len() {
            return None;
        }
        self.room = self.room.checked_sub(shared)?;
        let rest = self.run()?;
        self.key.truncate(shared);
        self.key.extend_from_slice(rest);
        let first = self.key.clone();
        Some(match tag & KIND {
            PUT => Op::Put { category, key: Key::from(first), payload: self.run()?.to_vec() },
            DELETE => Op::Delete { category, key: Key::from(first) },
            DELETE_RANGE => {
                let end = match self.byte()? {
                    0 => None,
                    1 => Some(self.run()?.to_vec()),
                    _ => return None,
                };
                Op::DeleteRange { category, range: KeyRange::from(Span { start: first, end }) }
            }
            _ => return None,
        })
    }

    /// Bytes behind their length.
    fn run(&mut self) -> Option<&'a [u8]> {
        let len = self.number()?;
        self.take(len)
    }

    fn number(&mut self) -> Option<usize> {
        let mut number = 0;
        // Four bytes hold more than a batch can have.
        for shift in [0, 7, 14, 21] {
            let byte = self.byte()?;
            number |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(*byte)
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.bytes.split_at_checked(len)?;
        self.bytes = tail;
        Some(head)
    }
}

const _: () = assert!(BATCH_BYTES_MAX < 1 << 28);
