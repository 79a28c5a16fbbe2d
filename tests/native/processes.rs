//! Two processes on one root: one owns it, and others read beside it.

use std::env;
use std::path::Path;
use std::time::Duration;

use persistency::{Batch, ErrorKind, Job, JobOptions, LogRetention, OpenMode, Persistency, WatchItem};

use crate::child::{self, Child, report};
use crate::{ROOT, kind, number};

/// How soon a reader notices what another process commits: it looks every second.
const SOON: Duration = Duration::from_secs(3);
/// The bytes that the owner's log keeps, none if it is not set.
const LOG: &str = "PERSISTENCY_TEST_LOG";

/// Starts a process that owns the root and obeys: see `owns_a_root`.
fn owner(root: &Path, log: bool) -> Child {
    let variables = [(ROOT, root.to_str().unwrap()), (LOG, "1000000")];
    let variables = if log { &variables[..] } else { &variables[..1] };
    let mut owner = Child::start("owner", variables);
    owner.until("open");
    owner
}

pub async fn owns_a_root() {
    let p = Persistency::open(env::var_os(ROOT).unwrap()).unwrap();
    let log =
        env::var(LOG).map_or(LogRetention::Off, |bytes| LogRetention::LastBytes(bytes.parse().unwrap()));
    let job = p.open_job_with("job", JobOptions::new().log(log)).await.unwrap();
    report("open");
    loop {
        let order = child::order();
        match order.split_once(' ').unwrap_or((&order, "")) {
            ("put", n) => drop(job.put_acked("c", number(n.parse().unwrap()), "row").await.unwrap()),
            ("delete", n) => drop(job.delete_acked("c", number(n.parse().unwrap())).await.unwrap()),
            ("drop", _) => p.drop_job("job").await.unwrap(),
            ("close", _) => p.close().await.unwrap(),
            ("end", _) => return,
            other => panic!("{other:?}"),
        }
        report("done");
    }
}

fn obey(owner: &mut Child, order: &str) {
    owner.tell(order);
    owner.until("done");
}

async fn reader(p: &Persistency) -> persistency::Result<Job> {
    p.open_job_with("job", JobOptions::new().mode(OpenMode::ReadOnly)).await
}

#[tokio::test]
async fn a_root_that_another_process_owns_is_busy_until_that_closes_ends_or_dies() {
    for ending in ["close", "end", "kill"] {
        let dir = child::directory();
        let p = Persistency::open(dir.path()).unwrap();
        let mut owner = owner(dir.path(), false);
        obey(&mut owner, "put 1");
        assert_eq!(kind(p.open_job("job").await), Some(ErrorKind::Busy));
        assert_eq!(kind(p.open_job("another").await), Some(ErrorKind::Busy));
        assert_eq!(kind(p.drop_job("job").await), Some(ErrorKind::Busy));
        assert_eq!(kind(p.drop_job("absent").await), Some(ErrorKind::Busy));
        assert_eq!(p.list_jobs().await.unwrap(), ["job"]);
        match ending {
            "close" => obey(&mut owner, "close"),
            "end" => {
                owner.tell("end");
                assert!(owner.end().0.success());
            }
            _ => drop(owner.kill()),
        }
        let job = p.open_job("job").await.unwrap();
        assert!(job.exists("c", number(1)).await.unwrap(), "{ending}");
        assert_eq!(job.check().await.unwrap(), Vec::<String>::new());
        assert_eq!(job.put_acked("c", number(2), "").await.unwrap(), 2);
        p.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_reader_sees_what_another_process_commits() {
    let dir = child::directory();
    let mut owner = owner(dir.path(), false);
    obey(&mut owner, "put 0");
    let p = Persistency::open(dir.path()).unwrap();
    let job = reader(&p).await.unwrap();
    assert!(job.info().await.unwrap().shared);
    for n in 1..50 {
        obey(&mut owner, &format!("put {n}"));
        assert_eq!(job.get("c", number(n)).await.unwrap().unwrap(), b"row");
        assert_eq!(job.count("c", ..).await.unwrap(), n as u64 + 1);
        assert_eq!(job.scan("c", ..).limit(1).reverse().await.unwrap()[0].key, number(n));
        assert_eq!(job.info().await.unwrap().committed_seq, n as u64 + 1);
    }
    obey(&mut owner, "delete 7");
    assert!(!job.exists("c", number(7)).await.unwrap());
    assert_eq!(job.check().await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_reader_cannot_write_and_is_in_nobodys_way() {
    let dir = child::directory();
    let mut owner = owner(dir.path(), false);
    obey(&mut owner, "put 1");
    let p = Persistency::open(dir.path()).unwrap();
    let job = reader(&p).await.unwrap();
    let unsupported = Some(ErrorKind::Unsupported);
    assert_eq!(kind(job.persist(Batch::new().clear("c")).await), unsupported);
    assert_eq!(kind(job.try_persist(Batch::new())), unsupported);
    assert_eq!(kind(job.put_acked("c", number(2), "").await), unsupported);
    assert_eq!(kind(job.delete_acked("c", number(1)).await), unsupported);
    assert_eq!(kind(job.compact().await), unsupported);
    assert_eq!(kind(job.hold_log("holder").await), unsupported);
    job.flush().await.unwrap();
    obey(&mut owner, "close");
    let next = Persistency::open(dir.path()).unwrap();
    next.open_job("job").await.unwrap().put_acked("c", number(2), "").await.unwrap();
    assert!(job.exists("c", number(2)).await.unwrap());
    next.close().await.unwrap();
    assert_eq!(job.count("c", ..).await.unwrap(), 2);
    p.close().await.unwrap();
}

#[tokio::test]
async fn a_reader_watches_what_another_process_commits() {
    for log in [true, false] {
        let dir = child::directory();
        let mut owner = owner(dir.path(), log);
        obey(&mut owner, "put 1");
        let p = Persistency::open(dir.path()).unwrap();
        let job = reader(&p).await.unwrap();
        let mut watch = job.watch("c", ..).await.unwrap();
        for n in 2..=3 {
            obey(&mut owner, &format!("put {n}"));
            let item = tokio::time::timeout(SOON, watch.next()).await.expect("it looks every second");
            match item.unwrap().unwrap() {
                WatchItem::Commit(commit) => {
                    assert!(log);
                    assert_eq!((commit.seq, commit.operations.len()), (n, 1));
                }
                WatchItem::Lagged { from, to } => {
                    assert!(!log);
                    assert_eq!((from, to), (n, n));
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_reader_of_a_job_that_its_owner_drops_finds_it_gone() {
    let dir = child::directory();
    let mut owner = owner(dir.path(), false);
    obey(&mut owner, "put 1");
    let p = Persistency::open(dir.path()).unwrap();
    let job = reader(&p).await.unwrap();
    let mut watch = job.watch("c", ..).await.unwrap();
    obey(&mut owner, "drop");
    assert_eq!(kind(job.get("c", number(1)).await), Some(ErrorKind::JobNotFound));
    let end = tokio::time::timeout(SOON, watch.next()).await.expect("it looks every second");
    assert_eq!(kind(end.unwrap()), Some(ErrorKind::JobNotFound));
    assert_eq!(kind(job.count("c", ..).await), Some(ErrorKind::JobNotFound));
    assert_eq!(kind(reader(&p).await), Some(ErrorKind::JobNotFound));
    assert_eq!(p.list_jobs().await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_reader_needs_no_owner_and_leaves_nothing_behind() {
    let dir = child::directory();
    let p = Persistency::open(dir.path()).unwrap();
    assert_eq!(kind(reader(&p).await), Some(ErrorKind::JobNotFound));
    let mut owner = owner(dir.path(), false);
    obey(&mut owner, "put 1");
    obey(&mut owner, "close");
    let names = || {
        let entries = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
        entries.collect::<std::collections::BTreeSet<_>>()
    };
    let before = names();
    let job = reader(&p).await.unwrap();
    assert!(job.exists("c", number(1)).await.unwrap());
    assert_eq!(job.count("c", ..).await.unwrap(), 1);
    p.close().await.unwrap();
    assert_eq!(names(), before);
}

#[tokio::test]
async fn a_reader_sees_what_a_killed_owner_committed() {
    let dir = child::directory();
    let mut owner = owner(dir.path(), false);
    obey(&mut owner, "put 1");
    let p = Persistency::open(dir.path()).unwrap();
    let before = reader(&p).await.unwrap();
    obey(&mut owner, "put 2");
    owner.kill();
    assert_eq!(before.count("c", ..).await.unwrap(), 2);
    p.close().await.unwrap();
    let p = Persistency::open(dir.path()).unwrap();
    assert_eq!(reader(&p).await.unwrap().count("c", ..).await.unwrap(), 2);
}
