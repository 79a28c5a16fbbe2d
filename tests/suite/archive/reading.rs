//! Facts about reading an archive: what is listed and found, and that no damage goes unnoticed.

use std::sync::Arc;

use futures_util::StreamExt;
use persistency::archive::{ArchiveOptions, FaultyStore, MemoryStore, RestoreTo, Store, restore};
use persistency::{Batch, Clock, ErrorKind, Job};

use super::{attach_with, on_demand, options, reader, segments, with_ballast};
use crate::common::{TestRoot, k, kind};

facts! {
    in_memory:
        segments_are_listed_newest_first_and_found_by_seq,
        commits_are_fetched_as_they_were_made,
        a_sound_archive_is_verified,
        an_object_that_is_missing_is_named,
        an_object_that_is_damaged_is_named,
        a_segment_that_is_missing_before_a_later_base_is_named,
        a_damaged_life_is_not_passed_over_for_an_earlier_one,
        an_object_in_anothers_place_is_noticed,
        a_long_archive_costs_no_more_to_attach_than_a_short_one;
}

/// Ten commits in segments of three, behind a base of two pieces, and a base in between.
async fn ten_commits(root: &TestRoot, base_after: u64) -> (Job, MemoryStore) {
    let (job, store) = (root.job().await, MemoryStore::new());
    for n in 0..2u8 {
        job.put_acked("m", k([n]), vec![n; 1_500_000]).await.unwrap();
    }
    let cut = on_demand().commits(3).bytes(1_000_000);
    let options: ArchiveOptions = options().cut(cut).base_after_bytes(base_after);
    let archive = attach_with(&job, &store, options).await.unwrap();
    archive.wait_archived(2).await.unwrap();
    for n in 0..10u8 {
        let batch = Batch::new().put("n", k([n]), vec![n; 100]);
        job.persist(if base_after == 1 { with_ballast(batch) } else { batch }).await.unwrap();
    }
    archive.close().await.unwrap();
    (job, store)
}

async fn segments_are_listed_newest_first_and_found_by_seq(root: &TestRoot) {
    let (_job, store) = ten_commits(root, u64::MAX).await;
    let reader = reader(&store).await;
    assert_eq!(reader.archived_seq().await.unwrap(), Some(12));
    let segments = segments(&store).await;
    assert_eq!((segments[0].0, segments.last().unwrap().1), (3, 12));
    assert!(segments.windows(2).all(|pair| pair[0].1 + 1 == pair[1].0));
    for seq in 0..15 {
        let found = reader.find_segment(seq).await.unwrap();
        let expected = segments.iter().find(|(first, last)| (*first..=*last).contains(&seq));
        assert_eq!(found.map(|segment| (segment.first_seq, segment.last_seq)).as_ref(), expected);
        let until: Vec<_> = reader.list_segments(seq).into_stream().collect().await;
        assert_eq!(until.len(), segments.iter().filter(|(first, _)| *first <= seq).count());
    }
}

async fn commits_are_fetched_as_they_were_made(root: &TestRoot) {
    let (job, store) = ten_commits(root, u64::MAX).await;
    let reader = reader(&store).await;
    let mut list = reader.list_segments(u64::MAX);
    let mut seqs = Vec::new();
    while let Some(segment) = list.next().await {
        let segment = segment.unwrap();
        let commits = reader.fetch(&segment).await.unwrap();
        assert_eq!(commits.len() as u64, segment.last_seq - segment.first_seq + 1);
        assert!(segment.first_ms <= segment.last_ms && commits[0].time_ms == segment.first_ms);
        seqs.extend(commits.iter().rev().map(|commit| commit.seq));
        assert!(commits.iter().all(|commit| commit.operations.len() == 1));
    }
    assert_eq!(seqs, (3..=12).rev().collect::<Vec<u64>>());
    assert_eq!(job.committed_seq(), 12);
}

async fn a_sound_archive_is_verified(root: &TestRoot) {
    let (_job, store) = ten_commits(root, u64::MAX).await;
    let verified = reader(&store).await.verify().await.unwrap();
    assert_eq!((verified.bases, verified.rows, verified.commits), (1, 2, 10));
    assert_eq!(verified.restorable, [(2, 12)]);
    let mut bytes = 0;
    for name in store.names().iter().filter(|name| name.contains("/data/") || name.contains("/rows/")) {
        bytes += store.get(name).await.unwrap().unwrap().len() as u64;
    }
    assert_eq!(verified.bytes, bytes);
}

/// The objects without which the archive cannot be restored to its end.
fn needed(store: &MemoryStore) -> Vec<String> {
    let needed = ["/segments/", "/data/", "/bases/", "/rows/"];
    store.names().into_iter().filter(|name| needed.iter().any(|part| name.contains(part))).collect()
}

async fn refused(store: &MemoryStore, root: &TestRoot, damaged: &str) {
    let p = root.open();
    let what = format!("{damaged} in {:?}", store.names());
    let verified = reader(store).await.verify().await;
    let restored = restore(Arc::new(store.clone()), "backup", &p, "restored", RestoreTo::Latest).await;
    let [verified, restored] =
        [verified.map(drop), restored.map(drop)].map(|result| result.expect_err(&what));
    assert_eq!((verified.kind(), restored.kind()), (ErrorKind::Corrupt, ErrorKind::Corrupt), "{what}");
    for error in [verified, restored] {
        assert!(error.message().contains(damaged), "{error} does not name {damaged}");
    }
    assert_eq!(p.list_jobs().await.unwrap(), Vec::<String>::new(), "{what}");
}

async fn an_object_that_is_missing_is_named(root: &TestRoot) {
    let (_job, store) = ten_commits(root, u64::MAX).await;
    let last_mark = store.names().into_iter().find(|name| name.contains("/segments/")).unwrap();
    for name in needed(&store) {
        // Without the mark of the newest segment the archive ends before it; a base without a mark is none.
        if name == last_mark || name.contains("/bases/") {
            continue;
        }
        let bytes = store.get(&name).await.unwrap().unwrap();
        store.delete(&name).await.unwrap();
        refused(&store, root, &name).await;
        store.overwrite(&name, bytes);
    }
    reader(&store).await.verify().await.unwrap();
}

async fn an_object_that_is_damaged_is_named(root: &TestRoot) {
    let (_job, store) = ten_commits(root, u64::MAX).await;
    for name in needed(&store) {
        let bytes = store.get(&name).await.unwrap().unwrap();
        for at in [0, 30, bytes.len() / 2, bytes.len() - 1] {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            store.overwrite(&name, damaged);
            refused(&store, root, &name).await;
        }
        store.overwrite(&name, &bytes[..bytes.len() / 2]);
        refused(&store, root, &name).await;
        store.overwrite(&name, bytes);
    }
    reader(&store).await.verify().await.unwrap();
}

/// Found by attack: it was taken for a gap that the job's log had had.
async fn a_segment_that_is_missing_before_a_later_base_is_named(root: &TestRoot) {
    let (_job, store) = ten_commits(root, 1).await;
    let names: Vec<String> = store.names().into_iter().filter(|name| name.contains("/segments/")).collect();
    assert!(names.len() > 2, "{names:?}");
    for name in &names[1..] {
        let bytes = store.get(name).await.unwrap().unwrap();
        store.delete(name).await.unwrap();
        let verified = reader(&store).await.verify().await.unwrap_err();
        assert!(verified.kind() == ErrorKind::Corrupt && verified.message().contains(&**name), "{verified}");
        store.overwrite(name, bytes);
    }
    reader(&store).await.verify().await.unwrap();
}

/// Found by attack: the earlier life was restored as the latest.
async fn a_damaged_life_is_not_passed_over_for_an_earlier_one(root: &TestRoot) {
    let (p, store) = (root.open(), MemoryStore::new());
    for _ in 0..2 {
        let job = p.open_job("alpha").await.unwrap();
        job.put_acked("m", k("a"), "").await.unwrap();
        attach_with(&job, &store, options()).await.unwrap().close().await.unwrap();
        p.drop_job("alpha").await.unwrap();
    }
    let name = store.names().into_iter().find(|name| name.contains("/lives/")).unwrap();
    let mut bytes = store.get(&name).await.unwrap().unwrap();
    bytes[30] ^= 1;
    store.overwrite(&name, bytes);
    let restored = restore(Arc::new(store), "backup", &p, "restored", RestoreTo::Latest).await;
    let error = restored.unwrap_err();
    assert!(error.kind() == ErrorKind::Corrupt && error.message().contains(&name), "{error}");
}

async fn an_object_in_anothers_place_is_noticed(root: &TestRoot) {
    let (_job, store) = ten_commits(root, u64::MAX).await;
    for part in ["/segments/", "/data/", "/rows/"] {
        let names: Vec<String> = store.names().into_iter().filter(|name| name.contains(part)).collect();
        assert!(names.len() > 1, "{part}: {names:?}");
        let own = store.get(&names[0]).await.unwrap().unwrap();
        store.overwrite(&names[0], store.get(&names[1]).await.unwrap().unwrap());
        refused(&store, root, &names[0]).await;
        store.overwrite(&names[0], own);
    }
    let other = MemoryStore::new();
    assert_eq!(
        kind(restore(Arc::new(other), "backup", &root.open(), "x", RestoreTo::Latest).await),
        ErrorKind::JobNotFound
    );
}

/// Found by reading: every mark of a base was read, twice.
async fn a_long_archive_costs_no_more_to_attach_than_a_short_one(root: &TestRoot) {
    let (job, store) = (root.job().await, FaultyStore::new(MemoryStore::new(), Clock::system()));
    let options = || options().base_after_bytes(1);
    let mut calls = Vec::new();
    for _ in 0..8u8 {
        let archive = attach_with(&job, &store, options()).await.unwrap();
        let seq = job.persist_acked(with_ballast(Batch::new())).await.unwrap();
        archive.ship().await.unwrap();
        let base = format!("/bases/{:020}", u64::MAX - seq);
        while !store.inner().names().iter().any(|name| name.ends_with(&base))
            || job.info().await.unwrap().log_first_seq <= seq
        {
            job.position().await.unwrap();
        }
        archive.close().await.unwrap();
        let before = store.calls();
        drop(attach_with(&job, &store, options()).await.unwrap());
        calls.push(store.calls() - before);
    }
    assert!(reader(store.inner()).await.verify().await.unwrap().bases > 4);
    assert!(calls.iter().skip(1).all(|each| *each == calls[1]), "{calls:?}");
}
