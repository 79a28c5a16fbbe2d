//! A store that fails in every way a real one does, on demand or by chance from a seed.
//!
//! Never loses or changes what it has answered for: a [`Store`] that does is not one.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};

use super::{Put, Store};

/// A way in which a call to a store goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreFault {
    /// Nothing is done, and an error is answered.
    Error,
    /// It is done, but an error is answered.
    LostAnswer,
    /// A put leaves half of the object, and an error is answered; other calls are as `Error`.
    Torn,
    /// It is done twice, as when a network repeats it, and the second answer is given.
    Duplicate,
    /// It is done after a while.
    Delay,
}

const FAULTS: [StoreFault; 5] =
    [StoreFault::Error, StoreFault::LostAnswer, StoreFault::Torn, StoreFault::Duplicate, StoreFault::Delay];

/// A store around another one that goes wrong: for tests of what archives, and of what is built on them.
///
/// Without [`by_chance`](FaultyStore::by_chance), [`next`](FaultyStore::next) or
/// [`set_down`](FaultyStore::set_down) it does what the other one does. Clones are the same store.
#[derive(Clone)]
pub struct FaultyStore<S> {
    store: S,
    clock: Clock,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    random: u64,
    percent: u64,
    delay: Duration,
    down: bool,
    next: VecDeque<Option<StoreFault>>,
    calls: u64,
}

impl<S> FaultyStore<S> {
    /// A store that does what `store` does, for now; delays are measured by `clock`.
    pub fn new(store: S, clock: Clock) -> Self {
        FaultyStore { store, clock, state: Arc::default() }
    }

    /// From now on `percent` of the calls go wrong, in ways and delays up to `delay` that follow from
    /// `seed`.
    pub fn by_chance(&self, seed: u64, percent: u8, delay: Duration) {
        let mut state = self.lock();
        (state.random, state.percent, state.delay) = (seed, u64::from(percent), delay);
    }

    /// What the next calls come to, one after another, behind those that were set before: `None` is well.
    pub fn next(&self, faults: impl IntoIterator<Item = Option<StoreFault>>) {
        self.lock().next.extend(faults);
    }

    /// Whether every call fails from now on, as [`StoreFault::Error`].
    pub fn set_down(&self, down: bool) {
        self.lock().down = down;
    }

    /// How many calls there have been.
    pub fn calls(&self) -> u64 {
        self.lock().calls
    }

    /// The store around which it is.
    pub fn inner(&self) -> &S {
        &self.store
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Numbers only: a panic leaves nothing half.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Draws what this call comes to, and lets a delay pass.
    async fn fault(&self) -> Option<StoreFault> {
        let (fault, delay_ms) = self.lock().draw();
        if fault == Some(StoreFault::Delay) {
            self.clock.sleep_until(self.clock.monotonic_ms().saturating_add(delay_ms)).await;
        }
        fault
    }
}

impl State {
    fn draw(&mut self) -> (Option<StoreFault>, u64) {
        self.calls += 1;
        let delay_ms = u64::try_from(self.delay.as_millis()).unwrap_or(u64::MAX);
        if self.down {
            return (Some(StoreFault::Error), 0);
        }
        if let Some(fault) = self.next.pop_front() {
            return (fault, delay_ms);
        }
        if self.percent == 0 || self.word() % 100 >= self.percent {
            return (None, 0);
        }
        // Below the number of faults, which is far below 2^32.
        let fault = FAULTS[(self.word() % FAULTS.len() as u64) as usize];
        (Some(fault), self.word() % delay_ms.saturating_add(1).max(1))
    }

    /// SplitMix64: the same for the same seed everywhere.
    fn word(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

fn failed(what: &str) -> Error {
    Error::new(ErrorKind::Backend, format!("the store has been told to fail: {what}"))
}

#[async_trait]
impl<S: Store> Store for FaultyStore<S> {
    async fn put_new(&self, name: &str, bytes: &[u8]) -> Result<Put> {
        match self.fault().await {
            Some(StoreFault::Error) => Err(failed("an error")),
            Some(StoreFault::LostAnswer) => {
                self.store.put_new(name, bytes).await?;
                Err(failed("a lost answer"))
            }
            Some(StoreFault::Torn) => {
                self.store.put_new(name, &bytes[..bytes.len() / 2]).await?;
                Err(failed("a torn upload"))
            }
            Some(StoreFault::Duplicate) => {
                self.store.put_new(name, bytes).await?;
                self.store.put_new(name, bytes).await
            }
            Some(StoreFault::Delay) | None => self.store.put_new(name, bytes).await,
        }
    }

    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>> {
        match self.fault().await {
            Some(StoreFault::Error | StoreFault::Torn | StoreFault::LostAnswer) => Err(failed("an error")),
            _ => self.store.get(name).await,
        }
    }

    async fn list(&self, prefix: &str, from: &str, limit: usize) -> Result<Vec<String>> {
        match self.fault().await {
            Some(StoreFault::Error | StoreFault::Torn | StoreFault::LostAnswer) => Err(failed("an error")),
            _ => self.store.list(prefix, from, limit).await,
        }
    }

    async fn delete(&self, name: &str) -> Result<()> {
        match self.fault().await {
            Some(StoreFault::Error | StoreFault::Torn) => Err(failed("an error")),
            Some(StoreFault::LostAnswer) => {
                self.store.delete(name).await?;
                Err(failed("a lost answer"))
            }
            _ => self.store.delete(name).await,
        }
    }
}

impl<S: fmt::Debug> fmt::Debug for FaultyStore<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyStore").field("store", &self.store).finish_non_exhaustive()
    }
}
