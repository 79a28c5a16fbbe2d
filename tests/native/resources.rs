//! Threads and file descriptors, which a process has not many of. In a child, where nobody else uses any.

use std::fs;
use std::time::Duration;

use persistency::Persistency;

use crate::child::{self, Child, report};
use crate::number;

const CYCLES: usize = 50;
const JOBS: usize = 200;

/// Open file descriptors and threads of this process.
fn held() -> (usize, usize) {
    let count = |dir| fs::read_dir(dir).unwrap().count();
    (count("/proc/self/fd"), count("/proc/self/task"))
}

/// Waits for what is held to come down to `most`: a thread is seen a moment longer than it works.
async fn assert_held_at_most(most: (usize, usize)) {
    for _ in 0..200 {
        let now = held();
        if now.0 <= most.0 && now.1 <= most.1 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{:?} held instead of {most:?}", held());
}

#[test]
fn threads_and_files_are_released_with_their_jobs() {
    let child = Child::start("resources::opens_and_closes", "holder", &[]);
    let (status, reports) = child.end();
    assert!(status.success());
    assert_eq!(reports, ["finished"]);
}

#[tokio::test]
#[ignore = "a role of the test above"]
async fn opens_and_closes() {
    let Some(_) = child::role() else { return };
    let dir = child::directory();
    let before = held();
    for cycle in 0..CYCLES {
        let p = Persistency::open(dir.path()).unwrap();
        let job = p.open_job("job").await.unwrap();
        job.put_acked("c", number(cycle as i64), "").await.unwrap();
        assert_eq!(job.count("c", ..).await.unwrap(), cycle as u64 + 1);
        match cycle % 3 {
            0 => p.close().await.unwrap(),
            1 => p.close_job("job").await.unwrap(),
            _ => {}
        }
    }
    drop(Persistency::open(dir.path()).unwrap().open_job("job").await.unwrap());
    assert_held_at_most(before).await;
    many_jobs(dir.path()).await;
    assert_held_at_most(before).await;
    report("finished");
}

async fn many_jobs(root: &std::path::Path) {
    let p = Persistency::open(root).unwrap();
    let mut jobs = Vec::new();
    for n in 0..JOBS {
        jobs.push(p.open_job(&format!("many-{n}")).await.unwrap());
    }
    let mut receipts = Vec::new();
    for job in &jobs {
        receipts.push(job.persist_put("c", number(1), job.id()).await.unwrap());
    }
    for receipt in receipts {
        assert_eq!(receipt.committed().await.unwrap(), 1);
    }
    for job in &jobs {
        assert_eq!(job.scan("c", ..).await.unwrap()[0].payload, job.id().as_bytes());
    }
    p.close().await.unwrap();
    assert_eq!(Persistency::open(root).unwrap().list_jobs().await.unwrap().len(), JOBS + 1);
}
