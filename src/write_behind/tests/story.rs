//! One story, and what holds after it whatever has befallen it.

use super::{App, Memory, World};
use crate::error::Outcome;

/// What the program has been told.
pub(super) struct Story {
    /// Memory as it was at the last flush that was reported, and at each that was asked for since.
    possible: Vec<Memory>,
    /// What may be stored under the key 1 of the strong set; the first was acknowledged last.
    config: Vec<Option<Vec<u8>>>,
    /// Whether the engine could be opened.
    opened: bool,
}

/// Opens, changes, flushes and writes; goes on whatever fails, as far as it can.
pub(super) async fn tell(world: &World) -> Story {
    let mut story = Story { possible: vec![Memory::default()], config: vec![None], opened: false };
    let root = world.root();
    if let Ok(app) = App::open(&root).await {
        story.opened = true;
        assert_eq!(*app.memory(), Memory::default());
        app.set(1, 1);
        app.set(2, 1);
        story.flush(&app).await;
        story.put(&app, 1).await;
        app.set(1, 2);
        app.unset(2);
        app.set(3, 2);
        let (_, _) = futures_util::join!(app.engine.job().get("parent", [1]), story.flush(&app));
        story.put(&app, 2).await;
        app.unset(1);
        app.set(4, 3);
        story.flush(&app).await;
        app.engine.repair().await.ok();
        // What a fault has kept from being flushed is flushed by one of these, unless power is gone.
        for _ in 0..3 {
            story.flush(&app).await;
        }
        let last = app.engine.stop().await;
        assert!(last.is_err() || app.engine.status().dirty == 0);
    }
    root.close().await.ok();
    story
}

impl Story {
    async fn flush(&mut self, app: &App) {
        let memory = app.memory().clone();
        let dirty = app.engine.status().dirty;
        self.possible.push(memory.clone());
        match app.engine.flush().await {
            Ok(_) => {
                assert_eq!(app.engine.status().dirty, 0);
                self.possible = vec![memory];
            }
            Err(_) => assert_eq!(app.engine.status().dirty, dirty, "no mark is lost"),
        }
    }

    async fn put(&mut self, app: &App, value: u8) {
        self.config.push(Some(vec![value]));
        match app.config.put(&1, [value]).await {
            Ok(_) => self.config = vec![Some(vec![value])],
            Err(error) if error.outcome() == Outcome::NotApplied => drop(self.config.pop()),
            Err(_) => {}
        }
    }
}

/// Holds what is stored against what was told.
pub(super) async fn check(world: &World, story: &Story, what: &str) {
    let root = world.beside().root();
    let app = App::open(&root).await.expect("opens");
    assert_eq!(app.engine.bootstrap().repair.removed(), 0, "{what}: something hung in the air");
    assert!(story.possible.contains(&app.memory()), "{what}: {:?} of {:?}", app.memory(), story.possible);
    let config = app.config.get(&1).await.expect("reads");
    assert!(story.config.contains(&config), "{what}: {config:?} of {:?}", story.config);
    // Each step of the migration was taken once.
    assert_eq!(app.config.get(&0).await.expect("reads"), Some(vec![1, 2]), "{what}");
    assert!(!story.opened || app.engine.bootstrap().version_before == 2, "{what}");
    app.set(9, 9);
    assert_eq!(app.engine.stop().await.expect("goes on").upserts, 2, "{what}");
    root.close().await.expect("closes");
}
