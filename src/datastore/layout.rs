//! The stored layout, version 1: keys and values of everything that the layer keeps, byte by byte.
//!
//! Pure: reads and writes bytes, never a job. The table for people is in the documentation of
//! [`datastore`](super).

use std::ops::RangeInclusive;

pub(super) use super::descriptor::{Descriptor, Format, Lifetime, Parameters, number_names};
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;

/// The category of everything that belongs to one collection or pool.
pub(super) const ROWS: &str = "datastore";
/// The category of what there is, by its id.
pub(super) const NAMES: &str = "datastore.names";
/// The category of when what has to be looked after.
pub(super) const DUE: &str = "datastore.due";

/// What tells one life of a collection or pool from the next of the same id.
pub type Generation = [u8; 8];

/// What there is under an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum What {
    Collection,
    Pool,
}

/// The keys under which one life keeps its rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rows(pub(super) Generation);

impl Rows {
    fn key(self, space: u8, rest: &[u8]) -> Key {
        Key::from_bytes([&self.0, &[space][..], rest].concat())
    }

    /// The prefix of all of them.
    pub(super) fn all(self) -> Key {
        Key::from_bytes(self.0)
    }

    /// A recent change: [`Change`].
    pub(super) fn change(self, seq: u64) -> Key {
        self.key(0x00, &seq.to_be_bytes())
    }

    /// The collection's head, between its changes and its records so that one view can have it with either:
    /// [`Head`].
    pub(super) fn head(self) -> Key {
        self.key(0x01, &[])
    }

    /// What has become of a key: [`Record`].
    pub(super) fn record(self, key: &[u8]) -> Key {
        self.key(0x02, key)
    }

    /// The head and what has become of all keys.
    pub(super) fn head_and_records(self) -> std::ops::Range<Key> {
        self.head()..self.tombstone(0)
    }

    /// The key of a record by the key of its row.
    pub(super) fn record_key(row_key: &[u8]) -> &[u8] {
        row_key.get(9..).unwrap_or_default()
    }

    /// When a record was set that will expire, by its seq: [`Dated`].
    pub(super) fn aging(self, seq: u64) -> Key {
        self.key(0x04, &seq.to_be_bytes())
    }

    /// All of these.
    pub(super) fn all_aging(self) -> RangeInclusive<Key> {
        self.aging(0)..=self.aging(u64::MAX)
    }

    /// When a record was deleted, by its seq: [`Dated`].
    pub(super) fn tombstone(self, seq: u64) -> Key {
        self.key(0x03, &seq.to_be_bytes())
    }

    /// All tombstones.
    pub(super) fn tombstones(self) -> RangeInclusive<Key> {
        self.tombstone(0)..=self.tombstone(u64::MAX)
    }

    /// The changes after `seq` and the head.
    pub(super) fn changes_after(self, seq: u64) -> RangeInclusive<Key> {
        let first = seq.checked_add(1).map_or_else(|| self.head(), |first| self.change(first));
        first..=self.head()
    }

    /// The pool's head; its members are directly behind it.
    pub(super) fn pool(self) -> Key {
        self.key(0x10, &[])
    }

    /// A member of the pool.
    pub(super) fn member(self, name: &str) -> Key {
        self.key(0x11, name.as_bytes())
    }

    /// The pool's head and all members.
    pub(super) fn pool_and_members(self) -> std::ops::Range<Key> {
        self.pool()..self.key(0x12, &[])
    }

    /// The number of the item with this hash.
    pub(super) fn hash(self, hash: &[u8]) -> Key {
        self.key(0x12, hash)
    }

    /// The item of this number.
    pub(super) fn item(self, number: u64) -> Key {
        self.key(0x13, &number.to_be_bytes())
    }

    /// All items and their hashes.
    pub(super) fn items_and_hashes(self) -> std::ops::Range<Key> {
        self.key(0x12, &[])..self.key(0x14, &[])
    }
}

/// The key of an id in [`NAMES`]; the empty key counts them.
pub(super) fn name_key(what: What, id: &str) -> Key {
    Key::from_bytes([&[what.byte()], id.as_bytes()].concat())
}

/// The key of the row that counts what there is.
pub(super) fn count_key() -> Key {
    Key::empty()
}

/// The key in [`DUE`] of what has to be looked after at `due_ms`.
pub(super) fn due_key(due_ms: u64, generation: Generation) -> Key {
    Key::from_bytes([due_ms.to_be_bytes(), generation].concat())
}

/// When what such a key names is due.
pub(super) fn due_of(key: &Key) -> Result<u64> {
    Reader(key.as_bytes()).number()
}

impl What {
    fn byte(self) -> u8 {
        match self {
            What::Collection => b'c',
            What::Pool => b'p',
        }
    }

    /// What and which id a key of [`NAMES`], or a value of [`DUE`], is about.
    pub(super) fn and_id(bytes: &[u8]) -> Result<(What, String)> {
        let (what, id) = bytes.split_first().ok_or_else(corrupt)?;
        let what = match what {
            b'c' => What::Collection,
            b'p' => What::Pool,
            _ => return Err(corrupt()),
        };
        Ok((what, String::from_utf8(id.to_vec()).map_err(|_| corrupt())?))
    }

    /// In words.
    pub(super) fn name(self) -> &'static str {
        match self {
            What::Collection => "collection",
            What::Pool => "pool",
        }
    }
}

/// What of a collection changes with every write, and against which every write is checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) seq: u64,
    pub(super) records: u64,
    /// Of their keys and data.
    pub(super) bytes: u64,
    pub(super) tombstones: u64,
    /// The last tombstone that has been forgotten; changes before it cannot be told.
    pub(super) floor: u64,
    /// Changes up to here are not among the recent ones.
    pub(super) log_from: u64,
    /// The stamp of the last change; stamps never go back.
    pub(super) last_ms: u64,
    /// When the collection expires; 0 for never.
    pub(super) expires_ms: u64,
    /// Where its row in [`DUE`] is; 0 for nowhere.
    pub(super) due_ms: u64,
}

impl Head {
    pub(super) fn encode(&self) -> Vec<u8> {
        let Head { seq, records, bytes, tombstones, floor, log_from, last_ms, expires_ms, due_ms } = self;
        let numbers =
            [seq, records, bytes, tombstones, floor, log_from, last_ms, expires_ms, due_ms].into_iter();
        numbers.flat_map(|number| number.to_be_bytes()).collect()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader(bytes);
        let head = Head {
            seq: reader.count()?,
            records: reader.count()?,
            bytes: reader.count()?,
            tombstones: reader.count()?,
            floor: reader.count()?,
            log_from: reader.count()?,
            last_ms: reader.count()?,
            expires_ms: reader.count()?,
            due_ms: reader.count()?,
        };
        reader.end()?;
        if head.log_from > head.seq || head.floor > head.seq {
            return Err(corrupt());
        }
        Ok(head)
    }

    /// Whether it has expired: strictly after its time.
    pub(super) fn expired(&self, now_ms: u64) -> bool {
        self.expires_ms != 0 && now_ms > self.expires_ms
    }
}

/// A change of a key; not its newest one if another follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) stamp_ms: u64,
    pub(super) key: Vec<u8>,
    /// None if it was deleted.
    pub(super) data: Option<Vec<u8>>,
}

/// What a change's value has beside key and data.
pub(super) const CHANGE_OVERHEAD_BYTES: usize = 13;

impl Change {
    pub(super) fn encode(stamp_ms: u64, key: &[u8], data: Option<&[u8]>) -> Vec<u8> {
        let data_bytes = data.map_or(0, <[u8]>::len);
        let mut bytes = Vec::with_capacity(CHANGE_OVERHEAD_BYTES + key.len() + data_bytes);
        bytes.extend(stamp_ms.to_be_bytes());
        bytes.push(u8::from(data.is_none()));
        // A key is at most 128 KiB.
        bytes.extend((key.len() as u32).to_be_bytes());
        bytes.extend(key);
        bytes.extend(data.unwrap_or_default());
        bytes
    }

    pub(super) fn decode(mut bytes: Vec<u8>) -> Result<Self> {
        let mut reader = Reader(&bytes);
        let stamp_ms = reader.number()?;
        let deleted = reader.flag()?;
        let key_bytes = u32::from_be_bytes(reader.array()?) as usize;
        let key = reader.take(key_bytes)?.to_vec();
        bytes.drain(..CHANGE_OVERHEAD_BYTES + key_bytes);
        Ok(Change { stamp_ms, key, data: (!deleted).then_some(bytes) })
    }
}

/// What has become of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub(super) seq: u64,
    pub(super) stamp_ms: u64,
    /// None if it was deleted.
    pub(super) data: Option<&'a [u8]>,
}

/// What a record's value has beside the data.
const RECORD_OVERHEAD_BYTES: usize = 17;

impl<'a> Record<'a> {
    pub(super) fn encode(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(RECORD_OVERHEAD_BYTES + self.data.map_or(0, <[u8]>::len));
        bytes.extend(self.seq.to_be_bytes());
        bytes.extend(self.stamp_ms.to_be_bytes());
        bytes.push(u8::from(self.data.is_none()));
        bytes.extend(self.data.unwrap_or_default());
        bytes
    }

    pub(super) fn decode(bytes: &'a [u8]) -> Result<Self> {
        let mut reader = Reader(bytes);
        let (seq, stamp_ms, deleted) = (reader.number()?, reader.number()?, reader.flag()?);
        Ok(Record { seq, stamp_ms, data: (!deleted).then_some(reader.0) })
    }

    /// What a write must know of it.
    pub(super) fn place(key: &[u8], bytes: &'a [u8]) -> Result<Place> {
        let Record { seq, stamp_ms, data } = Record::decode(bytes)?;
        // A record is smaller than 64 MiB.
        let bytes = data.map_or(0, |data| (key.len() + data.len()) as u32);
        Ok(Place { seq, stamp_ms, deleted: data.is_none(), bytes })
    }
}

/// What a write must know of what has become of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) seq: u64,
    pub(super) stamp_ms: u64,
    pub(super) deleted: bool,
    /// Of key and data.
    pub(super) bytes: u32,
}

/// A tombstone, or a record that will expire, by its seq.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Dated {
    pub(super) seq: u64,
    pub(super) stamp_ms: u64,
    pub(super) key: Vec<u8>,
}

impl Dated {
    pub(super) fn encode(&self) -> Vec<u8> {
        [&self.stamp_ms.to_be_bytes(), &*self.key].concat()
    }

    pub(super) fn decode(row_key: &Key, bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader(bytes);
        Ok(Dated { seq: seq_of(row_key)?, stamp_ms: reader.number()?, key: reader.0.to_vec() })
    }
}

/// The number at the end of a row's key.
pub(super) fn seq_of(row_key: &Key) -> Result<u64> {
    let bytes = row_key.as_bytes();
    Reader(bytes.get(bytes.len().saturating_sub(8)..).unwrap_or_default()).number()
}

/// Reads stored bytes from their begin; what ends early is `Corrupt`.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, bytes: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes).ok_or_else(corrupt)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| corrupt())
    }

    pub(super) fn number(&mut self) -> Result<u64> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// A number that one may count on from: far below where that would overflow.
    pub(super) fn count(&mut self) -> Result<u64> {
        self.number().and_then(|number| if number <= u64::MAX / 2 { Ok(number) } else { Err(corrupt()) })
    }

    pub(super) fn byte(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    pub(super) fn flag(&mut self) -> Result<bool> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(corrupt()),
        }
    }

    pub(super) fn end(&self) -> Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err(corrupt()) }
    }
}

/// What a stored row that cannot be read is answered with.
pub(super) fn corrupt() -> Error {
    Error::new(ErrorKind::Corrupt, "a row of the layer datastore cannot be read")
}
