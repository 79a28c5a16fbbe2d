//! Random programs that are killed anywhere: what was reported is there, and nothing hangs in the air.
//!
//! A program changes memory and marks what it changed, flushes, writes strongly, is stopped or killed,
//! and starts again from what is stored. What may be found is known at every time: memory as it was at
//! the last flush that was reported, or at one that was asked for since.
//!
//! Settings as for the model tests of jobs: `PERSISTENCY_MODEL_SEEDS`, `PERSISTENCY_MODEL_SEED`.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use futures_util::poll;
use persistency::write_behind::Options;
use persistency::{Batch, Persistency};

use super::app::{App, Memory};
use crate::common::{TestRoot, fresh};

facts! {
    on_disk:
        a_program_that_is_killed_anywhere_finds_what_was_reported;
}

/// Seeds that are run unless the environment says otherwise.
const SEEDS: u64 = 6;
/// Lives of a program.
const LIVES: usize = 6;
/// Steps of a life at most.
const STEPS: u64 = 25;
const FEEDS: [&str; 3] = ["a", "b", "c"];

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

/// What a run may find.
#[derive(Default)]
struct Possible {
    /// Memory at the last flush that was reported, then at each that was asked for since.
    weak: Vec<Memory>,
    /// What was acknowledged last of each row.
    strong: BTreeMap<String, Vec<u8>>,
    /// What was asked for since, and may be there or not.
    asked: BTreeMap<String, Vec<Vec<u8>>>,
}

pub fn seeds() -> std::ops::Range<u64> {
    let set = |run: &str, built: Option<&str>| {
        let value = std::env::var(run).ok().or_else(|| built.map(str::to_owned))?;
        Some(value.parse::<u64>().unwrap())
    };
    if let Some(seed) = set("PERSISTENCY_MODEL_SEED", option_env!("PERSISTENCY_MODEL_SEED")) {
        return seed..seed + 1;
    }
    0..set("PERSISTENCY_MODEL_SEEDS", option_env!("PERSISTENCY_MODEL_SEEDS")).unwrap_or(SEEDS)
}

async fn a_program_that_is_killed_anywhere_finds_what_was_reported(_: &TestRoot) {
    for seed in seeds() {
        let place = fresh("write-behind-model");
        let mut random = Random(seed);
        let mut possible = Possible { weak: vec![Memory::default()], ..Possible::default() };
        for life in 0..LIVES {
            live(place.root(), &mut random, &mut possible, &format!("seed {seed}, life {life}")).await;
        }
        let p = Persistency::open(place.root()).unwrap();
        p.drop_job("alpha").await.unwrap();
        p.close().await.unwrap();
    }
}

/// One life: opens, checks, does this and that, and ends in some way.
async fn live(root: &str, random: &mut Random, possible: &mut Possible, of: &str) {
    let p = Persistency::open(root).unwrap();
    let app = App::open(&p, Options::new()).await.unwrap();
    assert_eq!(app.engine.bootstrap().repair.removed(), 0, "{of}: something hung in the air");
    let found = app.memory().clone();
    assert!(possible.weak.contains(&found), "{of}: {found:?} is none of {:?}", possible.weak);
    possible.weak = vec![found];
    for name in FEEDS {
        let found = app.sets.feeds.get(&name.to_owned()).await.unwrap();
        let asked = possible.asked.remove(name).unwrap_or_default();
        let known = found.as_ref() == possible.strong.get(name)
            || found.as_ref().is_some_and(|found| asked.contains(found));
        assert!(known, "{of}: {name} is {found:?}, not {:?}", possible.strong.get(name));
        if let Some(found) = found {
            possible.strong.insert(name.to_owned(), found);
        }
        // What is planted later hangs on these.
        app.sets.platforms.put(&name.to_owned(), "").await.unwrap();
        app.sets.feeds.ensure(&name.to_owned(), "").await.unwrap();
        possible.strong.entry(name.to_owned()).or_default();
    }
    for step in 0..random.below(STEPS) {
        let (name, id) = (FEEDS[random.below(3) as usize], random.below(6) as i64);
        match random.below(10) {
            0..=2 => plant(&app, name, id),
            3 => fell(&app, id),
            4 if app.memory().nodes.contains_key(&id) => app.name(id, &format!("step {step}")),
            5 => {
                possible.weak.push(app.memory().clone());
                app.engine.flush().await.unwrap();
                reported(&app, possible);
            }
            // Asked for, and given up.
            6 => {
                possible.weak.push(app.memory().clone());
                let mut flush = Box::pin(app.engine.flush());
                if poll!(&mut flush).is_ready() {
                    reported(&app, possible);
                }
            }
            7 => {
                app.shared.broken.store(true, Ordering::Relaxed);
                // Deletions are flushed without a reader.
                match app.engine.flush().await {
                    Ok(_) => reported(&app, possible),
                    Err(_) => assert!(app.dirty() > 0, "{of}: marks are lost"),
                }
                app.shared.broken.store(false, Ordering::Relaxed);
            }
            8 => {
                let value = format!("{of}, step {step}").into_bytes();
                app.sets.feeds.put(&name.to_owned(), value.clone()).await.unwrap();
                possible.strong.insert(name.to_owned(), value);
                possible.asked.remove(name);
            }
            _ => {
                let value = format!("{of}, step {step}").into_bytes();
                possible.asked.entry(name.to_owned()).or_default().push(value.clone());
                let batch = Batch::new().put("feed", persistency::key!(name).unwrap(), value);
                let _ = poll!(Box::pin(app.engine.write(batch)));
            }
        }
    }
    if random.below(3) == 0 {
        possible.weak.push(app.memory().clone());
        app.engine.stop().await.unwrap();
        reported(&app, possible);
        p.close().await.unwrap();
    }
    // Otherwise with whatever is dirty, in flight or not yet acknowledged.
}

/// A flush that was reported: from now on memory is found as it was then, or newer.
fn reported(app: &App, possible: &mut Possible) {
    possible.weak = vec![app.memory().clone()];
}

/// A node is held by one feed at a time.
fn plant(app: &App, feed: &str, id: i64) {
    if !app.memory().nodes.contains_key(&id) {
        app.plant(feed, id);
    }
}

fn fell(app: &App, id: i64) {
    let feed = app.memory().links.keys().find(|(_, node)| *node == id).map(|(feed, _)| feed.clone());
    if let Some(feed) = feed {
        app.fell(&feed, id);
    }
}
