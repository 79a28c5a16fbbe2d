//! A lost connection: one more try, and never a silent new life.

use super::{JOB, ROWS, World, accept, key, pause, put, soon, told};
use crate::engine::faulty::{Call, Injection};
use crate::engine::memory::{Contents, MemorySite};
use crate::engine::{Engine, Fault, OpenMode, Point, Sharing, Write};
use crate::record::Record;
use crate::testing::async_test;
use crate::{Batch, ErrorKind, Job, Outcome};

const GONE: (ErrorKind, Outcome) = (ErrorKind::JobNotFound, Outcome::NotApplied);
const BROKEN: (ErrorKind, Outcome) = (ErrorKind::Backend, Outcome::NotApplied);

/// What a job of another generation holds: one row under key 9.
async fn another_life() -> Contents {
    let record = Record::new([9; 16], 0).encode();
    let engine = MemorySite::default().open_now(JOB, OpenMode::Create, &record).expect("opens");
    let rows = Batch::new().put(ROWS, key(9), "another life").operations().into();
    let writes = vec![Write::Rows(rows), Write::Put(Point::record(), record)];
    let decide = Box::new(|_| Some(writes));
    let change = crate::engine::Change { reads: Vec::new(), decide, durable: true };
    engine.apply(change).await.expect("applies");
    engine.snapshot()
}

#[async_test]
async fn every_read_is_tried_once_more_after_reconnecting() {
    let world = World::exclusive();
    let (_root, job) = world.open().await;
    soon(job.put_acked(ROWS, key(1), "x")).await.expect("commits");
    for call in
        [Call::Get, Call::Page, Call::Count, Call::Categories, Call::Check, Call::Compact, Call::Bytes]
    {
        world.faults.on(call, 1, Injection::fail(Fault::Lost));
        read_everything(&job).await;
        assert_eq!(world.faults.fired(), world.faults.calls(Call::Reconnect), "{call:?}");
    }
}

async fn read_everything(job: &Job) {
    assert_eq!(soon(job.get(ROWS, key(1))).await.expect("gets"), Some(b"x".to_vec()));
    assert_eq!(super::keys(job).await, [1]);
    assert_eq!(soon(job.count(ROWS, ..)).await.expect("counts"), 1);
    assert_eq!(soon(job.categories()).await.expect("lists"), [ROWS]);
    assert_eq!(soon(job.check()).await.expect("checks"), Vec::<String>::new());
    soon(job.compact()).await.expect("compacts");
    soon(job.info()).await.expect("tells");
}

#[async_test]
async fn lost_twice_is_backend_and_the_next_call_tries_anew() {
    let world = World::exclusive();
    let (_root, job) = world.open().await;
    world.faults.on(Call::Count, 1, Injection::fail(Fault::Lost));
    world.faults.on(Call::Count, 2, Injection::fail(Fault::Lost));
    assert_eq!(told(soon(job.count(ROWS, ..)).await), BROKEN);
    world.faults.on(Call::Apply, 1, Injection::fail(Fault::Lost));
    world.faults.on(Call::Reconnect, 1, Injection::fail(Fault::Other));
    assert_eq!(told(soon(job.put_acked(ROWS, key(1), "x")).await), BROKEN);
    assert_eq!(soon(job.put_acked(ROWS, key(1), "x")).await.expect("commits"), 1);
}

/// Loses the connection while writes are queued, and lets `meanwhile` happen before it comes back.
async fn lose(world: &World, meanwhile: impl FnOnce()) {
    let (root, job) = world.open().await;
    soon(job.put_acked(ROWS, key(1), "x")).await.expect("commits");
    world.faults.on(Call::Apply, 1, Injection::fail(Fault::Lost));
    world.faults.on(Call::Reconnect, 1, Injection::Hold);
    let under_way = accept(&job, put(2)).await;
    world.held().await;
    let queued = accept(&job, put(3)).await;
    drop(accept(&job, put(4)).await);
    meanwhile();
    world.faults.release();
    assert_eq!(told(soon(under_way.committed()).await), GONE);
    assert_eq!(told(soon(queued.committed()).await), GONE);
    assert_eq!(told(soon(job.get(ROWS, key(1))).await), GONE);
    assert_eq!(told(soon(job.persist(put(5))).await), GONE);
    assert_eq!(told(soon(job.flush()).await), GONE);
    let closed = soon(root.close_job(JOB)).await.expect_err("nobody asked for the fourth");
    assert_eq!(closed.kind(), ErrorKind::JobNotFound);
    // The others too, if the job ended before their receipts were awaited.
    assert!((1..=3).contains(&super::writes_in(&closed)), "{closed}");
    soon(root.close_job(JOB)).await.expect("is closed");
}

#[async_test]
async fn a_store_that_has_gone_ends_the_job_and_everything_queued() {
    let world = World::exclusive();
    lose(&world, || world.site.vanish(JOB)).await;
    let (_root, job) = world.open().await;
    assert_eq!((job.committed_seq(), super::keys(&job).await), (0, vec![]), "only opening creates anew");
}

#[async_test]
async fn a_store_of_another_generation_ends_the_job_and_is_left_alone() {
    let world = World::exclusive();
    let other = another_life().await;
    lose(&world, || world.site.store(JOB, other)).await;
    let (_root, job) = world.open().await;
    assert_eq!(super::keys(&job).await, [9], "nothing was written to another life");
}

#[async_test]
async fn a_connection_whose_generation_could_not_be_read_is_not_used() {
    for sharing in [Sharing::Exclusive, Sharing::Shared] {
        let world = World::new(sharing);
        let (_root, job) = world.open().await;
        soon(job.put_acked(ROWS, key(1), "x")).await.expect("commits");
        world.faults.on(Call::Get, 1, Injection::fail(Fault::Lost));
        world.faults.on(Call::Get, 2, Injection::fail(Fault::Other));
        world.faults.on(Call::Reconnect, 1, Injection::Hold);
        let first = job.get(ROWS, key(1));
        let (found, ()) = soon(async {
            futures_util::join!(first, async {
                world.held().await;
                world.site.store(JOB, another_life().await);
                world.faults.release();
            })
        })
        .await;
        assert_eq!(told(found), BROKEN);
        assert_eq!(told(soon(job.get(ROWS, key(9))).await), GONE, "{sharing:?}");
    }
}

#[async_test]
async fn a_job_that_a_read_finds_gone_lets_the_apply_under_way_say_how_it_ended() {
    let world = World::exclusive();
    let (_root, job) = world.open().await;
    world.faults.on(Call::Apply, 1, Injection::Hold);
    let receipt = accept(&job, put(1)).await;
    world.held().await;
    world.faults.on(Call::Get, 1, Injection::fail(Fault::Missing));
    assert_eq!(told(soon(job.get(ROWS, key(7))).await), GONE);
    pause().await;
    assert_eq!(told(soon(job.persist(put(2))).await), GONE);
    world.faults.release();
    assert_eq!(soon(receipt.committed()).await.expect("was applied"), 1);
}
