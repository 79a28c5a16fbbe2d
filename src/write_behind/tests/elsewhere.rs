//! Memory elsewhere: what is asked, what is answered, and what becomes of both.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::poll;
use tokio::sync::oneshot;

use super::World;
use crate::key::Key;
use crate::testing::async_test;
use crate::write_behind::elsewhere::Snapshot;
use crate::write_behind::{Mark, Options, Schema, WeakSet, WriteBehind};
use crate::{Clock, ErrorKind, Result, key};

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
