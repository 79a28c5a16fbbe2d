//! Format 1 of an archive: the bytes of its objects and their names. Pure: never asks a store or a job.
//!
//! Every object is one frame; all numbers are big-endian:
//!
//! ```text
//! offset  bytes  field
//!      0      4  "PSTA"
//!      4      1  kind: 1 segment, 2 rows, 3 mark of a segment, 4 mark of a base, 5 life
//!      5      1  compression of what the kind says: 0 none, 1 LZ4; segments and rows alone have the latter
//!      6      2  format number, 1
//!      8     16  generation of the job
//!     24    ...  what the kind says
//!    end      8  CRC-64 (XZ) of everything before
//! ```
//!
//! With compression 1 what the kind says is written as the number of its bytes (4), at most 256 MiB, and
//! an LZ4 block of it. The offsets below are those before that.
//!
//! **Segment** (1): consecutive commits. **Rows** (2): a piece of a base snapshot, written as commits too
//! that only put; their seqs count its records from 1, time and writer are 0.
//!
//! ```text
//!     24      8  first seq
//!     32      8  last seq; there is at least one record
//!     40      8  time of the first commit, unix ms
//!     48      8  time of the last commit, unix ms
//!     56      8  chain before the first record
//!     64    ...  the records, each:
//!                  0      4  n, the number of bytes of its operations
//!                  4      8  seq, one more than that of the record before
//!                 12      8  time of the commit, unix ms, not before that of the record before
//!                 20     16  writer
//!                 36      n  the operations, as the pieces of a commit in the log (`commit_log`)
//!               36+n      8  chain: CRC-64 of the chain before and of everything of this record before
//!    end - 8      8  chain after the last record
//! ```
//!
//! The chain of a history begins as the CRC-64 of (generation, seq of the base it begins with), that of
//! rows as the CRC-64 of (generation, seq of the base, 1 in one byte). It depends on the commits alone,
//! never on where segments were cut.
//!
//! **Mark of a segment** (3): written after the segment, and what makes it part of the archive.
//!
//! ```text
//!     24     40  as of the segment: first and last seq, their times, chain before
//!     64      8  chain after
//!     72      8  bytes of the segment's object
//!     80      8  its last 8 bytes, the CRC-64
//!     88      8  bytes of the objects of all segments up to here: how long the chain is
//! ```
//!
//! **Mark of a base** (4): written after all its rows.
//!
//! ```text
//!     24      8  from: everything up to this seq is in the rows
//!     32      8  to: nothing after this seq is in them; with the commits after `from` up to `to` they
//!                are the job as it was at `to`
//!     40      8  time, unix ms: no commit up to `to` is later
//!     48      8  chain of the history at `from`, with which the segment after `from` begins
//!     56      8  how many rows there are
//!     64      8  bytes of the objects of all segments up to `from`
//!     72      4  number of pieces, each: last record (8), bytes (8), CRC-64 of the object (8)
//! ```
//!
//! **Life** (5): one generation of the archived job. The last one is the one that is shipped.
//!
//! ```text
//!     24      8  number, from 1
//!     32      8  when it was first attached, unix ms
//!     40      1  bytes of the job's id, then the id (UTF-8)
//! ```
//!
//! # Names
//!
//! `a` is the archive's name escaped as file names of jobs are, with `=` instead of `%`; `g` is the
//! generation in hexadecimal. A number is written with 20 digits, and where names are to come newest first
//! as 2^64 - 1 less the number; `crc` is the CRC-64 of the object, its last 8 bytes, as 16 hexadecimal digits:
//!
//! ```text
//! a/lives/<number, reversed>
//! a/g/segments/<first seq, reversed>              the mark: one writer alone can continue a history
//! a/g/bases/<from, reversed>                      the mark
//! a/g/data/<last, reversed>-<first>-<crc>         the segment
//! a/g/rows/<from, reversed>-<last record>-<crc>   a piece of a base
//! ```
//!
//! Of a life that is removed the bases go last, but for its own mark: as long as there is one, nobody takes it for a
//! life that has not begun.

mod frame;
mod marks;
mod names;
mod segment;
#[cfg(test)]
mod tests;

pub(crate) use frame::crc64;
pub(crate) use marks::{BaseMark, BasePiece, Life, SegmentMark};
pub(crate) use names::{ArchiveName, LifeNames, number_of};
pub(crate) use segment::{Builder, Kind, Sealed, Segment, chain_start, kind_of};
