//! Format 1 as far as it is made here: names, stores, and which key a row has in them.
//!
//! Never touches a database. What happens inside the stores is in `engine.js`.

use crate::engine::Space;
use crate::engine::row_key::{Bounds, category_prefix};
use crate::range::Span;

/// The version of our databases; the format itself is numbered in the job's record. `engine.js` has the same.
#[cfg(any(test, not(feature = "web")))]
pub(super) const VERSION: u32 = 1;

/// Chromium moves larger values out into files, which is slow and has lost data.
const VALUE_BYTES_MAX: usize = 64 * 1024;
const _: () = assert!(crate::limits::LOG_PART_BYTES_MAX < VALUE_BYTES_MAX);

/// Bytes of a payload up to which it lies in its row; `basics.js` has the same.
pub(super) const INLINE_BYTES_MAX: usize = 32 * 1024;

/// An object store of ours; `view.js` has them in the same order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(all(feature = "web", not(test)), allow(dead_code, reason = "some only scripts look into"))]
pub(super) enum Store {
    Meta,
    Rows,
    Chunks,
    Log,
    Journal,
}

#[cfg(any(test, not(feature = "web")))]
impl Store {
    pub(super) const ALL: [Store; 5] = [Store::Meta, Store::Rows, Store::Chunks, Store::Log, Store::Journal];

    pub(super) fn name(self) -> &'static str {
        match self {
            Store::Meta => "meta",
            Store::Rows => "rows",
            Store::Chunks => "chunks",
            Store::Log => "log",
            Store::Journal => "journal",
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
            Space::Rows(category) => Area::of_category(category),
            Space::Log => Area { store: Store::Log, prefix: Vec::new() },
            Space::Meta => Area { store: Store::Meta, prefix: Vec::new() },
        }
    }

    pub(super) fn of_category(category: &str) -> Self {
        Area { store: Store::Rows, prefix: category_prefix(category) }
    }

    /// The store's range for a span of the space; `None` if it is empty.
    pub(super) fn bounds(&self, span: &Span) -> Option<Bounds> {
        Bounds::of(&self.prefix, span)
    }
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
