//! Facts about what a job tells of itself, and how it is looked after.

use persistency::{Batch, Job, JobOptions, LogRetention, OpenMode, key};

use crate::common::{SHARED, TestRoot, failing, k, rows};

facts! {
    everywhere:
        info_tells_what_the_job_is,
        stats_count_what_the_job_did,
        a_sound_job_has_no_findings,
        compacting_changes_nothing_that_is_stored,
        the_root_is_told_as_it_was_given;
    on_disk:
        compacting_gives_room_back,
        a_hold_for_while_a_job_is_open_ends_when_nobody_has_it_open;
}

async fn info_tells_what_the_job_is(root: &TestRoot) {
    let p = root.open();
    let log = LogRetention::LastBytes(123_456);
    let job = p.open_job_with("a/b", JobOptions::new().log(log)).await.unwrap();
    let info = job.info().await.unwrap();
    assert_eq!((info.id.as_str(), info.committed_seq, info.durable_seq), ("a/b", 0, 0));
    assert_eq!((info.mode, info.log, info.log_first_seq), (OpenMode::Create, log, 1));
    assert_eq!(info.shared, SHARED && root.persists());
    assert_ne!(info.generation, [0; 16]);
    // 2020 or later: it is the time in milliseconds.
    assert!(info.created_ms > 1_577_836_800_000);
    job.put_acked("m", k("a"), "").await.unwrap();
    job.flush().await.unwrap();
    let after = job.info().await.unwrap();
    assert_eq!((after.committed_seq, after.durable_seq), (1, 1));
    assert_eq!((after.generation, after.created_ms), (info.generation, info.created_ms));
}

async fn stats_count_what_the_job_did(root: &TestRoot) {
    let job = root.job().await;
    let stats = job.stats();
    assert_eq!((stats.batches_committed, stats.batches_failed, stats.syncs), (0, 0, 0));
    for key in 0..50u8 {
        job.persist_put("m", k([key]), "").await.unwrap();
    }
    job.persist_acked(failing()).await.unwrap_err();
    let reads = job.stats().reads;
    job.get("m", k("a")).await.unwrap();
    job.count("m", ..).await.unwrap();
    let stats = job.stats();
    assert_eq!((stats.batches_committed, stats.batches_failed), (50, 1));
    assert!((1..=51).contains(&stats.groups), "{stats:?}");
    assert_eq!(stats.reads, reads + 2);
    assert_eq!((stats.queued_operations, stats.queued_bytes), (0, 0));
    job.flush().await.unwrap();
    assert_eq!(job.stats().syncs, u64::from(root.persists()));
}

async fn a_sound_job_has_no_findings(root: &TestRoot) {
    let kept = JobOptions::new().log(LogRetention::LastBytes(1 << 20));
    let job = root.open().open_job_with("alpha", kept).await.unwrap();
    assert!(job.check().await.unwrap().is_empty());
    for round in 0..5u8 {
        let batch = Batch::new().put("m", k([round]), vec![round; 100_000]).put("", k(""), [round]);
        job.persist(batch.delete("m", k([round.wrapping_sub(1)]))).await.unwrap();
        assert!(job.check().await.unwrap().is_empty());
    }
    job.persist(Batch::new().clear("m").clear("")).await.unwrap();
    assert!(job.check().await.unwrap().is_empty());
}

async fn compacting_changes_nothing_that_is_stored(root: &TestRoot) {
    let job = root.job().await;
    job.hold_log("holder").await.unwrap();
    for number in 0..50u32 {
        job.persist_put("m", key!(number).unwrap(), vec![7; 1000 * number as usize]).await.unwrap();
    }
    job.persist(Batch::new().delete_range("m", ..key!(25u32).unwrap())).await.unwrap();
    let (before, info) = (rows(&job, "m").await, job.info().await.unwrap());
    job.compact().await.unwrap();
    assert!(rows(&job, "m").await == before);
    let after = job.info().await.unwrap();
    assert_eq!((after.committed_seq, after.generation), (info.committed_seq, info.generation));
    assert_eq!((after.log_first_seq, after.log_holders), (1, info.log_holders));
    assert!(job.check().await.unwrap().is_empty());
    assert_eq!(job.put_acked("m", k("a"), "").await.unwrap(), info.committed_seq + 1);
}

async fn the_root_is_told_as_it_was_given(root: &TestRoot) {
    let p = root.open();
    assert_eq!(p.root(), std::path::Path::new(root.name()));
    assert_eq!(p.clone().root(), p.root());
}

async fn compacting_gives_room_back(root: &TestRoot) {
    let job = root.job().await;
    for number in 0..100u32 {
        job.persist_put("m", key!(number).unwrap(), vec![7; 50_000]).await.unwrap();
    }
    job.flush().await.unwrap();
    let full = job.info().await.unwrap().bytes;
    job.persist_acked(Batch::new().clear("m")).await.unwrap();
    job.compact().await.unwrap();
    job.flush().await.unwrap();
    let Some(bytes) = job.info().await.unwrap().bytes else {
        // A browser does not tell what one database occupies.
        assert!(SHARED && full.is_none());
        return;
    };
    assert!(full.unwrap() >= 5_000_000 && bytes < 1_000_000, "{full:?} became {bytes}");
}

async fn a_hold_for_while_a_job_is_open_ends_when_nobody_has_it_open(root: &TestRoot) {
    let p = root.open();
    let job = p.open_job("alpha").await.unwrap();
    let holders = async |job: &Job| job.info().await.unwrap().log_holders;
    job.hold_log("while-open/a").await.unwrap();
    job.hold_log("while-open/b").await.unwrap();
    job.persist_acked(Batch::new().put("m", k("a"), "")).await.unwrap();
    job.hold_log("other").await.unwrap();
    if SHARED {
        let tab = root.open();
        let beside = tab.open_job("alpha").await.unwrap();
        assert_eq!(holders(&beside).await.len(), 3, "it may be of use to the first one");
        tab.close().await.unwrap();
        assert_eq!(holders(&job).await.len(), 3);
    }
    p.close().await.unwrap();
    let job = loop {
        let p = root.open();
        let job = p.open_job("alpha").await.unwrap();
        // A browser may let go of the lock of a tab that is closed some time after.
        if holders(&job).await.len() == 1 || !SHARED {
            break job;
        }
        p.close().await.unwrap();
    };
    assert_eq!(holders(&job).await, [("other".to_owned(), 1)]);
    assert_eq!(job.info().await.unwrap().log_first_seq, 2, "what only they held has gone");
}
