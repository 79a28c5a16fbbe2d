//! Facts about restoring: to any moment that is archived, whole or not at all.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use persistency::archive::{FaultyStore, MemoryStore, RestoreTo, StoreFault, restore};
use persistency::{Batch, Clock, ErrorKind};

use super::{attach, attach_with, on_demand, options, reader, restored, with_ballast};
use crate::common::{TestRoot, k, kind, put_all, rows};

facts! {
    everywhere:
        a_job_is_restored_to_every_seq,
        a_job_is_restored_to_every_time,
        what_is_not_archived_is_not_restored,
        a_job_that_exists_is_not_written_into,
        a_job_that_is_restored_does_not_exist_before_it_is_whole,
        a_restore_that_fails_leaves_no_job,
        a_restore_that_is_dropped_leaves_no_job,
        bases_are_taken_while_segments_pile_up,
        a_base_is_taken_while_the_job_is_written,
        a_restored_job_is_archived_again;
}

async fn a_job_is_restored_to_every_seq(root: &TestRoot) {
    let (p, store) = (root.open(), MemoryStore::new());
    let job = p.open_job("alpha").await.unwrap();
    let cut = on_demand().commits(3);
    let archive = attach_with(&job, &store, options().cut(cut)).await.unwrap();
    let mut states = vec![Vec::new()];
    for n in 0..10u8 {
        let batch = match n % 4 {
            3 => Batch::new().clear("m").put("m", k([n]), [n]),
            _ => Batch::new().put("m", k([n]), [n]).delete("m", k([n.wrapping_sub(2)])),
        };
        job.persist_acked(batch).await.unwrap();
        states.push(rows(&job, "m").await);
    }
    archive.ship().await.unwrap();
    for (seq, state) in (0..).zip(&states) {
        assert_eq!(restored(&p, &store, RestoreTo::Seq(seq)).await, *state, "seq {seq}");
    }
}

async fn a_job_is_restored_to_every_time(root: &TestRoot) {
    let (clock, store) = (Clock::manual(1_000_000), MemoryStore::new());
    let p = root.open_with_clock(clock.clone());
    let job = p.open_job("alpha").await.unwrap();
    let archive = attach(&job, &store).await;
    archive.ship().await.unwrap();
    for n in 0..4u8 {
        clock.advance(Duration::from_millis(10));
        job.put_acked("m", k([n]), "").await.unwrap();
    }
    archive.ship().await.unwrap();
    for (ms, rows) in [(0, 0), (9, 0), (10, 1), (19, 1), (20, 2), (40, 4), (1_000, 4)] {
        let to = RestoreTo::Time(1_000_000 + ms);
        assert_eq!(restored(&p, &store, to).await.len(), rows, "after {ms} ms");
    }
    let reader = reader(&store).await;
    let before = reader.restore(&p, "restored", RestoreTo::Time(999_999), |_| {}).await;
    assert_eq!(kind(before), ErrorKind::InvalidArgument);
}

async fn what_is_not_archived_is_not_restored(root: &TestRoot) {
    let (p, store) = (root.open(), MemoryStore::new());
    let job = p.open_job("alpha").await.unwrap();
    put_all(&job, "m", ["a"]).await;
    put_all(&job, "m", ["b"]).await;
    attach(&job, &store).await.close().await.unwrap();
    let reader = reader(&store).await;
    for seq in [0, 1, 3, u64::MAX] {
        let outside = reader.restore(&p, "restored", RestoreTo::Seq(seq), |_| {}).await;
        assert_eq!(kind(outside), ErrorKind::InvalidArgument, "seq {seq}");
    }
    assert_eq!(p.list_jobs().await.unwrap(), ["alpha"]);
}

async fn a_job_that_exists_is_not_written_into(root: &TestRoot) {
    let (p, store) = (root.open(), MemoryStore::new());
    let job = p.open_job("alpha").await.unwrap();
    put_all(&job, "m", ["a"]).await;
    attach(&job, &store).await.close().await.unwrap();
    put_all(&job, "m", ["b"]).await;
    let refused = restore(Arc::new(store.clone()), "backup", &p, "alpha", RestoreTo::Latest).await;
    assert_eq!(kind(refused), ErrorKind::Conflict);
    assert_eq!(rows(&job, "m").await.len(), 2);
    if root.persists() {
        p.close_job("alpha").await.unwrap();
        let refused = restore(Arc::new(store), "backup", &p, "alpha", RestoreTo::Latest).await;
        assert_eq!(kind(refused), ErrorKind::Conflict);
        assert_eq!(rows(&p.open_job("alpha").await.unwrap(), "m").await.len(), 2);
    }
}

async fn a_job_that_is_restored_does_not_exist_before_it_is_whole(root: &TestRoot) {
    let (p, store) = (root.open(), MemoryStore::new());
    let job = p.open_job("alpha").await.unwrap();
    for n in 0..4u8 {
        job.put_acked("m", k([n]), vec![n; 3_000_000]).await.unwrap();
    }
    attach(&job, &store).await.close().await.unwrap();
    let reader = reader(&store).await;
    let mut told = Vec::new();
    let looking = p.clone();
    let progress = |progress| {
        told.push(progress);
        assert!(!looking.has_job("restored"));
        assert_eq!(kind(looking.open_job("restored").now_or_never().unwrap()), ErrorKind::Busy);
    };
    reader.restore(&p, "restored", RestoreTo::Latest, progress).await.unwrap();
    assert!(told.len() > 1 && told.is_sorted_by_key(|progress| progress.rows), "{told:?}");
    let last = told.last().unwrap();
    assert_eq!((last.rows, last.rows_of, last.seq), (4, 4, 4));
    assert_eq!(p.open_job("restored").await.unwrap().count("m", ..).await.unwrap(), 4);
}

async fn a_restore_that_fails_leaves_no_job(root: &TestRoot) {
    let p = root.open();
    let store = FaultyStore::new(MemoryStore::new(), Clock::system());
    let job = p.open_job("alpha").await.unwrap();
    put_all(&job, "m", ["a"]).await;
    let archive = attach(&job, &store).await;
    put_all(&job, "m", ["b"]).await;
    archive.close().await.unwrap();
    let mut failures = 0;
    loop {
        store.next(std::iter::repeat_n(None, failures).chain([Some(StoreFault::Error)]));
        let restored = restore(Arc::new(store.clone()), "backup", &p, "restored", RestoreTo::Latest).await;
        let Err(error) = restored else { break };
        assert_eq!(error.kind(), ErrorKind::Backend);
        assert!(!p.has_job("restored"));
        assert_eq!(p.list_jobs().await.unwrap(), ["alpha"]);
        failures += 1;
    }
    assert!(failures >= 5, "only {failures} calls were made to fail");
    assert_eq!(rows(&p.open_job("restored").await.unwrap(), "m").await, rows(&job, "m").await);
}

async fn a_restore_that_is_dropped_leaves_no_job(root: &TestRoot) {
    let (p, clock) = (root.open(), Clock::manual(0));
    let store = FaultyStore::new(MemoryStore::new(), clock);
    let job = p.open_job("alpha").await.unwrap();
    put_all(&job, "m", ["a"]).await;
    attach(&job, &store).await.close().await.unwrap();
    let reader = reader(&store).await;
    store.by_chance(0, 0, Duration::from_secs(1));
    for calls in 0..4 {
        // It hangs at that call, for good.
        store.next(std::iter::repeat_n(None, calls).chain([Some(StoreFault::Delay)]));
        let before = store.calls();
        {
            let mut restoring = pin!(reader.restore(&p, "restored", RestoreTo::Latest, |_| {}));
            while store.calls() <= before + calls as u64 {
                assert!((&mut restoring).now_or_never().is_none());
                job.position().await.unwrap();
            }
            (&mut restoring).now_or_never();
        }
        if store.calls() == before + calls as u64 + 1 {
            let fresh = p.open_job("restored").await.unwrap();
            assert_eq!((fresh.committed_seq(), rows(&fresh, "m").await), (0, Vec::new()));
            p.drop_job("restored").await.unwrap();
        }
    }
}

async fn bases_are_taken_while_segments_pile_up(root: &TestRoot) {
    let (p, store) = (root.open(), MemoryStore::new());
    let job = p.open_job("alpha").await.unwrap();
    let archive = attach_with(&job, &store, options().base_after_bytes(1)).await.unwrap();
    for n in 0..5u8 {
        job.persist_acked(with_ballast(Batch::new().put("m", k([n]), ""))).await.unwrap();
        archive.ship().await.unwrap();
    }
    archive.close().await.unwrap();
    let verified = reader(&store).await.verify().await.unwrap();
    assert!(verified.bases >= 5, "{verified:?}");
    for seq in 0..=5 {
        assert_eq!(restored(&p, &store, RestoreTo::Seq(seq)).await.len() as u64, seq);
    }
}

async fn a_base_is_taken_while_the_job_is_written(root: &TestRoot) {
    let (p, store) = (root.open(), MemoryStore::new());
    let job = p.open_job("alpha").await.unwrap();
    for n in 0..8u8 {
        job.put_acked("m", k([n, 0]), vec![n; 600_000]).await.unwrap();
    }
    let cut = on_demand().bytes(500_000);
    let archive = attach_with(&job, &store, options().cut(cut)).await.unwrap();
    let mut waiting = pin!(archive.wait_archived(8));
    let (mut n, mut states) = (0u8, vec![(8, rows(&job, "m").await)]);
    while (&mut waiting).now_or_never().is_none() {
        // Behind, at and before where the scan is.
        let batch = Batch::new().put("m", k([n % 8, n]), [n]).delete("m", k([n.wrapping_add(3) % 8, 0]));
        let seq = job.persist_acked(batch.put("new", k([n]), "")).await.unwrap();
        if states.len() < 8 {
            states.push((seq, rows(&job, "m").await));
        }
        n = n.wrapping_add(1);
    }
    archive.ship().await.unwrap();
    for (seq, state) in states {
        // Before the base was through no moment is whole.
        match reader(&store).await.restore(&p, "restored", RestoreTo::Seq(seq), |_| {}).await {
            Err(error) => assert_eq!(error.kind(), ErrorKind::InvalidArgument, "seq {seq}"),
            Ok(_) => {
                assert!(rows(&p.open_job("restored").await.unwrap(), "m").await == state, "seq {seq}");
                p.drop_job("restored").await.unwrap();
            }
        }
    }
    assert_eq!(restored(&p, &store, RestoreTo::Latest).await, rows(&job, "m").await);
    reader(&store).await.verify().await.unwrap();
}

async fn a_restored_job_is_archived_again(root: &TestRoot) {
    let (p, store, second) = (root.open(), MemoryStore::new(), MemoryStore::new());
    let job = p.open_job("alpha").await.unwrap();
    put_all(&job, "m", ["a", "b"]).await;
    attach(&job, &store).await.close().await.unwrap();
    restore(Arc::new(store), "backup", &p, "beta", RestoreTo::Latest).await.unwrap();
    let beta = p.open_job("beta").await.unwrap();
    attach(&beta, &second).await.close().await.unwrap();
    assert_eq!(restored(&p, &second, RestoreTo::Latest).await, rows(&job, "m").await);
}
