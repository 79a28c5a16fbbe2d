//! Frames: what is the same in every object of an archive. Knows nothing of what they hold.

use std::borrow::Cow;

use crc::{CRC_64_XZ, Crc, Digest, Table};

use crate::error::{Error, ErrorKind, Result};

const MAGIC: [u8; 4] = *b"PSTA";
const FORMAT: u16 = 1;
const COMPRESSION_NONE: u8 = 0;
const COMPRESSION_LZ4: u8 = 1;
/// Offset of the compression in the frame.
const COMPRESSION_AT: usize = 5;
/// Bytes of the number before an LZ4 block.
const LENGTH_BYTES: usize = 4;
/// What is compressed holds at most so many bytes, far above what a segment with the largest batch has:
/// nobody who reads needs more memory than that, whatever somebody else has written.
const COMPRESSED_HOLDS_MAX: usize = 256 * 1024 * 1024;
/// An LZ4 block holds at most so many times its own bytes.
const LZ4_RATIO_MAX: usize = 255;
/// It is compressed if that takes off one part of so many.
const COMPRESSION_GAIN: usize = 16;
/// Bytes of the frame before what it holds.
pub(super) const HEAD_BYTES: usize = 24;
/// Bytes of the frame after what it holds.
pub(super) const TAIL_BYTES: usize = 8;

static CRC: Crc<u64, Table<16>> = Crc::<u64, Table<16>>::new(&CRC_64_XZ);

/// The CRC-64 of these bytes, one after another.
pub(crate) fn crc64(pieces: &[&[u8]]) -> u64 {
    let mut digest: Digest<'_, u64, Table<16>> = CRC.digest();
    pieces.iter().for_each(|piece| digest.update(piece));
    digest.finalize()
}

/// Begins a frame.
pub(super) fn begin(kind: u8, generation: &[u8; 16]) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend([kind, COMPRESSION_NONE]);
    out.extend(FORMAT.to_be_bytes());
    out.extend(generation);
    out
}

/// Ends a frame, compressed if that pays, and returns it with its CRC-64.
pub(super) fn end_compressed(mut out: Vec<u8>) -> (Vec<u8>, u64) {
    let held = &out[HEAD_BYTES..];
    if held.len() <= COMPRESSED_HOLDS_MAX {
        let block = lz4_flex::block::compress(held);
        if LENGTH_BYTES + block.len() <= held.len() - held.len() / COMPRESSION_GAIN {
            // Far below 4 GiB, as just checked.
            let length = held.len() as u32;
            out.truncate(HEAD_BYTES);
            out[COMPRESSION_AT] = COMPRESSION_LZ4;
            out.extend(length.to_be_bytes());
            out.extend(block);
            out.shrink_to_fit();
        }
    }
    let checksum = end(&mut out);
    (out, checksum)
}

/// Ends a frame, and returns its CRC-64.
pub(super) fn end(out: &mut Vec<u8>) -> u64 {
    let checksum = crc64(&[out]);
    out.extend(checksum.to_be_bytes());
    checksum
}

/// The number of the kind that the object says it is.
pub(super) fn kind_number(bytes: &[u8]) -> Option<u8> {
    bytes.get(MAGIC.len()).copied()
}

/// An object whose checksum is right.
pub(super) struct Frame<'a> {
    pub(super) generation: [u8; 16],
    /// The CRC-64 with which it ends.
    pub(super) checksum: u64,
    held: Cow<'a, [u8]>,
}

impl Frame<'_> {
    /// `read` of what it holds, if that reads it to its end.
    pub(super) fn whole<T>(&self, read: impl FnOnce(&mut Reader<'_>) -> Option<T>) -> Result<T> {
        let mut reader = Reader(&self.held);
        match read(&mut reader) {
            Some(value) if reader.left() == 0 => Ok(value),
            _ => Err(corrupt("what it holds is damaged")),
        }
    }
}

/// Opens a frame.
///
/// # Errors
///
/// `VersionTooNew` for another format or compression, `Corrupt` for everything else that is wrong.
pub(super) fn open(bytes: &[u8], kind: u8) -> Result<Frame<'_>> {
    let mut reader = Reader(bytes);
    if reader.array() != Some(MAGIC) {
        return Err(corrupt("it is no object of an archive"));
    }
    let (Some([found, compression]), Some(format)) = (reader.array(), reader.array()) else {
        return Err(corrupt("it ends early"));
    };
    let format = u16::from_be_bytes(format);
    if format > FORMAT || compression > COMPRESSION_LZ4 {
        let message = format!("format {format}, compression {compression}: written by a newer version");
        return Err(Error::new(ErrorKind::VersionTooNew, message));
    }
    let held = bytes.len().checked_sub(TAIL_BYTES).filter(|held| *held >= HEAD_BYTES);
    let (framed, tail) = bytes.split_at(held.ok_or_else(|| corrupt("it ends early"))?);
    let checksum = crc64(&[framed]);
    if tail != checksum.to_be_bytes() {
        return Err(corrupt("its checksum is wrong"));
    }
    if found != kind || format != FORMAT {
        return Err(corrupt("it is of another kind"));
    }
    let mut reader = Reader(&framed[8..]);
    let generation = reader.array().ok_or_else(|| corrupt("it ends early"))?;
    let held = match compression {
        COMPRESSION_NONE => Cow::Borrowed(reader.0),
        _ => Cow::Owned(decompressed(reader)?),
    };
    Ok(Frame { generation, checksum, held })
}

/// What an LZ4 block with its length before it holds.
fn decompressed(mut block: Reader<'_>) -> Result<Vec<u8>> {
    let length = block.u32().and_then(|length| usize::try_from(length).ok());
    let possible = block.0.len().saturating_mul(LZ4_RATIO_MAX).min(COMPRESSED_HOLDS_MAX);
    // Before anything of that length is made room for.
    let length = length.filter(|length| *length <= possible);
    let length = length.ok_or_else(|| corrupt("it holds more than it can"))?;
    let held = lz4_flex::block::decompress(block.0, length);
    let held = held.ok().filter(|held| held.len() == length);
    held.ok_or_else(|| corrupt("what it holds cannot be decompressed"))
}

pub(super) fn corrupt(what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, what)
}

/// Reads from the front; every answer is `None` where too little is left.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(head)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.first_chunk().copied()
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    pub(super) fn left(&self) -> usize {
        self.0.len()
    }
}
