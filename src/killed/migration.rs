//! Kills after each step of the migration of an older library's file, and while it goes on.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use rusqlite::Connection;

use super::child::{self, Child, directory, report};
use super::{ROOT, root, rounds};
use crate::engine::{Boundaries, MortalSite, PlatformSite};
use crate::place::Place;
use crate::testing::Random;
use crate::{Clock, Key, Persistency};

/// An id that we write otherwise than the older library did, and one that we write like it.
const IDS: [&str; 2] = ["Alpha", "alpha"];
const ROWS: u32 = 500;
/// The variable that tells a child which job to open.
const ID: &str = "PERSISTENCY_TEST_ID";
/// The variable that tells a child after which step to wait for its end.
const STEP: &str = "PERSISTENCY_TEST_STEP";

/// What a process of the older library leaves when it dies: half of the rows are in its log alone.
fn old_file(dir: &Path, id: &str) {
    let building = directory();
    let conn = Connection::open(building.path().join("job.db")).unwrap();
    conn.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA user_version = 1;
         CREATE TABLE kv (category BLOB NOT NULL, key BLOB NOT NULL, payload BLOB NOT NULL,
                          PRIMARY KEY (category, key)) WITHOUT ROWID;",
    )
    .unwrap();
    for number in 0..ROWS {
        if number == ROWS / 2 {
            conn.execute_batch("PRAGMA wal_checkpoint; PRAGMA wal_autocheckpoint = 0").unwrap();
        }
        let row = (&b"msg"[..], &number.to_be_bytes()[..], vec![7; number as usize]);
        conn.execute("INSERT INTO kv VALUES (?1, ?2, ?3)", row).unwrap();
    }
    for end in ["", "-wal"] {
        fs::copy(building.path().join(format!("job.db{end}")), dir.join(format!("{id}.db{end}"))).unwrap();
    }
}

async fn assert_migrated(dir: &Path, id: &str) {
    let p = Persistency::open(dir).unwrap();
    assert_eq!(p.list_jobs().await.unwrap(), [id]);
    let job = p.open_job(id).await.unwrap();
    let rows = job.scan("msg", ..).await.unwrap();
    assert_eq!(rows.len(), ROWS as usize);
    for (number, row) in (0..ROWS).zip(rows) {
        assert_eq!(row.key, Key::from(&number.to_be_bytes()[..]));
        assert!(row.payload == vec![7; number as usize], "row {number}");
    }
    assert_eq!(job.check().await.unwrap(), Vec::<String>::new());
    assert_eq!(job.put_acked("msg", Key::empty(), "").await.unwrap(), 1);
    p.close().await.unwrap();
    let mut left: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.retain(|name| name != ".lock");
    let ours = if id == "Alpha" { "%41lpha.db" } else { "alpha.db" };
    assert_eq!(left, [ours], "the old file has gone with all that belonged to it");
}

fn start(dir: &Path, id: &str, step: &str) -> Child {
    let variables = [(ROOT, dir.to_str().unwrap()), (ID, id), (STEP, step)];
    Child::start("migrator", &variables)
}

#[tokio::test]
async fn a_migration_that_is_killed_after_any_step_is_done_by_the_next_opening() {
    for id in IDS {
        for step in ["before open", "after Settled", "after Built", "after Installed", "after Removed"] {
            let dir = directory();
            old_file(dir.path(), id);
            let mut child = start(dir.path(), id, step);
            child.until(step);
            child.kill();
            assert_migrated(dir.path(), id).await;
        }
    }
}

#[tokio::test]
async fn a_migration_that_is_killed_at_any_time_loses_nothing() {
    for round in 0..rounds(30) {
        let (dir, id) = (directory(), IDS[round as usize % 2]);
        old_file(dir.path(), id);
        let mut child = start(dir.path(), id, "");
        child.until("before open");
        sleep(Duration::from_micros(Random::new(round).below(15_000) as u64));
        println!("round {round}: {:?}", child.kill());
        assert_migrated(dir.path(), id).await;
    }
}

pub(super) async fn migrates() {
    let last = std::env::var(STEP).unwrap();
    let boundaries = Boundaries(Arc::new(move |name| {
        report(name);
        if name == last {
            child::order();
        }
    }));
    let site = MortalSite { inner: PlatformSite::new(root()), boundaries };
    let p = Persistency::at(root(), Place::at(site), Clock::system());
    p.open_job(&std::env::var(ID).unwrap()).await.unwrap();
    child::order();
}
