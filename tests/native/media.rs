//! Media that are full or cannot be written: small file systems in memory, mounted for one child each.
//!
//! The child has a mount namespace of its own, so what it mounts goes when it ends, however it ends.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use persistency::{Batch, ErrorKind, Job, JobOptions, OpenMode, Outcome, Persistency, Receipt, WatchItem};

use crate::child::{Child, report};
use crate::{ROOT, kind, number};

/// Bytes of the small file system; a new job takes about 150 KB of them.
const SMALL: &str = "size=3m";
/// Bytes that it is given later.
const LARGER: &str = "size=16m";
/// Bytes of a payload that is kept beside its key.
const SMALL_PIECE: usize = 500;
/// Bytes of a payload of which not many fit.
const PIECE: usize = 64 * 1024;

/// Runs a role of this file where it may mount, and passes on whether it failed.
///
/// A machine that allows no mounts fails here: that the test did not run must not look like success.
fn run_mounting(role: &str) {
    let dir = tempfile::tempdir().unwrap();
    let variables = [(ROOT, dir.path().to_str().unwrap())];
    // Who is not root may mount as the root of a user namespace.
    let wrapper = ["unshare", "--mount", "--map-root-user"];
    let child = Child::start_within(&wrapper, role, &variables);
    let (status, reports) = child.end();
    assert!(status.success(), "{role} failed, or `{}` is not allowed: {status}", wrapper.join(" "));
    assert_eq!(reports, ["finished"]);
}

fn mount(options: &str, dir: &Path) {
    let mut command = Command::new("mount");
    command.args(["-t", "tmpfs", "-o", options, "none"]).arg(dir);
    assert!(command.status().unwrap().success(), "mount {options}");
}

fn remount(options: &str, dir: &Path) {
    let status = Command::new("mount").args(["-o", &format!("remount,{options}")]).arg(dir).status();
    assert!(status.unwrap().success(), "remount {options}");
}

fn mounted() -> PathBuf {
    let dir = PathBuf::from(env::var_os(ROOT).unwrap());
    mount(SMALL, &dir);
    dir
}

fn piece() -> Vec<u8> {
    vec![0xa5; PIECE]
}

/// Writes until the medium is full; gives the numbers of the rows that were written.
async fn fill(job: &Job) -> Vec<i64> {
    let mut written = Vec::new();
    for n in 0..1000 {
        match job.put_acked("c", number(n), piece()).await {
            Ok(_) => written.push(n),
            Err(error) => {
                assert_eq!((error.kind(), error.outcome()), (ErrorKind::StorageFull, Outcome::NotApplied));
                assert!(error.is_retryable(), "{error}");
                return written;
            }
        }
    }
    panic!("it is never full");
}

async fn assert_holds(job: &Job, written: &[i64]) {
    let rows = job.scan("c", ..).await.unwrap();
    let found: Vec<_> = rows.iter().map(|row| row.key.clone()).collect();
    assert_eq!(found, written.iter().map(|&n| number(n)).collect::<Vec<_>>());
    assert!(rows.iter().all(|row| row.payload == piece()));
    for &n in written {
        assert!(job.get("c", number(n)).await.unwrap().unwrap() == piece());
    }
    assert_eq!(job.check().await.unwrap(), Vec::<String>::new());
}

#[test]
fn a_full_medium_refuses_writes_and_works_again_when_there_is_room() {
    run_mounting("a_full_medium");
}

pub async fn a_full_medium() {
    let dir = mounted();
    let p = Persistency::open(&dir).unwrap();
    let job = p.open_job("job").await.unwrap();
    let mut written = fill(&job).await;
    assert!(written.len() > 5, "{written:?}");
    assert_holds(&job, &written).await;
    // Deleting makes room, compacting gives it back, and then something fits again.
    for n in written.drain(..3).collect::<Vec<_>>() {
        assert!(job.delete_acked("c", number(n)).await.unwrap(), "deletes work");
    }
    job.flush().await.unwrap();
    job.compact().await.unwrap();
    job.put_acked("c", number(5000), piece()).await.unwrap();
    written.push(5000);
    assert_holds(&job, &written).await;
    // A larger medium.
    assert_eq!(fill_more(&job).await, Some(ErrorKind::StorageFull));
    remount(LARGER, &dir);
    job.put_acked("d", number(1), vec![1; 1 << 20]).await.unwrap();
    job.flush().await.unwrap();
    assert!(job.durable_seq() == job.committed_seq());
    p.close().await.unwrap();
    let p = Persistency::open(&dir).unwrap();
    let job = p.open_job("job").await.unwrap();
    assert_eq!(job.get("d", number(1)).await.unwrap().unwrap().len(), 1 << 20);
    assert_eq!(job.check().await.unwrap(), Vec::<String>::new());
    p.close().await.unwrap();
    report("finished");
}

#[test]
fn a_medium_that_is_full_of_small_rows_lets_them_be_deleted() {
    run_mounting("full_of_small_rows");
}

#[test]
fn readers_that_never_rest_do_not_keep_rows_on_a_full_medium_from_being_deleted() {
    run_mounting("full_beside_readers");
}

pub async fn full_of_small_rows(readers: usize) {
    let dir = mounted();
    let p = Persistency::open(&dir).unwrap();
    let job = p.open_job("job").await.unwrap();
    let read = |job: Job| async move {
        for n in 0.. {
            if job.get("c", number(n % 100_003)).await.is_err() {
                break;
            }
        }
    };
    // Until the job is closed.
    let readers: Vec<_> = (0..readers)
        .map(|_| job.clone())
        .map(|job| std::thread::spawn(move || futures_executor::block_on(read(job))))
        .collect();
    // In no order, and committed one by one.
    let key = |n: i64| number(n * 7919 % 100_003);
    let payload = |n: i64| vec![n as u8; SMALL_PIECE];
    let mut written = Vec::new();
    let refused = loop {
        let n = written.len() as i64;
        match job.put_acked("c", key(n), payload(n)).await {
            Ok(_) => written.push(n),
            Err(error) => break error,
        }
    };
    assert_eq!((refused.kind(), refused.outcome()), (ErrorKind::StorageFull, Outcome::NotApplied));
    assert!(written.len() > 100, "{}: {refused}", written.len());
    for round in 0..3 {
        for n in written.drain(..written.len() / 3) {
            assert!(job.delete_acked("c", key(n)).await.unwrap(), "deletes work, round {round}");
        }
        job.flush().await.unwrap();
        assert_eq!(job.count("c", ..).await.unwrap(), written.len() as u64);
        for &n in &written {
            assert!(job.get("c", key(n)).await.unwrap().unwrap() == payload(n));
        }
    }
    job.compact().await.unwrap();
    job.put_acked("c", key(-1), payload(1)).await.unwrap();
    p.close().await.unwrap();
    let p = Persistency::open(&dir).unwrap();
    let job = p.open_job("job").await.unwrap();
    assert_eq!(job.count("c", ..).await.unwrap(), written.len() as u64 + 1);
    assert_eq!(job.check().await.unwrap(), Vec::<String>::new());
    p.close().await.unwrap();
    readers.into_iter().for_each(|reader| reader.join().unwrap());
    report("finished");
}

#[test]
fn a_medium_that_is_full_of_a_log_loses_none_of_it_and_has_room_for_what_is_in_the_journal() {
    run_mounting("full_of_a_log");
}

/// The seqs in the log, up to the job's own.
async fn logged(job: &Job) -> Vec<u64> {
    let mut position = job.position().await.unwrap();
    position.seq = 0;
    let mut log = job.log_from(position).await.unwrap();
    let mut seqs = Vec::new();
    while seqs.last() != Some(&job.committed_seq()) {
        match log.next().await {
            Some(Ok(WatchItem::Commit(commit))) => seqs.push(commit.seq),
            other => panic!("{other:?} behind {seqs:?}"),
        }
    }
    seqs
}

pub async fn full_of_a_log() {
    let dir = mounted();
    let p = Persistency::open(&dir).unwrap();
    let job = p.open_job("job").await.unwrap();
    job.hold_log("holder").await.unwrap();
    // One row over and over: it is the log that fills the medium, and what of it is in the journal has to
    // find its place.
    let payload = |n: usize| vec![n as u8; SMALL_PIECE];
    let mut written = 0;
    let refused = loop {
        match job.put_acked("c", number(1), payload(written)).await {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
    };
    assert_eq!((refused.kind(), refused.outcome()), (ErrorKind::StorageFull, Outcome::NotApplied));
    assert!(written > 100, "{written}: {refused}");
    let all: Vec<_> = (1..=written as u64).collect();
    assert_eq!(logged(&job).await, all);
    job.compact().await.unwrap();
    p.close().await.unwrap();
    let p = Persistency::open(&dir).unwrap();
    let job = p.open_job("job").await.unwrap();
    assert_eq!(logged(&job).await, all);
    assert!(job.get("c", number(1)).await.unwrap().unwrap() == payload(written - 1));
    assert_eq!(job.check().await.unwrap(), Vec::<String>::new());
    remount(LARGER, &dir);
    job.release_log("holder").await.unwrap();
    for n in 0..100 {
        job.put_acked("c", number(1), payload(n)).await.unwrap();
    }
    assert_eq!(job.check().await.unwrap(), Vec::<String>::new());
    p.close().await.unwrap();
    report("finished");
}

async fn fill_more(job: &Job) -> Option<ErrorKind> {
    for n in 0..1000 {
        if let Err(error) = job.put_acked("more", number(n), piece()).await {
            return Some(error.kind());
        }
    }
    None
}

#[test]
fn neighbours_of_a_batch_that_does_not_fit_keep_their_own_answers() {
    run_mounting("neighbours");
}

/// One group that cannot be written whole: what comes before the batch that fails alone is applied,
/// later puts fail with it, later deletes are applied.
pub async fn neighbours() {
    let dir = mounted();
    let p = Persistency::open(&dir).unwrap();
    let job = p.open_job("job").await.unwrap();
    job.put_acked("c", number(0), "old").await.unwrap();
    let batches = [
        Batch::new().put("c", number(1), "first"),
        Batch::new().put("c", number(2), "half").put("c", number(3), vec![1; 4 << 20]),
        Batch::new().put("c", number(4), "later"),
        Batch::new().delete("c", number(0)),
        Batch::new().require_present("c", number(99)).delete("c", number(1)),
    ];
    let mut receipts: Vec<Receipt> = Vec::new();
    for batch in batches {
        receipts.push(job.try_persist(batch).unwrap());
    }
    let full = Some(ErrorKind::StorageFull);
    let mut kinds = Vec::new();
    for receipt in &receipts {
        let answer = receipt.committed().await;
        if let Err(error) = &answer {
            assert_eq!(error.outcome(), Outcome::NotApplied, "{error}");
        }
        kinds.push(kind(answer));
    }
    // The later put may have found itself in a group of its own, with room.
    assert!(kinds[2] == full || kinds[2].is_none(), "{kinds:?}");
    assert_eq!((kinds[0], kinds[1], kinds[3], kinds[4]), (None, full, None, Some(ErrorKind::Conflict)));
    let exists = job.exists_many("c", (0..5).map(number)).await.unwrap();
    assert_eq!(exists, [false, true, false, false, kinds[2].is_none()]);
    // Nobody asks for this receipt, so the error is the flush's.
    drop(job.persist_put("c", number(5), vec![2; 4 << 20]).await.unwrap());
    assert_eq!(kind(job.flush().await), full);
    job.flush().await.unwrap();
    assert_eq!(job.check().await.unwrap(), Vec::<String>::new());
    p.close().await.unwrap();
    report("finished");
}

#[test]
fn a_medium_without_room_for_a_job_refuses_it_and_leaves_nothing_half() {
    run_mounting("no_room_for_a_job");
}

pub async fn no_room_for_a_job() {
    let dir = mounted();
    remount("size=40k", &dir);
    let p = Persistency::open(&dir).unwrap();
    assert_eq!(kind(p.open_job("job").await), Some(ErrorKind::StorageFull));
    assert_eq!(p.list_jobs().await.unwrap(), Vec::<String>::new());
    remount(SMALL, &dir);
    let job = p.open_job("job").await.unwrap();
    assert_eq!(job.put_acked("c", number(1), "").await.unwrap(), 1);
    p.close().await.unwrap();
    report("finished");
}

#[test]
fn a_medium_that_cannot_be_written_can_be_read() {
    run_mounting("a_read_only_medium");
}

pub async fn a_read_only_medium() {
    let dir = mounted();
    let p = Persistency::open(&dir).unwrap();
    p.open_job("job").await.unwrap().put_acked("c", number(1), "row").await.unwrap();
    p.close().await.unwrap();
    remount("ro", &dir);
    let p = Persistency::open(&dir).unwrap();
    assert_eq!(kind(p.open_job("job").await), Some(ErrorKind::Unsupported));
    assert_eq!(kind(p.open_job("another").await), Some(ErrorKind::Unsupported));
    assert_eq!(kind(p.drop_job("job").await), Some(ErrorKind::Unsupported));
    let job = p.open_job_with("job", JobOptions::new().mode(OpenMode::ReadOnly)).await.unwrap();
    assert_eq!(job.get("c", number(1)).await.unwrap().unwrap(), b"row");
    assert_eq!(job.count("c", ..).await.unwrap(), 1);
    assert_eq!(job.check().await.unwrap(), Vec::<String>::new());
    p.close().await.unwrap();
    report("finished");
}
