//! The janitor: purges at an interval, until it is stopped or nobody holds the datastore any more.

use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::sync::{oneshot, watch};

use super::options::whole_ms;
use super::purge::Purged;
use super::store::Datastore;
use crate::error::{Error, ErrorKind, Result};
use crate::spawn::spawn;

/// A running janitor, see [`Datastore::start_janitor`]. Dropping it stops it too, without waiting.
pub struct Janitor {
    stop: Option<oneshot::Sender<()>>,
    report: watch::Receiver<JanitorReport>,
}

/// What a janitor has done so far.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct JanitorReport {
    /// How often it has purged.
    pub rounds: u64,
    /// What that has removed, all together.
    pub purged: Purged,
    /// The error of the last round, if it had one. The next round tries again.
    pub last_error: Option<Error>,
}

impl Datastore {
    /// Starts a janitor that [purges](Datastore::purge_expired) now and after every interval of the root's
    /// clock: natively on a thread of its own, in the browser as a task.
    ///
    /// It does not keep the datastore or its job open, and ends when they do. Failed rounds are logged,
    /// reported and tried again.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for an interval of zero; `Backend` if no thread can be started.
    pub fn start_janitor(&self, interval: Duration) -> Result<Janitor> {
        if interval.is_zero() {
            return Err(Error::new(ErrorKind::InvalidArgument, "a janitor's interval is more than zero"));
        }
        let (stop, stopped) = oneshot::channel();
        let (tell, report) = watch::channel(JanitorReport::default());
        let weak = Arc::downgrade(&self.shared);
        let clock = self.shared.clock.clone();
        let mut alive = self.shared.alive.subscribe();
        let name = format!("janitor {}", self.shared.job.id());
        spawn(&name, move || async move {
            let ended = async move {
                // Nothing is ever sent: it resolves when the sender is dropped.
                alive.changed().await.ok();
            };
            let mut end = pin!(async { drop(select(pin!(ended), stopped).await) });
            let interval_ms = whole_ms(interval);
            loop {
                let next = clock.monotonic_ms().saturating_add(interval_ms);
                let Some(shared) = weak.upgrade() else { return };
                if !shared.job.is_open() {
                    return;
                }
                let round = round(Datastore { shared }, &tell);
                if ends_first(&mut end, round).await || ends_first(&mut end, clock.sleep_until(next)).await {
                    return;
                }
            }
        })?;
        Ok(Janitor { stop: Some(stop), report })
    }
}

/// Whether `end` comes before `work`, which is dropped then.
async fn ends_first(end: impl Future<Output = ()> + Unpin, work: impl Future<Output = ()>) -> bool {
    matches!(select(end, pin!(work)).await, Either::Left(_))
}

async fn round(store: Datastore, tell: &watch::Sender<JanitorReport>) {
    let result = store.purge_expired().await;
    if let Err(error) = &result {
        log::warn!("janitor of job {}: {error}", store.job().id());
    }
    tell.send_modify(|report| {
        report.rounds += 1;
        report.last_error = result.as_ref().err().cloned();
        if let Ok(purged) = result {
            report.purged.collections += purged.collections;
            report.purged.pools += purged.pools;
            report.purged.records += purged.records;
            report.purged.tombstones += purged.tombstones;
        }
    });
}

impl Janitor {
    /// Stops it and waits until it has let go of everything. What a round has committed stays.
    pub async fn stop(mut self) -> JanitorReport {
        self.stop.take();
        let mut report = self.report.clone();
        // Closed when the janitor's task has ended.
        while report.changed().await.is_ok() {}
        report.borrow().clone()
    }

    /// What it has done so far.
    pub fn report(&self) -> JanitorReport {
        self.report.borrow().clone()
    }

    /// Waits for the end of the next round, or of the janitor.
    pub async fn next_round(&mut self) -> JanitorReport {
        self.report.changed().await.ok();
        self.report.borrow_and_update().clone()
    }
}

impl fmt::Debug for Janitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Janitor").field("report", &self.report()).finish_non_exhaustive()
    }
}
