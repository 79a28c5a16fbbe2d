//! Facts about archives in S3.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use persistency::archive::{
    Archive, ArchiveOptions, ArchiveReader, ArchiveState, Archiver, ArchiverOptions, CutPolicy, Put,
    RestoreTo, Store, restore,
};
use persistency::{Batch, ErrorKind, Job, Persistency, key};
use sha2::{Digest, Sha256};

use super::client;
use super::server::Server;
use super::stores::behaves_as_a_store;

const NAME: &str = "Backup/1";

/// Nothing is shipped that nobody waits for, and bases follow one another closely.
fn options() -> ArchiveOptions {
    let cut = CutPolicy::new().age(Duration::from_secs(1_000_000)).not_early();
    ArchiveOptions::new().name(NAME).cut(cut).base_after_bytes(100_000)
}

/// With backoffs of some milliseconds, and never stalled.
fn archiver() -> Archiver {
    let ms = Duration::from_millis;
    Archiver::new(ArchiverOptions::new().backoff(ms(5), ms(20)).max_attempts(u32::MAX)).unwrap()
}

async fn attach(job: &Job, store: &Arc<dyn Store>) -> Archive {
    archiver().attach(job, Arc::clone(store), options()).await.unwrap()
}

/// Some rows, another payload for each `round`.
async fn write(job: &Job, round: u8) -> u64 {
    let mut batch = Batch::new();
    for n in 0..20u8 {
        batch = batch.put("m", key!([n, round % 3]).unwrap(), noise(n, round));
    }
    job.persist_acked(batch.delete("m", key!([round, 0u8]).unwrap())).await.unwrap()
}

/// 2,000 bytes that no compression makes smaller.
fn noise(n: u8, round: u8) -> Vec<u8> {
    (0..64u8).flat_map(|part| Sha256::digest([n, round, part])).take(2_000).collect()
}

/// One hash of all rows.
async fn digest(job: &Job) -> Vec<u8> {
    let mut hash = Sha256::new();
    for category in job.categories().await.unwrap() {
        for row in job.scan(&category, ..).await.unwrap() {
            for part in [category.as_bytes(), row.key.as_bytes(), &row.payload] {
                hash.update((part.len() as u64).to_be_bytes());
                hash.update(part);
            }
        }
    }
    hash.finalize().to_vec()
}

async fn restored(store: &Arc<dyn Store>, to: RestoreTo) -> Vec<u8> {
    let p = Persistency::open(":memory:").unwrap();
    restore(Arc::clone(store), NAME, &p, "restored", to).await.unwrap();
    let digest = digest(&p.open_job("restored").await.unwrap()).await;
    p.close().await.unwrap();
    digest
}

#[tokio::test]
async fn a_bucket_is_a_store() {
    let mut server = Server::started().await;
    behaves_as_a_store(&client::store(&server)).await;
    server.stop().await;
    let mut server = Server::started().await;
    behaves_as_a_store(&client::store(&server).in_order()).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_several_puts_of_one_name_one_creates_it() {
    let mut server = Server::started().await;
    let store = client::store(&server);
    for round in 0..20 {
        let puts: Vec<_> = (0..8u8)
            .map(|writer| {
                let store = store.clone();
                tokio::spawn(async move {
                    store.put_new(&format!("fence/{round}"), &[writer; 100]).await.unwrap()
                })
            })
            .collect();
        let mut created = Vec::new();
        for (writer, put) in puts.into_iter().enumerate() {
            if put.await.unwrap() == Put::Created {
                created.push(writer);
            }
        }
        assert_eq!(created.len(), 1, "{created:?}");
        let there = store.get(&format!("fence/{round}")).await.unwrap().unwrap();
        assert_eq!(there, vec![created[0] as u8; 100]);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_job_is_archived_listed_verified_restored_and_pruned() {
    let mut server = Server::started().await;
    let store: Arc<dyn Store> = Arc::new(client::store(&server));
    let root = tempfile::tempdir().unwrap();
    let p = Persistency::open(root.path()).unwrap();
    let job = p.open_job("alpha").await.unwrap();
    write(&job, 0).await;
    let archive = attach(&job, &store).await;
    let mut digests = Vec::new();
    for round in 1..=12 {
        let seq = write(&job, round).await;
        assert!(archive.ship().await.unwrap() >= seq);
        digests.push((seq, digest(&job).await));
    }
    let last = archive.close().await.unwrap();

    let reader = ArchiveReader::open(Arc::clone(&store), NAME).await.unwrap();
    let (mut segments, mut end) = (reader.list_segments(u64::MAX), None);
    while let Some(segment) = segments.next().await {
        let segment = segment.unwrap();
        assert_eq!(segment.last_seq, end.map_or(last, |first: u64| first - 1), "one follows another");
        end = Some(segment.first_seq);
    }
    let found = reader.find_segment(last - 3).await.unwrap().unwrap();
    let commits = reader.fetch(&found).await.unwrap();
    assert!(commits.iter().any(|commit| commit.seq == last - 3));
    let verified = reader.verify().await.unwrap();
    assert!(verified.bases > 2 && verified.restorable.last().unwrap().1 == last, "{verified:?}");
    for (seq, digest) in &digests {
        assert_eq!(&restored(&store, RestoreTo::Seq(*seq)).await, digest, "{seq}");
    }

    let pruned = reader.prune(RestoreTo::Latest).await.unwrap();
    assert!(pruned.objects > 0 && pruned.first_seq > 1);
    assert_eq!(reader.verify().await.unwrap().restorable, [(pruned.first_seq, last)]);
    assert_eq!(restored(&store, RestoreTo::Latest).await, digest(&job).await);
    p.close().await.unwrap();
    server.stop().await;
}

fn copy(from: &Path, to: &Path) {
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

#[tokio::test]
async fn of_two_copies_of_a_job_that_go_on_the_bucket_lets_one_through() {
    let mut server = Server::started().await;
    let store: Arc<dyn Store> = Arc::new(client::store(&server));
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let p = Persistency::open(one.path()).unwrap();
    let job = p.open_job("alpha").await.unwrap();
    write(&job, 0).await;
    attach(&job, &store).await.close().await.unwrap();
    p.close().await.unwrap();
    copy(one.path(), other.path());

    let roots = [one.path(), other.path()].map(|root| Persistency::open(root).unwrap());
    let mut shipping = Vec::new();
    for (root, round) in roots.iter().zip([1, 2]) {
        let job = root.open_job("alpha").await.unwrap();
        let archive = attach(&job, &store).await;
        shipping.push((job, archive, round));
    }
    for (job, _, round) in &shipping {
        write(job, *round).await;
    }
    let (one, other) = tokio::join!(shipping[0].1.ship(), shipping[1].1.ship());
    let winner = usize::from(one.is_err());
    let loser = [one, other].into_iter().find_map(Result::err).expect("one has lost");
    assert_eq!(loser.kind(), ErrorKind::Conflict);
    let ended = shipping[1 - winner].1.progress().state;
    assert!(matches!(ended, ArchiveState::Ended { error: Some(_) }), "{ended:?}");
    let (job, archive, _) = &shipping[winner];
    write(job, 7).await;
    archive.close().await.unwrap();
    assert_eq!(restored(&store, RestoreTo::Latest).await, digest(job).await);
    let reader = ArchiveReader::open(Arc::clone(&store), NAME).await.unwrap();
    reader.verify().await.unwrap();
    for root in &roots {
        root.close().await.unwrap();
    }
    server.stop().await;
}

#[tokio::test]
async fn a_server_that_is_stopped_and_started_again_only_delays() {
    let mut server = Server::started().await;
    let store: Arc<dyn Store> = Arc::new(client::store(&server));
    let p = Persistency::open(":memory:").unwrap();
    let job = p.open_job("alpha").await.unwrap();
    server.stop().await;
    let archive = attach(&job, &store).await;
    assert!(matches!(archive.progress().state, ArchiveState::Retrying { .. }));
    server.start().await;
    write(&job, 0).await;
    let archived = archive.ship().await.unwrap();
    server.stop().await;

    let seq = write(&job, 1).await;
    let shipped = tokio::spawn({
        let archive = archive.clone();
        async move { archive.wait_archived(seq).await }
    });
    let mut progress = archive.watch();
    while !matches!(progress.next().await.unwrap().state, ArchiveState::Retrying { failures: 3.., .. }) {}
    assert_eq!(archive.archived_seq(), archived);
    assert!(!shipped.is_finished());
    server.start().await;
    assert_eq!(shipped.await.unwrap().unwrap(), seq);
    archive.close().await.unwrap();
    assert_eq!(restored(&store, RestoreTo::Latest).await, digest(&job).await);
    p.close().await.unwrap();
    server.stop().await;
}

/// Wherever that hits it: what has no answer is asked for again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_stopped_in_the_middle_leaves_a_whole_archive() {
    let mut server = Server::started().await;
    let store: Arc<dyn Store> = Arc::new(client::store(&server));
    let p = Persistency::open(":memory:").unwrap();
    let job = p.open_job("alpha").await.unwrap();
    let archive = attach(&job, &store).await;
    for round in 0..20u8 {
        let seq = write(&job, round).await;
        let before = server.requests();
        let shipped = tokio::spawn({
            let archive = archive.clone();
            async move { archive.wait_archived(seq).await }
        });
        // Each round somewhat later, unless it is through before.
        while !shipped.is_finished() && server.requests() < before + u64::from(round % 5) {
            tokio::task::yield_now().await;
        }
        server.stop().await;
        server.start().await;
        assert!(shipped.await.unwrap().unwrap() >= seq);
    }
    let last = archive.close().await.unwrap();
    let reader = ArchiveReader::open(Arc::clone(&store), NAME).await.unwrap();
    assert_eq!(reader.verify().await.unwrap().restorable.last().unwrap().1, last);
    assert_eq!(restored(&store, RestoreTo::Latest).await, digest(&job).await);
    p.close().await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn a_wrong_secret_is_told() {
    let mut server = Server::started().await;
    let store = client::with_secret(&server, "another one");
    let refused = store.put_new("a/b", b"").await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Backend);
    assert!(refused.message().contains("SignatureDoesNotMatch"), "{refused}");
    assert_eq!(client::store(&server).get("a/b").await.unwrap(), None);
    server.stop().await;
}
