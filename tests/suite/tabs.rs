//! Facts about two roots of one name: in the browser two tabs at one job, natively a second owner.

use futures_util::future::join_all;
use persistency::{Batch, ErrorKind, Job, JobOptions, LogRetention, OpenMode, Position, WatchItem, key};

use crate::common::{SHARED, TestRoot, k, keys, kind, put_all};

facts! {
    on_disk:
        a_second_root_shares_the_job_or_is_refused,
        a_reader_beside_the_owner_sees_what_is_committed,
        seqs_and_preconditions_count_for_both,
        a_watch_tells_what_the_other_committed_from_the_log,
        without_a_log_what_the_other_committed_lags,
        a_job_that_the_other_dropped_is_not_found,
        a_place_that_its_owner_closed_is_free;
}

/// Two roots at one place, each with the job open, or `None` where the second one is refused.
async fn two(root: &TestRoot, options: impl Fn() -> JobOptions) -> Option<(Job, Job)> {
    let (first, second) = (root.open(), root.open());
    let one = first.open_job_with("alpha", options()).await.unwrap();
    let two = second.open_job_with("alpha", options()).await;
    if SHARED {
        return Some((one, two.unwrap()));
    }
    let error = two.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    assert!(error.is_retryable());
    None
}

fn plain() -> JobOptions {
    JobOptions::default()
}

fn kept() -> JobOptions {
    JobOptions::new().log(LogRetention::LastBytes(1 << 30))
}

async fn a_second_root_shares_the_job_or_is_refused(root: &TestRoot) {
    let Some((one, two)) = two(root, plain).await else {
        let second = root.open();
        assert_eq!(kind(second.open_job("beta").await), ErrorKind::Busy, "the root has one owner");
        assert_eq!(kind(second.drop_job("alpha").await), ErrorKind::Busy);
        // Who only looks needs not own it.
        assert_eq!(second.list_jobs().await.unwrap(), ["alpha"]);
        return;
    };
    assert_eq!(one.info().await.unwrap().generation, two.info().await.unwrap().generation);
    assert!(one.info().await.unwrap().shared && two.info().await.unwrap().shared);
    for round in 0..10u8 {
        let (writer, reader) = if round % 2 == 0 { (&one, &two) } else { (&two, &one) };
        writer.put_acked("m", k("a"), [round]).await.unwrap();
        assert_eq!(reader.get("m", k("a")).await.unwrap().unwrap(), [round]);
        writer.put_acked("m", k([round]), "").await.unwrap();
        assert_eq!(reader.count("m", ..).await.unwrap(), u64::from(round) + 2);
    }
    one.flush().await.unwrap();
    assert!(two.check().await.unwrap().is_empty());
}

async fn a_reader_beside_the_owner_sees_what_is_committed(root: &TestRoot) {
    let owner = root.open().open_job("alpha").await.unwrap();
    put_all(&owner, "m", ["a"]).await;
    let read_only = JobOptions::new().mode(OpenMode::ReadOnly);
    let reader = root.open().open_job_with("alpha", read_only).await.unwrap();
    assert_eq!(keys(&reader, "m").await, [b"a".to_vec()]);
    put_all(&owner, "m", ["b"]).await;
    assert_eq!(keys(&reader, "m").await, [b"a".to_vec(), b"b".to_vec()]);
    assert_eq!(kind(reader.put_acked("m", k("c"), "").await), ErrorKind::Unsupported);
    let info = reader.info().await.unwrap();
    assert_eq!((info.committed_seq, info.mode, info.shared), (2, OpenMode::ReadOnly, true));
    put_all(&owner, "m", ["c"]).await;
    assert_eq!(reader.count("m", ..).await.unwrap(), 3);
}

async fn seqs_and_preconditions_count_for_both(root: &TestRoot) {
    let Some((one, two)) = two(root, plain).await else { return };
    assert_eq!(one.put_acked("m", k("a"), "1").await.unwrap(), 1);
    assert_eq!(two.put_acked("m", k("b"), "2").await.unwrap(), 2);
    let create = || Batch::new().require_absent("m", k("b")).put("m", k("c"), "");
    assert_eq!(kind(one.persist_acked(create()).await), ErrorKind::Conflict);
    assert!(one.delete_acked("m", k("b")).await.unwrap());
    assert!(!two.delete_acked("m", k("b")).await.unwrap());

    // Both write at once: every seq is given out once, and each keeps its own order.
    let write = async |job: &Job, name: &str| {
        let mut seqs = Vec::new();
        for number in 0..30u8 {
            let receipt = job.persist_put(name, k([number]), "").await.unwrap();
            if number % 3 == 0 {
                seqs.push(receipt.committed().await.unwrap());
            } else {
                seqs.push(job.put_acked("both", key!(name, number).unwrap(), "").await.unwrap());
            }
        }
        assert!(seqs.is_sorted());
        seqs
    };
    let both = [(&one, "one"), (&two, "two")];
    let mut seqs: Vec<u64> =
        join_all(both.map(|(job, name)| write(job, name))).await.into_iter().flatten().collect();
    let last = one.position().await.unwrap().seq;
    assert_eq!(last, 4 + 30 * 2 + 20 * 2);
    seqs.sort_unstable();
    seqs.dedup();
    assert_eq!(seqs.len(), 60);
    assert_eq!(two.count("both", ..).await.unwrap(), 40);
    assert_eq!(two.position().await.unwrap().seq, last);
}

async fn a_watch_tells_what_the_other_committed_from_the_log(root: &TestRoot) {
    let Some((one, two)) = two(root, kept).await else { return };
    let mut watch = two.watch("m", ..).await.unwrap();
    for key in 0..10u8 {
        let writer = if key % 2 == 0 { &one } else { &two };
        writer.put_acked("m", k([key]), [key]).await.unwrap();
    }
    let mut writers = Vec::new();
    for key in 0..10u8 {
        let WatchItem::Commit(commit) = watch.next().await.unwrap().unwrap() else { panic!("a commit") };
        assert_eq!((commit.seq, commit.operations.len()), (u64::from(key) + 1, 1));
        writers.push(commit.writer);
    }
    assert_eq!(writers[0], writers[2]);
    assert_ne!(writers[0], writers[1]);
    let begin = Position { seq: 0, ..two.position().await.unwrap() };
    let mut log = two.log_from(begin).await.unwrap();
    for seq in 1..=10 {
        let WatchItem::Commit(commit) = log.next().await.unwrap().unwrap() else { panic!("a commit") };
        assert_eq!(commit.seq, seq);
    }
}

async fn without_a_log_what_the_other_committed_lags(root: &TestRoot) {
    let Some((one, two)) = two(root, plain).await else { return };
    let mut watch = two.watch("m", ..).await.unwrap();
    one.put_acked("m", k("a"), "").await.unwrap();
    one.put_acked("n", k("a"), "").await.unwrap();
    let mut told = 0;
    while told < 2 {
        let WatchItem::Lagged { from, to } = watch.next().await.unwrap().unwrap() else { panic!("a gap") };
        assert_eq!(from, told + 1);
        told = to;
    }
    assert_eq!(told, 2);
    assert_eq!(two.put_acked("m", k("b"), "").await.unwrap(), 3);
    let WatchItem::Commit(commit) = watch.next().await.unwrap().unwrap() else { panic!("its own commit") };
    assert_eq!(commit.seq, 3);
}

async fn a_job_that_the_other_dropped_is_not_found(root: &TestRoot) {
    if !SHARED {
        return a_reader_finds_a_dropped_job_gone(root).await;
    }
    let (first, second) = (root.open(), root.open());
    let one = first.open_job("alpha").await.unwrap();
    let two = second.open_job("alpha").await.unwrap();
    put_all(&one, "m", ["a"]).await;
    first.drop_job("alpha").await.unwrap();
    assert_eq!(kind(two.put_acked("m", k("b"), "").await), ErrorKind::JobNotFound);
    assert_eq!(kind(two.get("m", k("a")).await), ErrorKind::JobNotFound);
    // Only opening creates: it is another job then.
    let again = second.open_job("alpha").await.unwrap();
    assert!(again.categories().await.unwrap().is_empty());
    assert_eq!(kind(two.get("m", k("a")).await), ErrorKind::JobNotFound);
}

async fn a_reader_finds_a_dropped_job_gone(root: &TestRoot) {
    let owner = root.open();
    put_all(&owner.open_job("alpha").await.unwrap(), "m", ["a"]).await;
    let read_only = JobOptions::new().mode(OpenMode::ReadOnly);
    let reader = root.open().open_job_with("alpha", read_only).await.unwrap();
    assert!(reader.exists("m", k("a")).await.unwrap());
    owner.drop_job("alpha").await.unwrap();
    assert_eq!(kind(reader.get("m", k("a")).await), ErrorKind::JobNotFound);
}

async fn a_place_that_its_owner_closed_is_free(root: &TestRoot) {
    let (first, second) = (root.open(), root.open());
    put_all(&first.open_job("alpha").await.unwrap(), "m", ["a"]).await;
    assert_eq!(second.open_job("alpha").await.is_ok(), SHARED);
    first.close().await.unwrap();
    let job = second.open_job("alpha").await.unwrap();
    assert_eq!(keys(&job, "m").await, [b"a".to_vec()]);
}
