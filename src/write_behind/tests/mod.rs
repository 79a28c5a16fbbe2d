//! The layer over the faulty engine: every fault and every loss of power at every step of one story.

mod elsewhere;
mod mixed;
#[cfg(not(target_family = "wasm"))]
mod panics;
mod story;
mod sweep;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use super::{Flushed, Options, Schema, StrongSet, WeakSet, WriteBehind};
use crate::engine::faulty::{Call, Faults, FaultySite, Injection, Rule};
use crate::engine::memory::MemorySite;
use crate::engine::{Fault, Sharing};
use crate::testing::async_test;
use crate::{Batch, Clock, ErrorKind, JobOptions, Persistency, Result, key};

/// What a small program holds: parents, and children by parent and name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Memory {
    parents: BTreeMap<u8, u8>,
    children: BTreeMap<(u8, u8), u8>,
}

/// The program, and the sets that its engine follows it by.
struct App {
    memory: Arc<Mutex<Memory>>,
    engine: WriteBehind,
    parents: WeakSet<u8>,
    children: WeakSet<(u8, u8)>,
    config: StrongSet<u8>,
}

impl App {
    async fn open(root: &Persistency) -> Result<App> {
        let memory = Arc::<Mutex<Memory>>::default();
        let mut schema = Schema::new();
        let config = schema.strong("config");
        let own = Arc::clone(&memory);
        let parents =
            schema.weak("parent", move |id: &u8| Ok(lock(&own).parents.get(id).map(|value| vec![*value])));
        let own = Arc::clone(&memory);
        let children = schema
            .weak("child", move |id: &(u8, u8)| Ok(lock(&own).children.get(id).map(|value| vec![*value])));
        schema.requires(&children, &parents, |(parent, _), _| Ok(Some(*parent)));
        schema.migrate(1, |_| async { Ok(Batch::new().put("config", key!(0u8)?, [1])) });
        schema.migrate(2, |job| async move {
            let old = job.get("config", key!(0u8)?).await?.unwrap_or_default();
            Ok(Batch::new().put("config", key!(0u8)?, [&old[..], &[2]].concat()))
        });
        let own = Arc::clone(&memory);
        schema.load(&parents, move |id, value| {
            lock(&own).parents.extend(value.first().map(|value| (id, *value)));
            Ok(())
        });
        let own = Arc::clone(&memory);
        schema.load(&children, move |id, value| {
            lock(&own).children.extend(value.first().map(|value| (id, *value)));
            Ok(())
        });
        let options = Options::new().job(JobOptions::new().no_deadline()).clock(Clock::manual(0));
        let engine = WriteBehind::open(root, "job", schema, options).await?;
        Ok(App { memory, engine, parents, children, config })
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        lock(&self.memory)
    }

    /// Sets a parent and its child to a value.
    fn set(&self, id: u8, value: u8) {
        self.engine.change(|| {
            self.memory().parents.insert(id, value);
            self.memory().children.insert((id, 0), value);
            self.children.mark(&(id, 0)).expect("is marked");
            self.parents.mark(&id).expect("is marked");
        });
    }

    /// Removes both.
    fn unset(&self, id: u8) {
        self.engine.change(|| {
            self.memory().parents.remove(&id);
            self.memory().children.remove(&(id, 0));
            self.parents.mark_delete(&id).expect("is marked");
            self.children.mark_delete(&(id, 0)).expect("is marked");
        });
    }
}

fn lock(memory: &Mutex<Memory>) -> MutexGuard<'_, Memory> {
    memory.lock().expect("nobody panics here")
}

/// One medium and its script.
struct World {
    faults: Faults,
    site: FaultySite,
}

impl World {
    fn new() -> Self {
        let faults = Faults::new();
        let site = FaultySite::new(MemorySite::default(), faults.clone(), Sharing::Exclusive);
        World { faults, site }
    }

    fn root(&self) -> Persistency {
        let place = crate::place::Place::at(self.site.clone());
        Persistency::at("faulty".into(), place, Clock::manual(0))
    }

    /// The same medium as the next run finds it.
    fn beside(&self) -> World {
        let faults = Faults::new();
        let site = self.site.beside(MemorySite::default(), faults.clone());
        World { faults, site }
    }
}

#[async_test]
async fn a_flush_that_fails_in_the_store_puts_the_marks_back_but_for_newer_ones() {
    let world = World::new();
    let root = world.root();
    let app = App::open(&root).await.expect("opens");
    app.set(1, 1);
    app.set(2, 1);
    world.faults.on(Call::Apply, 1, Injection::Hold);
    world.faults.on(Call::Apply, 1, Injection::fail(Fault::Other));
    let during = async {
        world.faults.until_waiting(1).await;
        app.unset(1);
        app.set(3, 1);
        world.faults.release();
    };
    let (flushed, ()) = futures_util::join!(app.engine.flush(), during);
    flushed.expect_err("fails");
    assert_eq!(app.engine.status().dirty, 6, "two put back, two marked anew, two new ones");
    let Flushed { upserts, deletes, .. } = app.engine.flush().await.expect("flushes");
    assert_eq!((upserts, deletes), (4, 2));
    let memory = app.memory().clone();
    root.close().await.expect("closes");
    let stored = App::open(&world.beside().root()).await.expect("opens");
    assert_eq!(*stored.memory(), memory);
}

#[async_test]
async fn a_flush_that_is_asked_for_while_one_runs_takes_over_what_that_one_loses() {
    let world = World::new();
    let root = world.root();
    let app = App::open(&root).await.expect("opens");
    app.set(1, 1);
    world.faults.on(Call::Apply, 1, Injection::Hold);
    world.faults.on(Call::Apply, 1, Injection::fail(Fault::Other));
    let first = async { app.engine.flush().await.expect_err("fails") };
    let second = async {
        world.faults.until_waiting(1).await;
        app.set(2, 1);
        let mut flush = std::pin::pin!(app.engine.flush());
        assert!(futures_util::poll!(&mut flush).is_pending());
        world.faults.release();
        flush.await.expect("flushes")
    };
    let (_, flushed) = futures_util::join!(first, second);
    assert_eq!((flushed.upserts, app.engine.status().dirty), (4, 0));
    let memory = app.memory().clone();
    root.close().await.expect("closes");
    let stored = App::open(&world.beside().root()).await.expect("opens");
    assert_eq!(*stored.memory(), memory);
}

#[async_test]
async fn a_failed_flush_does_not_bring_back_what_was_written_strongly_meanwhile() {
    let world = World::new();
    let app = App::open(&world.root()).await.expect("opens");
    app.set(1, 1);
    world.faults.on(Call::Apply, 1, Injection::Hold);
    world.faults.on(Call::Apply, 1, Injection::fail(Fault::StorageFull));
    let flush = app.engine.flush();
    let during = async {
        world.faults.until_waiting(1).await;
        let write = app.parents.strong().put(&1, [9]);
        world.faults.release();
        write.await
    };
    let (flushed, written) = futures_util::join!(flush, during);
    assert_eq!(flushed.expect_err("fails").kind(), ErrorKind::StorageFull);
    written.expect("is written");
    let flushed = app.engine.flush().await.expect("flushes");
    assert_eq!(flushed.upserts, 1, "the child alone");
    assert_eq!(app.parents.strong().get(&1).await.expect("reads"), Some(vec![9]));
}

#[async_test]
async fn a_sync_that_fails_is_not_reported_as_done() {
    let world = World::new();
    let app = App::open(&world.root()).await.expect("opens");
    app.set(1, 1);
    world.faults.set_rules(&[Rule::NoSync]);
    app.engine.flush().await.expect_err("is not durable");
    assert_eq!(app.engine.status().dirty, 2);
    let error = app.config.put(&1, [1]).await.expect_err("nor is this");
    assert_eq!(error.kind(), ErrorKind::Backend);
}
