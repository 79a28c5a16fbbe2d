//! The layer `datastore` for the page: a [`Datastore`] and what comes from it behind calls.
//!
//! Decides nothing: each method is the one of that name. The janitor is the page's, over `purgeExpired`.

mod collection;
mod content;
mod pool;

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use self::collection::Shelf;
use self::content::Crossing;
use self::pool::Basin;
use super::{Answer, Args, Object, no_method};
use crate::datastore::{
    Bounds, Bytes, Collection, CollectionOptions, Datastore, Generation, Json, Pool, PoolOptions,
};
use crate::error::{Error, ErrorKind, Result};
use crate::job::Job;

/// Opens the layer over a job.
///
/// # Errors
///
/// `InvalidArgument` for other arguments than its bounds.
pub fn open(job: &Job, args: Args<'_>) -> Result<Answer> {
    let (bounds,): (Option<Limits>,) = args.read()?;
    let Limits { stores, subscribers } = bounds.unwrap_or_default();
    let default = Bounds::default();
    let bounds = Bounds {
        stores: stores.unwrap_or(default.stores),
        subscribers: subscribers.unwrap_or(default.subscribers),
    };
    Ok(Answer::nothing().with(Store(Datastore::with_bounds(job.clone(), bounds))))
}

/// Bounds as they cross.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Limits {
    stores: Option<u64>,
    subscribers: Option<usize>,
}

/// How long something lives, as it crosses.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct CollectionGiven {
    temporary: bool,
    ttl_ms: Option<u64>,
    sliding: bool,
    record_ttl_ms: Option<u64>,
    keep_tombstones_ms: Option<u64>,
    max_tombstones: Option<u64>,
    max_records: Option<u64>,
    max_bytes: Option<u64>,
    primary: Option<String>,
}

impl CollectionGiven {
    fn options(self) -> CollectionOptions {
        type Options = CollectionOptions;
        let mut options = if self.temporary { Options::temporary() } else { Options::permanent() };
        options = if self.sliding { options.sliding() } else { options };
        options = set(options, self.ttl_ms.map(Duration::from_millis), Options::ttl);
        options = set(options, self.record_ttl_ms.map(Duration::from_millis), Options::record_ttl);
        options = set(options, self.keep_tombstones_ms.map(Duration::from_millis), Options::keep_tombstones);
        options = set(options, self.max_tombstones, Options::max_tombstones);
        options = set(options, self.max_records, Options::max_records);
        options = set(options, self.max_bytes, Options::max_bytes);
        set(options, self.primary, Options::primary)
    }
}

/// What a pool is, as it crosses.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct PoolGiven {
    temporary: bool,
    ttl_ms: Option<u64>,
    sliding: bool,
    members_needed: Option<u64>,
    member_timeout_ms: Option<u64>,
    max_members: Option<u64>,
    max_items: Option<u64>,
    max_bytes: Option<u64>,
}

impl PoolGiven {
    fn options(self) -> PoolOptions {
        type Options = PoolOptions;
        let mut options = if self.temporary { Options::temporary() } else { Options::permanent() };
        options = if self.sliding { options.sliding() } else { options };
        options = set(options, self.ttl_ms.map(Duration::from_millis), Options::ttl);
        options = set(options, self.member_timeout_ms.map(Duration::from_millis), Options::member_timeout);
        options = set(options, self.members_needed, Options::members_needed);
        options = set(options, self.max_members, Options::max_members);
        options = set(options, self.max_items, Options::max_items);
        set(options, self.max_bytes, Options::max_bytes)
    }
}

fn set<O, T>(options: O, value: Option<T>, with: impl FnOnce(O, T) -> O) -> O {
    match value {
        Some(value) => with(options, value),
        None => options,
    }
}

/// How a collection or pool was opened: by its options, or as the one of a generation.
#[derive(Deserialize)]
#[serde(bound = "O: Deserialize<'de>")]
enum How<O> {
    /// Found or made.
    Open(O),
    /// Found; nothing is made, and the answer is empty if there is none.
    Find,
    /// The same again, after the worker's death.
    Again(ByteBuf),
}

/// What the page knows of something that it has opened.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Opened<'a> {
    id: &'a str,
    #[serde(with = "serde_bytes")]
    generation: &'a [u8],
    primary: &'a str,
}

struct Store(Datastore);

impl Store {
    async fn collection<C: Crossing>(&self, args: Args<'_>) -> Result<Answer> {
        let (id, how): (&str, How<CollectionGiven>) = args.read()?;
        let Store(store) = self;
        let found = match &how {
            How::Open(_) => None,
            How::Find | How::Again(_) => store.find_collection::<C>(id).await?,
        };
        let collection: Collection<C> = match (how, found) {
            (How::Open(options), _) => store.collection(id, options.options()).await?,
            (How::Again(was), found) => same(found, &was, Collection::generation)?,
            (How::Find, Some(found)) => found,
            (How::Find, None) => return Ok(Answer::nothing().with(Nothing)),
        };
        let generation = collection.generation();
        let opened = Opened { id: collection.id(), generation: &generation, primary: collection.primary() };
        Ok(Answer::value(&opened)?.with(Shelf(collection)))
    }

    async fn pool<C: Crossing>(&self, args: Args<'_>) -> Result<Answer> {
        let (id, how): (&str, How<PoolGiven>) = args.read()?;
        let Store(store) = self;
        let found = match &how {
            How::Open(_) => None,
            How::Find | How::Again(_) => store.find_pool::<C>(id).await?,
        };
        let pool: Pool<C> = match (how, found) {
            (How::Open(options), _) => store.pool(id, options.options()).await?,
            (How::Again(was), found) => same(found, &was, Pool::generation)?,
            (How::Find, Some(found)) => found,
            (How::Find, None) => return Ok(Answer::nothing().with(Nothing)),
        };
        let generation = pool.generation();
        let opened = Opened { id: pool.id(), generation: &generation, primary: "" };
        Ok(Answer::value(&opened)?.with(Basin(pool)))
    }
}

/// What was found, if it is the same as before.
fn same<T>(found: Option<T>, was: &[u8], generation: impl Fn(&T) -> Generation) -> Result<T> {
    let found = found.filter(|found| generation(found) == *was);
    found.ok_or_else(|| Error::new(ErrorKind::Closed, "it has expired or been removed"))
}

/// Stands where nothing was found.
struct Nothing;

#[async_trait(?Send)]
impl Object for Nothing {
    async fn call(&self, method: &str, _args: Args<'_>) -> Result<Answer> {
        Err(no_method(method))
    }
}

/// What a purge has removed, as it crosses.
#[derive(Serialize)]
struct PurgedOut {
    collections: u64,
    pools: u64,
    records: u64,
    tombstones: u64,
}

#[async_trait(?Send)]
impl Object for Store {
    async fn call(&self, method: &str, args: Args<'_>) -> Result<Answer> {
        let Store(store) = self;
        match method {
            "collection" => self.collection::<Json>(args).await,
            "bytesCollection" => self.collection::<Bytes>(args).await,
            "pool" => self.pool::<Json>(args).await,
            "bytesPool" => self.pool::<Bytes>(args).await,
            "removeCollection" => {
                let (id,): (&str,) = args.read()?;
                Answer::value(&store.remove_collection(id).await?)
            }
            "removePool" => {
                let (id,): (&str,) = args.read()?;
                Answer::value(&store.remove_pool(id).await?)
            }
            "collections" => {
                args.none()?;
                Answer::value(&store.collections().await?)
            }
            "pools" => {
                args.none()?;
                Answer::value(&store.pools().await?)
            }
            "unsubscribeAll" => {
                let (client,): (&str,) = args.read()?;
                Answer::value(&store.unsubscribe_all(client))
            }
            "purgeExpired" => {
                args.none()?;
                let purged = store.purge_expired().await?;
                Answer::value(&PurgedOut {
                    collections: purged.collections,
                    pools: purged.pools,
                    records: purged.records,
                    tombstones: purged.tombstones,
                })
            }
            _ => Err(no_method(method)),
        }
    }
}
