//! Facts about receipts, seqs and the two watermarks: accepted, committed, durable.

use futures_util::future::{join_all, join3};
use futures_util::{FutureExt, poll};
use persistency::{Batch, Durability, ErrorKind, JobOptions};

use crate::common::{TestRoot, failing, k, kind};

facts! {
    everywhere:
        seqs_count_committed_batches_from_one,
        a_batch_takes_a_seq_whether_or_not_a_row_differs,
        an_empty_batch_answers_the_current_seq,
        a_receipt_answers_every_time_it_is_asked,
        a_dropped_receipt_changes_nothing,
        a_dropped_future_of_an_accepted_batch_changes_nothing,
        what_is_durable_is_committed,
        flush_makes_everything_accepted_before_durable,
        flush_with_nothing_to_do_returns,
        seq_watches_reach_what_is_committed_and_durable,
        a_seq_watch_ends_with_the_job,
        strict_commits_are_durable_at_once,
        a_failed_batch_is_neither_committed_nor_durable,
        receipts_may_be_asked_after_the_job_was_closed;
    on_disk: a_relaxed_commit_is_durable_once_somebody_asks;
    in_memory: every_commit_in_memory_is_durable;
}

async fn seqs_count_committed_batches_from_one(root: &TestRoot) {
    let job = root.job().await;
    assert_eq!((job.committed_seq(), job.durable_seq()), (0, 0));
    let receipts = join_all((0..20u8).map(|key| job.persist_put("m", k([key]), ""))).await;
    for (seq, receipt) in (1..).zip(receipts) {
        assert_eq!(receipt.unwrap().committed().await.unwrap(), seq);
    }
    assert_eq!(job.put_acked("m", k("a"), "").await.unwrap(), 21);
    let many = (0..100u8).fold(Batch::new(), |batch, key| batch.put("m", k([key]), ""));
    assert_eq!(job.persist_acked(many).await.unwrap(), 22, "a batch takes one seq");
    assert_eq!(job.committed_seq(), 22);
    assert_eq!(job.info().await.unwrap().committed_seq, 22);
    assert_eq!(job.position().await.unwrap().seq, 22);
}

async fn a_batch_takes_a_seq_whether_or_not_a_row_differs(root: &TestRoot) {
    let job = root.job().await;
    assert_eq!(job.persist_delete("m", k("a")).await.unwrap().committed().await.unwrap(), 1);
    assert_eq!(job.persist_acked(Batch::new().clear("m")).await.unwrap(), 2);
    assert_eq!(job.persist_acked(Batch::new().delete_range("m", k("b")..k("a"))).await.unwrap(), 3);
    assert_eq!(job.put_acked("m", k("a"), "same").await.unwrap(), 4);
    assert_eq!(job.put_acked("m", k("a"), "same").await.unwrap(), 5);
    assert!(!job.delete_acked("m", k("b")).await.unwrap());
    assert_eq!(job.committed_seq(), 6);
}

async fn an_empty_batch_answers_the_current_seq(root: &TestRoot) {
    let job = root.job().await;
    assert_eq!(job.persist_acked(Batch::new()).await.unwrap(), 0);
    job.persist_put("m", k("a"), "").await.unwrap();
    let between = job.persist(Batch::new()).await.unwrap();
    job.persist_put("m", k("b"), "").await.unwrap();
    assert_eq!(between.committed().await.unwrap(), 1);
    assert_eq!(between.durable().await.unwrap(), 1);
    assert_eq!(job.persist_acked(Vec::new()).await.unwrap(), 2);
    assert_eq!(job.put_acked("m", k("c"), "").await.unwrap(), 3);
}

async fn a_receipt_answers_every_time_it_is_asked(root: &TestRoot) {
    let job = root.job().await;
    let receipt = job.persist_put("m", k("a"), "").await.unwrap();
    let (first, second, durable) = join3(receipt.committed(), receipt.committed(), receipt.durable()).await;
    assert_eq!((first.unwrap(), second.unwrap(), durable.unwrap()), (1, 1, 1));
    assert_eq!(receipt.committed().await.unwrap(), 1);
    assert_eq!(receipt.durable().await.unwrap(), 1);
    let refused = job.persist(failing()).await.unwrap();
    for _ in 0..2 {
        assert_eq!(kind(refused.committed().await), ErrorKind::Conflict);
        assert_eq!(kind(refused.durable().await), ErrorKind::Conflict);
    }
}

async fn a_dropped_receipt_changes_nothing(root: &TestRoot) {
    let job = root.job().await;
    for key in 0..10u8 {
        drop(job.persist_put("m", k([key]), "").await.unwrap());
    }
    job.flush().await.unwrap();
    assert_eq!(job.committed_seq(), 10);
    assert_eq!(job.count("m", ..).await.unwrap(), 10);
}

async fn a_dropped_future_of_an_accepted_batch_changes_nothing(root: &TestRoot) {
    let job = root.job().await;
    for key in 0..10u8 {
        // Polled once, it is accepted; whether it has been answered by then does not matter.
        drop(job.put_acked("m", k([key]), "").now_or_never());
        let receipt = job.persist_put("m", k([key, 0]), "").await.unwrap();
        drop(poll!(std::pin::pin!(receipt.committed())));
        drop(poll!(std::pin::pin!(receipt.durable())));
        drop(job.delete_acked("m", k("none")).now_or_never());
        drop(poll!(std::pin::pin!(job.flush())));
    }
    assert_eq!(job.count("m", ..).await.unwrap(), 20);
    job.flush().await.unwrap();
    assert_eq!(job.committed_seq(), 30);
}

async fn what_is_durable_is_committed(root: &TestRoot) {
    let job = root.job().await;
    for key in 0..10u8 {
        let receipt = job.persist_put("m", k([key]), "").await.unwrap();
        if key % 2 == 0 {
            let seq = receipt.durable().await.unwrap();
            assert!(job.durable_seq() >= seq && job.committed_seq() >= job.durable_seq());
        }
    }
}

async fn flush_makes_everything_accepted_before_durable(root: &TestRoot) {
    let job = root.job().await;
    for round in 1..=5u8 {
        for key in 0..20u8 {
            job.persist_put("m", k([round, key]), "").await.unwrap();
        }
        job.flush().await.unwrap();
        let seq = u64::from(round) * 20;
        assert_eq!((job.committed_seq(), job.durable_seq()), (seq, seq));
        assert_eq!(job.info().await.unwrap().durable_seq, seq);
    }
    let (first, second, third) = join3(job.flush(), job.flush(), job.flush()).await;
    first.and(second).and(third).unwrap();
}

async fn flush_with_nothing_to_do_returns(root: &TestRoot) {
    let job = root.job().await;
    job.flush().await.unwrap();
    assert_eq!(job.committed_seq(), 0);
    job.put_acked("m", k("a"), "").await.unwrap();
    job.flush().await.unwrap();
    let syncs = job.stats().syncs;
    job.flush().await.unwrap();
    assert_eq!(job.stats().syncs, syncs, "what is durable is not synced again");
}

async fn seq_watches_reach_what_is_committed_and_durable(root: &TestRoot) {
    let job = root.job().await;
    let (mut committed, mut durable) = (job.watch_committed_seq(), job.watch_durable_seq());
    assert_eq!((committed.seq(), durable.seq()), (0, 0));
    assert_eq!(committed.at_least(0).await.unwrap(), 0);
    for key in 0..3u8 {
        job.persist_put("m", k([key]), "").await.unwrap();
    }
    assert!(committed.at_least(3).await.unwrap() >= 3);
    assert_eq!(committed.seq(), 3);
    let (reached, flushed) = futures_util::future::join(durable.at_least(3), job.flush()).await;
    assert_eq!(reached.unwrap(), 3);
    flushed.unwrap();
    assert_eq!(committed.clone().at_least(2).await.unwrap(), 3);
}

async fn a_seq_watch_ends_with_the_job(root: &TestRoot) {
    let p = root.open();
    let job = p.open_job("alpha").await.unwrap();
    job.put_acked("m", k("a"), "").await.unwrap();
    let mut watch = job.watch_committed_seq();
    let mut later = watch.clone();
    let (waited, closed) = futures_util::future::join(watch.at_least(2), p.close_job("alpha")).await;
    closed.unwrap();
    assert_eq!(kind(waited), ErrorKind::Closed);
    assert_eq!(kind(later.at_least(2).await), ErrorKind::Closed);
    assert_eq!(later.at_least(1).await.unwrap(), 1, "what was reached stays reached");
}

async fn strict_commits_are_durable_at_once(root: &TestRoot) {
    let p = root.open();
    let strict = JobOptions::new().durability(Durability::Strict);
    let job = p.open_job_with("alpha", strict).await.unwrap();
    for seq in 1..=5u64 {
        assert_eq!(job.put_acked("m", k("a"), "").await.unwrap(), seq);
        assert_eq!(job.durable_seq(), seq);
        assert_eq!(job.info().await.unwrap().durable_seq, seq);
    }
    assert_eq!(job.stats().syncs, 0, "the commits were durable themselves");
}

async fn a_failed_batch_is_neither_committed_nor_durable(root: &TestRoot) {
    let job = root.job().await;
    let receipt = job.persist(failing()).await.unwrap();
    assert_eq!(kind(receipt.durable().await), ErrorKind::Conflict);
    job.flush().await.unwrap();
    assert_eq!((job.committed_seq(), job.durable_seq()), (0, 0));
    assert!(!job.exists("m", k("never")).await.unwrap());
}

async fn receipts_may_be_asked_after_the_job_was_closed(root: &TestRoot) {
    let p = root.open();
    let job = p.open_job("alpha").await.unwrap();
    let good = job.persist_put("m", k("a"), "").await.unwrap();
    let bad = job.persist(failing()).await.unwrap();
    // Its error has no reader yet, so closing reports it.
    assert_eq!(kind(p.close_job("alpha").await), ErrorKind::Conflict);
    assert_eq!(good.committed().await.unwrap(), 1);
    assert_eq!(good.durable().await.unwrap(), 1);
    assert_eq!(kind(bad.committed().await), ErrorKind::Conflict);
}

async fn a_relaxed_commit_is_durable_once_somebody_asks(root: &TestRoot) {
    let job = root.job().await;
    let mut seq = 0;
    for _ in 0..5 {
        seq = job.put_acked("m", k("a"), "").await.unwrap();
    }
    assert_eq!((job.committed_seq(), job.durable_seq()), (seq, 0));
    assert_eq!(job.stats().syncs, 0);
    let receipt = job.persist_put("m", k("b"), "").await.unwrap();
    assert_eq!(receipt.durable().await.unwrap(), seq + 1);
    assert_eq!(job.durable_seq(), seq + 1);
    job.put_acked("m", k("c"), "").await.unwrap();
    assert_eq!(job.durable_seq(), seq + 1);
    job.flush().await.unwrap();
    assert_eq!(job.durable_seq(), seq + 2);
}

async fn every_commit_in_memory_is_durable(root: &TestRoot) {
    let job = root.job().await;
    for seq in 1..=3 {
        job.put_acked("m", k("a"), "").await.unwrap();
        assert_eq!((job.committed_seq(), job.durable_seq()), (seq, seq));
        assert_eq!(job.info().await.unwrap().durable_seq, seq);
    }
}
