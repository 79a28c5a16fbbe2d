//! Facts about archives: what is shipped, when, and what becomes of it when the store fails.

mod bounds;
mod electing;
mod exporting;
mod failing;
mod lives;
mod model;
mod pruning;
mod reading;
mod restoring;
mod resuming;

use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use persistency::archive::{
    Archive, ArchiveOptions, ArchiveReader, ArchiveState, Archiver, ArchiverOptions, CutPolicy, FaultyStore,
    MemoryStore, RestoreTo, Store, restore,
};
use persistency::{Batch, Clock, ErrorKind, Job, JobOptions, OpenMode, Persistency};

use crate::common::{SHARED, TestRoot, k, kind, put_all, rows};

facts! {
    everywhere:
        what_is_shipped_is_restored,
        a_job_that_has_rows_gets_a_base_first,
        nothing_but_what_is_durable_is_archived,
        waiting_ships_at_once,
        segments_are_cut_by_number,
        segments_are_cut_by_bytes,
        segments_are_cut_by_age,
        some_commits_are_shipped_early,
        an_archive_that_was_dropped_goes_on_where_it_ended,
        an_archive_that_was_stopped_says_so_and_keeps_the_log,
        closing_ships_what_is_left_and_can_be_repeated,
        an_archive_of_a_later_life_is_not_continued_by_an_earlier_one,
        a_job_that_was_created_again_begins_a_new_life,
        an_archive_ends_with_its_job,
        an_archive_that_lets_go_of_the_log_begins_with_a_base_again,
        a_job_that_is_only_read_is_not_shipped,
        advances_are_told_and_a_slow_callback_stalls_nobody,
        progress_can_be_followed,
        bad_options_are_refused;
    on_disk: a_job_that_was_reopened_is_shipped_on;
}

/// A cut policy under which nothing is shipped that nobody waits for.
fn on_demand() -> CutPolicy {
    CutPolicy::new().age(Duration::from_secs(1_000_000)).not_early()
}

fn options() -> ArchiveOptions {
    ArchiveOptions::new().name("backup").cut(on_demand())
}

/// Fails fast: backoffs of a millisecond.
fn archiver(clock: &Clock) -> ArchiverOptions {
    let ms = Duration::from_millis;
    ArchiverOptions::new().clock(clock.clone()).backoff(ms(1), ms(2))
}

async fn attach(job: &Job, store: &(impl Store + Clone + 'static)) -> Archive {
    attach_with(job, store, options()).await.unwrap()
}

async fn attach_with(
    job: &Job,
    store: &(impl Store + Clone + 'static),
    options: ArchiveOptions,
) -> persistency::Result<Archive> {
    let archiver = Archiver::new(archiver(&Clock::system())).unwrap();
    archiver.attach(job, Arc::new(store.clone()), options).await
}

async fn reader(store: &(impl Store + Clone + 'static)) -> ArchiveReader {
    ArchiveReader::open(Arc::new(store.clone()), "backup").await.unwrap()
}

/// The rows of category `m` in the job as it is restored.
async fn restored(
    root: &Persistency,
    store: &(impl Store + Clone + 'static),
    to: RestoreTo,
) -> Vec<(Vec<u8>, Vec<u8>)> {
    restore(Arc::new(store.clone()), "backup", root, "restored", to).await.unwrap();
    let rows = rows(&root.open_job("restored").await.unwrap(), "m").await;
    root.drop_job("restored").await.unwrap();
    rows
}

/// First and last seqs of all segments, oldest first.
async fn segments(store: &(impl Store + Clone + 'static)) -> Vec<(u64, u64)> {
    let list = reader(store).await.list_segments(u64::MAX).into_stream();
    let mut segments: Vec<(u64, u64)> = list
        .map(|segment| segment.unwrap())
        .map(|segment| (segment.first_seq, segment.last_seq))
        .collect()
        .await;
    segments.reverse();
    segments
}

/// Makes a commit large that changes little, so that a base of the job is smaller than its segment.
fn with_ballast(batch: Batch) -> Batch {
    let mut noise = 1u64;
    let ballast: Vec<u8> = std::iter::repeat_with(|| {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (noise >> 56) as u8
    })
    .take(20_000)
    .collect();
    batch.put("ballast", k(""), ballast).delete("ballast", k(""))
}

async fn what_is_shipped_is_restored(root: &TestRoot) {
    let (p, store) = (root.open(), MemoryStore::new());
    let job = p.open_job("alpha").await.unwrap();
    let archive = attach(&job, &store).await;
    put_all(&job, "m", ["a", "b", "c"]).await;
    let batch = Batch::new().delete("m", k("a")).put("m", k("b"), "2").put("n", k(""), vec![7; 100_000]);
    job.persist_acked(batch).await.unwrap();
    assert_eq!(archive.ship().await.unwrap(), 2);
    assert_eq!(archive.archived_seq(), 2);
    let restored = restore(Arc::new(store), "backup", &p, "beta", RestoreTo::Latest).await.unwrap();
    let generation = job.position().await.unwrap().generation;
    assert_eq!((restored.seq, restored.generation), (2, generation));
    let beta = p.open_job("beta").await.unwrap();
    for category in ["m", "n"] {
        assert_eq!(rows(&beta, category).await, rows(&job, category).await);
    }
    assert_eq!(beta.categories().await.unwrap(), ["m", "n"]);
    assert_ne!(beta.position().await.unwrap().generation, generation);
    p.drop_job("beta").await.unwrap();
}

async fn a_job_that_has_rows_gets_a_base_first(root: &TestRoot) {
    let (p, store) = (root.open(), MemoryStore::new());
    let job = p.open_job("alpha").await.unwrap();
    put_all(&job, "m", (0..100u8).map(|n| [n])).await;
    job.persist_acked(Batch::new().put("m", k("large"), vec![1; 3_000_000])).await.unwrap();
    let cut = on_demand().bytes(1_000_000);
    let archive = attach_with(&job, &store, options().cut(cut)).await.unwrap();
    assert_eq!(archive.wait_archived(2).await.unwrap(), 2);
    assert_eq!(segments(&store).await, []);
    job.put_acked("m", k("later"), "").await.unwrap();
    archive.ship().await.unwrap();
    assert_eq!(segments(&store).await, [(3, 3)]);
    assert_eq!(restored(&p, &store, RestoreTo::Latest).await, rows(&job, "m").await);
    assert_eq!(restored(&p, &store, RestoreTo::Seq(2)).await.len(), 101);
}

async fn nothing_but_what_is_durable_is_archived(root: &TestRoot) {
    let (job, store) = (root.job().await, MemoryStore::new());
    let archive = attach_with(&job, &store, options().cut(on_demand().commits(1))).await.unwrap();
    for n in 0..20u8 {
        let seq = job.put_acked("m", k([n]), [n]).await.unwrap();
        if n % 5 == 0 {
            archive.wait_archived(seq).await.unwrap();
        }
        assert!(archive.archived_seq() <= job.durable_seq());
    }
}

async fn waiting_ships_at_once(root: &TestRoot) {
    let (job, store) = (root.job().await, MemoryStore::new());
    let archive = attach(&job, &store).await;
    let write = async {
        job.put_acked("m", k("a"), "").await.unwrap();
    };
    let (archived, ()) = futures_util::future::join(archive.wait_archived(1), write).await;
    assert_eq!(archived.unwrap(), 1);
}

/// Waits until an archive of a new job has begun, with one commit: what is committed before, it ships at once,
/// however little that is.
async fn has_begun(job: &Job, archive: &Archive) {
    job.put_acked("m", k("first"), "").await.unwrap();
    archive.wait_archived(1).await.unwrap();
}

async fn segments_are_cut_by_number(root: &TestRoot) {
    let (job, store) = (root.job().await, MemoryStore::new());
    let archive = attach_with(&job, &store, options().cut(on_demand().commits(3))).await.unwrap();
    has_begun(&job, &archive).await;
    for n in 0..7u8 {
        job.put_acked("m", k([n]), "").await.unwrap();
    }
    let mut progress = archive.watch();
    // Two may be left, too few for a segment.
    while progress.next().await.unwrap().archived_seq < 6 {}
    archive.ship().await.unwrap();
    let segments = segments(&store).await;
    assert!(segments.iter().all(|(first, last)| last - first < 3), "{segments:?}");
    assert_eq!((segments.first().unwrap().0, segments.last().unwrap().1), (1, 8));
}

async fn segments_are_cut_by_bytes(root: &TestRoot) {
    let (job, store) = (root.job().await, MemoryStore::new());
    let archive = attach_with(&job, &store, options().cut(on_demand().bytes(10_000))).await.unwrap();
    let mut batch = Vec::new();
    for n in 0..10u8 {
        batch.push(job.persist_put("m", k([n]), vec![n; 6_000]).await.unwrap());
    }
    archive.ship().await.unwrap();
    let segments = segments(&store).await;
    assert!(segments.iter().all(|(first, last)| last - first < 2), "{segments:?}");
}

async fn segments_are_cut_by_age(root: &TestRoot) {
    let (job, store, clock) = (root.job().await, MemoryStore::new(), Clock::manual(0));
    let cut = CutPolicy::new().age(Duration::from_secs(60)).not_early();
    let archiver = Archiver::new(archiver(&clock)).unwrap();
    let archive = archiver.attach(&job, Arc::new(store), options().cut(cut)).await.unwrap();
    has_begun(&job, &archive).await;
    job.put_acked("m", k("a"), "").await.unwrap();
    let mut progress = archive.watch();
    let mut waited = 0;
    // The loop may notice the commit only after the clock has been moved.
    while archive.archived_seq() < 2 {
        clock.advance(Duration::from_secs(59));
        waited += 59;
        for _ in 0..100 {
            job.position().await.unwrap();
            progress.next().now_or_never();
        }
    }
    assert!(waited >= 60);
}

async fn some_commits_are_shipped_early(root: &TestRoot) {
    let (job, store) = (root.job().await, MemoryStore::new());
    let cut = on_demand().early(5, Duration::ZERO);
    let archive = attach_with(&job, &store, options().cut(cut)).await.unwrap();
    has_begun(&job, &archive).await;
    for n in 0..5u8 {
        job.put_acked("m", k([n]), "").await.unwrap();
    }
    let mut progress = archive.watch();
    while progress.next().await.unwrap().archived_seq < 6 {}
}

async fn an_archive_that_was_dropped_goes_on_where_it_ended(root: &TestRoot) {
    let (p, store) = (root.open(), MemoryStore::new());
    let job = p.open_job("alpha").await.unwrap();
    for n in 0..5u8 {
        let archive = attach(&job, &store).await;
        job.put_acked("m", k([n]), "shipped").await.unwrap();
        archive.ship().await.unwrap();
        drop(archive);
        job.put_acked("m", k([n]), "left").await.unwrap();
    }
    let archive = attach(&job, &store).await;
    archive.ship().await.unwrap();
    assert_eq!(segments(&store).await.last().unwrap().1, 10);
    assert_eq!(restored(&p, &store, RestoreTo::Latest).await, rows(&job, "m").await);
    assert_eq!(reader(&store).await.verify().await.unwrap().restorable, [(0, 10)]);
}

async fn a_job_that_was_reopened_is_shipped_on(root: &TestRoot) {
    let store = MemoryStore::new();
    for n in 0..3u8 {
        let p = root.open();
        let job = p.open_job("alpha").await.unwrap();
        let archive = attach(&job, &store).await;
        job.put_acked("m", k([n]), "").await.unwrap();
        archive.ship().await.unwrap();
        job.put_acked("m", k([n]), "left").await.unwrap();
        archive.stop().await;
        p.close().await.unwrap();
    }
    let p = root.open();
    let job = p.open_job("alpha").await.unwrap();
    attach(&job, &store).await.close().await.unwrap();
    assert_eq!(reader(&store).await.verify().await.unwrap().restorable, [(0, 6)]);
    assert_eq!(restored(&p, &store, RestoreTo::Latest).await, rows(&job, "m").await);
}

async fn an_archive_that_was_stopped_says_so_and_keeps_the_log(root: &TestRoot) {
    let (job, store) = (root.job().await, MemoryStore::new());
    let archive = attach(&job, &store).await;
    archive.ship().await.unwrap();
    job.put_acked("m", k("a"), "").await.unwrap();
    archive.stop().await;
    archive.stop().await;
    assert!(matches!(archive.progress().state, ArchiveState::Ended { error: None }));
    assert_eq!(kind(archive.wait_archived(1).await), ErrorKind::Closed);
    assert_eq!(job.info().await.unwrap().log_holders, [("archive/backup".to_owned(), 0)]);
    assert_eq!(attach(&job, &store).await.ship().await.unwrap(), 1);
}

async fn closing_ships_what_is_left_and_can_be_repeated(root: &TestRoot) {
    let (job, store) = (root.job().await, MemoryStore::new());
    let archive = attach(&job, &store).await;
    put_all(&job, "m", ["a"]).await;
    assert_eq!(archive.close().await.unwrap(), 1);
    assert_eq!(archive.close().await.unwrap(), 1);
    put_all(&job, "m", ["b"]).await;
    let faulty = FaultyStore::new(store, Clock::system());
    let archive = attach(&job, &faulty).await;
    faulty.set_down(true);
    let failed = archive.close().await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Backend);
    assert!(failed.message().contains("archived is seq 1, 1 less"), "{failed}");
    assert!(matches!(archive.progress().state, ArchiveState::Ended { .. }));
}

async fn an_archive_of_a_later_life_is_not_continued_by_an_earlier_one(root: &TestRoot) {
    let (p, store) = (root.open(), MemoryStore::new());
    let (old, new) = (p.open_job("old").await.unwrap(), p.open_job("new").await.unwrap());
    attach(&old, &store).await.close().await.unwrap();
    attach(&old, &store).await.close().await.unwrap();
    attach(&new, &store).await.close().await.unwrap();
    old.release_log("archive/backup").await.unwrap();
    assert_eq!(kind(attach_with(&old, &store, options()).await), ErrorKind::Conflict);
    assert_eq!(old.info().await.unwrap().log_holders, [], "nobody would let go of it");
    attach(&new, &store).await.close().await.unwrap();
}

async fn a_job_that_was_created_again_begins_a_new_life(root: &TestRoot) {
    let (p, store) = (root.open(), MemoryStore::new());
    let job = p.open_job("alpha").await.unwrap();
    put_all(&job, "m", ["first"]).await;
    attach(&job, &store).await.close().await.unwrap();
    let first_life = job.position().await.unwrap().generation;
    p.drop_job("alpha").await.unwrap();
    let job = p.open_job("alpha").await.unwrap();
    let archive = attach(&job, &store).await;
    put_all(&job, "m", ["second"]).await;
    archive.close().await.unwrap();
    assert_eq!(restored(&p, &store, RestoreTo::Latest).await[0].0, b"second");
    let earlier = ArchiveReader::open_generation(Arc::new(store), "backup", first_life).unwrap();
    earlier.restore(&p, "restored", RestoreTo::Latest, |_| {}).await.unwrap();
    assert_eq!(rows(&p.open_job("restored").await.unwrap(), "m").await[0].0, b"first");
}

async fn an_archive_ends_with_its_job(root: &TestRoot) {
    let (p, store) = (root.open(), MemoryStore::new());
    let job = p.open_job("alpha").await.unwrap();
    let archive = attach(&job, &store).await;
    archive.ship().await.unwrap();
    p.close_job("alpha").await.unwrap();
    assert_eq!(kind(archive.wait_archived(1).await), ErrorKind::Closed);
    assert!(matches!(archive.progress().state, ArchiveState::Ended { error: Some(_) }));
    for _ in 0..2 {
        assert_eq!(kind(archive.close().await), ErrorKind::Closed, "what ended it");
    }
}

async fn an_archive_that_lets_go_of_the_log_begins_with_a_base_again(root: &TestRoot) {
    let (p, store) = (root.open(), MemoryStore::new());
    let job = p.open_job("alpha").await.unwrap();
    let archive = attach(&job, &store).await;
    put_all(&job, "m", ["a"]).await;
    archive.ship().await.unwrap();
    archive.detach().await.unwrap();
    assert_eq!(job.info().await.unwrap().log_holders, []);
    put_all(&job, "m", ["b"]).await;
    put_all(&job, "m", ["c"]).await;
    let archive = attach(&job, &store).await;
    assert_eq!(archive.ship().await.unwrap(), 3);
    put_all(&job, "m", ["d"]).await;
    archive.ship().await.unwrap();
    assert_eq!(restored(&p, &store, RestoreTo::Latest).await, rows(&job, "m").await);
    assert_eq!(restored(&p, &store, RestoreTo::Seq(1)).await.len(), 1);
    assert_eq!(restored(&p, &store, RestoreTo::Seq(3)).await.len(), 3);
    let reader = reader(&store).await;
    let gap = reader.restore(&p, "restored", RestoreTo::Seq(2), |_| {}).await;
    assert_eq!(kind(gap), ErrorKind::InvalidArgument);
    assert_eq!(reader.verify().await.unwrap().restorable, [(0, 1), (3, 4)]);
}

async fn a_job_that_is_only_read_is_not_shipped(root: &TestRoot) {
    if SHARED || !root.persists() {
        return;
    }
    let p = root.open();
    p.open_job("alpha").await.unwrap();
    p.close().await.unwrap();
    let options_of_it = JobOptions::new().mode(OpenMode::ReadOnly);
    let job = root.open().open_job_with("alpha", options_of_it).await.unwrap();
    let refused = attach_with(&job, &MemoryStore::new(), options()).await;
    assert_eq!(kind(refused), ErrorKind::Unsupported);
}

async fn advances_are_told_and_a_slow_callback_stalls_nobody(root: &TestRoot) {
    let (job, store) = (root.job().await, MemoryStore::new());
    let archive = attach(&job, &store).await;
    let (told, mut seqs) = tokio::sync::mpsc::unbounded_channel();
    archive
        .on_archived(move |seq| {
            let told = told.clone();
            async move { told.send(seq).unwrap_or_default() }
        })
        .unwrap();
    archive.on_archived(|_| std::future::pending()).unwrap();
    for n in 0..5u8 {
        job.put_acked("m", k([n]), "").await.unwrap();
        archive.ship().await.unwrap();
    }
    let mut last = 0;
    while last < 5 {
        let seq = seqs.recv().await.unwrap();
        assert!(seq > last);
        last = seq;
    }
}

async fn progress_can_be_followed(root: &TestRoot) {
    let (job, store) = (root.job().await, MemoryStore::new());
    let archive = attach(&job, &store).await;
    let progress = archive.watch().into_stream();
    put_all(&job, "m", ["a"]).await;
    archive.close().await.unwrap();
    let seen: Vec<_> = progress.collect().await;
    assert!(seen.is_sorted_by_key(|progress| progress.archived_seq));
    let last = seen.last().unwrap();
    assert!(last.archived_seq == 1 && matches!(last.state, ArchiveState::Ended { error: None }));
}

async fn bad_options_are_refused(root: &TestRoot) {
    let (job, store) = (root.job().await, MemoryStore::new());
    let bad = [
        options().name(""),
        options().cut(on_demand().commits(0)),
        options().cut(on_demand().bytes(0)),
        options().base_after_bytes(0),
    ];
    for options in bad {
        assert_eq!(kind(attach_with(&job, &store, options).await), ErrorKind::InvalidArgument);
    }
    let long = options().name("x".repeat(65));
    assert_eq!(kind(attach_with(&job, &store, long).await), ErrorKind::TooLarge);
    for bad in [ArchiverOptions::new().max_in_flight(0), ArchiverOptions::new().max_attempts(0)] {
        assert_eq!(kind(Archiver::new(bad)), ErrorKind::InvalidArgument);
    }
    assert_eq!(job.info().await.unwrap().log_holders, [], "nothing was held");
    let missing = ArchiveReader::open(Arc::new(store), "backup").await;
    assert_eq!(kind(missing), ErrorKind::JobNotFound);
}
