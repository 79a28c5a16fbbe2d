//! The engine: one job, its sets, and who may do what at which time.
//!
//! Decides nothing itself: what a flush, a strong write or a repair means is in their own modules.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use super::bootstrap::{self, Bootstrap, Life};
use super::core::Core;
use super::dirty_set::{DirtySet, Weight};
use super::elsewhere::{Ask, Patience};
use super::flush::Flushed;
use super::options::Options;
use super::repair::RepairReport;
use super::schema::{Relation, Schema, Set};
use super::state::State;
use super::strong;
use crate::batch::Batch;
use crate::error::{Error, Quoted, Result};
use crate::job::Job;
use crate::persistency::Persistency;

/// An open engine: the sets of a [`Schema`] over one job.
///
/// Cheap to clone. Nothing is flushed before [`start`](WriteBehind::start) or a
/// [`flush`](WriteBehind::flush) by hand. End with [`stop`](WriteBehind::stop), then close the job:
/// event sources first, then whoever marks, then the engine, then the root. Once the last handle has been
/// dropped marks are refused (`Closed`), and a flusher that runs flushes once more in the background,
/// where an error is only logged.
///
/// Have one engine on a job: what two of them flush is not ordered between them.
#[derive(Clone)]
pub struct WriteBehind {
    handle: Arc<Handle>,
}

struct Handle {
    engine: Arc<Engine>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.engine.core.state().abandoned = true;
        self.engine.core.abandon();
    }
}

/// Where an engine stands, see [`WriteBehind::status`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Status {
    /// Marked keys of all sets together, those of a flush under way included.
    pub dirty: usize,
    /// Bytes that their marks weigh.
    pub dirty_bytes: usize,
    /// Whether the flusher runs.
    pub running: bool,
    /// Flushes that wrote something.
    pub flushes: u64,
    /// Rows that they wrote or removed.
    pub rows: u64,
    /// Flushes that failed since the last one that did not.
    pub failures: u32,
    /// The error of the last flush, if it failed.
    pub error: Option<Error>,
}

/// An open engine with what the program has given it.
pub(super) struct Engine {
    pub(super) core: Arc<Core>,
    pub(super) sets: Vec<Set>,
    pub(super) relations: Vec<Relation>,
    /// Where memory is elsewhere.
    pub(super) ask: Option<Ask>,
    pub(super) options: Options,
    /// Open while a change is made, shut while a flush takes marks and reads values.
    pub(super) gate: RwLock<()>,
    /// Whoever flushes or repairs, one at a time, to the end.
    pub(super) turn: tokio::sync::Mutex<()>,
    pub(super) bootstrap: Bootstrap,
}

impl WriteBehind {
    /// Opens the job and brings everything up in one go: migrates, repairs, loads.
    ///
    /// Weak and strong sets of the schema can be used when this has returned;
    /// [`bootstrap`](WriteBehind::bootstrap) tells what has been done. If anything fails, a job that was
    /// not open before is closed again.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for a mistake in the schema or the options; `VersionTooNew` if the job is at a
    /// version that the schema has no step for, in which case nothing is touched; what opening the job,
    /// a step, a relation or a loader says; `Corrupt` for a key that is none of its set's.
    pub async fn open(root: &Persistency, id: &str, mut schema: Schema, options: Options) -> Result<Self> {
        schema.check()?;
        options.check()?;
        let was_open = root.has_job(id);
        let job = root.open_job_with(id, options.job.clone()).await?;
        match Self::over(job, schema, options).await {
            Ok(engine) => Ok(engine),
            Err(error) => {
                if !was_open && let Err(unheard) = root.close_job(id).await {
                    log::warn!("write_behind: {unheard}");
                }
                Err(error)
            }
        }
    }

    /// As [`open`](WriteBehind::open), over a job that is open and stays so.
    pub async fn over(job: Job, schema: Schema, options: Options) -> Result<Self> {
        Self::begin(job, schema, options, Life::First).await
    }

    /// As [`over`](WriteBehind::over), for a program that goes on: nothing is repaired or loaded, since memory may
    /// have what is not stored yet.
    #[cfg_attr(not(feature = "layers"), allow(dead_code, reason = "for pages"))]
    pub(crate) async fn again(job: Job, schema: Schema, options: Options) -> Result<Self> {
        Self::begin(job, schema, options, Life::Further).await
    }

    async fn begin(job: Job, mut schema: Schema, options: Options, life: Life) -> Result<Self> {
        schema.check()?;
        options.check()?;
        let bootstrap = bootstrap::bring_up(&job, &schema, &Patience::of(&job, &options), life).await;
        let bootstrap = bootstrap
            .map_err(|error| error.in_context(format_args!("job {}, open write-behind", Quoted(job.id()))))?;
        let engine = Arc::new(Engine::new(job, schema, options, bootstrap));
        Ok(WriteBehind { handle: Arc::new(Handle { engine }) })
    }

    /// What was done when it was opened.
    pub fn bootstrap(&self) -> &Bootstrap {
        &self.engine().bootstrap
    }

    /// The job under the engine.
    pub fn job(&self) -> &Job {
        &self.core().job
    }

    /// Makes a change of several keys that a flush sees whole or not at all.
    ///
    /// A flush takes all marks and reads all values while no change is under way. So whoever changes
    /// memory and marks what he changed inside one call never has a child flushed before its parent:
    ///
    /// ```
    /// # use persistency::write_behind::{WriteBehind, WeakSet};
    /// # use persistency::Result;
    /// # fn example(engine: WriteBehind, nodes: WeakSet<i64>, links: WeakSet<(i64, i64)>) -> Result<()> {
    /// engine.change(|| {
    ///     // memory first: node 7, and the link from 1 to 7 …
    ///     nodes.mark(&7)?;
    ///     links.mark(&(1, 7))
    /// })
    /// # }
    /// ```
    ///
    /// Take locks of your own inside, not around it: a reader may be waiting for them. Changes by
    /// several threads run at the same time. Must not be nested, nor called by a reader.
    pub fn change<T>(&self, change: impl FnOnce() -> T) -> T {
        let _open = self.engine().gate.read().unwrap_or_else(PoisonError::into_inner);
        change()
    }

    /// Writes everything that is dirty in one atomic batch, now; resolves when that is done, see
    /// [`Options::durability`].
    ///
    /// One flush runs at a time, later ones wait their turn. What is marked while it runs is not among
    /// what it writes, unless it was marked before the values were read, and stays dirty. If it fails
    /// all marks are put back, but for keys that have been marked since. Dropping the future puts them
    /// back too, and withdraws nothing that was accepted.
    ///
    /// # Errors
    ///
    /// That of a reader or of the job; `TooLarge` if payloads are larger than their sets' bounds say and
    /// together larger than a batch.
    pub async fn flush(&self) -> Result<Flushed> {
        self.engine().flush().await
    }

    /// Resolves when nothing is dirty, as a sign that says "saved" would want to know. Flushes nothing
    /// itself, and says nothing about what is marked afterwards.
    pub async fn clean(&self) {
        self.core().clean().await;
    }

    /// Starts the flusher: at each tick it looks whether the policy asks for a flush. `false` if it runs
    /// already, which changes nothing.
    ///
    /// # Errors
    ///
    /// `Backend` if no thread can be started.
    pub fn start(&self) -> Result<bool> {
        self.engine().start()
    }

    /// Stops the flusher and flushes once more; the flush under way, if there is one, is waited for.
    ///
    /// Also flushes if the flusher was never started or has been stopped: whoever stops knows afterwards
    /// that nothing is dirty but what has been marked since. It can be started again.
    ///
    /// # Errors
    ///
    /// That of the last flush; the flusher is stopped all the same, and the marks are still there.
    pub async fn stop(&self) -> Result<Flushed> {
        self.engine().stop().await
    }

    /// Has the flusher flush at once if anything is dirty, whatever policy and backoff say: for when the
    /// program may be about to end, as when a page is hidden. Does nothing if it does not run.
    pub fn flush_soon(&self) {
        self.core().flush_soon();
    }

    /// Applies a batch strongly: durable when this resolves with its seq.
    ///
    /// It is newer than every mark made before this was first polled: rows of weak sets that it writes or
    /// removes are no longer dirty. Its preconditions speak of what is stored, not of what is dirty. If it
    /// fails the marks are put back, but for keys that have been marked or strongly written since; if this
    /// future is dropped, the next flush learns first what became of it. A key that is marked afterwards is
    /// flushed as memory has it then, so change memory before you call this. What depends on a row that is
    /// only dirty (a child on its parent) should be written after a [`flush`](WriteBehind::flush).
    ///
    /// # Errors
    ///
    /// `Conflict` with the index of the precondition that failed; otherwise as
    /// [`Job::persist_acked`]. With the outcome `Applied` it is committed and only the sync failed.
    pub async fn write(&self, batch: impl Into<Batch>) -> Result<u64> {
        strong::write(self.core(), batch.into()).await
    }

    /// Removes rows that the schema's relations do not allow, in one atomic batch, durably.
    ///
    /// Flushes first, so that a row whose parent is only dirty yet is no orphan; if that fails nothing is
    /// removed. Relations are looked at in the order of their declaration, each with the effect of those
    /// before it. No flush and no strong write of this engine comes in between, and what engines in other
    /// tabs write between the look and the batch makes it look again. Memory is not told: repair before
    /// loading, as [`open`](WriteBehind::open) does, or load again.
    ///
    /// More rows than one batch can remove take several, each atomic; a kill between them leaves the
    /// rest to the next repair.
    ///
    /// # Errors
    ///
    /// That of the flush; `Conflict` if others kept writing; `Corrupt` for a key that is none of its set's;
    /// what a relation says; what the job says.
    pub async fn repair(&self) -> Result<RepairReport> {
        self.engine().repair().await
    }

    /// What [`repair`](WriteBehind::repair) would remove of what is stored; changes nothing.
    ///
    /// Nothing is flushed either, so what is only dirty is not seen: after a
    /// [`flush`](WriteBehind::flush) this says what a repair would do.
    ///
    /// # Errors
    ///
    /// As [`repair`](WriteBehind::repair).
    pub async fn repair_dry_run(&self) -> Result<RepairReport> {
        self.engine().repair_dry_run().await
    }

    /// Where the engine stands.
    pub fn status(&self) -> Status {
        let core = self.core();
        let running = core.is_running();
        let state = core.state();
        let Weight { marks, bytes } = state.dirty();
        Status {
            dirty: marks,
            dirty_bytes: bytes,
            running,
            flushes: state.flushes,
            rows: state.rows,
            failures: state.failures,
            error: state.error.clone(),
        }
    }

    fn engine(&self) -> &Arc<Engine> {
        &self.handle.engine
    }

    fn core(&self) -> &Core {
        &self.engine().core
    }
}

impl Engine {
    fn new(job: Job, schema: Schema, options: Options, bootstrap: Bootstrap) -> Self {
        let Schema { mut sets, relations, ask, core: handles, .. } = schema;
        sets.iter_mut().for_each(|set| set.loader = None);
        let live = sets.iter().map(|set| DirtySet::of_category(set.category.len(), set.bounds)).collect();
        let state = State::new(live, Weight { marks: options.marks, bytes: options.bytes });
        let categories = sets.iter().map(|set| Arc::clone(&set.category)).collect();
        // A schema is given away with the first engine, so nobody was faster.
        let core = Arc::clone(handles.get_or_init(|| Arc::new(Core::new(job, categories, state))));
        let (gate, turn) = Default::default();
        Engine { core, sets, relations, ask, options, gate, turn, bootstrap }
    }
}

impl fmt::Debug for WriteBehind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteBehind").field("job", &self.job().id()).field("status", &self.status()).finish()
    }
}
