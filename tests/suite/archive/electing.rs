//! Facts about who ships a job that several have attached.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use persistency::archive::{ArchiveWatch, Asked, Candidate, Election, FaultyStore};
use tokio::sync::Notify;

use super::*;

facts! {
    everywhere:
        of_two_that_attach_a_job_one_ships_and_the_other_follows,
        who_follows_can_have_it_shipped_at_once,
        who_follows_goes_on_where_the_other_one_ended,
        who_is_chosen_after_the_first_commit_ships_it_too,
        who_follows_ends_at_once_and_the_other_one_ships_on,
        who_stalls_lets_the_other_one_ship,
        who_is_resumed_follows_the_one_that_ships_by_then;
}

/// Chooses whoever came first, within this process.
#[derive(Clone, Debug, Default)]
struct First(Arc<Queue>);

#[derive(Default)]
struct Queue {
    candidates: Mutex<VecDeque<(u64, Arc<Asked>)>>,
    moved: Notify,
    joined: std::sync::atomic::AtomicU64,
}

struct Place(Arc<Queue>, u64);

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Queue")
    }
}

impl Queue {
    fn candidates(&self) -> MutexGuard<'_, VecDeque<(u64, Arc<Asked>)>> {
        self.candidates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Election for First {
    fn join(&self, name: &str, asked: Asked) -> persistency::Result<Box<dyn Candidate>> {
        assert!(name.starts_with("archive/backup/backup/"), "{name}");
        let number = self.0.joined.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.0.candidates().push_back((number, Arc::new(asked)));
        Ok(Box::new(Place(Arc::clone(&self.0), number)))
    }
}

#[async_trait]
impl Candidate for Place {
    async fn chosen(&self) -> persistency::Result<()> {
        loop {
            let moved = self.0.moved.notified();
            if self.0.candidates().front().is_some_and(|(first, _)| *first == self.1) {
                return Ok(());
            }
            moved.await;
        }
    }

    fn ask(&self, seq: u64) {
        let first = self.0.candidates().front().map(|(_, asked)| Arc::clone(asked));
        if let Some(asked) = first {
            asked(seq);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.candidates().retain(|(number, _)| *number != self.1);
        self.0.moved.notify_waiters();
    }
}

/// Two archives of one job, as two tabs have them; the first one ships.
struct Two {
    p: Persistency,
    job: Job,
    store: MemoryStore,
    first: Archive,
    second: Archive,
}

async fn two(root: &TestRoot) -> Two {
    let store = MemoryStore::new();
    two_by(root, Arc::new(store.clone()), store).await
}

/// As [`two`]; the first one has a way to the store of its own.
async fn two_by(root: &TestRoot, way: Arc<dyn Store>, store: MemoryStore) -> Two {
    let (p, election) = (root.open(), First::default());
    let job = p.open_job("alpha").await.unwrap();
    let attach = async |way: Arc<dyn Store>| {
        let options_of_all = archiver(&Clock::system()).election(Arc::new(election.clone()));
        let archiver = Archiver::new(options_of_all).unwrap();
        archiver.attach(&job, way, options()).await.unwrap()
    };
    let first = attach(way).await;
    until(first.watch(), |state| matches!(state, ArchiveState::Shipping)).await;
    let second = attach(Arc::new(store.clone())).await;
    Two { p, job, store, first, second }
}

/// As [`two`], of whom the first one has stalled and the second one has shipped since.
async fn first_stalls(root: &TestRoot) -> (Two, FaultyStore<MemoryStore>) {
    let store = MemoryStore::new();
    let way = FaultyStore::new(store.clone(), Clock::system());
    let two = two_by(root, Arc::new(way.clone()), store).await;
    put_all(&two.job, "m", ["a"]).await;
    way.set_down(true);
    // It cannot tell the first one's failure from slowness, and waits until it is chosen itself.
    assert_eq!(two.second.ship().await.unwrap(), two.job.committed_seq());
    assert!(matches!(two.first.progress().state, ArchiveState::Stalled { .. }));
    (two, way)
}

async fn until(mut watch: ArchiveWatch, is_it: impl Fn(&ArchiveState) -> bool) {
    while let Some(progress) = watch.next().await {
        if is_it(&progress.state) {
            return;
        }
    }
    panic!("it ended before");
}

fn follows(archive: &Archive) -> bool {
    matches!(archive.progress().state, ArchiveState::Following)
}

async fn of_two_that_attach_a_job_one_ships_and_the_other_follows(root: &TestRoot) {
    let Two { job, store, first, second, .. } = two(root).await;
    put_all(&job, "m", ["a", "b"]).await;
    assert!(follows(&second));
    let shipped = first.ship().await.unwrap();
    let mut watch = second.watch();
    while second.archived_seq() < shipped {
        assert!(follows(&second));
        watch.next().await.unwrap();
    }
    assert!(follows(&second));
    assert!(second.progress().restorable);
    assert_eq!(segments(&store).await.last(), Some(&(1, shipped)));
    first.stop().await;
    second.stop().await;
}

async fn who_follows_can_have_it_shipped_at_once(root: &TestRoot) {
    let Two { job, first, second, .. } = two(root).await;
    put_all(&job, "m", ["a"]).await;
    let shipped = second.ship().await.unwrap();
    assert_eq!(shipped, job.committed_seq());
    assert_eq!(first.archived_seq(), shipped);
    assert!(follows(&second));
    second.close().await.unwrap();
    first.close().await.unwrap();
}

async fn who_follows_goes_on_where_the_other_one_ended(root: &TestRoot) {
    let Two { p, job, store, first, second } = two(root).await;
    put_all(&job, "m", ["a"]).await;
    first.ship().await.unwrap();
    put_all(&job, "m", ["b"]).await;
    first.stop().await;
    until(second.watch(), |state| matches!(state, ArchiveState::Shipping)).await;
    put_all(&job, "m", ["c"]).await;
    assert_eq!(second.close().await.unwrap(), job.committed_seq());
    let reader = reader(&store).await;
    assert_eq!(reader.verify().await.unwrap().restorable.last().unwrap().1, job.committed_seq());
    assert_eq!(restored(&p, &store, RestoreTo::Latest).await, rows(&job, "m").await);
}

async fn who_is_chosen_after_the_first_commit_ships_it_too(root: &TestRoot) {
    let (p, store, election) = (root.open(), MemoryStore::new(), First::default());
    let job = p.open_job("alpha").await.unwrap();
    // Somebody who is chosen and does nothing.
    let idle = election.join("archive/backup/backup/", Box::new(|_| {})).unwrap();
    let electing = archiver(&Clock::system()).election(Arc::new(election));
    let archiver = Archiver::new(electing).unwrap();
    let archive = archiver.attach(&job, Arc::new(store.clone()), options()).await.unwrap();
    put_all(&job, "m", ["a"]).await;
    put_all(&job, "m", ["b"]).await;
    drop(idle);
    archive.close().await.unwrap();
    assert_eq!(restored(&p, &store, RestoreTo::Seq(1)).await.len(), 1);
    assert_eq!(restored(&p, &store, RestoreTo::Latest).await.len(), 2);
}

async fn who_follows_ends_at_once_and_the_other_one_ships_on(root: &TestRoot) {
    let Two { job, first, second, .. } = two(root).await;
    second.stop().await;
    assert!(matches!(second.progress().state, ArchiveState::Ended { error: None }));
    put_all(&job, "m", ["a"]).await;
    assert_eq!(first.close().await.unwrap(), job.committed_seq());
}

async fn who_stalls_lets_the_other_one_ship(root: &TestRoot) {
    let (Two { p, job, store, first, second }, _) = first_stalls(root).await;
    assert!(matches!(second.progress().state, ArchiveState::Shipping));
    put_all(&job, "m", ["b"]).await;
    assert_eq!(second.ship().await.unwrap(), job.committed_seq());
    assert!(matches!(first.progress().state, ArchiveState::Stalled { .. }), "it waits to be resumed");
    second.close().await.unwrap();
    assert_eq!(restored(&p, &store, RestoreTo::Latest).await, rows(&job, "m").await);
}

async fn who_is_resumed_follows_the_one_that_ships_by_then(root: &TestRoot) {
    let (Two { job, first, second, .. }, way) = first_stalls(root).await;
    way.set_down(false);
    first.resume();
    put_all(&job, "m", ["b"]).await;
    assert_eq!(first.ship().await.unwrap(), job.committed_seq());
    assert!(follows(&first));
    second.stop().await;
    until(first.watch(), |state| matches!(state, ArchiveState::Shipping)).await;
    put_all(&job, "m", ["c"]).await;
    assert_eq!(first.close().await.unwrap(), job.committed_seq());
}
