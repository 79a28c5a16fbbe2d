//! Facts about pruning: what is older than wanted goes, and nothing that is needed.

use std::time::Duration;

use async_trait::async_trait;
use persistency::archive::{Archive, FaultyStore, MemoryStore, Put, RestoreTo, Store, StoreFault};
use persistency::{Batch, Clock, Error, ErrorKind, Job, Result};

use super::{attach_with, on_demand, options, reader, restored, with_ballast};
use crate::common::{TestRoot, k, kind};

facts! {
    in_memory:
        what_is_older_than_wanted_goes,
        everything_wanted_can_be_restored_after_pruning,
        what_cannot_be_restored_cannot_be_kept,
        pruning_that_was_cut_short_leaves_a_whole_archive,
        shipping_goes_on_after_pruning,
        what_is_older_than_is_kept_goes_by_itself,
        a_base_that_is_older_than_is_kept_is_followed_by_another,
        how_long_the_chain_is_is_known_after_attaching_again,
        a_store_that_lets_nothing_be_removed_is_shipped_to;
}

/// Ten commits, a segment of each, and a base after each.
async fn many_bases(root: &TestRoot, store: &MemoryStore) -> (Job, Archive) {
    let job = root.job().await;
    let options = options().cut(on_demand().commits(1)).base_after_bytes(1);
    let archive = attach_with(&job, store, options).await.unwrap();
    for n in 0..10u8 {
        job.persist_acked(with_ballast(Batch::new().put("m", k([n]), ""))).await.unwrap();
        archive.ship().await.unwrap();
    }
    archive.close().await.unwrap();
    (job, archive)
}

async fn what_is_older_than_wanted_goes(root: &TestRoot) {
    let store = MemoryStore::new();
    many_bases(root, &store).await;
    let before = store.names().len();
    let pruned = reader(&store).await.prune(RestoreTo::Latest).await.unwrap();
    assert_eq!(before - store.names().len(), usize::try_from(pruned.objects).unwrap());
    let verified = reader(&store).await.verify().await.unwrap();
    assert_eq!((verified.bases, verified.restorable), (1, vec![(pruned.first_seq, 10)]));
    assert!(pruned.first_seq >= 9);
    assert_eq!(reader(&store).await.prune(RestoreTo::Latest).await.unwrap().objects, 0);
}

async fn everything_wanted_can_be_restored_after_pruning(root: &TestRoot) {
    let store = MemoryStore::new();
    many_bases(root, &store).await;
    for oldest in [0, 3, 4, 7] {
        let pruned = reader(&store).await.prune(RestoreTo::Seq(oldest)).await.unwrap();
        assert!(pruned.first_seq <= oldest);
        reader(&store).await.verify().await.unwrap();
        for seq in oldest..=10 {
            assert_eq!(restored(&root.open(), &store, RestoreTo::Seq(seq)).await.len() as u64, seq);
        }
        if let Some(earlier) = pruned.first_seq.checked_sub(1) {
            let pruned = reader(&store).await.prune(RestoreTo::Seq(earlier)).await;
            assert_eq!(kind(pruned), ErrorKind::InvalidArgument);
        }
    }
}

async fn what_cannot_be_restored_cannot_be_kept(root: &TestRoot) {
    let store = MemoryStore::new();
    many_bases(root, &store).await;
    let early = reader(&store).await.prune(RestoreTo::Time(0)).await;
    assert_eq!(kind(early), ErrorKind::InvalidArgument);
    assert_eq!(reader(&store).await.verify().await.unwrap().restorable, [(0, 10)]);
}

async fn pruning_that_was_cut_short_leaves_a_whole_archive(root: &TestRoot) {
    let store = MemoryStore::new();
    many_bases(root, &store).await;
    let faulty = FaultyStore::new(store.clone(), Clock::system());
    let mut cut_short = 0;
    loop {
        let reader_of_it = reader(&faulty).await;
        // Reading what is there, then some removals.
        let well = 14 + cut_short % 3;
        faulty.next(std::iter::repeat_n(None, well).chain([Some(StoreFault::Error)]));
        let pruned = reader_of_it.prune(RestoreTo::Latest).await;
        faulty.by_chance(0, 0, std::time::Duration::ZERO);
        reader(&store).await.verify().await.unwrap();
        assert_eq!(restored(&root.open(), &store, RestoreTo::Latest).await.len(), 10);
        if pruned.is_ok() {
            break;
        }
        cut_short += 1;
        assert!(cut_short < 100);
    }
    assert!(cut_short > 3, "{cut_short}");
}

async fn shipping_goes_on_after_pruning(root: &TestRoot) {
    let store = MemoryStore::new();
    let (job, _) = many_bases(root, &store).await;
    reader(&store).await.prune(RestoreTo::Latest).await.unwrap();
    let archive = attach_with(&job, &store, options()).await.unwrap();
    job.put_acked("m", k("later"), "").await.unwrap();
    assert_eq!(archive.close().await.unwrap(), 11);
    assert_eq!(restored(&root.open(), &store, RestoreTo::Latest).await.len(), 11);
}

/// Commits a row a second for 20 seconds, each shipped, with a base behind each that `has_base`; 4 are kept.
async fn a_row_a_second(
    root: &TestRoot,
    (store, inner): (&(impl Store + Clone + 'static), &MemoryStore),
    base_after: u64,
    has_base: fn(u64) -> bool,
) -> Archive {
    let clock = Clock::manual(1_000_000);
    let job = root.open_with_clock(clock.clone()).open_job("alpha").await.unwrap();
    let options = options().base_after_bytes(base_after).keep(Duration::from_secs(4));
    let archive = attach_with(&job, store, options).await.unwrap();
    archive.ship().await.unwrap();
    for n in 1..=20u64 {
        clock.advance(Duration::from_secs(1));
        job.persist_acked(with_ballast(Batch::new().put("m", k(n.to_be_bytes()), ""))).await.unwrap();
        archive.ship().await.unwrap();
        let base = format!("/bases/{:020}", u64::MAX - n);
        while has_base(n) && !inner.names().iter().any(|name| name.ends_with(&base)) {
            job.position().await.unwrap();
        }
    }
    archive
}

/// Waits until the archive reaches back no further than to this seq, then restores what has to be kept.
async fn reaches_back(root: &TestRoot, job: &Archive, store: &MemoryStore, seq: u64) {
    loop {
        // While something is removed it may change between two looks.
        let verified = reader(store).await.verify().await;
        if verified.is_ok_and(|verified| verified.restorable == [(seq, 20)]) {
            break;
        }
        job.ship().await.unwrap();
    }
    for seconds in 16..=20 {
        let to = RestoreTo::Time(1_000_000 + seconds * 1_000);
        assert_eq!(restored(&root.open(), store, to).await.len() as u64, seconds);
    }
}

async fn what_is_older_than_is_kept_goes_by_itself(root: &TestRoot) {
    let store = MemoryStore::new();
    let archive = a_row_a_second(root, (&store, &store), 1, |_| true).await;
    reaches_back(root, &archive, &store, 16).await;
}

async fn a_base_that_is_older_than_is_kept_is_followed_by_another(root: &TestRoot) {
    let store = MemoryStore::new();
    // However little there is.
    let archive = a_row_a_second(root, (&store, &store), u64::MAX, |n| n % 5 == 0).await;
    reaches_back(root, &archive, &store, 15).await;
}

/// Found by reading: it began with 0 whenever the job was attached.
async fn how_long_the_chain_is_is_known_after_attaching_again(root: &TestRoot) {
    let (job, store) = (root.job().await, MemoryStore::new());
    let options = || options().base_after_bytes(1_000);
    for n in 0..40u8 {
        let archive = attach_with(&job, &store, options()).await.unwrap();
        job.put_acked("m", k([n]), "").await.unwrap();
        archive.close().await.unwrap();
    }
    let verified = reader(&store).await.verify().await.unwrap();
    assert!((3..=20).contains(&verified.bases), "{verified:?}");
}

/// As a bucket whose objects are locked for some time.
#[derive(Clone)]
struct Locked(MemoryStore);

#[async_trait]
impl Store for Locked {
    async fn put_new(&self, name: &str, bytes: &[u8]) -> Result<Put> {
        self.0.put_new(name, bytes).await
    }
    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>> {
        self.0.get(name).await
    }
    async fn list(&self, prefix: &str, from: &str, limit: usize) -> Result<Vec<String>> {
        self.0.list(prefix, from, limit).await
    }
    async fn delete(&self, _name: &str) -> Result<()> {
        Err(Error::new(ErrorKind::Backend, "objects are locked"))
    }
}

async fn a_store_that_lets_nothing_be_removed_is_shipped_to(root: &TestRoot) {
    let store = MemoryStore::new();
    let locked = Locked(store.clone());
    let archive = a_row_a_second(root, (&locked, &store), 1, |_| true).await;
    let mut progress = archive.watch();
    while progress.next().await.unwrap().pruning_error.is_none() {}
    assert_eq!(archive.archived_seq(), 20);
    assert_eq!(reader(&store).await.verify().await.unwrap().restorable, [(0, 20)]);
}
