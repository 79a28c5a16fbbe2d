//! Workers: one actor per job, written once for every engine.
//!
//! `start` opens the job where its worker runs, lets the `actor` serve it, and closes or drops it at
//! the end. The other modules are its parts: `command` is what can be asked, `link` how handles ask,
//! `turn` what a transaction means, `commit` how it is carried out, `reads` how reads are, `slot` and
//! `waiters` how results and errors reach those who want them.

mod actor;
mod command;
mod commit;
mod context;
mod link;
mod reads;
mod recent;
mod slot;
mod spawn;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod transcripts;
mod trim;
mod turn;
mod waiters;

use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::mpsc::UnboundedReceiver;

pub(crate) use command::{Command, Details, Read, Reading, misanswered};
pub(crate) use link::{Bounds, End, Link, Progress, WatchGuard};
pub(crate) use slot::Slot;
pub(crate) use spawn::spawn;
pub(crate) use turn::{Answer, LogChange, Task};

use crate::engine::{Claim, Engine, EngineError, Fault, OpenMode, Query, Sharing, Site, Verify};
use crate::error::{Error, ErrorKind, Outcome, Quoted, Result};
use crate::record::{LogRetention, Record};
use actor::{Actor, Ending};
use context::Context;

/// What a worker needs to know to open its job.
pub(crate) struct Start {
    pub(crate) link: Arc<Link>,
    pub(crate) commands: UnboundedReceiver<Command>,
    pub(crate) mode: OpenMode,
    pub(crate) durable_always: bool,
    /// What the stored retention is to become.
    pub(crate) retention: Option<LogRetention>,
    /// Ownership of the root, kept until the job has been released.
    pub(crate) claim: Arc<dyn Claim>,
}

impl Start {
    /// Opens the job, serves it, and ends it; then tells the link how that went.
    pub(crate) async fn run(self, site: Arc<dyn Site>) {
        let Start { link, commands, mode, durable_always, retention, claim } = self;
        let guard = EndGuard(Arc::clone(&link));
        let end = match open(&*site, &link, mode, retention).await {
            Ok(context) => {
                let context = Rc::new(context);
                let read_only = mode == OpenMode::ReadOnly;
                let actor =
                    Actor::new(Rc::clone(&context), Arc::clone(&link), commands, read_only, durable_always);
                actor.publish();
                link.publish_opened();
                end(&*site, &link, &context, actor.run().await).await
            }
            Err(error) => {
                let error = error.in_context(format_args!("job {}, open", Quoted(&link.id)));
                End { result: Err(error.clone()), afterwards: error, dropped: false }
            }
        };
        drop(claim);
        guard.0.publish_end(end);
    }

    /// Deletes a job that is not open here; fine if there is none.
    pub(crate) async fn destroy(self, site: Arc<dyn Site>) {
        let Start { link, claim, .. } = self;
        let guard = EndGuard(Arc::clone(&link));
        let result = match open(&*site, &link, OpenMode::MustExist, None).await {
            Ok(context) => end(&*site, &link, &context, Ending::Dropped).await.result,
            Err(error) if error.kind() == ErrorKind::VersionTooNew => Err(error),
            // What cannot be opened, or is not there, can still be deleted.
            Err(_) => delete(&*site, &link).await,
        };
        drop(claim);
        guard.0.publish_end(End { result, afterwards: context::gone(), dropped: true });
    }
}

/// Answers everyone if the worker stops in a way that nobody foresaw.
struct EndGuard(Arc<Link>);

impl Drop for EndGuard {
    fn drop(&mut self) {
        let result = Err(context::stopped().with_outcome(Outcome::Unknown));
        // Calls that come later are not even begun.
        self.0.publish_end(End { result, afterwards: context::stopped(), dropped: false });
    }
}

/// Opens the job's store and finds its record, finishing a deletion that was cut short.
async fn open(
    site: &dyn Site,
    link: &Link,
    mode: OpenMode,
    retention: Option<LogRetention>,
) -> Result<Context> {
    let deadline = link.deadline();
    let opening = open_store(site, link, mode);
    let (engine, record) = match link.clock.until(deadline, opening).await {
        Some(opened) => opened?,
        None => return Err(Error::new(ErrorKind::Busy, "somebody else keeps the job from being opened")),
    };
    let context = Context::new(engine, link.clock.clone(), random_bytes()?, record);
    let stored = context.record.borrow().log.retention;
    if let Some(retention) = retention.filter(|wanted| mode != OpenMode::ReadOnly && *wanted != stored)
        && let Err(error) = commit::change_log(&context, LogChange::Retain(retention), deadline).await
    {
        close(&context).await;
        return Err(error);
    }
    Ok(context)
}

async fn open_store(site: &dyn Site, link: &Link, mode: OpenMode) -> Result<(Box<dyn Engine>, Record)> {
    loop {
        let first = Record::new(random_bytes()?, link.clock.unix_ms());
        let engine = site.open(&link.id, mode, first.encode()).await?;
        let record = match read_record(&*engine).await {
            Ok(record) => record,
            Err(error) => {
                engine.close().await.ok();
                return Err(error);
            }
        };
        if !record.dropped {
            return Ok((engine, record));
        }
        engine.close().await?;
        if mode == OpenMode::ReadOnly {
            return Err(context::gone());
        }
        site.destroy(&link.id).await?;
    }
}

async fn read_record(engine: &dyn Engine) -> Result<Record> {
    let found = engine.read(Query::record(), Verify::Never).await?.found;
    let missing = || EngineError::new(Fault::Corrupt, "the job has no record");
    Ok(Record::decode(&found.into_record().ok_or_else(missing)?)?)
}

/// Releases the job, or deletes it.
async fn end(site: &dyn Site, link: &Link, context: &Context, ending: Ending) -> End {
    match ending {
        Ending::Closed(drained) => {
            let released = context.engine.close().await.map_err(Error::from);
            let result = drained.and(released);
            let afterwards = Error::new(ErrorKind::Closed, "the job has been closed");
            End { result, afterwards, dropped: false }
        }
        Ending::Gone(result) => {
            close(context).await;
            End { result, afterwards: context::gone(), dropped: false }
        }
        // What can only be read can neither be marked nor be deleted here.
        Ending::Dropped if context.engine.sharing() == Sharing::ReadOnly => {
            close(context).await;
            End { result: Ok(()), afterwards: context::gone(), dropped: false }
        }
        Ending::Dropped => {
            // Without room for the mark the deletion below has to do without it.
            if let Err(error) = commit::mark_dropped(context, link.deadline()).await {
                log::warn!("job {} could not be marked as dropped: {error}", Quoted(&link.id));
            }
            close(context).await;
            End { result: delete(site, link).await, afterwards: context::gone(), dropped: true }
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

async fn close(context: &Context) {
    if let Err(error) = context.engine.close().await {
        log::warn!("a job could not be released properly: {error:?}");
    }
}

/// 16 bytes that nobody else has.
fn random_bytes() -> Result<[u8; 16]> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::new(ErrorKind::Backend, format!("no random bytes: {error}")))?;
    Ok(bytes)
}
