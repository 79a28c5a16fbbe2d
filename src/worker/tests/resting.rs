//! Jobs at rest: whatever was promised before holds afterwards, and what fails on waking is told.

use std::sync::Arc;
use std::time::Duration;

use super::{JOB, ROWS, World, accept, key, keys, pause, put, soon, told};
use crate::engine::faulty::{Call, Injection, Survivors};
use crate::engine::memory::MemorySite;
use crate::engine::{Fault, Sharing};
use crate::limits::REST_AFTER_MS;
use crate::record::Record;
use crate::testing::async_test;
use crate::worker::machine::Machine;
use crate::worker::rest::Resting;
use crate::worker::{Bounds, End, EndGuard, Link, Serving};
use crate::{Batch, Clock, Error, ErrorKind, Job, OpenMode, Outcome, Persistency, WatchItem};

async fn open() -> (World, Persistency, Job) {
    let mut world = World::exclusive();
    world.site = world.site.whose_jobs_rest();
    let (root, job) = world.open().await;
    (world, root, job)
}

/// Lets the job come to rest.
async fn rest(world: &World) {
    let closed = world.faults.calls(Call::Close);
    soon(async {
        while world.faults.calls(Call::Close) == closed {
            world.advance(Duration::from_millis(REST_AFTER_MS));
            pause().await;
        }
    })
    .await;
    pause().await;
}

/// The same, but what is committed cannot be put on the medium before.
async fn rest_unsynced(world: &World) {
    world.faults.on(Call::Apply, 1, Injection::fail(Fault::StorageFull));
    rest(world).await;
}

async fn survivors(world: &World) -> Vec<u8> {
    world.site.lose_power(Survivors::Durable);
    keys(&world.beside().open().await.1).await
}

#[async_test]
async fn what_is_committed_before_a_rest_is_durable_and_closing_then_wakes_nobody() {
    let (world, root, job) = open().await;
    soon(job.persist_acked(put(1))).await.expect("commits");
    rest(&world).await;
    assert_eq!(job.durable_seq(), 1);
    soon(job.flush()).await.expect("is durable");
    soon(root.close_job(JOB)).await.expect("closes");
    assert_eq!(world.faults.calls(Call::Reconnect), 0);
    assert_eq!(told(soon(job.get(ROWS, key(1))).await).0, ErrorKind::Closed);
    assert_eq!(survivors(&world).await, [1]);
}

#[async_test]
async fn a_job_whose_store_went_before_it_could_sync_and_rest_has_gone() {
    let (world, root, job) = open().await;
    soon(job.persist_acked(put(1))).await.expect("commits");
    world.site.vanish(JOB);
    rest(&world).await;
    assert_eq!(told(soon(job.get(ROWS, key(1))).await).0, ErrorKind::JobNotFound);
    soon(root.close()).await.expect("closes");
}

#[async_test]
async fn commits_that_could_not_be_synced_before_a_rest_are_durable_after_a_flush() {
    let (world, _root, job) = open().await;
    soon(job.persist_acked(put(1))).await.expect("commits");
    soon(job.hold_log("holder")).await.expect("holds");
    rest_unsynced(&world).await;
    assert!(job.durable_seq() < job.committed_seq());
    soon(job.flush()).await.expect("syncs");
    assert_eq!(job.durable_seq(), 1);
    assert_eq!(survivors(&world).await, [1]);
    let other = world.beside().open().await.1;
    assert_eq!(soon(other.info()).await.expect("reads").log_holders.len(), 1);
}

#[async_test]
async fn closing_a_job_at_rest_makes_durable_what_could_not_be_synced_before() {
    let (world, root, job) = open().await;
    soon(job.persist_acked(put(1))).await.expect("commits");
    rest_unsynced(&world).await;
    assert_eq!(job.durable_seq(), 0);
    soon(root.close_job(JOB)).await.expect("closes");
    assert_eq!(told(soon(job.get(ROWS, key(1))).await).0, ErrorKind::Closed);
    assert_eq!(survivors(&world).await, [1]);
}

#[async_test]
async fn the_last_handle_of_a_job_at_rest_closes_it() {
    let (world, root, job) = open().await;
    soon(job.persist_acked(put(1))).await.expect("commits");
    rest(&world).await;
    let closed = world.faults.calls(Call::Close);
    drop((root, job));
    soon(async {
        while world.faults.calls(Call::Close) == closed {
            pause().await;
        }
    })
    .await;
    assert_eq!(survivors(&world).await, [1]);
}

#[async_test]
async fn a_job_at_rest_can_be_dropped() {
    let (world, root, job) = open().await;
    soon(job.persist_acked(put(1))).await.expect("commits");
    rest(&world).await;
    soon(root.drop_job(JOB)).await.expect("drops");
    assert_eq!(told(soon(job.get(ROWS, key(1))).await).0, ErrorKind::JobNotFound);
    assert_eq!(soon(root.list_jobs()).await.expect("lists"), Vec::<String>::new());
    let again = soon(root.open_job_with(JOB, job.options().clone())).await.expect("opens");
    assert_eq!((keys(&again).await, again.committed_seq()), (vec![], 0));
}

#[async_test]
async fn an_error_that_nobody_asked_for_outlives_a_rest() {
    let (world, _root, job) = open().await;
    let conflict = Batch::new().require_present(ROWS, key(9)).put(ROWS, key(9), "x");
    drop(accept(&job, conflict).await);
    rest(&world).await;
    assert_eq!(told(soon(job.flush()).await).0, ErrorKind::Conflict);
    rest(&world).await;
    soon(job.flush()).await.expect("has been told");
}

#[async_test]
async fn a_watch_goes_on_over_a_rest() {
    let (world, _root, job) = open().await;
    let mut watch = soon(job.watch(ROWS, ..)).await.expect("watches");
    for n in 1..=3 {
        rest(&world).await;
        soon(job.persist_acked(put(n))).await.expect("commits");
        match soon(watch.next()).await {
            Some(Ok(WatchItem::Commit(commit))) => assert_eq!(commit.seq, u64::from(n)),
            other => panic!("{other:?}"),
        }
    }
}

#[async_test]
async fn everything_that_waits_for_a_waking_that_fails_is_told_and_the_next_call_tries_again() {
    let (world, _root, job) = open().await;
    soon(job.persist_acked(put(1))).await.expect("commits");
    rest_unsynced(&world).await;
    world.faults.on(Call::Reconnect, 1, Injection::Hold);
    world.faults.on(Call::Reconnect, 1, Injection::fail(Fault::Other));
    world.faults.on(Call::Reconnect, 2, Injection::fail(Fault::Other));
    let (gets, written, flushed, ()) = soon(async {
        let gets = futures_util::future::join_all((0..5).map(|_| job.get(ROWS, key(1))));
        futures_util::join!(gets, job.persist_acked(put(2)), job.flush(), async {
            world.held().await;
            pause().await;
            world.faults.release();
        })
    })
    .await;
    for got in gets {
        assert_eq!(told(got).0, ErrorKind::Backend);
    }
    assert_eq!(told(written), (ErrorKind::Backend, Outcome::NotApplied));
    assert_eq!(told(flushed).0, ErrorKind::Backend);
    assert_eq!(keys(&job).await, [1]);
    assert_eq!(soon(job.persist_acked(put(2))).await.expect("commits"), 2);
    soon(job.flush()).await.expect("syncs");
    assert_eq!(survivors(&world).await, [1, 2]);
}

#[async_test]
async fn a_job_whose_store_went_while_it_rested_has_gone_for_everybody() {
    let (world, root, job) = open().await;
    soon(job.persist_acked(put(1))).await.expect("commits");
    rest_unsynced(&world).await;
    world.site.vanish(JOB);
    let (got, written, flushed) =
        soon(async { futures_util::join!(job.get(ROWS, key(1)), job.persist_acked(put(2)), job.flush()) })
            .await;
    for kind in [told(got).0, told(written).0, told(flushed).0] {
        assert_eq!(kind, ErrorKind::JobNotFound);
    }
    soon(root.close()).await.expect("closes");
}

#[async_test]
async fn calls_that_race_with_rest_are_all_answered() {
    let (world, root, job) = open().await;
    let real = Clock::system();
    let ticking = async {
        loop {
            world.advance(Duration::from_millis(REST_AFTER_MS));
            real.sleep_until(real.monotonic_ms() + 1).await;
        }
    };
    let calling = async {
        for n in 0..400u64 {
            let row = key((n % 7) as u8);
            assert_eq!(soon(job.put_acked(ROWS, row.clone(), "x")).await.expect("commits"), n + 1);
            // Now and then long enough to fall asleep, about that long, or not at all.
            real.sleep_until(real.monotonic_ms() + n % 5).await;
            assert!(soon(job.exists(ROWS, row)).await.expect("reads"));
            if n % 10 == 0 {
                soon(job.flush()).await.expect("syncs");
            }
        }
    };
    futures_util::pin_mut!(ticking, calling);
    futures_util::future::select(calling, ticking).await;
    assert!(world.faults.calls(Call::Close) > 10, "{}", world.faults.calls(Call::Close));
    soon(root.close()).await.expect("closes");
}

#[async_test]
async fn a_worker_that_cannot_be_started_again_says_why_and_not_that_it_stopped() {
    let bounds = Bounds { operations: 1, bytes: 1, deadline_ms: None };
    let link = Link::new(JOB.into(), Clock::system(), bounds);
    let record = Record::new([0; 16], 0);
    let machine = Machine::new(Arc::clone(&link), [0; 16], record, Sharing::Exclusive, false);
    let (site, guard) = (Arc::new(MemorySite::default()), EndGuard(Arc::clone(&link)));
    let serving = Serving { site, mode: OpenMode::Create, _claim: Arc::new(()), guard };
    let error = Error::new(ErrorKind::Backend, "no thread");
    let end = End { result: Err(error.clone()), afterwards: error, dropped: false };
    Resting { machine, serving }.give_up(end);
    let told = soon(link.ended()).await.result.expect_err("has not been closed");
    assert_eq!((told.message(), told.outcome()), ("no thread", Outcome::NotApplied));
}
