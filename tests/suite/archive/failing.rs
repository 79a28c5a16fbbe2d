//! Facts about stores that fail: what is shipped is late, and nothing else.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use persistency::archive::{ArchiveState, Archiver, FaultyStore, MemoryStore, RestoreTo, Store, StoreFault};
use persistency::{Clock, ErrorKind};

use super::{archiver, attach, options, reader, restored};
use crate::common::{TestRoot, k, kind, put_all, rows};

facts! {
    everywhere:
        a_store_that_fails_for_a_while_delays_only,
        a_store_that_fails_too_often_stalls_until_it_is_resumed,
        a_store_that_does_not_answer_counts_as_failed,
        a_store_that_is_down_when_a_job_is_attached_delays_only,
        a_store_that_stays_down_after_a_job_was_attached_stalls_the_archive,
        a_store_that_comes_back_with_a_later_life_ends_the_archive,
        every_fault_at_every_call_leaves_a_whole_archive,
        a_job_that_always_fails_does_not_starve_the_others,
        marks_that_an_upload_left_half_are_shipped_again;
}

async fn a_store_that_fails_for_a_while_delays_only(root: &TestRoot) {
    let job = root.job().await;
    let store = FaultyStore::new(MemoryStore::new(), Clock::system());
    let archive = attach(&job, &store).await;
    archive.ship().await.unwrap();
    put_all(&job, "m", ["a"]).await;
    store.next([Some(StoreFault::Error); 5]);
    assert_eq!(archive.ship().await.unwrap(), 1);
    assert!(matches!(archive.progress().state, ArchiveState::Shipping));
}

async fn a_store_that_fails_too_often_stalls_until_it_is_resumed(root: &TestRoot) {
    let job = root.job().await;
    let store = FaultyStore::new(MemoryStore::new(), Clock::system());
    let archive = attach(&job, &store).await;
    archive.ship().await.unwrap();
    put_all(&job, "m", ["a"]).await;
    store.set_down(true);
    let failed = archive.ship().await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Backend);
    assert!(failed.message().contains("job \"alpha\", archive behind seq 0"), "{failed}");
    assert!(matches!(archive.progress().state, ArchiveState::Stalled { .. }));
    let calls = store.calls();
    put_all(&job, "m", ["b"]).await;
    assert_eq!(kind(archive.ship().await), ErrorKind::Backend, "it does not go on by itself");
    assert_eq!(store.calls(), calls);
    store.set_down(false);
    archive.resume();
    let mut progress = archive.watch();
    while matches!(progress.next().await.unwrap().state, ArchiveState::Stalled { .. }) {}
    assert_eq!(archive.ship().await.unwrap(), 2);
}

async fn a_store_that_does_not_answer_counts_as_failed(root: &TestRoot) {
    let (job, clock) = (root.job().await, Clock::manual(0));
    let store = FaultyStore::new(MemoryStore::new(), clock.clone());
    let options_of_it = archiver(&clock).max_attempts(1).call_timeout(Duration::from_secs(10));
    let archiver = Archiver::new(options_of_it).unwrap();
    let archive = archiver.attach(&job, Arc::new(store.clone()), options()).await.unwrap();
    archive.ship().await.unwrap();
    put_all(&job, "m", ["a"]).await;
    store.by_chance(0, 0, Duration::from_secs(1_000));
    store.next([Some(StoreFault::Delay)]);
    let mut waiting = std::pin::pin!(archive.wait_archived(1));
    let failed = loop {
        if let Some(failed) = (&mut waiting).now_or_never() {
            break failed.unwrap_err();
        }
        clock.advance(Duration::from_secs(11));
        job.position().await.unwrap();
    };
    assert_eq!(failed.kind(), ErrorKind::Timeout);
}

async fn a_store_that_is_down_when_a_job_is_attached_delays_only(root: &TestRoot) {
    let (p, store) = (root.open(), FaultyStore::new(MemoryStore::new(), Clock::system()));
    let job = p.open_job("alpha").await.unwrap();
    put_all(&job, "m", ["a"]).await;
    for round in 0..2u8 {
        store.set_down(true);
        let patient = archiver(&Clock::system()).max_attempts(u32::MAX);
        let archiver = Archiver::new(patient).unwrap();
        let archive = archiver.attach(&job, Arc::new(store.clone()), options()).await.unwrap();
        let mut progress = archive.watch();
        let many =
            |state: &ArchiveState| matches!(state, ArchiveState::Retrying { failures, .. } if *failures > 2);
        loop {
            let now = progress.next().await.unwrap();
            let ArchiveState::Retrying { error, .. } = &now.state else { panic!("{now:?}") };
            assert_eq!(error.kind(), ErrorKind::Backend);
            if many(&now.state) {
                break;
            }
        }
        let seq = job.put_acked("m", k([round]), "").await.unwrap();
        let mut waiting = std::pin::pin!(archive.wait_archived(seq));
        assert!((&mut waiting).now_or_never().is_none());
        store.set_down(false);
        assert_eq!(waiting.await.unwrap(), seq);
        archive.close().await.unwrap();
        assert_eq!(restored(&p, store.inner(), RestoreTo::Latest).await, rows(&job, "m").await);
    }
    reader(store.inner()).await.verify().await.unwrap();
}

async fn a_store_that_stays_down_after_a_job_was_attached_stalls_the_archive(root: &TestRoot) {
    let p = root.open();
    for attempts in [1, 4] {
        let job = p.open_job(&format!("alpha-{attempts}")).await.unwrap();
        let store = FaultyStore::new(MemoryStore::new(), Clock::system());
        store.set_down(true);
        let archiver = Archiver::new(archiver(&Clock::system()).max_attempts(attempts)).unwrap();
        let archive = archiver.attach(&job, Arc::new(store.clone()), options()).await.unwrap();
        assert_eq!(kind(archive.wait_archived(1).await), ErrorKind::Backend);
        assert!(matches!(archive.progress().state, ArchiveState::Stalled { .. }));
        assert_eq!(store.calls(), u64::from(attempts), "each ends with the first call");
        assert_eq!(
            job.info().await.unwrap().log_holders,
            [],
            "nothing is kept for a store that was never there"
        );
        store.set_down(false);
        archive.resume();
        let mut progress = archive.watch();
        while matches!(progress.next().await.unwrap().state, ArchiveState::Stalled { .. }) {}
        put_all(&job, "m", ["a"]).await;
        assert_eq!(archive.close().await.unwrap(), 1);
    }
}

async fn a_store_that_comes_back_with_a_later_life_ends_the_archive(root: &TestRoot) {
    let (p, store) = (root.open(), FaultyStore::new(MemoryStore::new(), Clock::system()));
    let (old, new) = (p.open_job("old").await.unwrap(), p.open_job("new").await.unwrap());
    attach(&old, &store).await.close().await.unwrap();
    old.release_log("archive/backup").await.unwrap();
    attach(&new, &store).await.close().await.unwrap();
    store.next([Some(StoreFault::Error); 3]);
    let archive = attach(&old, &store).await;
    assert_eq!(kind(archive.wait_archived(1).await), ErrorKind::Conflict);
    assert!(matches!(archive.progress().state, ArchiveState::Ended { error: Some(_) }));
    assert_eq!(old.info().await.unwrap().log_holders, []);
}

async fn every_fault_at_every_call_leaves_a_whole_archive(root: &TestRoot) {
    let faults = [StoreFault::Error, StoreFault::LostAnswer, StoreFault::Torn, StoreFault::Duplicate];
    let p = root.open();
    for fault in faults {
        // Until there are fewer calls than that.
        for call in 0.. {
            let store = FaultyStore::new(MemoryStore::new(), Clock::system());
            let id = format!("alpha-{fault:?}-{call}");
            let job = p.open_job(&id).await.unwrap();
            put_all(&job, "m", ["a"]).await;
            let well = std::iter::repeat_n(None, call);
            store.next(well.chain([Some(fault)]));
            let archive = attach(&job, &store).await;
            for key in ["b", "c"] {
                put_all(&job, "m", [key]).await;
                archive.ship().await.unwrap();
            }
            archive.close().await.unwrap();
            let calls = store.calls();
            let all = store.inner();
            assert_eq!(
                restored(&p, all, RestoreTo::Latest).await,
                rows(&job, "m").await,
                "{fault:?}, {call}"
            );
            assert_eq!(reader(all).await.verify().await.unwrap().restorable.last().unwrap().1, 3);
            p.drop_job(&id).await.unwrap();
            if calls <= call as u64 {
                break;
            }
        }
    }
}

async fn a_job_that_always_fails_does_not_starve_the_others(root: &TestRoot) {
    let p = root.open();
    let broken = FaultyStore::new(MemoryStore::new(), Clock::system());
    let options_of_it = archiver(&Clock::system()).max_in_flight(1).max_attempts(u32::MAX);
    let archiver = Archiver::new(options_of_it).unwrap();
    let failing = p.open_job("failing").await.unwrap();
    let failing_archive = archiver.attach(&failing, Arc::new(broken.clone()), options()).await.unwrap();
    broken.set_down(true);
    failing.put_acked("m", k("a"), "").await.unwrap();
    let mut waiting = std::pin::pin!(failing_archive.wait_archived(1));
    assert!((&mut waiting).now_or_never().is_none());
    let store = MemoryStore::new();
    for n in 0..5u8 {
        let job = p.open_job(&format!("job-{n}")).await.unwrap();
        let name = format!("job-{n}");
        let archive = archiver.attach(&job, Arc::new(store.clone()), options().name(name)).await.unwrap();
        job.put_acked("m", k("a"), "").await.unwrap();
        assert_eq!(archive.ship().await.unwrap(), 1);
    }
    broken.set_down(false);
    assert_eq!(waiting.await.unwrap(), 1);
}

async fn marks_that_an_upload_left_half_are_shipped_again(root: &TestRoot) {
    for part in ["/segments/", "/bases/", "/lives/"] {
        let (p, store) = (root.open(), MemoryStore::new());
        let job = p.open_job("alpha").await.unwrap();
        put_all(&job, "m", ["a"]).await;
        let archive = attach(&job, &store).await;
        archive.ship().await.unwrap();
        put_all(&job, "m", ["b"]).await;
        archive.close().await.unwrap();
        let name = store.names().into_iter().find(|name| name.contains(part)).unwrap();
        let bytes = store.get(&name).await.unwrap().unwrap();
        store.overwrite(&name, &bytes[..bytes.len() / 2]);
        let archive = attach(&job, &store).await;
        put_all(&job, "m", ["c"]).await;
        assert_eq!(archive.close().await.unwrap(), 3, "{part}");
        assert_eq!(reader(&store).await.verify().await.unwrap().restorable.last().unwrap().1, 3);
        assert_eq!(restored(&p, &store, RestoreTo::Latest).await, rows(&job, "m").await);
        p.drop_job("alpha").await.unwrap();
        p.close().await.unwrap();
    }
}
