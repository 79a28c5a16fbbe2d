//! A small program whose memory is the truth: feeds with nodes, what links them, pings and leases.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use persistency::write_behind::{Options, Schema, StrongSet, WeakSet, WriteBehind};
use persistency::{Error, ErrorKind, FromPayload, Job, Persistency, Result, ToPayload};

/// What the program holds, and its store follows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    pub nodes: BTreeMap<i64, String>,
    /// Feed and node; whether the link is evicted.
    pub links: BTreeMap<(String, i64), bool>,
    /// Node and target.
    pub pings: BTreeMap<(i64, String), i64>,
    /// Platform and account; the node that is leased.
    pub leases: BTreeMap<(String, i64), i64>,
}

/// Memory, and what its readers do beside reading.
#[derive(Default)]
pub struct Shared {
    memory: Mutex<Memory>,
    /// Readers fail.
    pub broken: AtomicBool,
    /// How often a reader was asked for a node.
    pub nodes_read: AtomicUsize,
}

pub struct App {
    pub shared: Arc<Shared>,
    pub engine: WriteBehind,
    pub sets: Sets,
}

/// The sets of the program, parents first.
#[derive(Clone)]
pub struct Sets {
    pub feeds: StrongSet<String>,
    pub platforms: StrongSet<String>,
    pub nodes: WeakSet<i64>,
    pub links: WeakSet<(String, i64)>,
    pub pings: WeakSet<(i64, String)>,
    pub leases: WeakSet<(String, i64)>,
}

impl Shared {
    pub fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap()
    }

    fn read<V>(&self, read: impl FnOnce(&Memory) -> Option<V>) -> Result<Option<Vec<u8>>>
    where
        V: ToPayload,
    {
        if self.broken.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::InvalidArgument, "a value that cannot be written"));
        }
        read(&self.memory()).map(|value| value.to_payload()).transpose()
    }
}

/// The schema over some memory, and the sets of it.
pub fn schema(shared: &Arc<Shared>) -> (Schema, Sets) {
    let mut schema = Schema::new();
    let feeds = schema.strong("feed");
    let platforms = schema.strong("platform");
    let own = Arc::clone(shared);
    let nodes = schema.weak("node", move |id: &i64| {
        own.nodes_read.fetch_add(1, Ordering::Relaxed);
        own.read(|memory| memory.nodes.get(id).cloned())
    });
    let own = Arc::clone(shared);
    let links = schema.weak("link", move |key| own.read(|memory| memory.links.get(key).copied()));
    let own = Arc::clone(shared);
    let pings = schema.weak("ping", move |key| own.read(|memory| memory.pings.get(key).copied()));
    let own = Arc::clone(shared);
    let leases = schema.weak("lease", move |key| own.read(|memory| memory.leases.get(key).copied()));

    schema.requires(&links, &feeds, |(feed, _), _| Ok(Some(feed.clone())));
    let live = |link: &(String, i64), evicted: &[u8]| Ok((!bool::from_payload(evicted)?).then_some(link.1));
    schema.requires(&links, &nodes, live);
    schema.kept_by(&nodes, &links, live);
    schema.requires(&pings, &nodes, |(node, _), _| Ok(Some(*node)));
    schema.requires(&leases, &platforms, |(platform, _), _| Ok(Some(platform.clone())));
    schema.requires(&leases, &nodes, |_, node| i64::from_payload(node).map(Some));

    let own = Arc::clone(shared);
    schema.load(&nodes, move |id, name| {
        own.memory().nodes.insert(id, FromPayload::from_payload(name)?);
        Ok(())
    });
    let own = Arc::clone(shared);
    schema.load(&links, move |key, evicted| {
        own.memory().links.insert(key, FromPayload::from_payload(evicted)?);
        Ok(())
    });
    let own = Arc::clone(shared);
    schema.load(&pings, move |key, ms| {
        own.memory().pings.insert(key, FromPayload::from_payload(ms)?);
        Ok(())
    });
    let own = Arc::clone(shared);
    schema.load(&leases, move |key, node| {
        own.memory().leases.insert(key, FromPayload::from_payload(node)?);
        Ok(())
    });
    (schema, Sets { feeds, platforms, nodes, links, pings, leases })
}

impl App {
    /// Opens the program's job `alpha`, with what it holds loaded.
    pub async fn open(p: &Persistency, options: Options) -> Result<App> {
        App::at(p, "alpha", options).await
    }

    /// Opens it over another job.
    pub async fn at(p: &Persistency, id: &str, options: Options) -> Result<App> {
        let shared = Arc::default();
        let (schema, sets) = schema(&shared);
        let engine = WriteBehind::open(p, id, schema, options).await?;
        Ok(App { shared, engine, sets })
    }

    /// Opens it over a new root object of the test's root.
    pub async fn of(root: &crate::common::TestRoot) -> App {
        App::open(&root.open(), Options::new()).await.unwrap()
    }

    pub fn job(&self) -> &Job {
        self.engine.job()
    }

    pub fn memory(&self) -> MutexGuard<'_, Memory> {
        self.shared.memory()
    }

    pub fn dirty(&self) -> usize {
        self.engine.status().dirty
    }

    /// Renames a node, or makes it.
    pub fn name(&self, id: i64, name: &str) {
        self.engine.change(|| {
            self.memory().nodes.insert(id, name.to_owned());
            self.sets.nodes.mark(&id).unwrap();
        });
    }

    /// Forgets a node, without its children.
    pub fn forget(&self, id: i64) {
        self.engine.change(|| {
            self.memory().nodes.remove(&id);
            self.sets.nodes.mark_delete(&id).unwrap();
        });
    }

    /// Adds a node with one of each of its children.
    pub fn plant(&self, feed: &str, id: i64) {
        let (link, ping, lease) = ((feed.to_owned(), id), (id, "target".to_owned()), (feed.to_owned(), id));
        self.engine.change(|| {
            {
                let mut memory = self.memory();
                memory.nodes.insert(id, format!("node {id}"));
                memory.links.insert(link.clone(), false);
                memory.pings.insert(ping.clone(), id * 10);
                memory.leases.insert(lease.clone(), id);
            }
            self.sets.pings.mark(&ping).unwrap();
            self.sets.leases.mark(&lease).unwrap();
            self.sets.links.mark(&link).unwrap();
            self.sets.nodes.mark(&id).unwrap();
        });
    }

    /// Removes a node with all of its children.
    pub fn fell(&self, feed: &str, id: i64) {
        let (link, ping, lease) = ((feed.to_owned(), id), (id, "target".to_owned()), (feed.to_owned(), id));
        self.engine.change(|| {
            {
                let mut memory = self.memory();
                memory.nodes.remove(&id);
                memory.links.remove(&link);
                memory.pings.remove(&ping);
                memory.leases.remove(&lease);
            }
            self.sets.nodes.mark_delete(&id).unwrap();
            self.sets.links.mark_delete(&link).unwrap();
            self.sets.pings.mark_delete(&ping).unwrap();
            self.sets.leases.mark_delete(&lease).unwrap();
        });
    }

    /// The feed and the platform that what is planted hangs on.
    pub async fn found(&self, name: &str) {
        self.sets.feeds.put(&name.to_owned(), "").await.unwrap();
        self.sets.platforms.put(&name.to_owned(), "").await.unwrap();
    }

    /// What is stored, read as memory.
    pub async fn stored(&self) -> Memory {
        stored(self.job()).await
    }
}

/// What is stored, read as memory.
pub async fn stored(job: &Job) -> Memory {
    async fn all<K: persistency::FromKeyPart + Ord, V: FromPayload>(job: &Job, of: &str) -> BTreeMap<K, V> {
        let rows = job.scan(of, ..).await.unwrap();
        rows.iter().map(|row| (row.key.decode().unwrap(), V::from_payload(&row.payload).unwrap())).collect()
    }
    Memory {
        nodes: all(job, "node").await,
        links: all(job, "link").await,
        pings: all(job, "ping").await,
        leases: all(job, "lease").await,
    }
}
