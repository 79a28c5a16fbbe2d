//! Fencing: what happens where somebody else ships the same life of a job.

use std::sync::Arc;

use crate::batch::Batch;
use crate::error::ErrorKind;
use crate::job::Job;
use crate::key::Key;
use crate::persistency::Persistency;
use crate::testing::async_test;

use super::format::{ArchiveName, Builder, Kind, Sealed, Segment, SegmentMark, chain_start};
use super::*;

fn options() -> ArchiveOptions {
    let never = std::time::Duration::from_secs(1_000_000);
    ArchiveOptions::new().cut(CutPolicy::new().age(never).not_early())
}

async fn shipped(store: &MemoryStore) -> (Persistency, Job, Archive) {
    let p = Persistency::open(":memory:").unwrap();
    let job = p.open_job("alpha").await.unwrap();
    let archive = Archive::attach(&job, Arc::new(store.clone()), options()).await.unwrap();
    archive.ship().await.unwrap();
    (p, job, archive)
}

async fn put(job: &Job, key: &str) -> u64 {
    job.persist_acked(Batch::new().put("m", Key::from_bytes(key), "")).await.unwrap()
}

/// Puts a segment and its mark into the store, as another shipper of this job would.
async fn ship_as_another(job: &Job, store: &MemoryStore, sealed: &Sealed) {
    let names = ArchiveName::new("alpha").unwrap().of(&job.position().await.unwrap().generation);
    store.overwrite(&names.data(&sealed.mark), sealed.bytes.clone());
    store.overwrite(&names.segment(sealed.mark.first_seq), sealed.mark.encode());
}

/// The job's own commits, from the first one on, in one segment.
async fn own_commits(job: &Job) -> Builder {
    let generation = job.position().await.unwrap().generation;
    let chain = chain_start(Kind::History, &generation, 0);
    let mut builder = Builder::new(Kind::History, generation, chain);
    let mut log = job.log_from(crate::watch::Position { generation, seq: 0 }).await.unwrap();
    while let Some(item) = log.next().await {
        let crate::watch::WatchItem::Commit(commit) = item.unwrap() else { panic!("the log has a gap") };
        builder.push(&commit);
    }
    builder
}

#[async_test]
async fn what_this_job_has_shipped_before_is_taken_for_its_own() {
    let store = MemoryStore::new();
    let (p, job, archive) = shipped(&store).await;
    put(&job, "a").await;
    put(&job, "b").await;
    // As a put that arrives late: another cut of the same commits.
    let sealed = own_commits(&job).await.seal().unwrap();
    put(&job, "c").await;
    ship_as_another(&job, &store, &sealed).await;
    assert_eq!(archive.ship().await.unwrap(), 3);
    let reader = ArchiveReader::open(Arc::new(store), "alpha").await.unwrap();
    assert_eq!(reader.verify().await.unwrap().segments, 2);
    p.close().await.unwrap();
}

#[async_test]
async fn another_history_of_the_same_life_is_a_conflict() {
    let store = MemoryStore::new();
    let (p, job, archive) = shipped(&store).await;
    put(&job, "a").await;
    let own = own_commits(&job).await.seal().unwrap();
    let mut commit = Segment::decode(Kind::History, &own.bytes).unwrap().commits[0].clone();
    commit.writer = [9; 16];
    let mut builder = Builder::new(Kind::History, own.mark.generation, own.mark.chain_before);
    builder.push(&commit);
    ship_as_another(&job, &store, &builder.seal().unwrap()).await;
    assert_eq!(archive.ship().await.unwrap_err().kind(), ErrorKind::Conflict);
    let ended = archive.progress().state;
    assert!(
        matches!(&ended, ArchiveState::Ended { error: Some(error) } if error.kind() == ErrorKind::Conflict)
    );
    assert!(job.is_open() && put(&job, "b").await == 2, "the job goes on");
    p.close().await.unwrap();
}

#[async_test]
async fn an_archive_that_is_ahead_of_the_job_is_a_conflict() {
    let store = MemoryStore::new();
    let (p, job, archive) = shipped(&store).await;
    put(&job, "a").await;
    archive.close().await.unwrap();
    let names = ArchiveName::new("alpha").unwrap().of(&job.position().await.unwrap().generation);
    let mark = store.get(&names.segment(1)).await.unwrap().unwrap();
    let ahead = SegmentMark { last_seq: 5, ..SegmentMark::decode(&mark).unwrap() };
    store.overwrite(&names.segment(1), ahead.encode());
    let attached = Archive::attach(&job, Arc::new(store), options()).await;
    assert_eq!(attached.unwrap_err().kind(), ErrorKind::Conflict);
    p.close().await.unwrap();
}

#[async_test]
async fn two_archives_of_one_job_ship_the_same_history() {
    let store = MemoryStore::new();
    let (p, job, first) = shipped(&store).await;
    let second = Archive::attach(&job, Arc::new(store.clone()), options()).await.unwrap();
    for _ in 0..5 {
        let seq = put(&job, "a").await;
        let (a, b) = futures_util::future::join(first.ship(), second.ship()).await;
        assert_eq!((a.unwrap(), b.unwrap()), (seq, seq));
    }
    let reader = ArchiveReader::open(Arc::new(store), "alpha").await.unwrap();
    assert_eq!(reader.verify().await.unwrap().restorable, [(0, 5)]);
    p.close().await.unwrap();
}

#[async_test]
async fn a_store_that_panics_ends_the_archive_and_nobody_waits_for_ever() {
    struct Panics(MemoryStore);

    #[async_trait::async_trait]
    impl Store for Panics {
        async fn put_new(&self, name: &str, bytes: &[u8]) -> crate::Result<Put> {
            match name.contains("/lives/") {
                true => self.0.put_new(name, bytes).await,
                false => panic!("as a test wants it"),
            }
        }
        async fn get(&self, name: &str) -> crate::Result<Option<Vec<u8>>> {
            self.0.get(name).await
        }
        async fn list(&self, prefix: &str, from: &str, limit: usize) -> crate::Result<Vec<String>> {
            self.0.list(prefix, from, limit).await
        }
        async fn delete(&self, name: &str) -> crate::Result<()> {
            self.0.delete(name).await
        }
    }

    // In a browser a panic ends the whole instance.
    if cfg!(panic = "abort") || cfg!(target_family = "wasm") {
        return;
    }
    let p = Persistency::open(":memory:").unwrap();
    let job = p.open_job("alpha").await.unwrap();
    let archive = Archive::attach(&job, Arc::new(Panics(MemoryStore::new())), options()).await.unwrap();
    assert_eq!(archive.ship().await.unwrap_err().kind(), ErrorKind::Backend);
    archive.stop().await;
    p.close().await.unwrap();
}
