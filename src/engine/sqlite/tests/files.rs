//! Files that a job finds or leaves: headers, damage, other formats, leftovers, room on disk.

use super::*;
use crate::engine::sqlite::schema::{APPLICATION_ID, FORMAT, PAGE_BYTES};
use crate::engine::{Fault, Sharing};

/// Bytes of a database's header: where its format and its application id are.
const FORMAT_AT: usize = 60;
const APPLICATION_AT: usize = 68;

/// A closed job with one row, and one change of its bytes.
async fn changed_job(change: impl FnOnce(&mut Vec<u8>)) -> (tempfile::TempDir, SqliteSite) {
    let (dir, site) = site();
    let engine = open(&site, "job", OpenMode::Create).await.unwrap();
    put(&engine, "a", "1").await;
    engine.close().await.unwrap();
    let path = dir.path().join("job.db");
    let mut bytes = fs::read(&path).unwrap();
    change(&mut bytes);
    fs::write(&path, bytes).unwrap();
    (dir, site)
}

/// Every mode fails with the fault, and no byte of the directory changes.
async fn assert_refused(dir: &Path, site: &SqliteSite, fault: Fault) {
    let before = contents(dir);
    for mode in ALL_MODES {
        assert_eq!(open(site, "job", mode).await.err().unwrap().fault, fault, "{mode:?}");
        assert!(contents(dir) == before, "{mode:?} left everything as it was");
    }
}

#[tokio::test]
async fn a_closed_job_is_one_marked_file() {
    let (dir, _site) = changed_job(|bytes| {
        let word = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        assert_eq!((word(APPLICATION_AT), word(FORMAT_AT)), (APPLICATION_ID, FORMAT));
        assert_eq!(&bytes[APPLICATION_AT..APPLICATION_AT + 4], b"PSTY");
        assert_eq!(usize::from(u16::from_be_bytes([bytes[16], bytes[17]])), PAGE_BYTES);
        assert_eq!(word(64), 1, "auto-vacuum is incremental");
        assert_eq!(bytes[18..20], [2, 2], "the journal is a write-ahead log");
    })
    .await;
    assert_eq!(names(dir.path()), ["job.db"]);
}

#[tokio::test]
async fn a_newer_format_is_refused_untouched() {
    let (dir, site) = changed_job(|bytes| bytes[FORMAT_AT + 3] = 2).await;
    assert_refused(dir.path(), &site, Fault::TooNew).await;
}

#[tokio::test]
async fn a_newer_format_in_the_write_ahead_log_is_refused_with_all_its_rows() {
    let (dir, site) = site();
    let engine = open(&site, "job", OpenMode::Create).await.unwrap();
    let newer = rusqlite::Connection::open(dir.path().join("job.db")).unwrap();
    newer.pragma_update(None, "user_version", FORMAT + 1).unwrap();
    let crash = crash(dir.path(), &[".db", "-wal"]);
    let before = contents(&crash);
    let crashed = SqliteSite::new(&crash);
    let error = open(&crashed, "job", OpenMode::Create).await.err().unwrap();
    assert_eq!(error.fault, Fault::TooNew);
    let after = contents(&crash);
    assert!(before.iter().all(|file| after.contains(file)), "both files are as they were");
    drop(newer);
    engine.close().await.unwrap();
}

#[tokio::test]
async fn a_file_of_another_application_is_refused_untouched() {
    let (dir, site) = changed_job(|bytes| bytes[APPLICATION_AT] ^= 1).await;
    assert_refused(dir.path(), &site, Fault::Corrupt).await;
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_untouched() {
    for content in ["x".repeat(10_000), "x".to_owned()] {
        let (dir, site) = changed_job(|bytes| *bytes = content.into_bytes()).await;
        assert_refused(dir.path(), &site, Fault::Corrupt).await;
    }
}

#[tokio::test]
async fn a_damaged_tree_is_corrupt() {
    let (_dir, site) = changed_job(|bytes| bytes[PAGE_BYTES..].fill(0xAA)).await;
    let Ok(engine) = open(&site, "job", OpenMode::MustExist).await else { return };
    let page = PageRequest {
        space: Space::Rows("c".into()),
        span: Span::all(),
        reverse: false,
        rows_max: 10,
        bytes_max: 1000,
        keys_only: false,
    };
    assert_eq!(engine.page(page, Verify::Never).await.unwrap_err().fault, Fault::Corrupt);
    assert_ne!(engine.check().await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn an_empty_file_is_no_job_and_gives_way_to_a_new_one() {
    let (dir, site) = site();
    fs::write(dir.path().join("job.db"), "").unwrap();
    assert_eq!(site.list().await.unwrap(), Vec::<String>::new());
    for mode in [OpenMode::MustExist, OpenMode::ReadOnly] {
        assert_eq!(open(&site, "job", mode).await.err().unwrap().fault, Fault::Missing);
    }
    let engine = open(&site, "job", OpenMode::Create).await.unwrap();
    assert_eq!(value(&engine, Point::record()).await.unwrap(), b"first record");
}

#[tokio::test]
async fn leftovers_of_a_deleted_job_do_not_come_back() {
    let (dir, site) = site();
    let engine = open(&site, "job", OpenMode::Create).await.unwrap();
    put(&engine, "a", "1").await;
    let crash = crash(dir.path(), &["-wal"]);
    fs::copy(dir.path().join("job.db"), crash.join("job.db.new")).unwrap();
    let crashed = SqliteSite::new(&crash);
    assert_eq!(crashed.list().await.unwrap(), Vec::<String>::new());
    let anew = open(&crashed, "job", OpenMode::Create).await.unwrap();
    assert_eq!((count(&engine).await, count(&anew).await), (1, 0));
    assert_sound(&anew).await;
    anew.close().await.unwrap();
    assert_eq!(names(&crash), ["job.db"]);
    engine.close().await.unwrap();
}

#[tokio::test]
async fn what_a_dead_process_had_committed_is_there() {
    let (dir, site) = site();
    let engine = open(&site, "job", OpenMode::Create).await.unwrap();
    put(&engine, "a", vec![1; 100_000]).await;
    let crash = crash(dir.path(), &[".db", "-wal"]);
    let revived = open(&SqliteSite::new(&crash), "job", OpenMode::MustExist).await.unwrap();
    assert_eq!(row(&revived, "c", "a").await.unwrap(), vec![1; 100_000]);
    assert_sound(&revived).await;
}

#[tokio::test]
async fn reading_only_creates_nothing_and_writes_nothing() {
    let (dir, site) = changed_job(|_| {}).await;
    let before = contents(dir.path());
    let reader = open(&site, "job", OpenMode::ReadOnly).await.unwrap();
    assert_eq!(reader.sharing(), Sharing::ReadOnly);
    assert_eq!(row(&reader, "c", "a").await.unwrap(), b"1");
    assert_eq!(count(&reader).await, 1);
    assert_sound(&reader).await;
    assert_eq!(apply(&reader, Batch::new(), false).await.unwrap_err().fault, Fault::Unsupported);
    assert_eq!(reader.compact().await.unwrap_err().fault, Fault::Unsupported);
    reader.close().await.unwrap();
    assert!(contents(dir.path()) == before);
}

#[tokio::test]
async fn rows_take_little_more_room_than_their_bytes() {
    const KEY_BYTES: usize = 20;
    const TOTAL_BYTES: usize = 4 << 20;
    for payload_bytes in [100, 1024, 64 * 1024] {
        let (dir, site) = site();
        let engine = open(&site, "job", OpenMode::Create).await.unwrap();
        let rows = TOTAL_BYTES / (KEY_BYTES + payload_bytes);
        let batch = (0..rows).fold(Batch::new(), |batch, row| {
            batch.put("c", key(format!("{row:0KEY_BYTES$}")), vec![7; payload_bytes])
        });
        apply(&engine, batch, false).await.unwrap();
        engine.close().await.unwrap();
        let used = fs::metadata(dir.path().join("job.db")).unwrap().len() as f64;
        let ratio = used / (rows * (KEY_BYTES + payload_bytes)) as f64;
        assert!(ratio <= 1.4, "{ratio} bytes on disk per byte of rows with {payload_bytes} bytes");
    }
}

#[tokio::test]
async fn compacting_gives_room_back_even_beside_a_reader() {
    let (_dir, site) = site();
    let engine = open(&site, "job", OpenMode::Create).await.unwrap();
    let reader = open(&site, "job", OpenMode::ReadOnly).await.unwrap();
    for round in 0..2_u8 {
        put(&engine, "big", vec![round; 20 << 20]).await;
        put(&engine, "small", "1").await;
        apply(&engine, Batch::new().delete("c", key("big")), false).await.unwrap();
        let before = engine.bytes().await.unwrap().unwrap();
        let view = rusqlite::Connection::open(_dir.path().join("job.db")).unwrap();
        if round == 0 {
            view.execute_batch("BEGIN; SELECT count(*) FROM rows").unwrap();
        }
        engine.compact().await.unwrap();
        drop(view);
        engine.compact().await.unwrap();
        let after = engine.bytes().await.unwrap().unwrap();
        assert!(before > 20 << 20 && after < 1 << 20, "{before} bytes, then {after}");
        assert_eq!(row(&reader, "c", "small").await.unwrap(), b"1");
    }
    assert_sound(&engine).await;
}

#[tokio::test]
async fn the_write_ahead_log_does_not_grow_for_ever() {
    let (dir, site) = site();
    let engine = open(&site, "job", OpenMode::Create).await.unwrap();
    for round in 0..30_u8 {
        put(&engine, "a", vec![round; 4 << 20]).await;
    }
    let bytes = fs::metadata(dir.path().join("job.db-wal")).unwrap().len();
    assert!(bytes < 40 << 20, "{bytes}");
}
