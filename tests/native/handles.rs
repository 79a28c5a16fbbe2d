//! Handles that go without a close, two roots of one process, and roots with unusual names.

use persistency::{ErrorKind, Persistency};

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
