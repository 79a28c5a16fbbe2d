//! Facts about the queue: its bounds, what a full one answers, and the order of acceptance.

use futures_util::future::{join, join_all};
use futures_util::poll;
use persistency::{Batch, ErrorKind, Job, JobOptions, Outcome, key};

use crate::common::{TestRoot, k, kind, rows};

facts! {
    everywhere:
        a_full_queue_answers_overloaded_and_queues_nothing,
        persist_waits_until_there_is_room,
        the_queue_is_bounded_in_bytes_too,
        a_batch_larger_than_the_whole_queue_is_accepted_alone,
        a_write_that_waits_for_room_can_be_withdrawn,
        waiting_writes_are_accepted_in_the_order_in_which_they_came,
        an_empty_batch_does_not_slip_past_one_that_waits_for_room,
        closing_commits_everything_that_was_accepted,
        closing_answers_writes_that_wait_for_room,
        many_producers_keep_their_order_and_lose_nothing,
        bounds_of_zero_are_invalid;
}

/// Operations enough that applying them takes longer than asking for one more.
const SLOW: u32 = 2_000;

fn slow_batch() -> Batch {
    (0..SLOW).fold(Batch::new(), |batch, number| batch.put("slow", key!(number).unwrap(), ""))
}

async fn bounded(root: &TestRoot, options: JobOptions) -> Job {
    root.open().open_job_with("alpha", options).await.unwrap()
}

/// Fills the queue until one more is refused; the worker may be fast, so it can take several tries.
async fn overload(job: &Job) -> (u32, persistency::Error) {
    for refused_at in 0..100 {
        job.persist(slow_batch()).await.unwrap();
        match job.try_persist(Batch::new().put("m", k("refused"), "")) {
            Ok(_) => job.persist_acked(Batch::new().delete("m", k("refused"))).await.map(drop).unwrap(),
            Err(error) => return (refused_at, error),
        }
    }
    panic!("the queue never was full");
}

async fn a_full_queue_answers_overloaded_and_queues_nothing(root: &TestRoot) {
    let job = bounded(root, JobOptions::new().queue_operations(10)).await;
    let (_, error) = overload(&job).await;
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Overloaded, Outcome::NotApplied));
    assert!(error.is_retryable());
    job.flush().await.unwrap();
    assert!(!job.exists("m", k("refused")).await.unwrap());
    job.try_persist(Batch::new().put("m", k("taken"), "")).unwrap();
    assert!(job.exists("m", k("taken")).await.unwrap());
}

async fn persist_waits_until_there_is_room(root: &TestRoot) {
    let job = bounded(root, JobOptions::new().queue_operations(1)).await;
    overload(&job).await;
    let receipt = job.persist_put("m", k("a"), "").await.unwrap();
    receipt.committed().await.unwrap();
    for number in 0..50u32 {
        job.persist_put("n", key!(number).unwrap(), "").await.unwrap();
    }
    assert_eq!(job.count("n", ..).await.unwrap(), 50);
    assert_eq!(job.count("slow", ..).await.unwrap(), u64::from(SLOW));
}

async fn the_queue_is_bounded_in_bytes_too(root: &TestRoot) {
    let job = bounded(root, JobOptions::new().queue_bytes(1000)).await;
    let (_, error) = overload(&job).await;
    assert_eq!(error.kind(), ErrorKind::Overloaded);
    job.flush().await.unwrap();
    for _ in 0..20 {
        job.persist_put("m", k("a"), vec![0; 400]).await.unwrap();
        let stats = job.stats();
        assert!(stats.queued_bytes <= 1000, "{stats:?}");
    }
    job.flush().await.unwrap();
    let stats = job.stats();
    assert_eq!((stats.queued_operations, stats.queued_bytes), (0, 0));
}

async fn a_batch_larger_than_the_whole_queue_is_accepted_alone(root: &TestRoot) {
    let job = bounded(root, JobOptions::new().queue_operations(2).queue_bytes(50)).await;
    for round in 0..5u8 {
        let huge = Batch::new().put("m", k([round]), vec![round; 10_000]).put("m", k("b"), "").clear("n");
        let (huge, small) = join(job.persist(huge), job.persist_put("m", k("small"), "")).await;
        assert!(huge.unwrap().committed().await.unwrap() < small.unwrap().committed().await.unwrap());
    }
    job.try_persist(slow_batch()).unwrap();
    assert_eq!(job.count("m", ..).await.unwrap(), 7);
}

/// An empty batch needs no bytes, and once was accepted before a put that waited for them.
async fn an_empty_batch_does_not_slip_past_one_that_waits_for_room(root: &TestRoot) {
    let job = bounded(root, JobOptions::new().queue_bytes(100)).await;
    let batches = (0..60u8).map(|number| match number % 2 {
        0 => Batch::new().put("m", k([number]), vec![number; 80]),
        _ => Batch::new(),
    });
    let mut seqs = Vec::new();
    for receipt in join_all(batches.map(|batch| job.persist(batch))).await {
        seqs.push(receipt.unwrap().committed().await.unwrap());
    }
    assert_eq!(seqs, (0..60).map(|number| number / 2 + 1).collect::<Vec<u64>>());
}

async fn a_write_that_waits_for_room_can_be_withdrawn(root: &TestRoot) {
    let job = bounded(root, JobOptions::new().queue_operations(1)).await;
    let mut withdrawn = 0;
    for number in 0..100u32 {
        job.persist(slow_batch()).await.unwrap();
        let key = key!(number).unwrap();
        let waiting = poll!(std::pin::pin!(job.persist_put("m", key.clone(), ""))).is_pending();
        assert_eq!(job.exists("m", key).await.unwrap(), !waiting);
        withdrawn += u32::from(waiting);
        if withdrawn == 3 {
            break;
        }
    }
    assert_eq!(withdrawn, 3, "the queue hardly ever was full");
    job.persist_put("m", k("a"), "").await.unwrap();
    job.flush().await.unwrap();
}

async fn waiting_writes_are_accepted_in_the_order_in_which_they_came(root: &TestRoot) {
    let job = bounded(root, JobOptions::new().queue_operations(1)).await;
    job.persist(slow_batch()).await.unwrap();
    let receipts = join_all((0..40u8).map(|number| job.persist_put("m", k("a"), [number]))).await;
    let mut last = 1;
    for receipt in receipts {
        let seq = receipt.unwrap().committed().await.unwrap();
        assert_eq!(seq, last + 1);
        last = seq;
    }
    assert_eq!(job.get("m", k("a")).await.unwrap().unwrap(), [39]);
}

async fn closing_commits_everything_that_was_accepted(root: &TestRoot) {
    let p = root.open();
    let job = p.open_job("alpha").await.unwrap();
    let mut receipts = Vec::new();
    for number in 0..500u32 {
        receipts.push(job.persist_put("m", key!(number).unwrap(), "").await.unwrap());
    }
    // Asked for before the end, so it is answered, too.
    let (count, closed) = join(job.count("m", ..), p.close_job("alpha")).await;
    closed.unwrap();
    assert_eq!(count.unwrap(), 500);
    for (seq, receipt) in (1..).zip(&receipts) {
        assert_eq!(receipt.durable().await.unwrap(), seq);
    }
    let again = p.open_job("alpha").await.unwrap();
    assert_eq!(again.count("m", ..).await.unwrap(), if root.persists() { 500 } else { 0 });
}

async fn closing_answers_writes_that_wait_for_room(root: &TestRoot) {
    let p = root.open();
    let job = p.open_job_with("alpha", JobOptions::new().queue_operations(1)).await.unwrap();
    let first = job.persist(slow_batch()).await.unwrap();
    let waiting = join_all((0..10u8).map(|number| job.persist_put("m", k([number]), "")));
    let (waiting, closed) = join(waiting, p.close_job("alpha")).await;
    closed.unwrap();
    first.committed().await.unwrap();
    for outcome in waiting {
        match outcome {
            Ok(receipt) => drop(receipt.committed().await.unwrap()),
            Err(error) => {
                assert_eq!((error.kind(), error.outcome()), (ErrorKind::Closed, Outcome::NotApplied));
            }
        }
    }
    assert_eq!(kind(job.persist_put("m", k("late"), "").await), ErrorKind::Closed);
    assert_eq!(kind(job.try_persist(Batch::new().clear("m"))), ErrorKind::Closed);
}

async fn many_producers_keep_their_order_and_lose_nothing(root: &TestRoot) {
    const PRODUCERS: u16 = 50;
    const EACH: u16 = 40;
    // A queue that is often full, so that producers wait for each other.
    let job = bounded(root, JobOptions::new().queue_operations(64)).await;
    let produce = async |producer: u16| {
        let mut receipts = Vec::new();
        for number in 0..EACH {
            let batch = Batch::new().put("m", key!(producer, number).unwrap(), number.to_be_bytes()).put(
                "latest",
                key!(producer).unwrap(),
                number.to_be_bytes(),
            );
            receipts.push(job.persist(batch).await.unwrap());
        }
        let mut seqs = Vec::new();
        for receipt in receipts {
            seqs.push(receipt.committed().await.unwrap());
        }
        assert!(seqs.is_sorted(), "each producer's batches are in its order");
        seqs
    };
    let seqs = join_all((0..PRODUCERS).map(produce)).await;
    let mut all: Vec<u64> = seqs.into_iter().flatten().collect();
    all.sort_unstable();
    assert!(all.into_iter().eq(1..=u64::from(PRODUCERS) * u64::from(EACH)));
    assert_eq!(job.count("m", ..).await.unwrap(), u64::from(PRODUCERS) * u64::from(EACH));
    let latest = rows(&job, "latest").await;
    assert_eq!(latest.len(), usize::from(PRODUCERS));
    assert!(latest.iter().all(|(_, payload)| *payload == (EACH - 1).to_be_bytes()));
}

async fn bounds_of_zero_are_invalid(root: &TestRoot) {
    let p = root.open();
    for options in [
        JobOptions::new().queue_operations(0),
        JobOptions::new().queue_bytes(0),
        JobOptions::new().queue_operations(usize::MAX),
        JobOptions::new().queue_bytes(usize::MAX),
    ] {
        assert_eq!(kind(p.open_job_with("alpha", options).await), ErrorKind::InvalidArgument);
    }
    assert!(!p.has_job("alpha"));
    assert!(p.list_jobs().await.unwrap().is_empty());
}
