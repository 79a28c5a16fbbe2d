//! Workers: one machine and its driver per job, written once for every engine.
//!
//! `start` opens the job where its worker runs, has the `driver` serve it, and closes or drops it at
//! the end. The other modules are its parts: `command` is what can be asked, `link` how handles ask,
//! `machine` everything that is decided, `turn` what a transaction means, `pending` which reads need not
//! come here at all, `slot` and `waiters` how results and errors reach those who want them.

mod command;
#[cfg(feature = "archive")]
mod direct_log;
mod driver;
mod errors;
mod inbox;
mod link;
mod log_walk;
mod machine;
mod pending;
mod progress;
mod recent;
mod rest;
mod slot;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod transcripts;
mod turn;
mod waiters;

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

pub(crate) use crate::spawn::spawn;
#[cfg(feature = "web")]
pub(crate) use command::{Answered, Caller};
pub(crate) use command::{Command, Details, Read, Reading, misanswered};
pub(crate) use link::{Bounds, Link, WatchGuard};
pub(crate) use progress::{End, Progress};
pub(crate) use recent::CommitsPage;
pub(crate) use slot::{Conflicts, Slot};
pub(crate) use turn::{Answer, LogChange, Task};

use crate::engine::{Claim, Engine, EngineError, Fault, OpenMode, Query, RESTS, Sharing, Site, Verify};
use crate::error::{Error, ErrorKind, Outcome, Quoted, Result};
use crate::limits::LOG_HOLDER_WHILE_OPEN;
use crate::random::random_bytes;
use crate::record::{LogRetention, Record};
use crate::text::text;
use driver::{Driver, Served};
use machine::{Ending, Machine};
use rest::Resting;

/// What a worker needs to know to open its job.
pub(crate) struct Start {
    pub(crate) link: Arc<Link>,
    pub(crate) mode: OpenMode,
    /// Whether it is to be filled, and is no job for others before that is done: created, or gone on with.
    pub(crate) filling: bool,
    /// Whether it is only opened to be deleted; fine if there is none.
    pub(crate) destroys: bool,
    pub(crate) durable_always: bool,
    /// What the stored retention is to become.
    pub(crate) retention: Option<LogRetention>,
    /// Ownership of the root, kept until the job has been released.
    pub(crate) claim: Arc<dyn Claim>,
}

impl Start {
    /// Opens the job, serves it, and ends it; then tells the link how that went.
    pub(crate) async fn run(self, site: Arc<dyn Site>) {
        let Start { link, mode, filling, destroys, durable_always, retention, claim } = self;
        let serving = Serving { site, mode, _claim: claim, guard: EndGuard(Arc::clone(&link)) };
        let site = &*serving.site;
        let ended = match open(site, &link, (mode, filling), durable_always, retention).await {
            Ok(driver) if destroys => end(site, &link, driver, Ending::Dropped).await,
            Ok(mut driver) => {
                // Before the first write can be accepted.
                driver.offer_direct();
                driver.machine.publish_opened();
                return serving.serve(driver).await;
            }
            Err(error) if destroys => {
                let result = match error.kind() {
                    ErrorKind::VersionTooNew => Err(error),
                    // What cannot be opened, or is not there, can still be deleted.
                    _ => delete(site, &link).await,
                };
                End { result, afterwards: errors::gone(), dropped: true }
            }
            Err(error) => {
                let error = error.in_context(text!("job ", Quoted(&link.id), ", open"));
                End { result: Err(error.clone()), afterwards: error, dropped: false }
            }
        };
        serving.end(ended);
    }
}

/// What a worker holds for as long as its job is open, also while it rests.
pub(crate) struct Serving {
    site: Arc<dyn Site>,
    mode: OpenMode,
    /// Ownership of the root, until the job has been released.
    _claim: Arc<dyn Claim>,
    guard: EndGuard,
}

/// Resolves when the job rests, or with what goes on because a command has come meanwhile. Boxed, so that a program
/// in which nothing rests goes without it.
type Rest = Pin<Box<dyn Future<Output = Option<(Serving, Driver)>>>>;

impl Serving {
    pub(crate) fn link(&self) -> &Arc<Link> {
        &self.guard.0
    }

    /// Goes on where a job that rests has stopped.
    pub(crate) async fn wake(self, machine: Machine) {
        match self.driver(machine) {
            Ok(driver) => self.serve(driver).await,
            Err(end) => self.end(end),
        }
    }

    /// A driver of a machine that has been at rest.
    fn driver(&self, machine: Machine) -> std::result::Result<Driver, End> {
        let link = self.link();
        match self.site.resting(&link.id, self.mode) {
            Ok(engine) => Ok(Driver::new(machine, engine, Arc::clone(link))),
            Err(error) => {
                let error = Error::from(error);
                Err(End { result: Err(error.clone()), afterwards: error, dropped: false })
            }
        }
    }

    /// Serves until the end, or until the job rests.
    async fn serve(mut self, mut driver: Driver) {
        let link = Arc::clone(self.link());
        loop {
            if let Served::Ended(ending) = driver.serve().await {
                let end = end(&*self.site, &link, driver, ending).await;
                return self.end(end);
            }
            if !RESTS {
                continue;
            }
            let Some(disturbed) = self.rest(driver).await else { return };
            (self, driver) = disturbed;
        }
    }

    /// Has the job rest.
    fn rest(self, driver: Driver) -> Rest {
        Box::pin(async move {
            let link = Arc::clone(self.link());
            let machine = driver.rest().await;
            let disturbed = link.inbox.rest(Box::new(Resting { machine, serving: self }))?;
            let Resting { machine, serving } = *disturbed;
            match serving.driver(machine) {
                Ok(driver) => Some((serving, driver)),
                Err(end) => {
                    serving.end(end);
                    None
                }
            }
        })
    }

    /// Releases the root, then tells the link how the job has ended.
    fn end(self, end: End) {
        let Serving { _claim: claim, guard, .. } = self;
        drop(claim);
        guard.0.publish_end(end);
    }
}

/// Answers everyone if the worker stops in a way that nobody foresaw.
struct EndGuard(Arc<Link>);

impl Drop for EndGuard {
    fn drop(&mut self) {
        let result = Err(errors::stopped().with_outcome(Outcome::Unknown));
        // Calls that come later are not even begun.
        self.0.publish_end(End { result, afterwards: errors::stopped(), dropped: false });
    }
}

/// Opens the job's store and finds its record; what a deletion that was cut short has left is deleted first,
/// and what a filling has left by who does not go on with it.
async fn open(
    site: &dyn Site,
    link: &Arc<Link>,
    (mode, filling): (OpenMode, bool),
    durable_always: bool,
    retention: Option<LogRetention>,
) -> Result<Driver> {
    let opening = open_store(site, link, mode, filling);
    let (engine, record) = match link.clock.until(link.deadline(), opening).await {
        Some(opened) => opened?,
        None => return Err(Error::new(ErrorKind::Busy, "somebody else keeps the job from being opened")),
    };
    let stored = record.log.retention;
    let holders = record.log.holders.iter().map(|(name, _)| name);
    let ended: Vec<String> =
        holders.filter(|name| name.starts_with(LOG_HOLDER_WHILE_OPEN)).map(str::to_owned).collect();
    let machine = Machine::new(Arc::clone(link), random_bytes()?, record, engine.sharing(), durable_always);
    let mut driver = Driver::new(machine, engine, Arc::clone(link));
    if let Some(retention) = retention.filter(|wanted| mode != OpenMode::ReadOnly && *wanted != stored)
        && let Err(error) = driver.single(Task::Log(LogChange::Retain(retention)), false).await
    {
        close(&*driver.engine).await;
        return Err(error);
    }
    // Nobody is left who could release them; while others have the job open they may be theirs.
    if mode != OpenMode::ReadOnly && !driver.engine.has_others() {
        for name in ended {
            if let Err(error) = driver.single(Task::Log(LogChange::Release(name)), false).await {
                log::warn!("job {}: a holder of the log could not be released: {error}", Quoted(&link.id));
            }
        }
    }
    Ok(driver)
}

async fn open_store(
    site: &dyn Site,
    link: &Link,
    mode: OpenMode,
    filling: bool,
) -> Result<(Box<dyn Engine>, Record)> {
    loop {
        let first = Record { filling, ..Record::new(random_bytes()?, link.clock.unix_ms()) };
        let engine = site.open(&link.id, mode, first.encode()).await?;
        let record = match read_record(&*engine).await {
            Ok(record) => record,
            Err(error) => {
                engine.close().await.ok();
                return Err(error);
            }
        };
        let is_ours = record.generation == first.generation;
        let is_filled_by_others = record.filling && !is_ours && engine.has_others();
        if !record.dropped && record.filling == filling && !is_filled_by_others {
            return Ok((engine, record));
        }
        engine.close().await?;
        if filling && !record.dropped && !record.filling {
            return Err(Error::new(ErrorKind::Conflict, "there is such a job already"));
        }
        if mode == OpenMode::ReadOnly {
            return Err(errors::gone());
        }
        if is_filled_by_others && !record.dropped {
            return Err(Error::new(ErrorKind::Busy, "somebody else fills the job"));
        }
        site.destroy(&link.id).await?;
    }
}

/// Whether what is stored under this id is no job, because filling it was cut short.
#[cfg(feature = "archive")]
pub(crate) async fn is_half_filled(site: &dyn Site, id: &str) -> bool {
    let Ok(engine) = site.open(id, OpenMode::ReadOnly, Vec::new()).await else { return false };
    let record = read_record(&*engine).await;
    close(&*engine).await;
    record.is_ok_and(|record| record.filling)
}

async fn read_record(engine: &dyn Engine) -> Result<Record> {
    let found = engine.read(Query::record(), Verify::Never).await?.found;
    let missing = || EngineError::new(Fault::Corrupt, "the job has no record");
    Ok(Record::decode(&found.into_record().ok_or_else(missing)?)?)
}

/// Releases the job, or deletes it.
async fn end(site: &dyn Site, link: &Link, mut driver: Driver, ending: Ending) -> End {
    let engine = Rc::clone(&driver.engine);
    match ending {
        Ending::Closed(drained) => {
            let released = engine.close().await.map_err(Error::from);
            let result = drained.and(released);
            let afterwards = Error::new(ErrorKind::Closed, "the job has been closed");
            End { result, afterwards, dropped: false }
        }
        Ending::Gone(result) => {
            close(&*engine).await;
            End { result, afterwards: errors::gone(), dropped: false }
        }
        // What can only be read can neither be marked nor be deleted here.
        Ending::Dropped if engine.sharing() == Sharing::ReadOnly => {
            close(&*engine).await;
            End { result: Ok(()), afterwards: errors::gone(), dropped: false }
        }
        Ending::Dropped => {
            // Without room for the mark the deletion below has to do without it.
            if let Err(error) = driver.single(Task::Drop, true).await {
                log::warn!("job {} could not be marked as dropped: {error}", Quoted(&link.id));
            }
            close(&*engine).await;
            End { result: delete(site, link).await, afterwards: errors::gone(), dropped: true }
        }
    }
}

/// Deletes the job's store; one that others keep from being deleted counts as deleted at the deadline.
async fn delete(site: &dyn Site, link: &Link) -> Result<()> {
    match link.clock.until(link.deadline(), site.destroy(&link.id)).await {
        Some(deleted) => Ok(deleted.map_err(|error| Error::from(error).in_context("drop"))?),
        None => Ok(()),
    }
}

async fn close(engine: &dyn Engine) {
    if let Err(error) = engine.close().await {
        log::warn!("a job could not be released properly: {error:?}");
    }
}
