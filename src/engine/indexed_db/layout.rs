//! Format 1 as pure functions: which key and which pieces a row has in the stores.
//!
//! Never touches a database and has no JavaScript types.

use crate::engine::Space;
use crate::engine::row_key::{Bounds, category_prefix};
use crate::range::Span;

/// The version of our databases; the format itself is numbered in the job's record.
pub(super) const VERSION: u32 = 1;
/// Bytes of a payload up to which it lives in its row.
pub(super) const INLINE_BYTES_MAX: usize = 32 * 1024;
/// Bytes of one piece of a longer payload.
pub(super) const CHUNK_BYTES: usize = 48 * 1024;
/// The note's key in `meta`: there once a long payload has been written.
pub(super) const CHUNKS_NOTE_KEY: &[u8] = b"chunks";

/// Chromium moves larger values out into files, which is slow and has lost data.
const VALUE_BYTES_MAX: usize = 64 * 1024;
const _: () = assert!(INLINE_BYTES_MAX < VALUE_BYTES_MAX && CHUNK_BYTES < VALUE_BYTES_MAX);
const _: () = assert!(crate::limits::LOG_PART_BYTES_MAX < VALUE_BYTES_MAX);

/// An object store of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Store {
    Meta,
    Rows,
    Chunks,
    Log,
}

impl Store {
    pub(super) const ALL: [Store; 4] = [Store::Meta, Store::Rows, Store::Chunks, Store::Log];

    pub(super) fn name(self) -> &'static str {
        match self {
            Store::Meta => "meta",
            Store::Rows => "rows",
            Store::Chunks => "chunks",
            Store::Log => "log",
        }
    }
}

/// The part of a store that a space occupies: all keys that begin with `prefix`.
#[derive(Clone, Debug)]
pub(super) struct Area {
    pub(super) store: Store,
    pub(super) prefix: Vec<u8>,
}

impl Area {
    pub(super) fn of(space: &Space) -> Self {
        match space {
            Space::Rows(category) => Area { store: Store::Rows, prefix: category_prefix(category) },
            Space::Log => Area { store: Store::Log, prefix: Vec::new() },
            Space::Meta => Area { store: Store::Meta, prefix: Vec::new() },
        }
    }

    /// The store's key for a key of the space.
    pub(super) fn key(&self, key: &[u8]) -> Vec<u8> {
        [&self.prefix, key].concat()
    }

    /// The store's range for a span of the space; `None` if it is empty.
    pub(super) fn bounds(&self, span: &Span) -> Option<Bounds> {
        Bounds::of(&self.prefix, span)
    }
}

/// The pieces of a long payload of so many bytes.
pub(super) fn chunk_count(bytes: usize) -> usize {
    bytes.div_ceil(CHUNK_BYTES)
}

/// How many bytes the piece at `index` of a long payload of `bytes` has.
pub(super) fn chunk_len(bytes: usize, index: usize) -> usize {
    bytes.saturating_sub(index * CHUNK_BYTES).min(CHUNK_BYTES)
}

/// Everything outside `a-z 0-9 - _ .` as `%xx`; one to one, of any length.
pub(super) fn escape_root(root: &str) -> String {
    let mut escaped = String::with_capacity(root.len());
    for byte in root.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' => escaped.push(char::from(byte)),
            _ => {
                escaped.push('%');
                for nibble in [byte >> 4, byte & 15] {
                    escaped.push(char::from(HEX[usize::from(nibble)]));
                }
            }
        }
    }
    escaped
}

const HEX: [u8; 16] = *b"0123456789abcdef";
