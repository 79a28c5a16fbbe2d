//! Facts about restores that are cut short: the next one goes on, and no half of one is ever a job.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use persistency::archive::{ArchiveReader, FaultyStore, MemoryStore, RestoreProgress, RestoreTo, StoreFault};
use persistency::{Clock, ErrorKind, JobOptions, OpenMode, Persistency, Result};

use super::{attach_with, on_demand, options, reader, restored};
use crate::common::{SHARED, TestRoot, k, kind, rows};

facts! {
    everywhere:
        a_restore_that_is_cut_short_anywhere_can_be_made_to_any_moment,
        a_job_that_is_opened_after_a_restore_was_cut_short_is_a_new_one,
        an_import_does_not_go_on_with_what_a_restore_has_left;
    on_disk:
        a_restore_that_failed_goes_on_where_it_stopped,
        a_restore_that_was_dropped_goes_on_where_it_stopped,
        a_restore_goes_on_behind_another_root,
        a_restore_does_not_go_on_from_a_base_that_was_pruned,
        a_job_that_somebody_else_restores_is_left_alone;
}

/// Rows, each the seq of its commit; more than one batch of a restore.
const ROWS: u8 = 6;
const ROW_BYTES: usize = 2_500_000;

/// A base of two pieces, and four commits of a segment each.
async fn six_rows(p: &Persistency) -> MemoryStore {
    let store = MemoryStore::new();
    let job = p.open_job("alpha").await.unwrap();
    let put = async |n: u8| job.put_acked("m", k([n]), vec![n; ROW_BYTES]).await.unwrap();
    for n in 1..=2 {
        put(n).await;
    }
    let cut = on_demand().commits(1).bytes(ROW_BYTES as u64);
    let archive = attach_with(&job, &store, options().cut(cut)).await.unwrap();
    archive.ship().await.unwrap();
    for n in 3..=ROWS {
        put(n).await;
    }
    archive.close().await.unwrap();
    store
}

/// A store that fails at the call of this number, for a reader that has been opened already.
async fn failing(store: &MemoryStore, call: usize) -> (FaultyStore<MemoryStore>, ArchiveReader) {
    let generation = reader(store).await.generation();
    let faulty = FaultyStore::new(store.clone(), Clock::system());
    faulty.next(std::iter::repeat_n(None, call).chain([Some(StoreFault::Error)]));
    let opened = ArchiveReader::open_generation(Arc::new(faulty.clone()), "backup", generation).unwrap();
    (faulty, opened)
}

/// Restores from a store that fails at the call of this number; tells what was told.
async fn restore(
    p: &Persistency,
    store: &MemoryStore,
    call: usize,
    to: RestoreTo,
) -> (Result<()>, Vec<RestoreProgress>) {
    let (_, reader) = failing(store, call).await;
    let mut told = Vec::new();
    let restored = reader.restore(p, "restored", to, |progress| told.push(progress)).await;
    (restored.map(drop), told)
}

async fn a_restore_that_is_cut_short_anywhere_can_be_made_to_any_moment(root: &TestRoot) {
    let p = root.open();
    let store = six_rows(&p).await;
    let moments = [(RestoreTo::Latest, ROWS), (RestoreTo::Seq(3), 3), (RestoreTo::Seq(5), 5)];
    let mut cuts = 0;
    for call in 0.. {
        let (cut, _) = restore(&p, &store, call, moments[call % 3].0).await;
        if cut.is_ok() && call % 3 == 0 {
            break;
        }
        cuts += usize::from(cut.is_err());
        if cut.is_ok() {
            p.drop_job("restored").await.unwrap();
        }
        assert_eq!(p.list_jobs().await.unwrap(), ["alpha"], "{call}");
        let (to, rows) = moments[(call + call / 3) % 3];
        let found = restored(&p, &store, to).await;
        assert!(found.iter().all(|(key, row)| row.len() == ROW_BYTES && row[0] == key[0]), "{call}");
        assert_eq!(found.len(), usize::from(rows), "{call}");
    }
    assert!(cuts >= 8, "only {cuts} calls were made to fail");
}

async fn a_job_that_is_opened_after_a_restore_was_cut_short_is_a_new_one(root: &TestRoot) {
    let p = root.open();
    let store = six_rows(&p).await;
    restore(&p, &store, 8, RestoreTo::Latest).await.0.unwrap_err();
    let job = p.open_job("restored").await.unwrap();
    assert_eq!((job.committed_seq(), rows(&job, "m").await), (0, Vec::new()));
    assert_eq!(p.list_jobs().await.unwrap(), ["alpha", "restored"]);
    let refused = restore(&p, &store, 1_000, RestoreTo::Latest).await.0;
    assert_eq!(kind(refused), ErrorKind::Conflict);
}

async fn an_import_does_not_go_on_with_what_a_restore_has_left(root: &TestRoot) {
    let p = root.open();
    let store = six_rows(&p).await;
    restore(&p, &store, 8, RestoreTo::Latest).await.0.unwrap_err();
    let other = p.open_job("other").await.unwrap();
    other.put_acked("n", k("a"), "").await.unwrap();
    let (mut export, mut import) = (other.export().await.unwrap(), p.import_job("restored").await.unwrap());
    while let Some(bytes) = export.next().await {
        import.push(&bytes.unwrap()).await.unwrap();
    }
    import.finish().await.unwrap();
    let job = p.open_job("restored").await.unwrap();
    assert_eq!(job.categories().await.unwrap(), ["n"]);
}

/// Has the restore go on, and says how many calls that took, and with what rows and seq it began.
async fn goes_on(p: &Persistency, store: &MemoryStore) -> (u64, RestoreProgress) {
    let (counting, reader) = failing(store, 1_000).await;
    let mut told = Vec::new();
    reader.restore(p, "restored", RestoreTo::Latest, |progress| told.push(progress)).await.unwrap();
    let found = rows(&p.open_job("restored").await.unwrap(), "m").await;
    assert!(found.len() == usize::from(ROWS) && found.iter().all(|(key, row)| row[0] == key[0]));
    p.drop_job("restored").await.unwrap();
    (counting.calls(), told[0])
}

async fn a_restore_that_failed_goes_on_where_it_stopped(root: &TestRoot) {
    let p = root.open();
    let store = six_rows(&p).await;
    let (whole, _) = goes_on(&p, &store).await;
    let last = usize::try_from(whole).unwrap() - 1;
    let (cut, told) = restore(&p, &store, last, RestoreTo::Latest).await;
    assert_eq!(kind(cut), ErrorKind::Backend);
    let (calls, first) = goes_on(&p, &store).await;
    assert!(calls < whole, "{calls} of {whole} calls");
    assert!(first.seq >= told.last().unwrap().seq && first.rows == 2, "{first:?} behind {told:?}");
}

async fn a_restore_that_was_dropped_goes_on_where_it_stopped(root: &TestRoot) {
    let p = root.open();
    let store = six_rows(&p).await;
    let (whole, _) = goes_on(&p, &store).await;
    let (hanging, reader) = failing(&store, 1_000).await;
    let clock = Clock::manual(0);
    let hanging = FaultyStore::new(hanging, clock);
    hanging.by_chance(0, 0, Duration::from_secs(1));
    let last = usize::try_from(whole).unwrap() - 1;
    hanging.next(std::iter::repeat_n(None, last).chain([Some(StoreFault::Delay)]));
    let generation = reader.generation();
    let reader = ArchiveReader::open_generation(Arc::new(hanging.clone()), "backup", generation).unwrap();
    {
        let mut restoring = pin!(reader.restore(&p, "restored", RestoreTo::Latest, |_| {}));
        let job = p.open_job("alpha").await.unwrap();
        while hanging.calls() < whole {
            assert!((&mut restoring).now_or_never().is_none());
            job.position().await.unwrap();
        }
    }
    let (calls, _) = goes_on(&p, &store).await;
    assert!(calls < whole, "{calls} of {whole} calls");
}

async fn a_restore_goes_on_behind_another_root(root: &TestRoot) {
    let p = root.open();
    let store = six_rows(&p).await;
    let (whole, _) = goes_on(&p, &store).await;
    let last = usize::try_from(whole).unwrap() - 1;
    restore(&p, &store, last, RestoreTo::Latest).await.0.unwrap_err();
    p.close().await.unwrap();
    let p = root.open();
    let (calls, _) = goes_on(&p, &store).await;
    assert!(calls < whole, "{calls} of {whole} calls");
}

async fn a_restore_does_not_go_on_from_a_base_that_was_pruned(root: &TestRoot) {
    let p = root.open();
    let store = six_rows(&p).await;
    restore(&p, &store, 9, RestoreTo::Seq(5)).await.0.unwrap_err();
    let job = p.open_job("alpha").await.unwrap();
    let archive = attach_with(&job, &store, options().base_after_bytes(1)).await.unwrap();
    job.delete_acked("m", k([1])).await.unwrap();
    archive.close().await.unwrap();
    reader(&store).await.prune(RestoreTo::Latest).await.unwrap();
    let found = restored(&p, &store, RestoreTo::Latest).await;
    assert_eq!(found.len(), usize::from(ROWS) - 1);
    assert_eq!(found[0].0, [2]);
}

/// Found by reading: another tab that opened the job while it was filled deleted it.
async fn a_job_that_somebody_else_restores_is_left_alone(root: &TestRoot) {
    if !SHARED {
        return;
    }
    let (p, other) = (root.open(), root.open());
    let store = six_rows(&p).await;
    let (_, reader) = failing(&store, 1_000).await;
    let mut tried = 0;
    {
        let mut restoring = pin!(reader.restore(&p, "restored", RestoreTo::Latest, |_| {}).fuse());
        let job = p.open_job("alpha").await.unwrap();
        let done = loop {
            if let Some(done) = (&mut restoring).now_or_never() {
                break done;
            }
            job.position().await.unwrap();
            let must_exist = JobOptions::new().mode(OpenMode::MustExist);
            match other.open_job_with("restored", must_exist).await {
                Ok(job) => assert_eq!(rows(&job, "m").await.len(), usize::from(ROWS), "it was whole"),
                Err(error) if error.kind() == ErrorKind::JobNotFound => {}
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
                    tried += 1;
                }
            }
        };
        done.unwrap();
    }
    assert!(tried > 0);
    assert_eq!(rows(&p.open_job("restored").await.unwrap(), "m").await.len(), usize::from(ROWS));
}
