//! Restoring: a new job with the rows that an archived one had at some moment.
//!
//! Never writes into a job that exists, and never leaves one behind that is not whole.

use std::sync::Arc;

use crate::batch::Batch;
use crate::commit_log::Commit;
use crate::error::{Error, ErrorKind, Quoted, Result};
use crate::job::Job;
use crate::persistency::{Filling, Persistency};

use super::format::BaseMark;
use super::reader::ArchiveReader;
use super::resume::Come;
use super::store::Store;

/// Bytes of operations that are written as one batch, one commit excepted.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// Operations that are written as one batch, one commit excepted.
const BATCH_OPERATIONS: usize = 16 * 1024;

/// The moment whose rows are restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RestoreTo {
    /// The last one that is archived.
    Latest,
    /// After the commit of this seq.
    Seq(u64),
    /// After the last commit up to this time, in ms since the Unix epoch.
    Time(u64),
}

/// How far a restore has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RestoreProgress {
    /// Rows of the base that have been written.
    pub rows: u64,
    /// All rows of the base.
    pub rows_of: u64,
    /// The last commit that has been written; it ends with that which is restored.
    pub seq: u64,
}

/// What was restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Restored {
    /// The life of the archived job; the new job has another one.
    pub generation: [u8; 16],
    /// The archived job's commit that the rows are of; the new job counts its own.
    pub seq: u64,
}

/// Restores the last life of an archive as the job `id` of `root`; see [`ArchiveReader::restore`].
///
/// # Errors
///
/// As [`ArchiveReader::open`] and [`ArchiveReader::restore`].
pub async fn restore(
    store: Arc<dyn Store>,
    name: &str,
    root: &Persistency,
    id: &str,
    to: RestoreTo,
) -> Result<Restored> {
    ArchiveReader::open(store, name).await?.restore(root, id, to, |_| {}).await
}

impl ArchiveReader {
    /// Makes the job `id` of `root`, with the rows that the archived job had at `to`, durable and closed.
    ///
    /// `progress` is called after every batch. The new job has a generation and seqs of its own; it is
    /// archived like any other.
    ///
    /// A restore that was cut short, because the future was dropped, the process died, or the store or the
    /// disk failed, goes on where it stopped when it is called again for this `id`, if what it has written fits
    /// `to`. Before that there is no such job: who opens `id` gets a new one, and what was written goes.
    /// [`list_jobs`](Persistency::list_jobs) of another process or tab may name it meanwhile.
    ///
    /// It stopped behind the last segment, or piece of the base, all of which had been written, in batches of 4 MiB or
    /// 16,384 operations: so one object and one batch are done again at most, which changes nothing.
    ///
    /// # Errors
    ///
    /// `Conflict` if there is such a job already; `Busy` if somebody else fills it; `InvalidArgument` if `to`
    /// lies before or behind what is archived; `Corrupt`, naming the object, if something that is needed is
    /// missing or damaged; and those of opening a job, of writing, and of the store.
    pub async fn restore(
        &self,
        root: &Persistency,
        id: &str,
        to: RestoreTo,
        progress: impl FnMut(RestoreProgress) + Send,
    ) -> Result<Restored> {
        let explain = |error: Error| error.in_context(format_args!("job {}, restore", Quoted(id)));
        let plan = self.plan(to).await.map_err(explain)?;
        let (mut filling, come) = begin(root, id, &plan).await.map_err(explain)?;
        filling.keep();
        let mut writer = Writer::new(filling.job().clone(), progress, come.base.rows);
        match self.replay(&plan, come, &mut writer).await {
            Ok(seq) => {
                filling.finish().await.map_err(explain)?;
                Ok(Restored { generation: self.generation(), seq })
            }
            // Trying again would not help.
            Err(error) if is_final(&error) => {
                filling.abandon().await.ok();
                Err(explain(error))
            }
            Err(error) => {
                filling.leave().await.ok();
                Err(explain(error))
            }
        }
    }

    async fn plan(&self, to: RestoreTo) -> Result<Plan> {
        let outside = |message: String| Error::new(ErrorKind::InvalidArgument, message);
        let bases = self.bases().await?;
        let end = self.end(&bases).await?.unwrap_or(0);
        let (last, until_ms) = match to {
            RestoreTo::Latest => (self.restorable(&bases).await?.unwrap_or(end), u64::MAX),
            RestoreTo::Seq(seq) if seq > end => {
                return Err(outside(format!("seq {seq} is not archived, the last one is {end}")));
            }
            RestoreTo::Seq(seq) => (seq, u64::MAX),
            RestoreTo::Time(ms) => (end, ms),
        };
        let plan = Plan { bases, last, end, until_ms };
        match plan.base() {
            Some(_) => Ok(plan),
            None => Err(outside("the archive does not reach back so far".to_owned())),
        }
    }

    /// Hands the rows of the base, then the commits behind it, to the writer; returns the last seq.
    async fn replay<P: FnMut(RestoreProgress) + Send>(
        &self,
        plan: &Plan,
        begin: Begin,
        writer: &mut Writer<P>,
    ) -> Result<u64> {
        let Begin { base, mut come } = begin;
        let (history, to, pieces) = (base.chain, base.to, base.pieces.len() as u64);
        (writer.progress.seq, writer.progress.rows) = (come.seq, come.rows);
        if come.pieces < pieces {
            // What has been written before is no more than there is.
            let mut rows = self.rows_behind(base, come.pieces as usize, come.chain);
            while let Some(piece) = rows.next(self).await? {
                for page in piece {
                    writer.progress.rows += page.operations.len() as u64;
                    writer.take(&page).await?;
                }
                let (piece, chain) = rows.come();
                (come.pieces, come.rows) = (piece as u64, writer.progress.rows);
                come.chain = if come.pieces < pieces { chain } else { history };
                writer.come = Some(come);
            }
        }
        'history: while come.seq < plan.last {
            let Some(segment) = self.following(come.seq, come.chain, plan.end).await? else {
                let message = format!("the commits behind seq {} are not archived", come.seq);
                return Err(Error::new(ErrorKind::InvalidArgument, message));
            };
            for commit in self.fetch(&segment).await? {
                if commit.seq > plan.last || commit.time_ms > plan.until_ms {
                    break 'history;
                }
                (come.seq, come.time_ms) = (commit.seq, commit.time_ms);
                writer.progress.seq = come.seq;
                writer.take(&commit).await?;
            }
            come.chain = segment.chain_after();
            writer.come = Some(come);
        }
        if come.seq < to {
            let seq = come.seq;
            let message = format!("the base goes up to seq {to}, and the commits after it up to seq {seq}");
            return Err(Error::new(ErrorKind::Corrupt, message));
        }
        writer.flush().await?;
        Ok(come.seq)
    }
}

/// The job to fill, and where to go on: from what an earlier restore has left, if that fits.
async fn begin(root: &Persistency, id: &str, plan: &Plan) -> Result<(Filling, Begin)> {
    let left = root.go_on_filling_job(id).await?;
    let come = Come::decode(&left.job().filled_so_far().await?);
    if let Some(begin) = come.and_then(|come| plan.resumed(come)) {
        // Before anything is written that goes further.
        left.job().filling(begin.come.encode()).await?;
        return Ok((left, begin));
    }
    let filling = left.anew().await?;
    let nothing = || Error::new(ErrorKind::InvalidArgument, "the archive does not reach back so far");
    let base = plan.base().ok_or_else(nothing)?.clone();
    let come = Come::new(&base, plan.last, plan.until_ms);
    Ok((filling, Begin { base, come }))
}

/// Whether the next restore would come to the same, however far this one has come.
fn is_final(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::InvalidArgument | ErrorKind::VersionTooNew)
}

/// What is to be read.
struct Plan {
    /// Newest first.
    bases: Vec<BaseMark>,
    /// The last seq that is wanted, and the last one there is.
    last: u64,
    end: u64,
    until_ms: u64,
}

/// Where a restore begins or goes on.
struct Begin {
    base: BaseMark,
    come: Come,
}

impl Plan {
    fn is_within(&self, seq: u64, time_ms: u64) -> bool {
        seq <= self.last && time_ms <= self.until_ms
    }

    /// The newest base that has nothing of later commits in it.
    fn base(&self) -> Option<&BaseMark> {
        self.bases.iter().find(|base| self.is_within(base.to, base.time_ms))
    }

    /// Where to go on, if what has been written is nothing that is not wanted.
    fn resumed(&self, come: Come) -> Option<Begin> {
        let base = self.bases.iter().find(|base| come.is_from(base))?;
        let fits = self.is_within(base.to, base.time_ms) && self.is_within(come.last, come.until_ms);
        let come = Come { last: self.last, until_ms: self.until_ms, ..come };
        fits.then(|| Begin { base: base.clone(), come })
    }
}

/// Writes commits into the new job, several as one batch.
pub(super) struct Writer<P> {
    job: Job,
    batch: Batch,
    bytes: usize,
    told: P,
    progress: RestoreProgress,
    /// How far the batch goes, if that is to be kept.
    come: Option<Come>,
}

impl<P: FnMut(RestoreProgress) + Send> Writer<P> {
    pub(super) fn new(job: Job, told: P, rows_of: u64) -> Self {
        let progress = RestoreProgress { rows: 0, rows_of, seq: 0 };
        Writer { job, batch: Batch::new(), bytes: 0, told, progress, come: None }
    }

    pub(super) async fn take(&mut self, commit: &Commit) -> Result<()> {
        let bytes: usize = commit.operations.iter().map(|op| op.bytes()).sum();
        let operations = self.batch.len() + commit.operations.len();
        if self.bytes + bytes > BATCH_BYTES || operations > BATCH_OPERATIONS {
            self.flush().await?;
        }
        self.bytes += bytes;
        commit.operations.iter().for_each(|op| self.batch.push(op.clone()));
        Ok(())
    }

    pub(super) async fn flush(&mut self) -> Result<()> {
        self.bytes = 0;
        self.job.persist_acked(std::mem::take(&mut self.batch)).await?;
        // Only now: kept with a batch that then fails it would be before what has been written.
        if let Some(come) = self.come.take() {
            self.job.filling(come.encode()).await?;
        }
        (self.told)(self.progress);
        Ok(())
    }
}
