//! The small objects: marks of segments and of bases, and lives.

use crate::error::Result;

use super::frame;

const SEGMENT_MARK: u8 = 3;
const BASE_MARK: u8 = 4;
const LIFE: u8 = 5;

/// What is known of a segment without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SegmentMark {
    pub(crate) generation: [u8; 16],
    pub(crate) first_seq: u64,
    pub(crate) last_seq: u64,
    pub(crate) first_ms: u64,
    pub(crate) last_ms: u64,
    pub(crate) chain_before: u64,
    pub(crate) chain_after: u64,
    /// Bytes of the segment's object.
    pub(crate) bytes: u64,
    /// The CRC-64 with which it ends.
    pub(crate) checksum: u64,
    /// Bytes of all segments up to here, this one included.
    pub(crate) bytes_until: u64,
}

impl SegmentMark {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = frame::begin(SEGMENT_MARK, &self.generation);
        let seqs_and_times = [self.first_seq, self.last_seq, self.first_ms, self.last_ms];
        let sums = [self.chain_before, self.chain_after, self.bytes, self.checksum, self.bytes_until];
        for field in seqs_and_times.into_iter().chain(sums) {
            out.extend(field.to_be_bytes());
        }
        frame::end(&mut out);
        out
    }

    /// Reads a mark; `VersionTooNew` or `Corrupt`.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let frame = frame::open(bytes, SEGMENT_MARK)?;
        frame.whole(|reader| {
            let mark = SegmentMark {
                generation: frame.generation,
                first_seq: reader.u64()?,
                last_seq: reader.u64()?,
                first_ms: reader.u64()?,
                last_ms: reader.u64()?,
                chain_before: reader.u64()?,
                chain_after: reader.u64()?,
                bytes: reader.u64()?,
                checksum: reader.u64()?,
                bytes_until: reader.u64()?,
            };
            (mark.first_seq <= mark.last_seq).then_some(mark)
        })
    }
}

/// What is known of a base snapshot without reading its rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BaseMark {
    pub(crate) generation: [u8; 16],
    /// Everything up to this seq is in the rows.
    pub(crate) from: u64,
    /// Nothing after this seq is in the rows.
    pub(crate) to: u64,
    /// No commit up to `to` is later.
    pub(crate) time_ms: u64,
    /// The chain of the history at `from`.
    pub(crate) chain: u64,
    pub(crate) rows: u64,
    /// Bytes of all segments up to `from`.
    pub(crate) bytes_until: u64,
    pub(crate) pieces: Vec<BasePiece>,
}

/// One object of a base's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BasePiece {
    pub(crate) last_record: u64,
    pub(crate) bytes: u64,
    pub(crate) checksum: u64,
}

impl BaseMark {
    /// Bytes of all its pieces.
    pub(crate) fn bytes(&self) -> u64 {
        self.pieces.iter().fold(0, |sum, piece| sum.saturating_add(piece.bytes))
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = frame::begin(BASE_MARK, &self.generation);
        for field in [self.from, self.to, self.time_ms, self.chain, self.rows, self.bytes_until] {
            out.extend(field.to_be_bytes());
        }
        // A piece is megabytes of rows: their number is far below 2^32.
        out.extend((self.pieces.len() as u32).to_be_bytes());
        for piece in &self.pieces {
            for field in [piece.last_record, piece.bytes, piece.checksum] {
                out.extend(field.to_be_bytes());
            }
        }
        frame::end(&mut out);
        out
    }

    /// Reads a mark; `VersionTooNew` or `Corrupt`.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let frame = frame::open(bytes, BASE_MARK)?;
        frame.whole(|reader| {
            let mut mark = BaseMark {
                generation: frame.generation,
                from: reader.u64()?,
                to: reader.u64()?,
                time_ms: reader.u64()?,
                chain: reader.u64()?,
                rows: reader.u64()?,
                bytes_until: reader.u64()?,
                pieces: Vec::new(),
            };
            for _ in 0..reader.u32()? {
                let (last_record, bytes, checksum) = (reader.u64()?, reader.u64()?, reader.u64()?);
                mark.pieces.push(BasePiece { last_record, bytes, checksum });
            }
            (mark.from <= mark.to).then_some(mark)
        })
    }
}

/// One generation of an archived job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Life {
    pub(crate) generation: [u8; 16],
    pub(crate) number: u64,
    pub(crate) attached_ms: u64,
    pub(crate) job: String,
}

impl Life {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = frame::begin(LIFE, &self.generation);
        out.extend(self.number.to_be_bytes());
        out.extend(self.attached_ms.to_be_bytes());
        // A job's id has at most 64 bytes, see `limits`.
        out.push(self.job.len() as u8);
        out.extend(self.job.as_bytes());
        frame::end(&mut out);
        out
    }

    /// Reads a life; `VersionTooNew` or `Corrupt`.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let frame = frame::open(bytes, LIFE)?;
        frame.whole(|reader| {
            let (number, attached_ms) = (reader.u64()?, reader.u64()?);
            let [len] = reader.array()?;
            let job = std::str::from_utf8(reader.take(usize::from(len))?).ok()?.to_owned();
            // No job is called nothing.
            (len > 0).then_some(Life { generation: frame.generation, number, attached_ms, job })
        })
    }
}
