//! The journal: what lies over the tree, for the writer, for those who read beside it, and after a crash.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::engine::sqlite::engine::Main;
use crate::engine::sqlite::files::Files;
use crate::engine::sqlite::journal::ENTRY_BYTES_MAX;
use crate::engine::sqlite::read::{self, View};
use crate::engine::sqlite::reader::Reader;
use crate::engine::sqlite::writing::Writing;
use crate::engine::{Fault, Found, Query, RECORD_KEY, Wanted};
use crate::error::Outcome;

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// Numbers in no order, the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

fn entries(engine: &SqliteEngine) -> i64 {
    let count = |writing: &Writing| {
        Ok(writing.conn.query_row("SELECT count(*) FROM journal", (), |row| row.get(0))?)
    };
    engine.with_writer(count).unwrap()
}

fn fold(engine: &SqliteEngine) {
    engine.with_writer(Writing::fold_all).unwrap();
}

/// All rows of the category, forwards and backwards.
async fn rows(engine: &SqliteEngine) -> Model {
    let page = |reverse| {
        let space = Space::Rows("c".into());
        let bounds = (100_000, usize::MAX);
        PageRequest {
            space,
            span: Span::all(),
            reverse,
            rows_max: bounds.0,
            bytes_max: bounds.1,
            keys_only: false,
        }
    };
    let forwards = engine.page(page(false), Verify::Never).await.unwrap().value;
    let backwards = engine.page(page(true), Verify::Never).await.unwrap().value;
    let forwards: Vec<_> = forwards.rows.into_iter().collect();
    let mut turned: Vec<_> = backwards.rows.into_iter().collect();
    turned.reverse();
    assert_eq!(forwards, turned);
    forwards.into_iter().collect()
}

/// A few operations at random, some on ranges, some too large for an entry.
fn step(numbers: &mut Numbers, model: &mut Model) -> Batch {
    let mut batch = Batch::new();
    for _ in 0..=numbers.below(4) {
        let name = numbers.below(60).to_be_bytes().to_vec();
        match numbers.below(12) {
            0..7 => {
                let length =
                    if numbers.below(30) == 0 { ENTRY_BYTES_MAX } else { numbers.below(200) as usize };
                let payload = vec![numbers.below(256) as u8; length];
                model.insert(name.clone(), payload.clone());
                batch = batch.put("c", key(name), payload);
            }
            7..11 => {
                model.remove(&name);
                batch = batch.delete("c", key(name));
            }
            _ => {
                let end = (numbers.below(60)).to_be_bytes().to_vec();
                model.retain(|row, _| *row < name || *row >= end);
                batch = batch.delete_range("c", key(name)..key(end));
            }
        }
    }
    batch
}

#[tokio::test]
async fn small_commits_are_entries_and_large_ones_are_not() {
    let (_dir, site) = site();
    let engine = open(&site, "job", OpenMode::Create).await.unwrap();
    put(&engine, "a", "1").await;
    put(&engine, "b", "2").await;
    assert_eq!(entries(&engine), 2);
    put(&engine, "c", vec![3; ENTRY_BYTES_MAX]).await;
    assert_eq!((entries(&engine), count(&engine).await), (0, 3));
    put(&engine, "d", "4").await;
    apply(&engine, Batch::new().delete_range("c", key("a")..key("c")), false).await.unwrap();
    assert_eq!((entries(&engine), count(&engine).await), (0, 2));
    put(&engine, "e", "5").await;
    engine.close().await.unwrap();
    let engine = open(&site, "job", OpenMode::MustExist).await.unwrap();
    assert_eq!((entries(&engine), count(&engine).await), (0, 3), "closing folds");
}

#[tokio::test]
async fn a_crash_leaves_what_was_committed_and_whoever_opens_the_job_sees_it() {
    let (dir, site) = site();
    let engine = open(&site, "job", OpenMode::Create).await.unwrap();
    let (mut numbers, mut model) = (Numbers(1), Model::new());
    for round in 0..40 {
        for _ in 0..numbers.below(12) {
            let batch = step(&mut numbers, &mut model);
            apply(&engine, batch, false).await.unwrap();
        }
        let crashed = crash(dir.path(), &[".db", ".db-wal"]);
        let left = SqliteSite::new(&crashed);
        let after = open(&left, "job", OpenMode::MustExist).await.unwrap();
        assert_eq!(rows(&after).await, model, "round {round}");
        assert_eq!(value(&after, Point::record()).await.unwrap(), b"first record");
        assert_sound(&after).await;
        fold(&after);
        assert_eq!(rows(&after).await, model, "round {round}, folded");
        after.close().await.unwrap();
        fs::remove_dir_all(crashed).unwrap();
    }
    assert_sound(&engine).await;
}

#[tokio::test]
async fn a_reader_elsewhere_sees_each_commit_before_and_after_it_is_folded() {
    let (_dir, site) = site();
    let owner = open(&site, "job", OpenMode::Create).await.unwrap();
    put(&owner, "", "").await;
    let reader = open(&site, "job", OpenMode::ReadOnly).await.unwrap();
    let (mut numbers, mut model) = (Numbers(2), Model::from([(Vec::new(), Vec::new())]));
    for round in 0..300 {
        let batch = step(&mut numbers, &mut model);
        apply(&owner, batch, false).await.unwrap();
        if numbers.below(20) == 0 {
            fold(&owner);
        }
        assert_eq!(rows(&reader).await, model, "round {round}");
        assert_eq!(count(&reader).await, model.len() as u64);
        let name = numbers.below(60).to_be_bytes();
        assert_eq!(row(&reader, "c", name).await.as_ref(), model.get(&name[..]));
        let categories = if model.is_empty() { vec![] } else { vec!["c".to_owned()] };
        assert_eq!(reader.categories(1000, Verify::Never).await.unwrap().value, categories);
    }
}

#[tokio::test]
async fn counts_and_categories_do_not_see_what_the_journal_deletes() {
    let (_dir, site) = site();
    let engine = open(&site, "job", OpenMode::Create).await.unwrap();
    let all = ["a", "a\0", "b"];
    for category in all {
        apply(&engine, Batch::new().put(category, key("k"), "1"), false).await.unwrap();
    }
    let categories = async || engine.categories(1000, Verify::Never).await.unwrap().value;
    assert_eq!(categories().await, all);
    fold(&engine);
    apply(&engine, Batch::new().delete("a", key("k")).delete("b", key("x")), false).await.unwrap();
    assert_eq!(categories().await, ["a\0", "b"]);
    apply(&engine, Batch::new().put("0", key("k"), "").delete("b", key("k")), false).await.unwrap();
    assert_eq!(categories().await, ["0", "a\0"]);
    fold(&engine);
    assert_eq!(categories().await, ["0", "a\0"]);
}

#[tokio::test]
#[allow(clippy::disallowed_methods, reason = "views are read on other threads")]
async fn views_beside_a_writer_that_commits_and_folds_all_the_time_are_whole() {
    const ROWS: u8 = 10;
    let (dir, site) = site();
    let engine = open(&site, "job", OpenMode::Create).await.unwrap();
    let all = |n: u64| {
        let puts = (0..ROWS).fold(Batch::new(), |batch, row| batch.put("c", key([row]), n.to_be_bytes()));
        puts.put("c", key([ROWS + (n % 7) as u8]), "").delete("c", key([ROWS + ((n + 1) % 7) as u8]))
    };
    apply(&engine, all(0), false).await.unwrap();
    let ended = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (ended, overlay) = (Arc::clone(&ended), engine.shared_overlay());
            let mut reader = Reader::new(Files::of(dir.path(), "job").unwrap(), true);
            std::thread::spawn(move || {
                let mut views = 0_u64;
                let mut newest = Vec::new();
                while !ended.load(Ordering::Relaxed) || views < 10 {
                    let space = Space::Rows("c".into());
                    let (span, bytes_max) = (Span::all(), usize::MAX);
                    let page = PageRequest {
                        space,
                        span,
                        reverse: views % 2 == 1,
                        rows_max: 100,
                        bytes_max,
                        keys_only: false,
                    };
                    let seen = reader.read(|conn| {
                        let view = View::beside_writer(conn, &overlay)?;
                        read::answer(&view, &Query::Page(page.clone()), Verify::Always)
                    });
                    let Found::Page(page) = seen.unwrap().found else { panic!("no page") };
                    let values: Vec<_> = page.rows.into_iter().filter(|(key, _)| key[0] < ROWS).collect();
                    assert_eq!(values.len(), usize::from(ROWS));
                    assert!(values.iter().all(|(_, value)| *value == values[0].1), "{values:?}");
                    assert!(values[0].1 >= newest, "never back in time");
                    newest = values[0].1.clone();
                    views += 1;
                }
            })
        })
        .collect();
    for n in 1..3000 {
        apply(&engine, all(n), false).await.unwrap();
        let direct = engine.direct().unwrap();
        let wanted = Wanted { category: "c", key: &[3], presence_only: false };
        assert_eq!(direct.row(&wanted), Ok(Some(n.to_be_bytes().to_vec())));
    }
    ended.store(true, Ordering::Relaxed);
    readers.into_iter().for_each(|reader| reader.join().unwrap());
}

#[tokio::test]
async fn rows_written_over_and_over_do_not_make_the_journal_longer_and_longer() {
    let (_dir, site) = site();
    let engine = open(&site, "job", OpenMode::Create).await.unwrap();
    let mut longest = 0;
    for n in 0..2000_u64 {
        put(&engine, (n % 3).to_be_bytes(), vec![0; 50]).await;
        longest = longest.max(entries(&engine));
    }
    assert!((10..200).contains(&longest), "{longest}");
    assert_eq!(count(&engine).await, 3);
}

#[tokio::test]
async fn after_a_commit_that_fails_the_journal_is_what_is_stored() {
    let (_dir, site) = site();
    let engine = open(&site, "job", OpenMode::Create).await.unwrap();
    put(&engine, "a", "1").await;
    let fail = Arc::new(AtomicBool::new(true));
    let refuses = Arc::clone(&fail);
    match &mut *engine.main.borrow_mut() {
        Some(Main::Writer(writing)) => {
            writing.conn.commit_hook(Some(move || refuses.load(Ordering::Relaxed))).unwrap();
        }
        _ => panic!("the job is open for writing"),
    }
    let direct = engine.direct().unwrap();
    let wanted = Wanted { category: "c", key: b"a", presence_only: false };
    for batch in [Batch::new().put("c", key("a"), "2"), Batch::new().clear("c")] {
        let error = apply(&engine, batch, false).await.unwrap_err();
        assert_eq!(error.outcome, Outcome::NotApplied, "{error:?}");
        assert_eq!(row(&engine, "c", "a").await.unwrap(), b"1");
        assert_eq!(direct.row(&wanted), Ok(Some(b"1".to_vec())));
        assert_eq!(count(&engine).await, 1);
    }
    fail.store(false, Ordering::Relaxed);
    put(&engine, "b", "2").await;
    fold(&engine);
    assert_eq!((row(&engine, "c", "a").await.unwrap(), count(&engine).await), (b"1".to_vec(), 2));
    assert_sound(&engine).await;
}

#[tokio::test]
async fn a_damaged_journal_is_corrupt_for_whoever_reads_it() {
    let (dir, site) = site();
    let engine = open(&site, "job", OpenMode::Create).await.unwrap();
    put(&engine, "a", "1").await;
    let damage =
        |writing: &Writing| Ok(writing.conn.execute_batch("UPDATE journal SET operations = x'0901'")?);
    engine.with_writer(damage).unwrap();
    assert!(engine.check().await.unwrap()[0].contains("journal"));
    let crashed = crash(dir.path(), &[".db", ".db-wal", ".db-shm"]);
    for mode in ALL_MODES {
        let opened = open(&SqliteSite::new(&crashed), "job", mode).await;
        let fault = match opened {
            Ok(reading) => {
                reading
                    .get(
                        Get { points: vec![Point::record()], presence_only: false, bytes_max: 100 },
                        Verify::Never,
                    )
                    .await
                    .unwrap_err()
                    .fault
            }
            Err(error) => error.fault,
        };
        assert_eq!(fault, Fault::Corrupt, "{mode:?}");
    }
}

#[tokio::test]
async fn emptying_keeps_the_record_that_the_journal_had() {
    let (_dir, site) = site();
    let engine = open(&site, "job", OpenMode::Create).await.unwrap();
    put(&engine, "a", "1").await;
    let record = Point { space: Space::Meta, key: RECORD_KEY.to_vec() };
    let writes = vec![Write::Put(record.clone(), b"second".to_vec())];
    let write =
        |writes| Change { reads: Vec::new(), decide: Box::new(move |_| Some(writes)), durable: false };
    engine.apply(write(writes)).await.unwrap();
    assert_eq!(entries(&engine), 2);
    engine.apply(write(vec![Write::Empty])).await.unwrap();
    assert_eq!((entries(&engine), count(&engine).await), (0, 0));
    assert_eq!(value(&engine, record).await.unwrap(), b"second");
    assert_eq!(
        engine.direct().unwrap().row(&Wanted { category: "c", key: b"a", presence_only: true }),
        Ok(None)
    );
    engine.close().await.unwrap();
    let engine = open(&site, "job", OpenMode::MustExist).await.unwrap();
    assert_eq!(value(&engine, Point::record()).await.unwrap(), b"second");
}

fn standing_bytes(engine: &SqliteEngine) -> usize {
    engine.with_writer(|writing| Ok(writing.standing()?.bytes)).unwrap()
}

#[tokio::test]
async fn the_journal_is_bounded_where_many_small_rows_are_followed_by_large_ones() {
    let (_dir, site) = site();
    let engine = open(&site, "job", OpenMode::Create).await.unwrap();
    let small = (0..150_u8).fold(Batch::new(), |batch, n| batch.put("c", key([b'm', n]), ""));
    apply(&engine, small, false).await.unwrap();
    let mut longest = 0;
    for n in 0..60_u8 {
        put(&engine, [b'a', n], vec![0; ENTRY_BYTES_MAX - 5000]).await;
        longest = longest.max(standing_bytes(&engine));
    }
    assert!(longest < 3 * ENTRY_BYTES_MAX, "{longest}");
    assert_eq!(count(&engine).await, 210);
}

#[tokio::test]
async fn folds_are_not_synced_for_themselves() {
    let (_dir, site) = site();
    let engine = open(&site, "job", OpenMode::Create).await.unwrap();
    let synchronous = || {
        let read = |writing: &Writing| {
            Ok(writing.conn.pragma_query_value(None, "synchronous", |row| row.get::<_, i64>(0))?)
        };
        engine.with_writer(read).unwrap()
    };
    apply(&engine, Batch::new().put("c", key("a"), "1"), true).await.unwrap();
    assert_eq!(synchronous(), 2_i64);
    fold(&engine);
    assert_eq!(synchronous(), 1_i64);
    apply(&engine, Batch::new().clear("c"), true).await.unwrap();
    assert_eq!(synchronous(), 2_i64, "but the commit that they make room for is");
}

#[tokio::test]
async fn after_a_failed_sync_nothing_is_folded() {
    let (_dir, site) = site();
    let engine = open(&site, "job", OpenMode::Create).await.unwrap();
    put(&engine, "a", "1").await;
    let fail = |writing: &Writing| {
        writing.notice_failed_sync(&EngineError::new(Fault::SyncFailed, "on purpose"));
        Ok(writing.fold_all())
    };
    assert_eq!(engine.with_writer(fail).unwrap().unwrap_err().fault, Fault::SyncFailed);
    for batch in [Batch::new().put("c", key("b"), "2"), Batch::new().clear("c")] {
        assert_eq!(apply(&engine, batch, true).await.unwrap_err().fault, Fault::SyncFailed);
    }
    assert_eq!((entries(&engine), count(&engine).await), (1, 1));
}

#[tokio::test]
async fn a_lost_entry_is_damage() {
    let (_dir, site) = site();
    let engine = open(&site, "job", OpenMode::Create).await.unwrap();
    for n in 0..3_u8 {
        put(&engine, [n], "1").await;
    }
    assert_sound(&engine).await;
    let lose = |writing: &Writing| Ok(writing.conn.execute_batch("DELETE FROM journal WHERE number = 2")?);
    engine.with_writer(lose).unwrap();
    assert_eq!(engine.check().await.unwrap(), ["1 entries of the journal are missing."]);
}
