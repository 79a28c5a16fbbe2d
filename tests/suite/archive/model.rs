//! A writer, a store that fails in every way by chance, and archives that are dropped and attached again,
//! from a seed: at the end the job is restored at any seq as a plain model had it there.
//!
//! `PERSISTENCY_ARCHIVE_SEEDS=500` for more seeds, read when it runs and natively also when it is built.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use persistency::archive::{
    Archive, ArchiveOptions, ArchiveState, Archiver, ArchiverOptions, FaultyStore, MemoryStore, RestoreTo,
    restore,
};
use persistency::{Batch, Clock, Job, Key, Persistency};

use super::{on_demand, options, reader};
use crate::common::{TestRoot, k};

facts! {
    everywhere: a_job_is_restored_at_any_seq_as_the_model_had_it_there;
}

const SEEDS_DEFAULT: u64 = 3;
const STEPS: usize = 60;
const CATEGORIES: [&str; 3] = ["", "m", "n"];

/// Rows by category and key.
type Rows = BTreeMap<(String, Vec<u8>), Vec<u8>>;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % end as u64).unwrap()
    }
}

struct Run<'a> {
    root: &'a TestRoot,
    random: Random,
    store: FaultyStore<MemoryStore>,
    archiver: Archiver,
    options: ArchiveOptions,
    p: Persistency,
    job: Job,
    archive: Option<Archive>,
    /// The rows after each seq, from 0 on.
    states: Vec<Rows>,
    payloads: usize,
}

fn seeds() -> u64 {
    let built = option_env!("PERSISTENCY_ARCHIVE_SEEDS").map(str::to_owned);
    let setting = std::env::var("PERSISTENCY_ARCHIVE_SEEDS").ok().or(built);
    setting.map_or(SEEDS_DEFAULT, |seeds| seeds.parse().unwrap())
}

async fn a_job_is_restored_at_any_seq_as_the_model_had_it_there(root: &TestRoot) {
    for seed in 0..seeds() {
        let mut run = Run::new(root, seed).await;
        for _ in 0..STEPS {
            run.step().await;
        }
        run.check(seed).await;
    }
}

impl<'a> Run<'a> {
    async fn new(root: &'a TestRoot, seed: u64) -> Self {
        let mut random = Random(seed);
        let store = FaultyStore::new(MemoryStore::new(), Clock::system());
        store.by_chance(seed, [10, 25, 50][random.below(3)], Duration::from_millis(1));
        let ms = Duration::from_millis;
        let attempts = 2 + u32::try_from(random.below(20)).unwrap();
        let archiver = ArchiverOptions::new().backoff(ms(0), ms(1)).max_attempts(attempts);
        let cut = on_demand().commits(1 + random.below(6) as u64).bytes(1 + random.below(20_000) as u64);
        let base_after = [1, 5_000, u64::MAX][random.below(3)];
        let keep = [0, 20, 1_000_000][random.below(3)];
        let p = root.open();
        Run {
            root,
            random,
            store,
            archiver: Archiver::new(archiver).unwrap(),
            options: options().cut(cut).base_after_bytes(base_after).keep(ms(keep)),
            job: p.open_job("alpha").await.unwrap(),
            p,
            archive: None,
            states: vec![Rows::new()],
            payloads: 0,
        }
    }

    async fn step(&mut self) {
        match self.random.below(20) {
            0..12 => self.write().await,
            12..14 => self.attach().await,
            14..15 => drop(self.archive.take()),
            15..16 => {
                if let Some(archive) = self.archive.take() {
                    archive.stop().await;
                }
            }
            16..19 => {
                let Some(archive) = &self.archive else { return };
                archive.resume();
                // It may have stalled; what was told before has to be true all the same.
                if let Ok(seq) = archive.ship().await {
                    assert_eq!(seq, self.job.committed_seq());
                }
            }
            _ if self.root.persists() => {
                if self.random.below(2) == 0 {
                    self.archive = None;
                }
                self.p.close().await.unwrap();
                self.archive = None;
                self.p = self.root.open();
                self.job = self.p.open_job("alpha").await.unwrap();
            }
            _ => {}
        }
    }

    fn key(&mut self) -> Key {
        let length = self.random.below(3);
        k((0..length).map(|_| self.random.below(4) as u8).collect::<Vec<u8>>())
    }

    /// Commits some batches, and remembers what the rows are after each.
    async fn write(&mut self) {
        let mut receipts = Vec::new();
        for _ in 0..1 + self.random.below(4) {
            let mut rows = self.states.last().unwrap().clone();
            let mut batch = Batch::new();
            for _ in 0..1 + self.random.below(3) {
                let category = CATEGORIES[self.random.below(CATEGORIES.len())];
                let key = self.key();
                let own = (category.to_owned(), key.as_bytes().to_vec());
                batch = match self.random.below(8) {
                    0 => {
                        rows.remove(&own);
                        batch.delete(category, key)
                    }
                    1 => {
                        rows.retain(|(other, row), _| other != category || !row.starts_with(&own.1));
                        batch.delete_prefix(category, key)
                    }
                    _ => {
                        self.payloads += 1;
                        let size = [8, 8, 100, 3_000][self.random.below(4)];
                        let payload = self.payloads.to_string().into_bytes().repeat(size);
                        rows.insert(own, payload.clone());
                        batch.put(category, key, payload)
                    }
                };
            }
            receipts.push(self.job.persist(batch).await.unwrap());
            self.states.push(rows);
        }
        for receipt in receipts {
            receipt.committed().await.unwrap();
        }
        assert_eq!(self.job.committed_seq(), self.states.len() as u64 - 1);
    }

    /// Attaches if nothing is; that may fail as often as the store does.
    async fn attach(&mut self) {
        if self.archive.as_ref().is_some_and(|archive| !has_ended(archive)) {
            return;
        }
        let store = Arc::new(self.store.clone());
        self.archive = self.archiver.attach(&self.job, store, self.options.clone()).await.ok();
    }

    async fn check(mut self, seed: u64) {
        self.store.by_chance(0, 0, Duration::ZERO);
        self.archive = None;
        let store = Arc::new(self.store.clone());
        let archive = self.archiver.attach(&self.job, store, self.options.clone()).await.unwrap();
        archive.close().await.unwrap();
        let last = self.states.len() as u64 - 1;
        let verified = reader(self.store.inner()).await.verify().await.unwrap();
        // The log has been held since the first time, so there is no gap.
        let first = verified.restorable[0].0;
        assert_eq!(verified.restorable, [(first, last)], "seed {seed}");
        for seq in
            [first, last].into_iter().chain((0..4).map(|_| self.random.below(last as usize + 1) as u64))
        {
            if seq < first {
                continue;
            }
            let store = Arc::new(self.store.inner().clone());
            restore(store, "backup", &self.p, "restored", RestoreTo::Seq(seq)).await.unwrap();
            let restored = self.p.open_job("restored").await.unwrap();
            let mut rows = Rows::new();
            for category in restored.categories().await.unwrap() {
                for row in restored.scan(&category, ..).await.unwrap() {
                    rows.insert((category.clone(), row.key.into_bytes()), row.payload);
                }
            }
            assert!(rows == self.states[usize::try_from(seq).unwrap()], "seed {seed}, seq {seq}");
            self.p.drop_job("restored").await.unwrap();
        }
        self.p.drop_job("alpha").await.unwrap();
        self.p.close().await.unwrap();
    }
}

fn has_ended(archive: &Archive) -> bool {
    matches!(archive.progress().state, ArchiveState::Ended { .. })
}
