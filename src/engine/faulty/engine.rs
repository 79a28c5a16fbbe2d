//! The wrappers: a site that keeps its jobs' states like a medium, and engines that obey the script.
//!
//! Never reads a state, only keeps it and gives it back.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::{Call, Faults, Injection, Survivors, When};
use crate::engine::memory::{Contents, MemoryEngine, MemorySite};
use crate::engine::{
    Change, Claim, Direct, Engine, EngineError, Fault, NotDirectly, OpenMode, Query, Seen, Sharing, Site,
    Verify, Wanted,
};
use crate::error::Outcome;
use crate::pace::yield_now;
use crate::testing::Random;

/// Commits since the last durable one that power loss can choose from; beyond it the oldest are lost
/// or survive together.
const COMMITS_MAX: usize = 4096;

/// What survives the death of the process: for each job its last durable state, which is never
/// missing since creating a job is durable, and the states after each commit since then.
type Media = Arc<Mutex<BTreeMap<String, Vec<Contents>>>>;

/// A site whose jobs outlive their engines, even if the inner one's do not.
#[derive(Clone)]
pub(crate) struct FaultySite {
    inner: MemorySite,
    faults: Faults,
    sharing: Sharing,
    /// Whether its engines let rows be read without them, see [`Engine::direct`].
    offers_direct: bool,
    /// Whether its engines are closed while they have no work, see [`Engine::rests`].
    rests: bool,
    media: Media,
    /// Held by whoever applies: what one owner decides on, another does not change meanwhile.
    applying: Arc<tokio::sync::Mutex<()>>,
}

/// One job that obeys the script.
pub(crate) struct FaultyEngine {
    inner: MemoryEngine,
    id: String,
    faults: Faults,
    sharing: Sharing,
    offers_direct: bool,
    rests: bool,
    media: Media,
    applying: Arc<tokio::sync::Mutex<()>>,
    /// How often power had been lost when it was opened.
    outages: usize,
    /// The outage's fault, once there was one.
    dead: Cell<Option<Fault>>,
    lost: Cell<bool>,
}

/// What is still to happen when the call has done its work.
enum After {
    Answer,
    HoldAnswer,
    Fail(EngineError, When),
    LosePower(Survivors, Fault),
}

impl FaultySite {
    /// Jobs opened for writing say that they are `sharing`.
    pub(crate) fn new(inner: MemorySite, faults: Faults, sharing: Sharing) -> Self {
        FaultySite {
            inner,
            faults,
            sharing,
            offers_direct: false,
            rests: false,
            media: Arc::default(),
            applying: Arc::default(),
        }
    }

    /// The same site, whose engines let rows be read without them; the script knows nothing of that.
    pub(crate) fn offering_direct_reads(self) -> Self {
        FaultySite { offers_direct: true, ..self }
    }

    /// The same site, whose jobs rest while they have no work. In the browser none does.
    #[cfg(not(all(target_family = "wasm", target_os = "unknown")))]
    pub(crate) fn whose_jobs_rest(self) -> Self {
        FaultySite { rests: true, ..self }
    }

    /// The same medium as somebody else sees it, through a site and with a script of its own.
    pub(crate) fn beside(&self, inner: MemorySite, faults: Faults) -> Self {
        FaultySite { inner, faults, ..self.clone() }
    }

    /// Puts another state in the place of a job's, as somebody else would.
    pub(crate) fn store(&self, id: &str, state: Contents) {
        lock(&self.media).insert(id.to_owned(), vec![state]);
    }

    /// Loses power between two calls; engines that are open answer `Lost` from now on.
    pub(crate) fn lose_power(&self, survivors: Survivors) {
        cut(&self.media, survivors);
        self.faults.change(|script| script.outages += 1);
    }

    /// Removes a job's store as somebody else would; an open engine notices when it reconnects.
    pub(crate) fn vanish(&self, id: &str) {
        lock(&self.media).remove(id);
    }

    pub(crate) async fn open_now(
        &self,
        id: &str,
        mode: OpenMode,
        first_record: &[u8],
    ) -> Result<FaultyEngine, EngineError> {
        let after = self.enter(Call::Open).await?.unless_early()?;
        let kept = lock(&self.media).get(id).and_then(|states| states.last().cloned());
        if kept.is_none() && mode != OpenMode::Create {
            return Err(EngineError::new(Fault::Missing, "the job is not there"));
        }
        let inner = self.inner.open_now(id, OpenMode::Create, first_record)?;
        match kept {
            Some(state) => inner.restore(state),
            None => {
                lock(&self.media).insert(id.to_owned(), vec![inner.snapshot()]);
            }
        }
        after.answer()?;
        Ok(self.engine(inner, id, mode))
    }

    fn engine(&self, inner: MemoryEngine, id: &str, mode: OpenMode) -> FaultyEngine {
        let sharing = if mode == OpenMode::ReadOnly { Sharing::ReadOnly } else { self.sharing };
        FaultyEngine {
            inner,
            id: id.to_owned(),
            faults: self.faults.clone(),
            sharing,
            offers_direct: self.offers_direct,
            rests: self.rests,
            media: Arc::clone(&self.media),
            applying: Arc::clone(&self.applying),
            outages: self.faults.outages(),
            dead: Cell::default(),
            lost: Cell::default(),
        }
    }

    async fn enter(&self, call: Call) -> Result<After, EngineError> {
        let after = enter(&self.faults, call, false).await?;
        if let After::LosePower(survivors, fault) = after {
            self.lose_power(survivors);
            return Err(powerless(fault));
        }
        Ok(after)
    }
}

#[async_trait(?Send)]
impl Site for FaultySite {
    fn is_private(&self) -> bool {
        self.inner.is_private()
    }

    async fn claim(&self) -> Result<Arc<dyn Claim>, EngineError> {
        self.inner.claim().await
    }

    async fn open(
        &self,
        id: &str,
        mode: OpenMode,
        first_record: Vec<u8>,
    ) -> Result<Box<dyn Engine>, EngineError> {
        Ok(Box::new(self.open_now(id, mode, &first_record).await?))
    }

    fn resting(&self, id: &str, mode: OpenMode) -> Result<Box<dyn Engine>, EngineError> {
        let engine = self.engine(self.inner.open_now(id, OpenMode::Create, &[])?, id, mode);
        engine.lost.set(true);
        Ok(Box::new(engine))
    }

    async fn list(&self) -> Result<Vec<String>, EngineError> {
        let after = self.enter(Call::List).await?.unless_early()?;
        after.answer()?;
        Ok(lock(&self.media).keys().cloned().collect())
    }

    async fn destroy(&self, id: &str) -> Result<(), EngineError> {
        let after = self.enter(Call::Destroy).await?.unless_early()?;
        self.inner.destroy(id).await?;
        lock(&self.media).remove(id);
        after.answer()
    }
}

impl FaultyEngine {
    /// Obeys the script up to the point where the call does its work.
    async fn enter(&self, call: Call, durable: bool) -> Result<After, EngineError> {
        // Counted also where it is refused at once.
        let refused = self.refuses(call);
        let after = enter(&self.faults, call, durable).await.inspect_err(|error| self.note(error))?;
        if let Some(error) = refused {
            return Err(error);
        }
        match after {
            After::LosePower(survivors, fault) if call != Call::Apply => {
                Err(self.lose_power(survivors, fault))
            }
            After::LosePower(Survivors::Durable, fault) => {
                let error = self.lose_power(Survivors::Durable, fault);
                Err(error.with_outcome(Outcome::Unknown))
            }
            // It may have happened while this call was waiting.
            after => self.refuses(call).map_or(Ok(after), Err),
        }
    }

    /// Why a call cannot be made now.
    fn refuses(&self, call: Call) -> Option<EngineError> {
        if self.outages != self.faults.outages() {
            return Some(powerless(self.dead.get().unwrap_or(Fault::Lost)));
        }
        let lost = self.lost.get() && !matches!(call, Call::Reconnect | Call::Close);
        lost.then(|| EngineError::new(Fault::Lost, "the connection has been lost"))
    }

    /// Sees what others have committed, where there can be others.
    fn refresh(&self) {
        if self.sharing != Sharing::Exclusive
            && let Some(newest) = lock(&self.media).get(&self.id).and_then(|states| states.last())
        {
            self.inner.restore(newest.clone());
        }
    }

    fn note(&self, error: &EngineError) {
        if error.fault == Fault::Lost {
            self.lost.set(true);
        }
    }

    fn lose_power(&self, survivors: Survivors, fault: Fault) -> EngineError {
        self.dead.set(Some(fault));
        cut(&self.media, survivors);
        self.faults.change(|script| script.outages += 1);
        powerless(fault)
    }

    /// Ends a call that has done its work.
    fn leave<T>(&self, after: After, value: T) -> Result<T, EngineError> {
        after.answer().inspect_err(|error| self.note(error)).map(|()| value)
    }

    async fn around<T>(
        &self,
        call: Call,
        read: impl Future<Output = Result<T, EngineError>>,
    ) -> Result<T, EngineError> {
        let after = self.enter(call, false).await?;
        let after = after.unless_early().inspect_err(|error| self.note(error))?;
        self.refresh();
        let value = read.await?;
        self.leave(after, value)
    }

    /// Puts what the inner engine holds on the medium.
    fn commit(&self, durable: bool) {
        let mut media = lock(&self.media);
        // A store that vanished stays away, whoever goes on writing to it.
        let Some(states) = media.get_mut(&self.id) else { return };
        if durable {
            states.clear();
        } else if states.len() > COMMITS_MAX {
            states.remove(1);
        }
        states.push(self.inner.snapshot());
    }
}

#[async_trait(?Send)]
impl Engine for FaultyEngine {
    fn sharing(&self) -> Sharing {
        self.sharing
    }

    async fn read(&self, query: Query, verify: Verify) -> Result<Seen, EngineError> {
        self.around(Call::of(&query), self.inner.read(query, verify)).await
    }

    async fn apply(&self, change: Change) -> Result<(), EngineError> {
        let Change { reads, decide, durable } = change;
        let after = self.enter(Call::Apply, durable).await?;
        let (after, early) = match after {
            After::Fail(error, When::Before) => {
                self.note(&error);
                return Err(error);
            }
            After::Fail(error, When::Decided) => (After::Answer, Some(error)),
            after => (after, None),
        };
        // What the wrapped decision tells: the error that keeps the writes back, and whether any were meant.
        let told = Rc::new((RefCell::new(early), Cell::new(false)));
        let (faults, telling) = (self.faults.clone(), Rc::clone(&told));
        let decide = Box::new(move |found| {
            let writes = decide(found);
            let mut refusal = telling.0.borrow_mut();
            if refusal.is_none() {
                *refusal = writes.as_deref().and_then(|writes| faults.refusal(writes));
            }
            telling.1.set(writes.is_some());
            writes.filter(|_| refusal.is_none())
        });
        let _alone = self.applying.lock().await;
        self.refresh();
        self.inner.apply(Change { reads, decide, durable }).await?;
        if let Some(error) = told.0.take() {
            self.note(&error);
            return Err(error);
        }
        if let Some(error) = self.refuses(Call::Apply) {
            return Err(error.with_outcome(Outcome::Unknown));
        }
        if !told.1.get() {
            return self.leave(after, ());
        }
        let sync_refused = durable && self.faults.forbids_sync();
        let synced = match &after {
            After::Answer | After::HoldAnswer => !sync_refused,
            After::Fail(error, _) => error.fault != Fault::SyncFailed && !sync_refused,
            After::LosePower(..) => false,
        };
        self.commit(durable && synced);
        if sync_refused {
            self.faults.fire();
            let error = EngineError::new(Fault::SyncFailed, "injected by a rule");
            return Err(error.with_outcome(Outcome::Unknown));
        }
        if matches!(after, After::HoldAnswer) {
            self.faults.until_released().await;
        }
        if let After::LosePower(survivors, fault) = after {
            return Err(self.lose_power(survivors, fault).with_outcome(Outcome::Unknown));
        }
        self.leave(after, ())
    }

    fn abort(&self) {
        self.faults.abort();
        self.inner.abort();
    }

    fn rests(&self) -> bool {
        self.rests
    }

    async fn reconnect(&self) -> Result<(), EngineError> {
        let after = self.enter(Call::Reconnect, false).await?.unless_early()?;
        let stored = lock(&self.media).get(&self.id).and_then(|states| states.last().cloned());
        let Some(stored) = stored else {
            return Err(EngineError::new(Fault::Missing, "the store has gone"));
        };
        self.inner.reconnect().await?;
        self.inner.restore(stored);
        self.lost.set(false);
        self.leave(after, ())
    }

    async fn changed(&self) {
        self.inner.changed().await;
    }

    fn announce(&self, generation: [u8; 16], seq: u64) {
        self.inner.announce(generation, seq);
    }

    fn direct(&self) -> Option<Arc<dyn Direct>> {
        let rows = CommittedRows { media: Arc::clone(&self.media), id: self.id.clone() };
        self.offers_direct.then(|| Arc::new(rows) as _)
    }

    async fn compact(&self) -> Result<(), EngineError> {
        self.around(Call::Compact, self.inner.compact()).await
    }

    /// Releases the inner engine also where it fails, since nothing can follow.
    async fn close(&self) -> Result<(), EngineError> {
        let after = self.enter(Call::Close, false).await;
        self.inner.close().await?;
        after?.answer()
    }
}

/// The rows as they were committed last, also after the engine has been closed.
struct CommittedRows {
    media: Media,
    id: String,
}

impl Direct for CommittedRows {
    fn row(&self, wanted: &Wanted<'_>) -> Result<Option<Vec<u8>>, NotDirectly> {
        let media = lock(&self.media);
        let newest = media.get(&self.id).and_then(|states| states.last()).ok_or(NotDirectly)?;
        Ok(newest.row(wanted.category, wanted.key).cloned())
    }
}

impl After {
    /// The error of a call that fails before its work.
    fn unless_early(self) -> Result<Self, EngineError> {
        match self {
            After::Fail(error, When::Before | When::Decided) => Err(error),
            after => Ok(after),
        }
    }

    fn answer(self) -> Result<(), EngineError> {
        match self {
            After::Answer | After::HoldAnswer => Ok(()),
            After::Fail(error, _) => Err(error),
            After::LosePower(_, fault) => Err(powerless(fault)),
        }
    }
}

async fn enter(faults: &Faults, call: Call, durable: bool) -> Result<After, EngineError> {
    let mut after = After::Answer;
    for injection in faults.step(call) {
        if matches!(injection, Injection::Fail { fault: Fault::SyncFailed, .. }) && !durable {
            continue;
        }
        faults.fire();
        match injection {
            Injection::Fail { fault, outcome, when } => {
                let error = EngineError::new(fault, format!("injected into {call:?}"));
                after = After::Fail(error.with_outcome(outcome), when);
            }
            Injection::Yield(times) => {
                for _ in 0..times {
                    yield_now().await;
                }
            }
            Injection::Hold => faults.until_released().await,
            Injection::HoldAnswer => after = After::HoldAnswer,
            Injection::Hang { completes } => {
                faults.until_aborted().await;
                if !completes {
                    return Err(EngineError::new(Fault::Aborted, "aborted while it hung"));
                }
            }
            Injection::Panic => panic!("injected into {call:?}"),
            Injection::LosePower { survivors, fault } => after = After::LosePower(survivors, fault),
        }
    }
    Ok(after)
}

fn lock(media: &Media) -> MutexGuard<'_, BTreeMap<String, Vec<Contents>>> {
    // Each statement under the lock leaves every job with a state.
    media.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Leaves each job with one state, which is durable then.
fn cut(media: &Media, survivors: Survivors) {
    let mut random = match survivors {
        Survivors::Durable => None,
        Survivors::Prefix(seed) => Some(Random::new(seed)),
    };
    for states in lock(media).values_mut() {
        let last = random.as_mut().map_or(0, |random| random.below(states.len()));
        let survivor = states.swap_remove(last);
        states.clear();
        states.push(survivor);
    }
}

fn powerless(fault: Fault) -> EngineError {
    EngineError::new(fault, "power has been lost")
}
