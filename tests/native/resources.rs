//! Threads and file descriptors, which a process has not many of. In a child, where nobody else uses any.

use std::fs;
use std::process::Command;
use std::time::Duration;

use persistency::{ErrorKind, JobOptions, OpenMode, Outcome, Persistency};

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
    let child = Child::start("holder", &[]);
    let (status, reports) = child.end();
    assert!(status.success());
    assert_eq!(reports, ["finished"]);
}

pub async fn opens_and_closes() {
    let dir = child::directory();
    // What a process has once, such as the thread that wakes sleepers, comes with the first job.
    let p = Persistency::open(dir.path()).unwrap();
    p.open_job("first").await.unwrap();
    tokio::time::sleep(RESTED).await;
    p.drop_job("first").await.unwrap();
    p.close().await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
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

#[test]
fn a_job_without_work_holds_no_thread_and_no_file() {
    let child = Child::start("idler", &[]);
    let (status, reports) = child.end();
    assert!(status.success());
    assert_eq!(reports, ["finished"]);
}

/// Jobs that have been open without work for a while, each of them used again afterwards.
pub async fn rests() {
    let dir = child::directory();
    let p = Persistency::open(dir.path()).unwrap();
    // The owner's lock, the clock's own thread, and whatever else is there once.
    p.open_job("first").await.unwrap();
    p.close_job("first").await.unwrap();
    let (files, threads) = held();
    let mut jobs = Vec::new();
    for n in 0..JOBS {
        let job = p.open_job(&format!("idle-{n}")).await.unwrap();
        jobs.push((job.persist_put("c", number(1), job.id()).await.unwrap(), job));
    }
    assert_held_at_most((files, threads + 1)).await;
    for (receipt, job) in &jobs {
        assert_eq!(receipt.committed().await.unwrap(), 1);
        assert_eq!(job.get("c", number(1)).await.unwrap().unwrap(), job.id().as_bytes());
        assert_eq!(job.put_acked("c", number(2), "again").await.unwrap(), 2);
        // Past its worker, with a connection of its own.
        assert_eq!(job.get("c", number(2)).await.unwrap().unwrap(), b"again");
    }
    assert_held_at_most((files, threads + 1)).await;
    let (_, last) = jobs.pop().unwrap();
    p.drop_job(last.id()).await.unwrap();
    assert_eq!(last.get("c", number(1)).await.unwrap_err().kind(), ErrorKind::JobNotFound);
    assert_held_at_most((files, threads + 1)).await;
    // So few files that most could not be opened again, all at a time.
    let few = format!("--nofile={}:", files + JOBS / 4);
    let limited = Command::new("prlimit").args(["--pid", &std::process::id().to_string(), &few]).status();
    assert!(limited.unwrap().success());
    p.close().await.unwrap();
    assert_eq!(Persistency::open(dir.path()).unwrap().list_jobs().await.unwrap().len(), JOBS);
    report("finished");
}

/// How long a job rests for certain, while nothing else keeps the machine from it.
const RESTED: Duration = Duration::from_millis(2500);

#[tokio::test]
async fn a_job_rests_only_when_it_is_not_read_past_its_worker_either() {
    let dir = child::directory();
    let p = Persistency::open(dir.path()).unwrap();
    // Names of threads are cut after 15 bytes.
    let job = p.open_job("zzz").await.unwrap();
    let works = || {
        let threads =
            fs::read_dir("/proc/self/task").unwrap().map(|thread| thread.unwrap().path().join("comm"));
        threads.filter_map(|name| fs::read_to_string(name).ok()).any(|name| name.trim() == "persistency zzz")
    };
    job.put_acked("c", number(1), "row").await.unwrap();
    for _ in 0..125 {
        assert_eq!(job.get("c", number(1)).await.unwrap().unwrap(), b"row");
        tokio::time::sleep(RESTED / 125).await;
        // Before the next get, which would start it again.
        assert!(works());
    }
    for _ in 0..200 {
        if !works() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(!works());
    assert_eq!(job.get("c", number(1)).await.unwrap().unwrap(), b"row");
    assert!(works());
}

#[tokio::test]
async fn a_job_whose_file_went_while_it_rested_is_gone() {
    let dir = child::directory();
    let p = Persistency::open(dir.path()).unwrap();
    let job = p.open_job("job").await.unwrap();
    job.put_acked("c", number(1), "row").await.unwrap();
    tokio::time::sleep(RESTED).await;
    fs::remove_file(dir.path().join("job.db")).unwrap();
    assert_eq!(job.get("c", number(1)).await.unwrap_err().kind(), ErrorKind::JobNotFound);
    assert_eq!(p.open_job("job").await.unwrap().committed_seq(), 0, "another life");
}

#[tokio::test]
async fn a_job_that_cannot_be_opened_again_says_so_until_it_can() {
    let dir = child::directory();
    let p = Persistency::open(dir.path()).unwrap();
    let job = p.open_job("job").await.unwrap();
    job.put_acked("c", number(1), "row").await.unwrap();
    tokio::time::sleep(RESTED).await;
    let (db, aside) = (dir.path().join("job.db"), dir.path().join("aside"));
    fs::rename(&db, &aside).unwrap();
    fs::write(&db, "no database").unwrap();
    let error = job.put_acked("c", number(2), "row").await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Corrupt, Outcome::NotApplied));
    assert_eq!(job.get("c", number(1)).await.unwrap_err().kind(), ErrorKind::Corrupt);
    fs::rename(&aside, &db).unwrap();
    assert_eq!(job.get("c", number(1)).await.unwrap().unwrap(), b"row");
    assert_eq!(job.put_acked("c", number(2), "row").await.unwrap(), 2);
    p.close().await.unwrap();
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

/// The locks that some process holds on a file.
fn locks(path: &std::path::Path) -> usize {
    let inode = format!(":{} ", std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap()));
    fs::read_to_string("/proc/locks").unwrap().lines().filter(|line| line.contains(&inode)).count()
}

/// Found by attack: closing any descriptor of a file drops this process's locks on it, and two ways led
/// to a look into a database that was open: an id whose older name is the file name of another id, and
/// another path to the directory. Without its lock any other program that opens and closes the database
/// takes its write-ahead log away from under the owner, and with it what is committed from then on.
#[tokio::test]
async fn nothing_takes_an_open_jobs_locks_away() {
    let dir = child::directory();
    let root = dir.path().join("root");
    let owner = Persistency::open(&root).unwrap();
    let job = owner.open_job("A").await.unwrap();
    job.put_acked("c", number(1), "").await.unwrap();
    let db = root.join("%41.db");
    let held = locks(&db);
    assert!(held > 0);
    owner.drop_job("%41").await.unwrap();
    assert_eq!(locks(&db), held, "the older library's name of %41 is our name of A");
    let alias = dir.path().join("alias");
    std::os::unix::fs::symlink(&root, &alias).unwrap();
    for path in [alias, root.join("../root")] {
        let p = Persistency::open(path).unwrap();
        let reading = JobOptions::new().mode(OpenMode::ReadOnly);
        let reader = p.open_job_with("A", reading).await.unwrap();
        assert_eq!(reader.count("c", ..).await.unwrap(), 1);
        p.close().await.unwrap();
        assert_eq!(locks(&db), held, "{}", p.root().display());
    }
}
