//! Archives in a directory, and in what the crate `object_store` reaches: as stores, and as backups.

use std::sync::Arc;

use persistency::archive::{Archive, ArchiveOptions, ArchiveReader, RestoreTo, Store, restore};
use persistency::object_stores::{ObjectStores, object_store};
use persistency::{ErrorKind, Persistency};

use super::stores::behaves_as_a_store;
use super::{kind, number};

#[tokio::test]
async fn a_directory_is_a_store() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("not/there/yet");
    behaves_as_a_store(&ObjectStores::directory(&path).unwrap()).await;
    let again = ObjectStores::directory(&path).unwrap();
    assert_eq!(again.list("=41lpha/bases/", "", 10).await.unwrap(), ["=41lpha/bases/x"]);
}

#[test]
fn a_directory_needs_no_runtime() {
    let directory = tempfile::tempdir().unwrap();
    let store = ObjectStores::directory(directory.path()).unwrap();
    futures_executor::block_on(behaves_as_a_store(&store));
}

/// Found by reading: it held up every job of the archiver.
#[cfg(unix)]
#[test]
fn a_directory_that_does_not_answer_holds_up_nobody_else() {
    let directory = tempfile::tempdir().unwrap();
    let store = ObjectStores::directory(directory.path()).unwrap();
    futures_executor::block_on(store.put_new("a/whole", b"bytes")).unwrap();
    // Whoever reads it waits until somebody writes.
    let slow = directory.path().join("a/slow");
    assert!(std::process::Command::new("mkfifo").arg(&slow).status().unwrap().success());
    futures_executor::block_on(async {
        let mut waiting = std::pin::pin!(store.get("a/slow"));
        assert!(futures_util::FutureExt::now_or_never(&mut waiting).is_none());
        assert_eq!(store.get("a/whole").await.unwrap().unwrap(), b"bytes");
        std::fs::write(&slow, "").unwrap();
        assert_eq!(waiting.await.unwrap().unwrap(), b"");
    });
    // Who drops the store meanwhile waits for nobody.
    assert!(futures_util::FutureExt::now_or_never(store.get("a/slow")).is_none());
    drop(store);
}

#[test]
fn a_store_that_needs_a_runtime_is_called_on_it() {
    let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
    let memory = Arc::new(object_store::memory::InMemory::new());
    let store = ObjectStores::on(runtime.handle().clone(), memory);
    futures_executor::block_on(behaves_as_a_store(&store));
}

#[test]
fn a_store_that_lists_in_order_is_listed_no_further_than_is_wanted() {
    let memory = Arc::new(object_store::memory::InMemory::new());
    futures_executor::block_on(behaves_as_a_store(&ObjectStores::new(memory).in_order()));
}

#[tokio::test]
async fn a_directory_that_cannot_be_made_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("file"), "").unwrap();
    let refused = ObjectStores::directory(directory.path().join("file/below"));
    assert_eq!(kind(refused), Some(ErrorKind::Backend));
}

#[tokio::test]
async fn a_job_moves_from_one_root_to_another_by_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let store: Arc<dyn Store> = Arc::new(ObjectStores::directory(at("backups")).unwrap());
    let from = Persistency::open(at("from")).unwrap();
    let job = from.open_job("Alpha/1").await.unwrap();
    for n in 0..100 {
        job.persist_put("before", number(n), vec![1; 100]).await.unwrap();
    }
    let archive = Archive::attach(&job, Arc::clone(&store), ArchiveOptions::new()).await.unwrap();
    for n in 0..1000 {
        job.persist_put("m", number(n), vec![2; 100]).await.unwrap();
        if n == 500 {
            archive.ship().await.unwrap();
        }
    }
    let archived = archive.close().await.unwrap();
    from.close().await.unwrap();
    let reader = ArchiveReader::open(Arc::clone(&store), "Alpha/1").await.unwrap();
    assert_eq!(reader.verify().await.unwrap().restorable.last().unwrap().1, archived);
    let to = Persistency::open(at("to")).unwrap();
    let restored = restore(store, "Alpha/1", &to, "beta", RestoreTo::Latest).await.unwrap();
    assert_eq!(restored.seq, archived);
    let beta = to.open_job("beta").await.unwrap();
    assert_eq!((beta.count("before", ..).await.unwrap(), beta.count("m", ..).await.unwrap()), (100, 1000));
    assert!(beta.check().await.unwrap().is_empty());
    to.close().await.unwrap();
}
