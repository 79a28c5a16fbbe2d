//! How batches and rows cross between JavaScript and Rust: packed into one byte array each.
//!
//! Only bytes: no JavaScript type, no I/O. Never trusts a length, and checks no limit, since the job does.
//! The other half is `wire.js` of the npm package. Both ends are of one build, so this is no stored format.
//!
//! Numbers are big-endian. *Bytes* are a length in 4 bytes, then so many bytes.
//!
//! * A batch is its entries one after another. An entry is a code in 1 byte, the category (its length in
//!   2 bytes, UTF-8), and what the code asks for: see [`unpack_batch`].
//! * A page is 1 byte that is 1 if there are more rows behind it, then each row's key and payload as bytes.

use crate::batch::Batch;
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;
use crate::scan::Row;

/// Key, payload.
const PUT: u8 = 0;
/// Key.
const DELETE: u8 = 1;
/// First key, end key.
const DELETE_RANGE: u8 = 2;
/// First key.
const DELETE_FROM: u8 = 3;
/// Key.
const REQUIRE_ABSENT: u8 = 16;
/// Key.
const REQUIRE_PRESENT: u8 = 17;
/// Key, payload.
const REQUIRE_EQUAL: u8 = 18;

/// Reads a batch.
///
/// # Errors
///
/// `InvalidArgument` if it ends early, has an unknown code, or a category that is not UTF-8.
pub fn unpack_batch(packed: &[u8]) -> Result<Batch> {
    let mut input = Input(packed);
    let mut batch = Batch::new();
    while !input.0.is_empty() {
        let code = input.take(1)?[0];
        let category = input.category()?;
        let first = Key::from(input.bytes()?);
        batch = match code {
            PUT => batch.put(category, first, input.bytes()?),
            DELETE => batch.delete(category, first),
            DELETE_RANGE => {
                let end = Key::from(input.bytes()?);
                batch.delete_range(category, first..end)
            }
            DELETE_FROM => batch.delete_range(category, first..),
            REQUIRE_ABSENT => batch.require_absent(category, first),
            REQUIRE_PRESENT => batch.require_present(category, first),
            REQUIRE_EQUAL => batch.require_equal(category, first, input.bytes()?),
            _ => return Err(malformed()),
        };
    }
    Ok(batch)
}

/// Writes a page.
pub fn pack_page(rows: &[Row], more: bool) -> Vec<u8> {
    let size = rows.iter().map(|row| 8 + row.key.len() + row.payload.len()).sum::<usize>();
    let mut out = Vec::with_capacity(1 + size);
    out.push(u8::from(more));
    for row in rows {
        for bytes in [row.key.as_bytes(), &row.payload] {
            // Nothing in a wasm memory reaches 4 GiB.
            out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
            out.extend_from_slice(bytes);
        }
    }
    out
}

/// What has not been read yet.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or_else(malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self, width: usize) -> Result<usize> {
        Ok(self.take(width)?.iter().fold(0, |number, &byte| number << 8 | usize::from(byte)))
    }

    fn bytes(&mut self) -> Result<&'a [u8]> {
        let count = self.number(4)?;
        self.take(count)
    }

    fn category(&mut self) -> Result<&'a str> {
        let count = self.number(2)?;
        std::str::from_utf8(self.take(count)?).map_err(|_| malformed())
    }
}

fn malformed() -> Error {
    Error::new(ErrorKind::InvalidArgument, "malformed packed batch")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Random, test};

    fn entry(code: u8, category: &str, parts: &[&[u8]]) -> Vec<u8> {
        let mut out = vec![code, 0, category.len() as u8];
        out.extend_from_slice(category.as_bytes());
        for part in parts {
            out.extend_from_slice(&(part.len() as u32).to_be_bytes());
            out.extend_from_slice(part);
        }
        out
    }

    #[test]
    fn every_entry_of_a_batch_is_read() {
        let packed = [
            entry(REQUIRE_ABSENT, "a", &[b"k"]),
            entry(REQUIRE_PRESENT, "a", &[b""]),
            entry(REQUIRE_EQUAL, "b", &[b"k", b"v"]),
            entry(PUT, "", &[b"", b""]),
            entry(DELETE, "a", &[b"k"]),
            entry(DELETE_RANGE, "a", &[b"k", b"l"]),
            entry(DELETE_FROM, "a", &[b""]),
        ];
        let key = |bytes: &[u8]| Key::from(bytes);
        let expected = Batch::new()
            .require_absent("a", key(b"k"))
            .require_present("a", key(b""))
            .require_equal("b", key(b"k"), "v")
            .put("", key(b""), "")
            .delete("a", key(b"k"))
            .delete_range("a", key(b"k")..key(b"l"))
            .clear("a");
        assert_eq!(unpack_batch(&packed.concat()).unwrap(), expected);
        assert_eq!(unpack_batch(&[]).unwrap(), Batch::new());
    }

    #[test]
    fn a_batch_that_ends_early_is_refused() {
        let packed = entry(PUT, "category", &[b"key", b"payload"]);
        for end in 1..packed.len() {
            let error = unpack_batch(&packed[..end]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{end}");
        }
    }

    #[test]
    fn a_batch_of_anything_is_read_or_refused() {
        let mut random = Random::new(11);
        for _ in 0..20_000 {
            let mut packed = entry(PUT, "c", &[&random.bytes(4), &random.bytes(4)]);
            let at = random.below(packed.len());
            packed[at] = random.word() as u8;
            if let Err(error) = unpack_batch(&packed) {
                assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            }
        }
    }

    #[test]
    fn a_page_has_its_rows_and_whether_there_are_more() {
        let row = |key: &[u8], payload: &[u8]| Row { key: Key::from(key), payload: payload.to_vec() };
        let packed = pack_page(&[row(b"k", b"vv"), row(b"", b"")], true);
        assert_eq!(packed, [b"\x01\0\0\0\x01k\0\0\0\x02vv".as_slice(), &[0; 8]].concat());
        assert_eq!(pack_page(&[], false), [0]);
    }
}
