//! Fencing: what happens where somebody else ships the same life of a job.

use std::sync::Arc;

use crate::batch::Batch;
use crate::error::ErrorKind;
use crate::job::Job;
use crate::key::Key;
use crate::persistency::Persistency;
use crate::testing::async_test;

use super::format::{ArchiveName, BaseMark, Builder, Kind, Life, Sealed, Segment, SegmentMark, chain_start};
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

/// Waits until everything up to `seq` has been shipped and the log has let go of it.
async fn released(job: &Job, archive: &Archive, seq: u64) {
    assert_eq!(archive.ship().await.unwrap(), seq);
    while job.info().await.unwrap().log_first_seq <= seq {}
}

/// Found by attack: it took a base of its own at the gap that the other had left in the log, and with that
/// began a second history, on which nothing of the first one could go on.
#[async_test]
async fn an_archive_that_has_fallen_behind_another_goes_on_from_what_that_has_shipped() {
    for between in [0, 1] {
        let store = MemoryStore::new();
        let (p, job, first) = shipped(&store).await;
        let second = Archive::attach(&job, Arc::new(store.clone()), options()).await.unwrap();
        put(&job, "a").await;
        put(&job, "b").await;
        released(&job, &first, 2).await;
        for _ in 0..between {
            put(&job, "c").await;
        }
        for _ in 0..2 {
            let seq = job.committed_seq();
            assert_eq!((second.ship().await.unwrap(), first.ship().await.unwrap()), (seq, seq));
            put(&job, "d").await;
        }
        let reader = ArchiveReader::open(Arc::new(store), "alpha").await.unwrap();
        let verified = reader.verify().await.unwrap();
        assert_eq!((verified.bases, verified.restorable), (1, vec![(0, 3 + between)]));
        p.close().await.unwrap();
    }
}

/// Found by attack: it ended with `Conflict`.
#[async_test]
async fn an_archive_may_ship_and_release_while_another_attaches() {
    /// Has the other archive ship when it is looked what the newest segment is.
    struct Meanwhile(MemoryStore, Job, std::sync::Mutex<Option<Archive>>);

    #[async_trait::async_trait]
    impl Store for Meanwhile {
        async fn put_new(&self, name: &str, bytes: &[u8]) -> crate::Result<Put> {
            self.0.put_new(name, bytes).await
        }
        async fn get(&self, name: &str) -> crate::Result<Option<Vec<u8>>> {
            self.0.get(name).await
        }
        async fn list(&self, prefix: &str, from: &str, limit: usize) -> crate::Result<Vec<String>> {
            let is_newest = from.ends_with("/segments/00000000000000000000");
            let other = if is_newest { self.2.lock().unwrap().take() } else { None };
            if let Some(other) = other {
                let seq = put(&self.1, "meanwhile").await;
                released(&self.1, &other, seq).await;
            }
            self.0.list(prefix, from, limit).await
        }
        async fn delete(&self, name: &str) -> crate::Result<()> {
            self.0.delete(name).await
        }
    }

    let store = MemoryStore::new();
    let (p, job, first) = shipped(&store).await;
    put(&job, "a").await;
    let meanwhile = Meanwhile(store.clone(), job.clone(), std::sync::Mutex::new(Some(first)));
    let second = Archive::attach(&job, Arc::new(meanwhile), options()).await.unwrap();
    let seq = put(&job, "b").await;
    assert_eq!(second.ship().await.unwrap(), seq);
    let reader = ArchiveReader::open(Arc::new(store), "alpha").await.unwrap();
    assert_eq!(reader.verify().await.unwrap().restorable, [(0, seq)]);
    p.close().await.unwrap();
}

/// Found by attack: the end of the new history was told, which cannot be restored yet.
#[async_test]
async fn behind_a_gap_nothing_is_archived_before_its_base_is_whole() {
    let store = MemoryStore::new();
    let (p, job, archive) = shipped(&store).await;
    put(&job, "a").await;
    archive.ship().await.unwrap();
    archive.detach().await.unwrap();
    put(&job, "b").await;
    let archive = Archive::attach(&job, Arc::new(store.clone()), options()).await.unwrap();
    archive.close().await.unwrap();
    // As if it had been written while its base was taken.
    let names = ArchiveName::new("alpha").unwrap().of(&job.position().await.unwrap().generation);
    let base = BaseMark::decode(&store.get(&names.base(2)).await.unwrap().unwrap()).unwrap();
    store.overwrite(&names.base(2), BaseMark { to: 3, ..base }.encode());
    let reader = ArchiveReader::open(Arc::new(store.clone()), "alpha").await.unwrap();
    assert_eq!(reader.archived_seq().await.unwrap(), Some(1));
    let restored = reader.restore(&p, "restored", RestoreTo::Latest, |_| {}).await.unwrap();
    assert_eq!(restored.seq, 1);
    let archive = Archive::attach(&job, Arc::new(store), options()).await.unwrap();
    assert!(!archive.progress().restorable);
    put(&job, "c").await;
    assert_eq!(archive.ship().await.unwrap(), 3);
    assert_eq!(reader.archived_seq().await.unwrap(), Some(3));
    p.close().await.unwrap();
}

#[async_test]
async fn numbers_at_their_end_are_refused() {
    let store = MemoryStore::new();
    let p = Persistency::open(":memory:").unwrap();
    let job = p.open_job("alpha").await.unwrap();
    let life = Life { generation: [1; 16], number: u64::MAX, attached_ms: 0, job: "alpha".to_owned() };
    store.overwrite(&ArchiveName::new("alpha").unwrap().life(u64::MAX), life.encode());
    let attached = Archive::attach(&job, Arc::new(store), options()).await;
    assert_eq!(attached.unwrap_err().kind(), ErrorKind::Corrupt);

    let mut import = p.import_job("imported").await.unwrap();
    let mut builder = Builder::new(Kind::History, [1; 16], 0);
    let operations = Arc::from(Vec::new());
    let last = crate::commit_log::Commit { seq: u64::MAX, time_ms: 0, writer: [0; 16], operations };
    let mut pushed = Vec::new();
    for _ in 0..2 {
        builder.push(&last);
        let object = builder.seal().unwrap().bytes;
        pushed.push(import.push(&[&(object.len() as u64).to_be_bytes()[..], &object].concat()).await);
    }
    assert!(pushed[0].is_ok());
    assert_eq!(pushed.remove(1).unwrap_err().kind(), ErrorKind::Corrupt);
    drop(import);
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
