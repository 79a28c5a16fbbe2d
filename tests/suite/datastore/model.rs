//! Model tests: random requests to a collection, each answer compared with that of a plain model.
//!
//! In between the clock moves, the store is purged and reopened, callers give up, another object over the
//! same job writes, and a subscriber looks now and then. Every sequence comes from a seed.
//! `PERSISTENCY_DATASTORE_SEEDS=1000` runs more of them.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::FutureExt;
use persistency::datastore::{
    Bytes, Change, Changes, Collection, CollectionOptions, Datastore, Since, Subscription, When,
};
use persistency::{Clock, ErrorKind, Job, Key, Persistency};

use super::subscriptions::Mirror;
use crate::common::{TestRoot, k, kind};

facts! {
    everywhere: a_collection_answers_as_the_model_does;
}

/// The seeds to run, unless the environment says otherwise.
pub fn seeds(count: u64) -> std::ops::Range<u64> {
    let built = option_env!("PERSISTENCY_DATASTORE_SEEDS").map(str::to_owned);
    let set = std::env::var("PERSISTENCY_DATASTORE_SEEDS").ok().or(built);
    0..set.map_or(count, |seeds| seeds.parse().unwrap())
}

/// SplitMix64: the same values for the same seed everywhere.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// A number from 0 up to but without `end`.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % end as u64) as usize
    }
}

const RECORD_TTL_MS: u64 = 60;
const KEPT_MS: u64 = 100;
const TOMBSTONES: usize = 3;
const RECORDS: usize = 5;
const STEPS: usize = 80;

fn options() -> CollectionOptions {
    CollectionOptions::permanent()
        .record_ttl(Duration::from_millis(RECORD_TTL_MS))
        .keep_tombstones(Duration::from_millis(KEPT_MS))
        .max_tombstones(TOMBSTONES as u64)
        .max_records(RECORDS as u64)
}

/// The newest change of a key.
#[derive(Clone, Debug, PartialEq)]
struct Row {
    seq: u64,
    stamp_ms: u64,
    data: Option<Vec<u8>>,
}

/// A collection in the plainest way.
#[derive(Clone, Debug, Default)]
struct Model {
    rows: BTreeMap<Vec<u8>, Row>,
    seq: u64,
    floor: u64,
    last_ms: u64,
}

impl Model {
    /// Reads the time of a change.
    fn stamp(&mut self, now_ms: u64) -> u64 {
        self.last_ms = self.last_ms.max(now_ms);
        self.last_ms
    }

    fn alive(&self, key: &[u8], now_ms: u64) -> Option<&Row> {
        let row = self.rows.get(key).filter(|row| row.data.is_some())?;
        (now_ms <= row.stamp_ms + RECORD_TTL_MS).then_some(row)
    }

    fn records(&self) -> usize {
        self.rows.values().filter(|row| row.data.is_some()).count()
    }

    fn tombstones(&self) -> Vec<(u64, Vec<u8>, u64)> {
        let rows = self.rows.iter().filter(|(_, row)| row.data.is_none());
        let mut tombstones: Vec<_> = rows.map(|(key, row)| (row.seq, key.clone(), row.stamp_ms)).collect();
        tombstones.sort();
        tombstones
    }

    fn set(&mut self, key: &[u8], data: &[u8], now_ms: u64) -> bool {
        let there = self.rows.get(key).is_some_and(|row| row.data.is_some());
        if !there && self.records() == RECORDS {
            return false;
        }
        self.seq += 1;
        let row = Row { seq: self.seq, stamp_ms: self.stamp(now_ms), data: Some(data.to_vec()) };
        self.rows.insert(key.to_vec(), row);
        true
    }

    fn delete(&mut self, key: &[u8], now_ms: u64) -> Option<u64> {
        self.alive(key, now_ms.max(self.last_ms))?;
        Some(self.bury(key, now_ms))
    }

    fn bury(&mut self, key: &[u8], now_ms: u64) -> u64 {
        self.seq += 1;
        let row = Row { seq: self.seq, stamp_ms: self.stamp(now_ms), data: None };
        self.rows.insert(key.to_vec(), row);
        let tombstones = self.tombstones();
        if tombstones.len() > TOMBSTONES {
            self.forget(&tombstones[0]);
        }
        self.seq
    }

    fn forget(&mut self, (seq, key, _): &(u64, Vec<u8>, u64)) {
        self.rows.remove(key);
        self.floor = self.floor.max(*seq);
    }

    /// What a purge buries and forgets.
    fn purge(&mut self, now_ms: u64) -> (u64, u64) {
        let old = self.tombstones().into_iter().filter(|(.., stamp_ms)| now_ms > stamp_ms + KEPT_MS);
        let old: Vec<_> = old.collect();
        old.iter().for_each(|tombstone| self.forget(tombstone));
        let mut expired: Vec<(u64, Vec<u8>)> = self
            .rows
            .iter()
            .filter(|(key, row)| row.data.is_some() && self.alive(key, now_ms).is_none())
            .map(|(key, row)| (row.seq, key.clone()))
            .collect();
        expired.sort();
        for (_, key) in &expired {
            self.bury(key, now_ms);
        }
        (expired.len() as u64, old.len() as u64)
    }

    /// Purges before so many sets, if they might find no room.
    fn make_room(&mut self, sets: usize, now_ms: u64) {
        if sets > 0 && self.records() + sets > RECORDS {
            self.purge(now_ms);
        }
    }

    /// What is told of changes after `since`: key, seq, data.
    fn changes(&self, since: u64, now_ms: u64) -> Vec<(Vec<u8>, u64, Option<Vec<u8>>)> {
        let told = |(key, row): &(&Vec<u8>, &Row)| {
            row.seq > since && (row.data.is_none() || self.alive(key, now_ms).is_some())
        };
        let rows = self.rows.iter().filter(told);
        let mut changes: Vec<_> = rows.map(|(key, row)| (key.clone(), row.seq, row.data.clone())).collect();
        changes.sort_by_key(|(_, seq, _)| *seq);
        changes
    }
}

fn told(changes: Changes<Key, Vec<u8>>) -> Vec<(Vec<u8>, u64, Option<Vec<u8>>)> {
    let tell = |change: Change<Key, Vec<u8>>| match change {
        Change::Set(record) => (record.key.into_bytes(), record.seq, Some(record.data)),
        Change::Deleted { key, seq, .. } => (key.into_bytes(), seq, None),
        _ => panic!("neither"),
    };
    changes.changes.into_iter().map(tell).collect()
}

/// A collection under test.
struct Run<'a> {
    root: &'a TestRoot,
    clock: Clock,
    root_object: Persistency,
    list: Collection<Bytes>,
    /// The same through another object, as another tab has it.
    other: Collection<Bytes>,
    subscription: Subscription<Bytes>,
    mirror: Mirror,
    random: Random,
    model: Model,
}

async fn open(root: &Persistency) -> Collection<Bytes> {
    let job = root.open_job("alpha").await.unwrap();
    Datastore::new(job).collection("list", options()).await.unwrap()
}

impl Run<'_> {
    fn key(&mut self) -> Vec<u8> {
        vec![b'a'; self.random.below(7)]
    }

    async fn step(&mut self, step: usize) {
        let now_ms = self.clock.unix_ms();
        // A large one now and then, which ends the recent changes.
        let length = if self.random.below(10) == 0 { 17 * 1024 } else { 1 };
        let (key, data) = (self.key(), vec![step as u8; length]);
        let list = if self.random.below(3) == 0 { self.other.clone() } else { self.list.clone() };
        match self.random.below(14) {
            0..4 => {
                let set = list.set(k(key.clone()), data.clone()).await;
                self.model.make_room(1, now_ms);
                match self.model.set(&key, &data, now_ms) {
                    true => assert_eq!(set.unwrap().seq, self.model.seq),
                    false => assert_eq!(kind(set), ErrorKind::TooLarge),
                }
            }
            4..6 => assert_eq!(list.delete(&key).await.unwrap(), self.model.delete(&key, now_ms)),
            6 => self.set_many(&list, now_ms).await,
            7 => self.set_if(&list, key, data, now_ms).await,
            8 => self.give_up(&list, key, data, now_ms).await,
            9 => self.clock.advance(Duration::from_millis(self.random.below(70) as u64)),
            10 => {
                let purged = Datastore::new(self.root_object.open_job("alpha").await.unwrap());
                let purged = purged.purge_expired().await.unwrap();
                assert_eq!((purged.records, purged.tombstones), self.model.purge(now_ms));
            }
            11 => self.look_at_the_subscription(),
            12 => self.changes(&list, now_ms).await,
            _ => self.reopen().await,
        }
    }

    async fn set_many(&mut self, list: &Collection<Bytes>, now_ms: u64) {
        let records: Vec<_> = (0..self.random.below(4)).map(|n| (k(self.key()), vec![n as u8])).collect();
        self.model.make_room(records.len(), now_ms);
        let mut after = self.model.clone();
        let fits = records.iter().all(|(key, data)| after.set(key.as_bytes(), data, now_ms));
        let set = list.set_many(records).await;
        match fits {
            true => {
                let seqs: Vec<u64> = set.unwrap().iter().map(|record| record.seq).collect();
                assert_eq!(seqs, Vec::from_iter(self.model.seq + 1..=after.seq));
                self.model = after;
            }
            false => assert_eq!(kind(set), ErrorKind::TooLarge),
        }
    }

    async fn set_if(&mut self, list: &Collection<Bytes>, key: Vec<u8>, data: Vec<u8>, now_ms: u64) {
        let seq = self.model.alive(&key, now_ms.max(self.model.last_ms)).map(|row| row.seq);
        let when = match self.random.below(3) {
            0 => When::Absent,
            1 => When::Seq(self.random.below(20) as u64),
            _ => seq.map_or(When::Absent, When::Seq),
        };
        let holds = seq.map_or(When::Absent, When::Seq) == when;
        let set = list.set_if(k(key.clone()), data.clone(), when).await;
        self.model.make_room(1, now_ms);
        match holds && self.model.set(&key, &data, now_ms) {
            true => assert_eq!(set.unwrap().seq, self.model.seq),
            false => assert_eq!(kind(set), if holds { ErrorKind::TooLarge } else { ErrorKind::Conflict }),
        }
    }

    /// A caller who gives up may have changed the collection or not.
    async fn give_up(&mut self, list: &Collection<Bytes>, key: Vec<u8>, data: Vec<u8>, now_ms: u64) {
        let mut set = Box::pin(list.set(k(key.clone()), data.clone()));
        for _ in 0..self.random.below(4) {
            if (&mut set).now_or_never().is_some() {
                break;
            }
        }
        drop(set);
        let info = list.info().await.unwrap();
        let changed = (info.seq, info.floor) != (self.model.seq, self.model.floor);
        if changed {
            self.model.make_room(1, now_ms);
        }
        if info.seq > self.model.seq {
            assert!(self.model.set(&key, &data, now_ms));
        }
    }

    fn look_at_the_subscription(&mut self) {
        for _ in 0..self.random.below(8) {
            if let Some(update) = self.subscription.next().now_or_never() {
                self.mirror.apply(update.unwrap().unwrap());
            }
        }
    }

    async fn changes(&mut self, list: &Collection<Bytes>, now_ms: u64) {
        let since = self.random.below(self.model.seq as usize + 1) as u64;
        match list.changes_since(since).await.unwrap() {
            Since::Changes(changes) => {
                assert!(since == 0 || since >= self.model.floor);
                assert_eq!(changes.seq, self.model.seq);
                assert_eq!(told(changes), self.model.changes(since, now_ms));
            }
            Since::Lagged { oldest } => {
                assert!(since != 0 && since < self.model.floor);
                assert_eq!(oldest, self.model.floor);
            }
            _ => panic!("neither"),
        }
    }

    async fn reopen(&mut self) {
        if !self.root.persists() || self.random.below(3) > 0 {
            return;
        }
        self.root_object.close().await.unwrap();
        self.root_object = self.root.open_with_clock(self.clock.clone());
        (self.list, self.other) = (open(&self.root_object).await, open(&self.root_object).await);
        self.subscription = match self.mirror.snapshots {
            0 => self.list.subscribe("mirror").await.unwrap(),
            _ => self.list.subscribe_since("mirror", self.mirror.seq).await.unwrap(),
        };
    }

    /// Holds everything that can be asked to the model.
    async fn compare(&self) {
        let (now_ms, model) = (self.clock.unix_ms(), &self.model);
        let info = self.other.info().await.unwrap();
        let bytes: usize =
            model.rows.iter().filter_map(|(key, row)| Some(key.len() + row.data.as_ref()?.len())).sum();
        assert_eq!(
            (info.seq, info.floor, info.records, info.tombstones, info.bytes),
            (model.seq, model.floor, model.records() as u64, model.tombstones().len() as u64, bytes as u64)
        );
        for length in 0..7 {
            let key = vec![b'a'; length];
            let record = self.list.get(&key).await.unwrap();
            let row = record.map(|record| Row {
                seq: record.seq,
                stamp_ms: record.updated_ms,
                data: Some(record.data),
            });
            assert_eq!(row.as_ref(), model.alive(&key, now_ms));
        }
        let snapshot = self.list.snapshot().await.unwrap();
        let records: Vec<_> = snapshot
            .records
            .into_iter()
            .map(|record| (record.key.into_bytes(), record.seq, Some(record.data)))
            .collect();
        let mut expected = model.changes(0, now_ms);
        expected.retain(|(_, _, data)| data.is_some());
        assert_eq!((records, snapshot.seq), (expected, model.seq));
    }
}

async fn a_collection_answers_as_the_model_does(root: &TestRoot) {
    for seed in seeds(if crate::common::SHARED { 3 } else { 12 }) {
        let clock = Clock::manual(1_000_000);
        let root_object = root.open_with_clock(clock.clone());
        let (list, other) = (open(&root_object).await, open(&root_object).await);
        let subscription = list.subscribe("mirror").await.unwrap();
        let (random, model, mirror) = (Random::new(seed), Model::default(), Mirror::default());
        let mut run = Run { root, clock, root_object, list, other, subscription, mirror, random, model };
        for step in 0..STEPS {
            run.step(step).await;
            if step % 8 == 0 {
                run.compare().await;
            }
        }
        run.clock.advance(Duration::from_secs(1));
        let now_ms = run.clock.unix_ms();
        let store = Datastore::new(run.root_object.open_job("alpha").await.unwrap());
        store.purge_expired().await.unwrap();
        run.model.purge(now_ms);
        run.compare().await;
        run.mirror.follow(&mut run.subscription, run.model.seq).await;
        assert_eq!(run.mirror.rows, super::subscriptions::held(&run.list).await, "seed {seed}");
        // Ends the job in memory too: the next seed has another one.
        run.root_object.drop_job("alpha").await.unwrap();
        run.root_object.close().await.unwrap();
    }
}

/// What `work` comes to, which has to come while the job does a few hundred other things.
pub async fn before_long<T>(job: &Job, work: impl Future<Output = T>) -> T {
    let patience = async {
        for _ in 0..300 {
            job.put_acked("other", k("x"), "").await.unwrap();
        }
    };
    futures_util::select_biased! {
        done = Box::pin(work.fuse()) => done,
        () = Box::pin(patience.fuse()) => panic!("it does not end"),
    }
}
