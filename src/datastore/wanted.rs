//! What callers want of a collection, and what it came to.
//!
//! Pure values.

use std::sync::Arc;

use super::layout::CHANGE_OVERHEAD_BYTES;

/// One change of a collection as a caller asks for it.
#[derive(Clone, Debug)]
pub(super) enum Wanted {
    Set {
        key: Vec<u8>,
        data: Arc<[u8]>,
        when: When,
    },
    Delete {
        key: Vec<u8>,
        when: When,
    },
    /// Lets a sliding collection live on.
    Touch,
}

/// On what a change depends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// On nothing: the last arrival wins.
    Always,
    /// There is no record of this key.
    Absent,
    /// The record of this key is the one with this seq.
    Seq(u64),
}

/// What a change came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Done {
    /// It took this seq at this time.
    Applied { seq: u64, stamp_ms: u64 },
    /// Nothing was there to change.
    Nothing,
}

impl Wanted {
    pub(super) fn key(&self) -> Option<&[u8]> {
        match self {
            Wanted::Set { key, .. } | Wanted::Delete { key, .. } => Some(key),
            Wanted::Touch => None,
        }
    }

    /// What it weighs in a queue.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Wanted::Set { key, data, .. } => 3 * key.len() + 2 * data.len() + CHANGE_OVERHEAD_BYTES,
            Wanted::Delete { key, .. } => 3 * key.len(),
            Wanted::Touch => 0,
        }
    }

    /// What a set adds to the bytes of the records, at most.
    pub(super) fn set_bytes(&self) -> Option<usize> {
        match self {
            Wanted::Set { key, data, .. } => Some(key.len() + data.len()),
            Wanted::Delete { .. } | Wanted::Touch => None,
        }
    }

    pub(super) fn is_delete(&self) -> bool {
        matches!(self, Wanted::Delete { .. })
    }
}
