//! Restoring: a new job with the rows that an archived one had at some moment.
//!
//! Never writes into a job that exists, and never leaves one behind that is not whole.

use std::sync::Arc;

use crate::batch::Batch;
use crate::commit_log::Commit;
use crate::error::{Error, ErrorKind, Quoted, Result};
use crate::job::Job;
use crate::persistency::Persistency;

use super::format::BaseMark;
use super::reader::ArchiveReader;
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
    /// # Errors
    ///
    /// `Conflict` if there is such a job already; `InvalidArgument` if `to` lies before or behind what
    /// is archived; `Corrupt`, naming the object, if something that is needed is missing or damaged; and
    /// those of opening a job, of writing, and of the store. Nothing is left of the job then.
    pub async fn restore(
        &self,
        root: &Persistency,
        id: &str,
        to: RestoreTo,
        progress: impl FnMut(RestoreProgress) + Send,
    ) -> Result<Restored> {
        let explain = |error: Error| error.in_context(format_args!("job {}, restore", Quoted(id)));
        let plan = self.plan(to).await.map_err(explain)?;
        let filling = root.fill_job(id).await.map_err(explain)?;
        let mut writer = Writer::new(filling.job().clone(), progress, plan.base.rows);
        match self.replay(plan, &mut writer).await {
            Ok(seq) => {
                filling.finish().await.map_err(explain)?;
                Ok(Restored { generation: self.generation(), seq })
            }
            Err(error) => {
                // What may be left is no job, and goes with the next one that is opened under this id.
                filling.abandon().await.ok();
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
        // The newest one that has nothing of later commits in it.
        let base = bases.into_iter().find(|base| base.to <= last && base.time_ms <= until_ms);
        let base = base.ok_or_else(|| outside("the archive does not reach back so far".to_owned()))?;
        Ok(Plan { base, last, end, until_ms })
    }

    /// Hands the rows of the base, then the commits behind it, to the writer; returns the last seq.
    async fn replay<P: FnMut(RestoreProgress) + Send>(
        &self,
        plan: Plan,
        writer: &mut Writer<P>,
    ) -> Result<u64> {
        let Plan { base, last, end, until_ms } = plan;
        let (mut seq, mut chain, to) = (base.from, base.chain, base.to);
        writer.progress.seq = seq;
        let mut rows = self.rows(base);
        while let Some(piece) = rows.next(self).await? {
            for page in piece {
                writer.progress.rows += page.operations.len() as u64;
                writer.take(&page).await?;
            }
        }
        'history: while seq < last {
            let Some(segment) = self.following(seq, chain, end).await? else {
                let message = format!("the commits behind seq {seq} are not archived");
                return Err(Error::new(ErrorKind::InvalidArgument, message));
            };
            for commit in self.fetch(&segment).await? {
                if commit.seq > last || commit.time_ms > until_ms {
                    break 'history;
                }
                seq = commit.seq;
                writer.progress.seq = seq;
                writer.take(&commit).await?;
            }
            chain = segment.chain_after();
        }
        if seq < to {
            let message = format!("the base goes up to seq {to}, and the commits after it up to seq {seq}");
            return Err(Error::new(ErrorKind::Corrupt, message));
        }
        writer.flush().await?;
        Ok(seq)
    }
}

/// What is to be read.
struct Plan {
    base: BaseMark,
    /// The last seq that is wanted, and the last one there is.
    last: u64,
    end: u64,
    until_ms: u64,
}

/// Writes commits into the new job, several as one batch.
pub(super) struct Writer<P> {
    job: Job,
    batch: Batch,
    bytes: usize,
    told: P,
    progress: RestoreProgress,
}

impl<P: FnMut(RestoreProgress) + Send> Writer<P> {
    pub(super) fn new(job: Job, told: P, rows_of: u64) -> Self {
        let progress = RestoreProgress { rows: 0, rows_of, seq: 0 };
        Writer { job, batch: Batch::new(), bytes: 0, told, progress }
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
        (self.told)(self.progress);
        Ok(())
    }
}
