//! The layer over the faulty engine: whatever befalls whichever step, what was answered is true and what is
//! stored is whole.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::layout::{Change, DUE, Dated, Descriptor, Head, NAMES, ROWS, Record, Rows, What, due_of, seq_of};
use super::{Bytes, Collection, CollectionOptions, Datastore, Pool, PoolOptions};
use crate::engine::faulty::{Faults, FaultySite, Injection, Survivors};
use crate::engine::memory::MemorySite;
use crate::engine::{Fault, Sharing};
use crate::error::Outcome;
use crate::testing::async_test;
use crate::{Clock, Job, JobOptions, Persistency, Result};

/// Steps that the story can have at most.
const STEPS_MAX: usize = 1_000;
const TTL: Duration = Duration::from_secs(10);

struct World {
    faults: Faults,
    site: FaultySite,
    clock: Clock,
}

/// The values that each key may have, after what was answered.
type Possible = BTreeMap<u8, Vec<Option<u8>>>;

impl World {
    fn new(sharing: Sharing) -> Self {
        let faults = Faults::new();
        let site = FaultySite::new(MemorySite::default(), faults.clone(), sharing);
        World { faults, site, clock: Clock::manual(1_000_000) }
    }

    async fn open(&self) -> Result<(Persistency, Datastore)> {
        let place = crate::place::Place::at(self.site.clone());
        let root = Persistency::at("faulty".into(), place, self.clock.clone());
        let job = root.open_job_with("job", JobOptions::new().no_deadline()).await?;
        Ok((root, Datastore::new(job)))
    }
}

async fn collection(store: &Datastore) -> Result<Collection<Bytes>> {
    let options = CollectionOptions::temporary().sliding().record_ttl(TTL).max_tombstones(2);
    store.collection("list", options).await
}

async fn pool(store: &Datastore) -> Result<Pool<Bytes>> {
    store.pool("pool", PoolOptions::temporary()).await
}

/// Takes note of what a change of a key to `value` came to.
fn note<T>(possible: &mut Possible, key: u8, value: Option<u8>, result: &Result<T>) {
    let values = possible.entry(key).or_insert_with(|| vec![None]);
    match result.as_ref().map_err(|error| error.outcome()) {
        Ok(_) | Err(Outcome::Applied) => *values = vec![value],
        Err(Outcome::Unknown) => values.push(value),
        Err(Outcome::NotApplied) => {}
    }
}

/// Everything that the layer does, as far as it comes; returns what the collection may hold.
async fn story(world: &World) -> Possible {
    let mut possible = Possible::new();
    let Ok((root, store)) = world.open().await else { return possible };
    if let Ok(list) = collection(&store).await {
        for (step, key) in [1, 2, 3, 1, 4].into_iter().enumerate() {
            note(&mut possible, key, Some(step as u8), &list.set([key], [step as u8]).await);
        }
        for key in [1, 2, 3] {
            note(&mut possible, key, None, &list.delete([key]).await);
        }
        let many = list.set_many([(vec![2].into(), vec![9]), (vec![5].into(), vec![9])]).await;
        note(&mut possible, 2, Some(9), &many);
        note(&mut possible, 5, Some(9), &many);
        list.snapshot().await.ok();
        world.clock.advance(TTL / 2);
        note(&mut possible, 6, Some(6), &list.set([6], [6]).await);
        world.clock.advance(TTL / 2 + Duration::from_millis(1));
        store.purge_expired().await.ok();
        // They have expired, purged or not.
        for key in [1, 2, 3, 4, 5] {
            possible.insert(key, vec![None]);
        }
    }
    if let Ok(pool) = pool(&store).await
        && let (Ok(ada), Ok(bob)) = (pool.join("ada").await, pool.join("bob").await)
    {
        ada.merge(&[vec![1], vec![2]]).await.ok();
        if let Ok(merged) = bob.merge(&[vec![3]]).await {
            let ids: Vec<_> = merged.lacking.items.iter().map(|item| item.id).collect();
            bob.acknowledge(&ids).await.ok();
        }
        bob.leave().await.ok();
    }
    root.close().await.ok();
    possible
}

/// Looks whether all rows of the collection fit together.
async fn check_collection(job: &Job, descriptor: &Descriptor, what: &str) {
    let rows = job.scan_prefix(ROWS, descriptor.rows().all()).await.unwrap();
    let (mut changes, mut records, mut dated, mut head) =
        (BTreeMap::new(), BTreeMap::new(), BTreeSet::new(), Head::default());
    for row in rows {
        match row.key.as_bytes()[8] {
            0 => drop(changes.insert(seq_of(&row.key).unwrap(), Change::decode(row.payload).unwrap())),
            1 => head = Head::decode(&row.payload).unwrap(),
            2 => {
                let key = Rows::record_key(row.key.as_bytes()).to_vec();
                let Record { seq, stamp_ms, data } = Record::decode(&row.payload).unwrap();
                records.insert(key, (seq, stamp_ms, data.map(<[u8]>::to_vec)));
            }
            space @ (3 | 4) => {
                let Dated { seq, key, stamp_ms } = Dated::decode(&row.key, &row.payload).unwrap();
                dated.insert((space == 3, seq, key, stamp_ms));
            }
            other => panic!("{what}: a row in space {other}"),
        }
    }
    assert_eq!(records.len(), dated.len(), "{what}");
    let mut counted = Head::default();
    for (key, (seq, stamp_ms, data)) in &records {
        let change = &changes[seq];
        assert_eq!((&change.key, change.stamp_ms), (key, *stamp_ms), "{what}");
        assert_eq!(change.data, *data, "{what}");
        let is_dated = (data.is_none(), *seq, key.clone(), *stamp_ms);
        assert!(dated.contains(&is_dated), "{what}: {is_dated:?}");
        match data {
            Some(data) => {
                counted.records += 1;
                counted.bytes += (key.len() + data.len()) as u64;
            }
            None => counted.tombstones += 1,
        }
    }
    let numbers = |head: &Head| (head.records, head.bytes, head.tombstones);
    assert_eq!(numbers(&head), numbers(&counted), "{what}");
    assert!(changes.keys().copied().eq(head.log_from + 1..=head.seq), "{what}");
    assert!(changes.values().map(|change| change.stamp_ms).is_sorted(), "{what}");
    assert!(head.floor <= head.seq && head.log_from <= head.seq, "{what}");
}

/// Looks at everything after the story, on an engine that fails no more.
async fn check(world: &World, possible: &Possible, lossy: bool, what: &str) {
    let (root, store) = world.open().await.unwrap();
    let job = store.job();
    let names = job.scan(NAMES, ..).await.unwrap();
    let mut due = BTreeMap::new();
    for row in job.scan(DUE, ..).await.unwrap() {
        due.insert((row.key.as_bytes()[8..].to_vec(), row.payload), due_of(&row.key).unwrap());
    }
    let mut found = 0;
    for row in names.iter().filter(|row| !row.key.is_empty()) {
        let (kind, id) = What::and_id(row.key.as_bytes()).unwrap();
        let descriptor = Descriptor::decode(&row.payload).unwrap();
        let lease = store.shared.look(kind, &id).await.unwrap().unwrap().lease;
        let own = (descriptor.generation.to_vec(), row.key.as_bytes().to_vec());
        assert_eq!(due.remove(&own).unwrap_or(0), lease.due_ms, "{what}");
        if kind == What::Collection {
            check_collection(job, &descriptor, what).await;
        }
        found += 1;
    }
    assert!(due.is_empty(), "{what}: {due:?}");
    let count = names.first().map_or(0, |row| u64::from_be_bytes(row.payload.clone().try_into().unwrap()));
    assert_eq!(count, found, "{what}");

    let list = collection(&store).await.unwrap();
    for (key, values) in possible {
        let value = list.get([*key]).await.unwrap().map(|record| record.data[0]);
        assert!(
            lossy || values.contains(&value),
            "{what}: key {key} has {value:?} and not one of {values:?}"
        );
    }
    let seq = list.info().await.unwrap().seq;
    assert_eq!(list.set([7], [7]).await.unwrap().seq, seq + 1, "{what}");
    let pool = pool(&store).await.unwrap();
    let (ada, bob) = (pool.join("ada").await.unwrap(), pool.join("bob").await.unwrap());
    ada.merge(&[vec![4]]).await.unwrap();
    let mut converged = false;
    for member in [&ada, &bob] {
        let ids: Vec<_> = member.lacking().await.unwrap().items.iter().map(|item| item.id).collect();
        converged = member.acknowledge(&ids).await.unwrap();
    }
    assert!(converged, "{what}: {:?}", pool.info().await);
    store.remove_collection("list").await.unwrap();
    store.remove_pool("pool").await.unwrap();
    assert_eq!(job.count(ROWS, ..).await.unwrap(), 0, "{what}");
    assert_eq!(job.count(DUE, ..).await.unwrap(), 0, "{what}");
    root.close().await.unwrap();
}

/// Tells the story once for each of its steps, with the injection at that step.
async fn sweep(sharing: Sharing, injection: Injection) {
    let lossy = matches!(injection, Injection::LosePower { .. });
    for step in 1..STEPS_MAX {
        let world = World::new(sharing);
        world.faults.at(step, injection);
        let possible = story(&world).await;
        if world.faults.steps() < step {
            assert!(step > 20, "the story has more steps than that");
            return;
        }
        check(&world, &possible, lossy, &format!("{injection:?} at step {step}, {sharing:?}")).await;
    }
    panic!("the story does not end");
}

#[async_test]
async fn a_step_that_fails_with_nothing_done() {
    for fault in [Fault::Other, Fault::StorageFull, Fault::Corrupt] {
        sweep(Sharing::Exclusive, Injection::fail(fault)).await;
    }
}

#[async_test]
async fn a_connection_that_is_lost() {
    sweep(Sharing::Shared, Injection::fail(Fault::Lost)).await;
}

#[async_test]
async fn a_step_of_which_nobody_knows_whether_it_was_done() {
    sweep(Sharing::Exclusive, Injection::lost_answer(Fault::Other)).await;
    sweep(Sharing::Exclusive, Injection::unsure(Fault::Other)).await;
}

#[async_test]
async fn a_loss_of_power_leaves_nothing_half() {
    for survivors in [Survivors::Durable, Survivors::Prefix(3)] {
        sweep(Sharing::Exclusive, Injection::LosePower { survivors, fault: Fault::Other }).await;
    }
}
