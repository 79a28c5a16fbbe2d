//! Facts about pruning: what is older than wanted goes, and nothing that is needed.

use persistency::archive::{Archive, FaultyStore, MemoryStore, RestoreTo, StoreFault};
use persistency::{Clock, ErrorKind, Job};

use super::{attach_with, on_demand, options, reader, restored};
use crate::common::{TestRoot, k, kind};

facts! {
    in_memory:
        what_is_older_than_wanted_goes,
        everything_wanted_can_be_restored_after_pruning,
        what_cannot_be_restored_cannot_be_kept,
        pruning_that_was_cut_short_leaves_a_whole_archive,
        shipping_goes_on_after_pruning;
}

/// Ten commits, a segment of each, and a base after each.
async fn many_bases(root: &TestRoot, store: &MemoryStore) -> (Job, Archive) {
    let job = root.job().await;
    let options = options().cut(on_demand().commits(1)).base_after_bytes(1);
    let archive = attach_with(&job, store, options).await.unwrap();
    for n in 0..10u8 {
        job.put_acked("m", k([n]), "").await.unwrap();
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
