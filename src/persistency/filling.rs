//! Jobs that are filled before they are jobs: there is none, or all of it. Knows nothing of what fills them.

use crate::error::{Error, ErrorKind, Quoted, Result};
use crate::job::Job;
use crate::worker::Command;

use super::{Persistency, Tenant, lock};

/// A job that is being filled: for everybody else there is none, until [`Filling::finish`].
///
/// Dropped before that it is deleted in the background, or kept to be gone on with; after the death of the
/// process by whoever opens or drops it next, unless he goes on.
pub(crate) struct Filling {
    root: Persistency,
    job: Job,
    is_kept: bool,
    done: bool,
}

impl Filling {
    /// The job to fill.
    pub(crate) fn job(&self) -> &Job {
        &self.job
    }

    /// From now on what is there is kept when this is dropped.
    pub(crate) fn keep(&mut self) {
        self.is_kept = true;
    }

    /// Makes it a job like any other, durable; closed, unless that would delete it.
    pub(crate) async fn finish(mut self) -> Result<()> {
        self.job.filled().await?;
        self.done = true;
        lock(&self.root.core().state).half_filled.remove(self.job.id());
        match self.root.core().place.is_memory() {
            true => Ok(()),
            false => self.root.close_job(self.job.id()).await,
        }
    }

    /// Closes it as it is, for a later [`Persistency::go_on_filling_job`].
    pub(crate) async fn leave(mut self) -> Result<()> {
        self.done = true;
        self.leaves();
        self.root.close_job(self.job.id()).await
    }

    /// Deletes it.
    pub(crate) async fn abandon(mut self) -> Result<()> {
        self.done = true;
        self.root.drop_job(self.job.id()).await
    }

    /// The same job with nothing in it.
    pub(crate) async fn anew(self) -> Result<Self> {
        if self.is_new().await? {
            return Ok(self);
        }
        let (root, id) = (self.root.clone(), self.job.id().to_owned());
        self.abandon().await?;
        let filling = root.go_on_filling_job(&id).await?;
        match filling.is_new().await? {
            true => Ok(filling),
            false => {
                Err(Error::new(ErrorKind::Busy, format!("job {} is filled by somebody else", Quoted(&id))))
            }
        }
    }

    /// Whether nothing has been written into it.
    async fn is_new(&self) -> Result<bool> {
        Ok(self.job.position().await?.seq == 0)
    }

    fn leaves(&self) {
        lock(&self.root.core().state).half_filled.insert(self.job.id(), ());
    }
}

impl Drop for Filling {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let last = if self.is_kept { Command::Close } else { Command::Drop };
        if self.is_kept {
            self.leaves();
        }
        drop(self.root.core().begin_end(self.job.id(), last));
    }
}

impl Persistency {
    /// Creates a job that is to be filled before it is one. What filling it has left before is deleted.
    ///
    /// # Errors
    ///
    /// `Conflict` if there is such a job already; `Busy` if somebody else fills it; else as
    /// [`open_job_with`](Persistency::open_job_with).
    pub(crate) async fn fill_job(&self, id: &str) -> Result<Filling> {
        self.go_on_filling_job(id).await?.anew().await
    }

    /// As [`fill_job`](Persistency::fill_job), but goes on with what filling it has left before.
    pub(crate) async fn go_on_filling_job(&self, id: &str) -> Result<Filling> {
        let job = self.open_tenant_to(id, None, true).await?;
        Ok(Filling { root: self.clone(), job, is_kept: false, done: false })
    }
}

impl Persistency {
    /// Of these ids those of jobs: not what is being filled here, or was left half filled.
    pub(super) async fn without_half_filled(&self, mut ids: Vec<String>) -> Result<Vec<String>> {
        let half_filled = {
            let state = lock(&self.core().state);
            let is_filling =
                |id: &str| matches!(state.jobs.get(id), Some(Tenant::Open(job)) if job.is_filling());
            ids.retain(|id| !is_filling(id));
            state.half_filled.names()
        };
        for id in half_filled {
            let Ok(at) = ids.binary_search(&id) else { continue };
            // Somebody may have made it a job since.
            if self.core().place.is_half_filled(id).await? {
                ids.remove(at);
            }
        }
        Ok(ids)
    }
}

#[cfg(test)]
mod tests {
    use crate::error::ErrorKind;
    use crate::key::Key;
    use crate::testing::async_test;

    use super::*;

    async fn filled_by_half() -> (Persistency, Filling) {
        let p = Persistency::open(":memory:").unwrap();
        let filling = p.fill_job("alpha").await.unwrap();
        filling.job().put_acked("m", Key::from_bytes("a"), "").await.unwrap();
        (p, filling)
    }

    #[async_test]
    async fn while_it_is_filled_there_is_no_job() {
        let (p, filling) = filled_by_half().await;
        assert!(!p.has_job("alpha"));
        assert_eq!(p.open_job("alpha").await.unwrap_err().kind(), ErrorKind::Busy);
        let another = p.fill_job("alpha").await.err().unwrap();
        assert_eq!(another.kind(), ErrorKind::Busy);
        filling.finish().await.unwrap();
        let job = p.open_job("alpha").await.unwrap();
        assert!(job.exists("m", Key::from_bytes("a")).await.unwrap());
        assert_eq!(p.fill_job("alpha").await.err().unwrap().kind(), ErrorKind::Conflict);
        p.close().await.unwrap();
    }

    #[async_test]
    async fn one_that_is_given_up_is_gone() {
        let (p, filling) = filled_by_half().await;
        drop(filling);
        assert_eq!(p.open_job("alpha").await.unwrap().committed_seq(), 0);
        p.drop_job("alpha").await.unwrap();
        p.fill_job("alpha").await.unwrap().abandon().await.unwrap();
        assert!(p.list_jobs().await.unwrap().is_empty());
        p.close().await.unwrap();
    }

    /// What a process that dies while it fills a job leaves behind.
    #[cfg(not(all(target_family = "wasm", target_os = "unknown")))]
    #[async_test]
    async fn what_was_filled_by_half_is_no_job_when_it_is_opened_again() {
        use crate::options::{JobOptions, OpenMode};

        let directory = tempfile::tempdir().unwrap();
        let leave_half = async || {
            let p = Persistency::open(directory.path()).unwrap();
            let mut filling = p.fill_job("alpha").await.unwrap();
            filling.job().put_acked("m", Key::from_bytes("a"), "").await.unwrap();
            filling.done = true;
            drop(filling);
            p.close().await.unwrap();
        };
        for mode in [OpenMode::ReadOnly, OpenMode::MustExist] {
            leave_half().await;
            let p = Persistency::open(directory.path()).unwrap();
            let opened = p.open_job_with("alpha", JobOptions::new().mode(mode)).await;
            assert_eq!(opened.unwrap_err().kind(), ErrorKind::JobNotFound, "{mode:?}");
            p.close().await.unwrap();
        }
        leave_half().await;
        let p = Persistency::open(directory.path()).unwrap();
        let job = p.open_job("alpha").await.unwrap();
        assert_eq!((job.committed_seq(), job.count("m", ..).await.unwrap()), (0, 0));
        p.drop_job("alpha").await.unwrap();
        p.close().await.unwrap();
        leave_half().await;
        let p = Persistency::open(directory.path()).unwrap();
        p.fill_job("alpha").await.unwrap().finish().await.unwrap();
        assert_eq!(p.open_job("alpha").await.unwrap().count("m", ..).await.unwrap(), 0);
        p.close().await.unwrap();
    }
}
