//! Files of the Nim library, made with plain SQL, and migrations that stop anywhere.

use rusqlite::Connection;

use super::*;
use crate::engine::Fault;
use crate::engine::sqlite::files::Files;
use crate::engine::sqlite::migrate::{Step, migrate};

const ROWS: [(&[u8], &[u8], usize); 5] = [
    (b"", b"", 0),
    (b"c", b"\x00\x01a", 3),
    (b"c", b"\xFF\xFF", 10_000),
    (b"c", b"z", 100_000),
    (b"d", b"z", 1),
];

/// Opens a database as the Nim library does, and writes rows.
fn nim(path: &Path) -> Connection {
    let conn = Connection::open(path).unwrap();
    conn.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA user_version = 1;
         CREATE TABLE IF NOT EXISTS kv (category BLOB NOT NULL, key BLOB NOT NULL, payload BLOB NOT NULL,
         PRIMARY KEY (category, key)) WITHOUT ROWID;",
    )
    .unwrap();
    for (category, key, size) in ROWS {
        conn.execute("INSERT OR REPLACE INTO kv VALUES (?1, ?2, ?3)", (category, key, vec![7_u8; size]))
            .unwrap();
    }
    conn
}

async fn assert_migrated(engine: &SqliteEngine) {
    for (category, key, size) in ROWS {
        let category = std::str::from_utf8(category).unwrap();
        assert_eq!(row(engine, category, key).await.unwrap(), vec![7; size]);
    }
    assert_eq!(count(engine).await, 3);
    assert_eq!(value(engine, Point::record()).await.unwrap(), b"first record");
    assert_sound(engine).await;
}

#[tokio::test]
async fn a_nim_file_becomes_ours() {
    for (id, old) in [("job", "job.db"), ("Job %", "Job %.db")] {
        for mode in [OpenMode::Create, OpenMode::MustExist] {
            let (dir, site) = site();
            nim(&dir.path().join(old)).close().unwrap();
            assert_eq!(site.list().await.unwrap(), [id]);
            let engine = open(&site, id, mode).await.unwrap();
            assert_migrated(&engine).await;
            engine.close().await.unwrap();
            assert_eq!(site.list().await.unwrap(), [id]);
            let left = names(dir.path());
            assert_eq!(left.len(), 1, "{left:?}");
            assert_migrated(&open(&site, id, OpenMode::ReadOnly).await.unwrap()).await;
        }
    }
}

#[tokio::test]
async fn a_nim_file_whose_process_died_keeps_what_was_in_its_log() {
    for (id, old) in [("job", "job.db"), ("Job", "Job.db")] {
        let (dir, _) = site();
        let conn = nim(&dir.path().join(old));
        let crash = crash(dir.path(), &[".db", "-wal", "-shm"]);
        drop(conn);
        assert_eq!(names(&crash).len(), 3, "database, log and index");
        let crashed = SqliteSite::new(&crash);
        let engine = open(&crashed, id, OpenMode::Create).await.unwrap();
        assert_migrated(&engine).await;
        engine.close().await.unwrap();
        assert_eq!(names(&crash).len(), 1);
    }
}

#[tokio::test]
async fn a_migration_that_stops_anywhere_is_done_by_the_next_opening() {
    let steps = [Step::Settled, Step::Built, Step::Installed, Step::Removed];
    for (id, old) in [("job", "job.db"), ("Job", "Job.db")] {
        for stop in steps {
            let (dir, _) = site();
            let conn = nim(&dir.path().join(old));
            let crash = crash(dir.path(), &[".db", "-wal", "-shm"]);
            drop(conn);
            let files = Files::of(&crash, id).unwrap();
            let stopped = migrate(&files, &crash.join(old), b"first record", |step| {
                if step == stop { Err(EngineError::new(Fault::Other, "stopped")) } else { Ok(()) }
            });
            assert!(stopped.is_err());
            let again = SqliteSite::new(&crash);
            assert_eq!(again.list().await.unwrap(), [id], "{stop:?}");
            let engine = open(&again, id, OpenMode::MustExist).await.unwrap();
            assert_migrated(&engine).await;
            engine.close().await.unwrap();
            assert_eq!(names(&crash).len(), 1, "{stop:?}: {:?}", names(&crash));
        }
    }
}

#[tokio::test]
async fn ours_wins_over_an_old_file_and_dropping_takes_both() {
    let (dir, site) = site();
    open(&site, "Job", OpenMode::Create).await.unwrap().close().await.unwrap();
    nim(&dir.path().join("Job.db")).close().unwrap();
    let engine = open(&site, "Job", OpenMode::Create).await.unwrap();
    assert_eq!(count(&engine).await, 0);
    engine.close().await.unwrap();
    assert_eq!(names(dir.path()), ["%4aob.db"]);
    nim(&dir.path().join("Job.db")).close().unwrap();
    site.destroy("Job").await.unwrap();
    assert_eq!(names(dir.path()), Vec::<String>::new());
}

#[tokio::test]
async fn another_jobs_file_is_never_taken_for_an_old_one() {
    let (dir, site) = site();
    let other = open(&site, "a b", OpenMode::Create).await.unwrap();
    put(&other, "x", "1").await;
    other.close().await.unwrap();
    assert_eq!(names(dir.path()), ["a%20b.db"]);
    assert_eq!(open(&site, "a%20b", OpenMode::MustExist).await.err().unwrap().fault, Fault::Missing);
    site.destroy("a%20b").await.unwrap();
    nim(&dir.path().join("lower.db")).close().unwrap();
    assert_eq!(open(&site, "LOWER", OpenMode::MustExist).await.err().unwrap().fault, Fault::Missing);
    assert_eq!(names(dir.path()), ["a%20b.db", "lower.db"]);
}

#[tokio::test]
async fn what_cannot_be_migrated_stays_as_it_is() {
    let cases = [
        ("PRAGMA user_version = 2", Fault::TooNew),
        ("CREATE TABLE more (x)", Fault::Corrupt),
        ("ALTER TABLE kv ADD COLUMN more", Fault::Corrupt),
        ("DROP TABLE kv; CREATE TABLE other (x)", Fault::Corrupt),
        ("INSERT INTO kv VALUES (x'FF', x'', x'')", Fault::Corrupt),
    ];
    for (sql, fault) in cases {
        let (dir, site) = site();
        let conn = nim(&dir.path().join("job.db"));
        conn.execute_batch(sql).unwrap();
        conn.close().unwrap();
        let rows = |conn: &Connection| -> i64 {
            conn.query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get(0)).unwrap()
        };
        let before = rows(&Connection::open(dir.path().join("job.db")).unwrap());
        assert_eq!(open(&site, "job", OpenMode::Create).await.err().unwrap().fault, fault, "{sql}");
        assert_eq!(rows(&Connection::open(dir.path().join("job.db")).unwrap()), before, "{sql}");
    }
}

#[tokio::test]
async fn an_old_file_in_use_is_busy_and_one_read_only_is_left_alone() {
    let (dir, site) = site();
    let conn = nim(&dir.path().join("job.db"));
    conn.execute_batch("BEGIN; SELECT * FROM kv").unwrap();
    let reader = open(&site, "job", OpenMode::ReadOnly).await.err().unwrap();
    assert_eq!(reader.fault, Fault::Unsupported);
    drop(conn);
    let before = contents(dir.path());
    assert_eq!(open(&site, "job", OpenMode::ReadOnly).await.err().unwrap().fault, Fault::Unsupported);
    assert!(contents(dir.path()) == before);
    let idle = nim(&dir.path().join("job.db"));
    assert_eq!(open(&site, "job", OpenMode::Create).await.err().unwrap().fault, Fault::Busy);
    drop(idle);
    assert_migrated(&open(&site, "job", OpenMode::Create).await.unwrap()).await;
}

#[tokio::test]
async fn what_a_nim_process_left_before_its_first_table_is_an_empty_job() {
    let (dir, site) = site();
    let conn = Connection::open(dir.path().join("job.db")).unwrap();
    conn.execute_batch("PRAGMA journal_mode = WAL").unwrap();
    conn.close().unwrap();
    let engine = open(&site, "job", OpenMode::Create).await.unwrap();
    assert_eq!(count(&engine).await, 0);
    assert_sound(&engine).await;
}
