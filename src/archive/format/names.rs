//! What objects are called in a store, so that an ascending listing gives the newest first.

use std::fmt::Write;

use crate::error::Result;
use crate::job_id::JobId;

use super::marks::{BasePiece, SegmentMark};

/// The name of an archive, as object names begin with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ArchiveName(String);

impl ArchiveName {
    /// Takes what a job's id may be; `InvalidArgument` or `TooLarge` for anything else.
    pub(crate) fn new(name: &str) -> Result<Self> {
        // Some stores escape `%` themselves; `=` is never part of an escaped id.
        Ok(ArchiveName(JobId::new(name)?.escaped().replace('%', "=")))
    }

    /// Before the reversed number of a life.
    pub(crate) fn lives(&self) -> String {
        format!("{}/lives/", self.0)
    }

    pub(crate) fn life(&self, number: u64) -> String {
        format!("{}{}", self.lives(), reversed(number))
    }

    pub(crate) fn of(&self, generation: &[u8; 16]) -> LifeNames {
        let mut prefix = format!("{}/", self.0);
        for byte in generation {
            // Writing into a string cannot fail.
            write!(prefix, "{byte:02x}").ok();
        }
        LifeNames { prefix }
    }
}

/// What the objects of one life are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LifeNames {
    prefix: String,
}

impl LifeNames {
    /// Before all names, without a slash at the end.
    pub(crate) fn life(&self) -> &str {
        &self.prefix
    }

    /// Before the reversed first seq of a segment.
    pub(crate) fn segments(&self) -> String {
        format!("{}/segments/", self.prefix)
    }

    /// The mark of the segment that begins with `first`.
    pub(crate) fn segment(&self, first: u64) -> String {
        format!("{}{}", self.segments(), reversed(first))
    }

    /// Before the reversed seq of a base.
    pub(crate) fn bases(&self) -> String {
        format!("{}/bases/", self.prefix)
    }

    /// The mark of the base at `from`.
    pub(crate) fn base(&self, from: u64) -> String {
        format!("{}{}", self.bases(), reversed(from))
    }

    /// Before what names segments.
    pub(crate) fn all_data(&self) -> String {
        format!("{}/data/", self.prefix)
    }

    /// From here on the names of segments that end with `last` or before.
    pub(crate) fn data_up_to(&self, last: u64) -> String {
        format!("{}{}", self.all_data(), reversed(last))
    }

    /// The segment's own object.
    pub(crate) fn data(&self, mark: &SegmentMark) -> String {
        let (last, first) = (reversed(mark.last_seq), mark.first_seq);
        format!("{}{last}-{first:020}-{:016x}", self.all_data(), mark.checksum)
    }

    /// Before what names pieces of bases.
    pub(crate) fn all_rows(&self) -> String {
        format!("{}/rows/", self.prefix)
    }

    /// From here on the names of rows of bases at `from` or before.
    pub(crate) fn rows_up_to(&self, from: u64) -> String {
        format!("{}{}", self.all_rows(), reversed(from))
    }

    /// A piece of the rows of the base at `from`.
    pub(crate) fn rows(&self, from: u64, piece: &BasePiece) -> String {
        let (from, last) = (reversed(from), piece.last_record);
        format!("{}{from}-{last:020}-{:016x}", self.all_rows(), piece.checksum)
    }
}

/// The number that ends a name of a mark.
pub(crate) fn number_of(name: &str) -> Option<u64> {
    let digits = name.rsplit('/').next()?;
    let all_digits = digits.len() == 20 && digits.bytes().all(|digit| digit.is_ascii_digit());
    all_digits.then_some(())?;
    Some(u64::MAX - digits.parse::<u64>().ok()?)
}

fn reversed(number: u64) -> String {
    format!("{:020}", u64::MAX - number)
}
