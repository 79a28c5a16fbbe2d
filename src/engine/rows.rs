//! Rows as they travel: keys and payloads one behind the other in a single buffer.
//!
//! Pure: knows no order and no bounds. A page crosses threads, and in the npm package the worker's border, as it
//! is; keys and payloads become values of their own only where somebody is given them.

use std::fmt;

/// Bytes before a key and before a payload: how long it is, big-endian. `pkg-template/src/tenant.js` reads
/// the same; no technology here has values of four gigabytes.
const LENGTH_BYTES: usize = 4;

/// Rows in the order in which they were added.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Rows {
    bytes: Vec<u8>,
    count: usize,
    /// Where the last row's payload begins.
    last_payload: usize,
}

impl Rows {
    pub(crate) fn push(&mut self, key: &[u8], payload: &[u8]) {
        self.bytes.reserve(2 * LENGTH_BYTES + key.len() + payload.len());
        self.bytes.extend(length(key.len()));
        self.bytes.extend(key);
        self.bytes.extend(length(payload.len()));
        self.last_payload = self.bytes.len();
        self.bytes.extend(payload);
        self.count += 1;
    }

    /// Adds a further piece to the payload of the last row, if there is one.
    #[allow(dead_code, reason = "only where payloads come in pieces")]
    pub(crate) fn append(&mut self, piece: &[u8]) {
        if self.count > 0 {
            self.bytes.extend(piece);
            let payload = length(self.bytes.len() - self.last_payload);
            self.bytes[self.last_payload - LENGTH_BYTES..self.last_payload].copy_from_slice(&payload);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }

    #[allow(dead_code, reason = "not every build has roots in memory")]
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Keys and payloads.
    pub(crate) fn iter(&self) -> Iter<'_> {
        Iter(&self.bytes)
    }

    /// All of them: of each row the length of the key, the key, the length of the payload, the payload.
    #[cfg(feature = "web")]
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The rows that are left.
pub(crate) struct Iter<'a>(&'a [u8]);

impl<'a> Iter<'a> {
    fn take(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk::<LENGTH_BYTES>()?;
        let (taken, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        self.0 = rest;
        Some(taken)
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        Some((self.take()?, self.take()?))
    }
}

impl<'a> IntoIterator for &'a Rows {
    type Item = (&'a [u8], &'a [u8]);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self).finish()
    }
}

fn length(bytes: usize) -> [u8; LENGTH_BYTES] {
    (bytes as u32).to_be_bytes()
}

/// What tests compare with.
#[cfg(test)]
type Apart = Vec<(Vec<u8>, Vec<u8>)>;

#[cfg(test)]
impl From<Apart> for Rows {
    fn from(all: Apart) -> Self {
        let mut rows = Rows::default();
        all.iter().for_each(|(key, payload)| rows.push(key, payload));
        rows
    }
}

#[cfg(test)]
impl IntoIterator for Rows {
    type Item = (Vec<u8>, Vec<u8>);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        let all: Apart = self.iter().map(|(key, payload)| (key.to_vec(), payload.to_vec())).collect();
        all.into_iter()
    }
}

#[cfg(test)]
impl<T: AsRef<[(Vec<u8>, Vec<u8>)]>> PartialEq<T> for Rows {
    fn eq(&self, other: &T) -> bool {
        let others = other.as_ref().iter().map(|(key, payload)| (&**key, &**payload));
        self.count == other.as_ref().len() && self.iter().eq(others)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::test;

    #[test]
    fn rows_come_back_as_they_were_added_and_a_piece_belongs_to_the_last() {
        let mut rows = Rows::default();
        rows.append(b"nobody's");
        assert!(rows.is_empty() && rows == Vec::new());
        rows.push(b"a", b"1");
        rows.push(b"", b"");
        rows.push(b"c", b"");
        rows.append(b"12");
        rows.append(b"3");
        let expected = [(&b"a"[..], &b"1"[..]), (b"", b""), (b"c", b"123")];
        assert!(rows.iter().eq(expected));
        assert_eq!((rows.len(), rows.is_empty()), (3, false));
        let apart: Apart = expected.map(|(key, payload)| (key.to_vec(), payload.to_vec())).into();
        assert_eq!(rows, apart);
        assert_eq!(rows, Rows::from(apart));
        assert_ne!(rows, vec![(b"a".to_vec(), b"1".to_vec())]);
    }
}
