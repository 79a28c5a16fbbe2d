//! Options and bounds: what is declared when a collection or pool is made, and is stored with it.
//!
//! Pure values; [`Datastore`](super::Datastore) compares them with what is stored.

use std::time::Duration;

use super::layout::{Format, Lifetime, Parameters};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{self, KEY_BYTES_MAX, PAYLOAD_BYTES_MAX};

/// How long something temporary lives unless a time is given: one hour.
pub const TTL_DEFAULT: Duration = Duration::from_secs(60 * 60);
/// How long tombstones are kept unless a time is given: seven days.
pub const TOMBSTONES_KEPT_DEFAULT: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Tombstones of a collection at most, unless told otherwise.
pub const TOMBSTONES_DEFAULT: u64 = 100_000;
/// Records of a collection, or items of a pool, at most, unless told otherwise.
pub const RECORDS_DEFAULT: u64 = 1_000_000;
/// Bytes of a collection's keys and data, or of a pool's items, at most, unless told otherwise.
pub const BYTES_DEFAULT: u64 = 1 << 30;
/// Bytes of an id (UTF-8) at most.
pub const ID_BYTES_MAX: usize = 255;
/// Bytes of a record's key at most.
pub const RECORD_KEY_BYTES_MAX: usize = KEY_BYTES_MAX - 9;
/// Bytes of a record's data at most.
pub const RECORD_BYTES_MAX: usize = PAYLOAD_BYTES_MAX - KEY_BYTES_MAX - 64;
/// Records of one `set_many` at most.
pub const SET_MANY_MAX: usize = 12_000;
/// Bytes of one `set_many` at most; a single record may have more.
pub const SET_MANY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of a client's or member's name (UTF-8) at most; at least one.
pub const NAME_BYTES_MAX: usize = 255;
/// How often a write is tried again because another tab was faster.
pub(super) const ATTEMPTS_MAX: usize = 100;
/// What is looked after in one batch while purging.
pub(super) const PURGE_PAGE: usize = 256;
/// Bytes of keys of records that expire, and of tombstones that are forgotten, in one batch while purging.
pub(super) const PURGE_KEY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bounds of one [`Datastore`](super::Datastore) object; the others are declared with each collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Collections and pools of the job at most.
    pub stores: u64,
    /// Subscriptions of one collection or pool at most. The job itself bears 1024 watches.
    pub subscribers: usize,
}

impl Default for Bounds {
    /// 10,000 collections and pools, 256 subscriptions of each.
    fn default() -> Self {
        Bounds { stores: 10_000, subscribers: 256 }
    }
}

/// What a collection is. Stored with it when it is made; who opens it again says the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectionOptions {
    lifetime: Lifetime,
    record_ttl: Duration,
    tombstones_kept: Duration,
    tombstones: u64,
    records: u64,
    bytes: u64,
    primary: String,
}

impl CollectionOptions {
    /// A collection that stays until it is removed.
    pub fn permanent() -> Self {
        CollectionOptions {
            lifetime: Lifetime::Permanent,
            record_ttl: Duration::ZERO,
            tombstones_kept: TOMBSTONES_KEPT_DEFAULT,
            tombstones: TOMBSTONES_DEFAULT,
            records: RECORDS_DEFAULT,
            bytes: BYTES_DEFAULT,
            primary: String::new(),
        }
    }

    /// A collection that expires [`TTL_DEFAULT`] after it was made.
    pub fn temporary() -> Self {
        CollectionOptions { lifetime: temporary(), ..Self::permanent() }
    }

    /// How long a temporary one lives, counted from when it was made; zero means [`TTL_DEFAULT`]. A
    /// permanent one ignores it.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.lifetime = with_ttl(self.lifetime, ttl);
        self
    }

    /// The time to live of a temporary one counts from its last change, or `touch`, and not from when
    /// it was made.
    pub fn sliding(mut self) -> Self {
        self.lifetime = slid(self.lifetime);
        self
    }

    /// How long a record lives after it was last set; for ever by default, and if zero.
    pub fn record_ttl(mut self, ttl: Duration) -> Self {
        self.record_ttl = ttl;
        self
    }

    /// How long a deletion is remembered, so that [`changes_since`](super::Collection::changes_since)
    /// can tell it; [`TOMBSTONES_KEPT_DEFAULT`] by default. Zero remembers none.
    pub fn keep_tombstones(mut self, kept: Duration) -> Self {
        self.tombstones_kept = kept;
        self
    }

    /// How many deletions are remembered at most, the newest ones.
    pub fn max_tombstones(mut self, tombstones: u64) -> Self {
        self.tombstones = tombstones;
        self
    }

    /// How many records there are at most; a set beyond it is `TooLarge`. Where that may happen,
    /// expired ones are purged first.
    pub fn max_records(mut self, records: u64) -> Self {
        self.records = records;
        self
    }

    /// How many bytes the keys and data of all records have at most; a set beyond it is `TooLarge`.
    /// Where that may happen, expired ones are purged first.
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.bytes = bytes;
        self
    }

    /// The field of a JSON record that is its key; `id` by default. Records of bytes ignore it.
    pub fn primary(mut self, field: impl Into<String>) -> Self {
        self.primary = field.into();
        self
    }

    pub(super) fn parameters(&self, format: Format) -> Result<Parameters> {
        let primary = match (format, &*self.primary) {
            (Format::Bytes, _) => "",
            (Format::Json, "") => "id",
            (Format::Json, field) => field,
        };
        limits::check_bytes("primary field", primary.len(), NAME_BYTES_MAX)?;
        let (record_ttl, kept) = (whole_ms(self.record_ttl), whole_ms(self.tombstones_kept));
        let numbers = [record_ttl, kept, self.tombstones, self.records, self.bytes];
        Ok(Parameters { format, lifetime: self.lifetime, numbers, primary: primary.to_owned() })
    }
}

/// The numbers of a collection's descriptor by their names.
impl Parameters {
    pub(super) fn record_ttl_ms(&self) -> u64 {
        self.numbers[0]
    }

    pub(super) fn tombstones_kept_ms(&self) -> u64 {
        self.numbers[1]
    }

    /// How many tombstones are kept; none if there is no time to keep them.
    pub(super) fn tombstones_max(&self) -> u64 {
        if self.tombstones_kept_ms() == 0 { 0 } else { self.numbers[2] }
    }

    pub(super) fn records_max(&self) -> u64 {
        self.numbers[3]
    }

    /// Also a pool's.
    pub(super) fn bytes_max(&self) -> u64 {
        self.numbers[4]
    }
}

/// Checks an id, a client's or a member's name.
pub(super) fn check_name(what: &str, name: &str, bytes_max: usize) -> Result<()> {
    if name.is_empty() {
        return Err(Error::new(ErrorKind::InvalidArgument, format!("a {what} has at least one byte")));
    }
    limits::check_bytes(what, name.len(), bytes_max)
}

pub(super) fn temporary() -> Lifetime {
    Lifetime::Temporary { ttl_ms: whole_ms(TTL_DEFAULT), sliding: false }
}

pub(super) fn with_ttl(lifetime: Lifetime, ttl: Duration) -> Lifetime {
    match lifetime {
        Lifetime::Permanent => Lifetime::Permanent,
        Lifetime::Temporary { sliding, .. } => {
            let ttl_ms = whole_ms(if ttl.is_zero() { TTL_DEFAULT } else { ttl });
            Lifetime::Temporary { ttl_ms, sliding }
        }
    }
}

pub(super) fn slid(lifetime: Lifetime) -> Lifetime {
    match lifetime {
        Lifetime::Permanent => Lifetime::Permanent,
        Lifetime::Temporary { ttl_ms, .. } => Lifetime::Temporary { ttl_ms, sliding: true },
    }
}

/// At least a millisecond if it is anything at all.
pub(super) fn whole_ms(duration: Duration) -> u64 {
    let ms = u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
    // Far beyond any clock, so that sums with one do not need care.
    ms.min(u64::MAX / 4)
}
