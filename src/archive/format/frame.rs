//! Frames: what is the same in every object of an archive. Knows nothing of what they hold.

use crc::{CRC_64_XZ, Crc, Digest, Table};

use crate::error::{Error, ErrorKind, Result};

const MAGIC: [u8; 4] = *b"PSTA";
const FORMAT: u16 = 1;
const COMPRESSION_NONE: u8 = 0;
/// Bytes of the frame before what it holds.
pub(super) const HEAD_BYTES: usize = 24;
/// Bytes of the frame after what it holds.
pub(super) const TAIL_BYTES: usize = 8;

static CRC: Crc<u64, Table<16>> = Crc::<u64, Table<16>>::new(&CRC_64_XZ);

/// The CRC-64 of these bytes, one after another.
pub(super) fn crc64(pieces: &[&[u8]]) -> u64 {
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

/// Opens a frame: its generation, what it holds, and its CRC-64.
///
/// # Errors
///
/// `VersionTooNew` for another format or compression, `Corrupt` for everything else that is wrong.
pub(super) fn open(bytes: &[u8], kind: u8) -> Result<([u8; 16], Reader<'_>, u64)> {
    let mut reader = Reader(bytes);
    if reader.array() != Some(MAGIC) {
        return Err(corrupt("it is no object of an archive"));
    }
    let (Some([found, compression]), Some(format)) = (reader.array(), reader.array()) else {
        return Err(corrupt("it ends early"));
    };
    let format = u16::from_be_bytes(format);
    if format > FORMAT || compression != COMPRESSION_NONE {
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
    Ok((generation, reader, checksum))
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

    /// `read` of it, if that reads it to its end.
    pub(super) fn whole<T>(mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Result<T> {
        match read(&mut self) {
            Some(value) if self.left() == 0 => Ok(value),
            _ => Err(corrupt("what it holds is damaged")),
        }
    }
}
