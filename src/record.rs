//! The job's record, format 1: who the job is, how far it has come, and what its log must keep.
//!
//! Pure encoding and decoding; where the bytes lie is the engine's affair, when they change is the
//! worker's. All numbers are big-endian:
//!
//! ```text
//! offset  bytes  field
//!      0      4  application id "PSTY"
//!      4      2  format number, 1
//!      6      8  required feature bits: a reader that does not know one refuses the job
//!     14      8  optional feature bits: kept as they are by who does not know them
//!     22     16  generation
//!     38      8  creation time, unix ms
//!     46      8  committed seq
//!     54      8  durable seq: the durable marker
//!     62     16  writer of the last group
//!     78      8  number of the last group of that writer
//!     86      8  time of the last commit, unix ms
//!     94      1  state: 1 live, 2 dropped, 3 being filled, which is no job but for who fills it
//!     95      1  log retention: 0 off, 1 the last n bytes
//!     96      8  n, or 0
//!    104      8  first seq in the log; committed seq + 1 when it is empty
//!    112      8  log bytes ever written: the offset of the next value
//!    120      2  number of holders
//!    122    ...  each holder: length of its name (1), name (UTF-8), seq it has released (8)
//!           4+n  length and bytes of an extension, kept as they are; while the job is being filled, how far
//!                that has come, in words of who fills it
//!             4  CRC-32 (IEEE) of everything before
//! ```

use std::sync::LazyLock;

use crc::{CRC_32_ISO_HDLC, Crc};

use crate::engine::{EngineError, Fault};
use crate::limits;
use crate::names::Names;
use crate::text::text;

const APPLICATION_ID: [u8; 4] = *b"PSTY";
const FORMAT: u16 = 1;
const REQUIRED_FEATURES_KNOWN: u64 = 0;
const STATE_LIVE: u8 = 1;
const STATE_DROPPED: u8 = 2;
const STATE_FILLING: u8 = 3;
const RETENTION_OFF: u8 = 0;
const RETENTION_BYTES: u8 = 1;

/// How much of its commit log a job keeps; stored with the job.
///
/// Whatever this says, commits that a named holder has not released are kept as well
/// (see [`Job::hold_log`](crate::Job::hold_log)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LogRetention {
    /// Nothing, unless somebody holds it.
    #[default]
    Off,
    /// The newest commits, up to about so many bytes.
    LastBytes(u64),
}

/// The decoded record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) required_features: u64,
    pub(crate) optional_features: u64,
    pub(crate) generation: [u8; 16],
    pub(crate) created_ms: u64,
    pub(crate) committed_seq: u64,
    pub(crate) durable_seq: u64,
    pub(crate) writer: [u8; 16],
    pub(crate) group: u64,
    pub(crate) last_commit_ms: u64,
    pub(crate) dropped: bool,
    /// It becomes a job when whoever created it is through; before that nobody else takes it for one.
    pub(crate) filling: bool,
    pub(crate) log: LogState,
    pub(crate) extension: Vec<u8>,
}

/// What the record says of the commit log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogState {
    pub(crate) retention: LogRetention,
    /// The first seq that the log holds; it holds all from there to the committed one.
    pub(crate) first_seq: u64,
    /// Offset of the next value on the scale of all bytes ever logged.
    pub(crate) end_offset: u64,
    /// Named holders and the seq up to which each has released the log.
    pub(crate) holders: Names<u64>,
}

impl LogState {
    /// Whether commits are to be logged.
    pub(crate) fn is_on(&self) -> bool {
        self.retention != LogRetention::Off || !self.holders.is_empty()
    }

    /// The last seq that nobody holds; commits up to it may go as far as the retention wants.
    pub(crate) fn released_seq(&self) -> u64 {
        self.holders.iter().map(|(_, seq)| *seq).min().unwrap_or(u64::MAX)
    }
}

impl Record {
    /// The record of a job that begins now.
    pub(crate) fn new(generation: [u8; 16], created_ms: u64) -> Self {
        Record {
            required_features: 0,
            optional_features: 0,
            generation,
            created_ms,
            committed_seq: 0,
            durable_seq: 0,
            writer: [0; 16],
            group: 0,
            last_commit_ms: created_ms,
            dropped: false,
            filling: false,
            log: LogState { first_seq: 1, ..LogState::default() },
            extension: Vec::new(),
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(160);
        out.extend(APPLICATION_ID);
        out.extend(FORMAT.to_be_bytes());
        out.extend(self.required_features.to_be_bytes());
        out.extend(self.optional_features.to_be_bytes());
        out.extend(self.generation);
        out.extend(self.created_ms.to_be_bytes());
        out.extend(self.committed_seq.to_be_bytes());
        out.extend(self.durable_seq.to_be_bytes());
        out.extend(self.writer);
        out.extend(self.group.to_be_bytes());
        out.extend(self.last_commit_ms.to_be_bytes());
        out.push(match (self.dropped, self.filling) {
            (true, _) => STATE_DROPPED,
            (false, true) => STATE_FILLING,
            (false, false) => STATE_LIVE,
        });
        let (retention, bytes) = match self.log.retention {
            LogRetention::Off => (RETENTION_OFF, 0),
            LogRetention::LastBytes(bytes) => (RETENTION_BYTES, bytes),
        };
        out.push(retention);
        out.extend(bytes.to_be_bytes());
        out.extend(self.log.first_seq.to_be_bytes());
        out.extend(self.log.end_offset.to_be_bytes());
        // Both lengths are bounded where a holder is accepted, see `limits`.
        out.extend((self.log.holders.len() as u16).to_be_bytes());
        for (name, seq) in self.log.holders.iter() {
            out.push(name.len() as u8);
            out.extend(name.as_bytes());
            out.extend(seq.to_be_bytes());
        }
        out.extend((self.extension.len() as u32).to_be_bytes());
        out.extend(&self.extension);
        out.extend(checksum(&out).to_be_bytes());
        out
    }

    /// Decodes a record; `Corrupt` if it is damaged, `TooNew` if a newer library must read it.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, EngineError> {
        Self::read(bytes)?.ok_or_else(|| EngineError::new(Fault::Corrupt, "the job's record is damaged"))
    }

    /// `None` if the bytes are not a record.
    fn read(bytes: &[u8]) -> Result<Option<Self>, EngineError> {
        let Some((body, sum)) = bytes.split_last_chunk::<4>() else { return Ok(None) };
        if checksum(body) != u32::from_be_bytes(*sum) {
            return Ok(None);
        }
        let mut input = Input(body);
        let (Some(id), Some(format)) = (input.array::<4>(), input.u16()) else { return Ok(None) };
        if id != APPLICATION_ID {
            return Ok(None);
        }
        let required = input.u64();
        if format > FORMAT || required.is_some_and(|bits| bits & !REQUIRED_FEATURES_KNOWN != 0) {
            let message = text!(
                "the job's record is of format ",
                u64::from(format),
                " and needs features this library lacks"
            );
            return Err(EngineError::new(Fault::TooNew, message));
        }
        Ok(required.and_then(|required| input.rest(required)))
    }
}

/// CRC-32 as in IEEE 802.3. Its table is made by the first use: a browser need not load it.
static CRC_32: LazyLock<Crc<u32>> = LazyLock::new(|| Crc::<u32>::new(&CRC_32_ISO_HDLC));

fn checksum(bytes: &[u8]) -> u32 {
    CRC_32.checksum(bytes)
}

/// What is left of a record's bytes.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn take(&mut self, len: usize) -> Option<&[u8]> {
        let (head, tail) = self.0.split_at_checked(len)?;
        self.0 = tail;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    fn rest(&mut self, required_features: u64) -> Option<Record> {
        let mut record = Record {
            required_features,
            optional_features: self.u64()?,
            generation: self.array()?,
            created_ms: self.u64()?,
            committed_seq: self.u64()?,
            durable_seq: self.u64()?,
            writer: self.array()?,
            group: self.u64()?,
            last_commit_ms: self.u64()?,
            dropped: false,
            filling: false,
            log: LogState::default(),
            extension: Vec::new(),
        };
        match self.u8()? {
            STATE_LIVE => {}
            STATE_DROPPED => record.dropped = true,
            STATE_FILLING => record.filling = true,
            _ => return None,
        }
        record = Record {
            log: self.log()?,
            extension: {
                let len = u32::from_be_bytes(self.array()?);
                self.take(usize::try_from(len).ok()?)?.to_vec()
            },
            ..record
        };
        self.0.is_empty().then_some(record)
    }

    fn log(&mut self) -> Option<LogState> {
        let retention = match (self.u8()?, self.u64()?) {
            (RETENTION_OFF, _) => LogRetention::Off,
            (RETENTION_BYTES, bytes) => LogRetention::LastBytes(bytes),
            _ => return None,
        };
        let (first_seq, end_offset) = (self.u64()?, self.u64()?);
        let count = self.u16()?;
        let mut holders = Names::default();
        for _ in 0..count {
            let len = self.u8()?;
            let name = self.take(usize::from(len))?.to_vec();
            holders.insert(&String::from_utf8(name).ok()?, self.u64()?);
        }
        Some(LogState { retention, first_seq, end_offset, holders })
    }
}

const _: () =
    assert!(limits::LOG_HOLDERS_MAX <= u16::MAX as usize && limits::LOG_HOLDER_BYTES_MAX <= u8::MAX as usize);

#[cfg(test)]
mod tests;
