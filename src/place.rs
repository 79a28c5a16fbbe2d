//! Where a root keeps its jobs: in memory, or in the platform's own storage.
//!
//! The one point at which a running program chooses its engine. Everything here starts work where it
//! runs (a thread natively, a task in the browser), so handles and their futures can be sent.

use std::future::poll_fn;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use futures_channel::oneshot;

#[cfg(any(test, feature = "in_memory", not(feature = "web")))]
use crate::engine::memory::MemorySite;
use crate::engine::{Claim, EngineError, PlatformSite, Site};
use crate::error::{Error, ErrorKind, Result};
use crate::text::text;
use crate::worker::{Start, misanswered, spawn};

/// The root that keeps everything in memory.
const MEMORY_ROOT: &str = ":memory:";

/// A root's storage.
pub(crate) struct Place {
    site: Arc<dyn Site>,
    is_memory: bool,
}

impl Place {
    /// The place that `root` names; `InvalidArgument` if there can be none. Changes nothing.
    pub(crate) fn of(root: &Path) -> Result<Self> {
        if root.as_os_str().is_empty() {
            return Err(Error::new(ErrorKind::InvalidArgument, "the root's name is empty"));
        }
        if root.as_os_str() == MEMORY_ROOT {
            return in_memory();
        }
        Ok(Place { site: Arc::new(PlatformSite::of_root(root)?), is_memory: false })
    }

    /// The place whose jobs a test's own site holds.
    #[cfg(test)]
    pub(crate) fn at(site: impl Site + 'static) -> Self {
        Place { site: Arc::new(site), is_memory: false }
    }

    /// Whether durable is the same as committed here.
    pub(crate) fn is_memory(&self) -> bool {
        self.is_memory
    }

    /// Takes sole ownership, where that means something.
    pub(crate) async fn claim(&self) -> Result<Arc<dyn Claim>> {
        let site = Arc::clone(&self.site);
        if site.is_private() {
            return Ok(Arc::new(()));
        }
        match run("claim", Box::new(move || Box::pin(async move { site.claim().await.map(Done::Claimed) })))
            .await?
        {
            Done::Claimed(claim) => Ok(claim),
            _ => Err(misanswered()),
        }
    }

    /// The ids of the jobs that exist, ascending.
    pub(crate) async fn list(&self) -> Result<Vec<String>> {
        let site = Arc::clone(&self.site);
        match run("list", Box::new(move || Box::pin(async move { site.list().await.map(Done::Listed) })))
            .await?
        {
            Done::Listed(mut ids) => {
                ids.sort_unstable();
                Ok(ids)
            }
            _ => Err(misanswered()),
        }
    }

    /// Whether what is stored under this id is no job, because filling it was cut short.
    #[cfg(feature = "archive")]
    pub(crate) async fn is_half_filled(&self, id: String) -> Result<bool> {
        let site = Arc::clone(&self.site);
        let look =
            move || async move { Ok(Done::HalfFilled(crate::worker::is_half_filled(&*site, &id).await)) };
        match run("list", Box::new(move || Box::pin(look()))).await? {
            Done::HalfFilled(half_filled) => Ok(half_filled),
            _ => Err(misanswered()),
        }
    }

    /// Starts the worker that opens and serves a job, or deletes one.
    pub(crate) fn start(&self, start: Start) -> Result<()> {
        let (site, name) = (Arc::clone(&self.site), start.link.id.clone());
        spawn(&name, move || start.run(site))
    }
}

#[cfg(any(test, feature = "in_memory", not(feature = "web")))]
fn in_memory() -> Result<Place> {
    Ok(Place { site: Arc::new(MemorySite::default()), is_memory: true })
}

/// The package has them in a wasm of their own, which it loads for them.
#[cfg(not(any(test, feature = "in_memory", not(feature = "web"))))]
fn in_memory() -> Result<Place> {
    Err(Error::new(ErrorKind::Unsupported, "this wasm has no roots in memory; persistency-memory.wasm has"))
}

/// What work on a place comes to; one type for all of it, so that the way there is in a program once.
enum Done {
    Claimed(Arc<dyn Claim>),
    Listed(Vec<String>),
    #[cfg(feature = "archive")]
    HalfFilled(bool),
}

/// Work, to be begun where workers run.
type Work = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = std::result::Result<Done, EngineError>>>> + Send>;

/// Runs the work where workers run, and returns its result. Dropping the future gives the work up.
async fn run(name: &str, work: Work) -> Result<Done> {
    let (mut reply, answer) = oneshot::channel();
    let serve = move || async move {
        let mut work = work();
        let done = poll_fn(|context| match work.as_mut().poll(context) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            // Nobody wants it any more: a claim that waits on would be in the way of the next.
            Poll::Pending => reply.poll_canceled(context).map(|()| None),
        });
        if let Some(done) = done.await {
            drop(reply.send(done));
        }
    };
    spawn(name, serve)?;
    match answer.await {
        Ok(result) => Ok(result?),
        Err(_) => Err(Error::new(ErrorKind::Backend, text!(name, " stopped before it could answer"))),
    }
}
