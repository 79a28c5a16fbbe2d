//! The flusher: looks at each tick whether the policy asks for a flush, and waits after failures.
//!
//! Reads no time but its clock's, and decides nothing about what a flush writes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};

use super::core::Core;
use super::dirty_set::Weight;
use super::engine::Engine;
use super::flush::Flushed;
use super::guard::guarded;
use super::options::FlushPolicy;
use crate::error::{ErrorKind, Result};
use crate::spawn::spawn;

/// One life of a flusher, from start to stop.
pub(super) struct Runner {
    stop: AtomicBool,
    soon: AtomicBool,
    full: AtomicBool,
    news: Notify,
    ended: watch::Sender<bool>,
}

/// Says that the flusher has ended, however it does.
struct Ending(Arc<Runner>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.ended.send_replace(true);
    }
}

impl Runner {
    fn signal(&self, flag: &AtomicBool) {
        flag.store(true, Ordering::Release);
        self.news.notify_one();
    }

    fn has_ended(&self) -> bool {
        *self.ended.borrow()
    }
}

impl Engine {
    pub(super) fn start(self: &Arc<Self>) -> Result<bool> {
        let mut place = self.core.runner_place();
        if place.as_ref().is_some_and(|runner| !runner.has_ended()) {
            return Ok(false);
        }
        let [stop, soon, full] = std::array::from_fn(|_| AtomicBool::new(false));
        let (news, ended) = (Notify::new(), watch::Sender::new(false));
        let runner = Arc::new(Runner { stop, soon, full, news, ended });
        // The first interval begins now, not when the flusher's thread does.
        let started_ms = self.options.clock.monotonic_ms();
        let (engine, own) = (Arc::clone(self), Arc::clone(&runner));
        spawn("write-behind", move || run(engine, own, started_ms))?;
        *place = Some(runner);
        Ok(true)
    }

    pub(super) async fn stop(&self) -> Result<Flushed> {
        let runner = self.core.runner_place().take();
        if let Some(runner) = runner {
            runner.signal(&runner.stop);
            // Its sender is in the runner, so this ends with the flusher.
            runner.ended.subscribe().wait_for(|ended| *ended).await.ok();
        }
        self.flush().await
    }

    /// Whether the policy asks for a flush now; one that panics does.
    fn is_asked(&self, dirty: Weight, elapsed_ms: u64) -> bool {
        let policy = guarded("the policy", || Ok((self.options.policy)()));
        policy.map(|policy| is_due(&policy, dirty, elapsed_ms)).unwrap_or_else(|error| {
            log::error!("write_behind: {error}");
            true
        })
    }
}

impl Core {
    pub(super) fn is_running(&self) -> bool {
        self.runner_place().as_ref().is_some_and(|runner| !runner.has_ended())
    }

    pub(super) fn flush_soon(&self) {
        if let Some(runner) = &*self.runner_place() {
            runner.signal(&runner.soon);
        }
    }

    /// Has the flusher flush without waiting for a tick, unless it waits after a failure.
    pub(super) fn flush_full(&self) {
        if let Some(runner) = &*self.runner_place() {
            runner.signal(&runner.full);
        }
    }

    /// Ends the flusher after a last flush, without anybody waiting for it.
    pub(super) fn abandon(&self) {
        if let Some(runner) = &*self.runner_place() {
            runner.signal(&runner.soon);
            runner.signal(&runner.stop);
        }
    }

    fn runner_place(&self) -> MutexGuard<'_, Option<Arc<Runner>>> {
        self.runner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn run(engine: Arc<Engine>, runner: Arc<Runner>, started_ms: u64) {
    let ending = Ending(Arc::clone(&runner));
    let clock = engine.options.clock.clone();
    let tick_ms = u64::try_from(engine.options.tick.as_millis()).unwrap_or(u64::MAX);
    let mut looked_ms = started_ms;
    let mut flushed_ms = started_ms;
    let mut retry_ms = 0;
    loop {
        let next_ms = looked_ms.saturating_add(tick_ms);
        let ticked = clock.until(Some(next_ms), runner.news.notified()).await.is_none();
        let soon = runner.soon.swap(false, Ordering::AcqRel);
        let full = runner.full.swap(false, Ordering::AcqRel);
        let stop = runner.stop.load(Ordering::Acquire);
        if stop && !soon {
            break;
        }
        let now_ms = clock.monotonic_ms();
        if ticked {
            // Ticks are counted from the start; those that were missed are not made up for.
            looked_ms = next_ms.max(now_ms - (now_ms - started_ms) % tick_ms.max(1));
        }
        let (dirty, failures) = {
            let state = engine.core.state();
            (state.dirty(), state.failures)
        };
        let elapsed_ms = now_ms.saturating_sub(flushed_ms);
        // Asked at each tick, also where the answer does not matter now.
        let asked = ticked && engine.is_asked(dirty, elapsed_ms);
        let due = soon || now_ms >= retry_ms && (full || ticked && (asked || failures > 0));
        if !due || dirty.marks == 0 {
            if stop {
                break;
            }
            continue;
        }
        match engine.flush().await {
            Ok(_) => {
                // What it wrote is as old as its beginning.
                flushed_ms = now_ms;
                retry_ms = 0;
            }
            Err(error) => {
                log::warn!("write_behind: {error}");
                if matches!(error.kind(), ErrorKind::Closed | ErrorKind::JobNotFound) {
                    break;
                }
                let random = getrandom::u64().unwrap_or_default();
                let failures = engine.core.state().failures;
                retry_ms =
                    clock.monotonic_ms().saturating_add(engine.options.backoff.wait_ms(failures, random));
            }
        }
        if stop {
            break;
        }
    }
    drop(ending);
}

/// Whether a policy asks for a flush.
fn is_due(policy: &FlushPolicy, dirty: Weight, elapsed_ms: u64) -> bool {
    dirty.marks >= policy.marks
        || dirty.bytes >= policy.bytes
        || u128::from(elapsed_ms) >= policy.interval.as_millis()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::testing::test;

    #[test]
    fn a_policy_asks_for_a_flush_when_any_of_its_bounds_is_reached() {
        let policy = FlushPolicy { marks: 10, bytes: 100, interval: Duration::from_millis(1000) };
        let due = |marks, bytes, elapsed_ms| is_due(&policy, Weight { marks, bytes }, elapsed_ms);
        assert!(!due(9, 99, 999));
        assert!(due(10, 0, 0) && due(0, 100, 0) && due(0, 0, 1000));
    }
}
