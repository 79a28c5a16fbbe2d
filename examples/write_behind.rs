//! A crawler whose memory is the truth: hosts and their pages change all the time, and the store follows.
//!
//! Configuration is strong: saved when the call returns. Hosts and pages are weak: memory is changed, the
//! keys are marked, and a flusher writes what is dirty in one atomic batch, by count, by bytes or by
//! interval. The next run opens, migrates, repairs and loads in one call.
//!
//! `cargo run --example write_behind --features write_behind,cli`

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use persistency::write_behind::{FlushPolicy, Options, Saved, Schema, StrongSet, WeakSet, WriteBehind};
use persistency::{Batch, FromPayload, Persistency, Result, ToPayload, key};

/// What the program works on. Nothing of it waits for the store.
#[derive(Debug, Default)]
struct World {
    /// Name → how often it was asked.
    hosts: BTreeMap<String, i64>,
    /// Host and path → size.
    pages: BTreeMap<(String, String), i64>,
}

struct Crawler {
    world: Arc<Mutex<World>>,
    engine: WriteBehind,
    config: StrongSet<String>,
    hosts: WeakSet<String>,
    pages: WeakSet<(String, String)>,
}

impl Crawler {
    async fn open(root: &Persistency) -> Result<Self> {
        let world = Arc::<Mutex<World>>::default();
        // Parents first: a host comes before its pages.
        let mut schema = Schema::new();
        let config = schema.strong("config");
        let own = Arc::clone(&world);
        let hosts = schema.weak("host", move |name: &String| {
            let world = own.lock().expect("nobody panics");
            world.hosts.get(name).map(|asked| asked.to_payload()).transpose()
        });
        let own = Arc::clone(&world);
        let pages = schema.weak("page", move |page: &(String, String)| {
            let world = own.lock().expect("nobody panics");
            world.pages.get(page).map(|size| size.to_payload()).transpose()
        });
        schema.requires(&pages, &hosts, |(host, _), _size| Ok(Some(host.clone())));
        schema.migrate(1, |_job| async { Ok(Batch::new().put("config", key!("agent")?, "crawler/1")) });
        let own = Arc::clone(&world);
        schema.load(&hosts, move |name, asked| {
            own.lock().expect("nobody panics").hosts.insert(name, i64::from_payload(asked)?);
            Ok(())
        });
        let own = Arc::clone(&world);
        schema.load(&pages, move |page, size| {
            own.lock().expect("nobody panics").pages.insert(page, i64::from_payload(size)?);
            Ok(())
        });
        let policy = FlushPolicy { marks: 500, interval: Duration::from_secs(2), ..FlushPolicy::default() };
        let options = Options::new().policy(policy).tick(Duration::from_millis(50));
        let engine = WriteBehind::open(root, "crawler", schema, options).await?;
        Ok(Crawler { world, engine, config, hosts, pages })
    }

    /// One more page was fetched: a change of two rows that is flushed whole or not at all.
    fn fetched(&self, host: &str, path: &str, size: i64) -> Result<()> {
        let page = (host.to_owned(), path.to_owned());
        self.engine.change(|| {
            {
                let mut world = self.world.lock().expect("nobody panics");
                *world.hosts.entry(host.to_owned()).or_default() += 1;
                world.pages.insert(page.clone(), size);
            }
            self.hosts.mark(&page.0)?;
            self.pages.mark(&page)
        })
    }

    /// A host has gone, and its pages with it.
    fn gone(&self, host: &str) -> Result<()> {
        self.engine.change(|| {
            let mut world = self.world.lock().expect("nobody panics");
            world.hosts.remove(host);
            self.hosts.mark(&host.to_owned())?; // memory has it no longer, so this is a delete
            let pages: Vec<_> = world.pages.keys().filter(|(of, _)| of == host).cloned().collect();
            for page in pages {
                world.pages.remove(&page);
                self.pages.mark_delete(&page)?;
            }
            Ok(())
        })
    }
}

async fn first_run(directory: &Path) -> Result<()> {
    let root = Persistency::open(directory)?;
    let crawler = Crawler::open(&root).await?;
    crawler.engine.start()?;

    // Durable when it returns, and it says what it did.
    assert_eq!(crawler.config.put(&"agent".to_owned(), "crawler/2").await?, Saved::Updated);

    for round in 0..10_000i64 {
        let host = format!("host-{}.example", round % 20);
        crawler.fetched(&host, &format!("/{}", round % 50), round)?;
    }
    crawler.gone("host-7.example")?;
    println!("dirty after 10,001 changes: {} rows", crawler.engine.status().dirty);

    // The last flush, and its error if there is one; then the store itself.
    crawler.engine.stop().await?;
    let status = crawler.engine.status();
    println!("written: {} rows in {} flushes", status.rows, status.flushes);
    root.close().await
}

async fn second_run(directory: &Path) -> Result<()> {
    let root = Persistency::open(directory)?;
    let crawler = Crawler::open(&root).await?;
    let bootstrap = crawler.engine.bootstrap();
    println!("version {}, loaded {:?}", bootstrap.version, bootstrap.loaded);
    assert_eq!(bootstrap.repair.removed(), 0, "a page never comes without its host");
    {
        let world = crawler.world.lock().expect("nobody panics");
        assert_eq!((world.hosts.len(), world.hosts["host-0.example"]), (19, 500));
        assert!(world.pages.keys().all(|(host, _)| world.hosts.contains_key(host)));
    }
    assert_eq!(crawler.config.get(&"agent".to_owned()).await?.as_deref(), Some(&b"crawler/2"[..]));
    root.close().await
}

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    first_run(directory.path()).await?;
    second_run(directory.path()).await?;
    Ok(())
}
