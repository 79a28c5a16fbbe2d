//! Stores for the layer `archive` on native platforms: whatever the crate `object_store` reaches.
//!
//! Never retries and never caches: the archive does, and `object_store` itself as its options say.

use std::collections::BTreeSet;
use std::fmt;
use std::future::poll_fn;
use std::path::Path as Directory;
use std::pin::pin;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutMode, PutOptions, PutPayload};
use tokio::runtime::{Builder, Handle, Runtime};

use crate::archive::{LIST_MAX, Put, Store};
use crate::error::{Error, ErrorKind, Result};

pub use object_store;

/// Calls to a directory that block at one time; further ones wait.
const DIRECTORY_THREADS_MAX: usize = 16;

/// A store that the crate `object_store` reaches: S3, GCS, Azure, WebDAV, a directory.
///
/// Which of them are built in is chosen by the features of `object_store` in the user's own
/// `Cargo.toml`. Clones are the same store.
///
/// For S3, and what speaks its API, that is `object_store = { version = "0.14", features = ["aws"] }` and
///
/// ```text
/// let s3 = AmazonS3Builder::from_env().with_bucket_name("backups").build()?;
/// let store = ObjectStores::on(tokio::runtime::Handle::current(), Arc::new(s3)).in_order();
/// ```
///
/// A second writer is fenced by `PutMode::Create`: on S3 and Azure that is a put with `If-None-Match: *`, on GCS one
/// with `x-goog-if-generation-match: 0`. A server that ignores this header is no [`Store`]. Each test run archives
/// into a real S3 server, fencing, outages and all; GCS and Azure it does not reach.
///
/// `object_store` repeats calls by itself, with a backoff of its own; the archive repeats what has failed after
/// that, and gives each call [`ArchiverOptions::call_timeout`](crate::archive::ArchiverOptions::call_timeout). So
/// a `RetryConfig` with few retries tells sooner that a store is down.
///
/// ```
/// use persistency::archive::Store;
/// use persistency::object_stores::ObjectStores;
///
/// # futures_executor::block_on(async {
/// let directory = tempfile::tempdir().unwrap();
/// let store = ObjectStores::directory(directory.path())?;
/// store.put_new("backups/a", b"bytes").await?;
/// assert_eq!(store.get("backups/a").await?, Some(b"bytes".to_vec()));
/// # Ok::<(), persistency::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct ObjectStores {
    store: Arc<dyn object_store::ObjectStore>,
    place: Place,
    is_ordered: bool,
}

/// Where calls run.
#[derive(Clone)]
enum Place {
    /// On the thread that waits for them.
    Here,
    /// As tasks of a runtime.
    On(Handle),
    /// What blocks of them on threads of their own, so that one job's slow medium holds up no other.
    Beside(Arc<Threads>),
}

/// Threads for calls that block: as many as are needed up to a bound, and none after a while without any.
struct Threads(Option<Runtime>);

impl Drop for Threads {
    fn drop(&mut self) {
        // Waits for nobody: a medium may never answer.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Threads {
    fn new() -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread().max_blocking_threads(DIRECTORY_THREADS_MAX).build()?;
        Ok(Threads(Some(runtime)))
    }

    /// Polls a call where it finds these threads.
    async fn run<T>(&self, call: impl Future<Output = T>) -> T {
        let mut call = pin!(call);
        poll_fn(|context| {
            let _entered = self.0.as_ref().map(Runtime::enter);
            call.as_mut().poll(context)
        })
        .await
    }
}

impl ObjectStores {
    /// A store that needs no runtime, as one in memory. What blocks in it holds up everything else on the archiver's
    /// thread.
    pub fn new(store: Arc<dyn object_store::ObjectStore>) -> Self {
        ObjectStores { store, place: Place::Here, is_ordered: false }
    }

    /// A store whose calls run on a tokio runtime, as all that speak HTTP have to.
    pub fn on(runtime: Handle, store: Arc<dyn object_store::ObjectStore>) -> Self {
        ObjectStores { store, place: Place::On(runtime), is_ordered: false }
    }

    /// Says that this store lists names in the order of their bytes, as S3 does (but for directory buckets), GCS and
    /// Azure: a listing then ends where nobody wants more of it.
    ///
    /// Without this all names behind the first that is wanted are listed each time, for `object_store` promises no
    /// order. That costs a request for each thousand of them, no memory.
    pub fn in_order(mut self) -> Self {
        self.is_ordered = true;
        self
    }

    /// A directory, which is created; what is put into it is synced to the medium. It is read and written on threads
    /// of the store's own, up to 16 at a time.
    ///
    /// # Errors
    ///
    /// `Backend` if it cannot be created.
    pub fn directory(path: impl AsRef<Directory>) -> Result<Self> {
        let path = path.as_ref();
        let context = |error: Error| error.in_context(format_args!("directory {}", path.display()));
        let io = |error: std::io::Error| {
            context(Error::new(ErrorKind::Backend, error.to_string()).with_source(Arc::new(error)))
        };
        std::fs::create_dir_all(path).map_err(io)?;
        let store = LocalFileSystem::new_with_prefix(path).map_err(|error| context(failed(error)))?;
        let place = Place::Beside(Arc::new(Threads::new().map_err(io)?));
        Ok(ObjectStores { store: Arc::new(store.with_fsync(true)), place, is_ordered: false })
    }

    /// Runs a call where the store wants it to run.
    async fn run<T: Send + 'static>(
        &self,
        call: impl Future<Output = object_store::Result<T>> + Send + 'static,
    ) -> object_store::Result<T> {
        match &self.place {
            Place::Here => call.await,
            Place::On(runtime) => runtime.spawn(call).await?,
            Place::Beside(threads) => threads.run(call).await,
        }
    }
}

#[async_trait]
impl Store for ObjectStores {
    async fn put_new(&self, name: &str, bytes: &[u8]) -> Result<Put> {
        let (store, path) = (Arc::clone(&self.store), parse(name)?);
        let payload = PutPayload::from(bytes.to_vec());
        let options = PutOptions::from(PutMode::Create);
        match self.run(async move { store.put_opts(&path, payload, options).await }).await {
            Ok(_) => Ok(Put::Created),
            // Some services answer a precondition that failed, others that there is one.
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                Ok(Put::Exists)
            }
            Err(error) => Err(failed(error).in_context(name)),
        }
    }

    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let (store, path) = (Arc::clone(&self.store), parse(name)?);
        match self.run(async move { store.get(&path).await?.bytes().await }).await {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(failed(error).in_context(name)),
        }
    }

    async fn list(&self, prefix: &str, from: &str, limit: usize) -> Result<Vec<String>> {
        let (store, path, is_ordered) = (Arc::clone(&self.store), parse(prefix)?, self.is_ordered);
        let (limit, from) = (limit.min(LIST_MAX), from.max(prefix).to_owned());
        // A listing begins behind a name, and `from` is wanted: one that is shorter comes before it.
        let mut before = from.clone();
        before.pop();
        let before = parse(&before)?;
        // The crate promises no order, so the smallest are picked out, and no more than those are kept.
        let listing = async move {
            let mut names = store.list_with_offset(Some(&path), &before);
            let mut first = BTreeSet::new();
            while (!is_ordered || first.len() < limit)
                && let Some(object) = names.next().await
            {
                let name = String::from(object?.location);
                if name >= from {
                    first.insert(name);
                }
                if first.len() > limit {
                    first.pop_last();
                }
            }
            Ok(first.into_iter().collect())
        };
        self.run(listing).await.map_err(|error| failed(error).in_context(prefix))
    }

    async fn delete(&self, name: &str) -> Result<()> {
        let (store, path) = (Arc::clone(&self.store), parse(name)?);
        match self.run(async move { store.delete(&path).await }).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(failed(error).in_context(name)),
        }
    }
}

fn parse(name: &str) -> Result<Path> {
    let bad = |error: object_store::path::Error| {
        Error::new(ErrorKind::InvalidArgument, error.to_string()).with_source(Arc::new(error))
    };
    Path::parse(name).map_err(bad)
}

fn failed(error: object_store::Error) -> Error {
    Error::new(ErrorKind::Backend, error.to_string()).with_source(Arc::new(error))
}

impl fmt::Debug for ObjectStores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectStores").field("store", &self.store).finish_non_exhaustive()
    }
}
