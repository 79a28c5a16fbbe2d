//! Files of format 1 as they are checked in: what every later version has to open with all that they hold.
//!
//! `PERSISTENCY_MAKE_FIXTURES=1` writes them anew, which is right only while nothing has been released.

use std::fs;
use std::path::{Path, PathBuf};

use persistency::{Batch, Job, JobOptions, Key, LogRetention, OpenMode, Persistency, WatchItem};
use serde_json::Value;

/// Bytes of the log: more than the history has.
const LOG_BYTES: u64 = 1024 * 1024;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// What the fixtures hold.
fn described() -> Value {
    serde_json::from_slice(&fs::read(folder().join("format-1.json")).unwrap()).unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn hex(value: &Value) -> Vec<u8> {
    let digits = text(value);
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

fn payload(value: &Value) -> Vec<u8> {
    match value.as_u64() {
        Some(length) => (0..length).map(|at| (at * 31 % 251) as u8).collect(),
        None => hex(value),
    }
}

/// The batches of the history.
fn history(described: &Value) -> Vec<Batch> {
    let key = |operation: &Value| Key::from_bytes(hex(&operation[2]));
    let batches = described["history"].as_array().unwrap().iter();
    let add = |batch: Batch, operation: &Value| match (text(&operation[0]), text(&operation[1])) {
        ("put", category) => batch.put(category, key(operation), payload(&operation[3])),
        ("delete", category) => batch.delete(category, key(operation)),
        ("deletePrefix", category) => batch.delete_prefix(category, key(operation)),
        (_, category) => batch.clear(category),
    };
    batches.map(|batch| batch.as_array().unwrap().iter().fold(Batch::new(), add)).collect()
}

async fn open(root: &Path, mode: OpenMode) -> (Persistency, Job) {
    let p = Persistency::open(root.to_str().unwrap()).unwrap();
    let log = JobOptions::new().log(LogRetention::LastBytes(LOG_BYTES));
    let options = if mode == OpenMode::Create { log } else { JobOptions::new() };
    let job = p.open_job_with("alpha", options.mode(mode)).await.unwrap();
    (p, job)
}

/// Writes the fixtures: a job that was closed, and one whose process was killed.
async fn make(described: &Value) {
    let root = tempfile::tempdir().unwrap();
    let (p, job) = open(root.path(), OpenMode::Create).await;
    let (name, seq) = (text(&described["holder"][0]), described["holder"][1].as_u64().unwrap());
    job.hold_log(name).await.unwrap();
    for (number, batch) in history(described).into_iter().enumerate() {
        job.persist_acked(batch).await.unwrap();
        if Some(number as u64 + 1) == described["compacted_after"].as_u64() {
            job.compact().await.unwrap();
        }
    }
    job.advance_log(name, seq).await.unwrap();
    for (from, to) in [("alpha.db", "sqlite-1-killed.db"), ("alpha.db-wal", "sqlite-1-killed.db-wal")] {
        fs::copy(root.path().join(from), folder().join(to)).unwrap();
    }
    p.close().await.unwrap();
    fs::copy(root.path().join("alpha.db"), folder().join("sqlite-1.db")).unwrap();
}

/// That a job holds what the fixtures hold.
async fn holds(job: &Job, described: &Value) {
    let history = history(described);
    let info = job.info().await.unwrap();
    assert_eq!((info.committed_seq, info.log_first_seq), (history.len() as u64, 1));
    assert_eq!(info.log, LogRetention::LastBytes(LOG_BYTES));
    let holder = (text(&described["holder"][0]).to_owned(), described["holder"][1].as_u64().unwrap());
    assert_eq!(info.log_holders, [holder]);

    let rows = described["rows"].as_array().unwrap();
    let mut found = Vec::new();
    for category in job.categories().await.unwrap() {
        for row in job.scan(&category, ..).await.unwrap() {
            found.push((category.clone(), row.key.into_bytes(), row.payload));
        }
    }
    let expected = rows.iter().map(|row| (text(&row[0]).to_owned(), hex(&row[1]), payload(&row[2])));
    assert!(found.into_iter().eq(expected), "other rows than are described");

    let mut position = job.position().await.unwrap();
    position.seq = 0;
    let mut log = job.log_from(position).await.unwrap();
    for (number, batch) in history.iter().enumerate() {
        let Some(Ok(WatchItem::Commit(commit))) = log.next().await else {
            panic!("commit {number} is there")
        };
        assert!(
            commit.seq == number as u64 + 1 && *commit.operations == *batch.operations(),
            "commit {number}"
        );
    }
    assert_eq!(job.check().await.unwrap(), Vec::<String>::new());
}

/// Opens a copy of a fixture, looks at what it holds, and goes on with it.
async fn opens(files: &[(&str, &str)]) {
    let described = described();
    let root = tempfile::tempdir().unwrap();
    for (from, to) in files {
        fs::copy(folder().join(from), root.path().join(to)).unwrap();
    }
    let (p, job) = open(root.path(), OpenMode::MustExist).await;
    holds(&job, &described).await;
    let generation = job.info().await.unwrap().generation;
    job.persist_acked(Batch::new().put("later", Key::empty(), "1").clear("later")).await.unwrap();
    p.close().await.unwrap();
    let (p, job) = open(root.path(), OpenMode::MustExist).await;
    let info = job.info().await.unwrap();
    let commits = described["history"].as_array().unwrap().len() as u64;
    assert_eq!((info.generation, info.committed_seq), (generation, commits + 1));
    assert_eq!(job.categories().await.unwrap().len(), 5);
    p.close().await.unwrap();
}

#[tokio::test]
async fn a_job_of_format_1_opens_with_all_that_it_holds() {
    if std::env::var_os("PERSISTENCY_MAKE_FIXTURES").is_some() {
        make(&described()).await;
    }
    opens(&[("sqlite-1.db", "alpha.db")]).await;
    opens(&[("sqlite-1-killed.db", "alpha.db"), ("sqlite-1-killed.db-wal", "alpha.db-wal")]).await;
}
