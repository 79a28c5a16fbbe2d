//! Files of the older library, of a later format, and of nobody, through the public interface.

use std::fs;
use std::path::Path;

use persistency::{ErrorKind, JobOptions, Key, OpenMode, Persistency, key};
use rusqlite::Connection;

use crate::kind;

/// The older library's table, as its own code makes it.
const OLD: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = NORMAL;
    CREATE TABLE IF NOT EXISTS kv (
        category BLOB NOT NULL, key BLOB NOT NULL, payload BLOB NOT NULL, PRIMARY KEY (category, key)
    ) WITHOUT ROWID;
    PRAGMA user_version = 1;
";

fn rows() -> Vec<(&'static str, Key, Vec<u8>)> {
    vec![
        ("", Key::empty(), vec![]),
        ("", key!("a", 1).unwrap(), vec![0, 255]),
        ("msg", Key::empty(), b"an empty key".to_vec()),
        ("msg", key!("channel", 1).unwrap(), vec![]),
        ("msg", key!("channel", 2).unwrap(), vec![9; 300_000]),
        ("msg", Key::from(&[0xff, 0xff][..]), vec![1]),
        ("\u{e9}", key!(true).unwrap(), b"x".to_vec()),
    ]
}

/// What a process of the older library leaves at `db` when it dies: some rows are in its log alone.
fn old_file(db: &Path) {
    let building = tempfile::tempdir().unwrap();
    let from = building.path().join("job.db");
    let conn = Connection::open(&from).unwrap();
    conn.execute_batch(OLD).unwrap();
    for (index, (category, key, payload)) in rows().into_iter().enumerate() {
        if index == 3 {
            conn.execute_batch("PRAGMA wal_checkpoint; PRAGMA wal_autocheckpoint = 0").unwrap();
        }
        let sql = "INSERT OR REPLACE INTO kv (category, key, payload) VALUES (?1, ?2, ?3)";
        conn.execute(sql, (category.as_bytes(), key.as_bytes(), payload)).unwrap();
    }
    fs::copy(&from, db).unwrap();
    fs::copy(from.with_extension("db-wal"), db.with_extension("db-wal")).unwrap();
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = entries.map(|name| name.into_string().unwrap()).collect();
    names.retain(|name| name != ".lock");
    names.sort();
    names
}

#[tokio::test]
async fn a_file_of_the_older_library_opens_with_all_its_rows() {
    for (id, ours) in [("Alpha", "%41lpha.db"), ("alpha", "alpha.db")] {
        let dir = tempfile::tempdir().unwrap();
        old_file(&dir.path().join(format!("{id}.db")));
        let mut generation = None;
        for opening in 1..=2 {
            let p = Persistency::open(dir.path()).unwrap();
            assert_eq!(p.list_jobs().await.unwrap(), [id]);
            let job = p.open_job_with(id, JobOptions::new().mode(OpenMode::MustExist)).await.unwrap();
            assert_eq!(p.list_jobs().await.unwrap(), [id]);
            assert_eq!(job.categories().await.unwrap(), ["", "msg", "\u{e9}"]);
            for (category, key, payload) in rows() {
                assert!(job.get(category, key.clone()).await.unwrap() == Some(payload), "{key:?}");
            }
            assert_eq!(job.count("msg", ..).await.unwrap(), 3 + opening);
            assert_eq!(job.check().await.unwrap(), Vec::<String>::new());
            let info = job.info().await.unwrap();
            assert_eq!(*generation.get_or_insert(info.generation), info.generation);
            assert_eq!(info.committed_seq, opening - 1);
            assert_eq!(job.put_acked("msg", key!("new", opening).unwrap(), "").await.unwrap(), opening);
            p.close().await.unwrap();
            assert_eq!(names(dir.path()), [ours], "the old file has gone");
        }
    }
}

#[tokio::test]
async fn a_newer_format_is_refused_and_stays_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    let p = Persistency::open(dir.path()).unwrap();
    p.open_job("job").await.unwrap().put_acked("c", Key::empty(), "row").await.unwrap();
    p.close().await.unwrap();
    let db = dir.path().join("job.db");
    let conn = Connection::open(&db).unwrap();
    conn.execute_batch("PRAGMA user_version = 2").unwrap();
    conn.close().unwrap();
    let before = fs::read(&db).unwrap();
    let p = Persistency::open(dir.path()).unwrap();
    for mode in [OpenMode::Create, OpenMode::MustExist, OpenMode::ReadOnly] {
        let opened = p.open_job_with("job", JobOptions::new().mode(mode)).await;
        assert_eq!(kind(opened), Some(ErrorKind::VersionTooNew), "{mode:?}");
    }
    assert_eq!(kind(p.drop_job("job").await), Some(ErrorKind::VersionTooNew));
    p.close().await.unwrap();
    assert!(fs::read(&db).unwrap() == before);
    assert_eq!(names(dir.path()), ["job.db"]);
}

#[tokio::test]
async fn a_newer_format_of_the_older_library_is_refused_and_keeps_its_rows() {
    let dir = tempfile::tempdir().unwrap();
    let db = dir.path().join("Alpha.db");
    let conn = Connection::open(&db).unwrap();
    conn.execute_batch(&OLD.replace("user_version = 1", "user_version = 2")).unwrap();
    conn.execute_batch("INSERT INTO kv VALUES (x'61', x'62', x'63')").unwrap();
    conn.close().unwrap();
    let before = fs::read(&db).unwrap();
    let p = Persistency::open(dir.path()).unwrap();
    assert_eq!(kind(p.open_job("Alpha").await), Some(ErrorKind::VersionTooNew));
    p.close().await.unwrap();
    assert!(fs::read(&db).unwrap() == before);
}

#[tokio::test]
async fn a_file_that_is_no_database_is_corrupt_and_stays_byte_for_byte() {
    let page = vec![0xa5; 4096];
    let cut = b"SQLite format 3\0".to_vec();
    for garbage in [b"garbage".to_vec(), page, cut] {
        let dir = tempfile::tempdir().unwrap();
        let db = dir.path().join("job.db");
        fs::write(&db, &garbage).unwrap();
        let p = Persistency::open(dir.path()).unwrap();
        for mode in [OpenMode::Create, OpenMode::MustExist, OpenMode::ReadOnly] {
            let opened = p.open_job_with("job", JobOptions::new().mode(mode)).await;
            assert_eq!(kind(opened), Some(ErrorKind::Corrupt), "{mode:?}");
        }
        assert!(fs::read(&db).unwrap() == garbage);
        p.open_job("neighbour").await.unwrap().put_acked("c", Key::empty(), "").await.unwrap();
        p.drop_job("job").await.unwrap();
        p.open_job("job").await.unwrap().put_acked("c", Key::empty(), "").await.unwrap();
        p.close().await.unwrap();
    }
}

/// Found by attack: an archive or export that began at seq 0 had no rows.
#[cfg(feature = "archive")]
#[tokio::test]
async fn rows_that_were_migrated_are_archived_and_exported() {
    use std::sync::Arc;

    use persistency::archive::{Archive, ArchiveOptions, MemoryStore, RestoreTo, restore};

    for commits in 0..2 {
        let dir = tempfile::tempdir().unwrap();
        old_file(&dir.path().join("alpha.db"));
        let p = Persistency::open(dir.path()).unwrap();
        let job = p.open_job("alpha").await.unwrap();
        job.hold_log("archive/alpha").await.unwrap();
        for n in 0..commits {
            job.put_acked("msg", key!("new", n).unwrap(), "").await.unwrap();
        }
        let store = Arc::new(MemoryStore::new());
        let archive = Archive::attach(&job, Arc::clone(&store) as _, ArchiveOptions::new()).await.unwrap();
        archive.close().await.unwrap();
        restore(store, "alpha", &p, "restored", RestoreTo::Latest).await.unwrap();
        let (mut export, mut import) = (job.export().await.unwrap(), p.import_job("imported").await.unwrap());
        while let Some(bytes) = export.next().await {
            import.push(&bytes.unwrap()).await.unwrap();
        }
        import.finish().await.unwrap();
        for id in ["restored", "imported"] {
            let copy = p.open_job(id).await.unwrap();
            for (category, key, payload) in rows() {
                assert!(copy.get(category, key.clone()).await.unwrap() == Some(payload), "{id}, {key:?}");
            }
            assert_eq!(copy.count("msg", ..).await.unwrap(), job.count("msg", ..).await.unwrap());
        }
        p.close().await.unwrap();
    }
}
