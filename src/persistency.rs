//! Roots: the set of jobs under one directory, one name of databases, or in memory.
//!
//! Knows which jobs are open and sees to it that each is open once; never looks into one.

#[cfg(feature = "archive")]
mod filling;

#[cfg(feature = "archive")]
pub(crate) use filling::Filling;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::Clock;
use crate::engine::Claim;
use crate::error::{Error, ErrorKind, Quoted, Result};
use crate::job::{Job, JobHandle};
use crate::job_id::JobId;
use crate::names::Names;
use crate::options::{Durability, JobOptions, OpenMode};
use crate::place::Place;
use crate::room::{Room, Size};
use crate::text::text;
use crate::worker::{Bounds, Command, Link, Start};

/// A root: any number of jobs, each isolated from the others.
///
/// Natively a directory with one owner at a time; in the browser a name, shared by the origin's tabs;
/// `":memory:"` keeps everything in memory until it is closed. Cheap to clone.
///
/// End with [`close`](Persistency::close) or [`close_job`](Persistency::close_job), also when an error
/// ends the program early. Once the last handle has been dropped, what was accepted is still committed in
/// the background, but nothing waits for it: what is not committed when `main` returns is lost, and an
/// error is only logged.
///
/// ```
/// # async fn example() -> persistency::Result<()> {
/// use persistency::{Persistency, key};
///
/// let p = Persistency::open(":memory:")?;
/// let job = p.open_job("alpha").await?;
/// job.persist_put("msg", key!("channel-1", 1i64)?, "hi").await?; // accepted
/// job.flush().await?; // durable
/// let rows = job.scan_prefix("msg", key!("channel-1")?).reverse().limit(50).await?;
/// assert_eq!(rows[0].payload, b"hi");
/// p.close().await?;
/// # Ok(())
/// # }
/// # futures_executor::block_on(example()).unwrap();
/// ```
#[derive(Clone)]
pub struct Persistency {
    handle: Arc<RootHandle>,
}

/// Dropped with the last `Persistency` of a root: then only job handles keep their jobs open.
struct RootHandle {
    core: Arc<RootCore>,
}

/// What the handles of a root and of its jobs share.
pub(crate) struct RootCore {
    root: PathBuf,
    place: Place,
    clock: Clock,
    state: Mutex<State>,
    /// Ownership of the place, from the first job on.
    claim: Mutex<Option<Arc<dyn Claim>>>,
    /// Held while it is taken or given back, so that concurrent opens take it once.
    claiming: Arc<Room>,
}

#[derive(Default)]
struct State {
    closed: bool,
    jobs: Names<Tenant>,
    /// What this root has left half filled, as far as it knows: storage of these ids may be no job.
    #[cfg(feature = "archive")]
    half_filled: Names<()>,
}

/// A job that this root has opened.
enum Tenant {
    /// It is open or opening; this handle makes it reachable by its id.
    Open(Arc<JobHandle>),
    /// It is being closed or dropped.
    Ending(Arc<Link>),
}

static CURRENT: Mutex<Option<Persistency>> = Mutex::new(None);

impl Persistency {
    /// Makes an independent root; nothing is created before its first job is opened.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if `root` is empty, or natively if it or what would be its nearest existing
    /// ancestor is not a directory.
    pub fn open(root: impl AsRef<Path>) -> Result<Self> {
        Self::open_with_clock(root, Clock::system())
    }

    /// As [`open`](Persistency::open), with the clock that stamps commits and measures deadlines.
    pub fn open_with_clock(root: impl AsRef<Path>, clock: Clock) -> Result<Self> {
        let root = root.as_ref();
        Ok(Self::at(root.to_owned(), Place::of(root)?, clock))
    }

    pub(crate) fn at(root: PathBuf, place: Place, clock: Clock) -> Self {
        let state = Mutex::default();
        let (claim, claiming) = (Mutex::default(), Room::new(1, 0));
        let core = RootCore { root, place, clock, state, claim, claiming };
        Persistency { handle: Arc::new(RootHandle { core: Arc::new(core) }) }
    }

    /// The process-wide root: the first call makes it, later ones with the same root return it.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if it has another root (compared as given), which stays as it is; or as
    /// [`open`](Persistency::open).
    pub fn instance(root: impl AsRef<Path>) -> Result<Self> {
        let root = root.as_ref();
        let mut current = lock(&CURRENT);
        match &*current {
            Some(existing) if existing.root() == root => Ok(existing.clone()),
            Some(existing) => {
                let message = format!("the process has the root {} already", existing.root().display());
                Err(Error::new(ErrorKind::InvalidArgument, message))
            }
            None => Ok(current.insert(Self::open(root)?).clone()),
        }
    }

    /// The process-wide root; `Closed` if there is none yet.
    pub fn current() -> Result<Self> {
        let none = || Error::new(ErrorKind::Closed, "the process has no root yet");
        lock(&CURRENT).clone().ok_or_else(none)
    }

    /// Closes the process-wide root and makes room for another one; fine if there is none.
    pub async fn reset() -> Result<()> {
        let current = lock(&CURRENT).take();
        match current {
            Some(root) => root.close().await,
            None => Ok(()),
        }
    }

    /// The root as it was given.
    pub fn root(&self) -> &Path {
        &self.core().root
    }

    /// Opens the job, or creates it; one that is open already is returned as it is.
    ///
    /// # Errors
    ///
    /// As [`open_job_with`](Persistency::open_job_with).
    pub async fn open_job(&self, id: &str) -> Result<Job> {
        self.open_tenant(id, None).await
    }

    /// Opens the job with options.
    ///
    /// Concurrent calls get the same job. One that is being closed or dropped is waited for.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for an empty id, or options other than those it is open with; `TooLarge` for
    /// an id beyond 64 bytes; `Busy` if somebody else owns the root, or keeps the job from being opened
    /// past the deadline; `JobNotFound` if it must exist and does not; `StorageFull`, `Corrupt`,
    /// `VersionTooNew`, `Unsupported`, `Backend`; `Closed` if the root is.
    pub async fn open_job_with(&self, id: &str, options: JobOptions) -> Result<Job> {
        self.open_tenant(id, Some(options)).await
    }

    /// The open job of this id; `JobNotFound` if it is not open.
    pub fn job(&self, id: &str) -> Result<Job> {
        self.core().job(id)
    }

    /// Whether the job is open.
    pub fn has_job(&self, id: &str) -> bool {
        self.job(id).is_ok()
    }

    /// The ids of the jobs that exist, open or not, ascending.
    pub async fn list_jobs(&self) -> Result<Vec<String>> {
        self.check_open()?;
        let ids = self.core().place.list().await.map_err(|error| error.in_context("list jobs"))?;
        #[cfg(feature = "archive")]
        let ids = self.without_half_filled(ids).await?;
        Ok(ids)
    }

    /// Closes the job: everything accepted is committed and made durable, then its file and thread
    /// are released. Fine if it is not open.
    ///
    /// # Errors
    ///
    /// The first error that no receipt has reported, with the number of others; otherwise that of the
    /// last sync. The job is closed all the same.
    pub async fn close_job(&self, id: &str) -> Result<()> {
        let Some(link) = self.core().begin_end(id, Command::Close) else { return Ok(()) };
        let closed = link.closed_down().await;
        self.core().forget(id, &link);
        closed
    }

    /// Deletes the job with everything in it, open or not; fine if there is none.
    ///
    /// What was accepted before is settled first. Handles of the job anywhere answer `JobNotFound`
    /// afterwards, and a job that is created under this id again is another one.
    ///
    /// # Errors
    ///
    /// `Busy` if somebody else owns the root; `VersionTooNew` for a job of a newer format, which stays;
    /// `Backend` if the platform does not let it be deleted.
    pub async fn drop_job(&self, id: &str) -> Result<()> {
        JobId::new(id)?;
        loop {
            self.check_open()?;
            // Also where the job is open here: whoever only reads it needs no ownership for that.
            let claim = self.core().claim(&JobOptions::default()).await?;
            if let Some(link) = self.core().begin_end(id, Command::Drop) {
                let end = link.ended().await;
                self.core().forget(id, &link);
                if end.dropped {
                    return end.result;
                }
                // It was being closed, had ended by itself, or was only read: what is there still has
                // to be deleted.
                continue;
            }
            let Some(link) = self.core().begin_destroy(id, claim)? else { continue };
            let end = link.ended().await;
            self.core().forget(id, &link);
            return end.result;
        }
    }

    /// Closes every job and the root; handles of either answer `Closed` afterwards. Safe to repeat.
    ///
    /// # Errors
    ///
    /// The first error of closing a job, with the number of others. Everything is closed all the same.
    pub async fn close(&self) -> Result<()> {
        let core = self.core();
        let ids: Vec<String> = {
            let mut state = lock(&core.state);
            state.closed = true;
            state.jobs.names()
        };
        let links: Vec<Arc<Link>> = ids.iter().filter_map(|id| core.begin_end(id, Command::Close)).collect();
        let claiming = core.claiming.take(Size::ONE).await;
        if let Some(claim) = &*lock(&core.claim) {
            claim.drain();
        }
        drop(claiming);
        let mut errors = Vec::new();
        for link in links {
            errors.extend(link.closed_down().await.err());
        }
        lock(&core.state).jobs = Names::default();
        let _claiming = core.claiming.take(Size::ONE).await;
        let claim = lock(&core.claim).take();
        drop(claim);
        let others = errors.len().saturating_sub(1);
        match errors.into_iter().next() {
            Some(first) if others > 0 => Err(first.with_remark(text!("other jobs that failed: ", others))),
            Some(first) => Err(first),
            None => Ok(()),
        }
    }

    /// How many jobs the root has something to remember of.
    #[cfg(test)]
    pub(crate) fn tenants(&self) -> usize {
        lock(&self.core().state).jobs.len()
    }

    fn core(&self) -> &Arc<RootCore> {
        &self.handle.core
    }

    fn check_open(&self) -> Result<()> {
        match lock(&self.core().state).closed {
            true => Err(root_closed()),
            false => Ok(()),
        }
    }

    pub(crate) async fn open_tenant(&self, id: &str, options: Option<JobOptions>) -> Result<Job> {
        self.open_tenant_to(id, options, false).await
    }

    /// As `open_tenant`; if it is to be filled it must not be there, and is no job for others until then.
    async fn open_tenant_to(&self, id: &str, options: Option<JobOptions>, filling: bool) -> Result<Job> {
        let explain = |error: Error| error.in_context(text!("job ", Quoted(id), ", open"));
        JobId::new(id).map_err(explain)?;
        if let Some(options) = &options {
            options.check().map_err(explain)?;
        }
        loop {
            self.check_open()?;
            let wanted = options.clone().unwrap_or_default();
            let claim: Arc<dyn Claim> = match wanted.mode {
                OpenMode::ReadOnly => Arc::new(()),
                OpenMode::Create | OpenMode::MustExist => {
                    self.core().claim(&wanted).await.map_err(explain)?
                }
            };
            match self.core().tenant(id, options.as_ref(), filling, claim)? {
                Tenant::Open(handle) => {
                    let opened = handle.link.opened().await;
                    if opened.is_err() {
                        self.core().forget(id, &handle.link);
                    }
                    return opened.map(|()| Job::new(handle));
                }
                Tenant::Ending(link) => {
                    link.ended().await;
                    self.core().forget(id, &link);
                }
            }
        }
    }
}

impl RootCore {
    /// The open job of this id.
    pub(crate) fn job(&self, id: &str) -> Result<Job> {
        let state = lock(&self.state);
        match state.jobs.get(id) {
            Some(Tenant::Open(handle)) if handle.link.is_open() && !handle.is_filling() => {
                Ok(Job::new(Arc::clone(handle)))
            }
            _ if state.closed => Err(root_closed()),
            _ => Err(Error::new(ErrorKind::JobNotFound, text!("job ", Quoted(id), " is not open"))),
        }
    }

    /// Ownership of the place, taken once; `Busy` if an owner that drains is not through in time.
    async fn claim(&self, options: &JobOptions) -> Result<Arc<dyn Claim>> {
        let deadline = options.deadline_ms().map(|ms| self.clock.monotonic_ms().saturating_add(ms));
        let claimed = self.clock.until(deadline, self.claim_in_turn()).await;
        claimed
            .unwrap_or_else(|| Err(Error::new(ErrorKind::Busy, "the root's last owner has not let go of it")))
    }

    async fn claim_in_turn(&self) -> Result<Arc<dyn Claim>> {
        let _claiming = self.claiming.take(Size::ONE).await;
        if let Some(claim) = &*lock(&self.claim) {
            return Ok(Arc::clone(claim));
        }
        let claim = self.place.claim().await?;
        // A close that came before has looked for something to let go of already, one that comes
        // after this finds it.
        if lock(&self.state).closed {
            return Err(root_closed());
        }
        Ok(Arc::clone(lock(&self.claim).insert(claim)))
    }

    /// The job as it stands in the table; starts it if it is not there.
    fn tenant(
        self: &Arc<Self>,
        id: &str,
        options: Option<&JobOptions>,
        filling: bool,
        claim: Arc<dyn Claim>,
    ) -> Result<Tenant> {
        let mut state = lock(&self.state);
        if state.closed {
            return Err(root_closed());
        }
        match state.jobs.get(id) {
            Some(Tenant::Open(handle)) if handle.link.is_ending() => {
                Ok(Tenant::Ending(Arc::clone(&handle.link)))
            }
            Some(Tenant::Open(handle)) if handle.is_filling() => {
                let message = text!("job ", Quoted(id), " is being filled");
                Err(Error::new(ErrorKind::Busy, message))
            }
            Some(Tenant::Open(_)) if filling => {
                let message = text!("job ", Quoted(id), " is there already");
                Err(Error::new(ErrorKind::Conflict, message))
            }
            Some(Tenant::Open(handle)) if options.is_some_and(|options| *options != handle.options) => {
                let message = text!("job ", Quoted(id), " is open with other options");
                Err(Error::new(ErrorKind::InvalidArgument, message))
            }
            Some(Tenant::Open(handle)) => Ok(Tenant::Open(Arc::clone(handle))),
            Some(Tenant::Ending(link)) => Ok(Tenant::Ending(Arc::clone(link))),
            None => {
                let options = options.cloned().unwrap_or_default();
                let (start, link) = self.start(id, &options, claim);
                self.place.start(Start { filling, ..start })?;
                let filling = AtomicBool::new(filling);
                let handle = Arc::new(JobHandle { link, options, filling, root: Arc::clone(self) });
                state.jobs.insert(id, Tenant::Open(Arc::clone(&handle)));
                Ok(Tenant::Open(handle))
            }
        }
    }

    fn start(&self, id: &str, options: &JobOptions, claim: Arc<dyn Claim>) -> (Start, Arc<Link>) {
        let bounds = Bounds {
            operations: options.queue_operations,
            bytes: options.queue_bytes,
            deadline_ms: options.deadline_ms(),
        };
        let link = Link::new(id.to_owned(), self.clock.clone(), bounds);
        let durable_always = options.durability == Durability::Strict || self.place.is_memory();
        let (mode, retention) = (options.mode, options.log);
        let (filling, destroys) = (false, false);
        let start =
            Start { link: Arc::clone(&link), mode, filling, destroys, durable_always, retention, claim };
        (start, link)
    }

    /// Sends the last command to the job if it is in the table; returns what tells when it has ended.
    fn begin_end(&self, id: &str, last: Command) -> Option<Arc<Link>> {
        let mut state = lock(&self.state);
        let tenant = state.jobs.get_mut(id)?;
        let (link, handle) = match tenant {
            Tenant::Ending(link) => return Some(Arc::clone(link)),
            Tenant::Open(handle) => (Arc::clone(&handle.link), Arc::clone(handle)),
        };
        *tenant = Tenant::Ending(Arc::clone(&link));
        link.finish(last);
        drop(state);
        // Its own end locks nothing, but may release the root.
        drop(handle);
        Some(link)
    }

    /// Starts deleting a job that is not in the table; `None` if it has come there meanwhile.
    fn begin_destroy(self: &Arc<Self>, id: &str, claim: Arc<dyn Claim>) -> Result<Option<Arc<Link>>> {
        let mut state = lock(&self.state);
        if state.jobs.get(id).is_some() {
            return Ok(None);
        }
        let (start, link) = self.start(id, &JobOptions::default(), claim);
        self.place.start(Start { mode: OpenMode::MustExist, destroys: true, ..start })?;
        state.jobs.insert(id, Tenant::Ending(Arc::clone(&link)));
        Ok(Some(link))
    }

    /// Takes a job that has ended out of the table.
    fn forget(&self, id: &str, ended: &Arc<Link>) {
        let mut state = lock(&self.state);
        let is_it = match state.jobs.get(id) {
            Some(Tenant::Open(handle)) => Arc::ptr_eq(&handle.link, ended),
            Some(Tenant::Ending(link)) => Arc::ptr_eq(link, ended),
            None => false,
        };
        let gone = if is_it { state.jobs.remove(id) } else { None };
        drop(state);
        drop(gone);
    }
}

impl Drop for RootHandle {
    fn drop(&mut self) {
        // Jobs that only this root's table holds drain in the background now; the others do when
        // their last handle goes.
        let jobs = std::mem::take(&mut lock(&self.core.state).jobs);
        drop(jobs);
    }
}

impl Drop for RootCore {
    fn drop(&mut self) {
        // Workers that still drain hold the claim: who wants the place waits for them.
        if let Some(claim) = &*lock(&self.claim) {
            claim.drain();
        }
    }
}

impl fmt::Debug for Persistency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Persistency").field("root", &self.root()).finish_non_exhaustive()
    }
}

fn root_closed() -> Error {
    Error::new(ErrorKind::Closed, "the root has been closed")
}

fn lock<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that runs under these locks can panic halfway through a change.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
