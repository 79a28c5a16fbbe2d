//! The datastore: what one object over a job knows, and where collections and pools come from.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::{Mutex as Turns, watch};

use super::collection::Collection;
use super::content::{Content, format};
use super::layout::{Descriptor, Format, Generation, Head, What};
use super::names::{Lease, fresh_id};
use super::options::{Bounds, CollectionOptions};
use super::shelf::Shelf;
use super::subscribers::Subscribers;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Quoted, Result};
use crate::job::Job;

/// The collections and pools of one job.
///
/// Cheap to clone. Two objects over one job, as two tabs have them, see the same collections and pools;
/// each has its own subscribers. Takes the time from the [`Clock`](crate::Clock) of the job's root.
///
/// # Errors
///
/// Every method that asks the job can answer what a [`Job`] answers. Methods name what they add.
#[derive(Clone)]
pub struct Datastore {
    pub(super) shared: Arc<Shared>,
}

/// What the clones of a datastore, and all that came from it, share.
pub(super) struct Shared {
    pub(super) job: Job,
    pub(super) clock: Clock,
    pub(super) bounds: Bounds,
    pub(super) subscribers: Subscribers,
    /// Open collections, so that all handles of one share its writer.
    shelves: Mutex<HashMap<Generation, Weak<Shelf>>>,
    /// The turns of open pools, for the same reason.
    turns: Mutex<HashMap<Generation, Weak<Turns<()>>>>,
    /// Closed when this is dropped, which ends the janitor.
    pub(super) alive: watch::Sender<()>,
}

impl Datastore {
    /// The collections and pools of this job. Reads and writes nothing.
    pub fn new(job: Job) -> Self {
        Self::with_bounds(job, Bounds::default())
    }

    /// The same with other bounds.
    pub fn with_bounds(job: Job, bounds: Bounds) -> Self {
        let shared = Shared {
            clock: job.link().clock.clone(),
            job,
            bounds,
            subscribers: Subscribers::new(bounds.subscribers),
            shelves: Mutex::default(),
            turns: Mutex::default(),
            alive: watch::channel(()).0,
        };
        Datastore { shared: Arc::new(shared) }
    }

    /// The job that holds everything; its `flush` makes durable what was committed.
    pub fn job(&self) -> &Job {
        &self.shared.job
    }

    /// Finds the collection of this id, or makes it. An empty id makes one with a [`fresh_id`].
    ///
    /// One that has expired is removed and made anew, with another generation.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if it was made with other options or for other contents; `TooLarge` for an id
    /// beyond 255 bytes and beyond [`Bounds::stores`].
    pub async fn collection<C: Content>(
        &self,
        id: &str,
        options: CollectionOptions,
    ) -> Result<Collection<C>> {
        let id = if id.is_empty() { fresh_id()? } else { id.to_owned() };
        let parameters = options.parameters(format::<C>())?;
        let head = |Lease { expires_ms, due_ms }: Lease, now_ms| {
            Head { last_ms: now_ms, expires_ms, due_ms, ..Head::default() }.encode()
        };
        let (descriptor, head) = self.shared.find_or_make(What::Collection, &id, &parameters, head).await?;
        Ok(Collection::new(self.shared.shelf(&id, descriptor, &Head::decode(&head)?)))
    }

    /// The collection of this id, with the options it was made with; `None` if there is none or it has
    /// expired.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if it was made for other contents.
    pub async fn find_collection<C: Content>(&self, id: &str) -> Result<Option<Collection<C>>> {
        let Some(found) = self.shared.look_alive(What::Collection, id).await? else { return Ok(None) };
        check_format(What::Collection, id, found.descriptor.parameters.format, format::<C>())?;
        let shelf = self.shared.shelf(id, found.descriptor, &Head::decode(&found.head)?);
        Ok(Some(Collection::new(shelf)))
    }

    /// Removes the collection with everything in it, and ends its subscriptions; whether there was one.
    pub async fn remove_collection(&self, id: &str) -> Result<bool> {
        self.shared.remove(What::Collection, id).await
    }

    /// The ids of all collections that have not expired, in the order of their bytes.
    pub async fn collections(&self) -> Result<Vec<String>> {
        self.shared.ids(What::Collection).await
    }

    /// Ends every subscription of this client, of collections and of pools; returns how many.
    pub fn unsubscribe_all(&self, client: &str) -> usize {
        self.shared.subscribers.end_client(None, client)
    }
}

impl Shared {
    /// The open collection, the same for all its handles.
    pub(super) fn shelf(self: &Arc<Self>, id: &str, descriptor: Descriptor, head: &Head) -> Arc<Shelf> {
        let mut shelves = lock(&self.shelves);
        if let Some(shelf) = shelves.get(&descriptor.generation).and_then(Weak::upgrade) {
            return shelf;
        }
        shelves.retain(|_, shelf| shelf.strong_count() > 0);
        let generation = descriptor.generation;
        let shelf = Arc::new(Shelf::new(Arc::clone(self), id.to_owned(), descriptor, head));
        shelves.insert(generation, Arc::downgrade(&shelf));
        shelf
    }

    /// The turn of an open pool, the same for all its handles.
    pub(super) fn turn(&self, generation: Generation) -> Arc<Turns<()>> {
        let mut turns = lock(&self.turns);
        if let Some(turn) = turns.get(&generation).and_then(Weak::upgrade) {
            return turn;
        }
        turns.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::default();
        turns.insert(generation, Arc::downgrade(&turn));
        turn
    }
}

pub(super) fn check_format(what: What, id: &str, stored: Format, asked: Format) -> Result<()> {
    if stored == asked {
        return Ok(());
    }
    let message = format!("{} {} was made for other contents", what.name(), Quoted(id));
    Err(Error::new(ErrorKind::InvalidArgument, message))
}

pub(super) fn lock<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that runs under these locks can panic halfway through a change.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Datastore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Datastore").field("job", &self.shared.job).finish_non_exhaustive()
    }
}
