//! The worker over the faulty engine: every rule of the fault model, seen through the public handles.
//!
//! `sweep` lets every fault befall every step of one scenario and checks the laws that hold whatever
//! happens; the other files hold one rule each against one fault.

mod closing;
mod connection;
mod deadlines;
mod direct;
mod full;
mod outcomes;
#[cfg(panic = "unwind")]
mod panics;
mod parts;
mod reading;
#[cfg(not(all(target_family = "wasm", target_os = "unknown")))]
mod resting;
mod scenario;
mod sharing;
mod sweep;
mod syncs;
mod watching;

use std::future::IntoFuture;
use std::time::Duration;

use futures_util::future::{Either, select};

use crate::engine::Sharing;
use crate::engine::faulty::{Faults, FaultySite};
use crate::engine::memory::MemorySite;
use crate::{Batch, Clock, Error, ErrorKind, Job, JobOptions, Key, Outcome, Persistency, Receipt, Result};

/// When the manual clocks start, in ms since the Unix epoch.
const START_MS: u64 = 1_700_000_000_000;
/// How long a test waits for what should take no time, in ms.
const PATIENCE_MS: u64 = 30_000;
/// The deadline of the jobs that have one.
const DEADLINE: Duration = Duration::from_secs(10);
/// The name of the job that the tests work on.
const JOB: &str = "job";
/// The category that they write to, unless they need several.
const ROWS: &str = "rows";

/// One medium, its script, and a clock that stands still.
struct World {
    faults: Faults,
    site: FaultySite,
    clock: Clock,
}

impl World {
    fn new(sharing: Sharing) -> Self {
        let faults = Faults::new();
        let site = FaultySite::new(MemorySite::default(), faults.clone(), sharing);
        World { faults, site, clock: Clock::manual(START_MS) }
    }

    fn exclusive() -> Self {
        Self::new(Sharing::Exclusive)
    }

    /// A root over the medium.
    fn root(&self) -> Persistency {
        let place = crate::place::Place::at(self.site.clone());
        Persistency::at("faulty".into(), place, self.clock.clone())
    }

    /// Another owner of the same medium, with a script of its own and the same clock.
    fn beside(&self) -> World {
        let faults = Faults::new();
        let site = self.site.beside(MemorySite::default(), faults.clone());
        World { faults, site, clock: self.clock.clone() }
    }

    async fn open(&self) -> (Persistency, Job) {
        self.open_with(JobOptions::new().no_deadline()).await
    }

    async fn open_with(&self, options: JobOptions) -> (Persistency, Job) {
        let root = self.root();
        let job = soon(root.open_job_with(JOB, options)).await.expect("opens");
        (root, job)
    }

    fn advance(&self, duration: Duration) {
        self.clock.advance(duration);
    }

    /// Resolves when one more call is held or hangs.
    async fn held(&self) {
        soon(self.faults.until_waiting(1)).await;
    }
}

/// Awaits what nothing should keep from happening.
async fn soon<F: Future>(future: F) -> F::Output {
    let clock = Clock::system();
    let future = std::pin::pin!(future);
    match select(future, clock.sleep_until(clock.monotonic_ms() + PATIENCE_MS)).await {
        Either::Left((output, _)) => output,
        Either::Right(_) => panic!("it hangs"),
    }
}

/// Lets the worker come to rest, as far as that can be told: gives way until a moment has passed.
async fn pause() {
    let clock = Clock::system();
    clock.sleep_until(clock.monotonic_ms() + 20).await;
}

fn key(n: u8) -> Key {
    Key::from_bytes([n])
}

fn put(n: u8) -> Batch {
    Batch::new().put(ROWS, key(n), [n])
}

async fn accept(job: &Job, batch: Batch) -> Receipt {
    soon(job.persist(batch)).await.expect("is accepted")
}

/// The first bytes of the keys that the job holds.
async fn keys(job: &Job) -> Vec<u8> {
    let rows = soon(job.scan(ROWS, ..).into_future()).await.expect("scans");
    rows.iter().map(|row| row.key.as_bytes()[0]).collect()
}

/// Kind and outcome of an error.
fn told<T: std::fmt::Debug>(result: Result<T>) -> (ErrorKind, Outcome) {
    let error = result.expect_err("fails");
    (error.kind(), error.outcome())
}

/// How many writes an error of a flush or close speaks of.
fn writes_in(error: &Error) -> usize {
    let message = error.message();
    if !message.contains("batch of ") && !message.contains(", put:") && !message.contains(", delete:") {
        return 0;
    }
    let Some((_, tail)) = message.rsplit_once("; ") else { return 1 };
    let number = tail.split(' ').next().and_then(|number| number.parse::<usize>().ok());
    1 + number.unwrap_or(0)
}
