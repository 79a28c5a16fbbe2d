//! The layer `archive` for the page: archives of jobs on a server, what can be read there, and whole jobs as bytes.
//!
//! Decides nothing: each method is the one of that name.

mod election;
mod fetch;
mod options;
mod reading;
mod whole;

use std::cell::OnceCell;
use std::sync::Arc;

use async_trait::async_trait;
use serde::Serialize;
use serde_bytes::ByteBuf;
use tokio::sync::Mutex;

use self::election::WebLocks;
use self::fetch::Server;
use self::options::Given;
pub use self::reading::open as reader;
pub use self::whole::{export, import};
use super::{Answer, Args, Object, no_method};
use crate::archive::{Archive, ArchiveProgress, ArchiveState, ArchiveWatch, Archiver, ArchiverOptions};
use crate::error::{Error, Result};
use crate::job::Job;
use crate::web::wire::pack_error;

/// Attaches a job: the server, and options.
///
/// # Errors
///
/// `InvalidArgument` for other arguments, and those of [`Archiver::attach`].
pub async fn attach(job: &Job, args: Args<'_>) -> Result<Answer> {
    let (server, given): (Server, Given) = args.read()?;
    let archive = archiver()?.attach(job, Arc::new(server), given.archive()).await?;
    Ok(Answer::value(&ProgressOut::from(archive.progress()))?.with(Shipped(archive)))
}

thread_local! {
    static ARCHIVER: OnceCell<Archiver> = const { OnceCell::new() };
}

/// The one archiver of this instance, so that all jobs here share its bounds.
fn archiver() -> Result<Archiver> {
    ARCHIVER.with(|archiver| match archiver.get() {
        Some(archiver) => Ok(archiver.clone()),
        None => {
            let begun = Archiver::new(ArchiverOptions::new().election(Arc::new(WebLocks)))?;
            Ok(archiver.get_or_init(|| begun).clone())
        }
    })
}

/// How far an archive has come, as it crosses.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ProgressOut {
    archived_seq: u64,
    restorable: bool,
    state: &'static str,
    failures: Option<u32>,
    error: Option<ByteBuf>,
    pruning_error: Option<ByteBuf>,
}

impl From<ArchiveProgress> for ProgressOut {
    fn from(progress: ArchiveProgress) -> Self {
        let ArchiveProgress { archived_seq, restorable, state, pruning_error } = progress;
        let packed = |error: &Error| ByteBuf::from(pack_error(error));
        let (state, failures, error) = match &state {
            ArchiveState::Shipping => ("shipping", None, None),
            ArchiveState::Following => ("following", None, None),
            ArchiveState::Retrying { failures, error } => ("retrying", Some(*failures), Some(packed(error))),
            ArchiveState::Stalled { error } => ("stalled", None, Some(packed(error))),
            ArchiveState::Ended { error } => ("ended", None, error.as_ref().map(packed)),
        };
        let pruning_error = pruning_error.as_ref().map(packed);
        ProgressOut { archived_seq, restorable, state, failures, error, pruning_error }
    }
}

/// An archive that is shipped.
struct Shipped(Archive);

#[async_trait(?Send)]
impl Object for Shipped {
    async fn call(&self, method: &str, args: Args<'_>) -> Result<Answer> {
        let Shipped(archive) = self;
        match method {
            "waitArchived" => {
                let (seq,): (u64,) = args.read()?;
                return Answer::value(&archive.wait_archived(seq).await?);
            }
            "watch" => {
                args.none()?;
                return Ok(Answer::nothing().with(Watching(Mutex::new(archive.watch()))));
            }
            _ => {}
        }
        args.none()?;
        match method {
            "ship" => Answer::value(&archive.ship().await?),
            "close" => Answer::value(&archive.close().await?),
            "resume" => {
                archive.resume();
                Ok(Answer::nothing())
            }
            "stop" => {
                archive.stop().await;
                Ok(Answer::nothing())
            }
            "detach" => {
                archive.clone().detach().await?;
                Ok(Answer::nothing())
            }
            _ => Err(no_method(method)),
        }
    }
}

/// Follows an archive; nobody else asks it while a call waits.
struct Watching(Mutex<ArchiveWatch>);

#[async_trait(?Send)]
impl Object for Watching {
    async fn call(&self, method: &str, args: Args<'_>) -> Result<Answer> {
        super::check_next(method, args)?;
        let progress = self.0.lock().await.next().await;
        let told: Vec<ProgressOut> = progress.map(ProgressOut::from).into_iter().collect();
        Answer::value(&told)
    }
}
