//! Facts about errors that no receipt returned: a flush or a close reports them, once.

use futures_util::future::join;
use futures_util::poll;
use persistency::{ErrorKind, Job, Outcome};

use crate::common::{SHARED, TestRoot, failing, k, kind};

facts! {
    everywhere:
        an_error_without_a_receipt_is_given_to_the_next_flush_once,
        an_error_that_its_receipt_returned_is_not_reported_again,
        an_error_that_a_receipt_awaits_is_not_reported_again,
        a_receipt_that_was_polled_and_dropped_does_not_hide_the_error,
        flush_reports_the_first_error_and_the_number_of_others,
        flush_reports_only_what_was_accepted_before_it,
        every_flush_that_waits_is_given_the_error,
        a_dropped_flush_takes_no_error_with_it,
        closing_a_job_reports_what_nobody_saw,
        closing_a_root_reports_every_job,
        an_acknowledged_error_is_reported_to_its_caller_alone,
        errors_name_job_category_and_operation;
}

/// Queues a batch that will fail, and forgets its receipt.
async fn fail_unseen(job: &Job) {
    drop(job.persist(failing()).await.unwrap());
}

async fn an_error_without_a_receipt_is_given_to_the_next_flush_once(root: &TestRoot) {
    let job = root.job().await;
    fail_unseen(&job).await;
    job.persist_put("m", k("a"), "").await.unwrap();
    let error = job.flush().await.unwrap_err();
    assert_eq!((error.kind(), error.conflict_index()), (ErrorKind::Conflict, Some(0)), "{error}");
    assert_eq!(error.outcome(), Outcome::NotApplied);
    job.flush().await.unwrap();
    assert!(job.exists("m", k("a")).await.unwrap());
    assert_eq!(job.durable_seq(), 1, "the others became durable all the same");
    assert_eq!(job.stats().batches_failed, 1);
}

async fn an_error_that_its_receipt_returned_is_not_reported_again(root: &TestRoot) {
    let job = root.job().await;
    let receipt = job.persist(failing()).await.unwrap();
    assert_eq!(kind(receipt.committed().await), ErrorKind::Conflict);
    job.flush().await.unwrap();
}

async fn an_error_that_a_receipt_awaits_is_not_reported_again(root: &TestRoot) {
    let job = root.job().await;
    let receipt = job.persist(failing()).await.unwrap();
    let (receipt, flush) = join(receipt.committed(), job.flush()).await;
    assert_eq!(kind(receipt), ErrorKind::Conflict);
    flush.unwrap();
    job.flush().await.unwrap();
}

async fn a_receipt_that_was_polled_and_dropped_does_not_hide_the_error(root: &TestRoot) {
    let job = root.job().await;
    for _ in 0..20 {
        let receipt = job.persist(failing()).await.unwrap();
        let seen = poll!(std::pin::pin!(receipt.committed())).is_ready();
        drop(receipt);
        let flushed = job.flush().await;
        // On another thread the worker may have been faster than the one look at it.
        assert_eq!(flushed.is_err(), !seen);
        job.flush().await.unwrap();
    }
}

async fn flush_reports_the_first_error_and_the_number_of_others(root: &TestRoot) {
    let job = root.job().await;
    let second = persistency::Batch::new().require_absent("m", k("a")).require_present("m", k("b"));
    job.persist(second).await.unwrap();
    for _ in 0..3 {
        fail_unseen(&job).await;
    }
    let error = job.flush().await.unwrap_err();
    assert_eq!(error.conflict_index(), Some(1), "the first one");
    assert!(error.message().contains('3'), "{error}");
    job.flush().await.unwrap();
}

async fn flush_reports_only_what_was_accepted_before_it(root: &TestRoot) {
    let job = root.job().await;
    for _ in 0..20 {
        job.persist_put("m", k("a"), "").await.unwrap();
        let mut flush = std::pin::pin!(job.flush());
        let flushed = poll!(&mut flush);
        fail_unseen(&job).await;
        match flushed {
            std::task::Poll::Ready(flushed) => flushed.unwrap(),
            std::task::Poll::Pending => flush.await.unwrap(),
        }
        assert_eq!(kind(job.flush().await), ErrorKind::Conflict);
    }
}

async fn every_flush_that_waits_is_given_the_error(root: &TestRoot) {
    let job = root.job().await;
    fail_unseen(&job).await;
    let (first, second) = join(job.flush(), job.flush()).await;
    assert_eq!(kind(first), ErrorKind::Conflict);
    // On another thread the batch may have failed before the second flush was asked for.
    assert!(second.is_err() || !SHARED);
    job.flush().await.unwrap();
}

async fn a_dropped_flush_takes_no_error_with_it(root: &TestRoot) {
    let job = root.job().await;
    for _ in 0..20 {
        fail_unseen(&job).await;
        let seen = poll!(std::pin::pin!(job.flush())).is_ready();
        let reported_again = job.flush().await.is_err();
        // On another thread the worker may have answered the dropped flush before it was dropped.
        assert!(!SHARED || reported_again != seen);
        job.flush().await.unwrap();
    }
}

async fn closing_a_job_reports_what_nobody_saw(root: &TestRoot) {
    let p = root.open();
    let job = p.open_job("alpha").await.unwrap();
    for _ in 0..3 {
        fail_unseen(&job).await;
    }
    let receipt = job.persist(failing()).await.unwrap();
    assert_eq!(kind(receipt.committed().await), ErrorKind::Conflict);
    let error = p.close_job("alpha").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.message().contains('2'), "two others: {error}");
    p.close_job("alpha").await.unwrap();
    assert!(!p.has_job("alpha"));
}

async fn closing_a_root_reports_every_job(root: &TestRoot) {
    let p = root.open();
    for id in ["alpha", "beta", "gamma"] {
        let job = p.open_job(id).await.unwrap();
        if id != "beta" {
            fail_unseen(&job).await;
        }
    }
    let error = p.close().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.message().contains('1'), "one other: {error}");
    p.close().await.unwrap();
}

async fn an_acknowledged_error_is_reported_to_its_caller_alone(root: &TestRoot) {
    let job = root.job().await;
    assert_eq!(kind(job.persist_acked(failing()).await), ErrorKind::Conflict);
    let (refused, flushed) = join(job.persist_acked(failing()), job.flush()).await;
    assert_eq!(kind(refused), ErrorKind::Conflict);
    flushed.unwrap();
}

async fn errors_name_job_category_and_operation(root: &TestRoot) {
    let job = root.job().await;
    let long = "c".repeat(256);
    let error = job.persist_put(&long, k("secret key"), "secret payload").await.unwrap_err();
    for part in ["alpha", &long, "persist", "TooLarge"] {
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
    assert!(!error.to_string().contains("secret"), "keys and payloads stay out of messages");
    for (error, operation) in [
        (job.get(&long, k("")).await.unwrap_err(), "get"),
        (job.count(&long, ..).await.unwrap_err(), "count"),
        (job.scan(&long, ..).await.unwrap_err(), "scan"),
        (job.watch(&long, ..).await.unwrap_err(), "watch"),
    ] {
        for part in ["alpha", &long, operation] {
            assert!(error.message().contains(part), "{part}: {error}");
        }
    }
}
