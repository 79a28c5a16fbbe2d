//! Handles: attach jobs, wait for what is archived, end it. Ships nothing itself.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_core::Stream;
use tokio::sync::watch;

use crate::error::{Error, ErrorKind, Result};
use crate::job::Job;
use crate::spawn::spawn;

use super::attach::attach;
use super::driver::{Command, Mailbox, run};
use super::election::Elector;
use super::options::{ArchiveOptions, ArchiverOptions, whole_ms};
use super::progress::{ArchiveProgress, ArchiveState, Shared};
use super::store::{Store, TimedStore};

/// Ships any number of jobs side by side, with one bound on what is under way; see [`ArchiverOptions`].
///
/// It works on a thread of its own, natively, until it and all of its archives have been dropped.
#[derive(Clone)]
pub struct Archiver {
    core: Arc<Core>,
}

struct Core {
    mailbox: Arc<Mailbox>,
    options: ArchiverOptions,
    next_id: AtomicU64,
}

impl Drop for Core {
    fn drop(&mut self) {
        self.mailbox.send(Command::End);
    }
}

impl Archiver {
    /// Starts an archiver.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for options that let nothing be shipped; `Backend` if no thread can be started.
    pub fn new(options: ArchiverOptions) -> Result<Self> {
        options.check()?;
        let random = |error: getrandom::Error| Error::new(ErrorKind::Backend, error.to_string());
        let seed = getrandom::u64().map_err(random)?;
        let mailbox = Arc::new(Mailbox::default());
        let (inbox, own) = (Arc::clone(&mailbox), options.clone());
        spawn("archiver", move || run(inbox, own, seed))?;
        Ok(Archiver { core: Arc::new(Core { mailbox, options, next_id: AtomicU64::new(0) }) })
    }

    /// Ships a job from now on, until the archive is closed, stopped or dropped.
    ///
    /// The job's commit log is held under the name `archive/` and the archive's name until everything
    /// in it is in the store, also while nothing is attached; [`Archive::detach`] ends that. An archive
    /// that is there already goes on where it ended. A job that has rows already gets a base snapshot
    /// first, taken while it goes on being written.
    ///
    /// A store that fails, or is not there, is no error: it is tried again like everything that is shipped, which
    /// [`Archive::progress`] tells, as [`ArchiveState::Retrying`] from the first failure on. What is wrong with what
    /// it holds then ends the archive, or stalls it, with the error below. Until the store has answered once
    /// nothing new is held in the log: a first base is taken when it has.
    ///
    /// # Errors
    ///
    /// `Conflict` if the archive is ahead of the job, or has gone on with a later life of it;
    /// `Unsupported` if the job is open for reading only, or the store is none; `InvalidArgument` or `TooLarge` for
    /// a bad name or option; `Corrupt` or `VersionTooNew` for what the store holds.
    pub async fn attach(&self, job: &Job, store: Arc<dyn Store>, options: ArchiveOptions) -> Result<Archive> {
        let ArchiverOptions { call_timeout, clock, election, .. } = &self.core.options;
        let store: Arc<dyn Store> = Arc::new(TimedStore::new(store, clock.clone(), whole_ms(*call_timeout)));
        let shipper = attach(job, store, options, clock).await?;
        let state = match (election, shipper.unjoined()) {
            (Some(_), _) => ArchiveState::Following,
            (None, Some(error)) => ArchiveState::Retrying { failures: 1, error: error.clone() },
            (None, None) => ArchiveState::Shipping,
        };
        let shared = Arc::new(Shared::new(shipper.archived(), state));
        let mut elector =
            election.as_ref().map(|election| Elector::new(Arc::clone(election), shipper.election_name()));
        if let Some(elector) = &mut elector {
            elector.join(&shared)?;
        }
        let id = self.core.next_id.fetch_add(1, Ordering::Relaxed);
        let holder = shipper.holder().to_owned();
        self.core.mailbox.send(Command::Attach(id, Box::new(shipper), Arc::clone(&shared), elector));
        let handle = Handle { id, shared, archiver: self.clone(), job: job.clone(), holder };
        Ok(Archive { handle: Arc::new(handle) })
    }
}

/// The archive of one job, while it is shipped. Cheap to clone.
///
/// When the last clone is dropped shipping stops, wherever it is. Nothing is lost by that: what is not
/// archived stays in the job's log, and whoever attaches the job again goes on from there.
#[derive(Clone)]
pub struct Archive {
    handle: Arc<Handle>,
}

struct Handle {
    id: u64,
    shared: Arc<Shared>,
    archiver: Archiver,
    job: Job,
    holder: String,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.archiver.core.mailbox.send(Command::Stop(self.id));
    }
}

impl Archive {
    /// Ships a job by an archiver of its own; see [`Archiver::attach`].
    ///
    /// # Errors
    ///
    /// As [`Archiver::new`] and [`Archiver::attach`].
    pub async fn attach(job: &Job, store: Arc<dyn Store>, options: ArchiveOptions) -> Result<Self> {
        Archiver::new(ArchiverOptions::default())?.attach(job, store, options).await
    }

    /// The last seq at which the job can be restored, and at which nothing that was shipped is missing;
    /// 0 before there is one.
    pub fn archived_seq(&self) -> u64 {
        self.progress().archived_seq
    }

    /// How far it has come, and what it is doing.
    pub fn progress(&self) -> ArchiveProgress {
        self.handle.shared.now()
    }

    /// Follows the progress.
    pub fn watch(&self) -> ArchiveWatch {
        ArchiveWatch { progress: self.handle.shared.watch(), told: false }
    }

    /// Calls `callback` with each archived seq that is seen, until the archive ends.
    ///
    /// It runs beside the shipping, on a thread of its own natively: one that takes long misses seqs in
    /// between, and stalls nobody.
    ///
    /// # Errors
    ///
    /// `Backend` if it cannot be started.
    pub fn on_archived<F, R>(&self, callback: F) -> Result<()>
    where
        F: Fn(u64) -> R + Send + 'static,
        R: Future<Output = ()> + Send,
    {
        let mut progress = self.handle.shared.watch();
        let mut told = progress.borrow_and_update().archived_seq;
        spawn("archive callback", move || async move {
            while progress.changed().await.is_ok() {
                let now = progress.borrow_and_update().clone();
                if now.archived_seq > told {
                    told = now.archived_seq;
                    callback(told).await;
                }
                if now.has_ended() {
                    return;
                }
            }
        })
    }

    /// Waits until `seq` is archived, and returns what is by then. What has been committed is shipped at
    /// once for it, whatever the cut policy says.
    ///
    /// # Errors
    ///
    /// What keeps the archive from going on, if it stalls or ends before; `Closed` if it was closed.
    pub async fn wait_archived(&self, seq: u64) -> Result<u64> {
        self.handle.shared.ask(seq);
        let mut progress = self.handle.shared.watch();
        loop {
            if let Some(reached) = progress.borrow_and_update().reached(seq) {
                return reached;
            }
            if progress.changed().await.is_err() {
                return Err(Error::new(ErrorKind::Closed, "the archive has been closed"));
            }
        }
    }

    /// Ships everything that has been committed until now, and returns the archived seq.
    ///
    /// # Errors
    ///
    /// As [`wait_archived`](Archive::wait_archived), and those of [`Job::position`].
    pub async fn ship(&self) -> Result<u64> {
        let seq = self.handle.job.position().await?.seq;
        self.wait_archived(seq).await
    }

    /// Tries again at once if it is stalled or waits after a failure; otherwise does nothing.
    ///
    /// Where one is chosen among several, one that stalls has left the choice to the others: it takes part again,
    /// and follows if another one ships by now.
    pub fn resume(&self) {
        self.handle.shared.resumes();
        self.send(Command::Resume(self.handle.id));
    }

    /// Ships everything that has been committed until now, then ends. Safe to repeat.
    ///
    /// # Errors
    ///
    /// What kept it from being shipped, also if it had ended with that before; it has ended all the same.
    /// What is missing stays in the job's log.
    pub async fn close(&self) -> Result<u64> {
        match self.progress().state {
            ArchiveState::Ended { error: Some(error) } => return Err(error),
            ArchiveState::Ended { error: None } => return Ok(self.archived_seq()),
            _ => {}
        }
        let shipped = self.ship().await;
        self.stop().await;
        shipped
    }

    /// Ends at once, whatever is under way. Safe to repeat.
    pub async fn stop(&self) {
        self.send(Command::Stop(self.handle.id));
        let mut progress = self.handle.shared.watch();
        // The sender lives as long as this handle.
        progress.wait_for(ArchiveProgress::has_ended).await.ok();
    }

    /// Ends at once, and does not hold the job's log any longer: what is not archived may go, and whoever
    /// attaches the job again begins with a new base.
    ///
    /// # Errors
    ///
    /// Those of [`Job::release_log`].
    pub async fn detach(self) -> Result<()> {
        self.stop().await;
        self.handle.job.release_log(&self.handle.holder).await
    }

    fn send(&self, command: Command) {
        self.handle.archiver.core.mailbox.send(command);
    }
}

/// Follows an archive's progress, see [`Archive::watch`].
#[derive(Clone, Debug)]
pub struct ArchiveWatch {
    progress: watch::Receiver<ArchiveProgress>,
    told: bool,
}

impl ArchiveWatch {
    /// The progress now, then whenever it has changed; `None` after the archive has ended.
    ///
    /// Steps in between may be left out. Dropping the future before it is done loses nothing.
    pub async fn next(&mut self) -> Option<ArchiveProgress> {
        if self.told {
            if self.progress.borrow().has_ended() && !self.progress.has_changed().unwrap_or(false) {
                return None;
            }
            self.progress.changed().await.ok()?;
        }
        self.told = true;
        Some(self.progress.borrow_and_update().clone())
    }

    /// The progress as a [`Stream`](futures_core::Stream).
    pub fn into_stream(self) -> impl Stream<Item = ArchiveProgress> + Send + use<> {
        futures_util::stream::unfold(self, |mut watch| async move {
            let progress = watch.next().await?;
            Some((progress, watch))
        })
    }
}

impl fmt::Debug for Archiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Archiver").field("options", &self.core.options).finish_non_exhaustive()
    }
}

impl fmt::Debug for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Archive")
            .field("job", &self.handle.job.id())
            .field("progress", &self.progress())
            .finish_non_exhaustive()
    }
}
