//! Row keys: how a category and a key become one key of an ordered map, where the technology has just that.
//!
//! Pure: never touches a store. A category is escaped by writing its 00 as 00 FF and ending it with 00 01,
//! which keeps the order of its bytes, and makes no category's prefix a prefix of another's.

use crate::range::Span;

/// The one key of a row.
pub(crate) fn row_key(category: &str, key: &[u8]) -> Vec<u8> {
    let mut row = category_prefix(category);
    row.extend(key);
    row
}

/// A range of keys, not empty: `lower` is within, `upper` is not; none is no bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) lower: Vec<u8>,
    pub(crate) upper: Option<Vec<u8>>,
}

impl Bounds {
    /// The span of the keys that begin with `prefix`, without it; `None` if it is empty.
    pub(crate) fn of(prefix: &[u8], span: &Span) -> Option<Self> {
        if span.is_empty() {
            return None;
        }
        let upper = match &span.end {
            Some(end) => Some([prefix, end].concat()),
            None => after_category(prefix),
        };
        Some(Bounds { lower: [prefix, &span.start].concat(), upper })
    }

    /// Leaves what lies beyond `last`; whether anything can.
    #[allow(dead_code, reason = "not every build has roots in memory")]
    pub(crate) fn narrow(&mut self, last: Vec<u8>, reverse: bool) -> bool {
        if reverse {
            self.upper = Some(last);
        } else {
            self.lower = last;
            self.lower.push(0);
        }
        self.upper.as_ref().is_none_or(|upper| self.lower < *upper)
    }
}

/// What every key of a category's rows begins with; no category's is a prefix of another's.
pub(crate) fn category_prefix(category: &str) -> Vec<u8> {
    let mut prefix = Vec::with_capacity(category.len() + 2);
    for byte in category.bytes() {
        prefix.push(byte);
        if byte == 0 {
            prefix.push(0xFF);
        }
    }
    prefix.extend([0, 1]);
    prefix
}

/// The first key behind all keys of the category with this prefix; `None` for the empty prefix.
pub(crate) fn after_category(prefix: &[u8]) -> Option<Vec<u8>> {
    let (_, head) = prefix.split_last()?;
    Some([head, &[2]].concat())
}

/// Takes a key of `rows` apart: its category and how many bytes that takes; `None` if it is not one of ours.
#[allow(dead_code, reason = "not every build has roots in memory")]
pub(crate) fn split_row_key(key: &[u8]) -> Option<(String, usize)> {
    let mut category = Vec::new();
    let mut at = 0;
    loop {
        match (*key.get(at)?, key.get(at + 1)) {
            (0, Some(1)) => break,
            (0, Some(0xFF)) => {
                category.push(0);
                at += 2;
            }
            (0, _) => return None,
            (byte, _) => {
                category.push(byte);
                at += 1;
            }
        }
    }
    Some((String::from_utf8(category).ok()?, at + 2))
}
