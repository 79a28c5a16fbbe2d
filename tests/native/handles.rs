//! Handles that go without a close, two roots of one process, and roots with unusual names.

use std::iter::repeat;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_executor::block_on;
use futures_util::stream::{StreamExt, iter};
use persistency::{ErrorKind, JobOptions, OpenMode, Persistency};

use crate::{child, kind, number};

const ROWS: i64 = 2_000;

#[tokio::test]
async fn a_root_whose_last_handle_goes_drains_and_the_next_one_waits_for_it() {
    let dir = child::directory();
    for job_first in [true, false] {
        for round in 1..=5 {
            let p = Persistency::open(dir.path()).unwrap();
            let job = p.open_job("job").await.unwrap();
            for n in 0..ROWS {
                drop(job.persist_put("c", number(n), number(round).as_bytes()).await.unwrap());
            }
            if job_first {
                drop(job);
                drop(p);
            } else {
                drop(p);
                drop(job);
            }
            let next = Persistency::open(dir.path()).unwrap();
            let job = next.open_job("job").await.unwrap();
            let rows = job.scan("c", ..).await.unwrap();
            assert_eq!(rows.len(), ROWS as usize);
            assert!(rows.iter().all(|row| row.payload == number(round).as_bytes()), "round {round}");
        }
    }
}

#[tokio::test]
async fn a_job_that_outlives_its_root_object_keeps_the_root_owned() {
    let dir = child::directory();
    let p = Persistency::open(dir.path()).unwrap();
    let job = p.open_job("job").await.unwrap();
    drop(p);
    let other = Persistency::open(dir.path()).unwrap();
    assert_eq!(kind(other.open_job("job").await), Some(ErrorKind::Busy));
    job.put_acked("c", number(1), "").await.unwrap();
    drop(job);
    assert!(other.open_job("job").await.unwrap().exists("c", number(1)).await.unwrap());
}

#[tokio::test]
async fn a_root_that_has_been_closed_is_free_for_the_next() {
    let dir = child::directory();
    let first = Persistency::open(dir.path()).unwrap();
    let job = first.open_job("job").await.unwrap();
    let second = Persistency::open(dir.path()).unwrap();
    assert_eq!(kind(second.open_job("job").await), Some(ErrorKind::Busy));
    assert_eq!(kind(second.drop_job("job").await), Some(ErrorKind::Busy));
    first.close().await.unwrap();
    second.open_job("job").await.unwrap();
    assert_eq!(kind(job.flush().await), Some(ErrorKind::Closed));
    assert_eq!(kind(first.open_job("job").await), Some(ErrorKind::Closed));
}

#[tokio::test]
async fn a_root_may_have_any_name() {
    let names =
        ["with space", "\u{e4}\u{1f600}", "quote'\"`", "100%25", "what?", "#tag", "a;b&c=d", "file:x"];
    for name in names {
        let dir = child::directory();
        let root = dir.path().join(name).join("deep");
        let p = Persistency::open(&root).unwrap();
        assert_eq!(p.list_jobs().await.unwrap(), Vec::<String>::new());
        assert!(!root.exists(), "opening a root creates nothing");
        let job = p.open_job("Job ?#%").await.unwrap();
        job.put_acked("c", number(1), name).await.unwrap();
        assert_eq!(job.count("c", ..).await.unwrap(), 1);
        p.close().await.unwrap();
        let p = Persistency::open(&root).unwrap();
        let options = persistency::JobOptions::new().mode(persistency::OpenMode::ReadOnly);
        let job = p.open_job_with("Job ?#%", options).await.unwrap();
        assert_eq!(job.get("c", number(1)).await.unwrap().unwrap(), name.as_bytes());
        assert_eq!(std::fs::read_dir(&root).unwrap().count(), 2, "the job's file and the lock");
        p.close().await.unwrap();
    }
}

/// Found by attack: opening for reading takes no ownership, and dropping a job that was open so deleted
/// the files under a running owner, whose next commits and flushes were acknowledged and lost.
#[tokio::test]
async fn a_job_that_is_only_read_here_cannot_be_dropped_under_its_owner() {
    let dir = child::directory();
    let owner = Persistency::open(dir.path()).unwrap();
    let owned = owner.open_job("job").await.unwrap();
    owned.put_acked("c", number(1), "").await.unwrap();
    let other = Persistency::open(dir.path()).unwrap();
    let reading = JobOptions::new().mode(OpenMode::ReadOnly);
    let read = other.open_job_with("job", reading.clone()).await.unwrap();
    assert_eq!(kind(other.drop_job("job").await), Some(ErrorKind::Busy));
    owned.put_acked("c", number(2), "").await.unwrap();
    assert_eq!(read.count("c", ..).await.unwrap(), 2, "nothing has happened to either");
    owner.close().await.unwrap();
    other.drop_job("job").await.unwrap();
    assert_eq!(kind(read.count("c", ..).await), Some(ErrorKind::JobNotFound));
    assert_eq!(kind(other.open_job_with("job", reading).await), Some(ErrorKind::JobNotFound));
    assert_eq!(other.list_jobs().await.unwrap(), Vec::<String>::new());
}

/// Found by attack: calls that had been given up went on waiting for the root, each on a thread of its
/// own, and the one that got it first made the next call `Busy`.
#[tokio::test]
async fn an_open_that_was_given_up_is_in_nobodys_way() {
    let dir = child::directory();
    for round in 0..15 {
        let p = Persistency::open(dir.path()).unwrap();
        let job = p.open_job("job").await.unwrap();
        for n in 0..200 {
            drop(job.persist_put("c", number(n), vec![0; 80_000]).await.unwrap());
        }
        drop((job, p));
        let next = Persistency::open(dir.path()).unwrap();
        for _ in 0..10 {
            drop(tokio::time::timeout(Duration::from_millis(1), next.open_job("job")).await);
        }
        let opened = next.open_job("job").await;
        assert_eq!(kind(opened), None, "round {round}");
        next.close().await.unwrap();
    }
}

/// Found by attack: a worker that always had a get to answer never came to its writes.
#[test]
fn a_write_is_committed_while_others_read_without_a_pause() {
    let dir = child::directory();
    let p = Persistency::open(dir.path()).unwrap();
    let job = block_on(p.open_job("job")).unwrap();
    block_on(job.put_acked("c", number(1), "")).unwrap();
    let clock = Instant::now();
    let committed = &AtomicBool::new(false);
    let give_up = || committed.load(Ordering::Relaxed) || clock.elapsed() > Duration::from_secs(20);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let gets = iter(repeat(&job).take_while(|_| !give_up())).map(|job| job.get("c", number(1)));
            let all = gets.buffer_unordered(900).for_each(|row| async { drop(row.unwrap()) });
            scope.spawn(|| block_on(all));
        }
        std::thread::sleep(Duration::from_millis(300));
        block_on(job.put_acked("c", number(2), "")).unwrap();
        committed.store(true, Ordering::Relaxed);
    });
    assert!(clock.elapsed() < Duration::from_secs(20));
}
