//! Strong and weak writes of the same rows in every mix, by random programs that end anywhere.
//!
//! The same is told over the faulty engine in the layer's own tests; here it meets the platform's store.
//!
//! Memory is changed first, always. So whatever was mixed, a flush that nothing disturbs leaves the store as memory
//! is; and at every time a row is found as it was last acknowledged, or as it was asked for since.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, Mutex};

use futures_util::poll;
use persistency::write_behind::{Options, Saved, Schema, StrongSet, WeakSet, WriteBehind};
use persistency::{Batch, Job, Persistency, Result, key};

use super::model::{Random, seeds};
use crate::common::{TestRoot, fresh};

facts! {
    on_disk:
        rows_that_are_written_strongly_and_weakly_are_as_memory_has_them;
}

const LIVES: usize = 4;
const STEPS: u64 = 30;
const KEYS: u8 = 4;

type Value = Option<u32>;

struct Program {
    root: Persistency,
    memory: Arc<Mutex<BTreeMap<u8, u32>>>,
    engine: WriteBehind,
    rows: WeakSet<u8>,
    other: StrongSet<u8>,
}

/// What may be found.
struct Possible {
    of: BTreeMap<u8, BTreeSet<Value>>,
    /// Keys that are surely marked, so that memory is read for them.
    marked: BTreeSet<u8>,
    last: u32,
}

impl Possible {
    fn asked(&mut self, key: u8, value: Value) {
        self.of.entry(key).or_default().insert(value);
    }

    fn acknowledged(&mut self, key: u8, value: Value) {
        self.of.insert(key, BTreeSet::from([value]));
        self.marked.remove(&key);
    }

    fn fresh(&mut self) -> u32 {
        self.last += 1;
        self.last
    }
}

impl Program {
    async fn open(root: Persistency) -> Result<Program> {
        let memory = Arc::<Mutex<BTreeMap<u8, u32>>>::default();
        let mut schema = Schema::new();
        let own = Arc::clone(&memory);
        let rows = schema.weak("row", move |key: &u8| {
            Ok(lock_of(&own).get(key).map(|value| value.to_be_bytes().to_vec()))
        });
        let other = schema.strong("other");
        let own = Arc::clone(&memory);
        schema.load(&rows, move |key, payload| {
            lock_of(&own).extend(value(Some(payload)).map(|value| (key, value)));
            Ok(())
        });
        let engine = WriteBehind::open(&root, "job", schema, Options::new()).await?;
        Ok(Program { root, memory, engine, rows, other })
    }

    fn get(&self, key: u8) -> Value {
        lock_of(&self.memory).get(&key).copied()
    }

    fn set(&self, key: u8, value: Value) {
        match value {
            Some(value) => drop(lock_of(&self.memory).insert(key, value)),
            None => drop(lock_of(&self.memory).remove(&key)),
        }
    }

    /// Marks a key, in one of the ways that say the same.
    fn mark(&self, key: u8, possible: &mut Possible, random: &mut Random) {
        if self.get(key).is_none() && random.below(2) == 0 {
            // This one would remove the row whatever memory has later.
            self.rows.mark_delete(&key).unwrap();
            possible.marked.remove(&key);
        } else {
            self.rows.mark(&key).unwrap();
            possible.marked.insert(key);
        }
    }

    async fn stored(&self) -> BTreeMap<u8, u32> {
        stored(self.engine.job()).await
    }

    async fn flush(&self, possible: &mut Possible) -> bool {
        self.flush_asked(possible);
        let flushed = self.engine.flush().await.is_ok();
        if flushed {
            self.flushed(possible);
        }
        flushed
    }

    fn flushed(&self, possible: &mut Possible) {
        (0..KEYS).for_each(|key| possible.acknowledged(key, self.get(key)));
    }

    fn flush_asked(&self, possible: &mut Possible) {
        (0..KEYS).for_each(|key| possible.asked(key, self.get(key)));
        possible.marked.clear();
    }

    /// Writes strongly what memory has; whether it was written.
    async fn write(&self, key: u8, way: u64) -> Result<bool> {
        let strong = self.rows.strong();
        let Some(value) = self.get(key) else {
            return match way % 3 {
                0 => strong.remove(&key).await.map(|_| true),
                1 => self.engine.write(Batch::new().delete("row", key!(key)?)).await.map(|_| true),
                _ => self.engine.write(Batch::new().delete_prefix("row", key!(key)?)).await.map(|_| true),
            };
        };
        let payload = value.to_be_bytes();
        match way % 5 {
            0 => strong.put(&key, payload).await.map(|_| true),
            1 => strong.insert(&key, payload).await.map(|()| true),
            2 => strong.ensure(&key, payload).await,
            3 => strong
                .update(&key, |_| Ok(Some(payload.to_vec())))
                .await
                .map(|saved| saved != Saved::Unchanged),
            _ => self.engine.write(Batch::new().put("row", key!(key)?, payload)).await.map(|_| true),
        }
    }

    /// What was not written strongly, or perhaps not, is marked, unless its mark comes back by itself.
    fn not_written(&self, key: u8, possible: &mut Possible, random: &mut Random) {
        if !possible.marked.contains(&key) || random.below(2) == 0 {
            self.mark(key, possible, random);
        }
    }
}

fn lock_of<T>(memory: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    memory.lock().unwrap()
}

fn value(payload: Option<&[u8]>) -> Value {
    payload.and_then(|payload| payload.try_into().ok()).map(u32::from_be_bytes)
}

async fn stored(job: &Job) -> BTreeMap<u8, u32> {
    let rows = job.scan("row", ..).await.unwrap();
    rows.iter().map(|row| (row.key.as_bytes()[0], value(Some(&row.payload)).unwrap())).collect()
}

async fn given_up(call: impl Future) {
    let mut call = Box::pin(call);
    let _ = poll!(&mut call);
}

async fn step(program: &Program, possible: &mut Possible, random: &mut Random) {
    let key = random.below(u64::from(KEYS)) as u8;
    let new = (random.below(4) > 0).then(|| possible.fresh());
    match random.below(9) {
        0 | 1 => {
            program.set(key, new);
            program.mark(key, possible, random);
        }
        2 => drop(program.flush(possible).await),
        3 => {
            program.flush_asked(possible);
            given_up(program.engine.flush()).await;
        }
        4 | 5 => {
            program.set(key, new);
            possible.asked(key, new);
            match program.write(key, random.below(30)).await {
                Ok(true) => possible.acknowledged(key, new),
                _ => program.not_written(key, possible, random),
            }
        }
        6 => {
            program.set(key, new);
            possible.asked(key, new);
            given_up(program.write(key, random.below(30))).await;
            program.not_written(key, possible, random);
            possible.marked.remove(&key);
        }
        7 => {
            // Somebody is before them in the order, so that the flush and the write wait for it, and the key is
            // marked while they do.
            program.set(key, new);
            possible.asked(key, new);
            program.flush_asked(possible);
            let newer = Some(possible.fresh());
            let way = [0, 3, 4, 9][random.below(4) as usize];
            let flush_first = random.below(2) == 0;
            let marking = async {
                program.set(key, newer);
                program.mark(key, possible, random);
            };
            let before = program.other.put(&0, [0]);
            if flush_first {
                drop(futures_util::join!(before, program.engine.flush(), program.write(key, way), marking));
            } else {
                drop(futures_util::join!(before, program.write(key, way), marking, program.engine.flush()));
            }
            (0..KEYS).for_each(|key| possible.asked(key, program.get(key)));
            possible.marked.clear();
        }
        _ => {
            program.flush_asked(possible);
            if program.engine.repair().await.is_ok() {
                program.flushed(possible);
            }
        }
    }
}

async fn rows_that_are_written_strongly_and_weakly_are_as_memory_has_them(_: &TestRoot) {
    for seed in seeds() {
        let place = fresh("write-behind-mixed");
        let mut random = Random(seed);
        let of = (0..KEYS).map(|key| (key, BTreeSet::from([None]))).collect();
        let mut possible = Possible { of, marked: BTreeSet::new(), last: 0 };
        for life in 0..LIVES {
            let what = format!("seed {seed}, life {life}");
            let program = Program::open(Persistency::open(place.root()).unwrap()).await.unwrap();
            for key in 0..KEYS {
                let found = program.get(key);
                assert!(
                    possible.of[&key].contains(&found),
                    "{what}: {key} is {found:?} of {:?}",
                    possible.of
                );
                possible.acknowledged(key, found);
            }
            for _ in 0..random.below(STEPS) {
                step(&program, &mut possible, &mut random).await;
            }
            if random.below(3) > 0 {
                assert!(program.flush(&mut possible).await, "{what}");
                assert_eq!(program.engine.status().dirty, 0, "{what}");
                assert_eq!(program.stored().await, *lock_of(&program.memory), "{what}");
            }
            if random.below(3) == 0 {
                program.root.close().await.unwrap();
            }
            // Otherwise with whatever is dirty, in flight or not yet acknowledged.
        }
        let p = Persistency::open(place.root()).unwrap();
        p.drop_job("job").await.unwrap();
        p.close().await.unwrap();
    }
}
