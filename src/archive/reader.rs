//! Reading an archive: what is there, each piece of it, and whether it is whole. Changes nothing.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use futures_core::Stream;

use crate::commit_log::Commit;
use crate::error::{Error, ErrorKind, Quoted, Result};

use super::catalog;
use super::format::{ArchiveName, BaseMark, Kind, LifeNames, Segment, SegmentMark, chain_start, number_of};
use super::store::{LIST_MAX, Store, get_whole};

/// One segment of an archive: commits that follow one another.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SegmentInfo {
    /// Its first commit.
    pub first_seq: u64,
    /// Its last commit.
    pub last_seq: u64,
    /// When the first one was committed, in ms since the Unix epoch.
    pub first_ms: u64,
    /// When the last one was committed.
    pub last_ms: u64,
    /// Bytes of its object.
    pub bytes: u64,
    mark: SegmentMark,
}

impl SegmentInfo {
    pub(super) fn chain_after(&self) -> u64 {
        self.mark.chain_after
    }
}

impl From<SegmentMark> for SegmentInfo {
    fn from(mark: SegmentMark) -> Self {
        let SegmentMark { first_seq, last_seq, first_ms, last_ms, bytes, .. } = mark;
        SegmentInfo { first_seq, last_seq, first_ms, last_ms, bytes, mark }
    }
}

/// What [`ArchiveReader::verify`] has read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verified {
    /// Base snapshots.
    pub bases: u64,
    /// Rows in them.
    pub rows: u64,
    /// Segments.
    pub segments: u64,
    /// Commits in them.
    pub commits: u64,
    /// Bytes of all objects that hold rows or commits.
    pub bytes: u64,
    /// The seqs that the archive can restore, each range from its first to its last.
    pub restorable: Vec<(u64, u64)>,
}

/// An archive as it lies in a store, for reading; whether somebody ships meanwhile does not matter.
#[derive(Clone)]
pub struct ArchiveReader {
    store: Arc<dyn Store>,
    archive: ArchiveName,
    names: LifeNames,
    generation: [u8; 16],
}

impl ArchiveReader {
    /// Opens the archive of this name, in the last life of its job.
    ///
    /// # Errors
    ///
    /// `JobNotFound` if there is none; `InvalidArgument` or `TooLarge` for a bad name; `Corrupt`,
    /// `VersionTooNew`; and what the store answers.
    pub async fn open(store: Arc<dyn Store>, name: &str) -> Result<Self> {
        let archive = ArchiveName::new(name)?;
        let none = || Error::new(ErrorKind::JobNotFound, format!("there is no archive {}", Quoted(name)));
        let life = catalog::newest_life(&*store, &archive, false).await?.ok_or_else(none)?;
        Ok(Self::of_life(store, archive, life.generation))
    }

    /// Opens the archive of an earlier life of its job, whose generation is known.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` or `TooLarge` for a bad name.
    pub fn open_generation(store: Arc<dyn Store>, name: &str, generation: [u8; 16]) -> Result<Self> {
        Ok(Self::of_life(store, ArchiveName::new(name)?, generation))
    }

    /// Opens the archive in the life that its job had at a time, in ms since the Unix epoch: the last one that had
    /// been attached by then.
    ///
    /// # Errors
    ///
    /// As [`open`](ArchiveReader::open); `JobNotFound` also if nothing is kept of that time.
    pub async fn open_at(store: Arc<dyn Store>, name: &str, unix_ms: u64) -> Result<Self> {
        let archive = ArchiveName::new(name)?;
        let none = || {
            let message = format!("there is no archive {} of that time", Quoted(name));
            Error::new(ErrorKind::JobNotFound, message)
        };
        let life = catalog::life_at(&*store, &archive, unix_ms).await?.ok_or_else(none)?;
        Ok(Self::of_life(store, archive, life.generation))
    }

    pub(super) fn of_life(store: Arc<dyn Store>, archive: ArchiveName, generation: [u8; 16]) -> Self {
        ArchiveReader { store, names: archive.of(&generation), archive, generation }
    }

    /// The life of the job whose archive this is.
    pub fn generation(&self) -> [u8; 16] {
        self.generation
    }

    /// The last seq that can be restored; `None` if none can.
    ///
    /// # Errors
    ///
    /// `Corrupt`, `VersionTooNew`, and what the store answers.
    pub async fn archived_seq(&self) -> Result<Option<u64>> {
        self.restorable(&self.bases().await?).await
    }

    /// The segments up to the one that holds `until`, newest first.
    pub fn list_segments(&self, until: u64) -> SegmentList {
        SegmentList {
            from: self.names.segment(until),
            reader: self.clone(),
            waiting: VecDeque::new(),
            ended: false,
        }
    }

    /// The segment that holds the commit `seq`; `None` if none does.
    ///
    /// # Errors
    ///
    /// `Corrupt`, `VersionTooNew`, and what the store answers.
    pub async fn find_segment(&self, seq: u64) -> Result<Option<SegmentInfo>> {
        let mark = catalog::segment_before(&*self.store, &self.names, &self.generation, seq).await?;
        Ok(mark.filter(|mark| mark.last_seq >= seq).map(SegmentInfo::from))
    }

    /// The commits of a segment, every checksum of which has been found right.
    ///
    /// # Errors
    ///
    /// `Corrupt`, naming the object, if it is missing or damaged; `VersionTooNew`, and what the store
    /// answers.
    pub async fn fetch(&self, segment: &SegmentInfo) -> Result<Vec<Commit>> {
        let name = self.names.data(&segment.mark);
        let bytes = get_whole(&*self.store, &name).await?;
        let read = Segment::decode(Kind::History, &bytes).map_err(|error| error.in_context(&name))?;
        match (SegmentMark { bytes_until: segment.mark.bytes_until, ..read.mark }) == segment.mark {
            true => Ok(read.commits),
            false => Err(Error::new(ErrorKind::Corrupt, format!("{name}: it is another segment"))),
        }
    }

    /// Reads everything, and checks every checksum and the chain, without restoring.
    ///
    /// # Errors
    ///
    /// `Corrupt`, naming the first object that is missing, damaged or out of its chain; `VersionTooNew`,
    /// and what the store answers.
    pub async fn verify(&self) -> Result<Verified> {
        let mut verified = Verified::default();
        let mut bases = self.bases().await?;
        bases.reverse();
        for base in &bases {
            let mut rows = self.rows(base.clone());
            let mut rows_of_it = 0;
            while let Some(piece) = rows.next(self).await? {
                rows_of_it += piece.iter().map(|commit| commit.operations.len() as u64).sum::<u64>();
            }
            if rows_of_it != base.rows {
                let message = format!("{}: it has {rows_of_it} rows", self.names.base(base.from));
                return Err(Error::new(ErrorKind::Corrupt, message));
            }
            verified.rows += rows_of_it;
            verified.bases += 1;
            // Each as long as what was read.
            verified.bytes += base.pieces.iter().map(|piece| piece.bytes).sum::<u64>();
        }
        let end = self.end(&bases).await?.unwrap_or(0);
        let mut at: Option<(u64, u64)> = None;
        for base in &bases {
            // A base within a history goes on with its chain; another one begins a new history.
            match at {
                Some((seq, chain)) if seq == base.from && chain == base.chain => {}
                Some((seq, _)) if seq > base.from => continue,
                _ => at = Some((base.from, base.chain)),
            }
            let Some((mut seq, mut chain)) = at else { continue };
            while let Some(info) = self.following(seq, chain, end).await? {
                verified.commits += self.fetch(&info).await?.len() as u64;
                verified.segments += 1;
                verified.bytes += info.bytes;
                (seq, chain) = (info.last_seq, info.chain_after());
                if bases.iter().any(|other| other.from == seq && other.chain != chain) {
                    let message = format!("{}: it is of another history", self.names.base(seq));
                    return Err(Error::new(ErrorKind::Corrupt, message));
                }
            }
            at = Some((seq, chain));
            let is_told = verified.restorable.last().is_some_and(|(_, last)| *last == seq);
            if base.to <= seq && !is_told {
                verified.restorable.push((base.to, seq));
            }
        }
        Ok(verified)
    }

    pub(super) fn store(&self) -> &dyn Store {
        &*self.store
    }

    pub(super) fn archive(&self) -> &ArchiveName {
        &self.archive
    }

    pub(super) fn names(&self) -> &LifeNames {
        &self.names
    }

    pub(super) async fn bases(&self) -> Result<Vec<BaseMark>> {
        catalog::bases(&*self.store, &self.names, &self.generation).await
    }

    /// The last seq that is in the store.
    pub(super) async fn end(&self, bases: &[BaseMark]) -> Result<Option<u64>> {
        let newest = catalog::segment_before(&*self.store, &self.names, &self.generation, u64::MAX).await?;
        let base = bases.iter().map(|base| base.from).max();
        Ok(base.max(newest.map(|mark| mark.last_seq)))
    }

    /// The last seq that can be restored with these bases, newest first.
    pub(super) async fn restorable(&self, bases: &[BaseMark]) -> Result<Option<u64>> {
        let mut end = self.end(bases).await?;
        let mut rest = bases;
        loop {
            let history = catalog::last_history(rest);
            let (Some(seq), Some(first)) = (end, history.last()) else { return Ok(None) };
            if history.iter().any(|base| base.to <= seq) {
                return Ok(Some(seq));
            }
            // Of what begins behind a gap the commits are missing that were made while its base was taken.
            rest = &rest[history.len()..];
            let (store, from) = (&*self.store, first.from);
            let before = catalog::segment_before(store, &self.names, &self.generation, from).await?;
            let base = rest.first().map(|base| base.from);
            end = base.max(before.map(|mark| mark.last_seq));
        }
    }

    /// The segment that goes on behind `seq` with this chain.
    ///
    /// `None` if a new history begins behind `seq`, or `end` is reached; `Corrupt` if it should be there.
    pub(super) async fn following(&self, seq: u64, chain: u64, end: u64) -> Result<Option<SegmentInfo>> {
        if seq >= end {
            return Ok(None);
        }
        let name = self.names.segment(seq + 1);
        match catalog::segment_at(&*self.store, &self.names, &self.generation, seq + 1).await? {
            Some(mark) if mark.chain_before == chain => Ok(Some(mark.into())),
            Some(_) => {
                let message = format!("{name}: it does not go on with what is before it");
                Err(Error::new(ErrorKind::Corrupt, message))
            }
            // After a gap that the job's own log had, a base begins a new history.
            None if self.next_base(seq).await?.is_some_and(|base| catalog::begins_history(&base)) => Ok(None),
            None => {
                let message = format!("{name}: the segment that begins with seq {} is missing", seq + 1);
                Err(Error::new(ErrorKind::Corrupt, message))
            }
        }
    }

    /// The first base behind `seq`.
    async fn next_base(&self, seq: u64) -> Result<Option<BaseMark>> {
        Ok(self.bases().await?.into_iter().rfind(|base| base.from > seq))
    }

    pub(super) fn rows(&self, base: BaseMark) -> RowsReader {
        let chain = chain_start(Kind::Rows, &base.generation, base.from);
        self.rows_behind(base, 0, chain)
    }

    /// The rows behind so many pieces, with the chain there.
    pub(super) fn rows_behind(&self, base: BaseMark, piece: usize, chain: u64) -> RowsReader {
        RowsReader { base, piece, chain }
    }
}

/// The rows of a base, piece by piece.
pub(super) struct RowsReader {
    base: BaseMark,
    piece: usize,
    chain: u64,
}

impl RowsReader {
    /// The pieces that have been read, and the chain behind them.
    pub(super) fn come(&self) -> (usize, u64) {
        (self.piece, self.chain)
    }

    /// The next piece's rows, as commits that put them.
    pub(super) async fn next(&mut self, reader: &ArchiveReader) -> Result<Option<Vec<Commit>>> {
        let Some(piece) = self.base.pieces.get(self.piece) else { return Ok(None) };
        let name = reader.names.rows(self.base.from, piece);
        let bytes = get_whole(&*reader.store, &name).await?;
        let read = Segment::decode(Kind::Rows, &bytes).map_err(|error| error.in_context(&name))?;
        let mark = read.mark;
        let is_it = mark.generation == self.base.generation
            && mark.chain_before == self.chain
            && (mark.last_seq, mark.bytes, mark.checksum) == (piece.last_record, piece.bytes, piece.checksum);
        if !is_it {
            return Err(Error::new(ErrorKind::Corrupt, format!("{name}: it is another piece")));
        }
        self.chain = mark.chain_after;
        self.piece += 1;
        Ok(Some(read.commits))
    }
}

/// Segments of an archive, newest first, see [`ArchiveReader::list_segments`].
pub struct SegmentList {
    reader: ArchiveReader,
    from: String,
    waiting: VecDeque<String>,
    ended: bool,
}

impl SegmentList {
    /// The next older segment; `None` after the oldest, and after an error.
    ///
    /// # Errors
    ///
    /// `Corrupt`, naming the object; `VersionTooNew`, and what the store answers.
    pub async fn next(&mut self) -> Option<Result<SegmentInfo>> {
        loop {
            if let Some(name) = self.waiting.front() {
                let found = self.mark(name).await;
                self.ended |= found.is_err();
                self.waiting.pop_front();
                match found {
                    // Pruned since it was listed.
                    Ok(None) => continue,
                    Ok(Some(mark)) => return Some(Ok(mark.into())),
                    Err(error) => {
                        self.waiting.clear();
                        return Some(Err(error));
                    }
                }
            }
            if self.ended {
                return None;
            }
            let reader = &self.reader;
            match reader.store.list(&reader.names.segments(), &self.from, LIST_MAX).await {
                Ok(names) => {
                    self.ended = names.len() < LIST_MAX;
                    // The name behind the last one.
                    self.from = names.last().map(|last| format!("{last}0")).unwrap_or_default();
                    self.waiting = names.into();
                }
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            }
        }
    }

    async fn mark(&self, name: &str) -> Result<Option<SegmentMark>> {
        let foreign = || Error::new(ErrorKind::Corrupt, format!("{name}: no segment is called so"));
        let first = number_of(name).ok_or_else(foreign)?;
        let reader = &self.reader;
        catalog::segment_at(&*reader.store, &reader.names, &reader.generation, first).await
    }

    /// The segments as a [`Stream`](futures_core::Stream).
    pub fn into_stream(self) -> impl Stream<Item = Result<SegmentInfo>> + Send + use<> {
        futures_util::stream::unfold(self, |mut list| async move {
            let segment = list.next().await?;
            Some((segment, list))
        })
    }
}

impl fmt::Debug for ArchiveReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArchiveReader").field("names", &self.names).finish_non_exhaustive()
    }
}

impl fmt::Debug for SegmentList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SegmentList").field("reader", &self.reader).finish_non_exhaustive()
    }
}
