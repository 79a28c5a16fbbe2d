//! How far a restore has come, as it is kept with the job that is being filled. Pure.
//!
//! ```text
//! offset  bytes  field
//!      0      1  1, the version of this
//!      1     16  generation of the archived job
//!     17      8  CRC-64 of the base's mark
//!     25      8  pieces of the base that have been written
//!     33      8  rows of them
//!     41      8  the last commit that has been written, or where the base begins
//!     49      8  its time, unix ms, or 0
//!     57      8  the chain there: that of the rows until all of them have been written
//!     65      8  no commit behind this seq has been written
//!     73      8  nor one that is later, unix ms
//! ```
//!
//! Where it has come to may be behind what has been written, never before it: an operation says what becomes of
//! a row whatever it was before, so what is written once more changes nothing. The last two fields say how much
//! further that can be, so that nobody goes on who wants to go less far.

use super::format::{BaseMark, Kind, chain_start, crc64};

const VERSION: u8 = 1;

/// How far a restore has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Come {
    pub(super) generation: [u8; 16],
    pub(super) base: u64,
    pub(super) pieces: u64,
    pub(super) rows: u64,
    pub(super) seq: u64,
    pub(super) time_ms: u64,
    pub(super) chain: u64,
    pub(super) last: u64,
    pub(super) until_ms: u64,
}

impl Come {
    /// The beginning of a restore from this base to that commit or time.
    pub(super) fn new(base: &BaseMark, last: u64, until_ms: u64) -> Self {
        let chain = match base.pieces.is_empty() {
            true => base.chain,
            false => chain_start(Kind::Rows, &base.generation, base.from),
        };
        let (generation, seq) = (base.generation, base.from);
        Come { generation, base: base_id(base), pieces: 0, rows: 0, seq, time_ms: 0, chain, last, until_ms }
    }

    /// Whether it has come from this base.
    pub(super) fn is_from(&self, base: &BaseMark) -> bool {
        self.generation == base.generation
            && self.base == base_id(base)
            && self.pieces <= base.pieces.len() as u64
            && self.seq >= base.from
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend(self.generation);
        let place = [self.base, self.pieces, self.rows, self.seq, self.time_ms, self.chain];
        for field in place.into_iter().chain([self.last, self.until_ms]) {
            out.extend(field.to_be_bytes());
        }
        out
    }

    /// `None` if it was kept by another version, or by an import, which does not go on.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (version, rest) = bytes.split_first()?;
        let (generation, rest) = rest.split_first_chunk()?;
        let (fields, rest) = rest.as_chunks::<8>();
        let [base, pieces, rows, seq, time_ms, chain, last, until_ms] = *fields else { return None };
        let number = u64::from_be_bytes;
        (*version == VERSION && rest.is_empty()).then(|| Come {
            generation: *generation,
            base: number(base),
            pieces: number(pieces),
            rows: number(rows),
            seq: number(seq),
            time_ms: number(time_ms),
            chain: number(chain),
            last: number(last),
            until_ms: number(until_ms),
        })
    }
}

fn base_id(base: &BaseMark) -> u64 {
    crc64(&[&base.encode()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::test;

    #[test]
    fn what_is_kept_is_read_again_and_nothing_else_is() {
        let (generation, until_ms) = ([7; 16], u64::MAX);
        let come =
            Come { generation, base: 1, pieces: 2, rows: 3, seq: 4, time_ms: 5, chain: 6, last: 7, until_ms };
        let bytes = come.encode();
        assert_eq!(Come::decode(&bytes), Some(come));
        assert_eq!(Come::decode(&[&bytes[..], &[0]].concat()), None);
        assert_eq!(Come::decode(&[&[2], &bytes[1..]].concat()), None);
        for length in 0..bytes.len() {
            assert_eq!(Come::decode(&bytes[..length]), None);
        }
    }
}
