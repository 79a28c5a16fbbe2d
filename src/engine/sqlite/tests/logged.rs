//! The part of the log that is in the journal: for the writer, for those who read beside it, after a crash,
//! and however much of it has been moved or trimmed.

use std::collections::BTreeMap;

use super::*;
use crate::batch::CheckedBatch;
use crate::commit_log::{Assembler, LogWriter, span};
use crate::engine::sqlite::journal::ENTRY_BYTES_MAX;
use crate::engine::sqlite::writing::Writing;
use crate::engine::{LogValue, Query, RECORD_KEY};
use crate::testing::Random;

/// The rows, the log, and the seq of a job.
#[derive(Default)]
struct Model {
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    log: BTreeMap<Vec<u8>, Vec<u8>>,
    seq: u64,
    offset: u64,
}

impl Model {
    /// Commits that are logged, as the values they come to.
    fn log(&mut self, batches: &[Batch]) -> Vec<LogValue> {
        let (mut log, mut values) = (LogWriter::new(self.seq, [7; 16]), Vec::new());
        let batches: Vec<_> =
            batches.iter().map(|batch| CheckedBatch::try_from(batch.clone()).unwrap()).collect();
        for batch in &batches {
            self.seq += 1;
            log.push(self.seq, &batch.operations, batch.bytes, &mut self.offset, &mut values);
        }
        log.flush(&mut self.offset, &mut values);
        self.log.extend(values.iter().cloned());
        values
    }

    fn trim(&mut self, from: u64, to: u64) -> Write {
        let span = span(from, to);
        self.log.retain(|key, _| !span.contains(key));
        Write::DeleteSpan(Space::Log, span)
    }

    fn put(&mut self, random: &mut Random) -> Batch {
        let name = vec![random.below(50) as u8];
        let length = random.below(150);
        let payload = random.payload(length);
        self.rows.insert(name.clone(), payload.clone());
        Batch::new().put("c", key(name), payload)
    }
}

fn rows(batches: &[Batch]) -> Vec<Write> {
    batches.iter().map(|batch| Write::Rows(batch.operations().into())).collect()
}

async fn write(engine: &SqliteEngine, writes: Vec<Write>) {
    let change = Change { reads: Vec::new(), decide: Box::new(move |_| Some(writes)), durable: false };
    engine.apply(change).await.unwrap();
}

async fn page(engine: &SqliteEngine, request: PageRequest) -> (Vec<LogValue>, bool) {
    let page = engine.page(request, Verify::Never).await.unwrap().value;
    (page.rows.into_iter().collect(), page.more)
}

fn request(space: Space, span: Span) -> PageRequest {
    PageRequest { space, span, reverse: false, rows_max: 1 << 20, bytes_max: usize::MAX, keys_only: false }
}

/// The log is that of the model however it is read, and so are the rows.
async fn assert_is(engine: &SqliteEngine, model: &Model, random: &mut Random, when: &str) {
    let whole: Vec<_> = model.log.clone().into_iter().collect();
    assert_eq!(page(engine, request(Space::Log, Span::all())).await, (whole.clone(), false), "{when}");
    #[cfg(feature = "archive")]
    if let Some(direct) = engine.direct() {
        let (found, _) = direct.log_page(&request(Space::Log, Span::all())).unwrap();
        assert_eq!(found.rows.into_iter().collect::<Vec<_>>(), whole, "{when}, read directly");
    }
    let mut seq = || random.below(model.seq as usize + 2) as u64;
    let (from, to) = (seq(), seq());
    let part = span(from, to.max(from));
    let held: Vec<_> = whole.iter().filter(|(key, _)| part.contains(key)).cloned().collect();
    assert_eq!(page(engine, request(Space::Log, part.clone())).await.0, held, "{when}: {from} to {to}");
    let most = 1 + random.below(9);
    let back = PageRequest { reverse: true, rows_max: most, ..request(Space::Log, part) };
    let mut turned = held.clone();
    turned.reverse();
    let more = turned.len() > most;
    turned.truncate(most);
    assert_eq!(page(engine, back).await, (turned, more), "{when}: {from} to {to}, backwards");
    if let Some((key, stored)) = whole.get(random.below(whole.len().max(1))) {
        let point = Point { space: Space::Log, key: key.clone() };
        assert_eq!(value(engine, point).await.as_ref(), Some(stored), "{when}");
    }
    let stored: BTreeMap<_, _> =
        page(engine, request(Space::Rows("c".into()), Span::all())).await.0.into_iter().collect();
    assert!(stored == model.rows, "{when}");
}

fn entries(engine: &SqliteEngine) -> (i64, i64) {
    let count = |writing: &Writing| {
        let sql = "SELECT (SELECT count(*) FROM journal), (SELECT count(*) FROM log)";
        Ok(writing.conn.query_row(sql, (), |row| Ok((row.get(0)?, row.get(1)?)))?)
    };
    engine.with_writer(count).unwrap()
}

#[tokio::test]
async fn a_small_commit_is_written_once_and_is_in_the_rows_and_in_the_log() {
    let (dir, site) = site();
    let engine = open(&site, "job", OpenMode::Create).await.unwrap();
    let (mut model, mut random) = (Model::default(), Random::new(1));
    let batches = [model.put(&mut random), model.put(&mut random)];
    let values = model.log(&batches);
    write(&engine, [rows(&batches), vec![Write::Log(values)]].concat()).await;
    assert_eq!(entries(&engine), (1, 0));
    assert_is(&engine, &model, &mut random, "at once").await;
    let crashed = SqliteSite::new(crash(dir.path(), &[".db", ".db-wal"]));
    let after = open(&crashed, "job", OpenMode::MustExist).await.unwrap();
    assert_is(&after, &model, &mut random, "after a crash").await;
    after.close().await.unwrap();
    let at_rest = open(&crashed, "job", OpenMode::ReadOnly).await.unwrap();
    assert_is(&at_rest, &model, &mut random, "at rest").await;
    engine.with_writer(Writing::fold_all).unwrap();
    assert_eq!(entries(&engine), (0, 1));
    assert_is(&engine, &model, &mut random, "folded").await;
}

#[tokio::test]
async fn a_commit_of_several_values_is_one_whose_record_is_the_last() {
    let (dir, site) = site();
    let engine = open(&site, "job", OpenMode::Create).await.unwrap();
    let (mut model, mut random) = (Model::default(), Random::new(2));
    let large = vec![9; ENTRY_BYTES_MAX - 1000];
    model.rows.insert(vec![1], large.clone());
    let batches = [Batch::new().put("c", key([1]), large)];
    let values = model.log(&batches);
    assert!(values.len() > 1, "in pieces");
    let record = Write::Put(Point::record(), b"second".to_vec());
    write(&engine, [rows(&batches), vec![Write::Log(values.clone()), record]].concat()).await;
    assert_eq!(entries(&engine), (values.len() as i64, 0));
    let crashed = SqliteSite::new(crash(dir.path(), &[".db", ".db-wal", ".db-shm"]));
    for engine in [engine, open(&crashed, "job", OpenMode::MustExist).await.unwrap()] {
        assert_eq!(value(&engine, Point::record()).await.unwrap(), b"second");
        assert_is(&engine, &model, &mut random, "in pieces").await;
        assert_sound(&engine).await;
        engine.with_writer(Writing::fold_all).unwrap();
        assert_is(&engine, &model, &mut random, "folded").await;
        assert_eq!(value(&engine, Point::record()).await.unwrap(), b"second");
    }
}

#[tokio::test]
async fn what_is_trimmed_in_the_journal_stays_away_and_its_rows_do_not() {
    let (dir, site) = site();
    let engine = open(&site, "job", OpenMode::Create).await.unwrap();
    let (mut model, mut random) = (Model::default(), Random::new(3));
    for _ in 0..6 {
        let batches = [model.put(&mut random)];
        let values = model.log(&batches);
        write(&engine, [rows(&batches), vec![Write::Log(values)]].concat()).await;
    }
    let trim = model.trim(1, 4);
    write(&engine, vec![trim]).await;
    assert_eq!(entries(&engine), (7, 0));
    assert_is(&engine, &model, &mut random, "trimmed").await;
    let crashed = SqliteSite::new(crash(dir.path(), &[".db", ".db-wal"]));
    let after = open(&crashed, "job", OpenMode::MustExist).await.unwrap();
    assert_is(&after, &model, &mut random, "after a crash").await;
    after.with_writer(Writing::fold_all).unwrap();
    assert_eq!(entries(&after), (0, 2), "what was trimmed is never moved");
    assert_is(&after, &model, &mut random, "folded").await;
    // What lies behind something that stays is removed from the table.
    let trim = model.trim(6, 6);
    write(&engine, vec![trim]).await;
    assert_eq!(entries(&engine), (0, 1));
    assert_is(&engine, &model, &mut random, "trimmed in the middle").await;
}

#[tokio::test]
async fn logged_and_other_commits_trims_folds_and_crashes_in_any_order_leave_the_log_as_it_should_be() {
    for seed in 0..6 {
        let (dir, site) = site();
        let mut engine = open(&site, "job", OpenMode::Create).await.unwrap();
        let reader = open(&site, "job", OpenMode::ReadOnly).await.unwrap();
        let (mut model, mut random) = (Model::default(), Random::new(seed));
        let mut first = 1;
        for round in 0..250 {
            let when = format!("seed {seed}, round {round}");
            let mut batches = vec![model.put(&mut random)];
            if random.below(4) == 0 {
                batches.push(model.put(&mut random));
            }
            let mut writes = rows(&batches);
            let trim = (random.below(12) == 0 && model.seq > 0).then(|| {
                // Some of those there are, some that are not any more, and sometimes all.
                let to = first + random.below((model.seq + 2 - first) as usize) as u64;
                let from = if random.below(4) == 0 { first } else { first.saturating_sub(2).max(1) };
                first = (to + 1).min(model.seq + 1);
                model.trim(from, to)
            });
            match random.below(10) {
                0 => {
                    model.seq += batches.len() as u64;
                    writes.extend(trim);
                }
                1 => {
                    writes.extend(trim);
                    let values = model.log(&batches).into_iter();
                    let put = |(key, value)| Write::Put(Point { space: Space::Log, key }, value);
                    writes.extend(values.map(put));
                }
                _ => {
                    writes.extend(trim);
                    let values = model.log(&batches);
                    writes.push(Write::Log(values));
                }
            }
            writes.push(Write::Put(Point::record(), model.seq.to_be_bytes().to_vec()));
            write(&engine, writes).await;
            match random.below(40) {
                0 => engine.with_writer(Writing::fold_all).unwrap(),
                1 => {
                    engine.close().await.unwrap();
                    engine = open(&site, "job", OpenMode::MustExist).await.unwrap();
                }
                2 => {
                    let crashed = crash(dir.path(), &[".db", ".db-wal"]);
                    let after = open(&SqliteSite::new(&crashed), "job", OpenMode::MustExist).await.unwrap();
                    assert_is(&after, &model, &mut random, &when).await;
                    assert_sound(&after).await;
                    after.close().await.unwrap();
                    fs::remove_dir_all(crashed).unwrap();
                }
                _ => {}
            }
            assert_is(&engine, &model, &mut random, &when).await;
            assert_is(&reader, &model, &mut random, &when).await;
            let record = value(&reader, Point { space: Space::Meta, key: RECORD_KEY.to_vec() }).await;
            assert_eq!(record.unwrap(), model.seq.to_be_bytes());
        }
        let commits = {
            let (mut read, mut commits) = (Assembler::default(), Vec::new());
            for (key, value) in page(&engine, request(Space::Log, Span::all())).await.0 {
                read.push(&key, &value, 0, &mut commits).unwrap();
            }
            commits
        };
        assert!(commits.iter().all(|commit| commit.writer == [7; 16]));
        assert_sound(&engine).await;
        drop(engine.read(Query::Size, Verify::Never).await.unwrap());
    }
}

#[tokio::test]
async fn the_journal_is_bounded_where_few_rows_are_logged_over_and_over() {
    let (_dir, site) = site();
    let engine = open(&site, "job", OpenMode::Create).await.unwrap();
    let mut model = Model::default();
    let mut longest = 0;
    for n in 0..1500_u64 {
        let batches = [Batch::new().put("c", key([(n % 3) as u8]), vec![0; 50])];
        let values = model.log(&batches);
        write(&engine, [rows(&batches), vec![Write::Log(values)]].concat()).await;
        longest = longest.max(entries(&engine).0);
    }
    assert!((10..200).contains(&longest), "{longest}");
    assert_eq!(page(&engine, request(Space::Log, Span::all())).await.0.len(), 1500);
}
