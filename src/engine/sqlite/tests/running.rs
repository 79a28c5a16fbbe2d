//! A running engine: full and failing media, durability, long reads beside writes, big payloads.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;

use futures_executor::block_on;

use super::*;
use crate::engine::sqlite::schema::INLINE_BYTES_MAX;
use crate::engine::{Fault, Look, Want};
use crate::error::Outcome;

async fn new_job() -> (tempfile::TempDir, SqliteSite, SqliteEngine) {
    let (dir, site) = site();
    let engine = open(&site, "job", OpenMode::Create).await.unwrap();
    (dir, site, engine)
}

fn pragma(engine: &SqliteEngine, name: &str) -> i64 {
    engine.with_writer(|conn| Ok(conn.pragma_query_value(None, name, |row| row.get(0))?)).unwrap()
}

fn execute(engine: &SqliteEngine, sql: &str) {
    engine.with_writer(|conn| Ok(conn.execute_batch(sql)?)).unwrap();
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

#[tokio::test]
async fn after_a_failed_sync_only_reads_go_on_until_the_job_is_opened_again() {
    let (dir, site, engine) = new_job().await;
    put(&engine, "a", "1").await;
    let failed = EngineError::new(Fault::SyncFailed, "on purpose");
    let notice = |conn: &rusqlite::Connection| {
        engine.notice_failed_sync(conn, &failed);
        Ok(())
    };
    engine.with_writer(notice).unwrap();
    for durable in [false, true] {
        let error = apply(&engine, Batch::new().put("c", key("b"), "2"), durable).await.unwrap_err();
        assert_eq!((error.fault, error.outcome), (Fault::SyncFailed, Outcome::NotApplied));
    }
    assert_eq!(engine.compact().await.unwrap_err().fault, Fault::SyncFailed);
    assert_eq!((row(&engine, "c", "a").await.unwrap(), count(&engine).await), (b"1".to_vec(), 1));
    engine.close().await.unwrap();
    assert!(dir.path().join("job.db-wal").exists(), "nothing is thrown away that was not synced");
    let engine = open(&site, "job", OpenMode::MustExist).await.unwrap();
    put(&engine, "b", "2").await;
    assert_eq!(count(&engine).await, 2);
}

#[tokio::test]
async fn gets_and_writes_go_on_beside_a_long_read_and_later_reads_see_them() {
    let (_dir, _site, engine) = new_job().await;
    put(&engine, "a", "1").await;
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
        execute(&engine, damage);
        assert!(engine.check().await.unwrap().contains(&finding.to_owned()), "{damage}");
    }
}

#[tokio::test]
async fn a_row_that_has_lost_its_payload_is_corrupt_and_can_be_written_again() {
    let (_dir, _site, engine) = new_job().await;
    put(&engine, "a", vec![1; 10_000]).await;
    execute(&engine, "DELETE FROM payloads");
    let points = vec![Point { space: Space::Rows("c".into()), key: b"a".to_vec() }];
    let get = Get { points, presence_only: false, bytes_max: 1 << 20 };
    assert_eq!(engine.get(get, Verify::Never).await.unwrap_err().fault, Fault::Corrupt);
    put(&engine, "a", vec![2; 20_000]).await;
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
