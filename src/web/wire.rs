//! How calls and answers cross between the page and its Web Worker: frames of bytes.
//!
//! Only bytes: no JavaScript type, no I/O. Never trusts a length, and checks no limit, since the job does.
//! The other half is `wire.js` of the npm package. Both ends are of one build and name the protocol's
//! version first, so this is no stored format.
//!
//! Numbers are big-endian. *Bytes* are a length in 4 bytes, then so many bytes; a *string* is bytes of
//! UTF-8; *strings* are a count in 4 bytes, then so many strings; a *flag* is 1 byte.
//!
//! * A frame of calls is calls one after another: its number (4 bytes; an answer repeats it), the
//!   operation (1), the job or stream it is about (4), the length of its body (4), the body: see
//!   [`Call`](super::call::Call).
//! * A frame of answers is answers one after another: the call's number, what follows (1 byte: see
//!   [`Kind`]), the length of the body (4), the body. Events have the job in the place of a number.
//! * A batch is its entries one after another. An entry is a code in 1 byte, the category as bytes, and
//!   what the code asks for: see [`unpack_batch`].
//! * A range is its first key as bytes, a flag, and the first key above it as bytes if the flag is 1.

use std::ops::Bound;

use crate::batch::{Batch, Op};
use crate::engine::Page;
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;
use crate::range::{KeyRange, Span};
use crate::watch::{Position, WatchItem};

/// Version of everything in this module and in [`super::call`], and whether the layers are there.
pub const PROTOCOL: u32 = if cfg!(feature = "layers") { 2 | WITH_LAYERS } else { 2 };
/// Set in the protocol's number where the worker knows the layers.
const WITH_LAYERS: u32 = 0x100;

/// Key, payload.
const PUT: u8 = 0;
/// Key.
const DELETE: u8 = 1;
/// Range.
const DELETE_RANGE: u8 = 2;
/// Key.
const REQUIRE_ABSENT: u8 = 16;
/// Key.
const REQUIRE_PRESENT: u8 = 17;
/// Key, payload.
const REQUIRE_EQUAL: u8 = 18;

/// What an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The body is the call's result.
    Value = 0,
    /// The body is an error: see [`pack_error`].
    Error = 1,
    /// An event: the body is a job's committed and its durable seq.
    Progress = 2,
    /// An event: the job has ended by itself, the body is the error that later calls are answered.
    Ended = 3,
}

/// Bytes that are being written.
#[derive(Debug, Default)]
pub struct Output(pub Vec<u8>);

impl Output {
    pub fn byte(&mut self, byte: u8) -> &mut Self {
        self.0.push(byte);
        self
    }

    pub fn flag(&mut self, flag: bool) -> &mut Self {
        self.byte(u8::from(flag))
    }

    /// Nothing in a wasm memory reaches 4 GiB, so every count and length fits.
    pub fn count(&mut self, count: usize) -> &mut Self {
        self.raw(&(count as u32).to_be_bytes())
    }

    pub fn number(&mut self, number: u64) -> &mut Self {
        self.raw(&number.to_be_bytes())
    }

    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.count(bytes.len()).raw(bytes)
    }

    pub fn strings(&mut self, strings: &[String]) -> &mut Self {
        self.count(strings.len());
        for string in strings {
            self.bytes(string.as_bytes());
        }
        self
    }

    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Appends an answer.
    pub fn answer(&mut self, number: u32, kind: Kind, body: &[u8]) {
        self.raw(&number.to_be_bytes()).byte(kind as u8).bytes(body);
    }

    /// Begins an answer whose body is what is written until its end; answers where it and its body begin.
    pub fn begin(&mut self, number: u32, kind: Kind) -> (usize, usize) {
        let start = self.0.len();
        self.answer(number, kind, &[]);
        (start, self.0.len())
    }

    /// Ends an answer whose body begins there.
    pub fn end(&mut self, body: usize) {
        let length = (self.0.len() - body) as u32;
        self.0[body - 4..body].copy_from_slice(&length.to_be_bytes());
    }
}

/// Bytes that have not been read yet. What is not there reads as nothing, and [`Input::end`] says so: whoever reads
/// asks once, before he believes any of it.
#[derive(Debug)]
pub struct Input<'a> {
    rest: &'a [u8],
    /// Whether something was not there, or not what it should be.
    failed: bool,
}

impl<'a> Input<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Input { rest: bytes, failed: false }
    }

    /// Whether there is nothing more to read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// An error unless everything was there, and nothing more.
    pub fn end(&self) -> Result<()> {
        if self.failed || !self.rest.is_empty() { Err(malformed()) } else { Ok(()) }
    }

    /// An error if something was not there.
    pub fn check(&self) -> Result<()> {
        if self.failed { Err(malformed()) } else { Ok(()) }
    }

    /// Everything that is left.
    pub fn take_rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    pub fn take(&mut self, count: usize) -> &'a [u8] {
        let Some((taken, rest)) = self.rest.split_at_checked(count) else {
            self.fail();
            return &[];
        };
        self.rest = rest;
        taken
    }

    pub fn byte(&mut self) -> u8 {
        self.take(1).iter().fold(0, |_, &byte| byte)
    }

    pub fn flag(&mut self) -> bool {
        self.byte() != 0
    }

    pub fn number(&mut self) -> u64 {
        self.take(8).iter().fold(0, |number, &byte| number << 8 | u64::from(byte))
    }

    pub fn count(&mut self) -> usize {
        self.take(4).iter().fold(0, |number, &byte| number << 8 | usize::from(byte))
    }

    pub fn bytes(&mut self) -> &'a [u8] {
        let count = self.count();
        self.take(count)
    }

    pub fn string(&mut self) -> &'a str {
        let text = std::str::from_utf8(self.bytes());
        text.unwrap_or_else(|_| {
            self.fail();
            ""
        })
    }

    pub fn key(&mut self) -> Key {
        Key::from(self.bytes())
    }

    /// As many keys as are said to be there.
    pub fn keys(&mut self) -> Vec<Key> {
        let count = self.count();
        let mut keys = Vec::new();
        // Grows with what is there, whatever the count claims.
        while keys.len() < count && !self.failed {
            keys.push(self.key());
        }
        keys
    }

    pub fn generation(&mut self) -> [u8; 16] {
        self.take(16).try_into().unwrap_or_default()
    }

    pub fn span(&mut self) -> Span {
        let start = self.bytes().to_vec();
        let end = if self.flag() { Some(self.bytes().to_vec()) } else { None };
        Span { start, end }
    }

    pub fn position(&mut self) -> Position {
        Position { generation: self.generation(), seq: self.number() }
    }

    fn fail(&mut self) {
        (self.rest, self.failed) = (&[], true);
    }
}

/// Reads a batch.
///
/// # Errors
///
/// `InvalidArgument` if it ends early, has an unknown code, or a category that is not UTF-8.
pub fn unpack_batch(packed: &[u8]) -> Result<Batch> {
    let mut input = Input::new(packed);
    let mut batch = Batch::new();
    while !input.is_empty() {
        let code = input.byte();
        let category = input.string();
        batch = match code {
            PUT => batch.put(category, input.key(), input.bytes()),
            DELETE => batch.delete(category, input.key()),
            DELETE_RANGE => batch.delete_range(category, KeyRange::from(input.span())),
            REQUIRE_ABSENT => batch.require_absent(category, input.key()),
            REQUIRE_PRESENT => batch.require_present(category, input.key()),
            REQUIRE_EQUAL => batch.require_equal(category, input.key(), input.bytes()),
            _ => return Err(malformed()),
        };
    }
    input.end().map(|()| batch)
}

/// Writes a page: a flag that is 1 if there are more rows behind it, then each row's key and payload.
pub fn pack_page(out: &mut Output, page: &Page) {
    out.flag(page.more).raw(page.rows.as_bytes());
}

/// Writes payloads: for each a flag, and its bytes if the flag is 1.
pub fn pack_payloads(out: &mut Output, payloads: &[Option<Vec<u8>>]) {
    let size = payloads.iter().flatten().map(|payload| 4 + payload.len()).sum::<usize>();
    out.0.reserve(payloads.len() + size);
    for payload in payloads {
        out.flag(payload.is_some());
        if let Some(payload) = payload {
            out.bytes(payload);
        }
    }
}

/// Writes items of a watch or the log, and the seq behind them.
///
/// An item is a flag that is 1 for a commit. A commit is its seq and its time (8 bytes each), its
/// writer (16), and its operations as bytes in the form of a batch; a gap is its first and its last seq.
pub fn pack_items(out: &mut Output, items: &[WatchItem], behind: u64) {
    out.number(behind);
    for item in items {
        match item {
            WatchItem::Commit(commit) => {
                out.flag(true).number(commit.seq).number(commit.time_ms).raw(&commit.writer);
                let mut operations = Output::default();
                for op in &*commit.operations {
                    pack_op(&mut operations, op);
                }
                out.bytes(&operations.0);
            }
            WatchItem::Lagged { from, to } => {
                out.flag(false).number(*from).number(*to);
            }
        }
    }
}

/// Writes an error: its outcome and whether it can be tried again (1 byte each), the index of the
/// failed precondition or 2^32 - 1, then kind, message and cause as strings, the last empty if there is none.
pub fn pack_error(error: &Error) -> Vec<u8> {
    let mut out = Output::default();
    out.byte(error.outcome() as u8).flag(error.is_retryable());
    out.count(error.conflict_index().unwrap_or(u32::MAX as usize));
    out.bytes(error.kind().name().as_bytes()).bytes(error.message().as_bytes());
    let cause = std::error::Error::source(error).map(ToString::to_string);
    out.bytes(cause.unwrap_or_default().as_bytes());
    out.0
}

/// A span as the range that handles take.
pub fn range(span: Span) -> (Bound<Key>, Bound<Key>) {
    let end = span.end.map_or(Bound::Unbounded, |end| Bound::Excluded(Key::from(end)));
    (Bound::Included(Key::from(span.start)), end)
}

/// What is answered to bytes that no page of this version sends.
pub fn malformed() -> Error {
    Error::new(ErrorKind::InvalidArgument, "malformed message")
}

fn pack_op(out: &mut Output, op: &Op) {
    let code = match op {
        Op::Put { .. } => PUT,
        Op::Delete { .. } => DELETE,
        Op::DeleteRange { .. } => DELETE_RANGE,
    };
    out.byte(code).bytes(op.category().as_bytes());
    match op {
        Op::Put { key, payload, .. } => out.bytes(key.as_bytes()).bytes(payload),
        Op::Delete { key, .. } => out.bytes(key.as_bytes()),
        Op::DeleteRange { range, .. } => {
            let span = range.span();
            out.bytes(&span.start).flag(span.end.is_some());
            span.end.iter().fold(out, |out, end| out.bytes(end))
        }
    };
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use serde_json::Value;

    use crate::commit_log::Commit;
    use crate::error::Outcome;
    use crate::testing::vectors::{batch, list, section, string, unhex};
    use crate::testing::{Random, test};

    const VECTORS: &str = include_str!("../../tests/vectors/wire.json");

    fn entry(code: u8, category: &str, parts: &[&[u8]]) -> Vec<u8> {
        let mut out = Output::default();
        out.byte(code).bytes(category.as_bytes());
        for part in parts {
            out.bytes(part);
        }
        out.0
    }

    fn ranged(category: &str, start: &[u8], end: Option<&[u8]>) -> Vec<u8> {
        let mut out = Output(entry(DELETE_RANGE, category, &[start]));
        out.flag(end.is_some());
        if let Some(end) = end {
            out.bytes(end);
        }
        out.0
    }

    #[test]
    fn every_entry_of_a_batch_is_read() {
        let packed = [
            entry(REQUIRE_ABSENT, "a", &[b"k"]),
            entry(REQUIRE_PRESENT, "a", &[b""]),
            entry(REQUIRE_EQUAL, "b", &[b"k", b"v"]),
            entry(PUT, "", &[b"", b""]),
            entry(DELETE, "a", &[b"k"]),
            ranged("a", b"k", Some(b"l")),
            ranged("a", b"", None),
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

    /// A number that a string holds, which may be larger than those of JSON.
    fn number(value: &Value) -> u64 {
        string(value).parse().unwrap()
    }

    #[test]
    fn batches_are_read_from_the_bytes_of_their_vectors() {
        for vector in section(VECTORS, "batches") {
            assert_eq!(
                unpack_batch(&unhex(&vector["packed"])).unwrap(),
                batch(&vector["entries"]),
                "{vector}"
            );
        }
    }

    #[test]
    fn items_have_the_bytes_of_their_vectors() {
        let item = |vector: &Value| match (vector.get("lagged"), vector.get("commit")) {
            (Some(gap), None) => WatchItem::Lagged { from: number(&gap[0]), to: number(&gap[1]) },
            (None, Some(commit)) => WatchItem::Commit(Commit {
                seq: number(&commit["seq"]),
                time_ms: number(&commit["timeMs"]),
                writer: unhex(&commit["writer"]).try_into().unwrap(),
                operations: batch(&commit["operations"]).operations().into(),
            }),
            _ => panic!("{vector}"),
        };
        for vector in section(VECTORS, "items") {
            let items: Vec<_> = list(&vector["items"]).iter().map(item).collect();
            let mut packed = Output::default();
            pack_items(&mut packed, &items, number(&vector["behind"]));
            assert_eq!(packed.0, unhex(&vector["packed"]), "{vector}");
        }
    }

    #[test]
    fn errors_have_the_bytes_of_their_vectors() {
        for vector in section(VECTORS, "errors") {
            let error = match vector["kind"].as_str().unwrap() {
                "Conflict" => Error::conflict(2, "require_absent in category"),
                "StorageFull" => Error::new(ErrorKind::StorageFull, string(&vector["message"])),
                "Backend" => Error::new(ErrorKind::Backend, string(&vector["message"]))
                    .with_outcome(Outcome::Unknown)
                    .with_source(Arc::new(std::io::Error::other(string(&vector["cause"])))),
                "Timeout" => Error::new(ErrorKind::Timeout, "").with_outcome(Outcome::Applied),
                other => panic!("unknown error {other}"),
            };
            assert_eq!(pack_error(&error), unhex(&vector["packed"]), "{vector}");
        }
    }

    #[test]
    fn a_body_that_is_written_in_place_reads_as_one_that_was_there() {
        let (mut whole, mut in_place) = (Output::default(), Output::default());
        for body in [b"".as_slice(), b"body"] {
            whole.answer(7, Kind::Ended, body);
            let (start, begun) = in_place.begin(7, Kind::Ended);
            assert!(start < begun);
            in_place.raw(body);
            in_place.end(begun);
        }
        assert_eq!(in_place.0, whole.0);
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
        let packed = |page: &Page| {
            let mut out = Output::default();
            pack_page(&mut out, page);
            out.0
        };
        let mut page = Page::default();
        assert_eq!(packed(&page), [0]);
        page.rows.push(b"k", b"vv");
        page.rows.push(b"", b"");
        page.more = true;
        assert_eq!(packed(&page), [b"\x01\0\0\0\x01k\0\0\0\x02vv".as_slice(), &[0; 8]].concat());
    }

    #[test]
    fn a_payload_that_is_empty_differs_from_one_that_is_not_there() {
        let mut out = Output::default();
        pack_payloads(&mut out, &[None, Some(Vec::new()), Some(b"v".to_vec())]);
        assert_eq!(out.0, b"\0\x01\0\0\0\0\x01\0\0\0\x01v");
    }

    #[test]
    fn the_operations_of_a_commit_read_back_as_the_batch_they_were() {
        let batch = Batch::new()
            .put("c", Key::from(b"k".as_slice()), "v")
            .delete("", Key::from(b"".as_slice()))
            .delete_prefix("c", Key::from(b"p".as_slice()))
            .clear("d");
        let operations: Arc<[Op]> = batch.operations().to_vec().into();
        let commit = Commit { seq: 7, time_ms: 8, writer: [9; 16], operations };
        let items = [WatchItem::Lagged { from: 1, to: 6 }, WatchItem::Commit(commit)];
        let mut packed = Output::default();
        pack_items(&mut packed, &items, 7);
        let packed = packed.0;
        let mut input = Input::new(&packed);
        assert_eq!(input.number(), 7);
        assert_eq!((input.flag(), input.number(), input.number()), (false, 1, 6));
        assert_eq!((input.flag(), input.number(), input.number()), (true, 7, 8));
        assert_eq!(input.generation(), [9; 16]);
        assert_eq!(unpack_batch(input.bytes()).unwrap(), batch);
        assert!(input.end().is_ok());
    }
}
