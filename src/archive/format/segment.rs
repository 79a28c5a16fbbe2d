//! Segments and rows: commits, each with a checksum that depends on all before it.

use std::sync::Arc;

use crate::batch::Op;
use crate::commit_log::{Commit, decode_ops, encode_ops};
use crate::error::Result;

use super::frame::{self, Reader, crc64};
use super::marks::SegmentMark;

/// Bytes of a record besides its operations.
const RECORD_BYTES: usize = 44;
/// Offset of the records in the object.
const RECORDS_AT: usize = 64;

/// What the records are: a job's history, or the rows of a base snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    History,
    Rows,
}

impl Kind {
    fn number(self) -> u8 {
        match self {
            Kind::History => 1,
            Kind::Rows => 2,
        }
    }
}

/// What of the two this object says that it is, if it is one.
pub(crate) fn kind_of(object: &[u8]) -> Option<Kind> {
    let number = frame::kind_number(object)?;
    [Kind::History, Kind::Rows].into_iter().find(|kind| kind.number() == number)
}

/// The chain with which the history or the rows of the base at `from` begin.
pub(crate) fn chain_start(kind: Kind, generation: &[u8; 16], from: u64) -> u64 {
    let from = from.to_be_bytes();
    match kind {
        Kind::History => crc64(&[generation, &from]),
        Kind::Rows => crc64(&[generation, &from, &[1]]),
    }
}

/// Collects commits for one segment.
#[derive(Clone, Debug)]
pub(crate) struct Builder {
    kind: Kind,
    generation: [u8; 16],
    chain_before: u64,
    chain: u64,
    /// Seqs and times of the first and the last record.
    span: Option<[(u64, u64); 2]>,
    records: Vec<u8>,
}

/// A segment that is ready to be stored; its mark does not know yet what was before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sealed {
    pub(crate) mark: SegmentMark,
    pub(crate) bytes: Vec<u8>,
}

impl Builder {
    /// A segment of which nothing is there yet, that goes on from `chain`.
    pub(crate) fn new(kind: Kind, generation: [u8; 16], chain: u64) -> Self {
        Builder { kind, generation, chain_before: chain, chain, span: None, records: Vec::new() }
    }

    /// Appends a commit, whose seq is the next one.
    pub(crate) fn push(&mut self, commit: &Commit) {
        let at = self.records.len();
        self.records.extend([0; 4]);
        self.records.extend(commit.seq.to_be_bytes());
        self.records.extend(commit.time_ms.to_be_bytes());
        self.records.extend(commit.writer);
        let operations_at = self.records.len();
        encode_ops(&commit.operations, &mut self.records);
        // A batch is far below 4 GiB, see `limits`.
        let bytes = (self.records.len() - operations_at) as u32;
        self.records[at..at + 4].copy_from_slice(&bytes.to_be_bytes());
        self.chain = crc64(&[&self.chain.to_be_bytes(), &self.records[at..]]);
        self.records.extend(self.chain.to_be_bytes());
        let this = (commit.seq, commit.time_ms);
        self.span = Some([self.span.map_or(this, |[first, _]| first), this]);
    }

    /// Bytes of the records so far.
    pub(crate) fn bytes(&self) -> usize {
        self.records.len()
    }

    /// Commits so far.
    pub(crate) fn commits(&self) -> u64 {
        self.span.map_or(0, |[first, last]| last.0 - first.0 + 1)
    }

    /// The chain after the last record.
    pub(crate) fn chain(&self) -> u64 {
        self.chain
    }

    /// The segment, if there is a record in it; the builder goes on with the next one.
    pub(crate) fn seal(&mut self) -> Option<Sealed> {
        let [(first_seq, first_ms), (last_seq, last_ms)] = self.span?;
        let next = Builder::new(self.kind, self.generation, self.chain);
        let done = std::mem::replace(self, next);
        let mut bytes = frame::begin(done.kind.number(), &done.generation);
        bytes.reserve(done.records.len() + RECORDS_AT);
        for field in [first_seq, last_seq, first_ms, last_ms, done.chain_before] {
            bytes.extend(field.to_be_bytes());
        }
        bytes.extend(done.records);
        bytes.extend(done.chain.to_be_bytes());
        let (bytes, checksum) = frame::end_compressed(bytes);
        let mark = SegmentMark {
            generation: done.generation,
            first_seq,
            last_seq,
            first_ms,
            last_ms,
            chain_before: done.chain_before,
            chain_after: done.chain,
            bytes: bytes.len() as u64,
            checksum,
            bytes_until: 0,
        };
        Some(Sealed { mark, bytes })
    }
}

/// A segment as it was read: every checksum in it is right. Its mark does not know what was before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) mark: SegmentMark,
    pub(crate) commits: Vec<Commit>,
}

impl Segment {
    /// Reads a segment, and checks everything that can be checked without its neighbours.
    ///
    /// # Errors
    ///
    /// `VersionTooNew` or `Corrupt`.
    pub(crate) fn decode(kind: Kind, bytes: &[u8]) -> Result<Self> {
        let frame = frame::open(bytes, kind.number())?;
        frame.whole(|reader| {
            let [first_seq, last_seq, first_ms, last_ms, chain_before] = five(reader)?;
            let mut chain = chain_before;
            let mut commits: Vec<Commit> = Vec::new();
            while reader.left() > 8 {
                let commit = record(reader, &mut chain)?;
                let follows = match commits.last() {
                    None => commit.seq == first_seq && commit.time_ms == first_ms,
                    Some(last) => {
                        last.seq.checked_add(1) == Some(commit.seq) && last.time_ms <= commit.time_ms
                    }
                };
                if !follows {
                    return None;
                }
                commits.push(commit);
            }
            let last = commits.last()?;
            if (last.seq, last.time_ms) != (last_seq, last_ms) || reader.u64()? != chain {
                return None;
            }
            let mark = SegmentMark {
                generation: frame.generation,
                first_seq,
                last_seq,
                first_ms,
                last_ms,
                chain_before,
                chain_after: chain,
                bytes: bytes.len() as u64,
                checksum: frame.checksum,
                bytes_until: 0,
            };
            Some(Segment { mark, commits })
        })
    }
}

fn five(reader: &mut Reader<'_>) -> Option<[u64; 5]> {
    Some([reader.u64()?, reader.u64()?, reader.u64()?, reader.u64()?, reader.u64()?])
}

fn record(reader: &mut Reader<'_>, chain: &mut u64) -> Option<Commit> {
    let len = reader.array::<4>()?;
    let operations_bytes = usize::try_from(u32::from_be_bytes(len)).ok()?;
    if reader.left() < operations_bytes.checked_add(RECORD_BYTES - 4)? {
        return None;
    }
    let rest = reader.take(RECORD_BYTES - 4 - 8 + operations_bytes)?;
    *chain = crc64(&[&chain.to_be_bytes(), &len, rest]);
    if reader.u64()? != *chain {
        return None;
    }
    let (seq, rest) = rest.split_first_chunk()?;
    let (time, rest) = rest.split_first_chunk()?;
    let (writer, operations) = rest.split_first_chunk()?;
    let operations: Arc<[Op]> = decode_ops(operations)?.into();
    let (seq, time_ms) = (u64::from_be_bytes(*seq), u64::from_be_bytes(*time));
    Some(Commit { seq, time_ms, writer: *writer, operations })
}
