//! The engine: one job, its sets, and who may do what at which time.
//!
//! Never holds the lock of the marks while somebody else's code runs or anything is awaited.

use std::fmt;
use std::ops::Add;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use tokio::sync::Notify;

use super::bootstrap::{self, Bootstrap};
use super::dirty_set::{DirtySet, Mark, Weight};
use super::elsewhere::Ask;
use super::flush::Flushed;
use super::flusher::Runner;
use super::held::{Held, Left};
use super::options::Options;
use super::repair::{self, RepairReport};
use super::schema::{Relation, Schema, Set};
use super::strong;
use crate::batch::Batch;
use crate::error::{Error, ErrorKind, Quoted, Result};
use crate::job::Job;
use crate::key::{Key, KeyPart};
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
    core: Arc<Core>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.core.state().abandoned = true;
        self.core.abandon();
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

/// What the handles of an engine and of its sets share.
pub(super) struct Core {
    pub(super) job: Job,
    pub(super) sets: Vec<Set>,
    pub(super) relations: Vec<Relation>,
    /// Where memory is elsewhere.
    pub(super) ask: Option<Ask>,
    pub(super) options: Options,
    state: Mutex<State>,
    /// Open while a change is made, shut while a flush takes marks and reads values.
    pub(super) gate: RwLock<()>,
    /// Whoever flushes or repairs, one at a time, to the end.
    pub(super) turn: tokio::sync::Mutex<()>,
    /// Whoever is about to have a batch accepted: from what it is made of to its place in the queue.
    pub(super) order: tokio::sync::Mutex<()>,
    /// Told when marks have gone.
    pub(super) less: Notify,
    pub(super) runner: Mutex<Option<Arc<Runner>>>,
    pub(super) bootstrap: Bootstrap,
}

/// The marks.
pub(super) struct State {
    pub(super) live: Vec<DirtySet<Key>>,
    /// Those of the flush under way; put back if it fails.
    pub(super) in_flight: Vec<DirtySet<Key>>,
    /// Those that strong writes under way have taken off; they keep their place, since they may come back.
    pub(super) held: Vec<Held>,
    /// Strong writes under way whose callers have gone.
    pub(super) left: Vec<Left>,
    /// Numbers the strong writes.
    pub(super) writes: u64,
    bounds: Weight,
    abandoned: bool,
    pub(super) flushes: u64,
    pub(super) rows: u64,
    pub(super) failures: u32,
    pub(super) error: Option<Error>,
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
    pub async fn over(job: Job, mut schema: Schema, options: Options) -> Result<Self> {
        schema.check()?;
        options.check()?;
        let bootstrap = bootstrap::bring_up(&job, &schema).await;
        let bootstrap = bootstrap
            .map_err(|error| error.in_context(format_args!("job {}, open write-behind", Quoted(job.id()))))?;
        let handles = Arc::clone(&schema.core);
        let core = Arc::new(Core::new(job, schema, options, bootstrap));
        // A schema is given away with the first engine, so nobody was faster.
        handles.set(Arc::clone(&core)).ok();
        Ok(WriteBehind { handle: Arc::new(Handle { core }) })
    }

    /// What was done when it was opened.
    pub fn bootstrap(&self) -> &Bootstrap {
        &self.core().bootstrap
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
        let _open = self.core().gate.read().unwrap_or_else(PoisonError::into_inner);
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
        self.core().flush().await
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
        self.core().start()
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
        self.core().stop().await
    }

    /// Has the flusher flush at once if anything is dirty, whatever policy and backoff say: for when the
    /// program may be about to end, as when a page is hidden. Does nothing if it does not run.
    pub fn flush_soon(&self) {
        self.core().flush_soon();
    }

    /// Applies a batch strongly: durable when this resolves with its seq.
    ///
    /// It is newer than every mark made before it was accepted: rows of weak sets that it writes or
    /// removes are no longer dirty. Its preconditions speak of what is stored, not of what is dirty. If
    /// it fails the marks are put back, but for keys that have been marked or strongly written since; if this
    /// future is dropped, the next flush learns first what became of it. A key that is marked afterwards is flushed as memory has it
    /// then, so change memory before you call this. What depends on a row that is only dirty (a child on
    /// its parent) should be written after a [`flush`](WriteBehind::flush).
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
    /// Relations are looked at in the order of their declaration, each with the effect of those before
    /// it. No flush and no strong write of this engine runs meanwhile, and what engines in other tabs
    /// write between the look and the batch makes it look again. Memory is not told: repair before
    /// loading, as [`open`](WriteBehind::open) does, or load again.
    ///
    /// More rows than one batch can remove take several, each atomic; a kill between them leaves the
    /// rest to the next repair.
    ///
    /// # Errors
    ///
    /// `Conflict` if others kept writing; `Corrupt` for a key that is none of its set's; what a relation
    /// says; what the job says.
    pub async fn repair(&self) -> Result<RepairReport> {
        let core = self.core();
        let (_turn, _order) = (core.turn.lock().await, core.order.lock().await);
        repair::repair(&core.job, &core.sets, &core.relations).await
    }

    /// What [`repair`](WriteBehind::repair) would remove; changes nothing.
    pub async fn repair_dry_run(&self) -> Result<RepairReport> {
        let core = self.core();
        let (_turn, _order) = (core.turn.lock().await, core.order.lock().await);
        Ok(repair::find(&core.job, &core.sets, &core.relations).await?.report())
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

    fn core(&self) -> &Arc<Core> {
        &self.handle.core
    }
}

impl Core {
    fn new(job: Job, schema: Schema, options: Options, bootstrap: Bootstrap) -> Self {
        let Schema { sets, relations, ask, .. } = schema;
        let held = sets.iter().map(|_| Held::default()).collect();
        let live = sets.iter().map(|set| DirtySet::of_category(set.category.len(), set.bounds)).collect();
        let state = State {
            live,
            in_flight: Vec::new(),
            held,
            left: Vec::new(),
            writes: 0,
            bounds: Weight { marks: options.marks, bytes: options.bytes },
            abandoned: false,
            flushes: 0,
            rows: 0,
            failures: 0,
            error: None,
        };
        Core {
            job,
            sets,
            relations,
            ask,
            options,
            state: Mutex::new(state),
            gate: RwLock::default(),
            turn: tokio::sync::Mutex::default(),
            order: tokio::sync::Mutex::default(),
            less: Notify::new(),
            runner: Mutex::default(),
            bootstrap,
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // A key's own encoding may have panicked, which leaves nothing half done here.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn mark(&self, index: usize, key: &dyn KeyPart, mark: Mark) -> Result<()> {
        let marked = self.state().mark(index, key, mark);
        marked.map_err(|error| {
            if error.kind() == ErrorKind::Overloaded {
                self.flush_full();
            }
            let category = self.sets.get(index).map_or("", |set| &*set.category);
            error.in_context(format_args!(
                "job {}, category {}, mark",
                Quoted(self.job.id()),
                Quoted(category)
            ))
        })
    }
}

impl State {
    fn mark(&mut self, index: usize, key: &dyn KeyPart, mark: Mark) -> Result<()> {
        if self.abandoned {
            return Err(Error::new(ErrorKind::Closed, "the engine has been dropped"));
        }
        let Some(live) = self.live.get_mut(index) else { return Err(not_weak()) };
        // Most marks are on keys that have them; these cost no more than to find that.
        if live.encode(key, mark)? {
            return Ok(());
        }
        let bounds = live.bounds();
        let bounds = Weight { marks: bounds.marks, bytes: bounds.bytes };
        let taken = (0..self.live.len()).fold(Weight::default(), |sum, set| sum + self.taken(set));
        let room = (self.bounds - taken).min(bounds - self.taken(index));
        let live = &mut self.live[index];
        live.mark_encoded(mark, room)?;
        // Whatever becomes of the strong write that has the older mark.
        self.held[index].forget(live.encoded());
        Ok(())
    }

    /// What of a set's room is taken. What is in flight or superseded keeps its place, so that it can
    /// always be put back.
    fn taken(&self, set: usize) -> Weight {
        let weight = |sets: &[DirtySet<Key>]| sets.get(set).map(DirtySet::weight).unwrap_or_default();
        weight(&self.live)
            + weight(&self.in_flight)
            + self.held.get(set).map(Held::weight).unwrap_or_default()
    }

    /// The marks of a set: those in flight included, and those that nobody waits to hear of.
    pub(super) fn dirty_of(&self, set: usize) -> Weight {
        let weight = |sets: &[DirtySet<Key>]| sets.get(set).map(DirtySet::weight).unwrap_or_default();
        let left = |held: &Held| held.weight_of(|write| self.left.iter().any(|left| left.number == write));
        let left = match self.left.is_empty() {
            true => Weight::default(),
            false => self.held.get(set).map(left).unwrap_or_default(),
        };
        weight(&self.live) + weight(&self.in_flight) + left
    }

    /// All marks of all sets.
    pub(super) fn dirty(&self) -> Weight {
        (0..self.live.len()).map(|set| self.dirty_of(set)).fold(Weight::default(), Weight::add)
    }
}

/// What marks answer where there are none.
fn not_weak() -> Error {
    Error::new(ErrorKind::InvalidArgument, "a set of another engine")
}

impl fmt::Debug for WriteBehind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteBehind").field("job", &self.job().id()).field("status", &self.status()).finish()
    }
}
