//! Memory elsewhere: what is asked, what is answered, and what becomes of both.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::{Either, select};
use futures_util::poll;
use tokio::sync::oneshot;

use super::World;
use crate::key::Key;
use crate::testing::async_test;
use crate::write_behind::elsewhere::Snapshot;
use crate::write_behind::schema::ParentsOf;
use crate::write_behind::{Mark, Options, RelationKind, Schema, WeakSet, WriteBehind};
use crate::{Clock, ErrorKind, JobOptions, Result, key};

type Answers = Arc<Mutex<Vec<(Vec<Vec<Key>>, oneshot::Sender<Result<Snapshot>>)>>>;

struct Page {
    engine: WriteBehind,
    rows: WeakSet<i64>,
    asked: Answers,
    clock: Clock,
}

/// An engine whose memory is asked, and what it is asked.
async fn page(world: &World) -> Page {
    let asked = Answers::default();
    let to = Arc::clone(&asked);
    let mut schema = Schema::elsewhere(Box::new(move |wanted| {
        let (answer, answered) = oneshot::channel();
        to.lock().expect("nobody panics").push((wanted, answer));
        Box::pin(async move { answered.await.expect("is answered") })
    }));
    let rows = schema.weak("row", |_| Ok(None));
    let clock = Clock::manual(0);
    let options = Options::new().clock(clock.clone());
    let engine = WriteBehind::open(&world.root(), "job", schema, options).await.expect("opens");
    Page { engine, rows, asked, clock }
}

fn id(n: i64) -> Key {
    key!(n).expect("is a key")
}

impl Page {
    /// The keys that were asked for last, and who waits for the answer.
    fn asked(&self) -> (Vec<Key>, oneshot::Sender<Result<Snapshot>>) {
        let (mut wanted, answer) = self.asked.lock().expect("nobody panics").pop().expect("was asked");
        assert_eq!(wanted.len(), 1, "a list for each set");
        (wanted.remove(0), answer)
    }
}

/// An answer, and what is told when it has been flushed.
fn snapshot(marks: &[i64], values: &[(i64, Option<u8>)]) -> (Result<Snapshot>, oneshot::Receiver<()>) {
    let (through, told) = oneshot::channel();
    let marks = marks.iter().map(|n| (0, id(*n), Mark::Upsert)).collect();
    let values = values.iter().map(|(n, value)| (0, id(*n), value.map(|value| vec![value]))).collect();
    (Ok(Snapshot { marks, values, through }), told)
}

#[async_test]
async fn what_is_dirty_is_asked_for_and_what_is_marked_meanwhile_belongs_to_it() {
    let page = page(&World::new()).await;
    page.rows.mark(&1).expect("is marked");
    page.rows.mark(&2).expect("is marked");
    page.rows.mark_delete(&3).expect("is marked");
    let mut flush = Box::pin(page.engine.flush());
    assert!(poll!(&mut flush).is_pending());
    let (wanted, answer) = page.asked();
    assert_eq!(wanted, [id(1), id(2)], "a deletion needs no value");
    // The snapshot is of a later moment: 4 has come, 2 has gone, of 5 nobody has heard.
    page.rows.mark(&4).expect("is marked");
    let (snapshot, told) =
        snapshot(&[6], &[(1, Some(1)), (2, None), (4, Some(4)), (5, Some(5)), (6, Some(6))]);
    answer.send(snapshot).ok().expect("waits");
    let flushed = flush.await.expect("flushes");
    assert_eq!((flushed.upserts, flushed.deletes, page.engine.status().dirty), (3, 2, 0));
    told.await.expect("is told");
    let rows = page.engine.job().scan("row", ..).await.expect("scans");
    assert_eq!(rows.iter().map(|row| row.payload[0]).collect::<Vec<_>>(), [1, 4, 6]);
}

#[async_test]
async fn a_key_that_is_not_spoken_of_stays_dirty() {
    let page = page(&World::new()).await;
    page.rows.mark(&1).expect("is marked");
    page.rows.mark(&2).expect("is marked");
    let mut flush = Box::pin(page.engine.flush());
    assert!(poll!(&mut flush).is_pending());
    let (snapshot, _told) = snapshot(&[], &[(1, Some(1))]);
    page.asked().1.send(snapshot).ok().expect("waits");
    assert_eq!(flush.await.expect("flushes").rows(), 1);
    assert_eq!(page.engine.status().dirty, 1);
}

#[async_test]
async fn an_answer_that_is_an_error_or_does_not_come_fails_the_flush() {
    let page = page(&World::new()).await;
    page.rows.mark(&1).expect("is marked");
    let mut flush = Box::pin(page.engine.flush());
    assert!(poll!(&mut flush).is_pending());
    let refusal = crate::Error::new(ErrorKind::InvalidArgument, "no value");
    page.asked().1.send(Err(refusal)).ok().expect("waits");
    assert_eq!(flush.await.expect_err("fails").kind(), ErrorKind::InvalidArgument);
    let mut flush = Box::pin(page.engine.flush());
    assert!(poll!(&mut flush).is_pending());
    page.clock.advance(Duration::from_secs(30));
    assert_eq!(flush.await.expect_err("fails").kind(), ErrorKind::Timeout);
    assert_eq!((page.engine.status().dirty, page.engine.status().failures), (1, 2));
}

#[async_test]
async fn parents_that_nobody_names_are_waited_for_until_the_deadline() {
    let world = World::new();
    let clock = Clock::manual(0);
    let asked = Arc::new(tokio::sync::Notify::new());
    let mut schema = Schema::elsewhere(Box::new(|_| Box::pin(std::future::pending())));
    let rows = schema.weak::<Key>("row", |_| Ok(None));
    let told = Arc::clone(&asked);
    let ask: ParentsOf = Box::new(move |_| {
        told.notify_one();
        Box::pin(std::future::pending())
    });
    schema.relation_asked(RelationKind::Requires, &rows, &rows, ask);
    let root = world.root();
    let job = root.open_job_with("job", JobOptions::new().deadline(Duration::from_secs(7))).await;
    let job = job.expect("opens");
    job.put_acked("row", id(1), []).await.expect("is written");
    let options = Options::new().clock(clock.clone());
    let mut opening = Box::pin(WriteBehind::over(job.clone(), schema, options));
    let asking = std::pin::pin!(asked.notified());
    assert!(matches!(select(&mut opening, asking).await, Either::Right(_)), "it asks");
    clock.advance(Duration::from_secs(6));
    assert!(poll!(&mut opening).is_pending());
    clock.advance(Duration::from_secs(1));
    assert_eq!(opening.await.expect_err("fails").kind(), ErrorKind::Timeout);
    assert!(job.exists("row", id(1)).await.expect("reads"), "nothing is removed");
}
