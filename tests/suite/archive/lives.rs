//! Facts about archives whose jobs come and go: what is kept of earlier lives, and that nobody ships one unawares.

use std::sync::Arc;
use std::time::Duration;

use persistency::archive::{
    Archive, ArchiveOptions, ArchiveReader, Archiver, FaultyStore, MemoryStore, RestoreTo, Store, StoreFault,
};
use persistency::{Clock, ErrorKind, Job, Persistency};

use super::{archiver, options, reader};
use crate::common::{TestRoot, k, kind, rows};

facts! {
    everywhere:
        what_a_life_had_before_what_is_kept_goes_by_itself,
        a_life_goes_when_another_one_had_followed_it_and_not_before,
        every_moment_that_is_kept_can_be_restored,
        who_ships_a_life_that_another_one_has_followed_is_told;
    in_memory:
        a_life_that_is_still_shipped_stays,
        a_clock_that_was_wrong_costs_nothing_that_is_kept,
        a_clock_that_was_ahead_keeps_one_life_and_no_more,
        removing_lives_can_be_cut_short_anywhere,
        a_life_that_was_removed_is_not_shipped_again,
        any_number_of_lives_goes,
        pruning_by_seq_leaves_earlier_lives_alone,
        a_reader_of_an_earlier_life_removes_no_other;
}

const BEGIN_MS: u64 = 1_000_000_000;

/// A job that comes and goes, and where it is archived.
struct Lives {
    root: Persistency,
    clock: Clock,
    store: MemoryStore,
    archiver: Archiver,
}

impl Lives {
    fn new(root: &TestRoot) -> Self {
        let clock = Clock::manual(BEGIN_MS);
        let archiver = Archiver::new(archiver(&clock)).unwrap();
        Lives { root: root.open_with_clock(clock.clone()), clock, store: MemoryStore::new(), archiver }
    }

    fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    fn now_ms(&self) -> u64 {
        self.clock.unix_ms()
    }

    async fn attach(&self, job: &Job, options: ArchiveOptions) -> Archive {
        self.archiver.attach(job, Arc::new(self.store.clone()), options).await.unwrap()
    }

    /// A life of so many seconds, with a commit at the beginning of each; its generation.
    async fn live(&self, seconds: u64) -> [u8; 16] {
        let job = self.root.open_job("alpha").await.unwrap();
        let archive = self.attach(&job, options()).await;
        for second in 0..seconds {
            job.put_acked("m", k(second.to_be_bytes()), "").await.unwrap();
            archive.ship().await.unwrap();
            self.pass(1);
        }
        archive.close().await.unwrap();
        let generation = job.position().await.unwrap().generation;
        self.root.drop_job("alpha").await.unwrap();
        generation
    }

    /// How many objects there are of a life, but for its mark.
    fn objects(&self, generation: &[u8; 16]) -> usize {
        let part: String = generation.iter().map(|byte| format!("{byte:02x}")).collect();
        self.store.names().iter().filter(|name| name.contains(&part)).count()
    }

    /// How many lives there are marks of.
    fn marks(&self) -> usize {
        self.store.names().iter().filter(|name| name.contains("/lives/")).count()
    }

    async fn prune(&self, oldest_ms: u64) {
        reader(&self.store).await.prune(RestoreTo::Time(oldest_ms)).await.unwrap();
    }

    /// How many rows the job had at a time.
    async fn rows_at(&self, unix_ms: u64) -> usize {
        let store: Arc<dyn Store> = Arc::new(self.store.clone());
        let reader = ArchiveReader::open_at(store, "backup", unix_ms).await.unwrap();
        reader.restore(&self.root, "restored", RestoreTo::Time(unix_ms), |_| {}).await.unwrap();
        let found = rows(&self.root.open_job("restored").await.unwrap(), "m").await.len();
        self.root.drop_job("restored").await.unwrap();
        found
    }
}

async fn what_a_life_had_before_what_is_kept_goes_by_itself(root: &TestRoot) {
    let lives = Lives::new(root);
    let (first, second) = (lives.live(3).await, lives.live(3).await);
    lives.pass(10);
    let job = lives.root.open_job("alpha").await.unwrap();
    let archive = lives.attach(&job, options().keep(Duration::from_secs(9))).await;
    // The second one was the job's until the third was attached.
    while lives.objects(&first) > 0 || lives.marks() > 2 {
        job.position().await.unwrap();
        archive.ship().await.unwrap();
    }
    job.put_acked("m", k("a"), "").await.unwrap();
    archive.close().await.unwrap();
    assert!(lives.objects(&second) > 0);
    lives.pass(10);
    let archive = lives.attach(&job, options().keep(Duration::from_secs(9))).await;
    job.put_acked("m", k("b"), "").await.unwrap();
    archive.ship().await.unwrap();
    archive.close().await.unwrap();
    let archive = lives.attach(&job, options().keep(Duration::from_secs(9))).await;
    while lives.objects(&second) > 0 || lives.marks() > 1 {
        job.position().await.unwrap();
        archive.ship().await.unwrap();
    }
    archive.close().await.unwrap();
    reader(&lives.store).await.verify().await.unwrap();
}

async fn a_life_goes_when_another_one_had_followed_it_and_not_before(root: &TestRoot) {
    let lives = Lives::new(root);
    let (first, second, last) = (lives.live(3).await, lives.live(3).await, lives.live(3).await);
    let all = lives.objects(&first);
    lives.prune(BEGIN_MS + 2_999).await;
    assert_eq!(lives.objects(&first), all, "at that moment it was the job");
    lives.prune(BEGIN_MS + 3_000).await;
    assert_eq!((lives.objects(&first), lives.objects(&second), lives.marks()), (0, all, 2));
    lives.prune(BEGIN_MS + 8_000).await;
    assert_eq!((lives.objects(&second), lives.marks()), (0, 1));
    assert!(lives.objects(&last) > 0);
    reader(&lives.store).await.verify().await.unwrap();
}

async fn every_moment_that_is_kept_can_be_restored(root: &TestRoot) {
    let lives = Lives::new(root);
    for _ in 0..3 {
        lives.live(3).await;
    }
    for oldest in 0..9u64 {
        lives.prune(BEGIN_MS + oldest * 1_000).await;
        for second in oldest..9 {
            let found = lives.rows_at(BEGIN_MS + second * 1_000).await as u64;
            assert_eq!(found, second % 3 + 1, "second {second} where {oldest} is kept");
        }
    }
    let store: Arc<dyn Store> = Arc::new(lives.store.clone());
    let gone = ArchiveReader::open_at(store, "backup", BEGIN_MS).await;
    assert_eq!(kind(gone), ErrorKind::JobNotFound);
}

async fn who_ships_a_life_that_another_one_has_followed_is_told(root: &TestRoot) {
    let lives = Lives::new(root);
    let (old, new) = (lives.root.open_job("old").await.unwrap(), lives.root.open_job("new").await.unwrap());
    let of_old = lives.attach(&old, options()).await;
    old.put_acked("m", k("a"), "").await.unwrap();
    of_old.ship().await.unwrap();
    let of_new = lives.attach(&new, options()).await;
    new.put_acked("m", k("a"), "").await.unwrap();
    of_new.ship().await.unwrap();
    old.put_acked("m", k("b"), "").await.unwrap();
    assert_eq!(kind(of_old.ship().await), ErrorKind::Conflict);
    assert_eq!(old.info().await.unwrap().log_holders.len(), 1, "nothing of it is lost");
    new.put_acked("m", k("b"), "").await.unwrap();
    assert_eq!(of_new.ship().await.unwrap(), 2);
}

async fn a_life_that_is_still_shipped_stays(root: &TestRoot) {
    let lives = Lives::new(root);
    let old = lives.root.open_job("old").await.unwrap();
    let of_old = lives.attach(&old, options()).await;
    of_old.ship().await.unwrap();
    lives.live(1).await;
    lives.pass(100);
    // What another version of this library ships, which does not look whether it is followed.
    let generation = old.position().await.unwrap().generation;
    let marks: Vec<String> =
        lives.store.names().into_iter().filter(|name| name.contains("/lives/")).collect();
    let newest = lives.store.get(&marks[0]).await.unwrap().unwrap();
    lives.store.delete(&marks[0]).await.unwrap();
    old.put_acked("m", k("a"), "").await.unwrap();
    of_old.ship().await.unwrap();
    lives.store.overwrite(&marks[0], newest);
    let all = lives.objects(&generation);
    lives.prune(BEGIN_MS + 50_000).await;
    assert_eq!((lives.objects(&generation), lives.marks()), (all, 2));
    lives.prune(BEGIN_MS + 200_000).await;
    assert_eq!((lives.objects(&generation), lives.marks()), (0, 1));
    old.put_acked("m", k("b"), "").await.unwrap();
    assert_eq!(kind(of_old.ship().await), ErrorKind::Conflict, "what it ships could not be restored");
    assert_eq!((lives.objects(&generation), of_old.archived_seq()), (0, 1), "and nobody would remove it");
}

async fn a_clock_that_was_wrong_costs_nothing_that_is_kept(root: &TestRoot) {
    let lives = Lives::new(root);
    lives.live(2).await;
    lives.pass(100);
    let kept = lives.live(3).await;
    // The next one is attached by a machine whose clock has not been set.
    let unset = Archiver::new(archiver(&Clock::manual(0))).unwrap();
    let job = lives.root.open_job("alpha").await.unwrap();
    unset.attach(&job, Arc::new(lives.store.clone()), options()).await.unwrap().close().await.unwrap();
    let all = lives.objects(&kept);
    lives.prune(lives.now_ms() - 2_000).await;
    assert_eq!((lives.objects(&kept), lives.marks()), (all, 2));
}

async fn a_clock_that_was_ahead_keeps_one_life_and_no_more(root: &TestRoot) {
    let lives = Lives::new(root);
    lives.live(1).await;
    let ahead = Archiver::new(archiver(&Clock::manual(BEGIN_MS * 1_000))).unwrap();
    let job = lives.root.open_job("alpha").await.unwrap();
    ahead.attach(&job, Arc::new(lives.store.clone()), options()).await.unwrap().close().await.unwrap();
    lives.root.drop_job("alpha").await.unwrap();
    for _ in 0..4 {
        lives.live(1).await;
    }
    lives.prune(lives.now_ms()).await;
    assert_eq!(lives.marks(), 2, "the last one, and that which was followed in times to come");
}

async fn removing_lives_can_be_cut_short_anywhere(root: &TestRoot) {
    let lives = Lives::new(root);
    for _ in 0..3 {
        lives.live(2).await;
    }
    let faulty = FaultyStore::new(lives.store.clone(), Clock::system());
    let generation = reader(&lives.store).await.generation();
    let mut cut_short = 0;
    loop {
        let store: Arc<dyn Store> = Arc::new(faulty.clone());
        let reader_of_it = ArchiveReader::open_generation(store, "backup", generation).unwrap();
        let before = faulty.calls();
        faulty.next(std::iter::repeat_n(None, cut_short).chain([Some(StoreFault::LostAnswer)]));
        let pruned = reader_of_it.prune(RestoreTo::Time(lives.now_ms())).await;
        let is_through = faulty.calls() - before <= cut_short as u64;
        reader(&lives.store).await.verify().await.unwrap();
        if is_through {
            pruned.unwrap();
            break;
        }
        cut_short += 1;
    }
    assert!(cut_short > 5, "{cut_short}");
    assert_eq!(lives.marks(), 1);
    let life = reader(&lives.store).await.generation();
    assert_eq!(lives.objects(&life) + 1, lives.store.names().len(), "nothing of the others is left");
}

async fn a_life_that_was_removed_is_not_shipped_again(root: &TestRoot) {
    let lives = Lives::new(root);
    let old = lives.root.open_job("old").await.unwrap();
    lives.attach(&old, options()).await.close().await.unwrap();
    lives.live(1).await;
    lives.pass(100);
    lives.prune(lives.now_ms()).await;
    assert_eq!(lives.marks(), 1);
    let again = lives.archiver.attach(&old, Arc::new(lives.store.clone()), options()).await;
    assert_eq!(kind(again), ErrorKind::Conflict);
    assert_eq!(lives.marks(), 1);
}

async fn any_number_of_lives_goes(root: &TestRoot) {
    let lives = Lives::new(root);
    // More than are looked at in one go.
    for _ in 0..230 {
        lives.live(1).await;
    }
    let job = lives.root.open_job("alpha").await.unwrap();
    let archive = lives.attach(&job, options().keep(Duration::from_secs(5))).await;
    while lives.marks() > 6 {
        job.position().await.unwrap();
        archive.ship().await.unwrap();
    }
    archive.close().await.unwrap();
    lives.prune(lives.now_ms()).await;
    assert_eq!(lives.marks(), 1);
    let life = reader(&lives.store).await.generation();
    assert_eq!(lives.objects(&life) + 1, lives.store.names().len());
}

async fn pruning_by_seq_leaves_earlier_lives_alone(root: &TestRoot) {
    let lives = Lives::new(root);
    let first = lives.live(2).await;
    lives.live(2).await;
    let all = lives.objects(&first);
    for to in [RestoreTo::Latest, RestoreTo::Seq(2)] {
        reader(&lives.store).await.prune(to).await.unwrap();
        assert_eq!((lives.objects(&first), lives.marks()), (all, 2));
    }
}

async fn a_reader_of_an_earlier_life_removes_no_other(root: &TestRoot) {
    let lives = Lives::new(root);
    let (first, second) = (lives.live(2).await, lives.live(2).await);
    lives.live(2).await;
    lives.pass(100);
    let (all, store): (_, Arc<dyn Store>) = (lives.objects(&first), Arc::new(lives.store.clone()));
    let reader = ArchiveReader::open_generation(store, "backup", second).unwrap();
    reader.prune(RestoreTo::Time(lives.now_ms())).await.unwrap();
    assert_eq!((lives.objects(&first), lives.marks()), (all, 3));
}
