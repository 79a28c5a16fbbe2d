//! Looks for damage: every row's key and value as the format says, every long payload with exactly
//! its pieces, no piece without its row.
//!
//! Never repairs, never names a key, and holds a slice of rows and a slice of pieces at a time; each
//! slice of rows and its pieces are one view.

use super::layout::{Store, chunk_count, chunk_len};
use super::points::{
    CHUNKS_PER_REQUEST, Stored, ask_chunks_note, chunk_key, chunks_before, chunks_of_rows, piece_len,
    split_chunk_key,
};
use super::request::{Tx, elements, key_to_bytes, range_of};
use crate::engine::EngineError;
use crate::engine::row_key::{Bounds, split_row_key};

/// Rows that are looked at in one view.
const ROWS_PER_VIEW: usize = 256;
/// Findings that are told; beyond it the looking ends.
pub(super) const FINDINGS_MAX: usize = 100;

/// Where the looking stands, between two views.
#[derive(Default)]
pub(super) struct Progress {
    /// The first key that has not been looked at.
    from: Vec<u8>,
    pub(super) findings: Vec<String>,
    pub(super) finished: bool,
    note_checked: bool,
}

/// A long payload whose pieces are being counted.
struct Long {
    row: Vec<u8>,
    bytes: usize,
    pieces: usize,
}

/// Looks at the next slice of rows and at all pieces up to its end.
pub(super) async fn check_view(tx: Tx, mut progress: Progress) -> Result<Progress, EngineError> {
    let rows = tx.store(Store::Rows)?;
    let range = Bounds { lower: progress.from.clone(), upper: None }.range()?;
    let limit = ROWS_PER_VIEW as u32;
    let (keys, values) = (rows.get_all_keys(&range, limit, false)?, rows.get_all(&range, limit, false)?);
    let (keys, values) = (elements(keys.await?)?, elements(values.await?)?);
    let mut long = Vec::new();
    let mut next = None;
    for (key, value) in keys.iter().zip(values.iter()) {
        let row = key_to_bytes(&key)?;
        if split_row_key(&row).is_none() {
            progress.find("a row's key begins with no category");
        }
        match Stored::from_value(&value) {
            Ok(Some(Stored::Long(bytes))) => long.push(Long { row: row.clone(), bytes, pieces: 0 }),
            Ok(_) => {}
            Err(error) => progress.find(&error.message),
        }
        next = Some([&row[..], &[0]].concat());
    }
    progress.finished = (keys.length() as usize) < ROWS_PER_VIEW;
    let to = if progress.finished { None } else { next };
    check_pieces(&tx, &mut progress, &mut long, to.as_deref()).await?;
    for Long { bytes, pieces, .. } in long {
        let expected = chunk_count(bytes);
        if pieces != expected {
            progress.find(&format!("a payload of {bytes} bytes has {pieces} of its {expected} pieces"));
        }
    }
    progress.finished |= progress.findings.len() >= FINDINGS_MAX;
    progress.from = to.unwrap_or_default();
    Ok(progress)
}

async fn check_pieces(
    tx: &Tx,
    progress: &mut Progress,
    long: &mut [Long],
    to: Option<&[u8]>,
) -> Result<(), EngineError> {
    let chunks = tx.store(Store::Chunks)?;
    let mut range = chunks_of_rows(&progress.from, to)?;
    let upper = to.map(chunks_before);
    loop {
        let limit = CHUNKS_PER_REQUEST as u32;
        let (keys, values) =
            (chunks.get_all_keys(&range, limit, false)?, chunks.get_all(&range, limit, false)?);
        let (keys, values) = (elements(keys.await?)?, elements(values.await?)?);
        for (key, value) in keys.iter().zip(values.iter()) {
            let (row, index) = split_chunk_key(&key)?;
            match long.binary_search_by(|long| long.row.cmp(&row)) {
                Ok(at) if piece_len(&value) == Some(chunk_len(long[at].bytes, index)) => long[at].pieces += 1,
                Ok(_) => progress.find("a piece of a payload has a wrong length"),
                Err(_) => progress.find("a piece of a payload has no row"),
            }
        }
        let pieces = keys.length();
        if pieces == 0 {
            return Ok(());
        }
        if !std::mem::replace(&mut progress.note_checked, true) && ask_chunks_note(tx)?.await?.is_undefined()
        {
            progress.find("there are pieces of payloads, but not the note that says so");
        }
        if (pieces as usize) < CHUNKS_PER_REQUEST || progress.findings.len() >= FINDINGS_MAX {
            return Ok(());
        }
        // Smaller than `[to]`, whatever its index: the row's key is.
        let (row, index) = split_chunk_key(&keys.get(pieces - 1))?;
        range = range_of(&chunk_key(&row, index + 1), upper.as_ref())?;
    }
}

impl Progress {
    fn find(&mut self, finding: &str) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding.to_owned());
        }
    }
}
