//! Facts about deadlines, with a clock that the test moves: what is late is withdrawn, or done whole.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use persistency::{Batch, Clock, Error, ErrorKind, Job, JobOptions, Outcome, key};

use crate::common::{TestRoot, k};

facts! {
    everywhere:
        no_call_is_late_while_the_clock_stands,
        a_late_write_was_applied_whole_or_not_at_all,
        late_reads_and_flushes_answer_timeout,
        a_job_without_a_deadline_is_never_late,
        a_job_works_on_after_a_timeout;
}

const DEADLINE: Duration = Duration::from_secs(10);

async fn timed(root: &TestRoot, clock: &Clock) -> Job {
    let p = root.open_with_clock(clock.clone());
    p.open_job_with("alpha", JobOptions::new().deadline(DEADLINE)).await.unwrap()
}

fn is_timeout(error: &Error) -> bool {
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(error.is_retryable());
    true
}

async fn no_call_is_late_while_the_clock_stands(root: &TestRoot) {
    let clock = Clock::manual(0);
    let job = timed(root, &clock).await;
    for round in 0..20u8 {
        clock.advance(DEADLINE - Duration::from_millis(1));
        let receipt = job.persist_put("m", k([round]), "").await.unwrap();
        receipt.durable().await.unwrap();
        assert_eq!(job.count("m", ..).await.unwrap(), u64::from(round) + 1);
        job.flush().await.unwrap();
    }
}

async fn a_late_write_was_applied_whole_or_not_at_all(root: &TestRoot) {
    let clock = Clock::manual(0);
    let job = timed(root, &clock).await;
    for round in 0..20u64 {
        let mut receipts = Vec::new();
        for number in 0..20u64 {
            let batch = Batch::new().put("m", key!(round, number).unwrap(), "");
            receipts.push(job.persist(batch.put("n", key!(round, number).unwrap(), "")).await.unwrap());
        }
        clock.advance(DEADLINE);
        for (number, receipt) in (0..).zip(receipts) {
            let key = key!(round, number as u64).unwrap();
            let both = [job.exists("m", key.clone()).await.unwrap(), job.exists("n", key).await.unwrap()];
            match receipt.committed().await {
                Ok(_) => assert_eq!(both, [true, true]),
                Err(error) if error.outcome() == Outcome::NotApplied => {
                    assert!(is_timeout(&error));
                    assert_eq!(both, [false, false]);
                }
                Err(error) => {
                    assert!(is_timeout(&error) && error.outcome() == Outcome::Unknown, "{error}");
                    assert_eq!(both[0], both[1]);
                }
            }
        }
    }
    job.flush().await.unwrap();
}

async fn late_reads_and_flushes_answer_timeout(root: &TestRoot) {
    let clock = Clock::manual(0);
    let job = timed(root, &clock).await;
    let mut late = 0;
    for round in 0..200u32 {
        let batch = (0..200u32).fold(Batch::new(), |batch, key| batch.put("m", key!(key).unwrap(), ""));
        let receipt = job.persist(batch).await.unwrap();
        let calls = [
            job.get("m", k("a")).map(|read| read.err()).boxed_local(),
            job.count("m", ..).map(|read| read.err()).boxed_local(),
            job.scan("m", ..).into_future().map(|read| read.err()).boxed_local(),
            job.flush().map(|flushed| flushed.err()).boxed_local(),
        ];
        let mut calls = join_all(calls);
        // Polled once, they have been asked for; then the clock jumps.
        let early = (&mut calls).now_or_never();
        clock.advance(DEADLINE);
        let errors = match early {
            Some(errors) => errors,
            None => calls.await,
        };
        late += errors.into_iter().flatten().filter(is_timeout).count();
        drop(receipt.committed().await);
        drop(job.flush().await);
        if late >= 4 && round >= 5 {
            break;
        }
    }
    assert!(late >= 4, "the clock never was faster than the worker: {late}");
}

async fn a_job_without_a_deadline_is_never_late(root: &TestRoot) {
    let clock = Clock::manual(0);
    let p = root.open_with_clock(clock.clone());
    let job = p.open_job_with("alpha", JobOptions::new().no_deadline()).await.unwrap();
    for round in 0..10u8 {
        let receipt = job.persist_put("m", k([round]), "").await.unwrap();
        let mut flush = std::pin::pin!(job.flush());
        let flushed = (&mut flush).now_or_never();
        clock.advance(Duration::from_secs(1_000_000));
        match flushed {
            Some(flushed) => flushed.unwrap(),
            None => flush.await.unwrap(),
        }
        receipt.committed().await.unwrap();
    }
    assert_eq!(job.count("m", ..).await.unwrap(), 10);
}

async fn a_job_works_on_after_a_timeout(root: &TestRoot) {
    let clock = Clock::manual(0);
    let job = timed(root, &clock).await;
    for round in 0..10u8 {
        let late = job.persist_put("late", k([round]), "").await.unwrap();
        clock.advance(DEADLINE * 2);
        drop(late.committed().await);
        let seq = job.put_acked("m", k([round]), "").await.unwrap();
        assert_eq!(job.committed_seq(), seq);
    }
    assert_eq!(job.count("m", ..).await.unwrap(), 10);
    assert!(job.check().await.unwrap().is_empty());
}
