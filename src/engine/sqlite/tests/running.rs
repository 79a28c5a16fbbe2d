//! A running engine: full and failing media, durability, long reads beside writes, big payloads.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;

use futures_executor::block_on;
use rusqlite::{Connection, wal::CheckpointMode};

use super::*;
use crate::engine::sqlite::journal::ENTRY_BYTES_MAX;
use crate::engine::sqlite::schema::{self, CHECKPOINT_FRAMES, INLINE_BYTES_MAX, PAGE_BYTES};
use crate::engine::sqlite::writing::Writing;
use crate::engine::{Direct, Fault, Look, NotDirectly, Want, Wanted};
use crate::error::Outcome;
use crate::limits::SMALL_GET_BYTES_MAX;

async fn new_job() -> (tempfile::TempDir, SqliteSite, SqliteEngine) {
    let (dir, site) = site();
    let engine = open(&site, "job", OpenMode::Create).await.unwrap();
    (dir, site, engine)
}

fn pragma(engine: &SqliteEngine, name: &str) -> i64 {
    engine.with_writer(|writing| Ok(writing.conn.pragma_query_value(None, name, |row| row.get(0))?)).unwrap()
}

fn execute(engine: &SqliteEngine, sql: &str) {
    engine.with_writer(|writing| Ok(writing.conn.execute_batch(sql)?)).unwrap();
}

/// Puts everything into the tree, where it can be looked at.
fn fold(engine: &SqliteEngine) {
    engine.with_writer(Writing::fold_all).unwrap();
}

#[tokio::test]
async fn a_full_store_refuses_and_works_again_when_there_is_room() {
    let (_dir, _site, engine) = new_job().await;
    put(&engine, "before", "1").await;
    let pages = pragma(&engine, "page_count");
    execute(&engine, &format!("PRAGMA max_page_count = {}", pages + 20));
    let large = || Batch::new().put("c", key("small"), "x").put("c", key("large"), vec![0; 8 << 20]);
    for durable in [false, true, false] {
        let error = apply(&engine, large(), durable).await.unwrap_err();
        assert_eq!((error.fault, error.outcome), (Fault::StorageFull, Outcome::NotApplied));
        assert_eq!(row(&engine, "c", "small").await, None, "never half a batch");
    }
    put(&engine, "after", "2").await;
    apply(&engine, Batch::new().delete("c", key("before")), true).await.unwrap();
    execute(&engine, "PRAGMA max_page_count = 1000000");
    apply(&engine, large(), false).await.unwrap();
    assert_eq!(count(&engine).await, 3);
    assert_sound(&engine).await;
}

#[tokio::test]
async fn a_panic_in_the_decision_leaves_no_transaction_open() {
    let (_dir, _site, engine) = new_job().await;
    let decide = Box::new(|_: Vec<Option<Vec<u8>>>| -> Option<Vec<Write>> { panic!("on purpose") });
    let change = Change {
        reads: vec![Look { point: Point::record(), want: Want::Payload(usize::MAX) }],
        decide,
        durable: true,
    };
    assert!(catch_unwind(AssertUnwindSafe(|| block_on(engine.apply(change)))).is_err());
    put(&engine, "a", "1").await;
    assert_eq!(row(&engine, "c", "a").await.unwrap(), b"1");
}

#[tokio::test]
async fn only_durable_commits_are_synced() {
    let (_dir, _site, engine) = new_job().await;
    for (durable, synchronous) in [(false, 1), (true, 2), (true, 2), (false, 1)] {
        apply(&engine, Batch::new().put("c", key("a"), "1"), durable).await.unwrap();
        assert_eq!(pragma(&engine, "synchronous"), synchronous);
    }
    assert_eq!((pragma(&engine, "fullfsync"), pragma(&engine, "checkpoint_fullfsync")), (1, 1));
}

/// Has the engine believe that a sync has failed.
fn fail_sync(engine: &SqliteEngine) {
    let failed = EngineError::new(Fault::SyncFailed, "on purpose");
    let notice = |writing: &Writing| {
        writing.notice_failed_sync(&failed);
        Ok(())
    };
    engine.with_writer(notice).unwrap();
}

#[tokio::test]
async fn after_a_failed_sync_only_reads_go_on_until_the_job_is_opened_again() {
    let (dir, site, engine) = new_job().await;
    put(&engine, "a", "1").await;
    fail_sync(&engine);
    for durable in [false, true] {
        let error = apply(&engine, Batch::new().put("c", key("b"), "2"), durable).await.unwrap_err();
        assert_eq!((error.fault, error.outcome), (Fault::SyncFailed, Outcome::NotApplied));
    }
    assert_eq!(engine.compact().await.unwrap_err().fault, Fault::SyncFailed);
    assert!(!engine.rests(), "a job that had rested would be written to again");
    assert_eq!((row(&engine, "c", "a").await.unwrap(), count(&engine).await), (b"1".to_vec(), 1));
    engine.close().await.unwrap();
    assert!(dir.path().join("job.db-wal").exists(), "nothing is thrown away that was not synced");
    let engine = open(&site, "job", OpenMode::MustExist).await.unwrap();
    put(&engine, "b", "2").await;
    assert_eq!(count(&engine).await, 2);
}

#[tokio::test]
async fn a_sync_that_fails_as_a_job_is_laid_to_rest_is_told_and_nothing_is_thrown_away() {
    let (dir, _site, engine) = new_job().await;
    put(&engine, "a", "1").await;
    fail_sync(&engine);
    assert_eq!(engine.rest().await.unwrap_err().fault, Fault::SyncFailed);
    assert!(dir.path().join("job.db-wal").exists());
}

#[tokio::test]
async fn a_job_at_rest_has_its_log_taken_in_and_connects_again() {
    let (dir, _site, engine) = new_job().await;
    put(&engine, "a", "1").await;
    assert_eq!(count(&engine).await, 1);
    engine.rest().await.unwrap();
    assert!(!dir.path().join("job.db-wal").exists());
    engine.reconnect().await.unwrap();
    assert_eq!(row(&engine, "c", "a").await.unwrap(), b"1");
}

#[tokio::test]
async fn gets_and_writes_go_on_beside_a_long_read_and_later_reads_see_them() {
    let (_dir, _site, engine) = new_job().await;
    put(&engine, "a", "1").await;
    fold(&engine);
    let (entered, has_entered) = std::sync::mpsc::channel();
    let (leave, may_leave) = std::sync::mpsc::channel::<()>();
    let gate = std::sync::Mutex::new((entered, may_leave));
    let mut long = Box::pin(engine.read_there(move |conn| {
        let count = || -> i64 { conn.query_row("SELECT count(*) FROM rows", (), |row| row.get(0)).unwrap() };
        conn.execute_batch("BEGIN").unwrap();
        let before = count();
        let gate = gate.lock().unwrap();
        gate.0.send(()).unwrap();
        gate.1.recv().unwrap();
        let after = count();
        conn.execute_batch("COMMIT").unwrap();
        Ok((before, after))
    }));
    let pending = poll_fn(|context| Poll::Ready(long.as_mut().poll(context).is_pending())).await;
    has_entered.recv().unwrap();
    put(&engine, "b", "2").await;
    fold(&engine);
    apply(&engine, Batch::new().put("c", key("c"), "3"), true).await.unwrap();
    assert_eq!(row(&engine, "c", "b").await.unwrap(), b"2");
    leave.send(()).unwrap();
    assert!(pending);
    assert_eq!(long.await.unwrap(), (1, 1), "its view stays what it was");
    for more in 0..50_u8 {
        put(&engine, [more], "x").await;
        assert_eq!(count(&engine).await, 4 + u64::from(more), "a read after a commit sees it");
    }
}

#[tokio::test]
async fn big_and_small_payloads_replace_each_other() {
    let (_dir, _site, engine) = new_job().await;
    let sizes = [0, 1, INLINE_BYTES_MAX, INLINE_BYTES_MAX + 1, 1 << 20];
    for first in sizes {
        for second in sizes {
            let batch = Batch::new().put("c", key("a"), vec![1; first]).put("c", key("b"), vec![2; first]);
            apply(&engine, batch, false).await.unwrap();
            put(&engine, "a", vec![3; second]).await;
            assert_eq!(row(&engine, "c", "a").await.unwrap(), vec![3; second]);
            assert_eq!(row(&engine, "c", "b").await.unwrap(), vec![2; first]);
            assert_sound(&engine).await;
            let delete = if first < second {
                Batch::new().delete("c", key("a")).delete("c", key("b"))
            } else {
                Batch::new().delete_range("c", key("a")..key("b")).clear("c")
            };
            apply(&engine, delete, false).await.unwrap();
            assert_eq!(count(&engine).await, 0);
            assert_sound(&engine).await;
        }
    }
}

#[tokio::test]
async fn check_finds_payloads_and_rows_without_each_other() {
    let cases = [
        ("DELETE FROM payloads WHERE id = 1", "1 rows have lost their payload."),
        ("INSERT INTO payloads (payload) VALUES (x'00')", "1 payloads belong to no row."),
        ("UPDATE rows SET big = 1", "1 rows share their payload with another row."),
    ];
    for (damage, finding) in cases {
        let (_dir, _site, engine) = new_job().await;
        put(&engine, "a", vec![1; 10_000]).await;
        put(&engine, "b", vec![2; 10_000]).await;
        assert_sound(&engine).await;
        fold(&engine);
        execute(&engine, damage);
        assert!(engine.check().await.unwrap().contains(&finding.to_owned()), "{damage}");
    }
}

#[tokio::test]
async fn a_row_that_has_lost_its_payload_is_corrupt_and_can_be_written_again() {
    let (_dir, _site, engine) = new_job().await;
    put(&engine, "a", vec![1; 10_000]).await;
    fold(&engine);
    execute(&engine, "DELETE FROM payloads");
    let points = vec![Point { space: Space::Rows("c".into()), key: b"a".to_vec() }];
    let get = Get { points, presence_only: false, bytes_max: 1 << 20 };
    assert_eq!(engine.get(get, Verify::Never).await.unwrap_err().fault, Fault::Corrupt);
    put(&engine, "a", vec![2; 20_000]).await;
    assert_eq!(row(&engine, "c", "a").await.unwrap(), vec![2; 20_000]);
    fold(&engine);
    assert_eq!(row(&engine, "c", "a").await.unwrap(), vec![2; 20_000]);
    assert_sound(&engine).await;
}

#[tokio::test]
async fn a_closed_engine_answers_with_an_error() {
    let (_dir, _site, engine) = new_job().await;
    engine.close().await.unwrap();
    assert!(apply(&engine, Batch::new(), false).await.is_err());
    assert!(engine.check().await.is_err());
    engine.close().await.unwrap();
}

#[test]
fn an_engine_needs_no_runtime() {
    block_on(async {
        let (_dir, _site, engine) = new_job().await;
        put(&engine, "a", "1").await;
        assert_eq!(count(&engine).await, 1);
    });
}

#[tokio::test]
async fn a_commit_has_its_room_in_the_database_before_a_checkpoint() {
    let (dir, _site, engine) = new_job().await;
    for size in [1 << 20, 3 << 20, 1] {
        put(&engine, "a", vec![1; size]).await;
        put(&engine, "b", vec![2; size]).await;
        let needed = pragma(&engine, "page_count") * pragma(&engine, "page_size");
        let bytes = fs::metadata(dir.path().join("job.db")).unwrap().len();
        assert!(bytes >= u64::try_from(needed).unwrap(), "{bytes} bytes for {needed}");
        assert!(engine.bytes().await.unwrap().unwrap() > bytes, "still in the write-ahead log");
    }
}

fn directly(direct: &dyn Direct, key: &str) -> Result<Option<Vec<u8>>, NotDirectly> {
    direct.row(&Wanted { category: "c", key: key.as_bytes(), presence_only: false })
}

#[tokio::test]
async fn direct_reads_see_what_was_applied_and_leave_large_payloads_to_the_engine() {
    let (_dir, _site, engine) = new_job().await;
    let direct = engine.direct().unwrap();
    assert_eq!(directly(&*direct, "a"), Ok(None));
    for payload in
        [vec![], vec![1; INLINE_BYTES_MAX], vec![2; INLINE_BYTES_MAX + 1], vec![3; SMALL_GET_BYTES_MAX]]
    {
        put(&engine, "a", payload.clone()).await;
        assert_eq!(directly(&*direct, "a"), Ok(Some(payload)));
    }
    put(&engine, "a", vec![4; SMALL_GET_BYTES_MAX + 1]).await;
    assert_eq!(directly(&*direct, "a"), Err(NotDirectly));
    let wanted = Wanted { category: "c", key: b"a", presence_only: true };
    assert_eq!(direct.row(&wanted), Ok(Some(Vec::new())));
    assert_eq!(direct.row(&Wanted { category: "d", ..wanted }), Ok(None));
    apply(&engine, Batch::new().delete("c", key("a")), false).await.unwrap();
    assert_eq!(directly(&*direct, "a"), Ok(None));
}

#[tokio::test]
async fn direct_reads_keep_no_view_beyond_a_change_nor_in_the_way_of_the_medium() {
    let (dir, _site, engine) = new_job().await;
    let direct = engine.direct().unwrap();
    for round in 0..4_u8 {
        // Some of it goes to the tree at once and some by a fold.
        put(&engine, "big", vec![round; ENTRY_BYTES_MAX]).await;
        for n in 0..8 {
            put(&engine, format!("{n}"), vec![round; 500]).await;
            for _ in 0..3 {
                assert_eq!(directly(&*direct, "big"), Ok(Some(vec![round; ENTRY_BYTES_MAX])));
                assert_eq!(directly(&*direct, &format!("{n}")), Ok(Some(vec![round; 500])));
            }
        }
        engine.compact().await.unwrap();
        for n in 0..8 {
            assert_eq!(directly(&*direct, &format!("{n}")), Ok(Some(vec![round; 500])));
        }
        assert_eq!(fs::metadata(dir.path().join("job.db-wal")).unwrap().len(), 0);
    }
}

#[tokio::test]
#[allow(clippy::disallowed_methods, reason = "direct reads are made on any thread")]
async fn closing_waits_for_direct_reads_and_leaves_nothing_open() {
    let (dir, site, engine) = new_job().await;
    put(&engine, "a", "1").await;
    let direct = engine.direct().unwrap();
    let (started, waiting) = std::sync::mpsc::channel();
    let readers: Vec<_> = (0..8)
        .map(|_| {
            let (direct, started) = (Arc::clone(&direct), started.clone());
            std::thread::spawn(move || {
                // All connections may be in use; only the first answer tells that one was free.
                while directly(&*direct, "a") == Err(NotDirectly) {}
                started.send(()).unwrap();
                while let Ok(row) = directly(&*direct, "a") {
                    assert_eq!(row.unwrap(), b"1");
                }
            })
        })
        .collect();
    (0..readers.len()).for_each(|_| waiting.recv().unwrap());
    engine.close().await.unwrap();
    assert_eq!(directly(&*direct, "a"), Err(NotDirectly));
    assert_eq!(names(dir.path()), ["job.db"]);
    readers.into_iter().for_each(|reader| reader.join().unwrap());
    let engine = open(&site, "job", OpenMode::ReadOnly).await.unwrap();
    assert!(engine.direct().is_none());
}

#[tokio::test]
#[allow(clippy::disallowed_methods, reason = "direct reads are made on any thread")]
async fn readers_that_never_rest_do_not_keep_the_write_ahead_log_from_starting_over() {
    let (dir, _site, engine) = new_job().await;
    put(&engine, "a", "1").await;
    let direct = engine.direct().unwrap();
    let ended = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let (direct, ended) = (Arc::clone(&direct), Arc::clone(&ended));
            std::thread::spawn(move || {
                while !ended.load(Ordering::Relaxed) {
                    assert_eq!(directly(&*direct, "a").unwrap().unwrap(), b"1");
                }
            })
        })
        .collect();
    let frames = 8 * CHECKPOINT_FRAMES as usize;
    let mut longest = 0;
    for n in 0..frames / 16 {
        put(&engine, format!("{n}"), vec![0; 16 * PAGE_BYTES]).await;
        longest = longest.max(fs::metadata(dir.path().join("job.db-wal")).unwrap().len());
    }
    ended.store(true, Ordering::Relaxed);
    readers.into_iter().for_each(|reader| reader.join().unwrap());
    assert!(longest < (frames / 2 * PAGE_BYTES) as u64, "{longest}");
}

#[tokio::test]
#[allow(clippy::disallowed_methods, reason = "direct reads are made on any thread")]
async fn what_one_direct_read_has_seen_every_later_one_sees() {
    let (dir, _site, engine) = new_job().await;
    put(&engine, "a", 0_u64.to_be_bytes()).await;
    let direct = engine.direct().unwrap();
    let (ended, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let readers: Vec<_> = (0..4)
        .map(|_| {
            let (direct, ended, seen) = (Arc::clone(&direct), Arc::clone(&ended), Arc::clone(&seen));
            std::thread::spawn(move || {
                while !ended.load(Ordering::SeqCst) {
                    let before = seen.load(Ordering::SeqCst);
                    let Ok(row) = directly(&*direct, "a") else { continue };
                    let now = u64::from_be_bytes(*row.unwrap().first_chunk().unwrap());
                    assert!(now >= before, "{now} after {before}");
                    seen.fetch_max(now, Ordering::SeqCst);
                }
            })
        })
        .collect();
    for n in 1..200_u64 {
        // Into the journal and from there into the tree, into the tree at once, and beside it.
        let bytes = [8, ENTRY_BYTES_MAX, INLINE_BYTES_MAX + 1][n as usize % 3];
        let mut payload = n.to_be_bytes().to_vec();
        payload.resize(bytes, 0);
        put(&engine, "a", payload).await;
        seen.fetch_max(n, Ordering::SeqCst);
        fold(&engine);
        if n % 10 == 0 {
            engine.compact().await.unwrap();
            let left = fs::metadata(dir.path().join("job.db-wal")).unwrap().len();
            assert_eq!(left, 0, "readers are not in the way of compacting");
        }
    }
    ended.store(true, Ordering::SeqCst);
    readers.into_iter().for_each(|reader| reader.join().unwrap());
    assert_sound(&engine).await;
}

#[tokio::test]
async fn views_are_kept_again_after_a_checkpoint_that_somebody_was_in_the_way_of() {
    let (dir, _site, engine) = new_job().await;
    let direct = engine.direct().unwrap();
    put(&engine, "a", "1").await;
    fold(&engine);
    let db = dir.path().join("job.db");
    let stranger = schema::open_reader(&db).unwrap();
    stranger.execute_batch("BEGIN; SELECT * FROM rows").unwrap();
    put(&engine, "a", "2").await;
    engine.compact().await.unwrap();
    stranger.execute_batch("COMMIT").unwrap();
    // What is read again is read from the view that was begun before it.
    for _ in 0..3 {
        assert_eq!(directly(&*direct, "a"), Ok(Some(b"2".to_vec())));
    }
    let writer = schema::open_writer(&db).unwrap();
    writer.execute("INSERT INTO meta VALUES (x'00', x'00')", ()).unwrap();
    writer.busy_timeout(std::time::Duration::ZERO).unwrap();
    let in_the_way = writer.wal_checkpoint_v2(rusqlite::DEFAULT_NAME, CheckpointMode::TRUNCATE);
    assert!(in_the_way.is_err(), "{in_the_way:?}");
}

#[test]
fn every_connection_has_its_cache_and_so_has_what_fills_a_new_database() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("job.db");
    let cache = |conn: &Connection| {
        let kib: i32 = conn.pragma_query_value(None, "cache_size", |row| row.get(0)).unwrap();
        assert_eq!(kib, -schema::CACHE_KIB);
        Ok(())
    };
    schema::build(&path, b"record", cache).unwrap();
    cache(&schema::open_at_rest(&path).unwrap()).unwrap();
    let writer = schema::open_writer(&path).unwrap();
    cache(&writer).unwrap();
    cache(&schema::open_reader(&path).unwrap()).unwrap();
}
