//! Takes a base snapshot of a job that goes on being written, piece by piece. Never stops a write.
//!
//! The pages of a scan are views of different moments, so the rows alone are the job at no moment. But an
//! operation says what becomes of a row whatever it was before, so the commits made meanwhile, applied to
//! them in order, give the job as it was when the last page was read.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::batch::Op;
use crate::commit_log::Commit;
use crate::error::{Error, ErrorKind, Result};
use crate::job::Job;
use crate::scan::{Pages, Row};

use super::catalog;
use super::format::{BaseMark, BasePiece, Builder, Kind, LifeNames, Sealed, Segment, chain_start};
use super::options::ArchiveOptions;
use super::settled::{durable, durable_record};
use super::store::{Store, put_settled};

/// Bytes of one piece of rows, one page excepted, if segments are not smaller.
const PIECE_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// A base that is being taken.
pub(super) struct Taking {
    generation: [u8; 16],
    from: u64,
    /// The chain of the history at `from`; none if a new history begins there.
    chain: Option<u64>,
    /// Bytes of the segments up to there.
    bytes_until: u64,
    /// Whether it is known that there were no rows at `from`, which then is 0.
    is_empty: bool,
    scanned: Scanned,
    records: u64,
    builder: Builder,
    /// Read, and not put yet.
    sealed: Option<Sealed>,
    pieces: Vec<BasePiece>,
    rows: u64,
    rows_sealed: u64,
}

/// How far the rows have been read.
enum Scanned {
    Nothing,
    Up { to: (Arc<str>, Pages), waiting: VecDeque<String> },
    All,
}

/// Whether it is certain that the job had no rows before its first commit, if that is what comes after `from`.
///
/// A job that was migrated from the older library has rows that no commit has put.
pub(super) async fn begins_empty(job: &Job, from: u64) -> Result<bool> {
    // In this order: where nothing has been committed by now, nothing had been when the rows were looked for.
    Ok(from == 0 && job.categories().await?.is_empty() && job.position().await?.seq == 0)
}

impl Taking {
    /// Begins at `from`, with the chain and the bytes of segments there; it is empty if [`begins_empty`] says so, whatever has been committed by now.
    pub(super) fn new(
        generation: [u8; 16],
        (from, chain, bytes_until): (u64, Option<u64>, u64),
        is_empty: bool,
    ) -> Self {
        let builder = Builder::new(Kind::Rows, generation, chain_start(Kind::Rows, &generation, from));
        let scanned = if is_empty { Scanned::All } else { Scanned::Nothing };
        Taking {
            generation,
            from,
            chain,
            bytes_until,
            is_empty,
            scanned,
            records: 0,
            builder,
            sealed: None,
            pieces: Vec::new(),
            rows: 0,
            rows_sealed: 0,
        }
    }

    /// Whether a new history begins with it.
    pub(super) fn is_gap(&self) -> bool {
        self.chain.is_none()
    }

    /// Puts the next piece; returns the mark when that has been put.
    pub(super) async fn step(
        &mut self,
        job: &Job,
        store: &dyn Store,
        names: &LifeNames,
        options: &ArchiveOptions,
    ) -> Result<Option<BaseMark>> {
        if self.sealed.is_none() {
            if let Err(error) = self.read(job, options.cut.bytes.min(PIECE_BYTES_MAX)).await {
                // A scan does not go on after an error.
                let at = (self.from, self.chain, self.bytes_until);
                *self = Taking::new(self.generation, at, self.is_empty);
                return Err(error);
            }
            self.sealed = self.builder.seal();
            self.rows_sealed = self.rows;
        }
        let Some(sealed) = &self.sealed else { return self.finish(job, store, names).await.map(Some) };
        // What the pages showed must not be lost any more before it leaves.
        durable(job).await?;
        let (last_record, bytes) = (sealed.mark.last_seq, sealed.mark.bytes);
        let piece = BasePiece { last_record, bytes, checksum: sealed.mark.checksum };
        let name = names.rows(self.from, &piece);
        let whole = |bytes: &[u8]| Segment::decode(Kind::Rows, bytes).map(drop);
        if put_settled(store, &name, &sealed.bytes, whole).await?.is_some() {
            return Err(Error::new(ErrorKind::Corrupt, format!("{name}: it is another piece")));
        }
        self.pieces.push(piece);
        self.sealed = None;
        Ok(None)
    }

    /// Reads pages until a piece is full or nothing is left.
    async fn read(&mut self, job: &Job, bytes_max: u64) -> Result<()> {
        while (self.builder.bytes() as u64) < bytes_max {
            match &mut self.scanned {
                Scanned::All => return Ok(()),
                // Categories that come later are in the commits behind `from`.
                Scanned::Nothing => self.scanned = next(job, job.categories().await?.into()),
                Scanned::Up { to: (category, pages), waiting } => match pages.next().await {
                    Some(rows) => {
                        let (rows, category) = (rows?, Arc::clone(category));
                        self.take(&category, rows);
                    }
                    None => self.scanned = next(job, std::mem::take(waiting)),
                },
            }
        }
        Ok(())
    }

    fn take(&mut self, category: &Arc<str>, rows: Vec<Row>) {
        self.records += 1;
        self.rows += rows.len() as u64;
        let put = |row: Row| Op::Put { category: Arc::clone(category), key: row.key, payload: row.payload };
        let operations: Arc<[Op]> = rows.into_iter().map(put).collect();
        self.builder.push(&Commit { seq: self.records, time_ms: 0, writer: [0; 16], operations });
    }

    async fn finish(&self, job: &Job, store: &dyn Store, names: &LifeNames) -> Result<BaseMark> {
        let record = durable_record(job).await?;
        let (to, time_ms) = match self.is_empty || record.committed_seq == 0 {
            true => (0, record.created_ms),
            false => (record.committed_seq, record.last_commit_ms),
        };
        let chain = self.chain.unwrap_or_else(|| chain_start(Kind::History, &self.generation, self.from));
        let mark = BaseMark {
            generation: self.generation,
            from: self.from,
            to,
            time_ms,
            chain,
            rows: self.rows,
            bytes_until: self.bytes_until,
            pieces: self.pieces.clone(),
        };
        catalog::remove_torn_bases(store, names).await?;
        let name = names.base(self.from);
        let whole = |bytes: &[u8]| BaseMark::decode(bytes).map(drop);
        match put_settled(store, &name, &mark.encode(), whole).await? {
            None => Ok(mark),
            // One that was taken before here is as good, and its rows are there.
            Some(other) => {
                let other = BaseMark::decode(&other)?;
                match other.generation == self.generation && other.chain == chain {
                    true => Ok(other),
                    false => {
                        Err(Error::new(ErrorKind::Conflict, format!("{name}: another history is there")))
                    }
                }
            }
        }
    }
}

/// Goes on with the next category.
fn next(job: &Job, mut waiting: VecDeque<String>) -> Scanned {
    match waiting.pop_front() {
        Some(category) => {
            let pages = job.scan(&category, ..).stream();
            Scanned::Up { to: (category.into(), pages), waiting }
        }
        None => Scanned::All,
    }
}
