//! Ranges of keys: how callers say them, and the one half-open form that everything inside works with.
//!
//! Never refuses a range: one that is inverted or empty simply holds no key.

use std::ops::{Bound, RangeBounds};

use crate::key::Key;

/// A range of keys as a value, for where a Rust range has no name: results of [`prefix_range`],
/// fields, operations of a batch.
///
/// Every method that takes a range takes any `RangeBounds<Key>`, and this is one of them. It is kept as
/// an inclusive start and an exclusive or open end, so `..=k` becomes `..` and the key directly after
/// `k`. Ask whether it holds a key with [`RangeBounds::contains`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct KeyRange {
    start: Key,
    end: Option<Key>,
}

impl KeyRange {
    /// The same keys as `range`; `KeyRange::new(..)` is all of them, as is the default.
    pub fn new(range: impl RangeBounds<Key>) -> Self {
        Span::of(&range).into()
    }

    /// The first key that can be in it.
    pub(crate) fn first(&self) -> &[u8] {
        self.start.as_bytes()
    }

    /// The first key above it; none if it goes on to the end.
    pub(crate) fn end(&self) -> Option<&[u8]> {
        self.end.as_ref().map(Key::as_bytes)
    }

    /// Whether the key is in it.
    pub(crate) fn holds(&self, key: &[u8]) -> bool {
        self.first() <= key && self.end.as_ref().is_none_or(|end| key < end.as_bytes())
    }

    /// The same keys as a span.
    pub(crate) fn span(&self) -> Span {
        Span::of(self)
    }
}

impl From<Span> for KeyRange {
    fn from(span: Span) -> Self {
        KeyRange { start: span.start.into(), end: span.end.map(Key::from) }
    }
}

impl RangeBounds<Key> for KeyRange {
    fn start_bound(&self) -> Bound<&Key> {
        Bound::Included(&self.start)
    }

    fn end_bound(&self) -> Bound<&Key> {
        self.end.as_ref().map_or(Bound::Unbounded, Bound::Excluded)
    }
}

/// The range of `prefix` itself and every key that begins with it; all keys if it is empty.
///
/// A prefix of typed parts reaches whole parts only, since a string is written after its length: use
/// [`Text::prefix`](crate::Text::prefix) to find the strings that begin with another.
///
/// ```
/// use persistency::{key, prefix_range};
/// use std::ops::RangeBounds;
///
/// let channel = prefix_range(&key!("channel-1")?);
/// assert!(channel.contains(&key!("channel-1", 7i64)?));
/// assert!(!channel.contains(&key!("channel-10", 7i64)?));
/// # Ok::<(), persistency::Error>(())
/// ```
pub fn prefix_range(prefix: &Key) -> KeyRange {
    KeyRange { start: prefix.clone(), end: prefix_end(prefix.as_bytes()).map(Key::from) }
}

/// The first byte string above all that begin with `prefix`; none if those go on to the end.
fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|&byte| byte != 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

/// The keys from `start` up to but without `end`: what engines read and the worker compares.
///
/// Every range has exactly one such form, because the key directly after `k` is `k` and a zero byte.
/// That successor may be one byte longer than any key that can be written. Two spans of no key can
/// differ, so ask [`Span::is_empty`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Span {
    /// The first key that can be in it.
    pub start: Vec<u8>,
    /// The first key above it; none if it goes on to the end.
    pub end: Option<Vec<u8>>,
}

impl Span {
    /// All keys.
    #[cfg(test)]
    pub fn all() -> Self {
        Span { start: Vec::new(), end: None }
    }

    /// The one key `key`.
    pub fn point(key: &[u8]) -> Self {
        Span { start: key.to_vec(), end: Some(successor(key)) }
    }

    /// The keys of `range`.
    pub fn of(range: &impl RangeBounds<Key>) -> Self {
        let start = match range.start_bound() {
            Bound::Included(key) => key.as_bytes().to_vec(),
            Bound::Excluded(key) => successor(key.as_bytes()),
            Bound::Unbounded => Vec::new(),
        };
        let end = match range.end_bound() {
            Bound::Included(key) => Some(successor(key.as_bytes())),
            Bound::Excluded(key) => Some(key.as_bytes().to_vec()),
            Bound::Unbounded => None,
        };
        Span { start, end }
    }

    /// Whether no key at all can be in it.
    pub fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| *end <= self.start)
    }

    /// Whether `key` is in it.
    pub fn contains(&self, key: &[u8]) -> bool {
        *self.start <= *key && self.end.as_deref().is_none_or(|end| key < end)
    }

    /// The keys that are in both, possibly none.
    pub fn intersect(&self, other: &Span) -> Span {
        let end = match (&self.end, &other.end) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.as_ref().or(b.as_ref()),
        };
        Span { start: self.start.as_slice().max(&other.start).to_vec(), end: end.cloned() }
    }
}

/// The smallest byte string above `key`.
fn successor(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key;
    use crate::testing::vectors::{section, unhex};
    use crate::testing::{Random, test};

    fn random_bound(random: &mut Random) -> Bound<Key> {
        match random.below(5) {
            0 => Bound::Unbounded,
            1 | 2 => Bound::Included(random.bytes(3).into()),
            _ => Bound::Excluded(random.bytes(3).into()),
        }
    }

    fn random_range(random: &mut Random) -> (Bound<Key>, Bound<Key>) {
        (random_bound(random), random_bound(random))
    }

    #[test]
    fn a_span_holds_exactly_the_keys_of_its_range() {
        let mut random = Random::new(8);
        for _ in 0..5000 {
            let (range, key) = (random_range(&mut random), Key::from(random.bytes(4)));
            let span = Span::of(&range);
            assert_eq!(span.contains(key.as_bytes()), range.contains(&key), "{range:?} and {key:?}");
            assert_eq!(KeyRange::new(range).contains(&key), span.contains(key.as_bytes()));
            assert!(!span.is_empty() || !span.contains(key.as_bytes()));
            assert!(span.is_empty() || span.contains(&span.start));
        }
    }

    #[test]
    fn an_intersection_holds_exactly_the_keys_of_both() {
        let mut random = Random::new(9);
        for _ in 0..5000 {
            let (a, b) = (Span::of(&random_range(&mut random)), Span::of(&random_range(&mut random)));
            let (both, key) = (a.intersect(&b), random.bytes(4));
            assert_eq!(both.contains(&key), a.contains(&key) && b.contains(&key), "{a:?} {b:?} {key:x?}");
            assert_eq!(both, b.intersect(&a));
            assert_eq!(a.intersect(&Span::all()), a);
        }
    }

    #[test]
    fn a_point_holds_its_key_alone() {
        let point = Span::point(b"a");
        assert!(point.contains(b"a") && !point.is_empty());
        assert!(!point.contains(b"") && !point.contains(b"a\0") && !point.contains(b"b"));
        assert_eq!(point, Span::of(&(Key::from(*b"a")..=Key::from(*b"a"))));
        assert!(Span::point(b"").contains(b""));
    }

    #[test]
    fn inverted_and_empty_ranges_hold_nothing() {
        let (low, high) = (Key::from([1]), Key::from([2]));
        let excluded = |key: &Key| Bound::Excluded(key.clone());
        for range in [
            KeyRange::new(high.clone()..low.clone()),
            KeyRange::new(high.clone()..=low.clone()),
            KeyRange::new(low.clone()..low.clone()),
            KeyRange::new((excluded(&low), excluded(&low))),
            KeyRange::new((excluded(&low), Bound::Excluded(Key::from([1, 0])))),
            KeyRange::new(..Key::empty()),
        ] {
            assert!(Span::of(&range).is_empty(), "{range:?}");
        }
        assert!(!Span::of(&(..=Key::empty())).is_empty());
        assert!(!Span::of(&(low..high)).is_empty());
    }

    #[test]
    fn every_form_of_rust_range_is_one() {
        let (a, b) = (Key::from([1]), Key::from([2]));
        let span = |start: &[u8], end: Option<&[u8]>| Span { start: start.into(), end: end.map(Into::into) };
        assert_eq!(Span::of(&..), Span::all());
        assert_eq!(Span::of(&KeyRange::default()), Span::all());
        assert_eq!(Span::of(&(a.clone()..)), span(&[1], None));
        assert_eq!(Span::of(&(..b.clone())), span(&[], Some(&[2])));
        assert_eq!(Span::of(&(..=b.clone())), span(&[], Some(&[2, 0])));
        assert_eq!(Span::of(&(&a..&b)), span(&[1], Some(&[2])));
        let range = KeyRange::new(a..=b);
        assert_eq!(range.span(), span(&[1], Some(&[2, 0])));
        assert_eq!(KeyRange::from(range.span()), range);
    }

    #[test]
    fn a_prefix_range_holds_exactly_the_keys_that_begin_with_it() {
        let (mut random, mut found) = (Random::new(10), 0);
        for _ in 0..20_000 {
            let (prefix, key) = (Key::from(random.bytes(3)), Key::from(random.bytes(5)));
            let begins = key.as_bytes().starts_with(prefix.as_bytes());
            assert_eq!(prefix_range(&prefix).contains(&key), begins, "{prefix:?} of {key:?}");
            found += usize::from(begins && !prefix.is_empty());
        }
        assert!(found > 500, "the generator hardly ever makes a prefix: {found}");
    }

    #[test]
    fn ranges_have_the_form_of_their_vectors() {
        for vector in section(include_str!("../tests/vectors/ranges.json"), "ranges") {
            let said = |name: &str| vector["range"].get(name).map(|bytes| Key::from(unhex(bytes)));
            let bound = |inclusive: Option<Key>, exclusive: Option<Key>| match (inclusive, exclusive) {
                (Some(key), None) => Bound::Included(key),
                (None, Some(key)) => Bound::Excluded(key),
                _ => Bound::Unbounded,
            };
            let start = bound(said("gte").or(said("start")), said("gt"));
            let end = bound(said("lte"), said("lt").or(said("end")));
            let span = match said("prefix") {
                Some(prefix) => Span::of(&prefix_range(&prefix)),
                None => Span::of(&(start, end)),
            };
            let end = Some(&vector["end"]).filter(|end| !end.is_null()).map(unhex);
            assert_eq!(span, Span { start: unhex(&vector["start"]), end }, "{vector}");
            assert_eq!(Some(span.is_empty()), vector["empty"].as_bool(), "{vector}");
        }
    }

    #[test]
    fn a_prefix_range_starts_at_its_prefix() {
        let prefix = key!("a").unwrap();
        assert_eq!(prefix_range(&prefix).start_bound(), Bound::Included(&prefix));
        assert_eq!(Span::of(&prefix_range(&Key::empty())), Span::all());
    }
}
