//! Stub, replaced by the vocabulary branch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Inclusive.
    pub start: Vec<u8>,
    /// Exclusive; `None` is unbounded.
    pub end: Option<Vec<u8>>,
}
impl Span {
    pub fn all() -> Self {
        Span { start: Vec::new(), end: None }
    }
    pub fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| *end <= self.start)
    }
    pub fn contains(&self, key: &[u8]) -> bool {
        *key >= *self.start && self.end.as_ref().is_none_or(|end| *key < **end)
    }
}
use crate::key::Key;
use std::ops::{Bound, RangeBounds};
impl Span {
    pub fn of(range: &impl RangeBounds<Key>) -> Span {
        let start = match range.start_bound() {
            Bound::Included(k) => k.as_bytes().to_vec(),
            Bound::Excluded(k) => [k.as_bytes(), &[0]].concat(),
            Bound::Unbounded => vec![],
        };
        let end = match range.end_bound() {
            Bound::Excluded(k) => Some(k.as_bytes().to_vec()),
            Bound::Included(k) => Some([k.as_bytes(), &[0]].concat()),
            Bound::Unbounded => None,
        };
        Span { start, end }
    }
    pub fn intersect(&self, o: &Span) -> Span {
        let end = match (&self.end, &o.end) {
            (Some(a), Some(b)) => Some(a.min(b).clone()),
            (a, b) => a.clone().or(b.clone()),
        };
        Span { start: self.start.clone().max(o.start.clone()), end }
    }
    pub fn point(key: &[u8]) -> Span {
        Span { start: key.to_vec(), end: Some([key, &[0]].concat()) }
    }
}
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange(Span, Key, Option<Key>);
impl KeyRange {
    pub fn new(r: impl RangeBounds<Key>) -> Self {
        Span::of(&r).into()
    }
    pub fn span(&self) -> &Span {
        &self.0
    }
}
impl From<Span> for KeyRange {
    fn from(s: Span) -> Self {
        KeyRange(s.clone(), Key::from_bytes(s.start), s.end.map(Key::from_bytes))
    }
}
impl RangeBounds<Key> for KeyRange {
    fn start_bound(&self) -> Bound<&Key> {
        Bound::Included(&self.1)
    }
    fn end_bound(&self) -> Bound<&Key> {
        self.2.as_ref().map_or(Bound::Unbounded, Bound::Excluded)
    }
}
pub fn prefix_range(prefix: &Key) -> KeyRange {
    let mut end = prefix.as_bytes().to_vec();
    while end.last() == Some(&255) {
        end.pop();
    }
    let end = end.split_last().map(|(l, head)| [head, &[l + 1]].concat());
    Span { start: prefix.as_bytes().to_vec(), end }.into()
}
