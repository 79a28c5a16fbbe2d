//! The faulty engine: wraps another one and fails, delays, hangs, panics or loses power as scripted.
//!
//! Compiled into tests only; never invents data, so whatever is read was written by the caller.
//!
//! # The fault model
//!
//! What the crate must survive, call by call, and what the user then sees (design.md, section 3).
//! "Group" is the group commit that one `apply` carries.
//!
//! | call | fault | what the user sees |
//! |---|---|---|
//! | `open` | `Busy`, `Missing`, `TooNew`, `Corrupt`, `StorageFull`, `Unsupported`, `Other` | `Busy`, `JobNotFound`, `VersionTooNew`, `Corrupt`, `StorageFull`, `Unsupported`, `Backend` from `open_job`; a later `open_job` tries anew and finds the job as it was |
//! | `open` | hangs | `Busy` from `open_job` at the deadline |
//! | `get`, `page`, `count`, `categories` | any fault but `Lost` | the call's own error; other calls and the job go on |
//! | reads | `Lost` | nothing: one reconnection and one more try; lost twice is `Backend` |
//! | reads | hang | `Timeout` at the deadline, if there is one |
//! | `apply` | `StorageFull`, not applied | the group is halved until one batch fails alone; it and the later ones of the group that contain a put are `StorageFull`, the others are applied in order |
//! | `apply` | any other fault, not applied | the group's batches answer with it, `NotApplied`; later batches go on |
//! | `apply` | outcome unknown, applied or not | the record is read again: applied is success, not applied is the error `NotApplied`; only an unreadable record is `Unknown` |
//! | `apply` | `Lost`, whatever the outcome | the record is read again after reconnecting, as above; a missing store or another generation closes the job: `JobNotFound`, with everything queued |
//! | `apply` | `SyncFailed` | writes and `flush` answer `Backend` until the job is reopened; reads go on |
//! | `apply` | hangs and can be aborted | `Timeout`, `NotApplied`; or success, if it completes nevertheless |
//! | `apply` | hangs and ignores the abort | `Timeout`, `Unknown`, after the grace |
//! | `reconnect` | `Missing` | `JobNotFound`, with everything queued |
//! | `reconnect` | any other fault | `Backend` |
//! | `close` | any | the error from `close_job`, which has released the job nevertheless |
//! | `destroy` | any | the error from `drop_job`; the job is dead all the same, and the next `open_job` finishes the deletion |
//! | `list`, `check`, `compact`, `bytes` | any | the call's own error |
//! | any | panics | natively every waiting call of the job is `Backend` with outcome `Unknown` where it was writing; other jobs go on |
//! | any | power is lost | what was durable is there after reopening, with some of the later commits in their order, none of them half |
//!
//! Nothing that fails takes another job with it, and no error is dropped silently.

mod engine;
mod tests;

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use super::{EngineError, Fault, Query, Write};
use crate::batch::Op;
use crate::error::Outcome;

pub(crate) use engine::{FaultyEngine, FaultySite};

/// A primitive; each call of one is a step of the script.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Call {
    Open,
    List,
    Destroy,
    Get,
    Page,
    Count,
    Categories,
    Apply,
    Reconnect,
    Check,
    Compact,
    Bytes,
    Close,
}

impl Call {
    fn of(query: &Query) -> Self {
        match query {
            Query::Get(_) => Call::Get,
            Query::Page(_) => Call::Page,
            Query::Count { .. } => Call::Count,
            Query::Categories { .. } => Call::Categories,
            Query::Damage => Call::Check,
            Query::Size => Call::Bytes,
        }
    }
}

/// How far a call that fails has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// Nothing has been done; an `apply` has not decided.
    Before,
    /// An `apply` has decided, and nothing of it is written; another call has done nothing.
    Decided,
    /// All of it has been done, and the answer is lost.
    Done,
}

/// What power loss leaves behind of the commits since the last durable one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Survivors {
    /// None of them.
    Durable,
    /// As many of the oldest ones as the seed says; an `apply` under way counts among them.
    Prefix(u64),
}

/// What happens to one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Injection {
    /// Fails. After `Lost` the engine answers `Lost` until it is reconnected. `SyncFailed` befalls a
    /// durable `apply` only, and what that wrote does not count as durable.
    Fail { fault: Fault, outcome: Outcome, when: When },
    /// Goes on after being polled so many times more.
    Yield(usize),
    /// Goes on after [`Faults::release`]; ignores aborts.
    Hold,
    /// An `apply` is done, and its answer comes after [`Faults::release`]; ignores aborts.
    HoldAnswer,
    /// Waits for an abort, and then fails as aborted, or goes on nevertheless.
    Hang { completes: bool },
    /// Panics before anything is done.
    Panic,
    /// Fails with this fault, as does every later call on an engine that is open now.
    LosePower { survivors: Survivors, fault: Fault },
}

impl Injection {
    /// Fails with nothing done.
    pub(crate) fn fail(fault: Fault) -> Self {
        Injection::Fail { fault, outcome: Outcome::NotApplied, when: When::Before }
    }

    /// Is done, but answers that nobody knows.
    pub(crate) fn lost_answer(fault: Fault) -> Self {
        Injection::Fail { fault, outcome: Outcome::Unknown, when: When::Done }
    }

    /// Is not done, and answers that nobody knows.
    pub(crate) fn unsure(fault: Fault) -> Self {
        Injection::Fail { fault, outcome: Outcome::Unknown, when: When::Decided }
    }
}

/// What befalls every `apply` that it fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// More operations on rows than this are `StorageFull`.
    OperationsMax(usize),
    /// A put of a row is `StorageFull`.
    NoPuts,
    /// A durable one is applied, its sync fails.
    NoSync,
}

/// The script of a site and all its engines; a clone is the same script.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults(Arc<Mutex<Script>>);

#[derive(Debug, Default)]
struct Script {
    calls: BTreeMap<Call, usize>,
    at_step: BTreeMap<usize, Vec<Injection>>,
    at_call: BTreeMap<(Call, usize), Vec<Injection>>,
    rules: Vec<Rule>,
    fired: usize,
    /// How often power was lost.
    outages: usize,
    releases: usize,
    aborts: usize,
    waiting: usize,
    wakers: Vec<Waker>,
}

impl Faults {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds to what happens at a step; the first call of all is step 1.
    pub(crate) fn at(&self, step: usize, injection: Injection) {
        self.script().at_step.entry(step).or_default().push(injection);
    }

    /// Adds to what happens to the `nth` call of one primitive from now; the next one is the first.
    pub(crate) fn on(&self, call: Call, nth: usize, injection: Injection) {
        let mut script = self.script();
        let number = script.calls.get(&call).copied().unwrap_or(0) + nth;
        script.at_call.entry((call, number)).or_default().push(injection);
    }

    /// Replaces the rules.
    pub(crate) fn set_rules(&self, rules: &[Rule]) {
        self.script().rules = rules.to_vec();
    }

    /// Calls so far.
    pub(crate) fn steps(&self) -> usize {
        self.script().steps()
    }

    /// Calls of one primitive so far.
    pub(crate) fn calls(&self, call: Call) -> usize {
        self.script().calls.get(&call).copied().unwrap_or(0)
    }

    /// Injections and refusals by rule so far; an injection counts when its call reaches it.
    pub(crate) fn fired(&self) -> usize {
        self.script().fired
    }

    /// Lets every call go on that is held now.
    pub(crate) fn release(&self) {
        self.change(|script| script.releases += 1);
    }

    /// Resolves when so many aborts have been asked for.
    pub(crate) async fn until_aborts(&self, aborts: usize) {
        self.until(|script| script.aborts >= aborts).await;
    }

    /// Resolves when so many calls are held or hang.
    pub(crate) async fn until_waiting(&self, calls: usize) {
        self.until(|script| script.waiting >= calls).await;
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        // Injected panics happen outside of the lock, and a script is whole between its statements.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Script)) {
        let mut script = self.script();
        change(&mut script);
        let wakers = std::mem::take(&mut script.wakers);
        drop(script);
        wakers.into_iter().for_each(Waker::wake);
    }

    async fn until(&self, holds: impl Fn(&Script) -> bool) {
        poll_fn(|context| {
            let mut script = self.script();
            if holds(&script) {
                return Poll::Ready(());
            }
            // One waker for each task, however often it is polled.
            if !script.wakers.iter().any(|waker| waker.will_wake(context.waker())) {
                script.wakers.push(context.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }

    /// Waits as a call that the test can see waiting, also when it is given up.
    async fn wait_until(&self, holds: impl Fn(&Script) -> bool) {
        struct Waiting<'a>(&'a Faults);
        impl Drop for Waiting<'_> {
            fn drop(&mut self) {
                self.0.change(|script| script.waiting -= 1);
            }
        }
        self.change(|script| script.waiting += 1);
        let _waiting = Waiting(self);
        self.until(holds).await;
    }

    async fn until_released(&self) {
        let releases = self.script().releases;
        self.wait_until(|script| script.releases > releases).await;
    }

    async fn until_aborted(&self) {
        let aborts = self.script().aborts;
        self.wait_until(|script| script.aborts > aborts).await;
    }

    /// Ends every call that hangs.
    pub(crate) fn abort(&self) {
        self.change(|script| script.aborts += 1);
    }

    fn outages(&self) -> usize {
        self.script().outages
    }

    fn fire(&self) {
        self.script().fired += 1;
    }

    /// Counts a call and gives what is to happen to it.
    fn step(&self, call: Call) -> Vec<Injection> {
        let mut script = self.script();
        let number = script.calls.entry(call).or_default();
        *number += 1;
        let number = *number;
        let step = script.steps();
        let mut injections = script.at_step.remove(&step).unwrap_or_default();
        injections.extend(script.at_call.remove(&(call, number)).unwrap_or_default());
        injections
    }

    /// The error of the first rule that forbids these writes.
    fn refusal(&self, writes: &[Write]) -> Option<EngineError> {
        let operations = || {
            writes.iter().flat_map(|write| match write {
                Write::Rows(operations) => operations,
                Write::Put(..) | Write::Log(_) | Write::DeleteSpan(..) | Write::Empty => [].as_slice(),
            })
        };
        let rules = self.script().rules.clone();
        let refused = rules.into_iter().any(|rule| match rule {
            Rule::OperationsMax(max) => operations().count() > max,
            Rule::NoPuts => operations().any(|op| matches!(op, Op::Put { .. })),
            Rule::NoSync => false,
        });
        refused.then(|| {
            self.fire();
            EngineError::new(Fault::StorageFull, "injected by a rule")
        })
    }

    fn forbids_sync(&self) -> bool {
        self.script().rules.contains(&Rule::NoSync)
    }
}

impl Script {
    fn steps(&self) -> usize {
        self.calls.values().sum()
    }
}
